"""Which file of a crate uses which: the rooms, their arrows, and what runs in a circle (`make rooms`).

A room is a folder of a crate's `src`, or a file beside them. The script reads the paths in the code: `use`
declarations, and paths that begin with `crate`, `super`, `self`, a child module or an imported module. A name that
a `mod.rs` re-exports belongs to the file that defines it, so a table of contents makes no arrow.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: begin (make rooms) -->", "<!-- rooms: end -->"

# The rooms of the extension from the ground up: each may use those before it.
ORDER = {
    "aioxide-py": [
        ["ffi"],
        ["interp"],
        ["awaitable"],
        ["kernel"],
        ["future"],
        ["transports"],
        ["task"],
        ["streams"],
        ["sync"],
        ["queue"],
        ["bridge"],
        ["event_loop"],
        ["dispatch"],
        ["gc"],
        ["lib"],
    ],
}

Graph = dict[str, set[str]]


def bare(text: str) -> str:
    """Rust code without its comments, texts and characters."""
    pattern = r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?c?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.[^']*)'"""
    return re.sub(pattern, lambda found: '""' if '"' in found[0] else " ", text, flags=re.DOTALL)


def branches(tree: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The paths of a `use` declaration, each with the name that it binds."""
    tree = tree.strip()
    if (brace := tree.find("{")) >= 0:
        prefix = tuple(part for part in tree[:brace].strip().split("::") if part)
        depth, start = 0, brace + 1
        for at in range(brace, len(tree)):
            depth += {"{": 1, "}": -1}.get(tree[at], 0)
            if (tree[at] == "," and depth == 1) or depth == 0:
                for path, bound in branches(tree[start:at]):
                    if path and path[-1] == "self" and len(path) == 1:
                        yield prefix, bound if bound != "self" else prefix[-1]
                    elif path:
                        yield prefix + path, bound
                start = at + 1
            if depth == 0:
                return
    elif tree:
        path, _, alias = tree.partition(" as ")
        parts = tuple(part.strip() for part in path.split("::") if part.strip())
        yield parts, alias.strip() or parts[-1]


class Crate:
    """The modules of one crate, and what each uses of the others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = ROOT / "crates" / name / "src"
        self.modules: dict[tuple[str, ...], str] = {}
        self.code: dict[str, str] = {}
        self.imports: dict[tuple[str, ...], list[tuple[tuple[str, ...], str, bool]]] = {}
        for path in sorted(self.source.rglob("*.rs")):
            file = path.relative_to(self.source).as_posix()
            parts = tuple(file.removesuffix(".rs").split("/"))
            module = () if file in ("lib.rs", "main.rs") else parts[:-1] if parts[-1] == "mod" else parts
            self.modules[module] = file
            self.read(module, file, bare(path.read_text()))

    def read(self, module: tuple[str, ...], file: str, code: str) -> None:
        found = []

        def declaration(match: re.Match[str]) -> str:
            for path, bound in branches(match[2]):
                found.append((path, bound, bool(match[1])))
            return ""

        self.code[file] = re.sub(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([\w:{},*\s]+);", declaration, code)
        self.imports[module] = found

    def absolute(self, module: tuple[str, ...], path: tuple[str, ...]) -> tuple[str, ...] | None:
        """The path from the crate's root; None when it leads out of the crate."""
        if path[0] == "crate":
            return path[1:]
        if path[0] in ("super", "self"):
            base = module
            for part in path:
                if part == "super":
                    base = base[:-1]
                elif part != "self":
                    break
            return base + tuple(part for part in path if part not in ("super", "self"))
        if (*module, path[0]) in self.modules:
            return module + path
        for target, bound, _ in self.imports.get(module, ()):
            if bound == path[0] and target[0] in ("crate", "super", "self"):
                return (self.absolute(module, target) or ()) + path[1:]
        return None

    def home(self, path: tuple[str, ...], seen: frozenset[tuple[str, ...]] = frozenset()) -> str | None:
        """The file that defines what an absolute path names; None for a module as such."""
        if path in self.modules or path in seen:
            return None
        module = path
        while module not in self.modules:
            module = module[:-1]
        rest = path[len(module) :]
        for target, bound, public in self.imports[module]:
            if not public or bound not in (rest[0], "*"):
                continue
            found = self.absolute(module, target[:-1] if bound == "*" else target)
            if found is None:
                continue
            if bound == "*":
                if rest[0] in self.code.get(self.modules.get(found, ""), ""):
                    return self.home((*found, *rest), seen | {path})
            else:
                return self.home((*found, *rest[1:]), seen | {path})
        return self.modules[module]

    @property
    @cache  # noqa: B019
    def graph(self) -> Graph:
        """File -> the files whose names it uses."""
        graph: Graph = {file: set() for file in self.modules.values()}
        for module, file in self.modules.items():
            paths = []
            for path, bound, public in self.imports[module]:
                if bound == "*":
                    target = self.absolute(module, path[:-1])
                    if target is not None and target in self.modules and not public:
                        graph[file].add(self.modules[target])
                elif not (public and self.inside(module, path)):
                    paths.append(path)
            paths += [tuple(found.split("::")) for found in re.findall(r"\b[a-z_]\w*(?:::\w+)+", self.code[file])]
            for path in paths:
                target = self.absolute(module, path)
                if target and (home := self.home(target)) and home != file:
                    graph[file].add(home)
        return graph

    def inside(self, module: tuple[str, ...], path: tuple[str, ...]) -> bool:
        """Whether a path leads from a module to one below it."""
        target = self.absolute(module, path)
        return target is not None and len(target) > len(module) and target[: len(module)] == module

    def room(self, file: str) -> str:
        return file.split("/", maxsplit=1)[0].removesuffix(".rs")

    @property
    def rooms(self) -> Graph:
        """Room -> the rooms that it uses."""
        rooms: Graph = {}
        for file, used in self.graph.items():
            room = rooms.setdefault(self.room(file), set())
            room |= {self.room(other) for other in used} - {self.room(file)}
        return rooms

    def level(self, room: str) -> int:
        """How high a room stands; one without a place stands above all that have one."""
        order = ORDER.get(self.name, [])
        return next((level for level, rooms in enumerate(order) if room in rooms), len(order))

    @property
    def arrows_up(self) -> set[tuple[str, str]]:
        """(File, file) where the first uses the second though its room stands lower."""
        if self.name not in ORDER:
            return set()
        up = set()
        for file, used in self.graph.items():
            for other in used:
                one, two = self.room(file), self.room(other)
                if one != two and self.level(two) >= self.level(one):
                    up.add((file, other))
        return up


def circles(graph: Graph) -> list[list[str]]:
    """The strongly connected components of more than one node, largest first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = []
            while True:
                members.append(stack.pop())
                if members[-1] == node:
                    break
            if len(members) > 1:
                found.append(sorted(members))

    sys.setrecursionlimit(10_000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found, key=len, reverse=True)


def picture(crate: Crate) -> str:
    """The rooms from the top down, with the number of files and what each uses."""
    sizes: dict[str, int] = {}
    for file in crate.graph:
        sizes[crate.room(file)] = sizes.get(crate.room(file), 0) + 1
    rooms = crate.rooms
    lines = []
    for room in sorted(rooms, key=lambda room: (-crate.level(room), room)):
        used = sorted(rooms[room], key=lambda other: (-crate.level(other), other))
        lines.append(f"{room:<11} {sizes[room]:>3}  {' '.join(used)}".rstrip())
    return "\n".join(lines)


def report(crate: Crate) -> Iterable[str]:
    yield f"{crate.name}: {len(crate.graph)} files; room, files, uses"
    yield from ("  " + line for line in picture(crate).splitlines())
    up = crate.arrows_up
    if crate.name in ORDER:
        yield f"  arrows up: {len(up)}"
        yield from (f"    {one} -> {two}" for one, two in sorted(up))
    for what, graph in (("rooms", crate.rooms), ("files", crate.graph)):
        found = circles(graph)
        yield f"  circles of {what}: {len(found)}"
        yield from (f"    {len(members)}: {' '.join(members)}" for members in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    parser.add_argument("crates", nargs="*", help="crates to print; all of them without")
    options = parser.parse_args()
    known = sorted(path.parent.name for path in (ROOT / "crates").glob("*/Cargo.toml"))
    for name in options.crates or known:
        print("\n".join(report(Crate(name))))
    page = PAGE.read_text()
    drawn = f"{BEGIN}\n```text\n{picture(Crate('aioxide-py'))}\n```\n{END}"
    new = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: drawn, page, flags=re.DOTALL)
    if options.check:
        sys.exit(0 if new == page else "docs/architecture.md: run `make rooms`")
    PAGE.write_text(new)


if __name__ == "__main__":
    main()

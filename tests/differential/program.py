"""What a random program is, how one is drawn from a seed, and how a failing one is made small."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

# An operation is its name and its arguments; a body (a list of operations) may be one of them.
Op = tuple[Any, ...]
Body = list[Op]


@dataclass(frozen=True)
class Program:
    """Scripts of tasks: the first is run, and a script may start those that come after it, so that all end."""

    scripts: list[Body]
    # Whether the loop has asyncio's eager task factory.
    eager: bool = False

    def size(self) -> int:
        return sum(1 for script in self.scripts for _ in walk(script))

    def __str__(self) -> str:
        head = "with the eager task factory\n" if self.eager else ""
        return head + "\n".join(f"script {number}:\n{render(script, 1)}" for number, script in enumerate(self.scripts))


def walk(body: Body) -> Iterator[Op]:
    """Gives every operation of a body and of the bodies in it."""
    for op in body:
        yield op
        for part in op[1:]:
            if is_body(part):
                yield from walk(part)


def is_body(part: object) -> bool:
    return isinstance(part, list) and all(isinstance(op, tuple) for op in part)


def render(body: Body, depth: int) -> str:
    lines = []
    for op in body:
        words = [str(part) for part in op if not is_body(part)]
        lines.append("    " * depth + " ".join(words))
        lines += [render(part, depth + 1) for part in op[1:] if is_body(part) and part]
    return "\n".join(lines)


# Operations without a body: the name, and how its arguments are drawn.
SIMPLE: dict[str, Callable[[random.Random], tuple[Any, ...]]] = {
    "yield": lambda r: (),
    "log": lambda r: (),
    "await": lambda r: (r.randrange(8),),
    "await_any": lambda r: (r.randrange(8),),
    "cancel": lambda r: (r.randrange(8), r.choice([None, "message"])),
    "inspect": lambda r: (r.randrange(8),),
    "callback": lambda r: (r.randrange(8),),
    "call_soon": lambda r: (),
    "shield": lambda r: (r.randrange(8),),
    "wait_for": lambda r: (r.randrange(8), r.choice([0, 0, 1000, None])),
    "gather": lambda r: (picks(r), r.random() < 0.5),
    "wait": lambda r: (
        picks(r),
        r.choice(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]),
        r.choice([0, 1000, None, None]),
    ),
    "as_completed": lambda r: (picks(r), r.choice([0, 1000, None, None]), r.random() < 0.5),
    "shield_future": lambda r: (r.randrange(3),),
    "wait_for_future": lambda r: (r.randrange(3), r.choice([0, 1000, None])),
    "raise": lambda r: (r.choice(["LookupError", "ValueError", "CancelledError"]),),
    "return": lambda r: (r.randrange(100),),
    "set_result": lambda r: (r.randrange(3), r.randrange(100)),
    "set_exception": lambda r: (r.randrange(3),),
    "cancel_future": lambda r: (r.randrange(3),),
    "await_future": lambda r: (r.randrange(3),),
    "event_wait": lambda r: (),
    "event_set": lambda r: (),
    "event_clear": lambda r: (),
    "acquire": lambda r: (r.randrange(3),),
    "release": lambda r: (r.randrange(4),),
    "inspect_locks": lambda r: (),
    "notify": lambda r: (r.randrange(1, 3),),
    "notify_all": lambda r: (),
    "put": lambda r: (r.randrange(3), r.randrange(100)),
    "get": lambda r: (r.randrange(3),),
    "put_nowait": lambda r: (r.randrange(3), r.randrange(100)),
    "get_nowait": lambda r: (r.randrange(3),),
    "task_done": lambda r: (r.randrange(3),),
    "join": lambda r: (r.randrange(3),),
}
# Drawn more often: here is where loops differ.
WAITING = ["await", "cancel", "shield", "wait_for", "gather", "gather", "wait", "as_completed"]
# Operations around a body.
NESTING_LOCKS = ("lock", "semaphore", "bounded", "condition", "condition_for")
NESTING = [*NESTING_LOCKS, "try", "finally", "handling"]

if sys.version_info >= (3, 11):
    SIMPLE |= dict.fromkeys(("barrier", "barrier_reset", "barrier_abort"), lambda r: ())
    NESTING += ["timeout", "timeout", "group", "group"]
    SIMPLE["reschedule"] = lambda r: (r.choice([0, 1000, None]),)
if sys.version_info >= (3, 13):
    # Before 3.13 asyncio's uncancel leaves a cancellation pending; aioxide's never does.
    SIMPLE["uncancel"] = lambda r: ()
    SIMPLE["shutdown"] = lambda r: (r.randrange(3), r.random() < 0.5)
if not hasattr(asyncio.Condition, "_notify"):
    # Before 2024 asyncio's semaphores and conditions, and the barriers made of these, lose what a cancelled task was
    # given; aioxide's never do.
    NESTING = [name for name in NESTING if name == "lock" or name not in NESTING_LOCKS]
    for name in ("acquire", "release", "notify", "notify_all", "barrier", "barrier_reset", "barrier_abort"):
        SIMPLE.pop(name, None)


# One program of so many may have tasks that wait for each other in rings: cancelling them takes long.
RINGS = 20
# One of so many has a loop with the eager task factory.
EAGER = 4


def picks(r: random.Random) -> tuple[int, ...]:
    return tuple(r.randrange(8) for _ in range(r.randrange(1, 5)))


def draw(seed: int) -> Program:
    """Returns the program of a seed: always the same one on one version of Python."""
    r = random.Random(seed)
    count = r.randrange(3, 8)
    scripts = [draw_script(r, number, count) for number in range(count)]
    scripts = scripts if seed % RINGS == 0 else [without_rings(script) for script in scripts]
    return Program(scripts, eager=sys.version_info >= (3, 12) and seed % EAGER == 1)


def without_rings(body: Body) -> Body:
    """Tasks wait for later ones only."""
    return [
        (
            "await" if op[0] == "await_any" else op[0],
            *(without_rings(part) if is_body(part) else part for part in op[1:]),
        )
        for op in body
    ]


def draw_script(r: random.Random, number: int, count: int) -> Body:
    """Most scripts begin by starting others, so that there is something to wait for."""
    starts = r.randrange(4) if number + 1 < count else 0
    return [("spawn", r.randrange(number + 1, count)) for _ in range(starts)] + draw_body(r, number, count, depth=0)


def draw_body(r: random.Random, number: int, count: int, depth: int) -> Body:
    return [draw_op(r, number, count, depth) for _ in range(r.randrange(1, 7 - 2 * depth))]


def draw_op(r: random.Random, number: int, count: int, depth: int) -> Op:
    kind = r.random()
    if kind < 0.15 and number + 1 < count:
        return ("spawn", r.randrange(number + 1, count))
    if kind < 0.4 and depth < 2:
        name = r.choice(NESTING)
        body = draw_body(r, number, count, depth + 1)
        # What acts on the scope around it, where there is one.
        if name == "timeout" and r.random() < 0.4:
            body.insert(r.randrange(len(body) + 1), ("reschedule", *SIMPLE["reschedule"](r)))
        if name == "group" and number + 1 < count and r.random() < 0.6:
            body.insert(r.randrange(len(body) + 1), ("group_spawn", r.randrange(number + 1, count)))
        if name == "timeout":
            return (name, r.choice([0, 1000, None]), body)
        if name == "group":
            # One child: a group cancels its children in the order in which a set gives them, which is chance.
            children = (r.randrange(number + 1, count),) if number + 1 < count else ()
            return (name, children, body)
        if name == "condition_for":
            return (name, r.randrange(3), body)
        if name == "try":
            return (name, r.choice(["swallow", "reraise"]), body)
        if name == "finally":
            return (name, body, draw_body(r, number, count, 2))
        return (name, body)
    name = r.choice([*SIMPLE, *WAITING]) if kind < 0.9 else "yield"
    return (name, *SIMPLE[name](r))


def shrink(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Takes operations out, and bodies out of their operations, as long as the program still fails."""
    progress = True
    while progress:
        progress = False
        for smaller in reductions(program):
            if fails(smaller):
                program, progress = smaller, True
                break
    return program


def reductions(program: Program) -> Iterator[Program]:
    for number, script in enumerate(program.scripts):
        if script:
            yield with_script(program, number, [])
        for smaller in smaller_bodies(script):
            yield with_script(program, number, smaller)


def with_script(program: Program, number: int, script: Body) -> Program:
    scripts = list(program.scripts)
    scripts[number] = script
    return replace(program, scripts=scripts)


def smaller_bodies(body: Body) -> Iterator[Body]:
    for index, op in enumerate(body):
        before, after = body[:index], body[index + 1 :]
        yield before + after
        for place, part in enumerate(op):
            if place and is_body(part):
                yield before + part + after
                for smaller in smaller_bodies(part):
                    yield [*before, (*op[:place], smaller, *op[place + 1 :]), *after]

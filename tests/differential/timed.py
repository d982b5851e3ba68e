"""Random programs for the Rust face, each with the log that stock asyncio leaves on a virtual clock.

    python3 tests/differential/timed.py --count 1000 --seed 0 > programs.jsonl

Each line holds a program and its log. Everything is set off by timers of different lengths, so that how many iterations
something takes does not matter: what is compared is what happens at which time in which task.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import json
import random
import sys
import warnings
from typing import Any

Op = list[Any]
Body = list[Op]

MOST_TASKS = 12
# When everything still alive is cancelled, and how often.
END = 10_000_000
ROUNDS = 8


NESTING = ["try", "reraise", "timeout", "timeout", "group", "lock", "semaphore", "moved", "moved", "select"]
SIMPLE = [
    "log",
    "spawn",
    "await",
    "await",
    "cancel",
    "cancel",
    "cancel_self",
    "fail",
    "gather",
    "shield",
    "put",
    "get",
    "event_wait",
    "event_set",
]


def delay(r: random.Random) -> int:
    return r.randrange(1, 1_000_000)


def draw(seed: int) -> list[Body]:
    """Returns the scripts of a program: the first is run, and a script may start those that come after it."""
    r = random.Random(seed)
    count = r.randrange(2, 7)
    scripts = []
    for number in range(count):
        starts = r.randrange(3) if number + 1 < count else 0
        begins: Body = [["spawn", r.randrange(number + 1, count)] for _ in range(starts)]
        scripts.append(begins + draw_body(r, number, count, 0))
    return scripts


def draw_body(r: random.Random, number: int, count: int, depth: int) -> Body:
    body: Body = []
    for _ in range(r.randrange(1, 6 - depth)):
        # Time passes between any two operations, so that no two tasks act at once.
        body += [["sleep", delay(r)], draw_op(r, number, count, depth)]
    return body


def draw_op(r: random.Random, number: int, count: int, depth: int) -> Op:
    later = number + 1 < count
    if depth < 3 and r.random() < 0.5:
        kind = r.choice(NESTING)
        body = inside(r, number, count, depth)
        if kind == "moved":
            # Its first poll, which is another task's, comes as far as a wait inside of scopes.
            for _ in range(r.randrange(3)):
                scope = r.choice(["try", "reraise", "timeout", "lock"])
                body = [[scope, delay(r), body] if scope == "timeout" else [scope, body]]
            return [kind, body]
        if kind == "select":
            return [kind, [r.choice(["try", "timeout", "group"]), delay(r), delay(r), delay(r)], body]
        if kind == "timeout":
            return [kind, delay(r), body]
        if kind == "group":
            return [kind, [r.randrange(number + 1, count)] if later else [], body]
        return [kind, body]
    kind = r.choice(SIMPLE)
    if kind in ("spawn", "shield"):
        return [kind, r.randrange(number + 1, count)] if later else ["log"]
    if kind == "gather":
        children = [r.randrange(number + 1, count) for _ in range(r.randrange(1, 4))] if later else []
        return [kind, children, r.random() < 0.5] if children else ["log"]
    if kind in ("await", "cancel"):
        return [kind, r.randrange(MOST_TASKS)]
    if kind == "cancel_self":
        # What comes next does so at once. One that is moved begins with a wait of its own: for the other task.
        then = draw_op(r, number, count, depth)
        return [kind, ["try", then[1]] if then[0] == "moved" else then]
    if kind in ("put", "get"):
        return [kind]
    return [kind] if kind != "fail" or r.random() < 0.5 else ["log"]


def inside(r: random.Random, number: int, count: int, depth: int) -> Body:
    return draw_body(r, number, count, depth + 1)


def own_length(name: str, time: int) -> int:
    """Returns a length of time a little different for each task: two that run one script do not act at once."""
    own = 7
    for byte in name.encode():
        own = (own * 31 + byte) % 9973
    return time + own


class OrderedTimer(asyncio.TimerHandle):
    """Of timers that are due at the same time, the one that was made first is the smaller."""

    number = 0

    def __lt__(self, other: Any) -> bool:
        return (self._when, self.number) < (other._when, other.number)  # type: ignore[attr-defined]


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next deadline when nothing is ready; it is counted in whole units.

    Timers that are due at the same time fire in the order in which they were made. asyncio's heap promises no order.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0
        self._clock_resolution = 1
        self._numbers = itertools.count()
        self.has_tie = False

    def call_at(self, when: Any, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        timer = OrderedTimer(when, callback, args, self, context)
        timer.number = next(self._numbers)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def time(self) -> Any:
        return self._now

    def _run_once(self) -> None:
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready and scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, scheduled[0]._when)
            due = [timer._callback for timer in scheduled if timer._when <= self._now and not timer._cancelled]
            self.has_tie |= len(due) > 1 and any(isinstance(done, asyncio.Timeout) for done in map(owner, due))
        super()._run_once()  # type: ignore[misc]


def owner(callback: Any) -> Any:
    return getattr(callback, "__self__", None)


class Failure(Exception):
    """What a script fails with."""


class World:
    """One run of one program."""

    def __init__(self, scripts: list[Body]) -> None:
        self.scripts = scripts
        self.log: list[tuple[int, str, str]] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.counts: dict[str, int] = {}
        self.members: set[str] = set()
        self.over = False

    def run(self) -> list[list[Any]] | None:
        """Returns the log; None when a deadline falls on the time of something else: Rust prefers what is done."""
        loop = VirtualLoop()
        loop.set_exception_handler(lambda loop, context: None)
        self.loop = loop
        try:
            loop.run_until_complete(self._main())
            self.over = True
            while left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=END))
        finally:
            loop.close()
        return None if loop.has_tie else sorted([list(line) for line in self.log])

    def note(self, name: str, text: str) -> None:
        if not self.over:
            self.log.append((self.loop.time(), name, text))

    async def _main(self) -> None:
        self.lock, self.semaphore, self.event = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event()
        self.queue: asyncio.Queue[str] = asyncio.Queue(1)
        self.spawn("t", 0)
        for number in range(1, ROUNDS):
            await asyncio.sleep(number * END - self.loop.time())
            for task in [self.tasks[name] for name in sorted(self.tasks)]:
                task.cancel()
        await asyncio.sleep(END)
        for name in sorted(self.tasks):
            task = self.tasks[name]
            end = outcome(task) if task.done() else "pending"
            self.note(name, f"end: {'cancelled' if end == 'failed' and name in self.members else end}")

    def child_of(self, name: str) -> str:
        number = self.counts[name] = self.counts.get(name, -1) + 1
        return f"{name}.{number}"

    def spawn(self, name: str, script: int) -> None:
        if len(self.tasks) < MOST_TASKS:
            self.tasks[name] = asyncio.create_task(self.script(name, script))

    async def script(self, name: str, number: int) -> None:
        self.note(name, "starts")
        try:
            await self.body(name, self.scripts[number])
            # In Rust a task that cancels itself and returns without a wait keeps its value; asyncio's is cancelled.
            await asyncio.sleep(own_length(name, 1))
        except asyncio.CancelledError:
            raise
        except Failure:
            self.note(name, "fails")
            raise
        self.note(name, "ends")

    async def body(self, name: str, body: Body) -> None:
        for op in body:
            await getattr(self, "do_" + op[0])(name, *op[1:])

    async def do_sleep(self, name: str, time: int) -> None:
        await asyncio.sleep(own_length(name, time))

    async def do_log(self, name: str) -> None:
        self.note(name, "log")

    async def do_spawn(self, name: str, script: int) -> None:
        self.spawn(self.child_of(name), script)

    async def do_await(self, name: str, index: int) -> None:
        """Waits for a task with a greater name, so that none wait for each other in a ring."""
        greater = sorted(other for other in self.tasks if other > name)
        if greater:
            chosen = greater[index % len(greater)]
            try:
                await self.tasks[chosen]
            except Failure:
                # In Rust the group takes the failure, and whoever awaits the task is cancelled.
                if chosen in self.members:
                    raise asyncio.CancelledError from None
                raise
            self.note(name, "awaited")

    async def do_cancel(self, name: str, index: int) -> None:
        names = sorted(self.tasks)
        chosen = names[index % len(names)]
        self.note(name, f"cancel {chosen} {self.tasks[chosen].cancel()}")
        await asyncio.sleep(own_length(name, 1))

    async def do_cancel_self(self, name: str, then: Op) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        self.note(name, "cancels itself")
        await self.body(name, [then])
        await asyncio.sleep(own_length(name, 1))

    async def do_fail(self, name: str) -> None:
        raise Failure

    async def do_try(self, name: str, body: Body) -> None:
        try:
            await self.body(name, body)
        except asyncio.CancelledError:
            self.note(name, "caught")

    async def do_reraise(self, name: str, body: Body) -> None:
        try:
            await self.body(name, body)
        except asyncio.CancelledError:
            self.note(name, "passes on")
            raise

    async def do_timeout(self, name: str, time: int, body: Body) -> None:
        try:
            async with asyncio.timeout(own_length(name, time)):
                await self.body(name, body)
        except TimeoutError:
            self.note(name, "elapsed")

    async def do_group(self, name: str, children: list[int], body: Body) -> None:
        over = False
        try:
            async with asyncio.TaskGroup() as group:
                for script in children:
                    child = self.child_of(name)
                    if len(self.tasks) < MOST_TASKS:
                        self.tasks[child] = group.create_task(self.script(child, script))
                        self.members.add(child)
                await self.body(name, body)
                # A request of the group that came before is taken back at its exit.
                over = not group._parent_cancel_requested
        except BaseExceptionGroup as error:  # noqa: F821 - since Python 3.11, as this file needs
            self.note(name, f"group: {len(error.exceptions)} failed")
            task = asyncio.current_task()
            assert task is not None
            if sys.version_info < (3, 13):
                # As since 3.13: the group takes its own request back, and one from outside waits at the next await.
                if over and group._parent_cancel_requested:
                    task.uncancel()
                if task.cancelling():
                    task.uncancel()
                    task.cancel()
            await asyncio.sleep(own_length(name, 1))

    async def do_lock(self, name: str, body: Body) -> None:
        async with self.lock:
            await self.body(name, body)
            self.note(name, "had the lock")

    async def do_semaphore(self, name: str, body: Body) -> None:
        async with self.semaphore:
            await self.body(name, body)
            self.note(name, "had a permit")

    async def do_moved(self, name: str, body: Body) -> None:
        await self.body(name, body)

    async def do_select(self, name: str, work: list[Any], body: Body) -> None:
        """A sleep in a scope that is looked after until a time; then other things are done, and then it again."""
        scope = work[0]
        length, until, deadline = (own_length(name, time) for time in work[1:])
        begin = self.loop.time()
        end = begin + length
        if scope == "timeout":
            end = min(end, begin + deadline)
        caught = await self.sleep_in(scope, name, min(end, begin + until))
        if not caught and end > begin + until:
            await self.body(name, body)
            caught = await self.sleep_in(scope, name, end)
        if not caught:
            # Looked at too late, what is inside is done as well, and that counts.
            late = scope == "timeout" and self.loop.time() < begin + length
            self.note(name, "elapsed" if late else "selected")

    async def sleep_in(self, scope: str, name: str, end: int) -> bool:
        try:
            if end > self.loop.time():
                await asyncio.sleep(end - self.loop.time())
        except asyncio.CancelledError:
            if scope != "try":
                raise
            self.note(name, "caught")
            return True
        return False

    async def do_gather(self, name: str, children: list[int], return_exceptions: bool) -> None:
        scripts = [self.script(self.child_of(name), script) for script in children]
        try:
            found = await asyncio.gather(*scripts, return_exceptions=return_exceptions)
        except Failure:
            self.note(name, "gather failed")
        else:
            self.note(name, f"gathered {['ok' if value is None else kind(value) for value in found]}".replace("'", '"'))

    async def do_shield(self, name: str, script: int) -> None:
        child = self.child_of(name)
        try:
            await asyncio.shield(asyncio.ensure_future(self.script(child, script)))
        except Failure:
            self.note(name, "shielded failed")
        else:
            self.note(name, "shielded")

    async def do_put(self, name: str) -> None:
        await self.queue.put(name)
        self.note(name, "put")

    async def do_get(self, name: str) -> None:
        self.note(name, f"got {await self.queue.get()}")

    async def do_event_wait(self, name: str) -> None:
        await self.event.wait()
        self.note(name, "event")

    async def do_event_set(self, name: str) -> None:
        self.event.set()
        self.event.clear()


def kind(error: BaseException) -> str:
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"


def outcome(task: asyncio.Task[None]) -> str:
    if task.cancelled():
        return "cancelled"
    return "failed" if task.exception() else "ok"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for seed in range(options.seed, options.seed + options.count):
        scripts = draw(seed)
        line = {"seed": seed, "scripts": scripts, "log": World(scripts).run()}
        sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

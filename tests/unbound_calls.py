"""Everything that asyncio's classes of futures and tasks have, called by their names on an object in every state.

Run as a program with ``asyncio`` or ``aioxide``: prints what happened, a line of JSON for each call.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

CLASSES = (asyncio.Future, asyncio.Task)
# Not asyncio's, or about the class.
LEFT_OUT = set(dir(object)) - {"__repr__", "__init__"} | {"__class_getitem__", "__dict__", "__weakref__", "__module__"}
STATES = {
    "Future": ("bare", "pending", "waited for", "result", "exception", "cancelled"),
    "Task": ("bare", "new", "waiting", "running", "to be cancelled", "result", "exception", "cancelled"),
}
ARGUMENTS: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "set_result": [((5,), {}), ((), {})],
    "set_exception": [((KeyError("set"),), {}), ((KeyError,), {}), ((5,), {})],
    "add_done_callback": [(("callback",), {}), (("callback",), {"context": contextvars.Context()}), ((), {})],
    "remove_done_callback": [(("callback",), {}), ((), {})],
    "cancel": [((), {}), (("why",), {}), ((), {"msg": "why"}), ((), {"unknown": 1})],
    "set_name": [(("named",), {}), ((5,), {})],
    "get_stack": [((), {}), ((), {"limit": 1})],
    "print_stack": [((), {"file": "file"})],
    "__init__": [((), {"loop": "loop"}), (("coroutine",), {"loop": "loop", "name": "again"}), ((5,), {})],
}
VALUES: dict[str, list[Any]] = {"_cancel_message": ["message", None], "_log_traceback": [False, True]}
# By name: the texts of other exceptions of ours are those of asyncio's Python classes.
TOLD = ("CancelledError", "KeyError")


async def ends(how: str, event: asyncio.Future[None]) -> int:
    if how == "exception":
        raise KeyError("raised")
    if how == "result":
        return 7
    await event
    return 8


class Scene:
    """An object in a state, and what happens."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kind: str, derived: bool, state: str) -> None:
        self.loop: Any = loop
        self.loop.set_exception_handler(self.handle)
        self.log: list[Any] = []
        self.event = self.loop.create_future()
        self.state = state
        self.act: Callable[[], None] | None = None
        base: type = type(self.loop.create_future()) if kind == "Future" else task_class(self.loop)
        self.cls = type("Derived", (base,), {"extra": 1}) if derived else base
        self.made: list[Any] = []
        self.object: Any = self.make_future() if kind == "Future" else self.make_task()

    def handle(self, loop: object, context: dict[str, Any]) -> None:
        # What follows is the name of a function, which is C's or ours.
        self.log.append(["reported", re.sub("(in callback|handle) .*", r"\1", context["message"])])

    def coroutine(self, how: str = "waiting") -> Any:
        coro = self.run() if how == "running" else ends(how, self.event)
        self.made.append(coro)
        return coro

    async def run(self) -> int:
        if self.act is not None:
            self.act()
        await asyncio.sleep(0)
        return 9

    def make_future(self) -> Any:
        if self.state == "bare":
            return self.cls.__new__(self.cls)
        future = self.cls(loop=self.loop)
        if self.state == "waited for":
            future.add_done_callback(self.note)
        elif self.state == "result":
            future.set_result(3)
        elif self.state == "exception":
            future.set_exception(KeyError("before"))
        elif self.state == "cancelled":
            future.cancel("before")
        return future

    def make_task(self) -> Any:
        if self.state == "bare":
            return self.cls.__new__(self.cls)
        task = self.cls(self.coroutine(self.state), loop=self.loop)
        task.set_name("task")
        if self.state in ("waiting", "result", "exception", "cancelled"):
            self.spin()
        if self.state in ("cancelled", "to be cancelled"):
            task.cancel("before")
        if self.state == "cancelled":
            self.spin()
        return task

    def note(self, future: object) -> None:
        self.log.append(["callback", future is self.object])

    def spin(self, turns: int = 3) -> None:
        """Runs a few iterations."""

        def turn(left: int) -> None:
            if left:
                self.loop.call_soon(turn, left - 1)
            else:
                self.loop.stop()

        self.loop.call_soon(turn, turns)
        self.loop.run_forever()

    def shown(self, value: Any) -> Any:
        if value is self.object:
            return "itself"
        if value is self.loop:
            return "the loop"
        if value is self.event:
            return "the event"
        if value in self.made:
            return f"coroutine {self.made.index(value)}"
        if isinstance(value, asyncio.CancelledError) and sys.version_info < (3, 11):
            # Whoever asks second gets no message from asyncio there; aioxide keeps it, as from 3.11 on.
            return ["CancelledError", []]
        if isinstance(value, BaseException):
            return [type(value).__name__, [self.shown(each) for each in value.args]]
        if type(value).__name__ == "list" and value and hasattr(value[0], "f_code"):
            return "frames"
        if isinstance(value, (list, tuple)):
            return [self.shown(each) for each in value]
        if isinstance(value, (contextvars.Context, Iterator)) or type(value).__name__ in ("frame", "coroutine"):
            return type(value).__name__
        text = re.sub(" at 0x[0-9a-f]+|/[^ ]*/|Task-[0-9]+", "", repr(value))
        return text.replace("aioxide.", "").replace("_asyncio.", "")

    def attempt(self, call: Callable[[], Any]) -> Any:
        try:
            value = call()
        except (Exception, asyncio.CancelledError) as error:
            told = type(error).__name__ in TOLD
            return ["raised", self.shown(error) if told else type(error).__name__]
        return ["returned", self.shown(value)]

    def seen(self) -> list[Any]:
        names = [
            "done",
            "cancelled",
            "_state",
            "_callbacks",
            "_log_traceback",
            "_cancel_message",
            "_result",
            "_exception",
        ]
        names += ["_asyncio_future_blocking", "get_name", "_must_cancel", "_coro", "_fut_waiter"]
        if hasattr(asyncio.Task, "cancelling"):
            names.append("cancelling")
        return [[name, self.attempt(lambda name=name: self.value_of(name))] for name in names]

    def value_of(self, name: str) -> Any:
        value = getattr(self.object, name)
        return value() if callable(value) else value

    def play(self, call: Callable[[Any, Scene], Any]) -> list[Any]:
        """What the call gives, and everything that happens then."""
        story: list[Any] = []

        def act() -> None:
            story.extend([self.attempt(lambda: call(self.object, self)), self.seen()])

        if self.state == "running":
            self.act = act
            self.spin()
        else:
            act()
            self.spin()
        story.append(self.seen())
        if not self.event.done():
            self.event.set_result(None)
        self.spin()
        story.append(self.seen())
        if self.state != "bare":
            story.append(self.attempt(self.object.result))
        story.append(self.log)
        self.object = self.act = None
        gc.collect(0)
        for coro in self.made:
            coro.close()
        return story


def aioxide_loop() -> Any:
    import aioxide

    return aioxide.new_event_loop()


def task_class(loop: Any) -> type:
    async def nothing() -> None:
        pass

    task = loop.create_task(nothing())
    loop.run_until_complete(task)
    return type(task)


def calls(cls: type) -> Iterator[tuple[str, Callable[[Any, Scene], Any]]]:
    """Every way to use what the class has, with a name for it."""
    for name in sorted(set(dir(cls)) - LEFT_OUT):
        found = getattr(cls, name)
        if type(found).__name__ == "getset_descriptor":
            yield f"{name} read", lambda this, _, found=found: found.__get__(this)
            for value in VALUES.get(name, [True]):
                yield f"{name} = {value}", lambda this, _, found=found, value=value: found.__set__(this, value)
            yield f"{name} deleted", lambda this, _, found=found: found.__delete__(this)
        elif callable(found):
            for number, (arguments, named) in enumerate(ARGUMENTS.get(name, [((), {}), ((5, 6), {})])):

                def call(
                    this: Any, scene: Scene, found: Any = found, arguments: Any = arguments, named: Any = named
                ) -> Any:
                    stand = {"loop": scene.loop, "callback": scene.note, "file": io.StringIO()}
                    given = [scene.coroutine() if each == "coroutine" else stand.get(each, each) for each in arguments]
                    result = found(this, *given, **{key: stand.get(each, each) for key, each in named.items()})
                    return next(result) if isinstance(result, Iterator) else result

                yield f"{name} called {number}", call


def main(which: str) -> None:
    warnings.simplefilter("ignore")
    loop = asyncio.SelectorEventLoop() if which == "asyncio" else aioxide_loop()
    asyncio.set_event_loop(loop)
    for cls in CLASSES:
        for kind in ("Future", "Task") if cls is asyncio.Future else ("Task",):
            for derived in (False, True):
                for state in STATES[kind]:
                    if which == "asyncio" and (kind, state) == ("Task", "bare"):
                        # C's own code reads what is not there.
                        continue
                    for name, call in calls(cls):
                        if state == "running" and "__init__" in name:
                            continue
                        scene = Scene(loop, kind, derived, state)
                        story = scene.play(call)
                        print(json.dumps([cls.__name__, kind, derived, state, name, story]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

"""Classes derived from Rust's queues and asyncio's: each method that they replace is called as asyncio calls it."""

from __future__ import annotations

import asyncio
import collections
from typing import Any
from unittest import mock

import aioxide
import pytest
from sync_support import Run, begin, outcomes

KINDS = ("Queue", "LifoQueue", "PriorityQueue")


def test_subclass_with_its_own_storage_is_obeyed(package: Any, run: Any) -> None:
    class Unique(package.Queue):  # type: ignore[misc,name-defined]
        def _put(self, item: Any) -> None:
            if item not in self._queue:
                self._queue.append(item)

    async def main() -> int:
        queue = Unique()
        for item in (1, 1, 2):
            await queue.put(item)
        return int(queue.qsize())

    assert run(main()) == 2


def test_subclass_that_is_never_empty_is_asked(package: Any, run: Any) -> None:
    class Endless(package.Queue):  # type: ignore[misc,name-defined]
        def empty(self) -> bool:
            return False

        def get_nowait(self) -> str:
            return "made"

    async def main() -> str:
        return str(await Endless().get())

    assert run(main()) == "made"


def test_derived_class_with_a_store_of_its_own(package: Any, run: Run) -> None:
    class Unique(package.Queue):  # type: ignore[misc,name-defined]
        def _init(self, maxsize: int) -> None:
            self._queue = {}
            self.made_for = maxsize

        def _put(self, item: Any) -> None:
            self._queue[item] = None

        def _get(self) -> Any:
            return self._queue.popitem()[0]

    async def main() -> list[Any]:
        queue = Unique(3)
        for item in (1, 1, 2):
            await queue.put(item)
        return [queue.made_for, queue.qsize(), await queue.get(), queue.get_nowait(), queue.empty()]

    assert run(main()) == [3, 2, 2, 1, True]


@pytest.mark.parametrize("kind", KINDS)
def test_derived_class_that_calls_the_methods_it_overrides(package: Any, run: Run, kind: str) -> None:
    log: list[str] = []

    class Loud(getattr(package, kind)):  # type: ignore[misc]
        def _init(self, maxsize: int) -> None:
            log.append("_init")
            super()._init(maxsize)

        def _put(self, item: Any) -> None:
            log.append("_put")
            super()._put(item)

        def _get(self) -> Any:
            log.append("_get")
            return super()._get()

        def put_nowait(self, item: Any) -> None:
            log.append("put_nowait")
            super().put_nowait(item)

        def get_nowait(self) -> Any:
            log.append("get_nowait")
            return super().get_nowait()

        def full(self) -> bool:
            log.append("full")
            return bool(super().full())

        def empty(self) -> bool:
            log.append("empty")
            return bool(super().empty())

        def qsize(self) -> int:
            log.append("qsize")
            return int(super().qsize())

        def _wakeup_next(self, waiters: Any) -> None:
            log.append("_wakeup_next")
            super()._wakeup_next(waiters)

    async def main() -> list[Any]:
        queue = Loud(1)
        tasks = await begin(queue.get(), queue.put(3), queue.put(4))
        items = [await queue.get()]
        return [await tasks[0], *items, queue.qsize()]

    items = run(main())
    assert items == [4, 3, 0]
    calls = collections.Counter(log)
    assert calls["_init"] == 1
    assert calls["_put"] == calls["_get"] == calls["put_nowait"] == calls["get_nowait"] == 2
    assert calls["_wakeup_next"] >= 4
    assert calls["full"] >= 4
    assert calls["empty"] >= 4
    assert calls["qsize"] >= 4


def test_order_of_calls_in_a_derived_class() -> None:
    def traced(package: Any) -> list[str]:
        log: list[str] = []

        def method(name: str) -> Any:
            def call(self: Any, *arguments: Any) -> Any:
                log.append(name)
                return getattr(package.Queue, name)(self, *arguments)

            return call

        names = ("empty", "full", "qsize", "get_nowait", "put_nowait", "_get", "_put", "_wakeup_next", "_get_loop")
        derived = type("Derived", (package.Queue,), {name: method(name) for name in names})

        async def main() -> None:
            queue = derived(1)
            tasks = await begin(queue.get(), queue.get(), queue.put(1), queue.put(2), queue.put(3))
            tasks[1].cancel()
            tasks[4].cancel()
            await outcomes(tasks)

        loop = aioxide.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        return log

    assert traced(aioxide) == traced(asyncio)


def test_method_that_is_replaced_later_is_called(package: Any, run: Run) -> None:
    class Derived(package.Queue):  # type: ignore[misc,name-defined]
        pass

    async def main() -> list[Any]:
        queue = Derived()
        queue.put_nowait(1)
        seen = [await queue.get()]
        with mock.patch.object(Derived, "get_nowait", return_value="patched"):
            queue.put_nowait(2)
            seen.append(await queue.get())
        seen.append(await queue.get())
        with mock.patch.object(package.Queue, "_get", return_value="patched"):
            queue.put_nowait(3)
            seen.append(await queue.get())
        seen.append(await queue.get())
        queue.full = lambda: True
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(4)
        return seen

    assert run(main()) == [1, "patched", 2, "patched", 3]


def test_derived_class_overrides_get_and_put(package: Any, run: Run) -> None:
    class Doubling(package.Queue):  # type: ignore[misc,name-defined]
        async def get(self) -> Any:
            return 2 * await super().get()

        async def put(self, item: Any) -> None:
            await super().put(item + 1)

    async def main() -> Any:
        queue = Doubling()
        await queue.put(1)
        return await queue.get()

    assert run(main()) == 4


def test_program_that_waits_in_the_row_itself(package: Any, run: Run) -> None:
    """What derived classes do: asyncio's own code, written once more."""

    async def main() -> tuple[Any, int]:
        queue = package.Queue(1)
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        queue._getters.append(waiter)
        (task,) = await begin(queue.get())
        queue.put_nowait("item")
        await waiter
        queue._wakeup_next(queue._getters)
        return await task, len(queue._getters)

    assert run(main()) == ("item", 0)

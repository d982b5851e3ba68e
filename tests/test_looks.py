"""What `install` puts in asyncio's place looks like asyncio: to `inspect`, `unittest.mock`, `help()` and `pickle`."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import pydoc
import types
import typing
import weakref
from collections.abc import Iterator
from typing import Any
from unittest import mock

import aioxide
import pytest

# Attributes that are looked up in a class, beside the public ones.
SPECIAL = {"__aenter__", "__aexit__", "__aiter__", "__anext__"}
BUILT_IN = (types.WrapperDescriptorType, types.MethodWrapperType)
# Ours has a parameter more.
OTHER_SIGNATURES = {"gather"}


def parameters(thing: Any) -> Any:
    try:
        found = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError) as error:
        return type(error)
    return [(each.name, each.kind, each.default) for each in found]


def hints(thing: Any) -> Any:
    try:
        return sorted(typing.get_type_hints(thing))
    except (TypeError, NameError) as error:
        return type(error)


def looks(thing: Any) -> dict[str, Any]:
    """Returns what programs ask about a function or a class."""
    return {
        "coroutine function": inspect.iscoroutinefunction(thing),
        "generator function": (inspect.isgeneratorfunction(thing), inspect.isasyncgenfunction(thing)),
        "kind": (inspect.isfunction(thing), inspect.ismethod(thing), inspect.isroutine(thing), inspect.isclass(thing)),
        "partial": inspect.iscoroutinefunction(functools.partial(thing)),
        "signature": parameters(thing),
        "hints": hints(thing),
        "name": thing.__name__,
    }


def callables(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yields the public methods and attributes that can be called."""
    for name in dir(thing):
        if not name.startswith("_") or name in SPECIAL:
            found = getattr(thing, name)
            if callable(found) and not isinstance(found, BUILT_IN):
                yield name, found


def walk(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Returns everything of asyncio's that can be called, the methods of classes and of a loop among it."""
    found: dict[str, Any] = {}
    for name, thing in callables(asyncio):
        found[name] = thing
        if inspect.isclass(thing):
            found |= {f"{name}.{method}": function for method, function in callables(thing)}
    return found | {f"loop.{name}": method for name, method in callables(loop)}


@pytest.fixture
def installed() -> Iterator[None]:
    aioxide.install()
    yield
    aioxide.uninstall()


@pytest.fixture
def both() -> Iterator[list[dict[str, Any]]]:
    """What asyncio has, and what stands there after `install`."""
    found = []
    for change in (aioxide.uninstall, aioxide.install):
        change()
        loop = asyncio.new_event_loop()
        found.append(walk(loop))
        loop.close()
    yield found
    aioxide.uninstall()


def test_everything_of_asyncio_looks_the_same_after_install(both: Any) -> None:
    stock, ours = both
    assert len(stock) > 300
    assert set(stock) <= set(ours)
    different = {}
    for name, thing in stock.items():
        expected, seen = looks(thing), looks(ours[name])
        if name.startswith("loop.") and not expected["coroutine function"]:
            # Called once per callback: methods of C, which say of themselves all but that they are methods of Python's.
            expected["kind"], seen["kind"] = inspect.isroutine(thing), inspect.isroutine(ours[name])
        for look in expected:
            if expected[look] != seen[look] and not (look in ("signature", "hints") and name in OTHER_SIGNATURES):
                different[name, look] = expected[look], seen[look]
        if thing.__doc__ and not ours[name].__doc__:
            different[name, "documentation"] = thing.__doc__, None
    assert not different


@pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning")
def test_asyncios_own_coroutine_functions_are_known_by_asyncio(both: Any) -> None:
    for name, thing in both[0].items():
        known = asyncio.iscoroutinefunction(thing)
        assert asyncio.iscoroutinefunction(both[1][name]) == known, name


def test_added_parameters_are_optional(both: Any) -> None:
    for name in OTHER_SIGNATURES:
        theirs, ours = (inspect.signature(each[name]).parameters for each in both)
        added = [parameter for key, parameter in ours.items() if key not in theirs]
        assert set(theirs) < set(ours)
        assert all(parameter.kind is parameter.KEYWORD_ONLY and parameter.default is None for parameter in added)


METHODS = [
    *("Queue.get", "Queue.put", "Queue.join", "Queue.put_nowait", "Lock.acquire", "Lock.release"),
    *("Event.wait", "Event.set", "Semaphore.acquire", "Condition.wait", "Condition.wait_for"),
    *("StreamReader.readline", "StreamWriter.drain"),
]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_wrapped_by_functools_keeps_its_looks(name: str, installed: None) -> None:
    home, _, method = name.partition(".")
    original = getattr(getattr(asyncio, home), method)

    @functools.wraps(original)
    def wrapper(*args: Any) -> Any:
        return original(*args)

    assert (wrapper.__name__, wrapper.__qualname__) == (method, name)
    assert wrapper.__doc__
    assert inspect.signature(wrapper) == inspect.signature(original)


def test_help_shows_methods_with_their_parameters(installed: None) -> None:
    shown = pydoc.plain(pydoc.render_doc(asyncio.Queue))
    assert "class Queue" in shown
    for line in ("get(self)", "put(self, item)", "put_nowait(self, item)", "join(self)"):
        assert line in shown
    assert "async sleep(delay, result=None)" in pydoc.plain(pydoc.render_doc(asyncio.sleep))


def test_a_class_derived_from_ours_shows_its_own_constructor(installed: None) -> None:
    class Named(asyncio.Queue[int]):
        def __init__(self, name: str, *, size: int = 0) -> None:
            super().__init__(maxsize=size)
            self.name = name

    assert list(inspect.signature(Named).parameters) == ["name", "size"]
    assert Named("a", size=2).maxsize == 2
    assert asyncio.Queue(3).maxsize == asyncio.Queue(maxsize=3).maxsize == 3


def test_a_replaced_constructor_is_called(installed: None) -> None:
    made = []

    def init(self: Any, *args: Any) -> None:
        made.append(args)
        original(self, *args)

    original = asyncio.Lock.__init__
    asyncio.Lock.__init__ = init  # type: ignore[method-assign, assignment]
    try:
        asyncio.Lock()
    finally:
        asyncio.Lock.__init__ = original  # type: ignore[method-assign]
    assert made == [()]
    assert not asyncio.Lock().locked()


def test_patched_functions_are_asynchronous_mocks(installed: None) -> None:
    async def main() -> None:
        with mock.patch("asyncio.sleep") as sleep:
            await asyncio.sleep(100)
        sleep.assert_awaited_once_with(100)
        with mock.patch("asyncio.wait_for", return_value=1):
            assert await asyncio.wait_for(None, 1) == 1  # type: ignore[call-overload]
        queue: Any = asyncio.Queue()
        with mock.patch.object(queue, "get", return_value=3):
            assert await queue.get() == 3
        reader = asyncio.StreamReader()
        with mock.patch.object(reader, "readline", return_value=b"line"):
            assert await reader.readline() == b"line"

    asyncio.run(main())


@pytest.mark.parametrize("name", ["Queue", "Lock", "Event", "Condition", "Semaphore", "StreamReader"])
def test_a_mock_made_of_a_class_has_its_asynchronous_methods(name: str, installed: None) -> None:
    async def main() -> None:
        thing = getattr(asyncio, name)
        for made in (mock.MagicMock(spec=thing), mock.create_autospec(thing, instance=True)):
            for method, function in callables(thing):
                if not method.startswith("_") and inspect.iscoroutinefunction(function):
                    assert inspect.iscoroutinefunction(getattr(made, method)), (made, method)

    asyncio.run(main())


def test_an_autospec_of_a_queue_checks_arguments(installed: None) -> None:
    async def main() -> None:
        queue = mock.create_autospec(asyncio.Queue())
        queue.get.return_value = 5
        assert await queue.get() == 5
        with pytest.raises(TypeError):
            queue.put_nowait()
        await queue.put("item")
        queue.put.assert_awaited_once_with("item")

    asyncio.run(main())


def test_methods_are_referred_to_weakly_as_bound_ones(installed: None) -> None:
    event = asyncio.Event()
    reference = weakref.WeakMethod(event.set)
    method = reference()
    assert method is not None
    method()
    assert event.is_set()
    del event, method
    assert reference() is None
    assert weakref.ref(asyncio.sleep)() is asyncio.sleep


def test_functions_are_copied_and_pickled_by_name(installed: None) -> None:
    for function in (asyncio.sleep, asyncio.wait, asyncio.Queue.get, asyncio.Lock.acquire):
        assert copy.copy(function) is function
        assert copy.deepcopy(function) is function
        assert pickle.loads(pickle.dumps(function)) is function


def test_attributes_can_be_set_and_taken_away(installed: None) -> None:
    function: Any = asyncio.Queue.get
    function.marked = 1
    assert asyncio.Queue().get.marked == 1  # type: ignore[attr-defined]
    assert "marked" in vars(function)
    assert "marked" in dir(function)
    del function.marked
    assert not hasattr(function, "marked")


def test_wrong_arguments_are_refused_in_pythons_words(both: Any) -> None:
    def told(function: Any, thing: Any) -> list[str]:
        found = []
        for args, kwargs in (((thing, 1, 2, 3, 4, 5), {}), ((thing,), {"unknown": 1}), ((), {})):
            with pytest.raises(TypeError) as caught:
                function(*args, **kwargs)
            found.append(str(caught.value))
        return found

    queues = ["Queue.get", "Queue.qsize"]
    for name in [*queues, "Lock.acquire", "Lock.locked", "Event.wait", "Event.clear", "Condition.wait"]:
        stock, ours = (told(each[name], each[name.partition(".")[0]]()) for each in both)
        assert ours == stock, name


def test_a_function_serves_what_is_not_of_our_classes(both: Any) -> None:
    stock, ours = both
    queue = stock["Queue"]()
    queue.put_nowait("item")

    async def main() -> Any:
        return await ours["Queue.get"](queue)

    assert asyncio.run(main()) == "item"
    assert ours["Lock.locked"](stock["Lock"]()) is False

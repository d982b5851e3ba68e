"""`aioxide.install` and `uninstall`: every way to a new loop leads to ours, and back."""

from __future__ import annotations

import asyncio
import sys
import warnings
from asyncio import events
from collections.abc import Iterator

import aioxide
import pytest

with_policies = pytest.mark.skipif(sys.version_info >= (3, 16), reason="Python 3.16 has no policies")


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    aioxide.install()
    yield
    aioxide.uninstall()


async def kind() -> type:
    return type(asyncio.get_running_loop())


def is_ours(loop: asyncio.AbstractEventLoop) -> bool:
    loop.close()
    return isinstance(loop, aioxide.EventLoop)


def test_asyncio_run_uses_our_loop() -> None:
    assert asyncio.run(kind()) is aioxide.EventLoop


def test_new_event_loop_is_ours_by_either_name() -> None:
    assert is_ours(asyncio.new_event_loop())
    assert is_ours(events.new_event_loop())


def test_uninstall_restores_exactly() -> None:
    aioxide.uninstall()
    before = (asyncio.new_event_loop, events.new_event_loop, events.__dict__.get("_event_loop_policy"))
    aioxide.install()
    aioxide.uninstall()
    after = (asyncio.new_event_loop, events.new_event_loop, events.__dict__.get("_event_loop_policy"))
    assert after == before
    assert not is_ours(asyncio.new_event_loop())


def test_install_twice_is_undone_by_one_uninstall() -> None:
    aioxide.install()
    aioxide.uninstall()
    assert not is_ours(asyncio.new_event_loop())


def test_uninstall_without_install_does_nothing() -> None:
    aioxide.uninstall()
    aioxide.uninstall()
    assert not is_ours(asyncio.new_event_loop())


def test_uninstall_leaves_what_somebody_else_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def theirs() -> asyncio.AbstractEventLoop:
        raise AssertionError

    monkeypatch.setattr(asyncio, "new_event_loop", theirs)
    aioxide.uninstall()
    assert asyncio.new_event_loop is theirs


def test_install_warns_of_nothing() -> None:
    aioxide.uninstall()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aioxide.install()
        assert asyncio.run(kind()) is aioxide.EventLoop


@with_policies
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_policy_is_ours() -> None:
    assert isinstance(asyncio.get_event_loop_policy(), aioxide.EventLoopPolicy)
    assert is_ours(asyncio.get_event_loop_policy().new_event_loop())


@with_policies
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_policy_that_is_reset_still_leads_to_our_loop() -> None:
    asyncio.set_event_loop_policy(None)
    assert asyncio.run(kind()) is aioxide.EventLoop


@with_policies
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_policy_set_later_is_obeyed() -> None:
    class Loop(asyncio.SelectorEventLoop):
        pass

    class Policy(asyncio.DefaultEventLoopPolicy):
        _loop_factory = Loop

    asyncio.set_event_loop_policy(Policy())
    assert asyncio.run(kind()) is Loop
    aioxide.uninstall()
    assert isinstance(asyncio.get_event_loop_policy(), Policy)
    asyncio.set_event_loop_policy(None)


@with_policies
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_policy_by_itself() -> None:
    aioxide.uninstall()
    asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())
    try:
        assert asyncio.run(kind()) is aioxide.EventLoop
    finally:
        asyncio.set_event_loop_policy(None)


def test_public_names_can_be_listed_and_read() -> None:
    for name in aioxide.__all__:
        if name == "EventLoopPolicy" and sys.version_info >= (3, 16):
            continue
        assert getattr(aioxide, name) is not None
    assert set(aioxide.__all__) <= set(dir(aioxide))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        aioxide.nothing  # noqa: B018


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python 3.13 knows the module by this name")
@pytest.mark.parametrize("use", ["aioxide.run(main())", "aioxide.install()", "aioxide.Task", "aioxide.Queue"])
def test_another_interpreter_is_refused_in_words(use: str) -> None:
    import _interpreters

    other = _interpreters.create()
    try:
        failed = _interpreters.exec(other, f"import aioxide\nasync def main(): pass\n{use}")
    finally:
        _interpreters.destroy(other)
    assert "aioxide works in the main interpreter of a process only" in failed.msg

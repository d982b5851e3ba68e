//! What never waits: `put_nowait`, `get_nowait`, `task_done`, `shutdown`, and the waking of those who do.

use super::traits::Traits;
use super::{Queue, store, traits};
use crate::ffi::{Object, Outcome, Owned, Raised, call, none, raised};
use crate::future::{Future, KINDS, is_done};
use crate::interp::names;
use crate::sync::deque::Deque;

/// Whom a wake-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Getters,
    Putters,
}

impl Side {
    #[inline]
    pub(super) fn line(self, queue: &Queue) -> &Deque {
        match self {
            Self::Getters => &queue.getters,
            Self::Putters => &queue.putters,
        }
    }
}

/// `put_nowait(item)`.
#[inline]
pub(super) fn put(queue: &Queue, traits: Traits, item: Owned) -> Outcome<()> {
    if queue.is_shutdown.get() {
        return Err(shut_down());
    }
    if store::is_full(queue, traits)? {
        return Err(raised::raise_value(&names().queue_full, none()));
    }
    put_with_room(queue, traits, item)
}

/// `put` of a queue that was just found to have room and not to be shut down.
#[inline(always)]
pub(super) fn put_with_room(queue: &Queue, traits: Traits, item: Owned) -> Outcome<()> {
    store::add(queue, traits, item)?;
    queue.unfinished.set(queue.unfinished.get() + 1);
    unfinish(queue)?;
    wake_next(queue, traits, Side::Getters)
}

/// `get_nowait()`.
#[inline]
pub(super) fn get(queue: &Queue, traits: Traits) -> Outcome {
    if store::is_empty(queue, traits)? {
        return Err(if queue.is_shutdown.get() {
            shut_down()
        } else {
            raised::raise_value(&names().queue_empty, none())
        });
    }
    get_what_is_there(queue, traits)
}

/// `get` of a queue that was just found to have an item.
#[inline(always)]
pub(super) fn get_what_is_there(queue: &Queue, traits: Traits) -> Outcome {
    let item = store::take(queue, traits)?;
    wake_next(queue, traits, Side::Putters)?;
    Ok(item)
}

/// What a queue that was shut down raises.
#[cold]
pub(super) fn shut_down() -> Raised {
    raised::raise_value(&names().queue_shut_down, none())
}

/// `_wakeup_next(waiters)`: finishes the first waiter that is not done.
#[inline(always)]
pub(super) fn wake_next(queue: &Queue, traits: Traits, side: Side) -> Outcome<()> {
    if !traits.has(Traits::WAKE) && side.line(queue).is_surely_empty() {
        return Ok(());
    }
    wake_who_waits(queue, traits, side)
}

fn wake_who_waits(queue: &Queue, traits: Traits, side: Side) -> Outcome<()> {
    let line = side.line(queue);
    if traits.has(Traits::WAKE) {
        return call::call_method(&names().wakeup_next, &[queue.object(), &*line.show()?], None).map(drop);
    }
    while let Some(waiter) = line.pop_waiter()? {
        if wake(&waiter)? {
            break;
        }
    }
    Ok(())
}

/// Finishes a waiter; `false` if it is done already.
#[inline]
fn wake(waiter: &Object) -> Outcome<bool> {
    if waiter.kind() == KINDS.future.get()
        && let Some(future) = Future::exact(waiter)
    {
        let waits = !future.is_done();
        if waits {
            future.finish_with_result(Owned::none())?;
        }
        return Ok(waits);
    }
    if is_done(waiter)? {
        return Ok(false);
    }
    call::call_method(&names().set_result, &[waiter, none()], None)?;
    Ok(true)
}

/// `_finished.clear()`.
#[inline(always)]
fn unfinish(queue: &Queue) -> Outcome<()> {
    queue.is_finished.set(false);
    if queue.finished.is_empty() { Ok(()) } else { tell_event(queue, &names().clear) }
}

#[cold]
fn tell_event(queue: &Queue, method: &Object) -> Outcome<()> {
    call::call_method(method, &[&queue.finished.get_or_none()], None).map(drop)
}

/// `_finished.set()`.
fn finish(queue: &Queue) -> Outcome<()> {
    queue.is_finished.set(true);
    if queue.finished.is_empty() { Ok(()) } else { tell_event(queue, &names().set) }
}

/// `task_done()`.
pub(super) fn task_done(queue: &Queue) -> Outcome {
    let unfinished = queue.unfinished.get();
    if unfinished <= 0 {
        return Err(raised::raise(raised::value_error(), "task_done() called too many times"));
    }
    queue.unfinished.set(unfinished - 1);
    if unfinished == 1 {
        finish(queue)?;
    }
    Ok(Owned::none())
}

/// `shutdown(immediate)`.
pub(super) fn shutdown(queue: &Queue, immediate: bool) -> Outcome {
    let traits = traits(queue)?;
    queue.is_shutdown.set(true);
    if immediate {
        while !store::is_empty(queue, traits)? {
            store::take(queue, traits)?;
            if queue.unfinished.get() > 0 {
                queue.unfinished.set(queue.unfinished.get() - 1);
            }
        }
        if queue.unfinished.get() == 0 {
            finish(queue)?;
        }
    }
    // All who wait are to look again: there is an item, or QueueShutDown is raised.
    for side in [Side::Getters, Side::Putters] {
        while let Some(waiter) = side.line(queue).pop()? {
            wake(&waiter)?;
        }
    }
    Ok(Owned::none())
}

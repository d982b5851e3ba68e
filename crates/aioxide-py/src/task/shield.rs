//! `shield`: a future that may be cancelled while the one behind it goes on.
//!
//! The two futures share one parent, which stands among the waiters of both: it passes the end of the inner one on, and
//! leaves the inner one's waiters when the outer one was cancelled. From some 3.13 on asyncio reports what the inner one raises
//! after that; there, and for futures that are not ours, asyncio's own function does it.

use super::start;
use crate::awaitable::{Awaitable, Home, Next, Steps, reused};
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::method::method_fast;
use crate::ffi::{self, Object, Outcome, Slot};
use crate::future::parent::{self, Parent, ParentKind};
use crate::future::{Future, State};
use crate::interp::{interop, names};

/// What the two futures have in common.
pub(crate) struct Shield {
    inner: Slot,
    outer: Slot,
    /// From Python 3.14 on: who made it, and so awaits the inner one.
    awaiter: Slot,
}

static HOME: Home = Home::new();

/// It is nothing to iterate over: it takes the collector's functions and the free list of awaitables.
impl Steps for Shield {
    const AWAITABLE: bool = false;
    const IS_COROUTINE: bool = false;

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.inner, &self.outer, &self.awaiter].into_iter()
    }

    fn advance(_: &Awaitable<Self>) -> Outcome<Next> {
        Err(reused())
    }

    fn give_up(_: &Awaitable<Self>) -> Outcome<()> {
        Ok(())
    }
}

static PARENT: ParentKind = ParentKind::of::<Awaitable<Shield>>("shield.<locals>._inner_done_callback");

impl Parent for Awaitable<Shield> {
    fn kind() -> &'static ParentKind {
        &PARENT
    }

    /// One of the two futures is done.
    fn child_done(&self, child: &Object) -> Outcome<()> {
        let (Some(inner), Some(outer)) = (self.inner.get(), self.outer.get()) else { return Ok(()) };
        if let Some(awaiter) = self.awaiter.take() {
            interop::discard_awaited_by(&inner, &awaiter)?;
        }
        let (Some(inside), Some(outside)) = (Future::exact(&inner), Future::exact(&outer)) else {
            return Ok(());
        };
        if child.is(&outer) {
            if !inside.is_done() {
                inside.remove_parent(self.object());
            }
            return Ok(());
        }
        if outside.is_done() {
            // Looked at, so that it is not reported as never retrieved.
            inside.log_traceback.set(false);
            return Ok(());
        }
        match inside.state.get() {
            State::Cancelled => outside.finish_cancelled(None).map(drop),
            State::Finished => {
                inside.log_traceback.set(false);
                match inside.exception.get() {
                    Some(exception) => outside.finish_with_exception(exception),
                    None => outside.finish_with_result(inside.result.get_or_none()),
                }
            }
            State::Pending => Ok(()),
        }
    }
}

impl Awaitable<Shield> {}

/// `shield(arg)`.
fn shield(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let forward = || arguments.forward_all(&names.asyncio_shield);
    let mut given = arguments.positional();
    let (Some(argument), None, true) = (given.next(), given.next(), names.log_on_exception.is_none()) else {
        return forward();
    };
    if arguments.has_named() {
        return forward();
    }
    let Some(inner) = start::ensure(argument, None)? else { return forward() };
    let Some(inside) = Future::exact(&inner) else { return forward() };
    if inside.is_done() {
        return Ok(inner);
    }
    let event_loop = inside.loop_or_raise()?;
    let Some(state) = inside.loop_state().filter(|state| state.makes_futures()) else {
        // A future of ours on a loop of somebody else.
        return ffi::call::call(&names.asyncio_shield, &[&inner]);
    };
    let outer = Future::make(&event_loop, state)?;
    let shared = Shield { inner: Slot::new(), outer: Slot::new(), awaiter: Slot::new() };
    shared.inner.set(inner.clone());
    shared.outer.set(outer.clone());
    if let Some(awaiter) = interop::awaiter(&event_loop) {
        interop::add_awaited_by(&inner, &awaiter)?;
        shared.awaiter.set(awaiter);
    }
    let shared = Awaitable::make(shared)?;
    if let Some(shared) = Awaitable::<Shield>::exact(&shared) {
        parent::watch(shared, &inner)?;
        parent::watch(shared, &outer)?;
    }
    Ok(outer)
}

/// Makes the type and the function.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    Awaitable::<Shield>::make_kind(c"aioxide._Shield")?;
    exports.function(method_fast!(
        c"shield",
        shield,
        c"shield(arg)\n--\n\nWait for a future, which goes on when the wait is cancelled."
    ))
}

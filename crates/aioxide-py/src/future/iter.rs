//! What `await future` iterates over: yields the future once if it is pending, then returns its result.

use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early};
use crate::ffi::{Outcome, Owned, Slot, cast};
use crate::future::Future;

struct Iter {
    /// Empty once the iteration has ended.
    future: Slot,
}

static HOME: Home = Home::new();

impl Steps for Iter {
    const AWAITABLE: bool = false;
    const IS_COROUTINE: bool = false;

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.future].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        let Some(object) = this.future.get() else { return Ok(Next::Return(Owned::none())) };
        // SAFETY: `make` put a future of ours there.
        let future: &Future = unsafe { cast(object.as_ptr()) };
        if !future.is_done() {
            if future.blocking.replace(true) {
                return Err(resumed_too_early());
            }
            return Ok(Next::Yield(object));
        }
        this.future.clear();
        future.result_or_raise().map(Next::Return)
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        this.future.clear();
        Ok(())
    }
}

/// An iterator over `future`.
#[inline]
pub(crate) fn make(future: &Future) -> Outcome {
    future.loop_or_raise()?;
    let iter = Iter { future: Slot::new() };
    iter.future.set(future.own());
    Awaitable::make(iter)
}

/// Makes the type.
pub(crate) fn make_kind() -> Outcome<()> {
    Awaitable::<Iter>::make_kind(c"aioxide.FutureIter")
}

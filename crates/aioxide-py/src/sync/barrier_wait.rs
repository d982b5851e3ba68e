//! What `Barrier.wait`, `reset` and `abort` give to `await`.
//!
//! States: NEW until it is first resumed; ENTERING while it waits for the lock; BLOCKED while the barrier drains or is
//! reset; COUNTED while it waits as one of the parties; then DONE. In BLOCKED and COUNTED the lock is held, but for the time
//! that the inner wait is away; whoever leaves COUNTED, however, is taken off the count. The waits themselves are those of
//! the condition and its lock: each is driven as `await` would.

use std::cell::Cell;

use super::barrier::{Barrier, State as BarrierState};
use super::condition::Condition;
use super::{condition_wait, ours, wait};
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, reused};
use crate::ffi::coroutine::{self, Resumed};
use crate::ffi::holder::{Holder, Link};
use crate::ffi::{Outcome, Owned, Raised, Slot, call, raised};
use crate::interp::names;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Entering,
    Blocked,
    Counted,
    Done,
}

/// What is to be done with the lock held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    Wait,
    Reset,
    Abort,
}

pub(super) struct BarrierWait {
    errand: Errand,
    state: Cell<State>,
    index: Cell<i64>,
    barrier: Link<Barrier>,
    /// The wait for the lock or for a notification that is under way.
    inner: Slot,
}

static HOME: Home = Home::new();

/// An awaitable that does the errand.
pub(super) fn make(barrier: &Holder<Barrier>, errand: Errand) -> Outcome {
    Awaitable::make(BarrierWait {
        errand,
        state: Cell::new(State::New),
        index: Cell::new(0),
        barrier: Link::new(barrier),
        inner: Slot::new(),
    })
}

/// Makes the type.
pub(super) fn make_kind() -> Outcome<()> {
    Awaitable::<BarrierWait>::make_kind(c"aioxide.BarrierWait")
}

/// Raises BrokenBarrierError.
fn broken(message: &str) -> Raised {
    match ours(c"BrokenBarrierError") {
        Ok(kind) => raised::raise(&kind, message),
        Err(raised) => raised,
    }
}

fn unlock(condition: &Holder<Condition>) -> Outcome<()> {
    condition.lock_or_raise()?.unlock()
}

impl BarrierWait {
    /// Goes on with what came out of the inner wait.
    fn go_on(&self, barrier: &Holder<Barrier>, resumed: Outcome<Resumed>) -> Outcome<Next> {
        let mut resumed = resumed;
        loop {
            match resumed {
                Ok(Resumed::Yielded(future)) => return Ok(Next::Yield(future)),
                Ok(Resumed::Returned(_)) => {}
                Err(raised) => return Err(self.fail(barrier, raised)),
            }
            let condition = barrier.condition()?;
            let inner = match self.has_lock(barrier, &condition) {
                Ok(Some(inner)) => inner,
                Ok(None) => return self.finish(barrier, &condition),
                Err(raised) => return Err(self.fail(barrier, raised)),
            };
            self.inner.set(inner.clone());
            resumed = coroutine::send(&inner);
        }
    }

    /// The lock is held: does what there is to do, or returns what to wait for before that.
    fn has_lock(&self, barrier: &Holder<Barrier>, condition: &Holder<Condition>) -> Outcome<Option<Owned>> {
        self.inner.clear();
        if self.state.get() == State::Entering {
            self.state.set(State::Blocked);
            match self.errand {
                Errand::Wait => {}
                Errand::Reset => return barrier.reset().map(|()| None),
                Errand::Abort => return barrier.abort().map(|()| None),
            }
        }
        if self.state.get() == State::Blocked {
            match barrier.state.get() {
                BarrierState::Draining | BarrierState::Resetting => {
                    return condition_wait::make(condition, None).map(Some);
                }
                BarrierState::Broken => return Err(broken("Barrier aborted")),
                BarrierState::Filling => {}
            }
            self.index.set(barrier.count.get());
            barrier.count.set(self.index.get() + 1);
            self.state.set(State::Counted);
            if self.index.get() + 1 == barrier.needed.get() {
                barrier.state.set(BarrierState::Draining);
                condition.notify_all()?;
                return Ok(None);
            }
        }
        match barrier.state.get() {
            BarrierState::Filling => condition_wait::make(condition, None).map(Some),
            BarrierState::Draining => Ok(None),
            BarrierState::Broken | BarrierState::Resetting => Err(broken("Abort or reset of barrier")),
        }
    }

    fn finish(&self, barrier: &Holder<Barrier>, condition: &Holder<Condition>) -> Outcome<Next> {
        if self.state.replace(State::Done) == State::Counted {
            barrier.leave()?;
        }
        unlock(condition)?;
        let value =
            if self.errand == Errand::Wait { call::integer(self.index.get())? } else { Owned::none() };
        Ok(Next::Return(value))
    }

    /// Ends by an exception, with the lock held unless it is the wait for it that failed.
    fn fail(&self, barrier: &Holder<Barrier>, raised: Raised) -> Raised {
        let exception = raised::take(raised);
        let state = self.state.replace(State::Done);
        self.inner.clear();
        let mut left = Ok(());
        if state == State::Counted {
            left = barrier.leave();
        }
        if matches!(state, State::Counted | State::Blocked) {
            left = left.and_then(|()| unlock(&*barrier.condition()?));
        }
        match left {
            Ok(()) => raised::put_back(exception),
            Err(raised) => raised,
        }
    }
}

impl Steps for BarrierWait {
    fn name(&self) -> &'static str {
        match self.errand {
            Errand::Wait => "Barrier.wait",
            Errand::Reset => "Barrier.reset",
            Errand::Abort => "Barrier.abort",
        }
    }

    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Done => Stage::Done,
            _ => Stage::Suspended,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.inner.get()
    }

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [self.barrier.slot(), &self.inner].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        let Some(barrier) = this.barrier.get() else { return Err(reused()) };
        if this.state.get() == State::New {
            let lock = barrier.condition()?.lock_or_raise()?;
            this.inner.set(wait::make(&lock, false)?);
            this.state.set(State::Entering);
        }
        let Some(inner) = this.inner.get() else { return Err(reused()) };
        this.go_on(&barrier, coroutine::send(&inner))
    }

    fn thrown(this: &Awaitable<Self>, exception: Owned) -> Outcome<Next> {
        let (Some(barrier), Some(inner)) = (this.barrier.get(), this.inner.get()) else {
            this.state.set(State::Done);
            return Err(raised::put_back(exception));
        };
        this.go_on(&barrier, coroutine::throw(&inner, &exception, &names().throw))
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        let state = this.state.replace(State::Done);
        let (Some(barrier), Some(inner)) = (this.barrier.get(), this.inner.take()) else { return Ok(()) };
        let closed = call::call_method(&names().close, &[&inner], None);
        let pending = if closed.is_err() { raised::pending() } else { None };
        if state == State::Counted {
            barrier.leave()?;
        }
        if let Some(exception) = pending {
            // The condition's wait could not take the lock back.
            return Err(raised::put_back(exception));
        }
        if matches!(state, State::Counted | State::Blocked) { unlock(&*barrier.condition()?) } else { Ok(()) }
    }
}

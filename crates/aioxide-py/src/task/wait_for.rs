//! `wait_for`: an awaitable with a deadline around another, without a coroutine frame. For Python 3.12 and later.
//!
//! States: NEW until it is first resumed, then WAITING for what it was given, inside the deadline, or PASSING everything on
//! to asyncio's own coroutine, then DONE. The latter serves what is out of the ordinary: no time left, loops and tasks that are
//! not ours. What is awaited is resumed directly, as `await` does.

use std::cell::Cell;

use super::deadline::{Deadline, Phase};
use super::{Task, start, timeout};
use crate::awaitable::inner::Inner;
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, reused};
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::method::method_fast;
use crate::ffi::{Object, Outcome, Owned, Slot, call, cast, coroutine, number, raised};
use crate::interp::names;
use crate::kernel::state_of;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Waiting,
    Passing,
    Done,
}

/// The data of a `wait_for`.
pub(crate) struct WaitFor {
    state: Cell<State>,
    awaited: Slot,
    timeout: Slot,
    inner: Inner,
    pub(crate) deadline: Deadline,
}

static HOME: Home = Home::new();

impl Steps for WaitFor {
    fn name(&self) -> &'static str {
        "wait_for"
    }

    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Done => Stage::Done,
            _ => Stage::Suspended,
        }
    }

    /// Of asyncio's own coroutine what it awaits: it stands for this.
    fn awaited(&self) -> Option<Owned> {
        let inner = self.inner.slot().get()?;
        match self.state.get() {
            State::Passing => call::get_attribute(&inner, &names().cr_await).map_err(raised::clear).ok(),
            _ => Some(inner),
        }
    }

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.awaited, &self.timeout, self.inner.slot(), &self.deadline.task].into_iter()
    }

    #[inline]
    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        match this.state.get() {
            State::New => this.begin(),
            State::Waiting => this.settle(this.inner.advance()),
            State::Passing => this.inner.advance(),
            State::Done => Err(reused()),
        }
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        let state = this.state.replace(State::Done);
        let closed = this.inner.close();
        this.awaited.clear();
        if state == State::Waiting {
            this.leave();
        }
        closed
    }

    fn thrown(this: &Awaitable<Self>, exception: Owned) -> Outcome<Next> {
        match this.state.get() {
            State::Waiting => this.settle(this.inner.throw(exception)),
            State::Passing => this.inner.throw(exception),
            State::New | State::Done => {
                Self::give_up(this)?;
                Err(raised::put_back(exception))
            }
        }
    }
}

impl Awaitable<WaitFor> {
    fn begin(&self) -> Outcome<Next> {
        self.state.set(State::Done);
        let awaited = self.awaited.take().unwrap_or_else(Owned::none);
        let limit = match self.timeout.get() {
            Some(timeout) => match number::plain(&timeout) {
                Some(seconds) if seconds > 0.0 => Some(seconds),
                // No time left, or not of the usual kind.
                _ => return self.pass_on(&awaited),
            },
            None => None,
        };
        let running = start::running_loop()?;
        let state = if running.is_none() { None } else { state_of(&running) };
        let (Some(state), Some(task)) = (
            state.filter(|state| state.takes_timers()),
            (!running.is_none()).then(|| Task::current(&running)).flatten(),
        ) else {
            return self.pass_on(&awaited);
        };
        // SAFETY: `current` returns tasks of this class.
        self.deadline.enter(unsafe { cast(task.as_ptr()) });
        if let Some(seconds) = limit {
            let now = state.now();
            self.deadline.arm(self.object(), expire, state, now + seconds, now);
        }
        self.state.set(State::Waiting);
        let begun = coroutine::start_await(&awaited).and_then(|inner| self.inner.begin(inner));
        self.settle(begun)
    }

    fn pass_on(&self, awaited: &Object) -> Outcome<Next> {
        let coroutine = call::call(&names().asyncio_wait_for, &[awaited, &*self.timeout.get_or_none()])?;
        self.state.set(State::Passing);
        self.inner.begin(coroutine)
    }

    /// Deals with what came out of what is awaited.
    #[inline]
    fn settle(&self, next: Outcome<Next>) -> Outcome<Next> {
        match next {
            Ok(Next::Yield(yielded)) => Ok(Next::Yield(yielded)),
            Ok(Next::Return(value)) => {
                self.state.set(State::Done);
                if self.leave() == Phase::Expiring {
                    // It came to its end all the same.
                    self.deadline.phase.set(Phase::Expired);
                    if let Some(task) = self.deadline.task.get().as_deref().and_then(Task::from_object) {
                        task.uncancel();
                    }
                }
                self.deadline.task.clear();
                Ok(Next::Return(value))
            }
            Err(raised) => {
                let exception = raised::take(raised);
                self.state.set(State::Done);
                let phase = self.leave();
                let outcome = match phase {
                    Phase::Expiring => timeout::leave_expired(&self.deadline, &exception),
                    _ => Ok(()),
                };
                self.deadline.task.clear();
                outcome?;
                Err(raised::put_back(exception))
            }
        }
    }

    fn leave(&self) -> Phase {
        self.deadline.leave()
    }
}

/// `wait_for(fut, timeout)`.
fn wait_for(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [awaited, timeout] = arguments.parse("wait_for", &[&names.awaited, &names.timeout], 2)?;
    let (Some(awaited), Some(timeout)) = (awaited, timeout) else {
        let missing = if awaited.is_none() { "fut" } else { "timeout" };
        let message = format!("wait_for() missing required argument: '{missing}'");
        return Err(raised::raise(raised::type_error(), &message));
    };
    let made = WaitFor {
        state: Cell::new(State::New),
        awaited: Slot::new(),
        timeout: Slot::new(),
        inner: Inner::new(),
        deadline: Deadline::new(),
    };
    made.awaited.set(awaited.own());
    made.timeout.put((!timeout.is_none()).then(|| timeout.own()));
    Awaitable::make(made)
}

/// Makes the type and the function.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    Awaitable::<WaitFor>::make_kind(c"aioxide._WaitFor")?;
    exports.function(method_fast!(
        c"wait_for",
        wait_for,
        c"wait_for(fut, timeout)\n--\n\nWait for an awaitable, which is cancelled when the time is up."
    ))
}

/// The time is up.
fn expire(owner: &Object, generation: u32) -> Outcome<()> {
    Awaitable::<WaitFor>::exact(owner).map_or(Ok(()), |owner| owner.deadline.expire(generation))
}

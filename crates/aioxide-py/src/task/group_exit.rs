//! What a task group's exit awaits: its tasks, without a coroutine frame as long as all goes well.
//!
//! States: NEW until it is first resumed, then WAITING for the future that the last task finishes, or HANDED over to
//! asyncio's own `__aexit__`, then DONE. It is handed over as soon as anything goes wrong: that coroutine is then brought to
//! the await at which it would have been, and what has happened happens there.

use std::cell::Cell;

use super::group::Group;
use crate::awaitable::inner::Inner;
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early, reused};
use crate::ffi::coroutine::{self, Resumed};
use crate::ffi::{self, Object, Outcome, Owned, Slot, call, cast, raised};
use crate::future::{Future, is_done, mark_blocking};
use crate::interp::names;
use crate::kernel::state_of;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Waiting,
    Handed,
    Done,
}

struct Exit {
    state: Cell<State>,
    group: Slot,
    inner: Inner,
}

static HOME: Home = Home::new();

impl Steps for Exit {
    fn name(&self) -> &'static str {
        "TaskGroup.__aexit__"
    }

    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Done => Stage::Done,
            _ => Stage::Suspended,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        let group = self.group.get();
        // SAFETY: `make` put a group there.
        let waits = group.and_then(|group| unsafe { cast::<Group>(group.as_ptr()) }.on_completed.get());
        self.inner.slot().get().or(waits)
    }

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.group, self.inner.slot()].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        let state = this.state.get();
        if state == State::Handed {
            return this.inner.advance();
        }
        let Some(object) = this.group.get() else { return Err(reused()) };
        // SAFETY: `make` put a group there.
        let group: &Group = unsafe { cast(object.as_ptr()) };
        if state == State::New {
            this.state.set(State::Done);
            group.exiting.set(true);
            if !group.is_clean()? {
                this.state.set(State::Handed);
                return this.inner.begin(group.stock_exit()?);
            }
        } else {
            if let Some(future) = group.on_completed.get() {
                if !is_done(&future)? {
                    return Err(resumed_too_early());
                }
                if Future::exact(&future).is_none_or(|future| !future.has_result()) {
                    // Somebody else ended it: what that means asyncio's own code knows.
                    let raised = call::call_method(&crate::interp::names().result, &[&future], None);
                    return match raised {
                        Ok(_) => this.hand_over(group, None),
                        Err(raised) => this.hand_over(group, Some(raised::take(raised))),
                    };
                }
            }
            group.on_completed.clear();
        }
        if group.pending()? > 0 {
            return this.wait(group);
        }
        if !group.is_clean()? {
            return this.hand_over(group, None);
        }
        this.state.set(State::Done);
        group.end();
        this.group.clear();
        Ok(Next::Return(Owned::none()))
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        this.state.set(State::Done);
        this.group.clear();
        this.inner.close()
    }

    fn thrown(this: &Awaitable<Self>, exception: Owned) -> Outcome<Next> {
        match (this.state.get(), this.group.get()) {
            (State::Handed, _) => this.inner.throw(exception),
            (State::Waiting, Some(group)) => {
                // SAFETY: `make` put a group there.
                this.hand_over(unsafe { cast(group.as_ptr()) }, Some(exception))
            }
            _ => {
                Self::give_up(this)?;
                Err(raised::put_back(exception))
            }
        }
    }
}

impl Awaitable<Exit> {
    fn wait(&self, group: &Group) -> Outcome<Next> {
        let future = make_future(group)?;
        group.on_completed.set(future.clone());
        mark_blocking(&future)?;
        self.state.set(State::Waiting);
        Ok(Next::Yield(future))
    }

    /// Brings asyncio's own `__aexit__` to its await, and lets it go on there: by an exception or with a result.
    fn hand_over(&self, group: &Group, exception: Option<Owned>) -> Outcome<Next> {
        self.state.set(State::Done);
        let tasks = group.tasks.get_or_none();
        let future = make_future(group)?;
        // As it was when the exit began: there was something to wait for, and nothing had gone wrong.
        let requested = group.parent_cancel_requested.replace(false);
        group.on_completed.set(future.clone());
        call::set_add(&tasks, ffi::none())?;
        let coroutine = group.stock_exit()?;
        let begun = coroutine::send(&coroutine);
        call::set_discard(&tasks, ffi::none())?;
        group.parent_cancel_requested.set(requested);
        let Resumed::Yielded(_) = begun? else { return Err(reused()) };
        self.state.set(State::Handed);
        self.group.clear();
        // SAFETY: `make_future` made it.
        let waited: &Future = unsafe { cast(future.as_ptr()) };
        waited.blocking.set(false);
        match exception {
            Some(exception) => self.inner.begin_by(coroutine, exception),
            None => {
                waited.finish_with_result(Owned::boolean(true))?;
                self.inner.begin(coroutine)
            }
        }
    }
}

/// A future of the group's loop, which is ours.
fn make_future(group: &Group) -> Outcome {
    let event_loop = group.event_loop.get_or_none();
    match state_of(&event_loop) {
        Some(state) if state.makes_futures() => Future::make(&event_loop, state),
        Some(_) => call::call_method(&names().create_future, &[&event_loop], None),
        None => Err(raised::raise(raised::runtime_error(), "the group has lost its loop")),
    }
}

/// What `__aexit__` of a group with its core in Rust returns.
pub(super) fn make(group: &Group) -> Outcome {
    let exit = Exit { state: Cell::new(State::New), group: Slot::new(), inner: Inner::new() };
    exit.group.set(Object::own(group.object()));
    Awaitable::make(exit)
}

/// Makes the type.
pub(super) fn make_kind() -> Outcome<()> {
    Awaitable::<Exit>::make_kind(c"aioxide._ExitGroup")
}

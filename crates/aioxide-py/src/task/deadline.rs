//! A deadline: a timer of the loop that cancels a task, without a handle, a callback or a context.
//!
//! `Timeout` and `wait_for` have one each. PHASES: CREATED, then ENTERED while the task is inside, then EXITED; or, when the
//! time was up, EXPIRING until the task leaves and then EXPIRED. Only one entry, in the timers or in the ready queue, is valid
//! at a time: the one with the generation that the deadline has.

use std::cell::Cell;

use aioxide_core::timers::TimerKey;

use super::{Task, cancel};
use crate::ffi::{Object, Outcome, Raised, Slot, raised};
use crate::future;
use crate::interp::names;
use crate::kernel::Entry;
use crate::kernel::LoopState;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Entered,
    Expiring,
    Expired,
    Exited,
}

/// What a timeout and a `wait_for` have.
pub(crate) struct Deadline {
    pub(crate) phase: Cell<Phase>,
    pub(crate) task: Slot,
    /// How many requests to cancel the task had when it entered.
    pub(crate) cancelling: Cell<u32>,
    timer: Cell<Option<TimerKey>>,
    generation: Cell<u32>,
}

impl Deadline {
    pub(crate) const fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Created),
            task: Slot::new(),
            cancelling: Cell::new(0),
            timer: Cell::new(None),
            generation: Cell::new(0),
        }
    }

    /// Called when the task enters the block.
    pub(crate) fn enter(&self, task: &Task) {
        self.cancelling.set(task.cancels.get());
        self.task.set(task.own());
        self.phase.set(Phase::Entered);
    }

    /// Sets the timer, which calls `expire` with the owner: `when` in seconds of the loop's clock; at or before `now` means the next
    /// iteration.
    pub(crate) fn arm(
        &self,
        owner: &Object,
        expire: fn(&Object, u32) -> Outcome<()>,
        state: &LoopState,
        when: f64,
        now: f64,
    ) {
        let entry = Entry::Expire { owner: owner.own(), generation: self.generation.get(), expire };
        if when <= now {
            state.core.call_soon(entry);
        } else {
            self.timer.set(Some(state.set_timer(when, now, entry)));
        }
    }

    /// Takes the timer back.
    pub(crate) fn disarm(&self, state: Option<&LoopState>) {
        self.generation.set(self.generation.get().wrapping_add(1));
        if let (Some(key), Some(state)) = (self.timer.take(), state) {
            drop(state.core.cancel_call(key));
        }
    }

    /// Called when the task leaves the block: takes the timer back, and returns what became of it.
    pub(crate) fn leave(&self) -> Phase {
        let task = self.task.get();
        let state =
            task.as_deref().and_then(Task::from_object).and_then(|task| task.as_future().loop_state());
        self.disarm(state);
        self.phase.get()
    }

    /// The time is up.
    pub(crate) fn expire(&self, generation: u32) -> Outcome<()> {
        if generation != self.generation.get() || self.phase.get() != Phase::Entered {
            return Ok(());
        }
        self.timer.set(None);
        if let Some(task) = self.task.get()
            && let Err(raised) = super::in_copy_of_context(&task, || cancel(&task, None))
        {
            return report(&task, raised);
        }
        self.phase.set(Phase::Expiring);
        Ok(())
    }
}

/// Tells the loop's exception handler what the cancellation raised, in the words of asyncio's timer.
#[cold]
fn report(task: &Object, raised: Raised) -> Outcome<()> {
    let exception = raised::take(raised);
    match Task::from_object(task).filter(|_| !raised::ends_the_loop(&exception)) {
        Some(task) => raised::handling(&exception, || {
            const MESSAGE: &str = "Exception in callback Timeout._on_timeout()";
            future::report(task.as_future(), MESSAGE, Some(&exception), &names().task)
        }),
        None => Err(raised::put_back(exception)),
    }
}

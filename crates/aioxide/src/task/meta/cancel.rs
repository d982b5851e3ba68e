//! How a task is cancelled.
//!
//! ```text
//!   cancel() ──► offered to the innermost catching scope ──► its next poll: inner future dropped, Err(Cancelled)
//!                   │ none open, or none that is polled       raise() inside its poll: the same, at once
//!                   └──► ROOT_DUE ──────────────────────────► next poll: the whole future dropped, task cancelled
//! ```
//!
//! * A scope is open in the task that polled it last, from then until it is ready or dropped; `scopes.rs` says which is
//!   inside which, and what becomes of an offer to a scope that is not polled.
//! * What stands in `waiting` was said in the last poll; a cancellation goes there first when it is a task.
//! * A task that is asked while it is being polled has said only half of that. It is noted in `asked`, and the request is made
//!   when the poll ends, if it ends with a wait (asyncio: `_must_cancel`).

use std::rc::Rc;
use std::task::Waker;

use aioxide_core::task::{TaskRef, Then};

use super::super::AnyTask;
use super::super::waiting::{Passed, Waiting};
use super::{
    ASKED, MUST_CANCEL, Meta, OFFERED, POLL_OVER, ROOT, ROOT_DUE, SUPERSEDED, UNDER_WAY, UNWINDING, WAITING,
    WAITING_LAST,
};
use crate::wake::HeldPanic;

impl Meta {
    #[inline]
    pub(crate) fn cancelling(&self) -> u32 {
        self.cancelling.get()
    }

    /// How many requests to cancel are open for the scope `id`: those of the owners of scopes beside it are nothing to it.
    #[inline]
    pub(crate) fn open_requests(&self, id: u32) -> u32 {
        match self.cancelling.get() {
            0 => 0,
            open => open.saturating_sub(self.look_scopes(|scopes| scopes.requests_beside(id)).unwrap_or(0)),
        }
    }

    /// The same for what is being polled.
    pub(crate) fn open_requests_here(&self) -> u32 {
        self.open_requests(self.scope.get())
    }

    pub(crate) fn count_cancel(&self) {
        self.cancelling.set(self.cancelling.get().saturating_add(1));
    }

    /// One request less; at 0 a cancellation that was not delivered yet is forgotten.
    pub(crate) fn uncancel(&self) -> u32 {
        let left = self.uncancel_quietly();
        if left == 0 {
            self.set_flag(ROOT_DUE, false);
            self.forget_asked(ROOT);
            self.look_scopes(|scopes| scopes.withdraw(ROOT));
        }
        left
    }

    /// One request less, without forgetting one that is on its way to another scope.
    pub(crate) fn uncancel_quietly(&self) -> u32 {
        let left = self.cancelling.get().saturating_sub(1);
        self.cancelling.set(left);
        left
    }

    /// Whether a future of this task is being dropped because of a cancellation.
    pub(crate) fn is_unwinding(&self) -> bool {
        self.flag(UNWINDING)
    }

    /// Runs `unwind`, which drops a future because of a cancellation.
    pub(crate) fn while_unwinding(&self, unwind: impl FnOnce()) {
        struct Restore<'a>(&'a Meta, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.set_flag(UNWINDING, self.1);
            }
        }
        let _restore = Restore(self, self.flag(UNWINDING));
        self.set_flag(UNWINDING, true);
        unwind();
    }

    /// Marks the task as one that a cancellation has come by on its way; what it was marked as before.
    pub(crate) fn mark_passed(&self, passed: Passed) -> Passed {
        let before = match (self.flag(UNDER_WAY), self.flag(ASKED)) {
            (true, _) => Passed::UnderWay,
            (_, true) => Passed::Asked,
            _ => Passed::Never,
        };
        self.set_flag(UNDER_WAY, passed == Passed::UnderWay);
        self.set_flag(ASKED, passed == Passed::Asked);
        before
    }

    /// Whom a cancellation of the scope `within` is handed to, if what the task waits for lies inside.
    pub(crate) fn delegate(&self, task: &TaskRef, within: u32) -> Option<Waiting> {
        if !self.flag(WAITING) || self.flag(SUPERSEDED) {
            return None;
        }
        let (scope, last) = (self.waiting_scope.get(), self.flag(WAITING_LAST));
        let latest = self.latest(task);
        let inside = self.look_scopes(|scopes| {
            let target = if last { within } else { scopes.innermost(within, latest) };
            scopes.is_within(scope, target)
        });
        if inside == Some(false) {
            return None;
        }
        self.look_waiting(|waiting| match waiting {
            Waiting::Task(task) => Some(Waiting::Task(task.clone())),
            Waiting::Group(name, group) => Some(Waiting::Group(name, Rc::clone(group))),
            _ => None,
        })
    }

    /// Asks the innermost scope within `within` to unwind, and wakes it.
    pub(crate) fn request_cancel(&self, task: &TaskRef, within: u32, message: Option<Rc<str>>) {
        let latest = self.latest(task);
        let target = self.look_scopes(|scopes| scopes.innermost(within, latest)).unwrap_or(ROOT);
        let waker = self.make_due(target, within);
        self.set_message(message);
        let mut held = HeldPanic::default();
        waker.into_iter().for_each(|waker| held.run(|| waker.wake()));
        // Also when the scope's own waker leads nowhere: the offer then goes to another scope.
        task.wake();
        held.resume();
    }

    /// Lets the scope `within` be asked to unwind at the end of the poll that goes on.
    pub(crate) fn must_cancel(&self, within: u32, message: Option<Rc<str>>) {
        self.set_flag(MUST_CANCEL, true);
        self.with_extra(|extra| {
            extra.message = message;
            if extra.is_asked.insert(within) {
                extra.asked.push(within);
            }
        });
    }

    pub(super) fn forget_asked(&self, within: u32) {
        if self.flag(MUST_CANCEL) {
            self.with_extra(|extra| extra.is_asked.remove(&within));
        }
    }

    /// Makes the requests that came during the poll.
    fn cancel_asked(&self, task: &TaskRef) {
        let (asked, mut is_asked, message) = self.with_extra(|extra| {
            (std::mem::take(&mut extra.asked), std::mem::take(&mut extra.is_asked), extra.message.clone())
        });
        let task = AnyTask::from_ref(task.clone());
        let mut held = HeldPanic::default();
        // One that was closed is not asked any more, and one of the same number that was opened then is asked once.
        for within in asked.into_iter().filter(|within| is_asked.remove(within)) {
            held.run(|| task.cancel_now(within, message.clone()));
        }
        // The poll is over: nobody is left who could be told.
        held.end();
    }

    pub(super) fn make_due(&self, target: u32, within: u32) -> Option<Waker> {
        if target == ROOT {
            self.set_flag(ROOT_DUE, true);
            return None;
        }
        self.set_flag(OFFERED, true);
        self.look_scopes(|scopes| scopes.offer(target, within)).flatten()
    }

    fn set_message(&self, message: Option<Rc<str>>) {
        if message.is_some() || self.extra.borrow().is_some() {
            self.with_extra(|extra| extra.message = message);
        }
    }

    /// Unwinds the scope that is being polled, as a cancellation that was met there.
    pub(crate) fn raise(&self, message: Option<Rc<str>>) {
        let scope = self.scope.get();
        let target = self.look_scopes(|scopes| scopes.catching_around(scope)).unwrap_or(ROOT);
        let _being_polled = self.make_due(target, ROOT);
        self.set_message(message);
    }

    #[cold]
    pub(super) fn begin_poll_of_cancelled(&self) -> bool {
        let goes_on = !self.flag(ROOT_DUE);
        self.set_flag(UNWINDING, !goes_on);
        goes_on
    }

    #[cold]
    pub(super) fn end_poll_of_cancelled(&self) -> Then {
        let Some(task) = TaskRef::current() else { return Then::Wait };
        let effects = self.look_scopes(|scopes| scopes.end_poll(self.poll.get()));
        let poll_again = effects.is_some_and(|effects| {
            let (poll_again, held) = self.apply(effects, &task);
            held.end();
            poll_again
        });
        let goes_on = !self.flag(ROOT_DUE);
        self.set_flag(UNWINDING, !goes_on);
        if goes_on && self.flag(MUST_CANCEL) {
            self.set_flag(MUST_CANCEL, false);
            self.set_flag(POLL_OVER, true);
            self.cancel_asked(&task);
            self.set_flag(POLL_OVER, false);
        }
        match (goes_on, poll_again) {
            (false, _) => Then::Cancel,
            (true, true) => Then::PollAgain,
            (true, false) => Then::Wait,
        }
    }
}

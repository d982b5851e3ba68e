//! What a task says that it waits for, and when that does not count any more.
//!
//! A cancellation of the task goes first to what stands in `waiting`: that was said in the last poll, and may have lost a race
//! since, have been dropped, or have given way to another wait.

use super::super::waiting::Waiting;
#[cfg(feature = "monitor")]
use super::SEVERAL;
use super::{Meta, SUPERSEDED, WAITING, WAITING_LAST};

impl Meta {
    /// Says what the task waits for, until its next poll.
    #[inline]
    pub(crate) fn wait_for(&self, what: Waiting) {
        #[cfg(feature = "monitor")]
        self.note_several(&what);
        if let Waiting::Other(operation) = what {
            self.waiting_operation.set(Some(operation));
            if self.flag(WAITING) {
                self.supersede();
            }
            return;
        }
        self.waiting_scope.set(self.scope.get());
        self.set_flag(SUPERSEDED, false);
        self.set_flag(WAITING | WAITING_LAST, true);
        drop(self.waiting.replace(what));
    }

    /// Something is awaited beside what was said, or in its place: which of both is not known. In a scope beside that one it is
    /// another branch.
    #[cold]
    fn supersede(&self) {
        let (scope, said_in) = (self.scope.get(), self.waiting_scope.get());
        let is_beside = self.look_scopes(|scopes| !scopes.is_within(scope, said_in)).unwrap_or(false);
        if !is_beside {
            self.set_flag(SUPERSEDED, true);
        }
    }

    /// What was said is not awaited any more, if it is what `is_it` says.
    pub(crate) fn withdraw_waiting(&self, is_it: impl FnOnce(&Waiting) -> bool) {
        if self.flag(WAITING) && self.look_waiting(is_it) {
            self.set_flag(SUPERSEDED, true);
        }
    }

    /// Whether something was said in this poll that a cancellation is handed to.
    pub(crate) fn has_said(&self) -> bool {
        self.flag(WAITING)
    }

    /// A race was decided: what was polled in it before, in this poll, is not awaited any more. `says`: nor is what was said.
    pub(crate) fn note_race(&self, says: bool) {
        self.races.set(self.races.get().wrapping_add(1));
        if says && self.flag(WAITING) {
            self.set_flag(SUPERSEDED, true);
        }
    }

    /// The numbers of the poll, and of the races that have been decided.
    #[inline]
    pub(crate) fn moment(&self) -> (u16, u16) {
        (self.poll.get(), self.races.get())
    }

    /// Notes that the task does not wait for what it says alone: a deadline may wake it, or another branch.
    #[cfg(feature = "monitor")]
    #[inline]
    pub(crate) fn wait_also(&self) {
        self.set_flag(SEVERAL, true);
    }

    /// Whether it waits for more than what it says.
    #[cfg(feature = "monitor")]
    pub(crate) fn waits_for_several(&self) -> bool {
        self.flag(SEVERAL)
    }

    #[cfg(feature = "monitor")]
    #[inline]
    fn note_several(&self, what: &Waiting) {
        let is_another = match (self.waiting_operation.get(), what) {
            (Some(before), Waiting::Other(now)) => !before.is(now),
            (Some(_), _) => true,
            (None, _) => false,
        };
        if is_another || self.flag(WAITING) {
            self.wait_also();
        }
    }

    #[inline]
    pub(super) fn forget_waiting(&self) {
        self.waiting_operation.set(None);
        #[cfg(feature = "monitor")]
        self.set_flag(SEVERAL, false);
        if self.flag(WAITING) {
            self.set_flag(WAITING | SUPERSEDED, false);
            self.drop_waiting();
        }
    }

    /// It may be the last that holds results, and so anybody's destructors.
    fn drop_waiting(&self) {
        aioxide_core::destroy(self.waiting.take());
    }

    pub(crate) fn look_waiting<T>(&self, look: impl FnOnce(&Waiting) -> T) -> T {
        if !self.flag(WAITING) {
            return look(&self.waiting_operation.get().map_or(Waiting::Nothing, Waiting::Other));
        }
        let waiting = self.waiting.take();
        let seen = look(&waiting);
        self.waiting.set(waiting);
        seen
    }
}

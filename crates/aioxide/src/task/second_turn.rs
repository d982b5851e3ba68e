//! One more iteration for who waits for many tasks.

use std::task::{Context, Poll};

/// Lets what waited for many tasks go on one iteration later than what awaits one of these tasks itself.
///
/// asyncio's `gather`, `wait`, `as_completed`, `shield` and `TaskGroup` hear of a task's end by a callback, and wake who awaits
/// them from there. So the direct awaiters have the value before anybody else can act on the same end, for example cancel them.
#[derive(Debug, Default)]
pub(crate) struct SecondTurn {
    has_waited: bool,
}

impl SecondTurn {
    /// Notes that there was nothing to go on with; `counts` is false where the news comes an iteration late by itself.
    pub(crate) fn note_wait(&mut self, counts: bool) {
        self.has_waited = counts;
    }

    /// Ready at once if there was no wait, else in the next iteration.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.has_waited) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

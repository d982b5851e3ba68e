//! The state word of a task: three bits and a count of references, in one atomic.
//!
//! ```text
//! SCHEDULED   a Notified exists (in a ready queue, in an inbox, or about to be): it owns one reference
//! RUNNING     the loop's thread is polling the future
//! COMPLETE    the future is gone for good; set by the loop's thread only, never cleared
//! REFERENCE   one for each waker and Notified, and one for all handles on the loop's thread together
//! ```
//!
//! ```text
//!             wake                 run                    poll: Pending
//!   idle ─────────────► SCHEDULED ─────► RUNNING ──────────────────────► idle
//!                           ▲               │ wake: RUNNING|SCHEDULED ──► SCHEDULED (queued again, at the end)
//!                           └───────────────┘ poll: Ready ──────────────► COMPLETE
//! ```
//!
//! Wakers on any thread may do `wake_*`, `clone` and `drop`; everything else is done by the loop's thread.

use crate::loom::atomic::{AtomicUsize, Ordering, fence};

const SCHEDULED: usize = 0b001;
const RUNNING: usize = 0b010;
const COMPLETE: usize = 0b100;
const REFERENCE: usize = 0b1000;

/// What a wake-up asks its caller to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Make a `Notified` (its reference is counted already) and queue it.
    Schedule,
    /// Nothing.
    Nothing,
    /// The reference given up was the last: free the memory.
    Free,
}

/// What the end of a poll asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterPoll {
    /// Woken meanwhile: queue it again with the reference it already has.
    Reschedule,
    /// Nothing; the reference of the `Notified` was given up.
    Idle,
    /// The reference given up was the last.
    Free,
}

#[derive(Debug)]
pub(crate) struct State(AtomicUsize);

impl State {
    /// Scheduled for its first poll: one reference for the `Notified`, one for the handles.
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(SCHEDULED | (2 * REFERENCE)))
    }

    /// Waiting for its first wake-up: one reference for a waker, one for the handles.
    pub(crate) fn idle() -> Self {
        Self(AtomicUsize::new(2 * REFERENCE))
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.0.load(Ordering::Acquire) & COMPLETE != 0
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire) & RUNNING != 0
    }

    pub(crate) fn is_scheduled(&self) -> bool {
        self.0.load(Ordering::Acquire) & SCHEDULED != 0
    }

    /// Wakes through a reference that the caller keeps.
    #[inline]
    pub(crate) fn wake_by_ref(&self) -> Wake {
        let mut current = self.0.load(Ordering::Acquire);
        loop {
            if current & (SCHEDULED | COMPLETE) != 0 {
                return Wake::Nothing;
            }
            let (next, action) = if current & RUNNING != 0 {
                (current | SCHEDULED, Wake::Nothing)
            } else {
                ((current | SCHEDULED) + REFERENCE, Wake::Schedule)
            };
            match self.0.compare_exchange_weak(current, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return action,
                Err(now) => current = now,
            }
        }
    }

    /// Wakes through a reference that the caller gives up: it becomes the `Notified`'s where one is made.
    #[inline]
    pub(crate) fn wake_by_value(&self) -> Wake {
        let mut current = self.0.load(Ordering::Acquire);
        loop {
            let (next, action) = if current & (SCHEDULED | COMPLETE) != 0 {
                (current - REFERENCE, Wake::Nothing)
            } else if current & RUNNING != 0 {
                ((current | SCHEDULED) - REFERENCE, Wake::Nothing)
            } else {
                (current | SCHEDULED, Wake::Schedule)
            };
            match self.0.compare_exchange_weak(current, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if next < REFERENCE => return Wake::Free,
                Ok(_) => return action,
                Err(now) => current = now,
            }
        }
    }

    /// Begins a poll; `false` if the task completed while it was queued.
    #[inline]
    pub(crate) fn start_poll(&self) -> bool {
        // Only this thread sets COMPLETE and RUNNING, so the load cannot be outdated in them.
        if self.0.load(Ordering::Acquire) & COMPLETE != 0 {
            return false;
        }
        let before = self.0.fetch_xor(SCHEDULED | RUNNING, Ordering::AcqRel);
        debug_assert!(before & SCHEDULED != 0, "a queued task is scheduled");
        debug_assert!(before & RUNNING == 0, "a task is polled once at a time");
        true
    }

    /// Ends a poll that returned `Pending`.
    #[inline]
    pub(crate) fn end_poll(&self) -> AfterPoll {
        let mut current = self.0.load(Ordering::Acquire);
        loop {
            debug_assert!(current & RUNNING != 0);
            let (next, after) = if current & SCHEDULED != 0 {
                (current & !RUNNING, AfterPoll::Reschedule)
            } else {
                ((current & !RUNNING) - REFERENCE, AfterPoll::Idle)
            };
            match self.0.compare_exchange_weak(current, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if next < REFERENCE => return AfterPoll::Free,
                Ok(_) => return after,
                Err(now) => current = now,
            }
        }
    }

    /// Marks the task complete; no reference is given up.
    pub(crate) fn complete(&self) {
        let before = self.0.fetch_or(COMPLETE, Ordering::AcqRel);
        debug_assert!(before & COMPLETE == 0, "a task completes once");
        if before & RUNNING != 0 {
            self.0.fetch_and(!RUNNING, Ordering::AcqRel);
        }
    }

    #[inline]
    pub(crate) fn add_reference(&self) {
        // A reference can only be made from one that is held, so no ordering is needed.
        let before = self.0.fetch_add(REFERENCE, Ordering::Relaxed);
        // Only forgotten wakers come to so many. As with `Arc`, a panic would not do: caught, it lets the count go on to 0.
        if before >= usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Gives one reference up; `true` if it was the last.
    #[inline]
    pub(crate) fn drop_reference(&self) -> bool {
        let before = self.0.fetch_sub(REFERENCE, Ordering::Release);
        debug_assert!(before >= REFERENCE);
        if before >= 2 * REFERENCE {
            return false;
        }
        fence(Ordering::Acquire);
        true
    }
}

//! The loop's clock: the system's monotonic one, or a virtual one that jumps to the next deadline when idle.

use std::cell::Cell;
use std::time::Duration;

use crate::sys;

/// Where a loop takes its time from.
///
/// # Examples
/// ```
/// use aioxide_core::clock::Clock;
/// let clock = Clock::virtual_from(0);
/// clock.advance_to(5);
/// assert_eq!(clock.now_ns(), 5);
/// ```
#[derive(Debug)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    Monotonic,
    /// Time that moves only when the loop is idle: it jumps to the next deadline. For tests.
    Virtual(Cell<u64>),
}

impl Clock {
    /// A virtual clock that shows `start_ns`.
    pub fn virtual_from(start_ns: u64) -> Self {
        Self::Virtual(Cell::new(start_ns))
    }

    /// The time now, in nanoseconds since an arbitrary start.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match self {
            Self::Monotonic => sys::monotonic_ns(),
            Self::Virtual(now) => now.get(),
        }
    }

    /// Whether this is a virtual clock.
    pub fn is_virtual(&self) -> bool {
        matches!(self, Self::Virtual(_))
    }

    /// Moves a virtual clock forward to `time_ns`; an earlier time, or a real clock, stays as it is.
    pub fn advance_to(&self, time_ns: u64) {
        if let Self::Virtual(now) = self {
            now.set(now.get().max(time_ns));
        }
    }
}

/// Nanoseconds of a coarse monotonic clock (a tick of 1-10 ms): costs a fifth of the exact one.
///
/// Good enough to notice that a callback ran for long, or that the time slice is over.
#[inline]
pub fn coarse_ns() -> u64 {
    sys::coarse_monotonic_ns()
}

thread_local! {
    static MARK: Cell<u64> = const { Cell::new(0) };
}

/// Reads the coarse clock and keeps the reading as the thread's mark: what runs next began now.
///
/// The loop marks the end of each wait, and a face the end of each task's poll, so that one reading per poll tells how
/// long it took. A face whose queue holds other entries as well marks before a task that comes after one of them.
#[inline]
pub fn mark() -> u64 {
    let now_ns = coarse_ns();
    let _ = MARK.try_with(|mark| mark.set(now_ns));
    now_ns
}

/// Moves the thread's [`mark`] to now; the nanoseconds since the one before.
#[inline]
pub fn lap_ns() -> u64 {
    let now_ns = coarse_ns();
    MARK.try_with(|mark| match mark.replace(now_ns) {
        0 => 0,
        before => now_ns.saturating_sub(before),
    })
    .unwrap_or(0)
}

/// The thread's [`mark`], without reading a clock.
#[inline]
pub fn marked() -> u64 {
    MARK.try_with(Cell::get).unwrap_or(0)
}

/// A duration in nanoseconds; what does not fit (584 years) becomes the largest value.
pub fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

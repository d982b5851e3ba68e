//! Time by the loop's clock: instants, sleeping, deadlines, intervals.

mod interval;
mod sleep;
mod timeout;

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use aioxide_core::clock::saturating_ns;
use aioxide_core::current::try_with;

use crate::error::NO_LOOP;

pub use interval::{Interval, MissedTicks, interval, interval_at};
pub(crate) use sleep::Timer;
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Timeout, timeout, timeout_at};

/// A moment of the running loop's clock, to the nanosecond.
///
/// asyncio: what `loop.time()` returns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now, by the clock of the loop that the thread runs.
    ///
    /// # Panics
    /// When the thread runs no loop.
    pub fn now() -> Self {
        Self(now_ns())
    }

    fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_ns(duration)))
    }

    /// How long ago it was; zero if it is yet to come.
    ///
    /// # Panics
    /// When the thread runs no loop.
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }

    /// How much later it is than `earlier`; zero if it is not.
    pub fn duration_since(self, earlier: Self) -> Duration {
        self - earlier
    }

    pub(crate) fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    pub(crate) fn as_ns(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Instant({:?})", Duration::from_nanos(self.0))
    }
}

/// A sum that does not fit (584 years) is the last instant there is.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_ns(duration)))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

/// Zero when the result would be negative.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

pub(crate) fn now_ns() -> u64 {
    try_with(|event_loop| event_loop.now_ns()).expect(NO_LOOP)
}

//! Ticks at a fixed distance.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Instant;
use super::sleep::Timer;
use crate::task::{Waiting, wait_for};

/// What happens to ticks that nobody was there to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// They come at once, one after the other.
    #[default]
    Burst,
    /// The next one comes a whole period after the late one.
    Delay,
    /// They are left out; the next one comes at a multiple of the period.
    Skip,
}

/// Ticks every `period`, the first at once.
///
/// # Panics
/// When `period` is zero, or the thread runs no loop.
///
/// # Examples
/// ```
/// use aioxide::{testing, time::{Instant, interval}};
/// use std::time::Duration;
/// testing::run(async {
///     let start = Instant::now();
///     let mut ticks = interval(Duration::from_secs(10));
///     for _ in 0..4 { ticks.tick().await; }
///     assert_eq!(start.elapsed(), Duration::from_secs(30));
/// });
/// ```
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks every `period`, the first at `start`.
///
/// # Panics
/// When `period` is zero.
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval's period is not zero");
    Interval { next: start, period, missed: MissedTicks::default(), timer: Timer::default(), at_once: 0 }
}

/// A source of ticks; see [`interval`].
#[derive(Debug)]
pub struct Interval {
    next: Instant,
    period: Duration,
    missed: MissedTicks,
    timer: Timer,
    /// How many ticks in a row have come without a wait.
    at_once: u32,
}

/// So many ticks may come without a wait; then the others have their turn, however short the period.
const MOST_AT_ONCE: u32 = 32;

impl Interval {
    /// Waits for the next tick and tells when it was due.
    ///
    /// # Cancel safety
    /// No tick is lost.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Ready with the moment at which the next tick was due.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        if self.at_once == MOST_AT_ONCE {
            self.at_once = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let due = self.next;
        if self.timer.poll_deadline(due, cx).is_pending() {
            self.at_once = 0;
            wait_for(Waiting::alone("Interval::tick"));
            return Poll::Pending;
        }
        self.at_once += 1;
        let now = Instant::now();
        self.next = match self.missed {
            MissedTicks::Burst => due + self.period,
            MissedTicks::Delay => now + self.period,
            MissedTicks::Skip => {
                let behind_ns = (now - due).as_nanos() % self.period.as_nanos();
                now + (self.period - Duration::from_nanos(behind_ns as u64))
            }
        };
        Poll::Ready(due)
    }

    /// Says what happens to ticks that nobody was there to take.
    pub fn set_missed_ticks(&mut self, missed: MissedTicks) {
        self.missed = missed;
    }

    /// Starts a whole period anew.
    pub fn reset(&mut self) {
        self.next = Instant::now() + self.period;
        self.timer.clear();
    }
}

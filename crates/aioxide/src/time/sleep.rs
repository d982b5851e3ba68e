//! Sleeping.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aioxide_core::LoopHandle;
use aioxide_core::current::{current, try_with};
use aioxide_core::timers::TimerKey;

use super::Instant;
use crate::error::NO_LOOP;
use crate::task::{Waiting, wait_for};

/// Waits for `duration`, counted from the call; never less.
///
/// `Duration::ZERO` lets the loop run one iteration, as [`yield_now`](crate::yield_now) does.
///
/// # Cancel safety
/// Dropping it takes its timer back.
///
/// # Panics
/// When the thread runs no loop.
///
/// # Examples
/// ```
/// use aioxide::{testing, time::{Instant, sleep}};
/// use std::time::Duration;
/// testing::run(async {
///     let start = Instant::now();
///     sleep(Duration::from_secs(3600)).await;
///     assert_eq!(start.elapsed(), Duration::from_secs(3600));
/// });
/// ```
/// asyncio: `sleep`.
pub fn sleep(duration: Duration) -> Sleep {
    if duration.is_zero() {
        return Sleep { timer: Timer::default(), deadline: None, yielded: false };
    }
    sleep_until(Instant::now() + duration)
}

/// Waits until `deadline`; a past one is ready in the next iteration.
///
/// # Cancel safety
/// Dropping it takes its timer back.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { timer: Timer::default(), deadline: Some(deadline), yielded: false }
}

/// The future of [`sleep`] and [`sleep_until`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    timer: Timer,
    /// `None` is a sleep of no time at all.
    deadline: Option<Instant>,
    yielded: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(deadline) = this.deadline else {
            if std::mem::replace(&mut this.yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let polled = this.timer.poll(deadline, cx);
        if polled.is_pending() {
            wait_for(Waiting::alone("sleep"));
        }
        polled
    }
}

/// A timer of the loop that wakes whoever polled it last.
#[derive(Default)]
pub(crate) struct Timer {
    set: Option<SetTimer>,
}

struct SetTimer {
    event_loop: Rc<dyn LoopHandle>,
    key: TimerKey,
    deadline: Instant,
    waker: Waker,
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let deadline = self.set.as_ref().map(|set| set.deadline);
        formatter.debug_struct("Timer").field("deadline", &deadline).finish()
    }
}

impl Timer {
    /// Ready once `deadline` has come; sets the timer where that is needed.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(set) = &mut self.set
            && set.deadline == deadline
        {
            if set.event_loop.now_ns() >= deadline.as_ns() {
                self.clear();
                return Poll::Ready(());
            }
            // On another loop than before it is set anew: the one before may not run any more.
            let elsewhere = try_with(|here| here.id() != set.event_loop.id()).unwrap_or(true);
            // One that has fired by a clock that was told, and is earlier now, wakes nobody any more.
            let is_set = !elsewhere && set.event_loop.has_timer(set.key);
            if set.waker.will_wake(cx.waker()) && is_set {
                return Poll::Pending;
            }
        }
        self.clear();
        self.set_on(current().expect(NO_LOOP), deadline, cx);
        Poll::Pending
    }

    #[inline]
    fn set_on(&mut self, event_loop: Rc<dyn LoopHandle>, deadline: Instant, cx: &Context<'_>) {
        let key = event_loop.add_timer(deadline.as_ns(), cx.waker().clone());
        self.set = Some(SetTimer { event_loop, key, deadline, waker: cx.waker().clone() });
    }

    /// Takes the timer back, if it is set.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.set.is_some() {
            self.take_back();
        }
    }

    fn take_back(&mut self) {
        if let Some(set) = self.set.take() {
            set.event_loop.cancel_timer(set.key);
        }
    }

    /// Ready once `deadline` has come, at once if it has; sets the timer where that is needed.
    pub(crate) fn poll_deadline(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.set.is_some() {
            return self.poll(deadline, cx);
        }
        let event_loop = current().expect(NO_LOOP);
        if event_loop.now_ns() >= deadline.as_ns() {
            return Poll::Ready(());
        }
        self.set_on(event_loop, deadline, cx);
        Poll::Pending
    }
}

impl Drop for Timer {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

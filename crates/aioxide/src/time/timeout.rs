//! Deadlines: what is inside is cancelled when its time is up.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::Instant;
use super::sleep::Timer;
use crate::error::Elapsed;
use crate::task::{Scope, raise};

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct Timeout<F> {
        scope: Scope,
        phase: Phase,
        deadline: Option<Instant>,
        timer: Timer,
        #[pin]
        inner: Option<F>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Active,
    /// The deadline has passed, what is inside was cancelled and has not ended yet.
    Expiring,
    /// The future has ended after the deadline.
    Expired,
    /// A cancellation from outside goes on to the scope around.
    PassingOn,
    Done,
}

/// Gives `future` at most `duration` from now; then it is cancelled.
///
/// A `future` that is ready in the same poll in which the time is up wins. One that catches its cancellation may take
/// its time to clean up, and its value is kept if it returns one.
///
/// # Errors
/// [`Elapsed`] when the future was cancelled because its time was up.
///
/// # Cancel safety
/// Dropping it drops `future`.
///
/// # Panics
/// When the thread runs no loop.
///
/// # Examples
/// ```
/// use aioxide::{testing, time::{sleep, timeout}};
/// use std::time::Duration;
/// testing::run(async {
///     assert_eq!(timeout(Duration::from_secs(1), async { "quick" }).await, Ok("quick"));
///     assert!(timeout(Duration::from_secs(1), sleep(Duration::from_secs(2))).await.is_err());
/// });
/// ```
/// asyncio: `wait_for`, and `async with timeout(...)`.
#[doc(alias = "wait_for")]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    timeout_at(Instant::now() + duration, future)
}

/// Gives `future` until `deadline`; `None` sets no limit, until [`Timeout::reschedule`].
///
/// # Errors
/// As [`timeout`].
pub fn timeout_at<F: IntoFuture>(deadline: impl Into<Option<Instant>>, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        scope: Scope::new(false),
        phase: Phase::New,
        deadline: deadline.into(),
        timer: Timer::default(),
        inner: Some(future.into_future()),
    }
}

impl<F> Timeout<F> {
    /// The deadline, if there is one.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the deadline has passed while the future ran.
    pub fn expired(&self) -> bool {
        matches!(self.phase, Phase::Expiring | Phase::Expired)
    }

    /// Moves the deadline; it counts from the next poll on, and not any more once it has passed.
    pub fn reschedule(self: Pin<&mut Self>, deadline: Option<Instant>) {
        *self.project().deadline = deadline;
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match *this.phase {
            Phase::New => *this.phase = Phase::Active,
            Phase::PassingOn => return raise(None),
            _ => {}
        }
        let scope = &*this.scope;
        scope.arrive();
        loop {
            let mut delivered = scope.take_delivery();
            if !delivered {
                let inner = this.inner.as_mut().as_pin_mut().expect("not polled after it was ready");
                if let Poll::Ready(output) = scope.poll(inner, cx) {
                    this.timer.clear();
                    // A cancellation of ours that came too late to be delivered goes no further.
                    scope.close();
                    let late = *this.phase == Phase::Expiring;
                    *this.phase = if late { Phase::Expired } else { Phase::Done };
                    return Poll::Ready(Ok(output));
                }
                delivered = scope.take_delivery();
            }
            if delivered {
                scope.unwind(|| this.inner.set(None));
                let message = scope.cancelled_error().shared_message();
                let ours_alone = scope.settle();
                scope.close();
                if ours_alone {
                    *this.phase = Phase::Expired;
                    return Poll::Ready(Err(Elapsed(())));
                }
                // Somebody else has cancelled the task as well: theirs goes on outwards.
                *this.phase = Phase::PassingOn;
                return raise(message);
            }
            // Also a deadline that has passed gives up a turn, as in asyncio: a loop of such would let nobody else run.
            let due = *this.phase == Phase::Active
                && this.deadline.is_some_and(|deadline| this.timer.poll(deadline, cx).is_ready());
            if !due {
                if this.deadline.is_some() {
                    crate::task::wait_also();
                }
                if *this.phase == Phase::Expiring {
                    scope.keep_waker(cx);
                }
                return Poll::Pending;
            }
            if !scope.is_open() {
                this.inner.set(None);
                *this.phase = Phase::Expired;
                return Poll::Ready(Err(Elapsed(())));
            }
            *this.phase = Phase::Expiring;
            scope.keep_waker(cx);
            scope.cancel_now();
        }
    }
}

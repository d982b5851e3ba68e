//! Deadlines: what is inside is cancelled when its time is up.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::Instant;
use super::sleep::Timer;
use crate::error::Elapsed;
use crate::task::{AnyTask, Scope, raise};

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct Timeout<F> {
        scope: Option<Scope>,
        phase: Phase,
        deadline: Option<Instant>,
        timer: Timer,
        count_before: u32,
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
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    timeout_at(Instant::now() + duration, future)
}

/// Gives `future` until `deadline`; `None` sets no limit, until [`Timeout::reschedule`].
///
/// # Errors
/// As [`timeout`].
pub fn timeout_at<F: IntoFuture>(deadline: impl Into<Option<Instant>>, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        scope: None,
        phase: Phase::New,
        deadline: deadline.into(),
        timer: Timer::default(),
        count_before: 0,
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
            Phase::New => {
                *this.phase = Phase::Active;
                *this.scope = Scope::open(false);
                if let Some(scope) = this.scope {
                    *this.count_before = scope.meta().cancelling();
                }
            }
            Phase::PassingOn => return raise(None),
            _ => {}
        }
        loop {
            let delivered = this.scope.as_ref().is_some_and(Scope::take_delivery);
            if !delivered {
                let inner = this.inner.as_mut().as_pin_mut().expect("not polled after it was ready");
                let polled = match this.scope.as_ref() {
                    Some(scope) => scope.poll(inner, cx),
                    None => inner.poll(cx),
                };
                if let Poll::Ready(output) = polled {
                    this.timer.clear();
                    if *this.phase == Phase::Expiring {
                        if let Some(scope) = this.scope.as_ref()
                            && scope.meta().uncancel_quietly() <= *this.count_before
                        {
                            // Our cancellation came too late to be delivered: it goes no further.
                            scope.take_delivery();
                        }
                        *this.phase = Phase::Expired;
                    } else {
                        *this.phase = Phase::Done;
                    }
                    *this.scope = None;
                    return Poll::Ready(Ok(output));
                }
            }
            if delivered || this.scope.as_ref().is_some_and(Scope::take_delivery) {
                let scope = this.scope.take().expect("delivered to an open scope");
                scope.meta().while_unwinding(|| this.inner.set(None));
                let left = scope.meta().uncancel_quietly();
                if left <= *this.count_before {
                    *this.phase = Phase::Expired;
                    return Poll::Ready(Err(Elapsed(())));
                }
                // Somebody else has cancelled the task as well: theirs goes on outwards.
                let message = scope.meta().cancelled_error().shared_message();
                drop(scope);
                *this.phase = Phase::PassingOn;
                return raise(message);
            }
            let due = *this.phase == Phase::Active
                && this.deadline.is_some_and(|deadline| this.timer.poll_deadline(deadline, cx).is_ready());
            if !due {
                if let Some(scope) = this.scope.as_ref()
                    && *this.phase == Phase::Expiring
                {
                    scope.keep_waker(cx);
                }
                return Poll::Pending;
            }
            let Some(scope) = this.scope.as_ref() else {
                this.inner.set(None);
                *this.phase = Phase::Expired;
                return Poll::Ready(Err(Elapsed(())));
            };
            *this.phase = Phase::Expiring;
            scope.meta().make_catching(scope.id());
            scope.keep_waker(cx);
            AnyTask::from_ref(scope.task().clone()).cancel_within(scope.id(), None);
        }
    }
}

//! The limits of time by phase, and the one timer a connection needs for all of them.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::error::TimeoutPhase;
use crate::rt::{self, Instant};

/// How long each phase of a request may take; `None` means without limit.
///
/// The wait for a place in the pool is a phase of its own: it counts towards `total` but never towards `connect`.
///
/// # Examples
///
/// ```
/// use aioxide_http::Timeouts;
/// use std::time::Duration;
///
/// let timeouts = Timeouts { total: Some(Duration::from_secs(20)), ..Timeouts::default() };
/// assert_eq!(timeouts.sock_connect, Some(Duration::from_secs(30)));
/// assert_eq!(timeouts.read, None);
/// ```
///
/// asyncio: aiohttp's `ClientTimeout`, with the same defaults; there `total` and `connect` both include the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From `send` to the last byte of the body, redirects included; 300 s unless set.
    pub total: Option<Duration>,
    /// The wait for a place in the pool; none unless set.
    pub pool: Option<Duration>,
    /// Name resolution, connecting and TLS together; none unless set.
    ///
    /// The system looks up 64 names at a time; the wait for such a place counts towards `total` alone.
    pub connect: Option<Duration>,
    /// Reaching a socket at the other end, without the name and TLS; 30 s unless set.
    pub sock_connect: Option<Duration>,
    /// The longest silence once the connection is there: nothing sent, nothing received; none unless set.
    ///
    /// Over HTTP/2 only what comes for this request counts.
    pub read: Option<Duration>,
}

impl Timeouts {
    /// No limit in any phase.
    pub const NONE: Self = Self { total: None, pool: None, connect: None, sock_connect: None, read: None };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            total: Some(Duration::from_secs(300)),
            pool: None,
            connect: None,
            sock_connect: Some(Duration::from_secs(30)),
            read: None,
        }
    }
}

/// Waits for `future`, but not beyond `limit`; sets a timer only when there is something to wait for.
pub(crate) async fn within<F: Future>(
    limit: Option<(Instant, TimeoutPhase)>,
    future: F,
) -> Result<F::Output, TimeoutPhase> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some((deadline, phase)) = limit else { return Poll::Pending };
        timer
            .get_or_insert_with(|| Box::pin(rt::sleep_until(deadline)))
            .as_mut()
            .poll(cx)
            .map(|()| Err(phase))
    })
    .await
}

/// The earlier of two moments.
pub(crate) fn earlier(
    a: Option<(Instant, TimeoutPhase)>,
    b: Option<(Instant, TimeoutPhase)>,
) -> Option<(Instant, TimeoutPhase)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// What an exchange under way has to keep: its last moment, and the longest silence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) deadline: Option<Instant>,
    pub(crate) read: Option<Duration>,
}

/// One timer for all requests of a connection, one after the other.
///
/// Setting and cancelling a timer for each request would cost more than the request's own work in the loop. So the timer
/// is never cancelled: it is set when none is pending or the pending one would fire too late, and when it
/// fires early for the exchange that is under way it is set again. With a total of 300 s that is one
/// timer in 300 s, however many requests pass. Whether it has fired is a flag, so that not even the clock is read.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    timer: Option<Timer>,
    /// Since when nothing has come.
    silent_since: Option<Instant>,
}

#[derive(Debug)]
struct Timer {
    /// Only kept: dropping it would take the timer back.
    _sleep: Pin<Box<rt::Sleep>>,
    at: Instant,
    alarm: Arc<Alarm>,
}

impl Watch {
    /// Starts a silence anew: something came, or a new exchange began.
    pub(crate) fn progress(&mut self) {
        self.silent_since = None;
    }

    /// Says whether time has run out; otherwise makes sure that `cx` is woken when it may have.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>, limits: Limits) -> Poll<TimeoutPhase> {
        let read_deadline = limits.read.map(|read| *self.silent_since.get_or_insert_with(rt::now) + read);
        let (next, phase) = match (limits.deadline, read_deadline) {
            (Some(total), Some(read)) if read < total => (read, TimeoutPhase::Read),
            (Some(total), _) => (total, TimeoutPhase::Total),
            (None, Some(read)) => (read, TimeoutPhase::Read),
            (None, None) => return Poll::Pending,
        };
        if let Some(timer) = &self.timer
            && timer.at <= next
            && !timer.alarm.is_over(cx.waker())
        {
            return Poll::Pending;
        }
        if rt::now() >= next {
            return Poll::Ready(phase);
        }
        let alarm = Arc::new(Alarm::default());
        let mut sleep = Box::pin(rt::sleep_until(next));
        let pending = sleep.as_mut().poll(&mut Context::from_waker(&Waker::from(alarm.clone()))).is_pending();
        if !pending || alarm.is_over(cx.waker()) {
            return Poll::Ready(phase);
        }
        self.timer = Some(Timer { _sleep: sleep, at: next, alarm });
        Poll::Pending
    }
}

/// What a timer wakes: remembers that it did, and passes the wake on.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    over: AtomicBool,
    target: Mutex<Option<Waker>>,
}

impl Alarm {
    /// Whether it has gone off; if not, `waker` is woken when it does.
    pub(crate) fn is_over(&self, waker: &Waker) -> bool {
        // Cloned, dropped and woken while nothing is locked: the waker may be anybody's code, and come back here.
        let known = self.lock().as_ref().is_some_and(|target| target.will_wake(waker));
        if !known {
            let new = waker.clone();
            let old = self.lock().replace(new);
            drop(old);
        }
        self.over.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.over.store(true, Ordering::Release);
        let target = self.lock().take();
        if let Some(target) = target {
            target.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A waker that asks the alarm when it is woken or dropped.
    struct Asks {
        alarm: Arc<Alarm>,
        calls: Arc<AtomicUsize>,
    }

    impl Asks {
        fn ask(&self) {
            assert!(self.alarm.target.try_lock().is_ok(), "called while it is locked");
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wake for Asks {
        fn wake(self: Arc<Self>) {
            self.ask();
        }
    }

    impl Drop for Asks {
        fn drop(&mut self) {
            self.ask();
        }
    }

    #[test]
    fn an_alarm_wakes_and_drops_wakers_while_nothing_is_locked() {
        let alarm = Arc::new(Alarm::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let waker = || Waker::from(Arc::new(Asks { alarm: alarm.clone(), calls: calls.clone() }));
        assert!(!alarm.is_over(&waker()));
        assert!(!alarm.is_over(&waker()));
        assert_eq!(calls.load(Ordering::SeqCst), 1, "the first one was dropped");
        alarm.clone().wake();
        assert_eq!(calls.load(Ordering::SeqCst), 3, "the second one was woken and dropped");
        assert!(alarm.is_over(Waker::noop()));
    }
}

//! A wait on the loop's clock, for the few places of `net` that need one.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use aioxide_core::clock::saturating_ns;
use aioxide_core::current::{LoopHandle, current};
use aioxide_core::timers::TimerKey;

use super::source::running_loop;

/// Ends when the loop's clock shows its deadline.
pub(crate) struct Pause {
    event_loop: Rc<dyn LoopHandle>,
    deadline_ns: u64,
    key: Option<TimerKey>,
}

impl fmt::Debug for Pause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pause").field("deadline_ns", &self.deadline_ns).finish_non_exhaustive()
    }
}

impl Pause {
    /// Until the running loop's clock shows `deadline_ns`.
    pub(crate) fn until(deadline_ns: u64) -> io::Result<Self> {
        Ok(Self { event_loop: running_loop()?, deadline_ns, key: None })
    }

    /// From now, for `duration`.
    pub(crate) fn new(duration: Duration) -> io::Result<Self> {
        let event_loop = running_loop()?;
        let deadline_ns = event_loop.now_ns().saturating_add(saturating_ns(duration));
        Ok(Self { event_loop, deadline_ns, key: None })
    }

    pub(crate) fn deadline_ns(&self) -> u64 {
        self.deadline_ns
    }

    fn cancel(&mut self) {
        if let Some(key) = self.key.take() {
            self.event_loop.cancel_timer(key);
        }
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.cancel();
        // On another loop than before it is set there: the one before may not run any more.
        if let Some(here) = current().filter(|here| here.id() != self.event_loop.id()) {
            self.event_loop = here;
        }
        if self.event_loop.now_ns() >= self.deadline_ns {
            return Poll::Ready(());
        }
        self.key = Some(self.event_loop.add_timer(self.deadline_ns, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.cancel();
    }
}

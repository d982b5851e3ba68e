//! A wait on the loop's clock, for the few places of `net` that need one.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use aioxide_core::current::LoopHandle;
use aioxide_core::timers::TimerKey;

use super::source::running_loop;

/// Waits until the running loop's clock shows `deadline_ns`.
pub(crate) async fn pause_until(deadline_ns: u64) -> io::Result<()> {
    if deadline_ns == 0 {
        return Ok(());
    }
    let mut timer = Timer { event_loop: running_loop()?, key: None };
    poll_fn(|cx| {
        if timer.event_loop.now_ns() >= deadline_ns {
            return Poll::Ready(());
        }
        timer.cancel();
        timer.key = Some(timer.event_loop.add_timer(deadline_ns, cx.waker().clone()));
        Poll::Pending
    })
    .await;
    Ok(())
}

struct Timer {
    event_loop: Rc<dyn LoopHandle>,
    key: Option<TimerKey>,
}

impl Timer {
    fn cancel(&mut self) {
        if let Some(key) = self.key.take() {
            self.event_loop.cancel_timer(key);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

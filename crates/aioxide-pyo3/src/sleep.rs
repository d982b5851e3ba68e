//! `sleep`: a timer of the loop.

use std::ffi::c_void;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};
use std::time::Duration;

use pyo3::Python;

use crate::{abi, api, waker};

/// Waits for `duration`, counted from the first poll; never less. Zero gives the loop one turn.
///
/// It is to be polled inside a future that runs on aioxide's loop: one of [`into_awaitable`](crate::into_awaitable) or
/// [`spawn`](crate::spawn).
///
/// # Panics
/// When it is polled in a thread that runs no loop of aioxide's.
///
/// # Cancel safety
/// Dropping it takes its timer back.
///
/// # Examples
/// ```no_run,standalone_crate
/// # use std::time::Duration;
/// # async fn example() {
/// aioxide_pyo3::sleep(Duration::from_millis(5)).await;
/// # }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { duration, timer: None, over: false, _local: PhantomData }
}

/// The future of [`sleep`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    duration: Duration,
    timer: Option<Timer>,
    over: bool,
    /// It belongs to the loop of its thread.
    _local: PhantomData<*const ()>,
}

#[derive(Debug)]
struct Timer(NonNull<c_void>);

impl Drop for Timer {
    fn drop(&mut self) {
        // Where the interpreter has ended, the loop has, too.
        Python::try_attach(|_| {
            // SAFETY: from `sleep_start`, and used up; attached, on its thread.
            unsafe { (api::loaded().sleep_drop)(self.0.as_ptr()) };
        });
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.over {
            return Poll::Ready(());
        }
        // The loop's timers are its own only as long as no other thread is let into the interpreter.
        Python::attach(|_| self.poll_attached(cx))
    }
}

impl Sleep {
    fn poll_attached(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let duration_ns = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        let timer = self.timer.get_or_insert_with(|| {
            // Without aioxide no loop of its can run.
            let api = api::load_anywhere().ok();
            // SAFETY: attached; null where no loop runs.
            let timer = api.and_then(|api| NonNull::new(unsafe { (api.sleep_start)(duration_ns) }));
            Timer(timer.expect("this thread runs no loop of aioxide's"))
        });
        // SAFETY: from `sleep_start`, on its thread: it is not `Send`; attached.
        if unsafe { (api::loaded().sleep_poll)(timer.0.as_ptr(), waker::lend(cx.waker())) } == abi::PENDING {
            return Poll::Pending;
        }
        self.timer = None;
        self.over = true;
        Poll::Ready(())
    }
}

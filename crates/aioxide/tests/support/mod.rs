//! A face of a few lines on the core: what `net` must work on, whoever owns the loop.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::cell::RefCell;
use std::future::Future;
use std::ops::ControlFlow;
use std::rc::{Rc, Weak};
use std::task::Poll;

use aioxide_core::clock::Clock;
use aioxide_core::{EventLoop, JoinHandle, Notified, Runnable, Token};

/// A woken task is all that this face's queue holds.
struct Entry(Notified);

impl From<Notified> for Entry {
    fn from(task: Notified) -> Self {
        Self(task)
    }
}

impl Runnable for Entry {
    type Posted = Notified;
    type Context<'a> = ();

    fn from_io(_: Token) -> Self {
        unreachable!("nothing is watched by callback")
    }

    fn run(self, (): &mut ()) -> ControlFlow<()> {
        self.0.run();
        ControlFlow::Continue(())
    }
}

/// Runs `future` to its end on a loop of its own.
#[track_caller]
pub(crate) fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    run_with(Clock::Monotonic, future)
}

/// Runs `future` on a loop whose time jumps to the next deadline when idle.
#[track_caller]
pub(crate) fn run_virtual<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    run_with(Clock::virtual_from(1), future)
}

#[track_caller]
fn run_with<T: 'static>(clock: Clock, future: impl Future<Output = T> + 'static) -> T {
    let event_loop = EventLoop::<Entry>::with_clock(clock).unwrap();
    let output = Rc::new(RefCell::new(None));
    let filled = Rc::clone(&output);
    let stopper = Rc::downgrade(&event_loop);
    let mut task = aioxide_core::spawn(
        &*event_loop,
        async move {
            let _stop = StopAtEnd(stopper);
            let value = future.await;
            *filled.borrow_mut() = Some(value);
        },
        (),
    );
    while !task.task().is_complete() {
        let _ = event_loop.run_forever(&mut ()).unwrap();
        if let Some(Err(error)) = task.take_output() {
            match error.into_panic() {
                Some(payload) => std::panic::resume_unwind(payload),
                None => panic!("the main task was cancelled"),
            }
        }
    }
    event_loop.close();
    output.take().unwrap()
}

/// Stops its loop when it goes, also when a panic takes it.
struct StopAtEnd(Weak<EventLoop<Entry>>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        if let Some(event_loop) = self.0.upgrade() {
            event_loop.stop();
        }
    }
}

/// Starts a task on the running loop.
pub(crate) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let event_loop = aioxide_core::current::current().unwrap();
    aioxide_core::spawn(&*event_loop, future, ())
}

/// Waits until the running loop's clock shows `deadline_ns`.
pub(crate) async fn sleep_until(deadline_ns: u64) {
    let event_loop = aioxide_core::current::current().unwrap();
    let mut key = None;
    std::future::poll_fn(|cx| {
        if event_loop.now_ns() >= deadline_ns {
            return Poll::Ready(());
        }
        key.get_or_insert_with(|| event_loop.add_timer(deadline_ns, cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

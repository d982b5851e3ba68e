//! A forked child: it has none of its parent's threads, so its pools begin anew.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;

use aioxide_core::pool::Pool;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, without a loop.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park();
    }
}

/// Runs `work` in a child; whether it returned `true` within ten seconds.
fn in_child(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `work` and leaves by `_exit`; glibc keeps its own locks usable across a fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: plain numbers. The alarm kills a child that hangs.
        unsafe { libc::alarm(10) };
        let right = work();
        // SAFETY: it does not return.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let mut status = 0;
    // SAFETY: `status` is a place for a number.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    waited == child && status == 0
}

#[test]
fn pool_of_a_forked_child_has_threads_of_its_own() {
    static POOL: Pool = Pool::new("test-fork", 2);
    assert_eq!(block_on(POOL.run(|| 1)).unwrap(), 1);
    let answered = in_child(|| {
        let first = block_on(POOL.run(|| 2)).unwrap() == 2;
        first && in_child(|| block_on(POOL.run(|| 3)).unwrap() == 3)
    });
    assert!(answered, "the calls of the child and of its child were made");
    assert_eq!(block_on(POOL.run(|| 4)).unwrap(), 4, "the parent's pool goes on");
}

#[test]
fn call_that_waits_in_the_parent_is_not_made_in_the_child() {
    static POOL: Pool = Pool::new("test-fork-queue", 1);
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let running = POOL.run(move || open.recv().unwrap());
    let made = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let make = Arc::clone(&made);
    let waiting = POOL.run(move || make.store(true, std::sync::atomic::Ordering::SeqCst));
    let untouched = in_child(|| {
        block_on(POOL.run(|| ())).unwrap();
        !made.load(std::sync::atomic::Ordering::SeqCst)
    });
    assert!(untouched);
    gate.send(()).unwrap();
    block_on(running).unwrap();
    block_on(waiting).unwrap();
    assert!(made.load(std::sync::atomic::Ordering::SeqCst));
}

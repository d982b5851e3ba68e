//! A forked child: it has none of its parent's threads, so its pools begin anew, and nothing waits for those threads.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;

use aioxide_core::pool::Pool;
use aioxide_core::reactor::Reactor;
use aioxide_core::signals::{SIGUSR1, SIGUSR2, SignalListener};

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
    let made = Arc::new(AtomicBool::new(false));
    let make = Arc::clone(&made);
    let waiting = POOL.run(move || make.store(true, Ordering::SeqCst));
    let untouched = in_child(|| {
        block_on(POOL.run(|| ())).unwrap();
        !made.load(Ordering::SeqCst)
    });
    assert!(untouched);
    gate.send(()).unwrap();
    block_on(running).unwrap();
    block_on(waiting).unwrap();
    assert!(made.load(Ordering::SeqCst));
}

/// Other threads of the parent are all the time in the handler, or take listeners in and out.
#[test]
fn signals_that_threads_of_the_parent_are_busy_with_do_not_keep_the_child() {
    let reactor = Rc::new(Reactor::new().unwrap());
    let _caught = SignalListener::new(&reactor, SIGUSR1).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let busy = |work: fn()| {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                work();
            }
        })
    };
    // SAFETY: a signal that is caught, to this thread.
    let raising = busy(|| assert_eq!(unsafe { libc::raise(SIGUSR1) }, 0));
    let listening = busy(|| {
        let reactor = Rc::new(Reactor::new().unwrap());
        for _ in 0..100 {
            drop(SignalListener::new(&reactor, SIGUSR2).unwrap());
        }
    });
    let free = (0..100).all(|_| {
        in_child(|| {
            let reactor = Rc::new(Reactor::new().unwrap());
            let listen = |signal| SignalListener::new(&reactor, signal).is_ok();
            [SIGUSR1, SIGUSR2].into_iter().all(listen)
        })
    });
    stop.store(true, Ordering::SeqCst);
    raising.join().unwrap();
    listening.join().unwrap();
    assert!(free, "a child waited for a thread that it does not have");
}

//! A process that was stopped for a while sees first what came meanwhile; a destructor that panics stops nothing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::cell::RefCell;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use aioxide_core::clock::Clock;
use aioxide_core::{EventLoop, Notified, Runnable, Token};

/// What ran, in order, and what happens at the end of a wait.
struct World {
    log: Vec<&'static str>,
    after_wait: Option<Box<dyn FnOnce()>>,
}

enum Entry {
    Io,
    Timer(&'static str),
}

impl From<Notified> for Entry {
    fn from(_: Notified) -> Self {
        unreachable!("no task is spawned")
    }
}

impl Runnable for Entry {
    type Posted = Notified;
    type Context<'a> = World;

    fn from_io(_: Token) -> Self {
        Self::Io
    }

    fn run(self, world: &mut World) -> ControlFlow<()> {
        world.log.push(match self {
            Self::Io => "bytes",
            Self::Timer(name) => name,
        });
        ControlFlow::Continue(())
    }

    fn block<T>(world: &mut World, wait: impl FnOnce() -> T) -> T {
        let waited = wait();
        if let Some(happens) = world.after_wait.take() {
            happens();
        }
        waited
    }
}

/// Lets the deadline of a wait pass, and then bytes come and the clock run on while the process stands still.
fn order_after_a_stop() -> Vec<&'static str> {
    let event_loop = EventLoop::<Entry>::new().unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    event_loop.reactor().set_reader(one.as_raw_fd(), Token(1)).unwrap();
    let soon_ns = event_loop.clock().now_ns() + 1_000_000;
    event_loop.call_at(soon_ns, Entry::Timer("first deadline"));
    event_loop.call_at(soon_ns + 50_000_000, Entry::Timer("deadline of the bytes"));
    let stop = move || {
        other.write_all(b"x").unwrap();
        while Clock::Monotonic.now_ns() < soon_ns + 60_000_000 {
            std::thread::yield_now();
        }
    };
    let mut world = World { log: Vec::new(), after_wait: Some(Box::new(stop)) };
    let _ = event_loop.run_once(&mut world).unwrap();
    event_loop.reactor().forget(one.as_raw_fd());
    event_loop.close();
    world.log
}

#[test]
fn bytes_that_came_during_a_stop_are_seen_before_deadlines_that_passed_in_it() {
    assert_eq!(order_after_a_stop(), ["bytes", "first deadline", "deadline of the bytes"]);
}

struct Bomb(Rc<RefCell<u32>>);

impl Drop for Bomb {
    fn drop(&mut self) {
        *self.0.borrow_mut() += 1;
        std::panic::panic_any(PayloadBomb);
    }
}

struct PayloadBomb;

impl Drop for PayloadBomb {
    fn drop(&mut self) {
        panic!("the payload's destructor");
    }
}

#[test]
fn destructors_and_payloads_that_panic_do_not_get_out_of_destroy() {
    let count = Rc::default();
    aioxide_core::destroy(Bomb(Rc::clone(&count)));
    assert_eq!(*count.borrow(), 1);
    aioxide_core::destroy(PayloadBomb);
}

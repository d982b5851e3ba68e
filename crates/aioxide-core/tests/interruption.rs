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

const LATER: Token = Token(2);

enum Entry {
    Io(&'static str),
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

    fn from_io(token: Token) -> Self {
        Self::Io(if token == LATER { "later bytes" } else { "bytes" })
    }

    fn run(self, world: &mut World) -> ControlFlow<()> {
        let (Self::Io(name) | Self::Timer(name)) = self;
        world.log.push(name);
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

/// A wait that ends with bytes for some descriptors; before timers are looked at the process is stopped, and bytes come for others.
fn told_before_a_stop(descriptors: usize) -> Vec<&'static str> {
    let event_loop = EventLoop::<Entry>::new().unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    let (later, mut later_other) = UnixStream::pair().unwrap();
    let copies: Vec<_> = (0..descriptors).map(|_| one.try_clone().unwrap()).collect();
    for copy in &copies {
        event_loop.reactor().set_reader(copy.as_raw_fd(), Token(1)).unwrap();
    }
    event_loop.reactor().set_reader(later.as_raw_fd(), LATER).unwrap();
    let soon_ns = event_loop.clock().now_ns() + 20_000_000;
    event_loop.call_at(soon_ns, Entry::Timer("deadline"));
    other.write_all(b"x").unwrap();
    let stop = move || {
        later_other.write_all(b"x").unwrap();
        while Clock::Monotonic.now_ns() < soon_ns + 60_000_000 {
            std::thread::yield_now();
        }
    };
    let mut world = World { log: Vec::new(), after_wait: Some(Box::new(stop)) };
    let _ = event_loop.run_once(&mut world).unwrap();
    copies.iter().chain([&later]).for_each(|copy| event_loop.reactor().forget(copy.as_raw_fd()));
    event_loop.close();
    world.log
}

#[test]
fn bytes_that_came_after_others_were_told_of_are_seen_before_deadlines_that_passed_meanwhile() {
    assert_eq!(told_before_a_stop(1), ["bytes", "later bytes", "deadline"]);
}

#[test]
fn all_descriptors_are_looked_at_after_a_stop_however_many_one_question_tells_of() {
    let log = told_before_a_stop(700);
    assert_eq!(log.len(), 702, "each once");
    assert_eq!(log.last(), Some(&"deadline"));
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

//! The reactor: what is watched, and what becomes of descriptors that are closed behind its back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use aioxide_core::sys::Events;
use aioxide_core::{Reactor, Token};

struct Watcher {
    reactor: Rc<Reactor>,
    events: Events,
}

impl Watcher {
    fn new() -> Self {
        Self { reactor: Rc::new(Reactor::new().unwrap()), events: Events::new() }
    }

    /// Asks the kernel once, without waiting.
    fn fired(&mut self) -> Vec<u64> {
        let mut fired = Vec::new();
        self.reactor.select(&mut self.events, Some(Duration::ZERO)).unwrap();
        self.reactor.dispatch(&self.events, |token| fired.push(token.0));
        fired
    }

    /// How many events the kernel had at the last question, wanted or not.
    fn events(&mut self) -> usize {
        self.fired();
        self.events.len()
    }

    /// The descriptors in the kernel's set.
    fn in_kernel(&self) -> Vec<i32> {
        let path = format!("/proc/self/fdinfo/{}", self.reactor.selector_fd());
        let info = std::fs::read_to_string(path).unwrap();
        let mut fds: Vec<i32> = info
            .lines()
            .filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok())
            .collect();
        fds.sort_unstable();
        fds
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (one, other)
}

#[derive(Default)]
struct CountingWake(AtomicUsize);

impl Wake for CountingWake {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn level_watch_fires_as_long_as_it_is_ready() {
    let mut watcher = Watcher::new();
    let (mut one, mut other) = pair();
    assert_eq!(watcher.reactor.set_reader(one.as_raw_fd(), Token(1)).unwrap(), None);
    assert_eq!(watcher.fired(), []);
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [1]);
    assert_eq!(watcher.fired(), [1]);
    assert_eq!(one.read(&mut [0; 8]).unwrap(), 1);
    assert_eq!(watcher.fired(), []);
}

#[test]
fn reader_and_writer_of_one_descriptor_are_separate() {
    let mut watcher = Watcher::new();
    let (one, mut other) = pair();
    let fd = one.as_raw_fd();
    watcher.reactor.set_writer(fd, Token(2)).unwrap();
    assert_eq!(watcher.fired(), [2]);
    watcher.reactor.set_reader(fd, Token(1)).unwrap();
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [1, 2]);
    assert_eq!(watcher.reactor.tokens(fd), (Some(Token(1)), Some(Token(2))));
    assert_eq!(watcher.reactor.remove_writer(fd), Some(Token(2)));
    assert_eq!(watcher.fired(), [1]);
    assert_eq!(watcher.reactor.remove_reader(fd), Some(Token(1)));
    assert_eq!(watcher.reactor.remove_reader(fd), None);
    assert_eq!((watcher.fired(), watcher.reactor.watched()), (vec![], 0));
}

#[test]
fn second_token_replaces_the_first() {
    let mut watcher = Watcher::new();
    let (one, mut other) = pair();
    watcher.reactor.set_reader(one.as_raw_fd(), Token(1)).unwrap();
    assert_eq!(watcher.reactor.set_reader(one.as_raw_fd(), Token(2)).unwrap(), Some(Token(1)));
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [2]);
}

/// Taking a reader away and setting it again costs one call: the kernel is not told of the going.
#[test]
fn removed_reader_stays_in_the_kernel_until_an_event_nobody_wants() {
    let mut watcher = Watcher::new();
    let (one, mut other) = pair();
    let fd = one.as_raw_fd();
    watcher.reactor.set_reader(fd, Token(1)).unwrap();
    watcher.reactor.remove_reader(fd);
    assert_eq!(watcher.in_kernel(), [fd]);
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), []);
    assert_eq!(watcher.in_kernel(), []);
    assert_eq!(watcher.events(), 0, "an event that nobody wants comes once");
    watcher.reactor.set_reader(fd, Token(2)).unwrap();
    assert_eq!(watcher.fired(), [2]);
}

#[test]
fn half_that_is_not_wanted_any_more_is_switched_off() {
    let mut watcher = Watcher::new();
    let (one, mut other) = pair();
    let fd = one.as_raw_fd();
    watcher.reactor.set_reader(fd, Token(1)).unwrap();
    watcher.reactor.set_writer(fd, Token(2)).unwrap();
    watcher.reactor.remove_writer(fd);
    assert_eq!(watcher.fired(), []);
    assert_eq!(watcher.events(), 0);
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [1]);
}

#[test]
fn descriptor_closed_while_watched_is_silent() {
    let mut watcher = Watcher::new();
    let (one, mut other) = pair();
    watcher.reactor.set_reader(one.as_raw_fd(), Token(1)).unwrap();
    drop(one);
    let _ = other.write_all(b"x");
    assert_eq!(watcher.events(), 0);
}

/// A duplicate keeps the closed descriptor alive in the kernel's set, where it can no longer be named.
#[test]
fn closed_descriptor_with_a_duplicate_does_not_spin() {
    let mut watcher = Watcher::new();
    let (one, mut other) = pair();
    let (kept, mut kept_other) = pair();
    let fd = one.as_raw_fd();
    watcher.reactor.set_reader(kept.as_raw_fd(), Token(7)).unwrap();
    watcher.reactor.set_reader(fd, Token(1)).unwrap();
    let duplicate = one.try_clone().unwrap();
    watcher.reactor.remove_reader(fd);
    drop(one);
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), []);
    assert_eq!(watcher.events(), 0, "the event came back");
    kept_other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [7], "the others are still watched");
    drop(duplicate);
}

#[test]
fn reused_number_is_watched_anew_and_the_old_one_is_told_apart() {
    let mut watcher = Watcher::new();
    let (one, mut old_other) = pair();
    let fd = one.as_raw_fd();
    watcher.reactor.set_reader(fd, Token(1)).unwrap();
    let duplicate = one.try_clone().unwrap();
    watcher.reactor.remove_reader(fd);
    drop(one);
    let (new, mut new_other) = loop {
        // Other tests of this process open descriptors too: until the number is ours.
        let (new, new_other) = pair();
        if new.as_raw_fd() == fd {
            break (new, new_other);
        }
        if new_other.as_raw_fd() == fd {
            break (new_other, new);
        }
        std::mem::forget((new, new_other));
    };
    watcher.reactor.set_reader(fd, Token(2)).unwrap();
    old_other.write_all(b"old").unwrap();
    assert_eq!(watcher.fired(), [], "the old one's event is not the new one's");
    assert_eq!(watcher.events(), 0);
    new_other.write_all(b"new").unwrap();
    assert_eq!(watcher.fired(), [2]);
    drop((duplicate, new));
}

#[test]
fn regular_file_and_bad_number_are_refused() {
    let watcher = Watcher::new();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let error = watcher.reactor.set_reader(file.as_raw_fd(), Token(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    for bad in [-1, 1 << 20] {
        assert_eq!(watcher.reactor.set_reader(bad, Token(1)).unwrap_err().raw_os_error(), Some(9));
    }
    assert_eq!(watcher.reactor.watched(), 0);
    assert_eq!(watcher.reactor.tokens(file.as_raw_fd()), (None, None));
}

#[test]
fn registration_wakes_once_for_each_edge() {
    let mut watcher = Watcher::new();
    let (mut one, mut other) = pair();
    let registration = watcher.reactor.register(one.as_raw_fd()).unwrap();
    let wake = Arc::<CountingWake>::default();
    let waker = Waker::from(Arc::clone(&wake));
    let mut cx = Context::from_waker(&waker);
    for round in 1..=3 {
        assert!(registration.poll_read(&mut cx, || one.read(&mut [0; 8])).is_pending());
        assert!(registration.poll_readable(&mut cx).is_pending(), "polled twice, it wakes once");
        other.write_all(b"xy").unwrap();
        watcher.fired();
        assert_eq!(wake.0.load(Ordering::Relaxed), round);
        assert!(registration.poll_read(&mut cx, || one.read(&mut [0; 8])).is_ready());
        registration.drained();
    }
    assert_eq!(watcher.events(), 0);
}

#[test]
fn drained_stream_that_has_ended_stays_readable() {
    let mut watcher = Watcher::new();
    let (mut one, mut other) = pair();
    let registration = watcher.reactor.register(one.as_raw_fd()).unwrap();
    other.write_all(b"x").unwrap();
    drop(other);
    watcher.fired();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(registration.poll_read(&mut cx, || one.read(&mut [0; 8])).is_ready());
    registration.drained();
    assert!(registration.poll_readable(&mut cx).is_ready(), "no edge would tell of the end again");
}

#[test]
fn descriptor_has_one_owner() {
    let watcher = Watcher::new();
    let (one, _other) = pair();
    let fd = one.as_raw_fd();
    let registration = watcher.reactor.register(fd).unwrap();
    assert_eq!(watcher.reactor.register(fd).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(watcher.reactor.set_reader(fd, Token(1)).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(watcher.reactor.remove_reader(fd), None);
    drop(registration);
    assert_eq!((watcher.reactor.watched(), watcher.in_kernel()), (0, vec![]));
    watcher.reactor.set_reader(fd, Token(1)).unwrap();
    assert_eq!(watcher.reactor.register(fd).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn dropped_registration_wakes_whoever_waits() {
    let watcher = Watcher::new();
    let (one, _other) = pair();
    let registration = watcher.reactor.register(one.as_raw_fd()).unwrap();
    let wake = Arc::<CountingWake>::default();
    let waker = Waker::from(Arc::clone(&wake));
    assert!(registration.poll_readable(&mut Context::from_waker(&waker)).is_pending());
    drop(registration);
    assert_eq!(wake.0.load(Ordering::Relaxed), 1);
}

/// A waker may do anything to the reactor that woke it.
#[test]
fn waker_that_uses_the_reactor_is_harmless() {
    struct Meddler(std::sync::Mutex<Option<(usize, i32)>>);
    impl Wake for Meddler {
        fn wake(self: Arc<Self>) {
            MEDDLED.set(true);
            let (reactor, fd) = self.0.lock().unwrap().take().unwrap();
            REACTOR.with(|held| {
                let held = held.take().unwrap();
                assert_eq!(Rc::as_ptr(&held) as usize, reactor);
                held.set_reader(fd, Token(5)).unwrap();
                drop(held.register(fd).unwrap_err());
            });
        }
    }
    thread_local! {
        static MEDDLED: Cell<bool> = const { Cell::new(false) };
        static REACTOR: Cell<Option<Rc<Reactor>>> = const { Cell::new(None) };
    }
    let mut watcher = Watcher::new();
    let (one, mut other) = pair();
    let (second, mut second_other) = pair();
    REACTOR.set(Some(Rc::clone(&watcher.reactor)));
    let registration = watcher.reactor.register(one.as_raw_fd()).unwrap();
    let address = Rc::as_ptr(&watcher.reactor) as usize;
    let waker = Waker::from(Arc::new(Meddler(std::sync::Mutex::new(Some((address, second.as_raw_fd()))))));
    assert!(registration.poll_readable(&mut Context::from_waker(&waker)).is_pending());
    other.write_all(b"x").unwrap();
    watcher.fired();
    assert!(MEDDLED.get());
    second_other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [5]);
}

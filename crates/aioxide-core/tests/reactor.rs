//! The reactor: what is watched, and what becomes of descriptors that are closed behind its back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use aioxide_core::{Reactor, Token};
use support::{call, iterate, new_loop};

struct Watcher {
    event_loop: support::Loop,
    reactor: Rc<Reactor>,
    wakeup: Vec<i32>,
    /// Always watched: a busy loop that watches nothing does not ask.
    _bystander: (UnixStream, UnixStream),
}

impl Watcher {
    fn new() -> Self {
        let event_loop = new_loop();
        let reactor = Rc::clone(event_loop.reactor());
        let bystander = pair();
        reactor.set_reader(bystander.0.as_raw_fd(), Token(u64::MAX)).unwrap();
        let mut watcher = Self { event_loop, reactor, wakeup: Vec::new(), _bystander: bystander };
        watcher.wakeup = watcher.in_kernel();
        watcher
    }

    /// Asks the kernel once, without waiting.
    fn fired(&self) -> Vec<u64> {
        self.event_loop.call_soon(call(|| ()));
        iterate(&self.event_loop)
    }

    /// How many descriptors are watched beside the bystander.
    fn watched(&self) -> usize {
        self.reactor.watched() - 1
    }

    /// Whether the next wait would end at once: the kernel's set is itself a descriptor that can be watched.
    fn would_spin(&self) -> bool {
        let observer = new_loop();
        observer.reactor().set_reader(self.reactor.selector_fd(), Token(0)).unwrap();
        observer.call_soon(call(|| ()));
        !iterate(&observer).is_empty()
    }

    /// The descriptors in the kernel's set, without the inbox's.
    fn in_kernel(&self) -> Vec<i32> {
        let path = format!("/proc/self/fdinfo/{}", self.reactor.selector_fd());
        let info = std::fs::read_to_string(path).unwrap();
        let mut fds: Vec<i32> = info
            .lines()
            .filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok())
            .filter(|fd| !self.wakeup.contains(fd))
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
    let watcher = Watcher::new();
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
    let watcher = Watcher::new();
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
    assert_eq!((watcher.fired(), watcher.watched()), (vec![], 0));
}

#[test]
fn second_token_replaces_the_first() {
    let watcher = Watcher::new();
    let (one, mut other) = pair();
    watcher.reactor.set_reader(one.as_raw_fd(), Token(1)).unwrap();
    assert_eq!(watcher.reactor.set_reader(one.as_raw_fd(), Token(2)).unwrap(), Some(Token(1)));
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [2]);
}

/// Taking a reader away and setting it again costs one call: the kernel is not told of the going.
#[test]
fn removed_reader_stays_in_the_kernel_until_an_event_nobody_wants() {
    let watcher = Watcher::new();
    let (one, mut other) = pair();
    let fd = one.as_raw_fd();
    watcher.reactor.set_reader(fd, Token(1)).unwrap();
    watcher.reactor.remove_reader(fd);
    assert_eq!(watcher.in_kernel(), [fd]);
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), []);
    assert_eq!(watcher.in_kernel(), []);
    assert!(!watcher.would_spin(), "an event that nobody wants comes once");
    watcher.reactor.set_reader(fd, Token(2)).unwrap();
    assert_eq!(watcher.fired(), [2]);
}

#[test]
fn half_that_is_not_wanted_any_more_is_switched_off() {
    let watcher = Watcher::new();
    let (one, mut other) = pair();
    let fd = one.as_raw_fd();
    watcher.reactor.set_reader(fd, Token(1)).unwrap();
    watcher.reactor.set_writer(fd, Token(2)).unwrap();
    watcher.reactor.remove_writer(fd);
    assert_eq!(watcher.fired(), []);
    assert!(!watcher.would_spin());
    other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [1]);
}

#[test]
fn descriptor_closed_while_watched_is_silent() {
    let watcher = Watcher::new();
    let (one, mut other) = pair();
    watcher.reactor.set_reader(one.as_raw_fd(), Token(1)).unwrap();
    drop(one);
    let _ = other.write_all(b"x");
    assert_eq!(watcher.fired(), []);
    assert!(!watcher.would_spin());
}

/// A duplicate keeps the closed descriptor alive in the kernel's set, where it can no longer be named.
#[test]
fn closed_descriptor_with_a_duplicate_does_not_spin() {
    let watcher = Watcher::new();
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
    assert!(!watcher.would_spin(), "the event came back");
    kept_other.write_all(b"x").unwrap();
    assert_eq!(watcher.fired(), [7], "the others are still watched");
    drop(duplicate);
}

#[test]
fn reused_number_is_watched_anew_and_the_old_one_is_told_apart() {
    let watcher = Watcher::new();
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
    assert!(!watcher.would_spin());
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
    assert_eq!(watcher.watched(), 0);
    assert_eq!(watcher.reactor.tokens(file.as_raw_fd()), (None, None));
}

#[test]
fn registration_wakes_once_for_each_edge() {
    let watcher = Watcher::new();
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
    watcher.fired();
    assert!(!watcher.would_spin());
}

#[test]
fn drained_stream_that_has_ended_stays_readable() {
    let watcher = Watcher::new();
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
    assert_eq!((watcher.watched(), watcher.in_kernel()), (0, vec![]));
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
    let watcher = Watcher::new();
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

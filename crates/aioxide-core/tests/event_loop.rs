//! The iteration: its order, its clock, stopping, closing, and interrupted waits.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use aioxide_core::clock::Clock;
use aioxide_core::current::{self, LoopHandle};
use aioxide_core::signals::SignalListener;
use aioxide_core::sys::send_signal;
use aioxide_core::{EventLoop, Token};
use support::{Entry, Fired, Posted, call, iterate, new_loop, virtual_loop};

type Log = Rc<RefCell<Vec<&'static str>>>;

fn note(log: &Log, word: &'static str) -> impl FnOnce() + 'static {
    let log = Rc::clone(log);
    move || log.borrow_mut().push(word)
}

fn run(event_loop: &support::Loop) -> ControlFlow<()> {
    event_loop.run_forever(&mut Fired::default()).unwrap()
}

#[test]
fn what_a_batch_adds_waits_for_the_next_one() {
    let event_loop = new_loop();
    let log = Log::default();
    let (inner, inner_log) = (Rc::downgrade(&event_loop), Rc::clone(&log));
    event_loop.call_soon(call(move || {
        inner_log.borrow_mut().push("first");
        inner.upgrade().unwrap().call_soon(call(note(&inner_log, "added")));
    }));
    event_loop.call_soon(call(note(&log, "second")));
    iterate(&event_loop);
    assert_eq!(*log.borrow(), ["first", "second"]);
    iterate(&event_loop);
    assert_eq!(*log.borrow(), ["first", "second", "added"]);
    event_loop.close();
}

/// asyncio's order: what was ready, then events, then (as threads post through the self-pipe) posts, then timers.
#[test]
fn ready_then_events_then_posts_then_timers() {
    let event_loop = virtual_loop();
    event_loop.set_poll_interval(0);
    let log = Log::default();
    let order = Rc::new(Cell::new(0));
    let (one, mut other) = UnixStream::pair().unwrap();
    event_loop.reactor().set_reader(one.as_raw_fd(), Token(1)).unwrap();
    event_loop.call_at(0, call(note(&log, "timer")));
    other.write_all(b"x").unwrap();
    let posted = std::sync::Arc::new(std::sync::Mutex::new(false));
    let seen = std::sync::Arc::clone(&posted);
    event_loop.remote().post(Posted::Call(Box::new(move || *seen.lock().unwrap() = true))).unwrap();
    event_loop.call_soon(call(note(&log, "ready")));
    let _entered = event_loop.enter();
    event_loop.poll(&mut Fired::default()).unwrap();
    let mut kinds = Vec::new();
    event_loop.for_each_ready(|entry| {
        kinds.push(match entry {
            Entry::Io(_) => "event",
            _ => "call",
        });
    });
    assert_eq!(kinds, ["call", "event", "call", "call"]);
    let mut fired = Fired::default();
    let log_before_timer = {
        let _ = event_loop.run_batch(&mut fired);
        order.set(fired.0.len());
        log.borrow().clone()
    };
    assert_eq!((log_before_timer, order.get()), (vec!["ready", "timer"], 1));
    assert!(*posted.lock().unwrap());
    event_loop.close();
}

#[test]
fn equal_deadlines_run_in_the_order_of_the_calls_and_none_early() {
    let event_loop = virtual_loop();
    let log = Log::default();
    for (deadline_ns, word) in [(20, "c"), (10, "a"), (20, "d"), (10, "b")] {
        event_loop.call_at(deadline_ns, call(note(&log, word)));
    }
    event_loop.call_at(15, call(note(&log, "between")));
    let stopper = Rc::downgrade(&event_loop);
    event_loop.call_at(20, call(move || stopper.upgrade().unwrap().stop()));
    assert!(run(&event_loop).is_continue());
    assert_eq!(*log.borrow(), ["a", "b", "between", "c", "d"]);
    assert_eq!(event_loop.now_ns(), 20);
    event_loop.close();
}

#[test]
fn real_timer_never_fires_early() {
    let event_loop = new_loop();
    for delay_us in [0, 1, 50, 999, 1500] {
        let deadline_ns = event_loop.now_ns() + delay_us * 1000;
        let fired_ns = Rc::new(Cell::new(0));
        let (seen, inner) = (Rc::clone(&fired_ns), Rc::downgrade(&event_loop));
        event_loop.call_at(
            deadline_ns,
            call(move || {
                let event_loop = inner.upgrade().unwrap();
                seen.set(event_loop.now_ns());
                event_loop.stop();
            }),
        );
        let _ = run(&event_loop);
        assert!(fired_ns.get() >= deadline_ns);
    }
    event_loop.close();
}

#[test]
fn virtual_hour_takes_no_time() {
    let event_loop = virtual_loop();
    let hour_ns = Duration::from_secs(3600).as_nanos() as u64;
    let stopper = Rc::downgrade(&event_loop);
    event_loop.call_at(hour_ns, call(move || stopper.upgrade().unwrap().stop()));
    let real = Clock::Monotonic.now_ns();
    let _ = run(&event_loop);
    assert_eq!(event_loop.now_ns(), hour_ns);
    assert!(Clock::Monotonic.now_ns() - real < hour_ns / 100);
    event_loop.close();
}

/// What the kernel has ready comes before the jump to a deadline, and time stands still while a thread is at work.
#[test]
fn virtual_clock_jumps_only_when_nothing_else_can_happen() {
    let event_loop = virtual_loop();
    event_loop.call_at(1000, call(|| ()));
    let (one, mut other) = UnixStream::pair().unwrap();
    event_loop.reactor().set_reader(one.as_raw_fd(), Token(1)).unwrap();
    other.write_all(b"x").unwrap();
    assert_eq!(iterate(&event_loop), [1]);
    assert_eq!(event_loop.now_ns(), 0);
    event_loop.reactor().forget(one.as_raw_fd());
    event_loop.count_outside_work(1);
    let remote = event_loop.remote();
    let thread = std::thread::spawn(move || remote.post(Posted::Call(Box::new(|| ()))).unwrap());
    iterate(&event_loop);
    assert_eq!(event_loop.now_ns(), 0);
    thread.join().unwrap();
    event_loop.count_outside_work(-1);
    iterate(&event_loop);
    assert_eq!(event_loop.now_ns(), 1000);
    event_loop.close();
}

#[test]
fn stop_before_the_run_gives_one_iteration() {
    let event_loop = new_loop();
    let log = Log::default();
    event_loop.call_soon(call(note(&log, "once")));
    event_loop.stop();
    assert!(event_loop.is_stopping());
    assert!(run(&event_loop).is_continue());
    assert_eq!(*log.borrow(), ["once"]);
    assert!(!event_loop.is_stopping());
    event_loop.close();
}

#[test]
fn breaking_entry_leaves_the_rest_queued() {
    let event_loop = new_loop();
    let log = Log::default();
    event_loop.call_soon(call(note(&log, "before")));
    event_loop.call_soon(Entry::Break);
    event_loop.call_soon(call(note(&log, "after")));
    assert!(run(&event_loop).is_break());
    assert_eq!((log.borrow().len(), event_loop.ready_len()), (1, 1));
    iterate(&event_loop);
    assert_eq!(*log.borrow(), ["before", "after"]);
    event_loop.close();
}

#[test]
fn cancelled_entry_is_dropped_unrun() {
    let event_loop = new_loop();
    event_loop.call_soon(Entry::Cancelled);
    iterate(&event_loop);
    assert_eq!(event_loop.ready_len(), 0);
    event_loop.close();
}

/// I/O is not starved by callbacks that queue each other for ever.
#[test]
fn event_is_seen_although_something_is_always_ready() {
    let event_loop = new_loop();
    let (one, mut other) = UnixStream::pair().unwrap();
    event_loop.reactor().set_reader(one.as_raw_fd(), Token(1)).unwrap();
    other.write_all(b"x").unwrap();
    fn again(event_loop: &support::Loop) {
        let inner = Rc::downgrade(event_loop);
        event_loop.call_soon(call(move || again(&inner.upgrade().unwrap())));
    }
    again(&event_loop);
    let seen = (0..200).find(|_| !iterate(&event_loop).is_empty());
    assert!(seen.is_some());
    event_loop.close();
}

#[test]
fn close_drops_everything_with_the_loop_entered() {
    struct Noisy(Log, Rc<EventLoop<Entry>>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            let entered = current::current().map(|event_loop| event_loop.id());
            assert_eq!(entered, Some(self.1.id()));
            self.0.borrow_mut().push("dropped");
            // Destructors may still queue; it is dropped as well.
            let log = Rc::clone(&self.0);
            self.1.call_soon(call(move || log.borrow_mut().push("run after the close")));
        }
    }
    let event_loop = new_loop();
    let log = Log::default();
    let noisy = || Noisy(Rc::clone(&log), Rc::clone(&event_loop));
    let (ready, timer, task) = (noisy(), noisy(), noisy());
    event_loop.call_soon(call(move || drop(ready)));
    event_loop.call_at(u64::MAX, call(move || drop(timer)));
    drop(aioxide_core::spawn(
        &*event_loop,
        async move {
            let _task = task;
            std::future::pending::<()>().await;
        },
        (),
    ));
    event_loop.close();
    event_loop.close();
    assert!(event_loop.is_closed());
    assert_eq!(*log.borrow(), ["dropped", "dropped", "dropped"]);
    assert!(event_loop.remote().post(Posted::Call(Box::new(|| ()))).is_err());
    let late = aioxide_core::spawn(&*event_loop, async {}, ());
    assert!(late.task().is_complete());
    assert_eq!(event_loop.timers_len(), 0);
}

#[test]
fn entry_may_close_over_nothing_of_the_loop_and_run_it_again() {
    let event_loop = new_loop();
    let log = Log::default();
    let (inner, inner_log) = (Rc::downgrade(&event_loop), Rc::clone(&log));
    event_loop.call_soon(call(move || {
        let event_loop = inner.upgrade().unwrap();
        event_loop.call_soon(call(note(&inner_log, "nested")));
        iterate(&event_loop);
        inner_log.borrow_mut().push("outer");
    }));
    iterate(&event_loop);
    assert_eq!(*log.borrow(), ["nested", "outer"]);
    event_loop.close();
}

#[test]
fn nested_loops_find_each_their_own() {
    let (outer, inner) = (new_loop(), new_loop());
    let entered_outer = outer.enter();
    assert_eq!(current::try_with(|event_loop| event_loop.id()), Some(outer.id()));
    {
        let _entered_inner = inner.enter();
        assert_eq!(current::try_with(|event_loop| event_loop.id()), Some(inner.id()));
    }
    assert_eq!(current::try_with(|event_loop| event_loop.id()), Some(outer.id()));
    drop(entered_outer);
    assert!(current::current().is_none());
}

/// A signal in the middle of a wait ends the wait; the loop goes on, and the timer still comes.
#[test]
fn interrupted_wait_is_no_error() {
    let event_loop = new_loop();
    let listener = SignalListener::new(event_loop.reactor(), aioxide_core::signals::SIGUSR2).unwrap();
    let stopper = Rc::downgrade(&event_loop);
    let deadline_ns = event_loop.now_ns() + 30_000_000;
    event_loop.call_at(deadline_ns, call(move || stopper.upgrade().unwrap().stop()));
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        while receiver.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            send_signal(std::process::id(), aioxide_core::signals::SIGUSR2).unwrap();
            std::thread::yield_now();
        }
    });
    assert!(run(&event_loop).is_continue());
    assert!(event_loop.now_ns() >= deadline_ns);
    drop(sender);
    thread.join().unwrap();
    support::keep(listener);
    event_loop.close();
}

/// Runs iterations in which nothing but a callback happens; how many of them did not ask the kernel.
fn skipped_in(event_loop: &support::Loop, iterations: usize) -> usize {
    let mut skipped = 0;
    for _ in 0..iterations {
        event_loop.call_soon(call(|| ()));
        skipped += usize::from(!event_loop.needs_poll());
        iterate(event_loop);
    }
    skipped
}

#[test]
fn kernel_is_asked_in_every_iteration_until_the_loop_has_long_been_busy() {
    let event_loop = new_loop();
    let (one, _other) = UnixStream::pair().unwrap();
    event_loop.reactor().set_reader(one.as_raw_fd(), Token(1)).unwrap();
    assert_eq!(skipped_in(&event_loop, 900), 0);
    assert!(skipped_in(&event_loop, 10_000) > 0);
    event_loop.reactor().expect_events();
    assert_eq!(skipped_in(&event_loop, 900), 0);
    event_loop.close();
}

#[test]
fn hot_loop_finds_an_event_within_its_interval_and_asks_each_time_from_then_on() {
    let event_loop = new_loop();
    let (mut one, mut other) = UnixStream::pair().unwrap();
    event_loop.reactor().set_reader(one.as_raw_fd(), Token(1)).unwrap();
    skipped_in(&event_loop, 5_000);
    other.write_all(b"x").unwrap();
    let found = (0..=event_loop.poll_interval()).any(|_| {
        event_loop.call_soon(call(|| ()));
        !iterate(&event_loop).is_empty()
    });
    assert!(found);
    one.read_exact(&mut [0]).unwrap();
    assert_eq!(skipped_in(&event_loop, 900), 0);
    event_loop.close();
}

#[test]
fn interval_of_zero_asks_however_long_the_loop_has_been_busy() {
    let event_loop = new_loop();
    event_loop.set_poll_interval(0);
    assert_eq!(skipped_in(&event_loop, 5_000), 0);
    event_loop.close();
}

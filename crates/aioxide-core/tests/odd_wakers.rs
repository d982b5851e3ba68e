//! Wakers that panic, that wake nobody any more, and tasks that are run the moment they are woken.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use aioxide_core::pool::Pool;
use aioxide_core::{EventLoop, LoopHandle, Notified, Registration, Runnable, TaskRef, Token, spawn};
use support::{iterate, new_loop};

/// A waker that panics.
struct Bad;

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics");
    }
}

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn bad() -> Waker {
    Waker::from(Arc::new(Bad))
}

fn counted() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), Waker::from(count))
}

fn count(count: &Count) -> u32 {
    count.0.load(Ordering::SeqCst)
}

#[test]
fn waker_that_panics_does_not_keep_events_and_timers_from_others() {
    let event_loop = new_loop();
    let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
    let registrations: Vec<Registration> = pairs
        .iter()
        .map(|(reader, _)| {
            reader.set_nonblocking(true).unwrap();
            event_loop.reactor().register(reader.as_raw_fd()).unwrap()
        })
        .collect();
    let (woken, waker) = counted();
    for (place, registration) in registrations.iter().enumerate() {
        // Two wait for the first: the bad one is told before the good one of the same descriptor, too.
        let wakers = if place == 0 { vec![bad(), waker.clone()] } else { vec![waker.clone()] };
        for waker in &wakers {
            assert!(registration.poll_readable(&mut Context::from_waker(waker)).is_pending());
        }
    }
    for (_, writer) in &pairs {
        (&*writer).write_all(b"x").unwrap();
    }
    iterate(&event_loop);
    assert_eq!(count(&woken), 3);
    event_loop.add_timer(1, bad());
    event_loop.add_timer(1, waker);
    iterate(&event_loop);
    assert_eq!(count(&woken), 4);
}

#[test]
fn joiner_whose_waker_panics_does_not_keep_a_loop_from_closing() {
    let event_loop = new_loop();
    let dropped = Rc::new(Cell::new(0));
    let mut handles: Vec<_> = (0..2)
        .map(|_| {
            let guard = OnDrop(Rc::clone(&dropped));
            spawn(
                &*event_loop,
                async move {
                    let _guard = guard;
                    pending::<()>().await;
                },
                (),
            )
        })
        .collect();
    iterate(&event_loop);
    for handle in &mut handles {
        assert!(pin!(handle).poll(&mut Context::from_waker(&bad())).is_pending());
    }
    event_loop.close();
    assert_eq!((dropped.get(), event_loop.tasks().len()), (2, 0));
}

struct OnDrop(Rc<Cell<u32>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn waits_that_were_given_up_do_not_keep_ended_tasks() {
    let event_loop = new_loop();
    let (reader, writer) = UnixStream::pair().unwrap();
    reader.set_nonblocking(true).unwrap();
    let registration = Rc::new(event_loop.reactor().register(reader.as_raw_fd()).unwrap());
    let probes: Rc<RefCell<Vec<Weak<()>>>> = Rc::default();
    // Some that live all the time, and go on being woken.
    let (living, waker) = counted();
    assert!(registration.poll_readable(&mut Context::from_waker(&waker)).is_pending());
    for _ in 0..1000 {
        let (registration, probes) = (Rc::clone(&registration), Rc::clone(&probes));
        drop(spawn(
            &*event_loop,
            poll_fn(move |cx| {
                // It asks, and then does not wait: as under a timeout of no time.
                assert!(registration.poll_readable(cx).is_pending());
                let probe = Arc::new(());
                probes.borrow_mut().push(Arc::downgrade(&probe));
                Poll::Ready(probe)
            }),
            (),
        ));
        iterate(&event_loop);
    }
    // A task's output lives as long as its memory does, unless somebody took it.
    let kept = probes.borrow().iter().filter(|probe| probe.strong_count() > 0).count();
    assert!(kept <= 128, "{kept} ended tasks are kept");
    (&writer).write_all(b"x").unwrap();
    iterate(&event_loop);
    assert_eq!(count(&living), 1);
}

static ONE: Pool = Pool::new("one thread", 1);
static ANOTHER: Pool = Pool::new("another thread", 1);

#[test]
fn turn_that_is_not_taken_up_does_not_hold_up_the_next() {
    let (release, held) = channel::<()>();
    let running = ONE.run(move || held.recv().is_ok());
    let ((first, first_waker), (second, second_waker)) = (counted(), counted());
    let (mut one, mut two) = (pin!(ONE.turn()), pin!(ONE.turn()));
    assert!(one.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending());
    assert!(two.as_mut().poll(&mut Context::from_waker(&second_waker)).is_pending());
    release.send(()).unwrap();
    // The first is woken and never polled again.
    while count(&second) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(count(&first), 1);
    drop(running);
}

#[test]
fn thread_of_a_pool_outlives_a_waker_that_panics() {
    let (release, held) = channel::<()>();
    let running = ANOTHER.run(move || held.recv().is_ok());
    let mut turn = pin!(ANOTHER.turn());
    assert!(turn.as_mut().poll(&mut Context::from_waker(&bad())).is_pending());
    release.send(()).unwrap();
    // The same thread: there may be no other, and the one that panicked would count as idle for ever.
    let (told, done) = channel();
    drop(running);
    let second = ANOTHER.run(move || told.send(()).unwrap());
    done.recv().unwrap();
    drop(second);
}

thread_local! {
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<Option<bool>> = const { Cell::new(None) };
}

/// An entry of a face that runs a woken task at once.
struct Eager(Option<Notified>);

impl From<Notified> for Eager {
    fn from(task: Notified) -> Self {
        if !AT_ONCE.get() {
            return Self(Some(task));
        }
        task.run();
        // The task has ended, its last handle is gone.
        FOUND.set(Some(TaskRef::current().is_some()));
        Self(None)
    }
}

impl Runnable for Eager {
    type Posted = Notified;
    type Context<'a> = ();

    fn from_io(_token: Token) -> Self {
        Self(None)
    }

    fn run(self, (): &mut ()) -> ControlFlow<()> {
        if let Some(task) = self.0 {
            task.run();
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn task_that_ends_while_it_is_queued_is_found_by_nobody() {
    let event_loop = EventLoop::<Eager>::new().unwrap();
    let _entered = event_loop.enter();
    let dropped = Rc::new(Cell::new(0));
    let mut output = Some(OnDrop(Rc::clone(&dropped)));
    let mut polls = 0;
    drop(spawn(
        &*event_loop,
        poll_fn(move |cx| {
            polls += 1;
            if polls == 1 {
                cx.waker().wake_by_ref();
                AT_ONCE.set(true);
                return Poll::Pending;
            }
            AT_ONCE.set(false);
            Poll::Ready(output.take())
        }),
        (),
    ));
    let _ = event_loop.run_once(&mut ()).unwrap();
    assert_eq!((FOUND.take(), dropped.get()), (Some(false), 1));
}

#[test]
fn panics_of_wakers_are_told_and_do_not_leave_wake() {
    assert!(catch_unwind(AssertUnwindSafe(|| aioxide_core::wake(bad()))).is_ok());
}

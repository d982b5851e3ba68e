//! The cell of a task: polls, wakes and drops counted, in every order.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use aioxide_core::task::{Meta, TaskOf, spawn_idle, with_current_meta};
use aioxide_core::{JoinHandle, TaskRef, spawn};
use support::{Loop, block_on, call, iterate, new_loop};

/// What happened to a [`Probe`].
#[derive(Default)]
struct Counts {
    polls: Cell<u32>,
    drops: Cell<u32>,
    output_drops: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

/// Counts its polls and its drop, hands its waker out, and is ready when told.
struct Probe {
    counts: Rc<Counts>,
    ready: Rc<Cell<bool>>,
}

struct Output(Rc<Counts>);

impl Drop for Output {
    fn drop(&mut self) {
        self.0.output_drops.set(self.0.output_drops.get() + 1);
    }
}

impl Future for Probe {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        self.counts.polls.set(self.counts.polls.get() + 1);
        *self.counts.waker.borrow_mut() = Some(cx.waker().clone());
        if self.ready.get() { Poll::Ready(Output(Rc::clone(&self.counts))) } else { Poll::Pending }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.counts.drops.set(self.counts.drops.get() + 1);
    }
}

struct Fixture {
    event_loop: Loop,
    counts: Rc<Counts>,
    ready: Rc<Cell<bool>>,
    task: JoinHandle<Output>,
}

impl Fixture {
    fn new() -> Self {
        let event_loop = new_loop();
        let (counts, ready) = (Rc::<Counts>::default(), Rc::<Cell<bool>>::default());
        let probe = Probe { counts: Rc::clone(&counts), ready: Rc::clone(&ready) };
        let task = spawn(&*event_loop, probe, ());
        Self { event_loop, counts, ready, task }
    }

    /// One iteration that does not wait.
    fn iterate(&self) {
        self.event_loop.call_soon(call(|| ()));
        iterate(&self.event_loop);
    }

    fn waker(&self) -> Waker {
        self.counts.waker.borrow().clone().unwrap()
    }

    #[track_caller]
    fn check(&self, polls: u32, drops: u32, output_drops: u32) {
        let counts = &self.counts;
        assert_eq!(
            (counts.polls.get(), counts.drops.get(), counts.output_drops.get()),
            (polls, drops, output_drops)
        );
    }
}

#[test]
fn polled_once_for_any_number_of_wakes() {
    let fixture = Fixture::new();
    fixture.check(0, 0, 0);
    fixture.iterate();
    fixture.iterate();
    fixture.check(1, 0, 0);
    let waker = fixture.waker();
    waker.wake_by_ref();
    let other = waker.clone();
    waker.wake();
    other.wake();
    assert!(fixture.task.task().is_scheduled());
    fixture.iterate();
    fixture.iterate();
    fixture.check(2, 0, 0);
}

#[test]
fn output_is_given_once_and_the_future_is_dropped_before() {
    let mut fixture = Fixture::new();
    assert!(fixture.task.take_output().is_none());
    fixture.ready.set(true);
    fixture.iterate();
    fixture.check(1, 1, 0);
    assert!(fixture.task.output().unwrap().is_ok());
    drop(fixture.task.take_output().unwrap().unwrap());
    fixture.check(1, 1, 1);
    assert!(fixture.task.take_output().is_none() && fixture.task.output().is_none());
    assert_eq!(fixture.event_loop.tasks_len(), 0);
}

#[test]
fn output_nobody_takes_is_dropped_with_the_last_handle() {
    let Fixture { event_loop, counts, ready, task } = Fixture::new();
    ready.set(true);
    iterate(&event_loop);
    let reference = task.task().clone();
    drop(task);
    assert_eq!(counts.output_drops.get(), 0);
    drop(reference);
    assert_eq!(counts.output_drops.get(), 1);
}

#[test]
fn detached_task_runs_on_and_drops_its_output_at_the_end() {
    let Fixture { event_loop, counts, ready, task } = Fixture::new();
    drop(task);
    iterate(&event_loop);
    assert_eq!((counts.polls.get(), counts.drops.get()), (1, 0));
    ready.set(true);
    counts.waker.take().unwrap().wake();
    iterate(&event_loop);
    assert_eq!((counts.drops.get(), counts.output_drops.get()), (1, 1));
}

#[test]
fn shut_down_task_is_cancelled_and_ignores_wakes() {
    let mut fixture = Fixture::new();
    fixture.iterate();
    let waker = fixture.waker();
    fixture.task.task().shut_down();
    fixture.check(1, 1, 0);
    assert!(fixture.task.take_output().unwrap().is_err_and(|error| error.is_cancelled()));
    waker.wake();
    fixture.iterate();
    fixture.check(1, 1, 0);
}

#[test]
fn shut_down_while_scheduled_is_not_polled_again() {
    let fixture = Fixture::new();
    fixture.task.task().shut_down();
    fixture.iterate();
    fixture.check(0, 1, 0);
}

#[test]
fn shut_down_from_within_takes_effect_at_the_end_of_the_poll() {
    let event_loop = new_loop();
    let after = Rc::new(Cell::new(false));
    let seen = Rc::clone(&after);
    let mut task = spawn(
        &*event_loop,
        async move {
            TaskRef::current().unwrap().shut_down();
            seen.set(true);
            pending::<()>().await;
        },
        (),
    );
    iterate(&event_loop);
    assert!(after.get());
    assert!(task.take_output().unwrap().is_err_and(|error| error.is_cancelled()));
}

#[test]
fn panic_is_the_outcome() {
    let event_loop = new_loop();
    let mut task = spawn(&*event_loop, async { panic!("on purpose: {}", 7) }, ());
    iterate(&event_loop);
    let error = task.take_output().unwrap().unwrap_err();
    assert_eq!(error.panic_message(), Some("on purpose: 7"));
    assert!(!error.is_cancelled() && error.into_panic().is_some());
}

#[test]
fn panic_of_the_destructor_is_the_outcome() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the destructor");
        }
    }
    let event_loop = new_loop();
    let mut task = spawn(
        &*event_loop,
        async {
            let _bomb = Bomb;
            pending::<()>().await;
        },
        (),
    );
    iterate(&event_loop);
    task.task().shut_down();
    let error = task.take_output().unwrap().unwrap_err();
    assert_eq!(error.panic_message(), Some("in the destructor"));
    assert_eq!(event_loop.tasks_len(), 0);
}

#[test]
fn waking_oneself_during_the_poll_gives_another_poll() {
    let event_loop = new_loop();
    let polls = Rc::new(Cell::new(0));
    let seen = Rc::clone(&polls);
    let future = poll_fn(move |cx| {
        seen.set(seen.get() + 1);
        cx.waker().wake_by_ref();
        cx.waker().wake_by_ref();
        if seen.get() == 3 { Poll::Ready(()) } else { Poll::Pending }
    });
    block_on(&event_loop, future);
    assert_eq!(polls.get(), 3);
}

#[test]
fn joining_wakes_the_last_waker_given() {
    #[derive(Default)]
    struct CountingWake(AtomicUsize);
    impl Wake for CountingWake {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut fixture = Fixture::new();
    let wakes: [Arc<CountingWake>; 2] = Default::default();
    for wake in [&wakes[0], &wakes[1], &wakes[1]] {
        let waker = Waker::from(Arc::clone(wake));
        assert!(fixture.task.poll_output(&mut Context::from_waker(&waker)).is_pending());
    }
    fixture.ready.set(true);
    fixture.iterate();
    assert_eq!(wakes.map(|wake| wake.0.load(Ordering::Relaxed)), [0, 1]);
    assert!(fixture.task.poll_output(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[test]
fn tasks_await_tasks() {
    let event_loop = new_loop();
    let inner = spawn(&*event_loop, async { 20 }, ());
    let sum = block_on(&event_loop, async move { inner.await.unwrap() + 22 });
    assert_eq!(sum, 42);
}

#[test]
fn wake_from_another_thread_ends_the_wait() {
    let event_loop = new_loop();
    let count = 100;
    let polls = Rc::new(Cell::new(0));
    let seen = Rc::clone(&polls);
    let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
    let thread = std::thread::spawn(move || receiver.into_iter().for_each(Waker::wake));
    block_on(
        &event_loop,
        poll_fn(move |cx| {
            seen.set(seen.get() + 1);
            if seen.get() > count {
                return Poll::Ready(());
            }
            sender.send(cx.waker().clone()).unwrap();
            Poll::Pending
        }),
    );
    assert_eq!(polls.get(), count + 1);
    thread.join().unwrap();
}

#[test]
fn waker_outlives_task_and_loop_on_another_thread() {
    let fixture = Fixture::new();
    fixture.iterate();
    let waker = fixture.waker();
    fixture.counts.waker.take();
    fixture.event_loop.close();
    drop(fixture);
    std::thread::spawn(move || {
        waker.wake_by_ref();
        drop(waker.clone());
        waker.wake();
    })
    .join()
    .unwrap();
}

#[test]
fn idle_task_starts_when_its_waker_is_woken() {
    let event_loop = new_loop();
    let (mut task, waker) = spawn_idle(&*event_loop, async { 5 }, ());
    event_loop.call_soon(call(|| ()));
    iterate(&event_loop);
    assert!(!task.task().is_complete() && !task.task().is_scheduled());
    waker.wake();
    iterate(&event_loop);
    assert_eq!(task.take_output().unwrap().unwrap(), 5);
    let (task, waker) = spawn_idle(&*event_loop, pending::<()>(), ());
    drop(waker);
    event_loop.close();
    assert!(task.task().is_complete());
}

#[test]
fn meta_is_found_by_its_type_only_and_by_the_task_itself() {
    struct Name(&'static str);
    impl Meta for Name {}
    let event_loop = new_loop();
    let task = spawn(&*event_loop, async { with_current_meta(|name: &Name| name.0) }, Name("worker"));
    assert_eq!(task.task().meta::<Name>().unwrap().0, "worker");
    assert!(task.task().meta::<String>().is_none());
    let found = block_on(&event_loop, task);
    assert_eq!(found.unwrap(), Some("worker"));
    assert!(TaskRef::current().is_none());
}

#[test]
fn task_is_known_by_its_data_while_it_is_polled_and_keeps_them_afterwards() {
    struct Name(&'static str);
    impl Meta for Name {}
    let event_loop = new_loop();
    assert!(TaskOf::<Name>::current().is_none());
    let task = spawn(
        &*event_loop,
        async { TaskOf::<String>::current().map_or_else(TaskOf::<Name>::current, |_| None) },
        Name("worker"),
    );
    let known = block_on(&event_loop, task).unwrap().unwrap();
    assert!(known.is_complete());
    assert_eq!(known.meta().0, "worker");
}

#[test]
fn data_are_dropped_also_when_the_destructor_of_the_output_panics() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    struct Counted(Rc<Cell<u32>>);
    impl Meta for Counted {}
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let event_loop = new_loop();
    let count = Rc::<Cell<u32>>::default();
    drop(spawn(&*event_loop, async { Bomb }, Counted(Rc::clone(&count))));
    iterate(&event_loop);
    assert_eq!(count.get(), 1);
}

/// The task is over when its last handle drops the output: the output's destructor must not find it any more, or it
/// would drop everything a second time.
#[test]
fn output_dropped_at_the_end_does_not_find_its_own_task() {
    struct Nosy(Rc<RefCell<Vec<bool>>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.0.borrow_mut().push(TaskRef::current().is_some());
        }
    }
    let event_loop = new_loop();
    let found = Rc::<RefCell<Vec<bool>>>::default();
    let nosy = Nosy(Rc::clone(&found));
    drop(spawn(&*event_loop, async move { nosy }, ()));
    iterate(&event_loop);
    assert_eq!(*found.borrow(), [false]);
    // While the future itself is dropped the task is still there.
    let nosy = Nosy(Rc::clone(&found));
    let task = spawn(
        &*event_loop,
        async move {
            let _nosy = nosy;
            pending::<()>().await;
        },
        (),
    );
    iterate(&event_loop);
    task.task().shut_down();
    assert_eq!(*found.borrow(), [false, true]);
}

/// A destructor may run the loop (it should not, but it may): the future that is being dropped is not polled.
#[test]
fn future_that_runs_the_loop_while_it_is_dropped_is_not_polled() {
    struct Runner(Loop, Rc<Counts>);
    impl Future for Runner {
        type Output = ();
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.1.polls.set(self.1.polls.get() + 1);
            *self.1.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        }
    }
    impl Drop for Runner {
        fn drop(&mut self) {
            let waker = self.1.waker.take().unwrap();
            waker.wake();
            iterate(&self.0);
            self.1.drops.set(self.1.drops.get() + 1);
        }
    }
    let event_loop = new_loop();
    let counts = Rc::<Counts>::default();
    let task = spawn(&*event_loop, Runner(Rc::clone(&event_loop), Rc::clone(&counts)), ());
    iterate(&event_loop);
    task.task().shut_down();
    assert_eq!((counts.polls.get(), counts.drops.get()), (1, 1));
    event_loop.close();
}

#[test]
fn loop_dropped_without_a_close_drops_its_futures() {
    let Fixture { event_loop, counts, task, .. } = Fixture::new();
    iterate(&event_loop);
    drop(event_loop);
    assert_eq!(counts.drops.get(), 1);
    assert!(task.task().is_complete());
}

#[test]
fn task_of_another_loop_is_refused() {
    let (one, other) = (new_loop(), new_loop());
    let _task = spawn(&*one, ready(()), ());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _entered_other = other.enter();
        let _ = one.run_batch(&mut support::Fired::default());
    }));
    assert!(outcome.is_err(), "a task ran on a loop that is not its own");
}

#[test]
fn ids_are_unique_and_snapshot_is_oldest_first() {
    let event_loop = new_loop();
    let tasks: Vec<_> = (0..5).map(|_| spawn(&*event_loop, pending::<()>(), ())).collect();
    tasks[1].task().shut_down();
    let ids: Vec<u64> =
        aioxide_core::LoopHandle::tasks(&*event_loop).snapshot().iter().map(TaskRef::id).collect();
    let expected: Vec<u64> = [0, 2, 3, 4].map(|index: usize| tasks[index].task().id()).into();
    assert_eq!(ids, expected);
    assert!(ids.is_sorted());
    event_loop.close();
    assert!(tasks.iter().all(|task| task.task().is_complete()));
}

trait TasksLen {
    fn tasks_len(&self) -> usize;
}

impl TasksLen for Loop {
    fn tasks_len(&self) -> usize {
        aioxide_core::LoopHandle::tasks(&**self).len()
    }
}

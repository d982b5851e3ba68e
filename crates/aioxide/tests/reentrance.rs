//! The program's own code in odd places: values that look at the cell that holds them when they are cloned, destructors
//! that use loops.

use std::cell::RefCell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use aioxide::sync::{Condition, Event, Mutex, Queue};
use aioxide::{Future, ResultError, Runtime, run, spawn, yield_now};

/// Its `Clone` looks at the cell that holds it.
struct Curious(Rc<RefCell<Option<Future<Curious>>>>);

impl Clone for Curious {
    fn clone(&self) -> Self {
        let cell = self.0.take();
        if let Some(cell) = cell {
            assert!(cell.done() && !cell.cancelled() && !cell.cancel());
            assert!(cell.set_result(Self(Rc::default())).is_err());
            assert!(cell.result().is_ok());
            cell.add_done_callback(|cell| assert!(cell.done()));
            assert!(format!("{cell:?}").contains("finished"));
        }
        Self(Rc::clone(&self.0))
    }
}

#[test]
fn values_may_look_at_their_cell_when_they_are_cloned() {
    run(async {
        for waits in [false, true] {
            let cell = Future::new();
            let value = Curious(Rc::new(RefCell::new(Some(cell.clone()))));
            let reader = waits.then(|| spawn(cell.clone()));
            yield_now().await;
            assert!(matches!(cell.result(), Err(ResultError::InvalidState)));
            cell.set_result(value).unwrap_or_else(|_| unreachable!());
            match reader {
                Some(reader) => drop(reader.await),
                None => drop(cell.result().unwrap()),
            }
            yield_now().await;
        }
    })
    .unwrap();
}

/// Spawns when it is dropped, on a loop that is closing; what it spawns owns another loop.
struct SpawnsAtTheEnd(Option<Runtime>);

impl Drop for SpawnsAtTheEnd {
    fn drop(&mut self) {
        let other = self.0.take();
        let task = spawn(async move {
            let _other = other;
            pending::<()>().await;
        });
        assert!(task.cancelled());
    }
}

#[test]
fn future_that_a_closed_loop_refuses_may_close_another_loop() {
    let (one, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let value = Rc::new(());
    let held = Rc::clone(&value);
    other.spawn(async move {
        let _held = held;
        pending::<()>().await;
    });
    other.block_on(yield_now()).unwrap();
    one.spawn(async move {
        let _guard = SpawnsAtTheEnd(Some(other));
        pending::<()>().await;
    });
    one.block_on(yield_now()).unwrap();
    one.close();
    // The other loop was closed, with its task.
    assert_eq!(Rc::strong_count(&value), 1);
}

/// A waker that panics.
struct Bad;

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics");
    }
}

/// Polls `first` with a waker that panics, has a task wait for `second`, and expects the panic of `wakes` and the task's end.
async fn wakes_all(
    first: impl std::future::Future,
    second: impl std::future::Future + 'static,
    wakes: impl FnOnce(),
) {
    let mut first = Box::pin(first);
    let bad = Waker::from(Arc::new(Bad));
    assert!(first.as_mut().poll(&mut Context::from_waker(&bad)).is_pending());
    let task = spawn(second);
    yield_now().await;
    assert!(!task.done());
    let payload = catch_unwind(AssertUnwindSafe(wakes)).expect_err("the bad waker is woken");
    assert_eq!(payload.downcast_ref(), Some(&"a waker panics"));
    task.await;
}

#[test]
fn waker_that_panics_keeps_no_other_from_being_woken() {
    run(async {
        let event = Rc::new(Event::new());
        let other = Rc::clone(&event);
        wakes_all(event.wait(), async move { other.wait().await }, || event.set()).await;

        let condition = Rc::new((Mutex::new(()), Condition::new()));
        let wait = |condition: Rc<(Mutex<()>, Condition)>| async move {
            drop(condition.1.wait(condition.0.lock().await).await);
        };
        let (one, two) = (wait(Rc::clone(&condition)), wait(Rc::clone(&condition)));
        wakes_all(one, two, || condition.1.notify(2)).await;

        let queue = Rc::new(Queue::<u32>::new(0));
        let other = Rc::clone(&queue);
        wakes_all(queue.get(), async move { assert!(other.get().await.is_err()) }, || queue.shutdown(false))
            .await;

        let cell = Future::<u32>::new();
        let other = cell.clone();
        wakes_all(cell.clone(), async move { assert_eq!(other.await, 1) }, || cell.set_result(1).unwrap())
            .await;
    })
    .unwrap();
}

#[test]
fn task_that_ends_tells_all_though_a_waker_panics() {
    let ends = Rc::<RefCell<Vec<u32>>>::default();
    let seen = Rc::clone(&ends);
    run(async move {
        let stop = Rc::new(Event::new());
        let waits = Rc::clone(&stop);
        let task = Rc::new(spawn(async move { waits.wait().await }));
        let mut bad_wait = Box::pin(task.finished());
        yield_now().await;
        let bad = Waker::from(Arc::new(Bad));
        assert!(bad_wait.as_mut().poll(&mut Context::from_waker(&bad)).is_pending());
        let told = Rc::clone(&seen);
        task.add_done_callback(move |_| told.borrow_mut().push(1));
        let (other, told) = (Rc::clone(&task), Rc::clone(&seen));
        let waiter = spawn(async move {
            other.finished().await;
            told.borrow_mut().push(2);
        });
        yield_now().await;
        stop.set();
        waiter.await;
        yield_now().await;
    })
    .unwrap();
    ends.borrow_mut().sort_unstable();
    assert_eq!(*ends.borrow(), [1, 2]);
}

#[test]
fn settings_of_a_thread_that_is_at_its_end_do_nothing() {
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            assert!(aioxide::set_exception_handler(Some(Rc::new(|_| ()))).is_none());
            aioxide::set_slow_callback_duration(std::time::Duration::from_secs(1));
            let _known = aioxide::slow_callback_duration();
            assert!(aioxide::current_task().is_none() && aioxide::all_tasks().is_empty());
            assert!(aioxide::Handle::try_current().is_none());
        }
    }
    thread_local! {
        static LATE: Late = const { Late };
    }
    // The thread's values go in turn: this one before all of the crate's, then behind them.
    for is_first in [true, false] {
        let thread = std::thread::spawn(move || {
            let touch = || LATE.with(|_| ());
            if is_first {
                touch();
            }
            aioxide::set_exception_handler(None);
            run(async { spawn(async {}).await }).unwrap();
            touch();
        });
        thread.join().unwrap();
    }
}

//! What a task has awaited and does not await any more is handed nothing; scopes beside each other know their own requests.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::async_yields_async, reason = "futures that move from loop to loop")]

use std::cell::Cell;
use std::future::{Future as _, IntoFuture, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aioxide::sync::Queue;
use aioxide::time::{Instant, sleep, timeout, timeout_at};
use aioxide::{
    AnyTask, Future, ReturnWhen, Runtime, Task, as_completed, catch_cancel, current_task, gather, ok, race,
    spawn, task_group, testing, wait, yield_now,
};
use futures_util::future::{FutureExt, join, join_all};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(100_000);

/// Cancels a task that `make` has made, two seconds later: it ends at once.
#[track_caller]
fn check_ends(name: &str, make: impl FnOnce() -> Task<()> + 'static) {
    let ended = testing::run(async move {
        let task = make();
        sleep(2 * SECOND).await;
        task.cancel();
        sleep(SECOND).await;
        task.cancelled()
    });
    assert!(ended, "{name}");
}

#[test]
fn cancelled_task_ends_whatever_has_lost_a_race_in_it() {
    check_ends("gather", || {
        spawn(async {
            race! { _ = gather([ok(sleep(LONG))]) => (), () = sleep(SECOND) => sleep(LONG).await }
        })
    });
    check_ends("gather, unknown wait", || {
        spawn(async {
            race! { _ = gather([ok(sleep(LONG))]) => (), () = sleep(SECOND) => pending().await }
        })
    });
    check_ends("task by reference, unknown wait", || {
        spawn(async {
            let mut other = spawn(sleep(LONG));
            race! { () = &mut other => (), () = sleep(SECOND) => pending().await }
        })
    });
    check_ends("three branches", || {
        spawn(async {
            let (mut one, two) = (spawn(sleep(LONG)), spawn(sleep(LONG)));
            race! { () = &mut one => (), () = two => (), () = sleep(SECOND) => pending().await }
        })
    });
    check_ends("group", || {
        spawn(async {
            let lost = task_group::<(), (), _>(async |group| {
                group.spawn(async { pending::<Result<(), ()>>().await });
                Ok(())
            });
            race! { _ = lost => (), () = sleep(SECOND) => sleep(LONG).await }
        })
    });
    check_ends("polled once", || {
        spawn(async {
            let mut other = spawn(sleep(LONG));
            assert!((&mut other).now_or_never().is_none());
            sleep(LONG).await;
        })
    });
    check_ends("a deadline polled once", || {
        spawn(async {
            assert!(timeout(SECOND, spawn(sleep(LONG))).now_or_never().is_none());
            pending().await
        })
    });
}

#[test]
fn deadline_and_group_end_whatever_has_lost_a_race_in_them() {
    testing::run(async {
        let start = Instant::now();
        let other = Rc::new(spawn(sleep(LONG)));
        let awaited = Rc::clone(&other);
        let within = timeout(5 * SECOND, async move {
            race! { () = &*awaited => (), () = sleep(SECOND) => sleep(LONG).await }
        });
        assert!(within.await.is_err());
        assert_eq!((start.elapsed(), other.done()), (5 * SECOND, false));
        let failed = task_group(async |group| {
            group.spawn(async {
                sleep(5 * SECOND).await;
                Err::<(), _>("boom")
            });
            race! { _ = gather([ok(sleep(LONG))]) => (), () = sleep(SECOND) => sleep(LONG).await }
            Ok(())
        });
        assert_eq!(failed.await.unwrap_err().errors().len(), 1);
        assert_eq!(start.elapsed(), 10 * SECOND);
    });
}

/// A task that has awaited `kept` once, keeps it, and is cancelled while it awaits something else.
#[track_caller]
fn check_kept<F: IntoFuture + 'static>(
    name: &str,
    make: impl FnOnce() -> (F, Box<dyn Fn() -> bool>) + 'static,
    handler_waits: bool,
) where
    F::IntoFuture: Unpin,
{
    let (ended, is_cancelled) = testing::run(async move {
        let (kept, is_cancelled) = make();
        let task = spawn(async move {
            let mut kept = kept.into_future();
            race! {
                _ = &mut kept => (),
                () = sleep(SECOND) => if handler_waits { sleep(LONG).await },
            }
            sleep(LONG).await;
            drop(kept);
        });
        sleep(2 * SECOND).await;
        task.cancel();
        sleep(SECOND).await;
        (task.cancelled(), is_cancelled())
    });
    assert_eq!((ended, is_cancelled), (true, false), "{name}");
}

#[test]
fn what_is_kept_aside_is_not_cancelled_with_its_owner() {
    let watched = |task: &AnyTask| -> Box<dyn Fn() -> bool> {
        let task = task.clone();
        Box::new(move || task.done())
    };
    for handler_waits in [false, true] {
        check_kept(
            "task",
            move || {
                let task = spawn(sleep(LONG));
                let watch = watched(task.any());
                (task, watch)
            },
            handler_waits,
        );
        check_kept(
            "gather",
            move || {
                let task = spawn(sleep(LONG));
                let watch = watched(task.any());
                (gather([ok(task)]), watch)
            },
            handler_waits,
        );
        check_kept(
            "future",
            || {
                let future = Future::<()>::new();
                let cell = future.clone();
                (future, Box::new(move || cell.cancelled()))
            },
            handler_waits,
        );
    }
}

#[test]
fn what_is_awaited_beside_something_else_is_cancelled_with_its_owner() {
    testing::run(async {
        let [one, two] = [spawn(sleep(LONG)), spawn(sleep(LONG))];
        let watched = [one.any().clone(), two.any().clone()];
        let task = spawn(async move {
            join(join(one, sleep(LONG)), join(sleep(LONG), two)).await;
        });
        sleep(SECOND).await;
        task.cancel();
        sleep(SECOND).await;
        assert!(task.cancelled() && watched.iter().all(AnyTask::cancelled));
    });
}

async fn cleans() -> &'static str {
    let _caught = catch_cancel(pending::<()>()).await;
    sleep(5 * SECOND).await;
    "cleaned"
}

async fn fails_after(time: Duration) -> Result<(), String> {
    let group = task_group::<(), _, _>(async |group| {
        group.spawn(async move {
            sleep(time).await;
            Err::<(), _>("x")
        });
        pending().await
    });
    group.await.map_err(|error| error.errors().len().to_string())
}

#[test]
fn request_of_a_scope_is_nothing_to_those_beside_it() {
    testing::run(async {
        let by_itself = || async {
            let group = task_group::<(), (), _>(async |group| {
                sleep(SECOND).await;
                group.cancel();
                pending().await
            });
            group.await.unwrap_err().is_cancelled()
        };
        assert_eq!(spawn(join(by_itself(), by_itself())).join().await.unwrap(), (true, true));
        let both = spawn(async {
            let both = join(fails_after(SECOND), fails_after(SECOND)).await;
            sleep(SECOND).await;
            both
        });
        assert_eq!(both.join().await.unwrap(), (Err("1".to_owned()), Err("1".to_owned())));
        let (cleaned, elapsed) =
            spawn(join(timeout(SECOND, cleans()), timeout(2 * SECOND, pending::<()>()))).await;
        assert_eq!((cleaned, elapsed.is_err()), (Ok("cleaned"), true));
        let failed = spawn(join(timeout(SECOND, cleans()), fails_after(2 * SECOND))).join().await.unwrap();
        assert_eq!(failed, (Ok("cleaned"), Err("1".to_owned())));
        // One of a scope around is.
        let inner = Rc::new(Cell::new(None));
        let told = Rc::clone(&inner);
        let outer = timeout(SECOND, async move {
            told.set(Some(timeout(2 * SECOND, cleans()).await.is_ok()));
            pending::<()>().await;
        });
        let start = Instant::now();
        assert!(outer.await.is_err());
        assert_eq!((inner.get(), start.elapsed()), (None, 2 * SECOND));
    });
}

#[test]
fn thousands_of_groups_in_one_task_fail_by_themselves() {
    testing::run(async {
        let ends = join_all((0..5000).map(|_| Box::pin(fails_after(SECOND)))).await;
        assert!(ends.iter().all(|end| *end == Err("1".to_owned())));
    });
}

#[test]
fn deadline_that_has_passed_lets_the_others_run() {
    aioxide::run(async {
        let (queue, past) = (Rc::new(Queue::new(1)), Instant::now());
        let sender = Rc::clone(&queue);
        let sending = spawn(async move {
            for number in 0..3 {
                sleep(Duration::from_millis(1)).await;
                sender.put(number).await.unwrap();
            }
        });
        while timeout(Duration::ZERO, queue.get()).await.is_err() {}
        while timeout_at(past, queue.get()).await.is_err() {}
        let mut getting = vec![spawn(async move { queue.get().await.unwrap() })];
        while !getting.is_empty() {
            getting = wait(getting, ReturnWhen::AllCompleted).timeout(Duration::ZERO).await.pending;
        }
        sending.await;
    })
    .unwrap();
}

/// Begins a future on one loop and awaits it on another: it says so.
#[track_caller]
fn check_elsewhere<F: std::future::Future + 'static>(name: &str, future: impl FnOnce() -> F + 'static) {
    let (one, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let begun = one.block_on(async move {
        let mut begun = Box::pin(future());
        let polled = std::future::poll_fn(|cx| Poll::Ready(begun.as_mut().poll(cx).is_pending()));
        assert!(polled.await);
        begun
    });
    let awaited = async move { timeout(SECOND, begun.unwrap()).await.is_ok() };
    let told = catch_unwind(AssertUnwindSafe(|| other.block_on(awaited))).unwrap_err();
    let told = told.downcast_ref::<&str>().map(|told| (*told).to_owned()).or(told.downcast_ref().cloned());
    assert!(told.as_ref().is_some_and(|told| told.contains("another event loop")), "{name}: {told:?}");
}

#[test]
fn many_that_were_begun_on_another_loop_are_refused() {
    let slow = || ok(sleep(Duration::from_millis(50)));
    check_elsewhere("gather", move || gather([slow()]).into_future());
    check_elsewhere("return_exceptions", move || gather([slow()]).return_exceptions().into_future());
    check_elsewhere("wait", || wait([spawn(sleep(SECOND))], ReturnWhen::AllCompleted));
    check_elsewhere("as_completed", move || async move { as_completed([slow()]).next().await });
    check_elsewhere("group", || {
        task_group::<(), (), _>(async |group| {
            group.spawn(async {
                sleep(SECOND).await;
                Ok(())
            });
            Ok(())
        })
    });
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}

#[test]
fn what_was_given_up_and_panics_when_it_is_dropped_keeps_the_loop_going() {
    let ended = aioxide::run(async {
        let task = spawn(async {
            let bombs = gather([async {
                sleep(Duration::from_millis(10)).await;
                Ok::<_, ()>(Bomb)
            }]);
            race! {
                _ = bombs => unreachable!("it takes longer"),
                () = sleep(Duration::from_millis(1)) => sleep(Duration::from_millis(30)).await,
            }
            "fine"
        });
        task.join().await.ok()
    });
    assert_eq!(ended.unwrap(), Some("fine"));
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("waker");
    }
}

#[test]
fn waker_that_panics_when_a_task_cancels_itself_ends_there() {
    let ended = aioxide::run(async {
        let task = spawn(async {
            let mut scope = Box::pin(catch_cancel(pending::<()>()));
            let waker = Waker::from(Arc::new(Panics));
            assert!(Pin::new(&mut scope).poll(&mut Context::from_waker(&waker)).is_pending());
            current_task().unwrap().cancel();
            sleep(Duration::from_millis(10)).await;
        });
        task.join().await.is_ok()
    });
    assert!(ended.is_ok());
}

#[test]
fn exception_handler_that_lets_itself_go_and_panics_ends_there() {
    let bomb = Bomb;
    aioxide::set_exception_handler(Some(Rc::new(move |_| {
        let _held = &bomb;
        drop(aioxide::set_exception_handler(None));
    })));
    let ended = aioxide::run(async {
        drop(aioxide::try_spawn(async { Err::<(), _>("nobody looks") }));
        yield_now().await;
    });
    assert!(ended.is_ok());
}

#[test]
fn callbacks_that_panic_when_they_are_dropped_do_not_end_the_process() {
    let runtime = Runtime::new().unwrap();
    let task = runtime.spawn(pending::<()>());
    let future = Future::<()>::new();
    for bomb in [Bomb, Bomb] {
        task.add_done_callback(move |_| drop(bomb));
    }
    for bomb in [Bomb, Bomb] {
        future.add_done_callback(move |_| drop(bomb));
    }
    runtime.close();
    assert!(task.done());
    drop(future);
}

#[test]
fn queue_loses_nothing_to_code_of_the_program_that_panics() {
    use std::cmp::Ordering;
    #[derive(Debug, PartialEq, Eq)]
    struct Odd(i32);
    impl PartialOrd for Odd {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Odd {
        fn cmp(&self, other: &Self) -> Ordering {
            assert!(self.0 != 3 && other.0 != 3, "an odd number");
            self.0.cmp(&other.0)
        }
    }
    let queue = aioxide::sync::PriorityQueue::new(0);
    queue.try_put(Odd(1)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| queue.try_put(Odd(3)))).is_err());
    for _ in 0..queue.len() {
        queue.task_done().unwrap();
    }
    // A putter whose waker panics is given the place; the item is given to who has asked for it.
    let queue = Queue::new(1);
    queue.try_put(1).unwrap();
    let waker = Waker::from(Arc::new(Panics));
    let mut putting = Box::pin(queue.put(2));
    assert!(putting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(queue.try_get().unwrap(), 1);
    let mut joining = Box::pin(queue.join());
    assert!(joining.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| queue.shutdown(true))).is_ok());
}

//! Scopes and the tasks that poll them: futures that move, scopes that are not looked after, cancellations in chains.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::async_yields_async, reason = "futures that move from task to task")]

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use aioxide::time::{Instant, sleep, timeout};
use aioxide::{Runtime, Task, TaskGroup, catch_cancel, gather, spawn, task_group, testing, yield_now};
use futures_util::future::{Either, join_all, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

const SECOND: Duration = Duration::from_secs(1);

/// Polls a future once in a task of its own.
async fn begun_elsewhere<F: Future + 'static>(future: F) -> Pin<Box<F>> {
    let mut begun = Box::pin(future);
    let begin = spawn(async move {
        assert!(poll_fn(|cx| Poll::Ready(begun.as_mut().poll(cx))).await.is_pending());
        begun
    });
    begin.await
}

async fn turns(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[test]
fn moved_deadline_ends_what_awaits_it_now() {
    testing::run(async {
        let start = Instant::now();
        let moved = begun_elsewhere(timeout(SECOND, pending::<()>())).await;
        assert!(spawn(moved).await.is_err());
        assert_eq!(start.elapsed(), SECOND);
    });
}

#[test]
fn moved_group_ends_when_a_task_of_it_fails() {
    testing::run(async {
        let group = task_group(async |group: TaskGroup<&str>| {
            group.spawn(async {
                sleep(SECOND).await;
                Err::<(), _>("failed")
            });
            pending::<()>().await;
            Ok(())
        });
        let moved = begun_elsewhere(group).await;
        assert_eq!(spawn(moved).await.unwrap_err().errors().len(), 1);
    });
}

#[test]
fn deadline_that_passes_before_the_move_is_kept_after_it() {
    testing::run(async {
        let caught = Rc::new(Cell::new(false));
        let inside = Rc::clone(&caught);
        let stubborn = timeout(SECOND, async move {
            inside.set(catch_cancel(pending::<()>()).await.is_err());
            sleep(SECOND).await;
            7
        });
        let moved = begun_elsewhere(stubborn).await;
        sleep(2 * SECOND).await;
        let task = spawn(moved);
        assert_eq!(task.await, Ok(7));
        assert!(caught.get());
        assert_eq!(aioxide::current_task().unwrap().cancelling(), 0);
    });
}

#[test]
fn cancelling_who_began_a_future_does_not_reach_who_has_it() {
    testing::run(async {
        let place = Rc::new(RefCell::new(None));
        let hand_out = Rc::clone(&place);
        let first = spawn(async move {
            let mut begun = Box::pin(catch_cancel(pending::<()>()));
            assert!(poll_fn(|cx| Poll::Ready(begun.as_mut().poll(cx))).await.is_pending());
            *hand_out.borrow_mut() = Some(begun);
            pending::<()>().await;
        });
        turns(2).await;
        let begun = place.take().unwrap();
        let second = spawn(begun);
        yield_now().await;
        first.cancel();
        turns(2).await;
        assert!(first.cancelled());
        assert!(!second.done());
        second.cancel();
        assert!(second.await.is_err(), "it is caught where it is now");
    });
}

/// A `select!` loop whose handler awaits, while the future beside it has a scope open.
fn not_looked_after(inside: impl Future<Output = ()> + 'static) -> Task<()> {
    spawn(async move {
        let mut work = Box::pin(inside);
        match select(&mut work, Box::pin(sleep(SECOND))).await {
            Either::Left(_) => {}
            Either::Right(_) => pending::<()>().await,
        }
    })
}

#[test]
fn cancel_reaches_a_task_that_does_not_look_after_its_scopes() {
    testing::run(async {
        let group = task_group(async |_: TaskGroup<()>| {
            pending::<()>().await;
            Ok(())
        });
        let tasks = [
            not_looked_after(async { drop(group.await) }),
            not_looked_after(async { drop(catch_cancel(pending::<()>()).await) }),
            not_looked_after(async { drop(catch_cancel(catch_cancel(pending::<()>())).await) }),
        ];
        sleep(2 * SECOND).await;
        for task in &tasks {
            task.cancel();
        }
        turns(10).await;
        assert!(tasks.iter().all(|task| task.cancelled()));
    });
}

#[test]
fn scope_around_one_that_is_not_looked_after_catches() {
    testing::run(async {
        let task = spawn(async {
            catch_cancel(async {
                let mut work = Box::pin(catch_cancel(pending::<()>()));
                select(&mut work, Box::pin(sleep(SECOND))).await;
                pending::<()>().await;
            })
            .await
            .is_err()
        });
        sleep(2 * SECOND).await;
        task.cancel();
        assert!(task.await);
    });
}

#[test]
fn cancellation_that_passes_a_scope_not_looked_after_is_not_late() {
    testing::run(async {
        let caught = Rc::new(Cell::new(0));
        let count = Rc::clone(&caught);
        let task = spawn(async move {
            let body = async {
                let mut work = Box::pin(catch_cancel(pending::<()>()));
                select(&mut work, Box::pin(sleep(SECOND))).await;
                pending::<()>().await;
            };
            assert!(catch_cancel(body).await.is_err());
            count.set(1);
            assert!(catch_cancel(pending::<()>()).await.is_err());
            count.set(2);
        });
        sleep(2 * SECOND).await;
        for times in 1..=2 {
            task.cancel();
            turns(1).await;
            assert_eq!(caught.get(), times, "two in the same instant are two");
        }
        task.await;
    });
}

#[test]
fn scopes_behind_a_queue_of_their_own_catch_in_their_turn() {
    testing::run(async {
        let task = spawn(async {
            let mut all: FuturesUnordered<_> = (0..3).map(|_| catch_cancel(pending::<()>())).collect();
            all.next().await.unwrap().is_err()
        });
        turns(2).await;
        task.cancel();
        assert!(task.await);
    });
}

#[test]
fn each_of_many_sibling_deadlines_ends_its_own() {
    testing::run(async {
        let all = join_all((1..=1000).map(|n| timeout(n * SECOND, pending::<()>()))).await;
        assert!(all.iter().all(Result::is_err));
    });
}

/// Two tasks wait for each other: a deadlock of the program's own making, which a cancellation ends.
#[test]
fn cancel_ends_a_circle_of_gathers() {
    testing::run(async {
        let slot = Rc::new(RefCell::new(None::<Task<Result<(), ()>>>));
        let place = Rc::clone(&slot);
        let first = spawn(async move {
            yield_now().await;
            let second = place.take().unwrap();
            gather([second]).await.map(drop).map_err(drop)
        });
        let second = spawn(async move { gather([first]).await.map(drop).map_err(drop) });
        let watched = second.any().clone();
        *slot.borrow_mut() = Some(second);
        turns(10).await;
        watched.cancel();
        turns(10).await;
        assert!(watched.cancelled());
        assert!(aioxide::all_tasks().len() == 1, "and the other one with it");
    });
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the destructor");
        }
    }
}

#[test]
fn loop_survives_what_panics_when_it_is_dropped() {
    static VARIABLE: aioxide::ContextVar<Bomb> = aioxide::ContextVar::new("variable");
    testing::run(async {
        spawn(async { Bomb }).detach();
        spawn(async { std::panic::panic_any(Bomb) }).detach();
        spawn(async { VARIABLE.set(Bomb) }).detach();
        turns(3).await;
    });
}

#[test]
fn catching_body_whose_destructor_panics_leaves_the_task_usable() {
    testing::run(async {
        let ended = task_group(async |group: TaskGroup<()>| {
            let cancelled = group.clone();
            group.spawn(async move {
                cancelled.cancel();
                Ok(())
            });
            let _bomb = Bomb;
            pending::<()>().await;
            Ok(())
        });
        let task = spawn(async { drop(ended.await) });
        assert!(task.join().await.unwrap_err().is_panic());
    });
}

#[test]
fn runtime_in_a_thread_local_is_closed_at_the_end_of_the_thread() {
    thread_local! {
        static RUNTIME: Runtime = Runtime::new().unwrap();
    }
    let thread = std::thread::spawn(|| {
        RUNTIME.with(|runtime| {
            runtime.spawn(pending::<()>()).detach();
            runtime.block_on(yield_now()).unwrap();
        });
    });
    thread.join().unwrap();
}

#[test]
#[should_panic(expected = "belongs to another event loop")]
fn task_of_another_loop_is_refused() {
    let other = Runtime::new().unwrap();
    let task = other.spawn(async { 5 });
    testing::run(async move { timeout(SECOND, task).await.unwrap() });
}

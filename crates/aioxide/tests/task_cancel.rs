//! Cancellation: where it is delivered, how it is counted, what stops it.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, pending};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use aioxide::time::{Instant, sleep, timeout, timeout_at};
use aioxide::{AnyTask, Future, Task, catch_cancel, current_task, shield, spawn, testing, yield_now};

const SECOND: Duration = Duration::from_secs(1);

fn me() -> AnyTask {
    current_task().expect("called in a task")
}

/// Sets a flag when dropped.
struct OnDrop(Rc<Cell<bool>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn task_cancelled_before_its_first_poll_never_runs() {
    testing::run(async {
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        let task = spawn(async move { flag.set(true) });
        assert!(task.cancel());
        assert!(task.join().await.unwrap_err().is_cancelled());
        assert!(!ran.get());
    });
}

#[test]
fn without_a_scope_the_whole_future_is_dropped() {
    testing::run(async {
        let dropped = Rc::new(Cell::new(false));
        let held = OnDrop(Rc::clone(&dropped));
        let task = spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        yield_now().await;
        assert!(task.cancel());
        assert!(!dropped.get(), "not before the loop runs it");
        yield_now().await;
        assert!(dropped.get() && task.cancelled());
        assert!(!task.cancel(), "it has ended");
    });
}

#[test]
fn innermost_scope_gets_it_and_may_clean_up_with_awaits() {
    testing::run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let inside = Rc::clone(&log);
        let task = spawn(async move {
            let outer = catch_cancel(async {
                let inner = catch_cancel(pending::<()>()).await;
                inside.borrow_mut().push(inner.is_err());
                sleep(SECOND).await;
                inside.borrow_mut().push(true);
                inner.unwrap_err().propagate().await
            })
            .await;
            assert_eq!(outer.unwrap_err().message(), Some("stop"));
            inside.borrow_mut().push(false);
            7
        });
        yield_now().await;
        task.cancel_with("stop");
        assert_eq!(task.await, 7);
        assert_eq!(*log.borrow(), [true, true, false]);
    });
}

#[test]
fn second_cancel_reaches_the_clean_up() {
    testing::run(async {
        let task = spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            sleep(SECOND * 100).await;
        });
        yield_now().await;
        task.cancel();
        yield_now().await;
        assert!(!task.done());
        task.cancel();
        let start = Instant::now();
        assert!(task.join().await.unwrap_err().is_cancelled());
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn swallowed_cancellation_leaves_the_task_uncancelled() {
    testing::run(async {
        let task = spawn(async {
            let caught = catch_cancel(pending::<()>()).await.is_err();
            (caught, me().cancelling(), me().uncancel(), me().uncancel())
        });
        yield_now().await;
        task.cancel();
        yield_now().await;
        assert!(!task.cancelled());
        assert_eq!(task.await, (true, 1, 0, 0));
    });
}

#[test]
fn result_that_was_ready_is_lost_to_a_cancel_of_the_same_moment() {
    testing::run(async {
        let cell = Future::new();
        let waiting = cell.clone();
        let task = spawn(waiting);
        yield_now().await;
        cell.set_result(1).unwrap();
        assert!(task.cancel());
        assert!(task.join().await.unwrap_err().is_cancelled());
    });
}

#[test]
fn uncancel_to_zero_forgets_a_cancel_not_yet_delivered() {
    testing::run(async {
        let task = spawn(async {
            yield_now().await;
            5
        });
        yield_now().await;
        task.cancel();
        assert_eq!(task.cancelling(), 1);
        assert_eq!(task.uncancel(), 0);
        assert_eq!(task.await, 5);
    });
}

#[test]
fn task_that_cancels_itself_ends_at_its_next_await() {
    testing::run(async {
        let reached = Rc::new(Cell::new(false));
        let flag = Rc::clone(&reached);
        let task = spawn(async move {
            me().cancel();
            flag.set(true);
            yield_now().await;
            unreachable!("cancelled at the await");
        });
        assert!(task.join().await.unwrap_err().is_cancelled());
        assert!(reached.get());
    });
}

#[test]
fn task_that_cancels_itself_may_catch_it_at_the_next_await() {
    testing::run(async {
        let task = spawn(async {
            me().cancel();
            catch_cancel(pending::<()>()).await.is_err()
        });
        assert!(task.await);
    });
}

#[test]
fn cancel_goes_to_the_task_that_is_awaited_and_comes_back() {
    testing::run(async {
        let cleaned = Rc::new(Cell::new(false));
        let flag = Rc::clone(&cleaned);
        let inner = spawn(async move {
            let caught = catch_cancel(pending::<()>()).await;
            sleep(SECOND).await;
            flag.set(true);
            caught.unwrap_err().propagate().await
        });
        let watched = inner.any().clone();
        let outer = spawn(inner);
        yield_now().await;
        outer.cancel_with("down");
        assert_eq!((outer.cancelling(), watched.cancelling()), (1, 1));
        let error = outer.join().await.unwrap_err();
        assert_eq!(error.to_string(), "task cancelled: down");
        assert!(cleaned.get() && watched.cancelled(), "the inner task was waited for");
    });
}

#[test]
fn awaited_task_that_swallows_a_cancel_lets_the_awaiter_live() {
    testing::run(async {
        let inner = spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            3
        });
        let outer = spawn(async move { inner.await + 1 });
        yield_now().await;
        outer.cancel();
        assert_eq!(outer.await, 4);
    });
}

#[test]
fn tasks_that_await_each_other_in_a_circle_can_be_cancelled() {
    testing::run(async {
        let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let taken = Rc::clone(&slot);
        let one = spawn(async move {
            yield_now().await;
            let two = taken.take().unwrap();
            two.await
        });
        let first = one.any().clone();
        *slot.borrow_mut() = Some(spawn(one));
        for _ in 0..3 {
            yield_now().await;
        }
        first.cancel();
        for _ in 0..3 {
            yield_now().await;
        }
        assert!(first.cancelled());
    });
}

#[test]
fn long_chain_of_awaiting_tasks_is_cancelled_without_recursion() {
    testing::run(async {
        let mut last = spawn(pending::<()>());
        let first = last.any().clone();
        for _ in 0..20_000 {
            let next = last;
            last = spawn(next);
        }
        yield_now().await;
        last.cancel();
        assert!(last.join().await.unwrap_err().is_cancelled());
        assert!(first.cancelled());
    });
}

#[test]
fn cancelled_awaiter_cancels_the_cell_it_awaits() {
    testing::run(async {
        let cell: Future<()> = Future::new();
        let (one, two) = (spawn(cell.clone()), spawn(cell.clone()));
        yield_now().await;
        one.cancel();
        yield_now().await;
        assert!(cell.cancelled());
        assert!(two.join().await.unwrap_err().is_cancelled());
    });
}

#[test]
fn shield_keeps_the_task_running_when_the_awaiter_is_cancelled() {
    testing::run(async {
        let inner = spawn(async {
            sleep(SECOND).await;
            9
        });
        let watched = inner.any().clone();
        let outer = spawn(shield(inner));
        yield_now().await;
        outer.cancel();
        assert!(outer.join().await.unwrap_err().is_cancelled());
        assert!(!watched.done());
        watched.finished().await;
        assert!(!watched.cancelled());
    });
}

#[test]
fn cancelled_task_behind_a_shield_cancels_the_awaiter() {
    testing::run(async {
        let inner = spawn(pending::<()>());
        let watched = inner.any().clone();
        let outer = spawn(shield(inner));
        yield_now().await;
        watched.cancel();
        assert!(outer.join().await.unwrap_err().is_cancelled());
    });
}

#[test]
fn timeout_drops_what_it_waits_for_and_says_so() {
    testing::run(async {
        let dropped = Rc::new(Cell::new(false));
        let held = OnDrop(Rc::clone(&dropped));
        let start = Instant::now();
        let ended = timeout(SECOND, async move {
            let _held = held;
            pending::<()>().await;
        });
        assert!(ended.await.is_err());
        assert!(dropped.get());
        assert_eq!((start.elapsed(), me().cancelling()), (SECOND, 0));
    });
}

#[test]
fn timeout_cancels_the_task_it_awaits() {
    testing::run(async {
        let inner = spawn(pending::<()>());
        let watched = inner.any().clone();
        assert!(timeout(SECOND, inner).await.is_err());
        assert!(watched.cancelled());
    });
}

#[test]
fn value_that_is_ready_when_the_time_is_up_wins() {
    testing::run(async {
        assert_eq!(
            timeout(SECOND, async {
                sleep(SECOND).await;
                1
            })
            .await,
            Ok(1)
        );
        assert_eq!(timeout(Duration::ZERO, async { 2 }).await, Ok(2));
    });
}

#[test]
fn scope_inside_a_timeout_may_clean_up_and_its_value_is_kept() {
    testing::run(async {
        let start = Instant::now();
        let value = timeout(SECOND, async {
            let caught = catch_cancel(pending::<()>()).await.is_err();
            sleep(SECOND).await;
            caught
        });
        assert_eq!(value.await, Ok(true));
        assert_eq!((start.elapsed(), me().cancelling()), (2 * SECOND, 0));
        yield_now().await;
    });
}

#[test]
fn inner_timeout_expires_alone() {
    testing::run(async {
        let outer = timeout(3 * SECOND, async {
            let inner = timeout(SECOND, pending::<()>()).await;
            assert!(inner.is_err());
            "went on"
        });
        assert_eq!(outer.await, Ok("went on"));
    });
}

#[test]
fn outer_timeout_passes_through_the_inner_one() {
    testing::run(async {
        let start = Instant::now();
        let outer = timeout(SECOND, async {
            let _ = timeout(3 * SECOND, pending::<()>()).await;
            unreachable!("the inner one has time left");
        });
        assert!(outer.await.is_err());
        assert_eq!(start.elapsed(), SECOND);
    });
}

#[test]
fn cancel_from_outside_is_no_timeout() {
    testing::run(async {
        let task = spawn(async {
            let _ = timeout(SECOND, pending::<()>()).await;
            unreachable!("the task was cancelled, not timed out");
        });
        yield_now().await;
        task.cancel();
        assert!(task.join().await.unwrap_err().is_cancelled());
    });
}

#[test]
fn timeout_and_cancel_at_once_end_as_cancelled() {
    testing::run(async {
        let task = spawn(async {
            let ended = timeout(SECOND, async {
                let caught = catch_cancel(pending::<()>()).await.unwrap_err();
                sleep(SECOND).await;
                caught.propagate().await
            });
            let _ = ended.await;
            unreachable!("somebody else cancelled as well");
        });
        sleep(SECOND * 3 / 2).await;
        task.cancel();
        assert!(task.join().await.unwrap_err().is_cancelled());
    });
}

#[test]
fn deadline_beside_another_scope_does_not_reach_it() {
    testing::run(async {
        let left = timeout(SECOND, pending::<()>());
        let right = catch_cancel(sleep(2 * SECOND));
        let (left, right) = futures_util::future::join(left, right).await;
        assert!(left.is_err());
        assert_eq!(right, Ok(()));
    });
}

#[test]
fn deadline_can_be_moved_while_it_runs() {
    testing::run(async {
        let start = Instant::now();
        let mut moved = std::pin::pin!(timeout_at(start + SECOND, sleep(5 * SECOND)));
        assert!(std::future::poll_fn(|cx| Poll::Ready(moved.as_mut().poll(cx).is_pending())).await);
        moved.as_mut().reschedule(Some(start + 10 * SECOND));
        assert_eq!(moved.as_mut().await, Ok(()));
        assert!(!moved.expired());
        let mut never = std::pin::pin!(timeout_at(None, sleep(SECOND)));
        assert_eq!(never.as_mut().await, Ok(()));
    });
}

#[test]
fn run_cancels_what_is_left_and_waits_for_its_clean_up() {
    let cleaned = Rc::new(Cell::new(false));
    let flag = Rc::clone(&cleaned);
    testing::run(async move {
        drop(spawn(async move {
            let _ = catch_cancel(pending::<()>()).await;
            sleep(SECOND).await;
            flag.set(true);
        }));
        yield_now().await;
    });
    assert!(cleaned.get());
}

//! Who goes first when one end sets off several things: the order is asyncio's, iteration by iteration.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use aioxide::sync::Mutex;
use aioxide::time::{sleep, timeout};
use aioxide::{
    ReturnWhen, Task, TaskGroup, as_completed, catch_cancel, current_task, gather, ok, shield, spawn,
    task_group, testing, wait, yield_now,
};
use futures_util::future::{Either, select};

const SECOND: Duration = Duration::from_secs(1);

type Log = Rc<RefCell<Vec<&'static str>>>;
type Waits = Pin<Box<dyn Future<Output = ()>>>;

/// Who goes on first when a task ends: who looks at it, or what `collects` it among others and began before.
fn ends_in_order(collects: fn(Task<()>) -> Waits) -> Vec<&'static str> {
    testing::run(async move {
        let log = Log::default();
        let child = spawn(sleep(SECOND));
        let any = child.any().clone();
        let waits = collects(child);
        let noted = Rc::clone(&log);
        let collector = spawn(async move {
            waits.await;
            noted.borrow_mut().push("collector");
        });
        yield_now().await;
        let noted = Rc::clone(&log);
        let awaiter = spawn(async move {
            any.finished().await;
            noted.borrow_mut().push("awaiter");
        });
        collector.await;
        awaiter.await;
        log.take()
    })
}

#[test]
fn who_awaits_a_task_goes_on_before_who_waits_for_it_among_others() {
    let order = ["awaiter", "collector"];
    let all = |child| -> Waits { Box::pin(async { drop(wait([child], ReturnWhen::AllCompleted).await) }) };
    assert_eq!(ends_in_order(all), order, "wait");
    assert_eq!(ends_in_order(|child| Box::pin(shield(child))), order, "shield");
    assert_eq!(ends_in_order(|child| Box::pin(async { drop(gather([ok(child)]).await) })), order, "gather");
    let first = |child| -> Waits { Box::pin(async { drop(as_completed([ok(child)]).next().await) }) };
    assert_eq!(ends_in_order(first), order, "as_completed");
}

#[test]
fn who_awaits_a_member_has_its_value_before_the_group_goes_on() {
    testing::run(async {
        let log = Log::default();
        let noted = Rc::clone(&log);
        let outer = task_group(async move |outer: TaskGroup<&str>| {
            let inner = task_group(async |inner: TaskGroup<&str>| {
                let member = Rc::new(inner.spawn(async {
                    sleep(SECOND).await;
                    Ok(())
                }));
                outer.spawn(async move {
                    (&*member).await;
                    noted.borrow_mut().push("has the value");
                    sleep(SECOND).await;
                    noted.borrow_mut().push("goes on");
                    Ok(())
                });
                Ok(())
            });
            inner.await.unwrap();
            Err::<(), _>("over")
        });
        outer.await.unwrap_err();
        assert_eq!(log.take(), ["has the value"]);
    });
}

#[test]
fn what_a_failing_member_has_woken_goes_on_before_the_group_is_cancelled() {
    testing::run(async {
        let lock = Rc::new(Mutex::new(()));
        let log = Log::default();
        let group = task_group(async |group: TaskGroup<&str>| {
            let held = Rc::clone(&lock);
            group.spawn(async move {
                let _held = held.lock().await;
                sleep(SECOND).await;
                Err::<(), _>("failed")
            });
            yield_now().await;
            let _held = lock.lock().await;
            log.borrow_mut().push("has the lock");
            sleep(SECOND).await;
            log.borrow_mut().push("goes on");
            Ok(())
        });
        assert_eq!(group.await.unwrap_err().errors().len(), 1);
        assert_eq!(log.take(), ["has the lock"]);
    });
}

#[test]
fn member_that_ends_when_the_body_has_been_woken_is_waited_for() {
    testing::run(async {
        let log = Log::default();
        let noted = Rc::clone(&log);
        let first = spawn(sleep(SECOND));
        let group = spawn(async move {
            let ended = task_group(async move |group: TaskGroup<&str>| {
                group.spawn(async {
                    sleep(SECOND).await;
                    Ok(())
                });
                first.await;
                Ok(())
            });
            ended.await.unwrap();
            noted.borrow_mut().push("group");
        });
        let noted = Rc::clone(&log);
        let other = spawn(async move {
            sleep(SECOND).await;
            yield_now().await;
            noted.borrow_mut().push("one iteration later");
        });
        group.await;
        other.await;
        assert_eq!(log.take(), ["one iteration later", "group"]);
    });
}

/// A deadline of two seconds that is looked after for one, and then again when `meanwhile` is over.
async fn left_alone<F: Future>(meanwhile: F) -> bool {
    let mut limited = Box::pin(timeout(2 * SECOND, pending::<()>()));
    match select(&mut limited, Box::pin(sleep(SECOND))).await {
        Either::Left(_) => unreachable!("the deadline comes later"),
        Either::Right(_) => {
            meanwhile.await;
            limited.await.is_err()
        }
    }
}

#[test]
fn cancellation_that_was_caught_beside_a_deadline_is_not_the_deadlines() {
    testing::run(async {
        let task = spawn(left_alone(async {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            yield_now().await;
        }));
        sleep(SECOND + SECOND / 2).await;
        task.cancel();
        assert!(task.await, "the deadline passes, and nobody else has asked for the end");
    });
}

#[test]
fn cancellation_reaches_a_task_at_once_whatever_scopes_it_has_left_alone() {
    testing::run(async {
        let lock = Rc::new(Mutex::new(()));
        let held = lock.lock().await;
        let waiting = Rc::clone(&lock);
        let task = spawn(async move {
            let mut alone = Box::pin(catch_cancel(pending::<()>()));
            match select(&mut alone, Box::pin(sleep(SECOND))).await {
                Either::Left(_) => unreachable!("nobody has cancelled it"),
                Either::Right(_) => {
                    // A poll of the task without the scope tells that it was left.
                    yield_now().await;
                    drop(waiting.lock().await);
                }
            }
            unreachable!("the lock is not for who is cancelled");
        });
        sleep(2 * SECOND).await;
        task.cancel();
        // The lock is free before the task is polled.
        drop(held);
        yield_now().await;
        assert!(task.cancelled(), "in the next iteration");
    });
}

/// Cancels the task that runs.
fn cancel_itself() {
    assert!(current_task().unwrap().cancel());
}

#[test]
fn those_cancelled_with_the_task_that_cancels_are_unwound_before_it_goes_on() {
    testing::run(async {
        let log = Log::default();
        let all: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let (noted, cancels) = (Rc::clone(&log), Rc::clone(&all));
        let member = async move {
            for place in ["first", "second"] {
                assert!(catch_cancel(pending::<()>()).await.is_err());
                noted.borrow_mut().push(place);
            }
        };
        let children = async move {
            let member = spawn(member);
            let with_it = member.any().clone();
            let waits: Waits = Box::pin(member);
            let acts: Waits = Box::pin(async move {
                sleep(SECOND).await;
                assert!(cancels.borrow().as_ref().unwrap().cancel());
                // Its own cancellation is met here: the member's first one has been caught by then.
                assert!(catch_cancel(pending::<()>()).await.is_err());
                assert!(with_it.cancel(), "the second request is not one with the first");
            });
            drop(gather([waits, acts].map(ok)).await);
        };
        *all.borrow_mut() = Some(spawn(children));
        sleep(2 * SECOND).await;
        assert_eq!(log.take(), ["first", "second"]);
    });
}

#[test]
fn task_that_cancels_itself_is_cancelled_where_it_waits_next() {
    testing::run(async {
        let log = Log::default();
        let noted = Rc::clone(&log);
        let task = spawn(async move {
            cancel_itself();
            let caught = catch_cancel(async {
                noted.borrow_mut().push("begins");
                yield_now().await;
                noted.borrow_mut().push("goes on");
            });
            assert!(caught.await.is_err());
        });
        task.await;
        assert_eq!(log.take(), ["begins"]);
    });
}

#[test]
fn task_that_cancels_itself_hands_it_to_the_task_that_it_waits_for_next() {
    testing::run(async {
        let child = spawn(async { catch_cancel(pending::<()>()).await.is_err() });
        yield_now().await;
        let task = spawn(async move {
            cancel_itself();
            child.await
        });
        assert!(task.await, "the child has dealt with it");
    });
}

#[test]
fn task_that_cancels_itself_ends_one_iteration_later() {
    testing::run(async {
        let task = spawn(async {
            cancel_itself();
            pending::<()>().await;
        });
        let ended = task.any().clone();
        yield_now().await;
        assert!(!ended.done());
        yield_now().await;
        assert!(ended.cancelled());
    });
}

#[test]
fn task_that_takes_its_own_cancellation_back_goes_on() {
    testing::run(async {
        let task = spawn(async {
            cancel_itself();
            assert_eq!(current_task().unwrap().uncancel(), 0);
            yield_now().await;
            "went on"
        });
        assert_eq!(task.await, "went on");
    });
}

#[test]
fn body_that_cancels_its_group_goes_on_until_it_waits() {
    testing::run(async {
        let log = Log::default();
        let ended = task_group(async |group: TaskGroup<&str>| {
            group.cancel();
            log.borrow_mut().push("goes on");
            drop(catch_cancel(async { log.borrow_mut().push("begins") }).await);
            yield_now().await;
            log.borrow_mut().push("not here");
            Ok(())
        });
        assert!(ended.await.unwrap_err().is_cancelled());
        assert_eq!(log.take(), ["goes on", "begins"]);
        // Nothing is left of the request.
        yield_now().await;
        assert_eq!(current_task().unwrap().cancelling(), 0);
    });
}

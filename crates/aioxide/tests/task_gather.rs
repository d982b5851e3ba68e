//! Many at once: gather, wait, as_completed, task groups.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use aioxide::time::{Instant, sleep, timeout};
use aioxide::{
    ReturnWhen, Task, TaskError, TaskGroup, WaitingOn, all_tasks, as_completed, catch_cancel, gather, ok,
    spawn, task_group, testing, try_spawn, wait, yield_now,
};

const SECOND: Duration = Duration::from_secs(1);

async fn after<T>(seconds: u32, value: T) -> T {
    sleep(seconds * SECOND).await;
    value
}

#[test]
fn gather_keeps_the_order_given() {
    testing::run(async {
        let start = Instant::now();
        let values = gather([3, 1, 2].map(|n| ok(after(n, n)))).await.unwrap();
        assert_eq!(values, [3, 1, 2]);
        assert_eq!(start.elapsed(), 3 * SECOND, "all ran at the same time");
    });
}

#[test]
fn gather_of_nothing_is_empty() {
    testing::run(async {
        let none: [std::future::Ready<Result<u8, ()>>; 0] = [];
        assert!(gather(none).await.unwrap().is_empty());
    });
}

#[test]
fn gather_of_tasks_already_done_gives_their_values() {
    testing::run(async {
        let tasks = [1, 2].map(|n| spawn(ok(async move { n })));
        yield_now().await;
        assert!(tasks.iter().all(|task| task.done()));
        assert_eq!(gather(tasks).await.unwrap(), [1, 2]);
    });
}

#[test]
fn first_failure_is_returned_at_once_and_siblings_go_on() {
    testing::run(async {
        let finished = Rc::new(Cell::new(0));
        let start = Instant::now();
        let results = gather((1..=4).map(|n| {
            let finished = Rc::clone(&finished);
            async move {
                sleep(n * SECOND).await;
                finished.set(finished.get() + 1);
                if n == 2 { Err(n) } else { Ok(n) }
            }
        }))
        .await;
        assert_eq!(results.unwrap_err().failure(), Some(2));
        assert_eq!((start.elapsed(), finished.get()), (2 * SECOND, 2));
        sleep(10 * SECOND).await;
        assert_eq!(finished.get(), 4);
    });
}

#[test]
fn later_failures_are_silent() {
    let reports = Rc::new(Cell::new(0));
    let count = Rc::clone(&reports);
    aioxide::set_slow_callback_duration(Duration::MAX);
    aioxide::set_exception_handler(Some(Rc::new(move |_| count.set(count.get() + 1))));
    testing::run(async {
        let results = gather((1..=3).map(|n| async move { Err::<(), _>(after(n, n).await) })).await;
        assert_eq!(results.unwrap_err().failure(), Some(1));
        sleep(10 * SECOND).await;
    });
    assert_eq!(reports.get(), 0);
}

#[test]
fn return_exceptions_puts_failures_at_their_places() {
    testing::run(async {
        let cancelled = spawn(pending::<Result<u32, &str>>());
        let to_cancel = cancelled.any().clone();
        let tasks = vec![
            spawn(async { Ok(1) }),
            spawn(async { Err("two") }),
            spawn(async { panic!("three") }),
            cancelled,
            spawn(after(2, Ok(5))),
        ];
        drop(spawn(async move {
            sleep(SECOND).await;
            to_cancel.cancel();
        }));
        let outcomes = gather(tasks).return_exceptions().await;
        assert!(matches!(outcomes[0], Ok(1)));
        assert!(matches!(outcomes[1], Err(TaskError::Failed("two"))));
        assert!(matches!(&outcomes[2], Err(TaskError::Panicked(panic)) if panic.message() == Some("three")));
        assert!(outcomes[3].as_ref().unwrap_err().is_cancelled());
        assert!(matches!(outcomes[4], Ok(5)));
    });
}

#[test]
fn one_cancelled_child_fails_the_gathering_but_not_the_others() {
    testing::run(async {
        let tasks = [1, 2].map(|n| spawn(after(n, Ok::<_, ()>(n))));
        let [one, two] = [0, 1].map(|at: usize| tasks[at].any().clone());
        let gathering = spawn(gather(tasks));
        yield_now().await;
        one.cancel();
        assert!(gathering.await.unwrap_err().is_cancelled());
        assert!(!two.done());
        two.finished().await;
        assert!(!two.cancelled());
    });
}

#[test]
fn cancelled_gatherer_cancels_all_children() {
    testing::run(async {
        let tasks = [1, 2].map(|_| spawn(pending::<Result<(), ()>>()));
        let watched: Vec<_> = tasks.iter().map(|task| task.any().clone()).collect();
        let gathering = spawn(async move { gather(tasks).await });
        yield_now().await;
        yield_now().await;
        gathering.cancel_with("all of you");
        let error = gathering.join().await.unwrap_err();
        assert_eq!(error.to_string(), "task cancelled: all of you");
        for task in watched {
            task.finished().await;
            assert!(task.cancelled());
        }
    });
}

#[test]
fn cancelled_gatherer_with_return_exceptions_ends_after_all_children() {
    testing::run(async {
        let start = Instant::now();
        let gathering = spawn(async {
            gather((1..=3).map(|n| async move {
                let _ = catch_cancel(pending::<()>()).await;
                sleep(n * SECOND).await;
                Ok::<_, ()>(n)
            }))
            .return_exceptions()
            .await
        });
        yield_now().await;
        yield_now().await;
        gathering.cancel();
        assert!(gathering.join().await.unwrap_err().is_cancelled());
        assert_eq!(start.elapsed(), 3 * SECOND);
    });
}

#[test]
fn cancelled_gatherer_ends_as_such_though_all_children_swallow_it() {
    testing::run(async {
        let gathering = spawn(async {
            gather([1, 2].map(|n| async move {
                let _ = catch_cancel(pending::<()>()).await;
                Ok::<_, ()>(n)
            }))
            .await
        });
        yield_now().await;
        yield_now().await;
        gathering.cancel();
        assert!(gathering.join().await.unwrap_err().is_cancelled());
    });
}

#[test]
fn deadline_over_a_gathering_cancels_the_children() {
    testing::run(async {
        let dropped = Rc::new(());
        let held = Rc::clone(&dropped);
        let gathering = gather((0..3).map(move |_| {
            let held = Rc::clone(&held);
            async move {
                let _held = held;
                pending::<Result<(), ()>>().await
            }
        }));
        assert!(timeout(SECOND, gathering).await.is_err());
        assert_eq!(Rc::strong_count(&dropped), 1);
    });
}

#[test]
fn limit_bounds_how_many_run_and_how_fast_the_input_is_consumed() {
    testing::run(async {
        let (taken, running, most) =
            (Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let input = {
            let (taken, running, most) = (Rc::clone(&taken), Rc::clone(&running), Rc::clone(&most));
            (0..100_u32).map(move |n| {
                taken.set(taken.get() + 1);
                let (running, most) = (Rc::clone(&running), Rc::clone(&most));
                async move {
                    running.set(running.get() + 1);
                    most.set(most.get().max(running.get()));
                    sleep(SECOND * (n % 7 + 1)).await;
                    running.set(running.get() - 1);
                    Ok::<_, ()>(n)
                }
            })
        };
        let gathering = spawn(gather(input).limit(8));
        yield_now().await;
        yield_now().await;
        assert_eq!(taken.get(), 8);
        assert_eq!(gathering.await.unwrap(), (0..100).collect::<Vec<_>>());
        assert_eq!(most.get(), 8);
    });
}

#[test]
fn endless_input_is_consumed_with_bounded_tasks() {
    testing::run(async {
        let mut ends = as_completed((0_u64..).map(|n| async move {
            yield_now().await;
            Ok::<_, ()>(n)
        }))
        .limit(4);
        for _ in 0..10_000 {
            assert!(ends.next().await.unwrap().is_ok());
            assert!(all_tasks().len() <= 5);
        }
    });
}

#[test]
fn failure_under_a_limit_starts_no_more() {
    testing::run(async {
        let started = Rc::new(Cell::new(0));
        let count = Rc::clone(&started);
        let gathering = gather((0..100).map(move |n| {
            count.set(count.get() + 1);
            async move { if n == 3 { Err(n) } else { Ok(n) } }
        }))
        .limit(2);
        assert_eq!(gathering.await.unwrap_err().failure(), Some(3));
        let after_failure = started.get();
        assert!(after_failure <= 6, "{after_failure}");
        sleep(SECOND).await;
        assert_eq!(started.get(), after_failure);
    });
}

#[test]
fn gatherer_waits_on_its_children_by_name() {
    testing::run(async {
        let tasks = ["x", "y"].map(|name| Task::builder().name(name).spawn(pending::<Result<(), ()>>()));
        let gathering = spawn(gather(tasks));
        yield_now().await;
        yield_now().await;
        let Some(WaitingOn::Tasks("gather", children)) = gathering.waiting_on() else {
            panic!("{gathering:?}")
        };
        assert_eq!(children.iter().map(|task| task.name()).collect::<Vec<_>>(), ["x", "y"]);
    });
}

#[test]
fn wait_returns_at_the_first_end() {
    testing::run(async {
        let tasks = [3, 1, 2].map(|n| spawn(after(n, n)));
        let sorted = wait(tasks, ReturnWhen::FirstCompleted).await;
        assert_eq!(sorted.done.iter().map(|task| *task.result().unwrap()).collect::<Vec<_>>(), [1]);
        assert_eq!(sorted.pending.len(), 2);
        let sorted = wait(sorted.pending, ReturnWhen::AllCompleted).await;
        assert_eq!(sorted.done.iter().map(|task| *task.result().unwrap()).collect::<Vec<_>>(), [3, 2]);
    });
}

#[test]
fn wait_for_the_first_exception_ignores_values_and_cancellations() {
    testing::run(async {
        let start = Instant::now();
        let tasks = [
            try_spawn(after(1, Ok(1))),
            try_spawn(after(9, Ok(2))),
            try_spawn(after(3, Err("three"))),
            try_spawn(pending()),
        ];
        tasks[3].cancel();
        let sorted = wait(tasks, ReturnWhen::FirstException).await;
        assert_eq!((start.elapsed(), sorted.done.len(), sorted.pending.len()), (3 * SECOND, 3, 1));
        assert_eq!(sorted.done[1].exception(), Ok(Some(&"three")));
    });
}

#[test]
fn wait_neither_raises_nor_cancels_when_its_time_is_up() {
    testing::run(async {
        let sorted = wait([spawn(after(5, 1))], ReturnWhen::AllCompleted).timeout(SECOND).await;
        assert_eq!((sorted.done.len(), sorted.pending.len()), (0, 1));
        assert_eq!(sorted.pending.into_iter().next().unwrap().await, 1);
    });
}

#[test]
fn cancelled_waiter_leaves_the_tasks_alone() {
    testing::run(async {
        let task = spawn(after(2, 1));
        let watched = task.any().clone();
        let waiter = spawn(wait([task], ReturnWhen::AllCompleted));
        yield_now().await;
        waiter.cancel();
        assert!(waiter.join().await.unwrap_err().is_cancelled());
        watched.finished().await;
        assert!(!watched.cancelled());
    });
}

#[test]
fn as_completed_gives_ends_as_they_come() {
    testing::run(async {
        let mut ends = as_completed([3, 1, 2].map(|n| async move {
            sleep(n * SECOND).await;
            if n == 2 { Err(n) } else { Ok(n) }
        }));
        assert_eq!(ends.next_indexed().await.unwrap().0, 1);
        assert!(matches!(ends.next().await, Some(Err(TaskError::Failed(2)))));
        assert!(matches!(ends.next().await, Some(Ok(3))));
        assert!(ends.next().await.is_none());
    });
}

#[test]
fn group_waits_for_all_its_tasks() {
    testing::run(async {
        let start = Instant::now();
        let ended = Rc::new(Cell::new(0));
        let count = Rc::clone(&ended);
        let value = task_group(async |group: TaskGroup<()>| {
            for n in 1..=3 {
                let count = Rc::clone(&count);
                group.spawn(async move {
                    sleep(n * SECOND).await;
                    count.set(count.get() + 1);
                    Ok(())
                });
            }
            Ok("body")
        })
        .await;
        assert_eq!((value.unwrap(), ended.get(), start.elapsed()), ("body", 3, 3 * SECOND));
    });
}

#[test]
fn failing_task_cancels_siblings_and_body() {
    testing::run(async {
        let cleaned = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&cleaned);
        let error = task_group::<(), _, _>(async |group: TaskGroup<&str>| {
            let sibling = Rc::clone(&log);
            group.spawn(async move {
                let _ = catch_cancel(pending::<()>()).await;
                sibling.borrow_mut().push("sibling");
                Ok(())
            });
            group.spawn(after(1, Err::<(), _>("failed")));
            let caught = catch_cancel(pending::<()>()).await.unwrap_err();
            log.borrow_mut().push("body");
            match caught.propagate().await {}
        })
        .await
        .unwrap_err();
        assert!(matches!(error.errors(), [TaskError::Failed("failed")]));
        cleaned.borrow_mut().sort_unstable();
        assert_eq!(*cleaned.borrow(), ["body", "sibling"]);
        assert_eq!(aioxide::current_task().unwrap().cancelling(), 0);
        yield_now().await;
    });
}

#[test]
fn group_collects_every_failure() {
    testing::run(async {
        let error = task_group(async |group| {
            group.spawn(async {
                let _ = catch_cancel(pending::<()>()).await;
                Err::<(), _>("second")
            });
            group.spawn(async { panic!("first") as Result<(), &str> });
            yield_now().await;
            yield_now().await;
            Ok(())
        })
        .await
        .unwrap_err();
        let [TaskError::Panicked(_), TaskError::Failed("second")] = error.errors() else {
            panic!("{error:?}")
        };
    });
}

#[test]
fn failing_body_cancels_the_tasks() {
    testing::run(async {
        let start = Instant::now();
        let error = task_group(async |group| {
            group.spawn(after(100, Ok(())));
            Err::<(), _>("body")
        })
        .await
        .unwrap_err();
        assert!(matches!(error.errors(), [TaskError::Failed("body")]));
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn cancel_of_one_task_is_no_failure_of_the_group() {
    testing::run(async {
        let value = task_group(async |group: TaskGroup<()>| {
            let task = group.spawn(pending::<Result<(), ()>>());
            yield_now().await;
            task.cancel();
            Ok(1)
        });
        assert_eq!(value.await.unwrap(), 1);
    });
}

#[test]
fn cancelled_parent_cancels_the_group_and_waits_for_it() {
    testing::run(async {
        let cleaned = Rc::new(Cell::new(false));
        let flag = Rc::clone(&cleaned);
        let parent = spawn(async move {
            task_group(async |group: TaskGroup<()>| {
                group.spawn(async move {
                    let _ = catch_cancel(pending::<()>()).await;
                    sleep(SECOND).await;
                    flag.set(true);
                    Ok(())
                });
                Ok(())
            })
            .await
        });
        yield_now().await;
        yield_now().await;
        parent.cancel_with("parent");
        assert_eq!(parent.join().await.unwrap_err().to_string(), "task cancelled: parent");
        assert!(cleaned.get());
    });
}

#[test]
fn group_can_be_ended_early() {
    testing::run(async {
        let start = Instant::now();
        let error = task_group(async |group: TaskGroup<()>| {
            group.spawn(after(100, Ok(())));
            let ender = group.clone();
            group.spawn(async move {
                sleep(SECOND).await;
                ender.cancel();
                Ok(())
            });
            Ok(())
        })
        .await
        .unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(start.elapsed(), SECOND);
    });
}

#[test]
fn deadline_over_a_group_ends_its_tasks_first() {
    testing::run(async {
        let held = Rc::new(());
        let inside = Rc::clone(&held);
        let ended = timeout(
            SECOND,
            task_group(async |group: TaskGroup<()>| {
                group.spawn(async move {
                    let _inside = inside;
                    pending::<Result<(), ()>>().await
                });
                Ok(())
            }),
        );
        assert!(ended.await.is_err());
        assert_eq!(Rc::strong_count(&held), 1);
        assert_eq!(aioxide::current_task().unwrap().cancelling(), 0);
        yield_now().await;
    });
}

#[test]
fn spawn_into_a_failing_group_is_refused() {
    testing::run(async {
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        let error = task_group(async |group| {
            group.spawn(async { Err::<(), _>("one") });
            let _ = catch_cancel(pending::<()>()).await;
            group.spawn(async move {
                flag.set(true);
                Ok(())
            });
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.errors().len(), 1);
        assert!(!ran.get());
    });
}

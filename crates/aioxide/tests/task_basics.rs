//! A task from its spawn to its end: state, result, name, callbacks, lists, failures that nobody looks at.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use aioxide::time::sleep;
use aioxide::{
    AnyTask, ContextVar, ReportKind, ResultError, Runtime, Task, TaskState, WaitingOn, all_tasks,
    current_task, set_exception_handler, spawn, testing, try_spawn, yield_now,
};

const SECOND: Duration = Duration::from_secs(1);

/// A future that counts its polls and its drops, and is ready at the poll of the number given.
struct Counting {
    polls: Rc<Cell<u32>>,
    drops: Rc<Cell<u32>>,
    ready_at: u32,
}

impl Future for Counting {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        self.polls.set(self.polls.get() + 1);
        if self.polls.get() >= self.ready_at {
            return Poll::Ready(self.polls.get());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
    }
}

fn counting(ready_at: u32) -> (Counting, Rc<Cell<u32>>, Rc<Cell<u32>>) {
    let (polls, drops) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    (Counting { polls: Rc::clone(&polls), drops: Rc::clone(&drops), ready_at }, polls, drops)
}

fn reports() -> Rc<RefCell<Vec<(ReportKind, String)>>> {
    // Printing a panic with its backtrace takes long enough to be reported itself.
    aioxide::set_slow_callback_duration(Duration::MAX);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&seen);
    set_exception_handler(Some(Rc::new(move |report| {
        sink.borrow_mut().push((report.kind().clone(), report.to_string()));
    })));
    seen
}

#[test]
fn spawn_returns_before_the_first_poll() {
    testing::run(async {
        let (future, polls, drops) = counting(3);
        let task = spawn(future);
        assert_eq!((polls.get(), task.done(), task.state()), (0, false, TaskState::Ready));
        assert_eq!(task.await, 3);
        assert_eq!((polls.get(), drops.get()), (3, 1));
    });
}

#[test]
fn future_is_dropped_at_the_end_even_if_the_handle_lives() {
    testing::run(async {
        let (future, _, drops) = counting(1);
        let task = spawn(future);
        yield_now().await;
        assert!(task.done());
        assert_eq!(drops.get(), 1);
        assert_eq!(task.result(), Ok(&1));
    });
}

#[test]
fn detached_task_runs_to_its_end() {
    testing::run(async {
        let (future, polls, drops) = counting(5);
        drop(spawn(future));
        for _ in 0..6 {
            yield_now().await;
        }
        assert_eq!((polls.get(), drops.get()), (5, 1));
    });
}

#[test]
fn result_too_early_is_invalid_state() {
    testing::run(async {
        let task = spawn(sleep(SECOND));
        assert_eq!(task.result(), Err(ResultError::InvalidState));
        task.await;
    });
}

#[test]
fn result_of_a_cancelled_task_is_cancelled_with_its_message() {
    testing::run(async {
        let task = spawn(pending::<()>());
        task.cancel_with("because");
        yield_now().await;
        let Err(ResultError::Cancelled(cancelled)) = task.result() else { panic!("{:?}", task.result()) };
        assert_eq!(cancelled.message(), Some("because"));
        assert_eq!((task.cancelled(), task.state()), (true, TaskState::Cancelled));
    });
}

#[test]
fn result_of_a_panicked_task_tells_the_panic() {
    testing::run(async {
        let task = spawn(async { panic!("oh no") });
        yield_now().await;
        assert_eq!(task.result(), Err(ResultError::Panicked("oh no".to_owned())));
        assert_eq!((task.cancelled(), task.state()), (false, TaskState::Panicked));
    });
}

#[test]
fn exception_of_a_failed_task_is_its_error() {
    testing::run(async {
        let tasks = [Ok(1), Err("bad")].map(|result| spawn(async move { result }));
        yield_now().await;
        assert_eq!(tasks[0].exception(), Ok(None));
        assert_eq!(tasks[1].exception(), Ok(Some(&"bad")));
    });
}

#[test]
fn awaiting_a_panicked_task_goes_on_panicking() {
    testing::run(async {
        let inner = spawn(async { panic!("inner") });
        let error = spawn(inner).join().await.unwrap_err();
        assert_eq!(error.to_string(), "task panicked: inner");
    });
}

#[test]
fn awaiting_a_cancelled_task_cancels_the_awaiter() {
    testing::run(async {
        let inner = spawn(pending::<()>());
        let cancelled = inner.any().clone();
        let outer = spawn(inner);
        yield_now().await;
        cancelled.cancel_with("inner first");
        let error = outer.join().await.unwrap_err();
        assert_eq!(error.to_string(), "task cancelled: inner first");
    });
}

#[test]
fn shared_task_is_awaited_by_many() {
    testing::run(async {
        let task = Rc::new(spawn(async {
            sleep(SECOND).await;
            String::from("value")
        }));
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let task = Rc::clone(&task);
                spawn(async move { (&*task).await.clone() })
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.await, "value");
        }
    });
}

#[test]
fn cancelled_reader_of_a_shared_task_leaves_the_others() {
    testing::run(async {
        let task = Rc::new(spawn(sleep(SECOND)));
        let (one, two) = (Rc::clone(&task), Rc::clone(&task));
        let one = spawn(async move { one.finished().await });
        let two = spawn(async move { two.finished().await });
        yield_now().await;
        one.cancel();
        two.await;
        assert!(one.cancelled() && task.done() && !task.cancelled());
    });
}

#[test]
fn tasks_are_listed_oldest_first_until_they_end() {
    testing::run(async {
        let tasks = ["a", "b", "c"].map(|name| Task::builder().name(name).spawn(sleep(SECOND)));
        let names = || all_tasks().iter().map(AnyTask::name).collect::<Vec<_>>();
        let main = current_task().unwrap().name();
        assert_eq!(names(), [main.as_str(), "a", "b", "c"]);
        tasks[1].cancel();
        yield_now().await;
        assert_eq!(names(), [main.as_str(), "a", "c"]);
        for task in &tasks {
            task.finished().await;
        }
        assert_eq!(names(), [main]);
    });
}

#[test]
fn list_can_be_examined_while_tasks_run() {
    testing::run(async {
        let tasks: Vec<Task<Result<u64, &str>>> = (1..=4)
            .map(|n| {
                spawn(async move {
                    sleep(n as u32 * SECOND).await;
                    if n == 2 { Err("two") } else { Ok(n) }
                })
            })
            .collect();
        sleep(SECOND * 5 / 2).await;
        let done: Vec<_> = tasks.iter().map(|task| task.done()).collect();
        assert_eq!(done, [true, true, false, false]);
        assert_eq!(tasks[1].exception(), Ok(Some(&"two")));
        assert_eq!(tasks[2].waiting_on(), Some(WaitingOn::Operation("sleep")));
        assert_eq!(tasks[2].age(), SECOND * 5 / 2);
    });
}

#[test]
fn who_waits_for_whom_is_told() {
    testing::run(async {
        let inner = spawn(pending::<()>());
        let waited = inner.any().clone();
        let outer = spawn(inner);
        yield_now().await;
        assert_eq!(outer.waiting_on(), Some(WaitingOn::Task(waited.clone())));
        assert_eq!(waited.waiting_on(), Some(WaitingOn::Unknown));
        assert_eq!(current_task().unwrap().state(), TaskState::Running);
        assert_eq!(current_task().unwrap().waiting_on(), None);
    });
}

#[test]
fn name_is_given_numbered_or_changed() {
    testing::run(async {
        let plain = spawn(async {});
        assert_eq!(plain.name(), format!("Task-{}", plain.id()));
        plain.set_name("renamed");
        assert_eq!(plain.name(), "renamed");
        let named = Task::builder().name("given").spawn(async { current_task().unwrap().name() });
        assert!(format!("{named:?}").contains("name: \"given\""), "{named:?}");
        assert!(named.place().file().ends_with("task_basics.rs"));
        assert_eq!(named.await, "given");
    });
}

#[test]
fn callbacks_run_from_the_loop_in_the_order_added() {
    testing::run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let task = spawn(async {});
        for n in 0..3 {
            let order = Rc::clone(&order);
            task.add_done_callback(move |task| {
                assert!(task.done());
                order.borrow_mut().push(n);
            });
        }
        let taken_back = task.add_done_callback(|_| unreachable!("it was taken back"));
        assert!(task.remove_done_callback(taken_back));
        assert!(!task.remove_done_callback(taken_back));
        yield_now().await;
        assert!(order.borrow().is_empty(), "not inline");
        yield_now().await;
        assert_eq!(*order.borrow(), [0, 1, 2]);
        let late = Rc::clone(&order);
        task.add_done_callback(move |_| late.borrow_mut().push(9));
        assert_eq!(order.borrow().len(), 3);
        yield_now().await;
        assert_eq!(order.borrow().last(), Some(&9));
    });
}

#[test]
fn panicking_callback_is_reported_and_the_next_runs() {
    let seen = reports();
    testing::run(async {
        let task = spawn(async {});
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        task.add_done_callback(|_| panic!("callback"));
        task.add_done_callback(move |_| flag.set(true));
        task.await;
        yield_now().await;
        assert!(ran.get());
    });
    assert_eq!(seen.borrow().len(), 1);
    assert_eq!(seen.borrow()[0].0, ReportKind::CallbackPanicked);
}

#[test]
fn unretrieved_panic_is_reported_once() {
    let seen = reports();
    testing::run(async move {
        drop(Task::builder().name("doomed").spawn(async { panic!("unseen") }));
        let kept = spawn(async { panic!("kept") });
        yield_now().await;
        assert_eq!(seen.borrow().len(), 1);
        drop(kept);
        let seen = seen.borrow();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].0, ReportKind::NeverRetrieved);
        assert!(
            seen[0].1.starts_with("task 'doomed' spawned at ") && seen[0].1.ends_with("looked: unseen"),
            "{seen:?}"
        );
    });
}

#[test]
fn retrieved_failure_is_not_reported() {
    let seen = reports();
    testing::run(async {
        let looked_at = spawn(async { panic!("looked at") });
        yield_now().await;
        assert!(looked_at.result().is_err());
        drop(looked_at);
        assert!(spawn(async { panic!("joined") }).join().await.is_err());
        let tried = try_spawn(async { Err::<(), _>("tried") });
        assert_eq!(tried.await, Err("tried"));
    });
    assert!(seen.borrow().is_empty(), "{seen:?}");
}

#[test]
fn unretrieved_error_of_try_spawn_is_reported() {
    let seen = reports();
    testing::run(async {
        drop(try_spawn(async { Err::<(), _>("lost") }));
        drop(try_spawn(async { Ok::<_, &str>(()) }));
        yield_now().await;
    });
    assert_eq!(seen.borrow().len(), 1);
    assert!(seen.borrow()[0].1.ends_with("failed and nobody looked: \"lost\""), "{seen:?}");
}

#[test]
fn task_that_never_awaits_is_reported_with_name_and_duration() {
    let seen = reports();
    aioxide::set_slow_callback_duration(Duration::from_millis(20));
    aioxide::run(async {
        let hog = Task::builder().name("hog").spawn(async {
            let start = aioxide::time::Instant::now();
            while start.elapsed() < Duration::from_millis(60) {
                std::hint::black_box(());
            }
        });
        hog.await;
        spawn(async {}).await;
    })
    .unwrap();
    aioxide::set_slow_callback_duration(aioxide::DEFAULT_SLOW_CALLBACK_DURATION);
    let seen = seen.borrow();
    let hogs: Vec<_> = seen.iter().filter(|(_, text)| text.starts_with("task 'hog'")).collect();
    assert_eq!(hogs.len(), 1, "{seen:?}");
    let ReportKind::SlowCallback(took) = hogs[0].0 else { panic!("{hogs:?}") };
    assert!(took >= Duration::from_millis(40), "{took:?}");
}

#[test]
fn context_is_copied_at_the_spawn() {
    static DEPTH: ContextVar<u32> = ContextVar::new("depth");
    testing::run(async {
        DEPTH.set(1);
        let child = spawn(async {
            yield_now().await;
            let inherited = DEPTH.get();
            DEPTH.set(5);
            inherited
        });
        DEPTH.set(2);
        assert_eq!(child.await, Some(1));
        let token = DEPTH.replace(3);
        let mut copy = aioxide::Context::current();
        DEPTH.reset(token);
        assert_eq!(DEPTH.get(), Some(2));
        assert_eq!(copy.run(|| DEPTH.get()), Some(3));
        let given = Task::builder().context(copy).spawn(async { DEPTH.get() });
        assert_eq!(given.await, Some(3));
    });
    assert_eq!(DEPTH.get(), None);
}

#[test]
fn ready_tasks_run_in_the_order_in_which_they_became_ready() {
    testing::run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|n| {
                let order = Rc::clone(&order);
                spawn(async move {
                    for round in 0..2 {
                        order.borrow_mut().push((round, n));
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    });
}

#[test]
fn output_and_future_are_dropped_however_a_task_ends() {
    let counted = Rc::new(());
    let runtime = Runtime::new().unwrap();
    let hold = |held: &Rc<()>| Rc::clone(held);
    let (a, b, c, d) = (hold(&counted), hold(&counted), hold(&counted), hold(&counted));
    runtime
        .block_on(async move {
            drop(spawn(async move { a }));
            let cancelled = spawn(async move {
                let _held = b;
                pending::<()>().await;
            });
            drop(spawn(async move {
                let _held = c;
                pending::<()>().await;
            }));
            yield_now().await;
            cancelled.cancel();
            yield_now().await;
        })
        .unwrap();
    assert_eq!(Rc::strong_count(&counted), 3, "the task that waits for ever, and ours");
    let left_over = runtime.spawn(async move { d });
    runtime.close();
    assert_eq!(Rc::strong_count(&counted), 1);
    assert!(left_over.cancelled());
}

#[test]
fn waker_that_outlives_its_task_does_nothing() {
    testing::run(async {
        let kept = Rc::new(RefCell::new(None));
        let keep = Rc::clone(&kept);
        spawn(std::future::poll_fn(move |cx| {
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }))
        .await;
        let waker = kept.take().unwrap();
        waker.wake_by_ref();
        yield_now().await;
        waker.wake();
    });
}

//! The loop itself: running, stopping, closing, calls, other threads, time.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, pending};
use std::rc::Rc;
use std::time::Duration;

use aioxide::time::{Instant, MissedTicks, interval, sleep, sleep_until};
use aioxide::{
    Future, Handle, ReportKind, ResultError, Runtime, Shutdown, spawn, testing, to_thread, yield_now,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn run_returns_what_the_future_returned() {
    assert_eq!(aioxide::run(async { 42 }).unwrap(), 42);
}

#[test]
#[should_panic(expected = "the main task")]
fn panic_of_the_main_task_comes_out_of_run() {
    let _ = aioxide::run(async { panic!("the main task") });
}

#[test]
fn run_inside_a_running_loop_is_refused() {
    aioxide::run(async {
        assert!(aioxide::run(async {}).unwrap_err().is_running());
        assert!(Runtime::new().unwrap().block_on(async {}).unwrap_err().is_running());
    })
    .unwrap();
}

/// Runs a loop when it is dropped, and tells whether that was refused.
struct Late(std::sync::mpsc::Sender<bool>);

impl Drop for Late {
    fn drop(&mut self) {
        let refused = Runtime::new().is_ok_and(|runtime| {
            aioxide::run(async {}).is_err()
                && runtime.block_on(async {}).is_err()
                && runtime.run_forever().is_err()
        });
        let _ = self.0.send(refused);
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

#[test]
fn run_by_a_destructor_at_the_end_of_the_thread_is_refused() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(|| {
        // First here, so it is dropped last.
        LATE.with(|late| late.replace(Some(Late(sender))));
        aioxide::run(async {}).unwrap();
    });
    thread.join().unwrap();
    assert!(receiver.recv().unwrap());
}

#[test]
fn tasks_stay_where_they_are_between_runs() {
    let runtime = Runtime::builder().virtual_clock(true).build().unwrap();
    let steps = Rc::new(Cell::new(0));
    let count = Rc::clone(&steps);
    let task = runtime.spawn(async move {
        for _ in 0..3 {
            sleep(SECOND).await;
            count.set(count.get() + 1);
        }
    });
    runtime.block_on(async { sleep(SECOND * 3 / 2).await }).unwrap();
    assert_eq!((steps.get(), task.done()), (1, false));
    runtime.block_on(task).unwrap();
    assert_eq!(steps.get(), 3);
}

#[test]
fn stop_ends_run_forever_after_the_iteration() {
    let runtime = Runtime::new().unwrap();
    let order = Rc::new(RefCell::new(Vec::new()));
    let (first, second, stopper) = (Rc::clone(&order), Rc::clone(&order), runtime.clone());
    let handle = runtime.handle();
    handle.call_soon(move || {
        first.borrow_mut().push(1);
        stopper.stop();
    });
    handle.call_soon(move || second.borrow_mut().push(2));
    runtime.run_forever().unwrap();
    assert_eq!(*order.borrow(), [1, 2]);
    assert!(!runtime.is_running());
}

#[test]
fn loop_stopped_before_the_end_is_an_error() {
    let runtime = Runtime::new().unwrap();
    let stopper = runtime.clone();
    let error = runtime
        .block_on(async move {
            stopper.stop();
            pending::<()>().await;
        })
        .unwrap_err();
    assert!(error.is_stopped());
    assert_eq!(error.to_string(), "event loop stopped before the future completed");
}

#[test]
fn closed_loop_refuses_to_run_and_drops_what_it_held() {
    let held = Rc::new(());
    let runtime = Runtime::new().unwrap();
    let inside = Rc::clone(&held);
    runtime.handle().call_later(SECOND, move || drop(inside));
    assert_eq!(Rc::strong_count(&held), 2);
    runtime.close();
    runtime.close();
    assert_eq!(Rc::strong_count(&held), 1);
    assert!(runtime.is_closed());
    assert!(runtime.block_on(async {}).unwrap_err().is_closed());
    assert!(runtime.run_forever().unwrap_err().is_closed());
}

#[test]
fn calls_run_in_order_and_timers_by_deadline_then_by_call() {
    testing::run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let handle = Handle::current();
        let note = |n: u32| {
            let order = Rc::clone(&order);
            move || order.borrow_mut().push(n)
        };
        handle.call_later(2 * SECOND, note(5));
        handle.call_later(SECOND, note(3));
        handle.call_later(SECOND, note(4));
        handle.call_soon(note(1));
        handle.call_soon(note(2));
        sleep(3 * SECOND).await;
        assert_eq!(*order.borrow(), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn call_taken_back_is_dropped_at_once_and_never_made() {
    testing::run(async {
        let held = Rc::new(());
        let (soon, later) = (Rc::clone(&held), Rc::clone(&held));
        let handle = Handle::current();
        let calls = [
            handle.call_soon(move || unreachable!("{soon:?}")),
            handle.call_later(SECOND, move || unreachable!("{later:?}")),
        ];
        for call in &calls {
            call.cancel();
            assert!(call.cancelled());
        }
        assert_eq!(Rc::strong_count(&held), 1);
        sleep(2 * SECOND).await;
    });
}

#[test]
fn panicking_call_is_reported_and_the_loop_goes_on() {
    aioxide::set_slow_callback_duration(Duration::MAX);
    let kinds = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&kinds);
    aioxide::set_exception_handler(Some(Rc::new(move |report| {
        sink.borrow_mut().push(report.kind().clone())
    })));
    testing::run(async {
        Handle::current().call_soon(|| panic!("in a call"));
        sleep(SECOND).await;
    });
    assert_eq!(*kinds.borrow(), [ReportKind::NeverRetrieved]);
}

#[test]
fn calls_from_another_thread_keep_their_order() {
    aioxide::run(async {
        let remote = Handle::current().remote();
        let done = Future::new();
        let setter: Rc<RefCell<Vec<u32>>> = Rc::default();
        SEEN.with(|seen| *seen.borrow_mut() = Some((Rc::clone(&setter), done.clone())));
        let thread = std::thread::spawn(move || {
            for n in 0..100 {
                remote.call_soon(move || push(n)).unwrap();
            }
        });
        done.await;
        thread.join().unwrap();
        assert_eq!(*setter.borrow(), (0..100).collect::<Vec<_>>());
    })
    .unwrap();
}

type Seen = (Rc<RefCell<Vec<u32>>>, Future<()>);

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

fn push(n: u32) {
    let (numbers, done) = SEEN.with(|seen| seen.borrow().clone()).expect("set by the test");
    numbers.borrow_mut().push(n);
    if n == 99 {
        done.set_result(()).expect("the last number comes once");
    }
}

#[test]
fn call_to_a_closed_loop_comes_back() {
    let remote = aioxide::run(async {
        let remote = Handle::current().remote();
        yield_now().await;
        remote
    })
    .unwrap();
    assert_eq!(remote.call_soon(|| ()), Err(Shutdown));
}

#[test]
fn blocking_call_leaves_the_loop_free() {
    aioxide::run(async {
        let (sender, receiver) = std::sync::mpsc::channel();
        let call = spawn(to_thread(move || receiver.recv().unwrap()));
        yield_now().await;
        assert!(!call.done());
        sender.send(5).unwrap();
        assert_eq!(call.await.unwrap(), 5);
        let error = to_thread(|| panic!("on the thread")).await.unwrap_err();
        assert_eq!(error.to_string(), "task panicked: on the thread");
    })
    .unwrap();
}

#[test]
fn virtual_clock_stands_still_while_another_thread_works() {
    testing::run(async {
        let start = Instant::now();
        drop(spawn(sleep(3600 * SECOND)));
        to_thread(|| ()).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn sleeps_end_by_deadline_and_never_early() {
    testing::run(async {
        let start = Instant::now();
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [3, 1, 2, 1]
            .into_iter()
            .map(|seconds| {
                let order = Rc::clone(&order);
                spawn(async move {
                    sleep(seconds * SECOND).await;
                    order.borrow_mut().push((seconds, start.elapsed()));
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        let expected: Vec<_> = [1, 1, 2, 3].map(|seconds| (seconds, seconds * SECOND)).into();
        assert_eq!(*order.borrow(), expected);
        sleep_until(start).await;
        assert_eq!(start.elapsed(), 3 * SECOND);
    });
}

#[test]
fn real_sleep_takes_at_least_its_time() {
    aioxide::run(async {
        let start = Instant::now();
        sleep(Duration::from_millis(15)).await;
        assert!(start.elapsed() >= Duration::from_millis(15));
    })
    .unwrap();
}

#[test]
fn dropped_sleeps_leave_no_timers() {
    let runtime = Runtime::builder().virtual_clock(true).build().unwrap();
    runtime
        .block_on(async {
            for _ in 0..10_000 {
                let ended = aioxide::timeout(3600 * SECOND, yield_now()).await;
                assert!(ended.is_ok());
            }
        })
        .unwrap();
    assert!(format!("{runtime:?}").contains("timers: 0"), "{runtime:?}");
}

#[test]
fn interval_ticks_as_told_about_missed_ones() {
    #[track_caller]
    fn check(missed: MissedTicks, expected: [u64; 4]) {
        let seen = testing::run(async move {
            let start = Instant::now();
            let mut ticks = interval(10 * SECOND);
            ticks.set_missed_ticks(missed);
            ticks.tick().await;
            sleep(25 * SECOND).await;
            let mut seen = Vec::new();
            for _ in 0..4 {
                ticks.tick().await;
                seen.push(start.elapsed().as_secs());
            }
            seen
        });
        assert_eq!(seen, expected);
    }
    check(MissedTicks::Burst, [25, 25, 30, 40]);
    check(MissedTicks::Delay, [25, 35, 45, 55]);
    check(MissedTicks::Skip, [25, 30, 40, 50]);
}

#[test]
fn future_is_set_once_and_read_by_all() {
    testing::run(async {
        let other = Future::new();
        let readers: Vec<_> = (0..4).map(|_| spawn(other.clone())).collect();
        yield_now().await;
        other.set_result("set").unwrap();
        assert_eq!(other.set_result("again"), Err(ResultError::InvalidState));
        assert!(!other.cancel());
        for reader in readers {
            assert_eq!(reader.await, "set");
        }
        assert_eq!(other.result(), Ok("set"));
    });
}

#[test]
fn cancelled_future_tells_its_readers_why() {
    testing::run(async {
        let cell: Future<u8> = Future::new();
        let reader = spawn(cell.clone());
        yield_now().await;
        assert!(cell.cancel_with("no more"));
        assert_eq!(reader.join().await.unwrap_err().to_string(), "task cancelled: no more");
        assert!(matches!(cell.result(), Err(ResultError::Cancelled(_))));
        assert!(cell.set_result(1).is_err());
    });
}

#[test]
fn future_of_a_value_that_is_not_clone_is_taken() {
    struct Plain(u8);
    testing::run(async {
        let cell = Future::new();
        let setter = cell.clone();
        drop(spawn(async move { setter.set_result(Plain(3)).map_err(drop).unwrap() }));
        assert_eq!(cell.take().await.0, 3);
    });
}

#[test]
fn future_callbacks_run_from_the_loop() {
    testing::run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let cell: Future<u8> = Future::new();
        for n in 0..2 {
            let order = Rc::clone(&order);
            cell.add_done_callback(move |cell| order.borrow_mut().push((n, cell.result().unwrap())));
        }
        cell.set_result(7).unwrap();
        assert!(order.borrow().is_empty());
        yield_now().await;
        assert_eq!(*order.borrow(), [(0, 7), (1, 7)]);
    });
}

#[test]
fn error_set_on_a_future_and_never_looked_at_is_reported() {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&reports);
    aioxide::set_exception_handler(Some(Rc::new(move |report| sink.borrow_mut().push(report.to_string()))));
    let [lost, seen] = [(); 2].map(|()| Future::<Result<(), &str>>::new());
    lost.set_exception("lost").unwrap();
    seen.set_exception("seen").unwrap();
    assert_eq!(seen.result(), Ok(Err("seen")));
    drop((lost, seen));
    assert_eq!(reports.borrow().len(), 1);
    assert!(reports.borrow()[0].starts_with("future failed and nobody looked: \"lost\""), "{reports:?}");
}

#[test]
fn socket_that_is_polled_where_no_loop_runs_says_so() {
    let runtime = Runtime::new().unwrap();
    let (one, _other) = runtime.block_on(async { aioxide::net::UnixStream::pair().unwrap() }).unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut readable = Box::pin(async move { one.readable().await });
    let std::task::Poll::Ready(Err(error)) = readable.as_mut().poll(&mut context) else {
        panic!("it waits for nobody");
    };
    assert!(error.to_string().contains("no event loop is running"), "{error}");
    runtime.close();
}

//! The loop's mechanisms one by one, each beside tokio's `current_thread` with a `LocalSet` in the same run.
//!
//! `cargo bench -p aioxide --bench loop_mechanisms`. Every iteration does [`ROUNDS`] of the operation named, inside one
//! `block_on`, so that entering the loop is not what is measured. `PROFILE=<mechanism>/<side>` runs one of them 200 times
//! and ends, for callgrind.

#![expect(clippy::unwrap_used, reason = "a failure ends the bench")]

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::Duration;

use aioxide::{Runtime, gather};
use criterion::{BenchmarkId, Criterion, Throughput};

const ROUNDS: u64 = 1_000;
const MANY: u64 = 10_000;

/// One mechanism on one side: a closure that does it so many times.
struct Case {
    mechanism: &'static str,
    side: &'static str,
    count: u64,
    run: Box<dyn FnMut()>,
}

fn tokio_runtime() -> (tokio::runtime::Runtime, tokio::task::LocalSet) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    (runtime, tokio::task::LocalSet::new())
}

fn ours<F: Future<Output = ()> + 'static>(mechanism: &'static str, count: u64, make: fn() -> F) -> Case {
    let runtime = Runtime::new().unwrap();
    Case { mechanism, side: "aioxide", count, run: Box::new(move || runtime.block_on(make()).unwrap()) }
}

fn theirs<F: Future<Output = ()> + 'static>(mechanism: &'static str, count: u64, make: fn() -> F) -> Case {
    let (runtime, local) = tokio_runtime();
    // As a task of the set, so that both sides run tasks and not the root future.
    let run = move || local.block_on(&runtime, async { tokio::task::spawn_local(make()).await.unwrap() });
    Case { mechanism, side: "tokio", count, run: Box::new(run) }
}

fn cases() -> Vec<Case> {
    vec![
        ours("spawn_join", ROUNDS, || async {
            for n in 0..ROUNDS {
                black_box(aioxide::spawn(async move { n }).await);
            }
        }),
        theirs("spawn_join", ROUNDS, || async {
            for n in 0..ROUNDS {
                black_box(tokio::task::spawn_local(async move { n }).await.unwrap());
            }
        }),
        ours("yield", ROUNDS, || async {
            for _ in 0..ROUNDS {
                aioxide::yield_now().await;
            }
        }),
        theirs("yield", ROUNDS, || async {
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
        }),
        ours("ping_pong", ROUNDS, our_ping_pong),
        theirs("ping_pong", ROUNDS, their_ping_pong),
        ours("gather", MANY, || async {
            let all = gather((0..MANY).map(|n| async move { Ok::<_, ()>(n) })).await.unwrap();
            black_box(all);
        }),
        theirs("gather", MANY, || async {
            let mut set = tokio::task::JoinSet::new();
            for n in 0..MANY {
                set.spawn_local(async move { (n, n) });
            }
            let mut all = vec![0; MANY as usize];
            while let Some(ended) = set.join_next().await {
                let (at, value) = ended.unwrap();
                all[at as usize] = value;
            }
            black_box(all);
        }),
        theirs("gather", MANY, || async {
            let tasks: Vec<_> = (0..MANY).map(|n| tokio::task::spawn_local(async move { n })).collect();
            black_box(futures_util::future::join_all(tasks).await);
        })
        .named("tokio_join_all"),
        ours("timer_set_cancel", ROUNDS, || async {
            for _ in 0..ROUNDS {
                poll_once(aioxide::time::sleep(Duration::from_secs(60))).await;
            }
        }),
        theirs("timer_set_cancel", ROUNDS, || async {
            for _ in 0..ROUNDS {
                poll_once(tokio::time::sleep(Duration::from_secs(60))).await;
            }
        }),
        ours("timeout_ready", ROUNDS, || async {
            for _ in 0..ROUNDS {
                aioxide::timeout(Duration::from_secs(60), aioxide::yield_now()).await.unwrap();
            }
        }),
        theirs("timeout_ready", ROUNDS, || async {
            for _ in 0..ROUNDS {
                tokio::time::timeout(Duration::from_secs(60), tokio::task::yield_now()).await.unwrap();
            }
        }),
        ours("wake_from_thread", ROUNDS, wake_from_thread),
        theirs("wake_from_thread", ROUNDS, wake_from_thread),
    ]
}

impl Case {
    fn named(mut self, side: &'static str) -> Self {
        self.side = side;
        self
    }
}

/// Two tasks hand a value to and fro, each time through a new cell.
async fn our_ping_pong() {
    use std::rc::Rc;
    let there = Rc::new(std::cell::RefCell::new(aioxide::Future::<u64>::new()));
    let back = Rc::new(std::cell::RefCell::new(aioxide::Future::<u64>::new()));
    let (their_there, their_back) = (Rc::clone(&there), Rc::clone(&back));
    let other = aioxide::spawn(async move {
        for _ in 0..ROUNDS {
            let ask = their_there.borrow().clone();
            let value = ask.await;
            let answer = their_back.replace(aioxide::Future::new());
            *their_there.borrow_mut() = aioxide::Future::new();
            answer.set_result(value + 1).unwrap();
        }
    });
    for n in 0..ROUNDS {
        let answer = back.borrow().clone();
        let ask = there.borrow().clone();
        ask.set_result(n).unwrap();
        black_box(answer.await);
    }
    other.await;
}

async fn their_ping_pong() {
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::sync::oneshot::{self, Receiver, Sender};
    type Ends = (RefCell<Option<Sender<u64>>>, RefCell<Option<Receiver<u64>>>);
    fn ends() -> Rc<Ends> {
        let (sender, receiver) = oneshot::channel();
        Rc::new((RefCell::new(Some(sender)), RefCell::new(Some(receiver))))
    }
    fn renew(ends: &Ends) {
        let (sender, receiver) = oneshot::channel();
        *ends.0.borrow_mut() = Some(sender);
        *ends.1.borrow_mut() = Some(receiver);
    }
    let (there, back) = (ends(), ends());
    let (their_there, their_back) = (Rc::clone(&there), Rc::clone(&back));
    let other = tokio::task::spawn_local(async move {
        for _ in 0..ROUNDS {
            let ask = their_there.1.borrow_mut().take().unwrap();
            let value = ask.await.unwrap();
            let answer = their_back.0.borrow_mut().take().unwrap();
            renew(&their_back);
            renew(&their_there);
            answer.send(value + 1).unwrap();
        }
    });
    for n in 0..ROUNDS {
        let answer = back.1.borrow_mut().take().unwrap();
        let ask = there.0.borrow_mut().take().unwrap();
        ask.send(n).unwrap();
        black_box(answer.await.unwrap());
    }
    other.await.unwrap();
}

async fn poll_once<F: Future>(future: F) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        black_box(future.as_mut().poll(cx).is_ready());
        Poll::Ready(())
    })
    .await;
}

/// Gives its waker to another thread, which wakes it at once; the same future on both sides.
async fn wake_from_thread() {
    let (sender, receiver) = mpsc::channel::<Waker>();
    let thread = std::thread::spawn(move || {
        for waker in receiver {
            waker.wake();
        }
    });
    for _ in 0..ROUNDS {
        let mut asked = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            sender.send(cx.waker().clone()).unwrap();
            Poll::Pending
        })
        .await;
    }
    drop(sender);
    thread.join().unwrap();
}

fn main() {
    if let Ok(wanted) = std::env::var("PROFILE") {
        for mut case in cases() {
            if format!("{}/{}", case.mechanism, case.side) == wanted {
                (0..200).for_each(|_| (case.run)());
            }
        }
        return;
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for mut case in cases() {
        let mut group = criterion.benchmark_group(case.mechanism);
        group.throughput(Throughput::Elements(case.count));
        group.bench_function(BenchmarkId::from_parameter(case.side), |bencher| bencher.iter(&mut case.run));
        group.finish();
    }
    criterion.final_summary();
}

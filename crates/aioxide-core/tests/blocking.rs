//! What happens off the loop's thread: posts, the pool, the resolver, signals, children.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use aioxide_core::children::ChildExit;
use aioxide_core::pool::{Pool, Turn};
use aioxide_core::resolver::resolve;
use aioxide_core::signals::{SIGCHLD, SIGUSR1, SignalListener};
use aioxide_core::sys::send_signal;
use support::{Fired, Posted, block_on, call, iterate, new_loop};

#[test]
fn posts_of_one_thread_stay_in_order_and_none_is_lost() {
    const THREADS: usize = 4;
    const POSTS: usize = 2000;
    let event_loop = new_loop();
    let seen: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (remote, seen) = (event_loop.remote(), Arc::clone(&seen));
            std::thread::spawn(move || {
                for post in 0..POSTS {
                    let seen = Arc::clone(&seen);
                    remote
                        .post(Posted::Call(Box::new(move || seen.lock().unwrap().push((thread, post)))))
                        .unwrap();
                }
            })
        })
        .collect();
    while seen.lock().unwrap().len() < THREADS * POSTS {
        iterate(&event_loop);
    }
    for thread in 0..THREADS {
        let posts: Vec<_> =
            seen.lock().unwrap().iter().filter(|seen| seen.0 == thread).map(|seen| seen.1).collect();
        assert!(posts.len() == POSTS && posts.is_sorted());
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    event_loop.close();
}

/// How often the loop's wake-up was written to: what its eventfd counts.
fn wakeups(event_loop: &support::Loop) -> u64 {
    let selector = event_loop.reactor().selector_fd();
    let watched = std::fs::read_to_string(format!("/proc/self/fdinfo/{selector}")).unwrap();
    let wakeup: RawFd = watched
        .lines()
        .find_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok())
        .unwrap();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{wakeup}")).unwrap();
    let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).unwrap();
    u64::from_str_radix(count.trim(), 16).unwrap()
}

#[test]
fn posts_to_a_loop_that_is_awake_cost_no_wakeup() {
    let event_loop = new_loop();
    for _ in 0..1000 {
        event_loop.remote().post(Posted::Call(Box::new(|| ()))).unwrap();
    }
    assert_eq!(wakeups(&event_loop), 0);
    iterate(&event_loop);
    assert_eq!(event_loop.ready_len(), 0);
    event_loop.close();
}

#[test]
fn many_posts_to_a_loop_that_waits_cost_one_wakeup() {
    let event_loop = new_loop();
    let remote = event_loop.remote();
    let (asleep, woken) = channel::<()>();
    let (done, all_posted) = channel::<()>();
    let thread = std::thread::spawn(move || {
        woken.recv().unwrap();
        for _ in 0..1000 {
            remote.post(Posted::Call(Box::new(|| ()))).unwrap();
        }
        done.send(()).unwrap();
    });
    asleep.send(()).unwrap();
    let (mut ran, mut waits) = (0, 0);
    let _entered = event_loop.enter();
    while ran < 1000 {
        waits += 1;
        event_loop.poll(&mut Fired::default()).unwrap();
        ran += event_loop.ready_len();
        let _ = event_loop.run_batch(&mut Fired::default());
    }
    all_posted.recv().unwrap();
    thread.join().unwrap();
    // One at most for each time that the loop went to sleep, however many posts came meanwhile.
    assert!(wakeups(&event_loop) <= waits, "{} for {waits} waits", wakeups(&event_loop));
    event_loop.close();
}

#[test]
fn post_to_a_closed_loop_comes_back() {
    let event_loop = new_loop();
    let remote = event_loop.remote();
    remote.post(Posted::Call(Box::new(|| panic!("run after the close")))).unwrap();
    event_loop.close();
    let error = remote.post(Posted::Call(Box::new(|| ()))).unwrap_err();
    assert_eq!(error.to_string(), "event loop is closed");
    drop(event_loop);
    remote.wake();
}

#[test]
fn remote_wake_ends_a_wait() {
    let event_loop = new_loop();
    let remote = event_loop.remote();
    let thread = std::thread::spawn(move || remote.wake());
    iterate(&event_loop);
    thread.join().unwrap();
    event_loop.close();
}

#[test]
fn pool_runs_calls_and_tells_of_panics() {
    static POOL: Pool = Pool::new("test-pool", 2);
    let event_loop = new_loop();
    let sum = block_on(&event_loop, async {
        let calls: Vec<_> = (0..50u32).map(|number| POOL.run(move || number)).collect();
        let mut sum = 0;
        for call in calls {
            sum += call.await.unwrap();
        }
        sum
    });
    assert_eq!(sum, (0..50).sum());
    let failed = block_on(&event_loop, POOL.run(|| -> u8 { panic!("on purpose") }));
    assert_eq!(failed.unwrap_err().panic_message(), Some("on purpose"));
    let name = block_on(&event_loop, POOL.run(|| std::thread::current().name().map(str::to_owned)));
    assert_eq!(name.unwrap().as_deref(), Some("test-pool"));
    event_loop.close();
}

#[test]
fn pool_starts_no_more_threads_than_it_may() {
    static POOL: Pool = Pool::new("test-limit", 3);
    let event_loop = new_loop();
    let running = Arc::new(Mutex::new((0, 0)));
    let (gate, open) = channel::<()>();
    let open = Arc::new(Mutex::new(open));
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let (running, open) = (Arc::clone(&running), Arc::clone(&open));
            POOL.run(move || {
                {
                    let mut running = running.lock().unwrap();
                    running.0 += 1;
                    running.1 = running.1.max(running.0);
                }
                open.lock().unwrap().recv().unwrap();
                running.lock().unwrap().0 -= 1;
            })
        })
        .collect();
    (0..12).for_each(|_| gate.send(()).unwrap());
    block_on(&event_loop, async move {
        for call in calls {
            call.await.unwrap();
        }
    });
    let most = running.lock().unwrap().1;
    assert!((1..=3).contains(&most), "{most}");
    event_loop.close();
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn turns_come_in_order_and_one_that_is_given_up_goes_to_the_next() {
    static POOL: Pool = Pool::new("test-turns", 1);
    let event_loop = new_loop();
    let poll = |turn: &mut Pin<Box<Turn>>, woken: &Arc<Woken>| {
        turn.as_mut().poll(&mut Context::from_waker(&Arc::clone(woken).into())).is_ready()
    };
    let woken: [Arc<Woken>; 4] = Default::default();
    let mut turns = woken.each_ref().map(|_| Some(Box::pin(POOL.turn())));
    let counts = || woken.each_ref().map(|woken| woken.0.load(Ordering::SeqCst));
    assert!(poll(&mut Box::pin(POOL.turn()), &woken[0]), "nobody is before it");
    let (gate, open) = channel::<()>();
    let open = Arc::new(Mutex::new(open));
    let busy = || {
        let open = Arc::clone(&open);
        POOL.run(move || open.lock().unwrap().recv().unwrap())
    };
    let free = || {
        gate.send(()).unwrap();
        while !POOL.has_room() {
            std::thread::yield_now();
        }
    };
    // Of the thread: it wakes after it has said that it is free.
    let wait_for = |expected| {
        while counts() != expected {
            std::thread::yield_now();
        }
    };
    let first = busy();
    for (turn, woken) in turns.iter_mut().flatten().zip(&woken) {
        assert!(!poll(turn, woken));
    }
    turns[0] = None;
    free();
    wait_for([0, 1, 0, 0]);
    // Woken, and given up.
    turns[1] = None;
    assert_eq!(counts(), [0, 1, 1, 0]);
    assert!(poll(turns[2].as_mut().unwrap(), &woken[2]));
    assert_eq!(counts(), [0, 1, 1, 1], "there may be room for another one");
    let second = busy();
    assert!(!poll(turns[3].as_mut().unwrap(), &woken[3]), "there is none");
    free();
    wait_for([0, 1, 1, 2]);
    assert!(poll(turns[3].as_mut().unwrap(), &woken[3]));
    block_on(&event_loop, async move { drop((first.await, second.await)) });
    event_loop.close();
}

#[test]
fn queued_call_whose_future_is_dropped_never_begins() {
    static POOL: Pool = Pool::new("test-drop", 1);
    let event_loop = new_loop();
    let (gate, open) = channel::<()>();
    let first = POOL.run(move || open.recv().unwrap());
    let begun = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&begun);
    let second = POOL.run(move || *seen.lock().unwrap() = true);
    let third = POOL.run(|| 3);
    drop(second);
    gate.send(()).unwrap();
    let third = block_on(&event_loop, async move {
        first.await.unwrap();
        third.await.unwrap()
    });
    assert_eq!((third, *begun.lock().unwrap()), (3, false));
    event_loop.close();
}

#[test]
fn numbers_are_resolved_at_once_and_names_by_the_system() {
    let event_loop = new_loop();
    let mut number = Box::pin(resolve("::1", 5));
    let polled = number.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(addrs)) = polled else { panic!("a number needs no thread") };
    assert_eq!(addrs, [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5))]);
    let addrs = block_on(&event_loop, resolve("localhost", 80)).unwrap();
    assert!(!addrs.is_empty() && addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 80));
    // Too long a label: no name server is asked.
    assert!(block_on(&event_loop, async { resolve(&"x".repeat(64), 80).await }).is_err());
    event_loop.close();
}

fn poll_once<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> bool {
    poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn each_listener_sees_a_signal_once_however_often_it_came() {
    let event_loop = new_loop();
    let witness = SignalListener::new(event_loop.reactor(), SIGUSR1).unwrap();
    let listeners: Vec<_> =
        (0..2).map(|_| SignalListener::new(event_loop.reactor(), SIGUSR1).unwrap()).collect();
    assert!(!listeners.iter().any(|listener| poll_once(|cx| listener.poll_arrived(cx))));
    // Any thread may be the one that the kernel chooses, so each arrival is waited for.
    let witness = block_on(&event_loop, async move {
        for _ in 0..3 {
            send_signal(std::process::id(), SIGUSR1).unwrap();
            poll_fn(|cx| witness.poll_arrived(cx)).await;
        }
        witness
    });
    support::keep(witness);
    block_on(&event_loop, async move {
        for listener in &listeners {
            poll_fn(|cx| listener.poll_arrived(cx)).await;
        }
        listeners
    })
    .iter()
    .for_each(|listener| assert!(!poll_once(|cx| listener.poll_arrived(cx))));
    event_loop.close();
}

#[test]
fn signal_that_cannot_be_caught_is_refused() {
    let event_loop = new_loop();
    for number in [-1, 0, 9, 11, 19, 65, i32::MAX] {
        assert!(SignalListener::new(event_loop.reactor(), number).is_err(), "{number}");
    }
    assert_eq!(event_loop.reactor().watched(), 0);
    event_loop.close();
}

/// The disposition from before comes back with the last listener: the flags of the process tell.
#[test]
fn last_listener_puts_the_old_disposition_back() {
    fn is_caught() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << (SIGCHLD - 1) != 0
    }
    let event_loop = new_loop();
    assert!(!is_caught());
    let one = SignalListener::new(event_loop.reactor(), SIGCHLD).unwrap();
    let other = SignalListener::new(event_loop.reactor(), SIGCHLD).unwrap();
    drop(one);
    assert!(is_caught());
    drop(other);
    assert!(!is_caught());
    event_loop.close();
}

#[test]
fn end_of_a_child_is_told_and_left_to_be_reaped() {
    let event_loop = new_loop();
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let exit = ChildExit::new(event_loop.reactor(), child.id()).unwrap();
    assert!(!poll_once(|cx| exit.poll_exited(cx)));
    let stdin = child.stdin.take();
    let told = Rc::new(Cell::new(false));
    let seen = Rc::clone(&told);
    event_loop.call_soon(call(move || {
        assert!(!seen.get());
        drop(stdin);
    }));
    block_on(&event_loop, async move { poll_fn(|cx| exit.poll_exited(cx)).await });
    told.set(true);
    assert!(child.try_wait().unwrap().unwrap().success());
    assert_eq!(event_loop.reactor().watched(), 0);
    assert!(ChildExit::new(event_loop.reactor(), child.id()).is_err(), "it was reaped");
    event_loop.close();
}

/// A future that is dropped by the loop's close while its thread is at work.
#[test]
fn close_does_not_wait_for_threads() {
    static POOL: Pool = Pool::new("test-close", 1);
    let event_loop = new_loop();
    let (gate, open) = channel::<()>();
    let (began, begun) = channel::<()>();
    let work = move || {
        began.send(()).unwrap();
        open.recv().unwrap();
    };
    let mut running: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
        POOL.run(work).await.unwrap();
    });
    let task = aioxide_core::spawn(&*event_loop, poll_fn(move |cx| running.as_mut().poll(cx)), ());
    event_loop.call_soon(call(|| ()));
    iterate(&event_loop);
    // Work that no thread has begun is dropped with its future.
    begun.recv().unwrap();
    event_loop.close();
    assert!(task.task().is_complete());
    gate.send(()).unwrap();
    assert_eq!(event_loop.reactor().selector_fd(), -1, "a closed loop has no descriptors");
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the destructor");
    }
}

/// What nobody waits for any more is dropped on the pool's thread: a result, or a call that is not made.
#[test]
fn destructors_that_panic_leave_the_pool_its_threads() {
    static POOL: Pool = Pool::new("test-bombs", 1);
    let event_loop = new_loop();
    for _ in 0..4 {
        let (gate, open) = channel::<()>();
        let (began, begun) = channel::<()>();
        let result = POOL.run(move || {
            began.send(()).unwrap();
            open.recv().unwrap();
            Bomb
        });
        begun.recv().unwrap();
        let bomb = Bomb;
        drop(POOL.run(move || std::mem::forget(bomb)));
        drop(result);
        gate.send(()).unwrap();
    }
    assert_eq!(block_on(&event_loop, async { POOL.run(|| 7).await.unwrap() }), 7);
    event_loop.close();
}

#[test]
fn result_that_nobody_wants_may_panic_in_its_destructor() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    struct Told(Mutex<std::sync::mpsc::Sender<()>>);
    impl std::task::Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }
    static POOL: Pool = Pool::new("unwanted", 1);
    let (go, begin) = channel::<()>();
    let (told, ended) = channel();
    let mut blocking = POOL.run(move || {
        begin.recv().unwrap();
        Bomb
    });
    let waker = Waker::from(Arc::new(Told(Mutex::new(told))));
    assert!(Pin::new(&mut blocking).poll(&mut Context::from_waker(&waker)).is_pending());
    go.send(()).unwrap();
    ended.recv().unwrap();
    drop(blocking);
}

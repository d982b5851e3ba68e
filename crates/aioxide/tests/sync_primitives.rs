//! Locks, events and the like: fairness, and what is left behind by a waiter that goes away.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;

use aioxide::sync::{
    Barrier, BoundedSemaphore, BrokenBarrier, Condition, Event, LifoQueue, Lock, Mutex, OverReleased,
    PriorityQueue, Queue, QueueEmpty, QueueFull, QueueShutDown, Semaphore, TooManyDone,
};
use aioxide::time::{Instant, sleep, timeout};
use aioxide::{Task, WaitingOn, spawn, testing, yield_now};

const SECOND: Duration = Duration::from_secs(1);

async fn turns(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Starts tasks that each wait with `wait` and then write their number down.
fn waiters<F: Future<Output = ()> + 'static>(
    count: u32,
    log: &Rc<RefCell<Vec<u32>>>,
    wait: impl Fn(u32) -> F,
) -> Vec<Task<()>> {
    (0..count)
        .map(|n| {
            let (log, waiting) = (Rc::clone(log), wait(n));
            spawn(async move {
                waiting.await;
                log.borrow_mut().push(n);
            })
        })
        .collect()
}

#[test]
fn lock_goes_to_those_that_wait_in_their_order() {
    testing::run(async {
        let lock = Rc::new(Lock::new(()));
        let log = Rc::default();
        let held = lock.lock().await;
        let tasks = waiters(3, &log, |_| {
            let lock = Rc::clone(&lock);
            async move {
                let _guard = lock.lock().await;
                yield_now().await;
            }
        });
        turns(2).await;
        assert_eq!(tasks[1].waiting_on(), Some(WaitingOn::Operation("Mutex::lock")));
        drop(held);
        assert!(lock.try_lock().is_none(), "it belongs to the first that waits");
        for task in tasks {
            task.await;
        }
        assert_eq!(*log.borrow(), [0, 1, 2]);
        assert!(!lock.is_locked());
    });
}

#[test]
fn cancelled_waiter_gives_its_place_up() {
    testing::run(async {
        let lock = Rc::new(Lock::new(()));
        let log = Rc::default();
        let held = lock.lock().await;
        let tasks = waiters(3, &log, |_| {
            let lock = Rc::clone(&lock);
            async move { drop(lock.lock().await) }
        });
        turns(2).await;
        tasks[0].cancel();
        turns(2).await;
        drop(held);
        turns(4).await;
        assert_eq!(*log.borrow(), [1, 2]);
        assert!(!lock.is_locked());
    });
}

#[test]
fn lock_handed_to_a_waiter_that_is_cancelled_goes_to_the_next() {
    testing::run(async {
        let lock = Rc::new(Lock::new(()));
        let log = Rc::default();
        let held = lock.lock().await;
        let tasks = waiters(2, &log, |_| {
            let lock = Rc::clone(&lock);
            async move { drop(lock.lock().await) }
        });
        turns(2).await;
        drop(held);
        tasks[0].cancel();
        turns(4).await;
        assert_eq!(*log.borrow(), [1]);
        assert!(!lock.is_locked());
    });
}

#[test]
fn mutex_protects_its_value_across_awaits() {
    testing::run(async {
        let mutex = Rc::new(Mutex::new(0));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let mutex = Rc::clone(&mutex);
                spawn(async move {
                    let mut value = mutex.lock().await;
                    let before = *value;
                    yield_now().await;
                    *value = before + 1;
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*mutex.try_lock().unwrap(), 10);
    });
}

#[test]
fn event_wakes_all_even_if_cleared_at_once() {
    testing::run(async {
        let event = Rc::new(Event::new());
        let log = Rc::default();
        let _tasks = waiters(3, &log, |_| {
            let event = Rc::clone(&event);
            async move { event.wait().await }
        });
        turns(2).await;
        event.set();
        event.clear();
        turns(2).await;
        assert_eq!(*log.borrow(), [0, 1, 2]);
        assert!(timeout(SECOND, async move { event.wait().await }).await.is_err());
    });
}

#[test]
fn condition_notifies_as_many_as_asked_in_order() {
    testing::run(async {
        let shared = Rc::new((Mutex::new(()), Condition::new()));
        let log = Rc::default();
        let _tasks = waiters(4, &log, |_| {
            let shared = Rc::clone(&shared);
            async move {
                let guard = shared.0.lock().await;
                let _guard = shared.1.wait(guard).await;
            }
        });
        turns(6).await;
        assert!(!shared.0.is_locked(), "given up while waiting");
        shared.1.notify(2);
        turns(6).await;
        assert_eq!(*log.borrow(), [0, 1]);
        shared.1.notify_all();
        turns(6).await;
        assert_eq!(*log.borrow(), [0, 1, 2, 3]);
    });
}

#[test]
fn notification_of_a_waiter_that_is_cancelled_goes_to_the_next() {
    testing::run(async {
        let shared = Rc::new((Mutex::new(()), Condition::new()));
        let log = Rc::default();
        let tasks = waiters(2, &log, |_| {
            let shared = Rc::clone(&shared);
            async move {
                let guard = shared.0.lock().await;
                let _guard = shared.1.wait(guard).await;
            }
        });
        turns(4).await;
        shared.1.notify(1);
        tasks[0].cancel();
        turns(6).await;
        assert_eq!(*log.borrow(), [1]);
    });
}

#[test]
fn semaphore_serves_in_order_and_loses_no_permit() {
    testing::run(async {
        let semaphore = Rc::new(Semaphore::new(2));
        let log = Rc::default();
        let start = Instant::now();
        let tasks = waiters(6, &log, |_| {
            let semaphore = Rc::clone(&semaphore);
            async move {
                let _permit = semaphore.acquire().await;
                sleep(SECOND).await;
            }
        });
        turns(2).await;
        assert!(semaphore.is_exhausted() && semaphore.try_acquire().is_none());
        tasks[2].cancel();
        for task in tasks {
            let _ = task.join().await;
        }
        assert_eq!(*log.borrow(), [0, 1, 3, 4, 5]);
        assert_eq!((semaphore.available(), start.elapsed()), (2, 3 * SECOND));
    });
}

#[test]
fn bounded_semaphore_refuses_a_permit_too_many() {
    testing::run(async {
        let semaphore = BoundedSemaphore::new(1);
        assert_eq!(semaphore.release(), Err(OverReleased));
        semaphore.acquire().await.forget();
        assert_eq!(semaphore.available(), 0);
        assert_eq!(semaphore.release(), Ok(()));
    });
}

#[test]
fn barrier_lets_each_round_pass_together() {
    testing::run(async {
        let barrier = Rc::new(Barrier::new(3));
        let join = |barrier: &Rc<Barrier>| {
            let barrier = Rc::clone(barrier);
            spawn(async move { barrier.wait().await })
        };
        for _ in 0..2 {
            let tasks = [join(&barrier), join(&barrier)];
            turns(2).await;
            assert_eq!((barrier.n_waiting(), tasks[0].done()), (2, false));
            assert_eq!(barrier.wait().await, Ok(2));
            for (at, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await, Ok(at));
            }
            assert_eq!(barrier.n_waiting(), 0);
        }
    });
}

#[test]
fn cancelled_waiter_does_not_count_at_the_barrier() {
    testing::run(async {
        let barrier = Rc::new(Barrier::new(2));
        let other = Rc::clone(&barrier);
        let task = spawn(async move { other.wait().await });
        turns(2).await;
        task.cancel();
        turns(2).await;
        assert_eq!(barrier.n_waiting(), 0);
        let late = Rc::clone(&barrier);
        assert!(timeout(SECOND, async move { late.wait().await }).await.is_err());
    });
}

#[test]
fn reset_and_abort_break_the_round() {
    testing::run(async {
        let barrier = Rc::new(Barrier::new(2));
        let join = |barrier: &Rc<Barrier>| {
            let barrier = Rc::clone(barrier);
            spawn(async move { barrier.wait().await })
        };
        let waiting = join(&barrier);
        turns(2).await;
        barrier.reset();
        assert_eq!(waiting.await, Err(BrokenBarrier));
        assert!(!barrier.is_broken());
        let waiting = join(&barrier);
        turns(2).await;
        barrier.abort();
        assert_eq!(waiting.await, Err(BrokenBarrier));
        assert_eq!(barrier.wait().await, Err(BrokenBarrier));
        barrier.reset();
        let pair = [join(&barrier), join(&barrier)];
        for task in pair {
            assert!(task.await.is_ok());
        }
    });
}

#[test]
fn queues_keep_their_orders() {
    testing::run(async {
        let (fifo, lifo, least) = (Queue::new(0), LifoQueue::new(0), PriorityQueue::new(0));
        for item in [2, 3, 1] {
            fifo.put(item).await.unwrap();
            lifo.put(item).await.unwrap();
            least.put(item).await.unwrap();
        }
        let mut orders = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            orders.0.push(fifo.get().await.unwrap());
            orders.1.push(lifo.get().await.unwrap());
            orders.2.push(least.get().await.unwrap());
        }
        assert_eq!(orders, (vec![2, 3, 1], vec![1, 3, 2], vec![1, 2, 3]));
        assert_eq!(fifo.try_get(), Err(QueueEmpty::Empty));
    });
}

#[test]
fn full_queue_makes_putters_wait_in_order() {
    testing::run(async {
        let queue = Rc::new(Queue::new(2));
        let log = Rc::default();
        let _tasks = waiters(5, &log, |n| {
            let queue = Rc::clone(&queue);
            async move { queue.put(n).await.unwrap() }
        });
        turns(2).await;
        assert_eq!((log.borrow().len(), queue.len(), queue.is_full()), (2, 2, true));
        assert_eq!(queue.try_put(9), Err(QueueFull::Full(9)));
        let mut got = Vec::new();
        for _ in 0..5 {
            got.push(queue.get().await.unwrap());
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
        turns(2).await;
        assert_eq!(*log.borrow(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn item_promised_to_a_getter_is_not_taken_by_a_later_one() {
    testing::run(async {
        let queue = Rc::new(Queue::new(0));
        let waiting = Rc::clone(&queue);
        let getter = spawn(async move { waiting.get().await });
        turns(2).await;
        queue.put(1).await.unwrap();
        assert_eq!(queue.try_get(), Err(QueueEmpty::Empty));
        assert_eq!(getter.await, Ok(1));
    });
}

#[test]
fn item_promised_to_a_getter_that_is_cancelled_goes_to_the_next() {
    testing::run(async {
        let queue = Rc::new(Queue::new(0));
        let getters = [0, 1].map(|_| {
            let queue = Rc::clone(&queue);
            spawn(async move { queue.get().await })
        });
        turns(2).await;
        queue.put(1).await.unwrap();
        getters[0].cancel();
        let [_, second] = getters;
        assert_eq!(second.await, Ok(1));
    });
}

#[test]
fn cancelled_putter_loses_its_item_and_its_place() {
    testing::run(async {
        let queue = Rc::new(Queue::new(1));
        queue.put(0).await.unwrap();
        let putters = [1, 2].map(|n| {
            let queue = Rc::clone(&queue);
            spawn(async move { queue.put(n).await })
        });
        turns(2).await;
        assert_eq!(queue.get().await, Ok(0));
        putters[0].cancel();
        turns(2).await;
        assert_eq!(queue.get().await, Ok(2));
        assert!(queue.is_empty());
    });
}

#[test]
fn join_waits_for_every_item_to_be_done() {
    testing::run(async {
        let queue = Rc::new(Queue::new(0));
        queue.put(()).await.unwrap();
        queue.put(()).await.unwrap();
        let joining = Rc::clone(&queue);
        let joined = spawn(async move { joining.join().await });
        for _ in 0..2 {
            assert!(!joined.done());
            queue.get().await.unwrap();
            queue.task_done().unwrap();
            turns(2).await;
        }
        assert!(joined.done());
        assert_eq!(queue.task_done(), Err(TooManyDone));
    });
}

#[test]
fn shutdown_lets_getters_finish_and_refuses_putters() {
    testing::run(async {
        let queue = Rc::new(Queue::new(1));
        queue.put(1).await.unwrap();
        let blocked = Rc::clone(&queue);
        let putter = spawn(async move { blocked.put(2).await });
        turns(2).await;
        queue.shutdown(false);
        assert_eq!(putter.await, Err(QueueShutDown(2)));
        assert_eq!(queue.try_put(3), Err(QueueFull::ShutDown(3)));
        assert_eq!(queue.get().await, Ok(1));
        assert_eq!(queue.get().await, Err(QueueShutDown(())));
        assert_eq!(queue.try_get(), Err(QueueEmpty::ShutDown));
    });
}

#[test]
fn immediate_shutdown_drops_what_is_left_and_frees_joiners() {
    testing::run(async {
        let queue = Rc::new(Queue::new(0));
        let item = Rc::new(());
        queue.put(Rc::clone(&item)).await.unwrap();
        let joining = Rc::clone(&queue);
        let joined = spawn(async move { joining.join().await });
        turns(2).await;
        queue.shutdown(true);
        joined.await;
        assert_eq!((queue.len(), Rc::strong_count(&item)), (0, 1));
        assert_eq!(queue.get().await.unwrap_err(), QueueShutDown(()));
    });
}

#[test]
fn waiting_getter_is_woken_by_a_shutdown() {
    testing::run(async {
        let queue = Rc::new(Queue::<()>::new(0));
        let waiting = Rc::clone(&queue);
        let getter = spawn(async move { waiting.get().await });
        turns(2).await;
        queue.shutdown(false);
        assert_eq!(getter.await, Err(QueueShutDown(())));
    });
}

#[test]
fn many_waiters_that_give_up_leave_nothing_behind() {
    testing::run(async {
        let lock = Rc::new(Lock::new(()));
        let held = lock.lock().await;
        for _ in 0..1_000 {
            let waiting = Rc::clone(&lock);
            assert!(timeout(SECOND, async move { drop(waiting.lock().await) }).await.is_err());
        }
        drop(held);
        assert!(!lock.is_locked());
        assert!(timeout(SECOND, pending::<()>()).await.is_err());
    });
}

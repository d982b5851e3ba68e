//! The inbox and the cell of a task under every interleaving of their threads: `make loom`.
//!
//! loom replaces the mutexes and atomics (see `loom.rs`) and runs each model once for every order in which its threads
//! can reach them. A model never waits in the kernel: instead it asks what a wait would have found.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::LoopId;
use crate::remote::Inbox;
use crate::task::{self, JoinHandle, Notified, Schedule, TaskList};

fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Three involuntary switches find practically every bug (loom's own advice), and the models end in seconds.
    builder.preemption_bound = Some(3);
    builder.check(body);
}

fn inbox<P: Send + 'static>() -> Arc<Inbox<P>> {
    Arc::new(Inbox::new(LoopId::next()).expect("two descriptors are free"))
}

/// What the loop does around a wait, except for the wait: whether it would have waited, and what it took afterwards.
fn iterate<P>(inbox: &Inbox<P>, before_taking: impl FnOnce()) -> (bool, Vec<P>) {
    let waits = inbox.fall_asleep();
    before_taking();
    let mut taken = Vec::new();
    inbox.take_into(&mut taken);
    (waits, taken)
}

#[test]
fn post_to_a_loop_that_falls_asleep_is_not_lost() {
    model(|| {
        let inbox = inbox::<u32>();
        let poster = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.post(7).expect("open"))
        };
        let waits = inbox.fall_asleep();
        poster.join().expect("no panic");
        assert!(!waits || inbox.take_wakeups() > 0, "the loop would wait for ever");
        let mut taken = Vec::new();
        inbox.take_into(&mut taken);
        assert_eq!(taken, [7]);
    });
}

#[test]
fn posts_of_two_threads_come_once_with_one_wakeup() {
    model(|| {
        let inbox = inbox::<u32>();
        let posters: Vec<_> = [1, 2]
            .map(|item| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || inbox.post(item).expect("open"))
            })
            .into();
        let waits = inbox.fall_asleep();
        for poster in posters {
            poster.join().expect("no panic");
        }
        let wakeups = inbox.take_wakeups();
        assert_eq!(wakeups, u64::from(waits), "one wake-up ends the wait, none is needed without one");
        let mut taken = Vec::new();
        inbox.take_into(&mut taken);
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn posts_during_iterations_come_once_and_in_order() {
    model(|| {
        let inbox = inbox::<u32>();
        let poster = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                inbox.post(1).expect("open");
                inbox.post(2).expect("open");
            })
        };
        let (_, mut all) = iterate(&inbox, || ());
        all.extend(iterate(&inbox, || ()).1);
        poster.join().expect("no panic");
        // Whatever has not been taken yet is announced: the loop will not sleep on it.
        if all.len() < 2 {
            assert!(inbox.is_pending());
        }
        all.extend(iterate(&inbox, || ()).1);
        assert_eq!(all, [1, 2]);
    });
}

#[test]
fn post_to_a_loop_that_closes_is_taken_or_given_back() {
    model(|| {
        let inbox = inbox::<u32>();
        let poster = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.post(7).err().map(|closed| closed.0))
        };
        let left = inbox.close();
        let given_back = poster.join().expect("no panic");
        assert_eq!(left.into_iter().chain(given_back).collect::<Vec<_>>(), [7]);
    });
}

/// A face with a lock of its own: pushed under the lock, which the loop gives up only after it has fallen asleep.
#[test]
fn interrupt_after_a_push_under_the_faces_lock_ends_the_wait() {
    model(|| {
        let inbox = inbox::<u32>();
        let queue = loom::sync::Arc::new(loom::sync::Mutex::new(Vec::new()));
        let pusher = {
            let (inbox, queue) = (Arc::clone(&inbox), loom::sync::Arc::clone(&queue));
            thread::spawn(move || {
                let mut queue = queue.lock().expect("no panic");
                queue.push(7);
                inbox.interrupt();
            })
        };
        let held = queue.lock().expect("no panic");
        let waits = held.is_empty() && inbox.fall_asleep();
        drop(held);
        pusher.join().expect("no panic");
        assert!(!waits || inbox.take_wakeups() > 0, "the loop would wait for ever");
    });
}

/// Ready once told; counts its polls; leaves its waker with the model; loom notices if it is never dropped.
struct Probe {
    shared: Rc<Shared>,
    told: loom::sync::Arc<AtomicBool>,
}

#[derive(Default)]
struct Shared {
    polls: Cell<u32>,
    ready_at: Cell<u32>,
    /// What the last poll has read of `told`.
    seen: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Future for Probe {
    type Output = loom::sync::Arc<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polls = self.shared.polls.get() + 1;
        self.shared.polls.set(polls);
        self.shared.seen.set(self.told.load(Ordering::Acquire));
        if polls >= self.shared.ready_at.get() {
            return Poll::Ready(loom::sync::Arc::new(()));
        }
        self.shared.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// A loop of a few lines: its tasks are woken through the inbox, as from other threads.
struct Model {
    inbox: Arc<Inbox<Notified>>,
    list: Rc<TaskList>,
    shared: Rc<Shared>,
    told: loom::sync::Arc<AtomicBool>,
    task: Option<JoinHandle<loom::sync::Arc<()>>>,
}

impl Model {
    /// A task that is ready at its poll number `ready_at`, polled once.
    fn new(ready_at: u32) -> Self {
        let (inbox, list, shared) = (inbox(), Rc::new(TaskList::new()), Rc::<Shared>::default());
        shared.ready_at.set(ready_at);
        let told = loom::sync::Arc::new(AtomicBool::new(false));
        let probe = Probe { shared: Rc::clone(&shared), told: loom::sync::Arc::clone(&told) };
        let scheduler = Arc::clone(&inbox) as Arc<dyn Schedule>;
        let (first, task) = task::spawn_for_model(probe, scheduler, &list);
        let model = Self { inbox, list, shared, told, task: Some(task) };
        model.run(first);
        model
    }

    fn run(&self, task: Notified) {
        // SAFETY: the model's main thread is the loop's.
        unsafe { task.run_unchecked() };
    }

    fn run_all(&self) -> usize {
        let (_, taken) = iterate(&self.inbox, || ());
        let count = taken.len();
        taken.into_iter().for_each(|task| self.run(task));
        count
    }

    fn waker(&self) -> Waker {
        self.shared.waker.take().expect("polled and pending")
    }

    fn polls(&self) -> u32 {
        self.shared.polls.get()
    }

    /// What a loop does when it is closed.
    fn close(mut self) {
        self.task = None;
        drop(self.shared.waker.take());
        self.list.shut_down();
        assert!(self.list.is_empty());
        drop(self.inbox.close());
    }
}

#[test]
fn wake_during_a_poll_is_not_lost() {
    model(|| {
        let model = Model::new(u32::MAX);
        let waker = model.waker();
        let again = waker.clone();
        // Two wakes: the first makes the poll during which the second may come.
        waker.wake();
        let told = loom::sync::Arc::clone(&model.told);
        let other = thread::spawn(move || {
            told.store(true, Ordering::Release);
            again.wake();
        });
        model.run_all();
        let polled_meanwhile = model.polls();
        other.join().expect("no panic");
        let still_queued = model.run_all();
        // Either the second wake came before the poll and was served by it, or it made a poll of its own.
        assert!(polled_meanwhile >= 2);
        assert!(model.shared.seen.get(), "no poll came after the wake");
        assert!(still_queued <= 1, "one entry in the queue at a time");
        assert_eq!(model.run_all(), 0);
        model.close();
    });
}

#[test]
fn wake_from_each_of_two_threads_gives_one_entry_at_a_time() {
    model(|| {
        let model = Model::new(u32::MAX);
        let waker = model.waker();
        let others: Vec<_> = [waker.clone(), waker]
            .map(|waker| {
                thread::spawn(move || {
                    waker.wake_by_ref();
                    drop(waker);
                })
            })
            .into();
        let ran = model.run_all();
        for other in others {
            other.join().expect("no panic");
        }
        let ran = ran + model.run_all();
        assert!((1..=2).contains(&ran));
        assert_eq!(model.polls(), 1 + ran as u32);
        model.close();
    });
}

#[test]
fn value_set_before_a_wake_is_seen_by_the_poll() {
    model(|| {
        let model = Model::new(u32::MAX);
        let waker = model.waker();
        let value = loom::sync::Arc::new(loom::cell::UnsafeCell::new(0));
        let written = loom::sync::Arc::clone(&value);
        let other = thread::spawn(move || {
            // loom fails the model if this is not ordered before the read below.
            written.with_mut(|value| {
                // SAFETY: the reader reads only after the wake-up, which loom checks.
                unsafe { *value = 5 };
            });
            waker.wake();
        });
        if model.run_all() == 1 {
            // SAFETY: as above.
            value.with(|value| assert_eq!(unsafe { *value }, 5));
        }
        other.join().expect("no panic");
        model.run_all();
        model.close();
    });
}

#[test]
fn wake_against_completion_and_the_last_handle() {
    model(|| {
        let mut model = Model::new(2);
        let waker = model.waker();
        let again = waker.clone();
        waker.wake();
        let other = thread::spawn(move || {
            again.wake_by_ref();
            drop(again.clone());
            again.wake();
        });
        drop(model.task.take());
        model.run_all();
        assert_eq!(model.polls(), 2);
        other.join().expect("no panic");
        model.run_all();
        assert_eq!(model.polls(), 2, "a complete task is not polled");
        model.close();
    });
}

#[test]
fn wake_against_the_close_of_the_loop() {
    model(|| {
        let model = Model::new(u32::MAX);
        let waker = model.waker();
        let other = thread::spawn(move || waker.wake());
        model.close();
        other.join().expect("no panic");
    });
}

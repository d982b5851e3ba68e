//! Threads for calls that block: started when needed, gone when idle, never more than a limit.
//!
//! A forked child has none of its parent's threads, and may find the parent's lock held for ever: it gets a crew of its own
//! (and leaves the parent's alone, with the calls in its queue, which are the parent's to make).

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::current::{LoopHandle, current};
use crate::destroy::{destroy, wake};
use crate::task::JoinError;

/// An idle thread ends after this long.
const IDLE: Duration = Duration::from_secs(10);

/// How long a free thread waits for whoever's turn it is before it wakes the next: that one's future may not be polled any
/// more, and must not hold up the others.
const TURN_OVER: Duration = Duration::from_millis(100);

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads that run blocking calls in the order in which they come.
///
/// The queue has no limit of its own: each entry stands for a future that somebody awaits.
#[derive(Debug)]
pub struct Pool {
    name: &'static str,
    max_threads: usize,
    crew: OnceLock<Box<Crew>>,
}

/// The threads of one process, and what they are to do.
#[derive(Debug)]
struct Crew {
    process: u32,
    shared: Mutex<Shared>,
    work: Condvar,
    /// That of a process which was forked from this one.
    of_child: OnceLock<Box<Crew>>,
}

#[derive(Default)]
struct Shared {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Those that wait for a thread to be free, by their numbers: the first has waited longest.
    turns: BTreeMap<u64, Waker>,
    last_turn: u64,
}

impl Shared {
    fn has_room(&self, max_threads: usize) -> bool {
        self.idle > self.queue.len() || self.threads < max_threads
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("queued", &self.queue.len())
            .field("threads", &self.threads)
            .finish()
    }
}

impl Pool {
    /// A pool of at most `max_threads` threads called `name`; none is started yet.
    pub const fn new(name: &'static str, max_threads: usize) -> Self {
        Self { name, max_threads, crew: OnceLock::new() }
    }

    /// Runs `call` on a thread of the pool; await the result on the current loop.
    ///
    /// A call that has begun runs to its end even if the future is dropped; one still queued is not begun then.
    /// When no thread can be started at all, the call runs here and now rather than never.
    pub fn run<T: Send + 'static>(&'static self, call: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
        let slot = Arc::new(Slot { state: Mutex::new(SlotState::Waiting(None)) });
        let filled = Arc::downgrade(&slot);
        self.submit(Box::new(move || {
            let Some(slot) = filled.upgrade() else { return };
            let outcome = catch_unwind(AssertUnwindSafe(call)).map_err(JoinError::panic);
            let before = std::mem::replace(&mut *slot.lock(), SlotState::Filled(outcome));
            if let SlotState::Waiting(Some(waker)) = before {
                wake(waker);
            }
        }));
        let event_loop = current();
        if let Some(event_loop) = &event_loop {
            event_loop.count_outside_work(1);
        }
        Blocking { slot, event_loop }
    }

    /// Whether a call would begin at once.
    pub fn has_room(&'static self) -> bool {
        self.crew().lock().has_room(self.max_threads)
    }

    /// Waits until a call would begin at once, in the order of those who wait; who begins one does so in the same poll.
    ///
    /// # Cancel safety
    /// Dropping it gives the place up.
    pub fn turn(&'static self) -> Turn {
        Turn { pool: self, number: 0, is_over: false, event_loop: None }
    }

    /// The crew of this process.
    fn crew(&'static self) -> &'static Crew {
        let process = std::process::id();
        let mut place = &self.crew;
        loop {
            let crew = place.get_or_init(|| Box::new(Crew::new(process)));
            if crew.process == process {
                return crew;
            }
            place = &crew.of_child;
        }
    }

    fn submit(&'static self, job: Job) {
        let crew = self.crew();
        let mut shared = crew.lock();
        shared.queue.push_back(job);
        if shared.idle >= shared.queue.len() || shared.threads >= self.max_threads {
            drop(shared);
            crew.work.notify_one();
            return;
        }
        shared.threads += 1;
        drop(shared);
        let started = std::thread::Builder::new().name(self.name.to_owned()).spawn(|| crew.work());
        if started.is_err() {
            let mut shared = crew.lock();
            shared.threads -= 1;
            if shared.threads == 0
                && let Some(job) = shared.queue.pop_front()
            {
                drop(shared);
                run(job);
            }
        }
    }
}

/// Makes a call. A panic ends here: that of the call itself is caught before, so it is one of a destructor.
fn run(job: Job) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
        destroy(payload);
    }
}

impl Crew {
    fn new(process: u32) -> Self {
        Self { process, shared: Mutex::default(), work: Condvar::new(), of_child: OnceLock::new() }
    }

    /// What each thread does until it has been idle for too long.
    fn work(&self) {
        let mut shared = self.lock();
        loop {
            while let Some(job) = shared.queue.pop_front() {
                drop(shared);
                run(job);
                shared = self.lock();
            }
            shared.idle += 1;
            let mut is_over = false;
            while shared.queue.is_empty() && !is_over {
                let next = shared.turns.pop_first();
                let pause = if next.is_some() { TURN_OVER } else { IDLE };
                if let Some((_, next)) = next {
                    drop(shared);
                    wake(next);
                    shared = self.lock();
                }
                if shared.queue.is_empty() {
                    let (guard, waited) = self
                        .work
                        .wait_timeout(shared, pause)
                        .unwrap_or_else(|poisoned| poisoned.into_inner());
                    shared = guard;
                    is_over = waited.timed_out() && pause == IDLE;
                }
            }
            shared.idle -= 1;
            if is_over && shared.queue.is_empty() {
                shared.threads -= 1;
                return;
            }
        }
    }

    fn wake_next_turn(&self) {
        let next = self.lock().turns.pop_first();
        if let Some((_, next)) = next {
            wake(next);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The future of [`Pool::turn`].
///
/// A thread that is free wakes the first. That one wakes the next when it has begun its call, or has none to begin after all.
pub struct Turn {
    pool: &'static Pool,
    /// 0 before it has waited.
    number: u64,
    is_over: bool,
    event_loop: Option<Rc<dyn LoopHandle>>,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Turn").field("pool", &self.pool.name).finish_non_exhaustive()
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waker = cx.waker().clone();
        let crew = this.pool.crew();
        let mut shared = crew.lock();
        if shared.has_room(this.pool.max_threads) {
            drop(shared);
            this.is_over = true;
            this.leave();
            return Poll::Ready(());
        }
        if this.number == 0 {
            shared.last_turn += 1;
            this.number = shared.last_turn;
        }
        let before = shared.turns.insert(this.number, waker);
        drop(shared);
        drop(before);
        if this.event_loop.is_none() {
            this.event_loop = current();
            if let Some(event_loop) = &this.event_loop {
                event_loop.count_outside_work(1);
            }
        }
        Poll::Pending
    }
}

impl Turn {
    /// Gives the place up, and the thread that may have been meant for it.
    fn leave(&mut self) {
        if let Some(event_loop) = self.event_loop.take() {
            event_loop.count_outside_work(-1);
        }
        if self.number == 0 {
            return;
        }
        let crew = self.pool.crew();
        let place = crew.lock().turns.remove(&self.number);
        if self.is_over || place.is_none() {
            crew.wake_next_turn();
        }
        drop(place);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.leave();
        }
    }
}

#[derive(Debug)]
struct Slot<T> {
    state: Mutex<SlotState<T>>,
}

#[derive(Debug)]
enum SlotState<T> {
    Waiting(Option<Waker>),
    Filled(Result<T, JoinError>),
    Taken,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, SlotState<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The result of a call on another thread; `Err` when the call panicked.
///
/// # Cancel safety
/// Dropping it gives the result up. A virtual clock stands still as long as it is alive and not ready.
pub struct Blocking<T> {
    slot: Arc<Slot<T>>,
    event_loop: Option<Rc<dyn LoopHandle>>,
}

impl<T> std::fmt::Debug for Blocking<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Blocking")
    }
}

impl<T> Blocking<T> {
    fn stop_counting(&mut self) {
        if let Some(event_loop) = self.event_loop.take() {
            event_loop.count_outside_work(-1);
        }
    }
}

impl<T> Future for Blocking<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned before, and the old one dropped after, the lock is held: a waker may be anybody's code.
        let waker = cx.waker().clone();
        let mut state = self.slot.lock();
        match std::mem::replace(&mut *state, SlotState::Taken) {
            SlotState::Filled(outcome) => {
                drop(state);
                self.stop_counting();
                Poll::Ready(outcome)
            }
            SlotState::Waiting(before) => {
                *state = SlotState::Waiting(Some(waker));
                drop(state);
                drop(before);
                Poll::Pending
            }
            SlotState::Taken => panic!("a Blocking future is not polled after it was ready"),
        }
    }
}

impl<T> Drop for Blocking<T> {
    fn drop(&mut self) {
        self.stop_counting();
        // What nobody wants ends alike, whichever thread is the last to have it: a destructor's panic does not get out.
        let unwanted = std::mem::replace(&mut *self.slot.lock(), SlotState::Taken);
        destroy(unwanted);
    }
}

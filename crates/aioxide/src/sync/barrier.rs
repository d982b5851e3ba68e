//! A point that a number of tasks pass together.
//!
//! A round is filled by the tasks that wait; when it is full they go on and the next round begins at once. `reset` and
//! `abort` break the round; after `abort` every new one is broken too, until `reset`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::wait_queue::{Ticket, WaitQueue};

/// Lets tasks wait until so many of them do.
///
/// # Examples
/// ```
/// use aioxide::{spawn, sync::Barrier};
/// use std::rc::Rc;
/// aioxide::run(async {
///     let barrier = Rc::new(Barrier::new(2));
///     let other = Rc::clone(&barrier);
///     let task = spawn(async move { other.wait().await });
///     assert_eq!(barrier.wait().await, Ok(0));
///     assert_eq!(task.await, Ok(1));
/// }).unwrap();
/// ```
/// asyncio: `Barrier`.
#[derive(Debug)]
pub struct Barrier {
    parties: usize,
    round: RefCell<Rc<Round>>,
    broken: Cell<bool>,
}

#[derive(Debug, Default)]
struct Round {
    arrived: Cell<usize>,
    ended: Cell<Option<Result<(), BrokenBarrier>>>,
    waiters: WaitQueue,
}

/// The barrier was reset or aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenBarrier;

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("barrier is broken")
    }
}

impl std::error::Error for BrokenBarrier {}

impl Barrier {
    /// A barrier for so many tasks.
    ///
    /// # Panics
    /// When `parties` is 0.
    pub fn new(parties: usize) -> Self {
        assert!(parties > 0, "a barrier is for one task at least");
        Self { parties, round: RefCell::default(), broken: Cell::new(false) }
    }

    /// Waits until as many tasks as the barrier is for do so; returns the number of those that came before.
    ///
    /// # Errors
    /// [`BrokenBarrier`] when it is reset or aborted meanwhile, or was aborted.
    ///
    /// # Cancel safety
    /// Dropped before the round is full, it does not count.
    pub fn wait(&self) -> BarrierWait<'_> {
        BarrierWait { barrier: self, joined: None, ticket: Ticket::default() }
    }

    /// Begins a new round; those that wait get an error. An aborted barrier works again.
    pub fn reset(&self) {
        self.broken.set(false);
        self.end_round(Err(BrokenBarrier));
    }

    /// Breaks the barrier: those that wait, and all that come until a [`reset`](Self::reset), get an error.
    pub fn abort(&self) {
        self.broken.set(true);
        self.end_round(Err(BrokenBarrier));
    }

    /// For how many tasks it is.
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// How many wait.
    pub fn n_waiting(&self) -> usize {
        self.round.borrow().arrived.get()
    }

    /// Whether it was aborted.
    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    fn end_round(&self, ended: Result<(), BrokenBarrier>) {
        let round = self.round.take();
        round.ended.set(Some(ended));
        round.waiters.wake_all();
    }
}

/// The future of [`Barrier::wait`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct BarrierWait<'a> {
    barrier: &'a Barrier,
    /// The round, and how many had arrived before.
    joined: Option<(Rc<Round>, usize)>,
    ticket: Ticket,
}

impl Future for BarrierWait<'_> {
    type Output = Result<usize, BrokenBarrier>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.joined.is_none() {
            if this.barrier.broken.get() {
                return Poll::Ready(Err(BrokenBarrier));
            }
            let round = Rc::clone(&this.barrier.round.borrow());
            let before = round.arrived.get();
            round.arrived.set(before + 1);
            this.joined = Some((round, before));
            if before + 1 == this.barrier.parties {
                this.barrier.end_round(Ok(()));
            }
        }
        let (round, before) = this.joined.as_ref().expect("joined above");
        if let Some(ended) = round.ended.get() {
            round.waiters.forget(&mut this.ticket);
            return Poll::Ready(ended.map(|()| *before));
        }
        let _ = round.waiters.poll(&mut this.ticket, "Barrier::wait", cx);
        Poll::Pending
    }
}

impl Drop for BarrierWait<'_> {
    fn drop(&mut self) {
        if let Some((round, _)) = &self.joined
            && round.ended.get().is_none()
        {
            round.waiters.forget(&mut self.ticket);
            round.arrived.set(round.arrived.get() - 1);
        }
    }
}

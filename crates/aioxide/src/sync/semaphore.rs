//! A number of permits.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_queue::{Ticket, WaitQueue};

/// So many permits; tasks wait for one, first come, first served.
///
/// # Examples
/// ```
/// use aioxide::sync::Semaphore;
/// aioxide::run(async {
///     let pair = Semaphore::new(2);
///     let one = pair.acquire().await;
///     let two = pair.acquire().await;
///     assert!(pair.try_acquire().is_none());
///     drop(one);
///     assert!(pair.try_acquire().is_some());
///     drop(two);
/// }).unwrap();
/// ```
/// asyncio: `Semaphore`.
#[derive(Debug)]
pub struct Semaphore {
    available: Cell<usize>,
    /// Permits that were kept for good and not given back.
    forgotten: Cell<usize>,
    waiters: WaitQueue,
}

impl Semaphore {
    /// One with so many permits.
    pub fn new(permits: usize) -> Self {
        Self { available: Cell::new(permits), forgotten: Cell::new(0), waiters: WaitQueue::default() }
    }

    /// Waits for a permit; dropping it gives it back.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it gives its place in the queue up; a permit that was handed to it goes to the next.
    pub fn acquire(&self) -> Acquire<'_> {
        Acquire { semaphore: self, ticket: Ticket::default() }
    }

    /// A permit, if there is one now; whoever waits has been given theirs already.
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        let left = self.available.get().checked_sub(1)?;
        self.available.set(left);
        Some(Permit { semaphore: self })
    }

    /// Adds a permit: one more than there were, or one that was [forgotten](Permit::forget).
    pub fn release(&self) {
        if !self.waiters.wake_one() {
            self.available
                .set(self.available.get().checked_add(1).expect("more permits than there are numbers"));
        }
    }

    /// How many permits are free.
    pub fn available(&self) -> usize {
        self.available.get()
    }

    /// Whether the next to acquire would have to wait.
    ///
    /// asyncio: `Semaphore.locked`.
    pub fn is_exhausted(&self) -> bool {
        self.available.get() == 0
    }
}

/// The future of [`Semaphore::acquire`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    ticket: Ticket,
}

impl<'a> Future for Acquire<'a> {
    type Output = Permit<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<'a>> {
        let this = &mut *self;
        if this.ticket.is_idle()
            && let Some(permit) = this.semaphore.try_acquire()
        {
            return Poll::Ready(permit);
        }
        let semaphore = this.semaphore;
        semaphore.waiters.poll(&mut this.ticket, "Semaphore::acquire", cx).map(|()| Permit { semaphore })
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if self.semaphore.waiters.forget(&mut self.ticket) {
            self.semaphore.release();
        }
    }
}

/// One permit of a [`Semaphore`]; dropping it gives it back.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
}

impl Permit<'_> {
    /// Keeps the permit for good, or until [`Semaphore::release`].
    pub fn forget(self) {
        let forgotten = &self.semaphore.forgotten;
        forgotten.set(forgotten.get() + 1);
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.release();
    }
}

/// A [`Semaphore`] that never has more permits than it began with.
///
/// asyncio: `BoundedSemaphore`.
#[derive(Debug)]
pub struct BoundedSemaphore {
    semaphore: Semaphore,
}

/// A permit was given back to a [`BoundedSemaphore`] that had all of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverReleased;

impl fmt::Display for OverReleased {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("semaphore released too many times")
    }
}

impl std::error::Error for OverReleased {}

impl BoundedSemaphore {
    /// One with so many permits.
    pub fn new(permits: usize) -> Self {
        Self { semaphore: Semaphore::new(permits) }
    }

    /// As [`Semaphore::acquire`].
    pub fn acquire(&self) -> Acquire<'_> {
        self.semaphore.acquire()
    }

    /// As [`Semaphore::try_acquire`].
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.semaphore.try_acquire()
    }

    /// Gives a [forgotten](Permit::forget) permit back.
    ///
    /// # Errors
    /// [`OverReleased`] when none is missing: one that is still held gives itself back when it is dropped.
    pub fn release(&self) -> Result<(), OverReleased> {
        let left = self.semaphore.forgotten.get().checked_sub(1).ok_or(OverReleased)?;
        self.semaphore.forgotten.set(left);
        self.semaphore.release();
        Ok(())
    }

    /// How many permits are free.
    pub fn available(&self) -> usize {
        self.semaphore.available()
    }
}

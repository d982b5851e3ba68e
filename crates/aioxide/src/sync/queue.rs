//! Queues between tasks: first in first out, last in first out, smallest first.
//!
//! An item belongs to the getter that was woken for it (`granted_gets`), and a free place to the putter that was woken
//! for that (`granted_puts`), until they run; whoever comes later sees only what is left.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_queue::{Ticket, WaitQueue};
use crate::wake::{HeldPanic, Taken};

/// Where a queue keeps its items; the order is its own.
///
/// asyncio: the overridable `_init`, `_get` and `_put`.
pub trait Store: Default {
    /// What is kept.
    type Item;
    /// Takes an item in.
    fn put(&mut self, item: Self::Item);
    /// Gives the next item out.
    fn get(&mut self) -> Option<Self::Item>;
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The order of a [`Queue`]: first in, first out.
#[derive(Debug)]
pub struct Fifo<T>(VecDeque<T>);

/// The order of a [`LifoQueue`]: last in, first out.
#[derive(Debug)]
pub struct Lifo<T>(Vec<T>);

/// The order of a [`PriorityQueue`]: the smallest first.
#[derive(Debug)]
pub struct Priority<T>(BinaryHeap<Reverse<T>>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Default for Priority<T> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<T> Store for Fifo<T> {
    type Item = T;

    fn put(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn get(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Store for Lifo<T> {
    type Item = T;

    fn put(&mut self, item: T) {
        self.0.push(item);
    }

    fn get(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Ord> Store for Priority<T> {
    type Item = T;

    fn put(&mut self, item: T) {
        self.0.push(Reverse(item));
    }

    fn get(&mut self) -> Option<T> {
        self.0.pop().map(|Reverse(item)| item)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A queue whose `get` returns the newest item.
pub type LifoQueue<T> = BaseQueue<Lifo<T>>;

/// A queue whose `get` returns the smallest item.
pub type PriorityQueue<T> = BaseQueue<Priority<T>>;

/// A queue whose `get` returns the oldest item; see [`BaseQueue`].
pub type Queue<T> = BaseQueue<Fifo<T>>;

/// A queue between tasks, with a limit if wanted; putters and getters are served first come, first served.
///
/// # Examples
/// ```
/// use aioxide::{spawn, sync::Queue};
/// use std::rc::Rc;
/// aioxide::run(async {
///     let jobs = Rc::new(Queue::new(1));
///     let worker = Rc::clone(&jobs);
///     let task = spawn(async move {
///         let mut seen = Vec::new();
///         while let Ok(job) = worker.get().await {
///             seen.push(job);
///             worker.task_done().unwrap();
///         }
///         seen
///     });
///     for job in 0..3 { jobs.put(job).await.unwrap(); }
///     jobs.join().await;
///     jobs.shutdown(false);
///     assert_eq!(task.await, [0, 1, 2]);
/// }).unwrap();
/// ```
/// asyncio: `Queue`.
pub struct BaseQueue<S: Store> {
    items: RefCell<S>,
    limit: usize,
    granted_gets: Cell<usize>,
    granted_puts: Cell<usize>,
    getters: WaitQueue,
    putters: WaitQueue,
    unfinished: Cell<usize>,
    joiners: WaitQueue,
    shut_down: Cell<bool>,
}

impl<S: Store> fmt::Debug for BaseQueue<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("len", &self.len())
            .field("limit", &self.limit)
            .field("unfinished", &self.unfinished.get())
            .field("shut_down", &self.shut_down.get())
            .finish_non_exhaustive()
    }
}

/// The queue is full; the item is given back.
#[derive(Debug, PartialEq, Eq)]
pub enum QueueFull<T> {
    /// There is no room now.
    Full(T),
    /// There will never be: the queue is shut down.
    ShutDown(T),
}

/// The queue is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueEmpty {
    /// There is no item now.
    Empty,
    /// There will never be: the queue is shut down.
    ShutDown,
}

/// The queue is shut down; an item that could not be put is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueShutDown<T = ()>(pub T);

/// [`BaseQueue::task_done`] was called more often than items were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDone;

impl<T> fmt::Display for QueueFull<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "queue is full",
            Self::ShutDown(_) => "queue is shut down",
        })
    }
}

impl fmt::Display for QueueEmpty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "queue is empty",
            Self::ShutDown => "queue is shut down",
        })
    }
}

impl<T> fmt::Display for QueueShutDown<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("queue is shut down")
    }
}

impl fmt::Display for TooManyDone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("task_done called too many times")
    }
}

impl<T: fmt::Debug> std::error::Error for QueueFull<T> {}
impl std::error::Error for QueueEmpty {}
impl<T: fmt::Debug> std::error::Error for QueueShutDown<T> {}
impl std::error::Error for TooManyDone {}

impl<S: Store> BaseQueue<S> {
    /// An empty queue for at most `limit` items; 0 sets no limit.
    pub fn new(limit: usize) -> Self {
        Self {
            items: RefCell::default(),
            limit,
            granted_gets: Cell::new(0),
            granted_puts: Cell::new(0),
            getters: WaitQueue::default(),
            putters: WaitQueue::default(),
            unfinished: Cell::new(0),
            joiners: WaitQueue::default(),
            shut_down: Cell::new(false),
        }
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.items.borrow().len()
    }

    /// Whether it has no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has as many items as it may.
    pub fn is_full(&self) -> bool {
        self.limit > 0 && self.len() >= self.limit
    }

    /// How many items it may have; 0 is no limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Waits for room and puts an item.
    ///
    /// # Errors
    /// [`QueueShutDown`] with the item.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has not put the item, which is dropped with it.
    pub fn put(&self, item: S::Item) -> Put<'_, S> {
        Put { queue: self, item: Some(item), ticket: Ticket::default() }
    }

    /// Puts an item if there is room now.
    ///
    /// # Errors
    /// [`QueueFull`] with the item.
    pub fn try_put(&self, item: S::Item) -> Result<(), QueueFull<S::Item>> {
        if self.shut_down.get() {
            return Err(QueueFull::ShutDown(item));
        }
        if !self.has_room() {
            return Err(QueueFull::Full(item));
        }
        self.put_now(item);
        Ok(())
    }

    /// Waits for an item.
    ///
    /// # Errors
    /// [`QueueShutDown`] when it is shut down and empty.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has taken nothing.
    pub fn get(&self) -> Get<'_, S> {
        Get { queue: self, ticket: Ticket::default() }
    }

    /// An item, if there is one now that was not promised to a getter that waits.
    ///
    /// # Errors
    /// [`QueueEmpty`].
    pub fn try_get(&self) -> Result<S::Item, QueueEmpty> {
        if self.len() <= self.granted_gets.get() {
            return Err(if self.shut_down.get() { QueueEmpty::ShutDown } else { QueueEmpty::Empty });
        }
        self.get_now().ok_or(QueueEmpty::Empty)
    }

    /// Says that an item which was got has been dealt with.
    ///
    /// # Errors
    /// [`TooManyDone`].
    pub fn task_done(&self) -> Result<(), TooManyDone> {
        let left = self.unfinished.get().checked_sub(1).ok_or(TooManyDone)?;
        self.unfinished.set(left);
        if left == 0 {
            self.joiners.wake_all();
        }
        Ok(())
    }

    /// Waits until every item that was put has been [dealt with](Self::task_done).
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn join(&self) {
        let mut place = Place { queue: &self.joiners, ticket: Ticket::default() };
        while self.unfinished.get() > 0 {
            std::future::poll_fn(|cx| place.queue.poll(&mut place.ticket, "Queue::join", cx)).await;
        }
    }

    /// Refuses items from now on. Getters get what is left, then an error; with `immediate`, what is left is dropped.
    pub fn shutdown(&self, immediate: bool) {
        self.shut_down.set(true);
        let (mut left, mut held) = (Vec::new(), HeldPanic::default());
        if immediate {
            while let Some(item) = self.items.borrow_mut().get() {
                left.push(item);
            }
            // Items that were put count as unfinished, so this cannot fail.
            for _ in &left {
                held.run(|| {
                    let _ = self.task_done();
                });
            }
        }
        // Whoever waits to get waits because it is empty; they find it shut down now, as the putters do.
        self.granted_gets.set(self.granted_gets.get() + self.getters.len());
        self.granted_puts.set(self.granted_puts.get() + self.putters.len());
        let all = self.getters.grant_all().chain(self.putters.grant_all());
        all.for_each(|waker| held.run(|| waker.wake()));
        drop(Taken::new(left));
        held.resume();
    }

    fn has_room(&self) -> bool {
        self.limit == 0 || self.len() + self.granted_puts.get() < self.limit
    }

    fn put_now(&self, item: S::Item) {
        // Where it belongs may be told by the program's own code; an item that is there counts, whatever that does.
        let put = catch_unwind(AssertUnwindSafe(|| self.items.borrow_mut().put(item)));
        self.unfinished.set(self.unfinished.get() + 1);
        if let Some(getter) = self.getters.grant_one() {
            // Counted first: a waker may poll at once.
            self.granted_gets.set(self.granted_gets.get() + 1);
            aioxide_core::wake(getter);
        }
        if let Err(payload) = put {
            resume_unwind(payload);
        }
    }

    fn get_now(&self) -> Option<S::Item> {
        let item = self.items.borrow_mut().get()?;
        self.grant_put();
        Some(item)
    }

    /// Gives a free place to the putter that has waited longest.
    fn grant_put(&self) {
        if self.has_room()
            && let Some(putter) = self.putters.grant_one()
        {
            self.granted_puts.set(self.granted_puts.get() + 1);
            // A waker that panics does not take an item with it.
            aioxide_core::wake(putter);
        }
    }

    /// Gives an item that nobody was promised to the getter that has waited longest.
    fn grant_get(&self) {
        if self.len() > self.granted_gets.get()
            && let Some(getter) = self.getters.grant_one()
        {
            self.granted_gets.set(self.granted_gets.get() + 1);
            aioxide_core::wake(getter);
        }
    }
}

/// A place in a queue of waiters that is given up when dropped.
struct Place<'a> {
    queue: &'a WaitQueue,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.forget(&mut self.ticket);
    }
}

/// The future of [`BaseQueue::put`].
#[must_use = "futures do nothing unless awaited"]
pub struct Put<'a, S: Store> {
    queue: &'a BaseQueue<S>,
    item: Option<S::Item>,
    ticket: Ticket,
}

// The item is moved, never pinned.
impl<S: Store> Unpin for Put<'_, S> {}

impl<S: Store> fmt::Debug for Put<'_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Put").field("queue", self.queue).finish_non_exhaustive()
    }
}

impl<S: Store> Future for Put<'_, S> {
    type Output = Result<(), QueueShutDown<S::Item>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let granted = if this.ticket.is_idle() {
            this.queue.shut_down.get() || (this.queue.has_room() && this.queue.putters.is_empty())
        } else {
            false
        };
        if !granted {
            if this.queue.putters.poll(&mut this.ticket, "Queue::put", cx).is_pending() {
                return Poll::Pending;
            }
            this.queue.granted_puts.set(this.queue.granted_puts.get() - 1);
        }
        let item = this.item.take().expect("not polled after it was ready");
        if this.queue.shut_down.get() {
            return Poll::Ready(Err(QueueShutDown(item)));
        }
        this.queue.put_now(item);
        Poll::Ready(Ok(()))
    }
}

impl<S: Store> Drop for Put<'_, S> {
    fn drop(&mut self) {
        if self.queue.putters.forget(&mut self.ticket) {
            self.queue.granted_puts.set(self.queue.granted_puts.get() - 1);
            self.queue.grant_put();
        }
    }
}

/// The future of [`BaseQueue::get`].
#[must_use = "futures do nothing unless awaited"]
pub struct Get<'a, S: Store> {
    queue: &'a BaseQueue<S>,
    ticket: Ticket,
}

impl<S: Store> fmt::Debug for Get<'_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Get").field("queue", self.queue).finish_non_exhaustive()
    }
}

impl<S: Store> Future for Get<'_, S> {
    type Output = Result<S::Item, QueueShutDown>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.ticket.is_idle() {
            match this.queue.try_get() {
                Ok(item) => return Poll::Ready(Ok(item)),
                Err(QueueEmpty::ShutDown) => return Poll::Ready(Err(QueueShutDown(()))),
                Err(QueueEmpty::Empty) => {}
            }
        }
        if this.queue.getters.poll(&mut this.ticket, "Queue::get", cx).is_pending() {
            return Poll::Pending;
        }
        this.queue.granted_gets.set(this.queue.granted_gets.get() - 1);
        Poll::Ready(this.queue.get_now().ok_or(QueueShutDown(())))
    }
}

impl<S: Store> Drop for Get<'_, S> {
    fn drop(&mut self) {
        if self.queue.getters.forget(&mut self.ticket) {
            self.queue.granted_gets.set(self.queue.granted_gets.get() - 1);
            self.queue.grant_get();
        }
    }
}

//! Waiting under a lock for something to change.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::mutex::{LockFuture, MutexGuard};
use super::wait_queue::{Ticket, WaitQueue};
use crate::wake::wake_all;

/// Tasks that wait, with a [`Mutex`](super::Mutex) given up meanwhile, until somebody notifies them.
///
/// # Examples
/// ```
/// use aioxide::{spawn, sync::{Condition, Mutex}};
/// use std::rc::Rc;
/// aioxide::run(async {
///     let shared = Rc::new((Mutex::new(Vec::new()), Condition::new()));
///     let reader = Rc::clone(&shared);
///     let task = spawn(async move {
///         let (items, filled) = &*reader;
///         let mut items = filled.wait_for(items.lock().await, |items| !items.is_empty()).await;
///         items.pop()
///     });
///     aioxide::yield_now().await;
///     shared.0.lock().await.push(7);
///     shared.1.notify(1);
///     assert_eq!(task.await, Some(7));
/// }).unwrap();
/// ```
/// asyncio: `Condition`; there it holds its lock, and notifying needs the lock. When a wait is cancelled, asyncio
/// takes the lock again first; here the guard is gone with the future.
#[derive(Debug, Default)]
pub struct Condition {
    waiters: WaitQueue,
}

impl Condition {
    /// One that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the lock up, waits for a notification, and takes the lock again.
    ///
    /// # Cancel safety
    /// Dropped after a notification, it passes that on to the next that waits.
    pub fn wait<'a, T>(&'a self, guard: MutexGuard<'a, T>) -> ConditionWait<'a, T> {
        ConditionWait { condition: self, ticket: Ticket::default(), phase: Phase::New(guard) }
    }

    /// Waits, as often as need be, until `holds` does; at once if it does now.
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_for<'a, T>(
        &'a self,
        mut guard: MutexGuard<'a, T>,
        mut holds: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while !holds(&mut guard) {
            guard = self.wait(guard).await;
        }
        guard
    }

    /// Wakes the `count` that have waited longest, or as many as there are.
    pub fn notify(&self, count: usize) {
        let granted = (0..count).map_while(|_| self.waiters.grant_one());
        wake_all(granted);
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.waiters.wake_all();
    }
}

/// The future of [`Condition::wait`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ConditionWait<'a, T> {
    condition: &'a Condition,
    ticket: Ticket,
    phase: Phase<'a, T>,
}

#[derive(Debug)]
enum Phase<'a, T> {
    New(MutexGuard<'a, T>),
    Waiting(&'a super::Mutex<T>),
    Locking(LockFuture<'a, T>),
    Done,
}

impl<'a, T> Future for ConditionWait<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Phase::New(guard) = &this.phase {
            let mutex = guard.mutex();
            // In the queue first, so that no notification is missed; then the lock is given up.
            let _ = this.condition.waiters.poll(&mut this.ticket, "Condition::wait", cx);
            this.phase = Phase::Waiting(mutex);
            return Poll::Pending;
        }
        if let Phase::Waiting(mutex) = this.phase {
            if this.condition.waiters.poll(&mut this.ticket, "Condition::wait", cx).is_pending() {
                return Poll::Pending;
            }
            this.phase = Phase::Locking(mutex.lock());
        }
        let Phase::Locking(lock) = &mut this.phase else { panic!("not polled after it was ready") };
        let Poll::Ready(guard) = Pin::new(lock).poll(cx) else { return Poll::Pending };
        this.phase = Phase::Done;
        Poll::Ready(guard)
    }
}

impl<T> Drop for ConditionWait<'_, T> {
    fn drop(&mut self) {
        let notified =
            self.condition.waiters.forget(&mut self.ticket) || matches!(self.phase, Phase::Locking(_));
        if notified {
            self.condition.notify(1);
        }
    }
}

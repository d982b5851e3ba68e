//! A lock around a value.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_queue::{Ticket, WaitQueue};

/// A lock around nothing.
///
/// asyncio: `Lock`.
pub type Lock = Mutex<()>;

/// A value that one task at a time may use, across awaits; first come, first served.
///
/// # Examples
/// ```
/// use aioxide::{spawn, sync::Mutex, yield_now};
/// use std::rc::Rc;
/// aioxide::run(async {
///     let total = Rc::new(Mutex::new(0));
///     let adders = [1, 2].map(|n| {
///         let total = Rc::clone(&total);
///         spawn(async move {
///             let mut total = total.lock().await;
///             let before = *total;
///             yield_now().await;
///             *total = before + n;
///         })
///     });
///     for adder in adders { adder.await; }
///     assert_eq!(*total.try_lock().unwrap(), 3);
/// }).unwrap();
/// ```
#[derive(Default)]
pub struct Mutex<T> {
    locked: Cell<bool>,
    waiters: WaitQueue,
    /// The number of the task that holds it, or held it last; 0: none, or one that is not known.
    #[cfg(feature = "monitor")]
    holder: Cell<u64>,
    value: RefCell<T>,
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mutex")
            .field("locked", &self.locked.get())
            .field("value", &self.value)
            .finish()
    }
}

impl<T> Mutex<T> {
    /// An unlocked one.
    pub fn new(value: T) -> Self {
        Self {
            locked: Cell::new(false),
            waiters: WaitQueue::default(),
            #[cfg(feature = "monitor")]
            holder: Cell::new(0),
            value: RefCell::new(value),
        }
    }

    /// Waits for its turn, and locks.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it gives its place in the queue up; a lock that was handed to it goes to the next.
    pub fn lock(&self) -> LockFuture<'_, T> {
        LockFuture { mutex: self, ticket: Ticket::default() }
    }

    /// Locks if that is possible now, and nobody waits.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if self.locked.get() {
            return None;
        }
        self.locked.set(true);
        Some(self.guard())
    }

    /// Whether it is locked.
    pub fn is_locked(&self) -> bool {
        self.locked.get()
    }

    /// The value, which nobody else can use meanwhile.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value alone.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        #[cfg(feature = "monitor")]
        self.holder.set(aioxide_core::task::current_id().unwrap_or(0));
        MutexGuard { value: self.value.borrow_mut(), held: Held(self) }
    }

    /// The lock goes to the next in the queue, or is free.
    fn release(&self) {
        #[cfg(feature = "monitor")]
        self.holder.set(0);
        match self.waiters.grant_one() {
            Some(waker) => {
                self.tell_holder();
                waker.wake();
            }
            None => self.locked.set(false),
        }
    }

    /// Lets whoever looks into the program know who has the lock, if somebody waits for it.
    #[inline]
    fn tell_holder(&self) {
        #[cfg(feature = "monitor")]
        crate::monitor::holders::note(self.waiters.address(), || {
            (!self.waiters.is_empty()).then(|| self.holder.get())
        });
    }
}

/// The future of [`Mutex::lock`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct LockFuture<'a, T> {
    mutex: &'a Mutex<T>,
    ticket: Ticket,
}

impl<'a, T> Future for LockFuture<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.ticket.is_idle()
            && let Some(guard) = this.mutex.try_lock()
        {
            return Poll::Ready(guard);
        }
        let polled =
            this.mutex.waiters.poll(&mut this.ticket, "Mutex::lock", cx).map(|()| this.mutex.guard());
        this.mutex.tell_holder();
        polled
    }
}

impl<T> Drop for LockFuture<'_, T> {
    fn drop(&mut self) {
        if self.ticket.is_idle() {
            return;
        }
        if self.mutex.waiters.forget(&mut self.ticket) {
            self.mutex.release();
        } else {
            self.mutex.tell_holder();
        }
    }
}

/// The use of a [`Mutex`]'s value; dropping it unlocks.
pub struct MutexGuard<'a, T> {
    // Before the lock: whoever gets that next may be polled at once, and finds the value free.
    value: RefMut<'a, T>,
    held: Held<'a, T>,
}

/// A lock that is held; dropping it hands it on.
struct Held<'a, T>(&'a Mutex<T>);

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl<'a, T> MutexGuard<'a, T> {
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.held.0
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(formatter)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

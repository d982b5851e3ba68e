//! The inbox: what other threads hand to the loop, and how they end its wait.
//!
//! States, in one atomic byte:
//!
//! ```text
//! PENDING   something is in the queue that the loop has not taken
//! ASLEEP    the loop is in, or about to enter, a select that may wait
//! ```
//!
//! * A poster pushes under the lock, then sets PENDING; it wakes the selector only if it was the one to set PENDING
//!   while ASLEEP was set: one system call however many posts, none while the loop is awake.
//! * The loop sets ASLEEP before it waits and does not wait if PENDING was set; it clears both before it takes.
//! * After `close` every post is given back to its poster; none is lost in silence.
//!
//! It has no limit of its own: asyncio's `call_soon_threadsafe` has none.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use crate::LoopId;
use crate::loom::atomic::{AtomicU8, Ordering};
use crate::loom::{Mutex, lock};
use crate::sys::Wakeup;
use crate::task::{Notified, Schedule};

const PENDING: u8 = 0b01;
const ASLEEP: u8 = 0b10;

/// Sends entries to a loop from any thread.
///
/// Cloning is cheap. It does not keep the loop alive: after the loop is closed, posts come back as [`Closed`].
pub struct Remote<P> {
    inbox: Arc<Inbox<P>>,
}

impl<P> Clone for Remote<P> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox) }
    }
}

impl<P> fmt::Debug for Remote<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Remote").field("loop", &self.inbox.id).finish_non_exhaustive()
    }
}

/// The loop is closed; the entry that could not be posted is given back.
pub struct Closed<P>(pub P);

impl<P> fmt::Debug for Closed<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Closed(..)")
    }
}

impl<P> fmt::Display for Closed<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("event loop is closed")
    }
}

impl<P> std::error::Error for Closed<P> {}

impl<P> Remote<P> {
    pub(crate) fn new(inbox: Arc<Inbox<P>>) -> Self {
        Self { inbox }
    }

    /// Queues `item` for the loop's next iteration and ends its wait; first in, first out for each thread.
    ///
    /// # Errors
    /// [`Closed`] with the item when the loop is closed.
    pub fn post(&self, item: P) -> Result<(), Closed<P>> {
        self.inbox.post(item)
    }

    /// Ends the loop's wait without giving it anything to do.
    pub fn wake(&self) {
        self.inbox.wake();
    }
}

/// The receiving end, shared by the loop and every [`Remote`] and waker.
pub struct Inbox<P> {
    id: LoopId,
    flags: AtomicU8,
    queue: Mutex<Queue<P>>,
    /// None once closed; written to under the lock, so that nobody writes to a number that is somebody else's by then.
    wakeup: Mutex<Option<Wakeup>>,
}

struct Queue<P> {
    items: Vec<P>,
    closed: bool,
}

impl<P> fmt::Debug for Inbox<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inbox").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<P> Inbox<P> {
    /// An empty inbox of the loop `id`.
    ///
    /// # Errors
    /// That of the system when no wake-up descriptor can be had (EMFILE).
    pub fn new(id: LoopId) -> io::Result<Self> {
        Ok(Self {
            id,
            flags: AtomicU8::new(0),
            queue: Mutex::new(Queue { items: Vec::new(), closed: false }),
            wakeup: Mutex::new(Some(Wakeup::new()?)),
        })
    }

    /// The descriptor that becomes readable when somebody posts to a sleeping loop.
    pub fn wakeup_fd(&self) -> RawFd {
        lock(&self.wakeup).as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Ends the loop's wait.
    pub fn wake(&self) {
        if let Some(wakeup) = &*lock(&self.wakeup) {
            wakeup.wake();
        }
    }

    /// How often the wait was ended since this was last asked.
    #[cfg(all(test, loom))]
    pub(crate) fn take_wakeups(&self) -> u64 {
        lock(&self.wakeup).as_ref().map_or(0, Wakeup::take_count)
    }

    /// See [`Remote::post`].
    ///
    /// # Errors
    /// [`Closed`] with the item when the loop is closed.
    pub fn post(&self, item: P) -> Result<(), Closed<P>> {
        {
            let mut queue = lock(&self.queue);
            if queue.closed {
                return Err(Closed(item));
            }
            queue.items.push(item);
        }
        let before = self.flags.fetch_or(PENDING, Ordering::AcqRel);
        if before == ASLEEP {
            self.wake();
        }
        Ok(())
    }

    /// Ends the loop's wait if it is in one: for who has queued an entry some other way, under a lock that the loop gives
    /// up only after [`fall_asleep`](Self::fall_asleep).
    pub fn interrupt(&self) {
        if self.flags.load(Ordering::Acquire) & ASLEEP != 0
            && self.flags.fetch_or(PENDING, Ordering::AcqRel) == ASLEEP
        {
            self.wake();
        }
    }

    /// Whether something waits to be taken: one load.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.flags.load(Ordering::Acquire) & PENDING != 0
    }

    /// Announces that the loop is about to wait; `false` if it must not, because something is pending.
    pub fn fall_asleep(&self) -> bool {
        self.flags.fetch_or(ASLEEP, Ordering::AcqRel) & PENDING == 0
    }

    /// Ends the announcement, and moves what is pending into `items`, which must be empty.
    pub fn take_into(&self, items: &mut Vec<P>) {
        debug_assert!(items.is_empty());
        if self.flags.load(Ordering::Acquire) == 0 {
            return;
        }
        if self.flags.swap(0, Ordering::AcqRel) & PENDING != 0 {
            std::mem::swap(&mut lock(&self.queue).items, items);
        }
    }

    /// Refuses further posts and gives back what nobody took.
    pub fn close(&self) -> Vec<P> {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        let wakeup = lock(&self.wakeup).take();
        drop(wakeup);
        std::mem::take(&mut queue.items)
    }
}

impl<P: Send + From<Notified>> Schedule for Inbox<P> {
    fn loop_id(&self) -> LoopId {
        self.id
    }

    fn schedule_remote(&self, task: Notified) {
        // A closed loop has dropped the future already: the wake-up has nobody left to wake.
        drop(self.post(P::from(task)));
    }
}

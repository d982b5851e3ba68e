//! A flag that tasks wait for.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_queue::{Ticket, WaitQueue};

/// A flag; tasks wait until it is set.
///
/// # Examples
/// ```
/// use aioxide::{spawn, sync::Event};
/// use std::rc::Rc;
/// aioxide::run(async {
///     let go = Rc::new(Event::new());
///     let waiting = Rc::clone(&go);
///     let task = spawn(async move { waiting.wait().await });
///     go.set();
///     task.await;
///     assert!(go.is_set());
/// }).unwrap();
/// ```
/// asyncio: `Event`.
#[derive(Debug, Default)]
pub struct Event {
    set: Cell<bool>,
    waiters: WaitQueue,
}

impl Event {
    /// One that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it, and wakes all that wait.
    pub fn set(&self) {
        if !self.set.replace(true) {
            self.waiters.wake_all();
        }
    }

    /// Resets it. Those that were woken by a [`set`](Self::set) before go on all the same.
    pub fn clear(&self) {
        self.set.set(false);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Waits until it is set; ready at once if it is.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub fn wait(&self) -> EventWait<'_> {
        EventWait { event: self, ticket: Ticket::default() }
    }
}

/// The future of [`Event::wait`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct EventWait<'a> {
    event: &'a Event,
    ticket: Ticket,
}

impl Future for EventWait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.event.set.get() && this.ticket.is_idle() {
            return Poll::Ready(());
        }
        this.event.waiters.poll(&mut this.ticket, "Event::wait", cx)
    }
}

impl Drop for EventWait<'_> {
    fn drop(&mut self) {
        self.event.waiters.forget(&mut self.ticket);
    }
}

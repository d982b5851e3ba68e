//! What Rust futures of other extensions wait for: timers and descriptors of the loop.

use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aioxide::time::{Sleep, sleep};
use aioxide_core::Registration;
use aioxide_core::current::current;

/// A timer.
pub(super) struct Timer(Sleep);

impl Timer {
    /// A timer of the loop that this thread runs, if any.
    pub(super) fn start(delay_ns: u64) -> Option<Self> {
        current()?;
        Some(Self(sleep(Duration::from_nanos(delay_ns))))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if current().is_none() {
            // Nothing here can wake it: whoever polls it between two runs of its loop has to come back.
            return Poll::Pending;
        }
        Pin::new(&mut self.0).poll(cx)
    }
}

/// A watched descriptor.
///
/// The loop's list of who waits for it knows a waker of ours by its address. Another extension's is another one at each
/// poll, so it gets a place of its own that does not change.
pub(super) struct Watch {
    registration: Registration,
    relays: [Arc<Relay>; 2],
}

impl Watch {
    /// Watches with the loop that this thread runs.
    ///
    /// # Errors
    /// The errno, or 0 if the thread runs no loop.
    pub(super) fn start(fd: RawFd) -> Result<Self, i32> {
        let event_loop = current().ok_or(0)?;
        let registration = event_loop.reactor().register(fd).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => libc::EEXIST,
            _ => error.raw_os_error().unwrap_or(libc::EIO),
        })?;
        Ok(Self { registration, relays: Default::default() })
    }

    pub(super) fn poll(&self, writing: bool, cx: &mut Context<'_>) -> Poll<()> {
        if writing { self.registration.poll_writable(cx) } else { self.registration.poll_readable(cx) }
    }

    /// The same for a waker of another extension's.
    pub(super) fn poll_relayed(&self, writing: bool, cx: &Context<'_>) -> Poll<()> {
        let relay = &self.relays[usize::from(writing)];
        relay.set(Some(cx.waker().clone()));
        let waker = Waker::from(Arc::clone(relay));
        let polled = self.poll(writing, &mut Context::from_waker(&waker));
        if polled.is_ready() {
            relay.set(None);
        }
        polled
    }

    /// Whether the running loop is another one, which gets no event of it.
    pub(super) fn is_of_another_loop(&self) -> bool {
        self.registration.is_of_another_loop()
    }

    pub(super) fn clear(&self, writing: bool) {
        if writing {
            self.registration.clear_writable();
        } else {
            self.registration.clear_readable();
        }
    }
}

/// Wakes whoever polled last.
#[derive(Default)]
struct Relay(Mutex<Option<Waker>>);

impl Relay {
    fn set(&self, waker: Option<Waker>) {
        let before = {
            let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, waker)
        };
        drop(before);
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

//! The waker of an awaitable: lazy during its first polls, then an `Arc` that any thread may hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

use super::Home;
use crate::ffi::{self, Confined, Outcome, Owned, Slot};
use crate::future::Future;
use crate::kernel::{Deliver, Entry, LoopState, Posted, running};

/// What an armed waker points to.
///
/// It owns no Python object but the wait, and that only until the awaitable takes it back, as it does at its end: so the
/// last waker may be dropped on any thread.
pub(crate) struct Parker {
    home: Home,
    /// The address of the loop's state: for comparison only.
    event_loop: usize,
    notified: AtomicBool,
    wait: Confined<Slot>,
}

impl Parker {
    /// Whether it belongs to this loop.
    pub(super) fn is_of(&self, state: &LoopState) -> bool {
        self.event_loop == std::ptr::from_ref(state) as usize
    }

    /// Forgets former wake-ups and the wait that they were for.
    #[inline]
    pub(super) fn begin_poll(&self) {
        // Acquires what the waking thread wrote before: the poll is to see it.
        self.notified.swap(false, Ordering::AcqRel);
        self.wait.clear();
    }

    /// Whether it was woken since the poll began.
    #[inline]
    pub(super) fn is_notified(&self) -> bool {
        self.notified.load(Ordering::Acquire)
    }

    /// The future that is finished by the next wake-up.
    #[inline]
    pub(super) fn wait(&self) -> &Slot {
        &self.wait
    }

    /// Finishes the wait; on the loop's thread, attached.
    #[inline]
    fn finish_wait(&self) -> Outcome<()> {
        let Some(wait) = self.wait.take() else { return Ok(()) };
        match Future::exact(&wait) {
            Some(wait) if !wait.is_done() => wait.finish_with_result(Owned::none()),
            _ => Ok(()),
        }
    }

    /// Wakes: any thread, attached or not.
    #[inline]
    pub(super) fn notify(self: &Arc<Self>) {
        if self.notified.swap(true, Ordering::AcqRel) {
            return;
        }
        let here = running().filter(|state| self.is_of(state));
        match here {
            // Another thread may have the queue while this one is detached.
            Some(state) if ffi::is_attached() => {
                if state.takes_entries() {
                    if let Err(raised) = self.finish_wait() {
                        ffi::raised::unraisable(raised, ffi::none());
                    }
                } else {
                    // To finish it would call Python, and whoever wakes may have anything borrowed.
                    state.core.call_soon(Entry::Woken(Arc::<Self>::clone(self)));
                }
            }
            // A closed loop has dropped the future already.
            _ => drop(self.home.post(Posted::Woken(Arc::<Self>::clone(self)))),
        }
    }
}

impl Deliver for Parker {
    fn deliver(&self) -> Outcome<()> {
        self.finish_wait()
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}

/// The waker of one poll of an awaitable that has no parker yet.
pub(super) struct Lazy<'a> {
    home: &'a Home,
    event_loop: usize,
    woken: AtomicBool,
    parker: OnceLock<Arc<Parker>>,
}

impl<'a> Lazy<'a> {
    pub(super) fn new(state: &'a LoopState) -> Self {
        Self {
            home: &state.rust_futures.home,
            event_loop: std::ptr::from_ref(state) as usize,
            woken: AtomicBool::new(false),
            parker: OnceLock::new(),
        }
    }

    /// The parker, made now if need be.
    pub(super) fn arm(&self) -> Arc<Parker> {
        let parker = self.parker.get_or_init(|| {
            Arc::new(Parker {
                home: self.home.clone(),
                event_loop: self.event_loop,
                notified: AtomicBool::new(false),
                wait: Confined::new(Slot::new()),
            })
        });
        Arc::clone(parker)
    }

    /// Wakes without being armed.
    pub(super) fn mark(&self) {
        self.woken.store(true, Ordering::Release);
    }

    /// Whether it was woken, and the parker if it was armed.
    pub(super) fn end(self) -> (bool, Option<Arc<Parker>>) {
        (self.woken.into_inner(), self.parker.into_inner())
    }
}

/// An armed waker as Rust knows it.
pub(super) fn waker_of(parker: Arc<Parker>) -> Waker {
    Waker::from(parker)
}

//! Who waits until a websocket can be read, or written: hyper's and TLS's streams know one waker for each.
//!
//! | `is_polled` | a ring |
//! |---|---|
//! | no | wakes all who wait, and they look for themselves |
//! | yes | is noted; all are woken when the poll has ended |
//!
//! Invariant: wakers are cloned, woken and dropped while nothing is locked, nor the websocket's core borrowed. They may be
//! anybody's code, and poll at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Those who wait for the same thing.
#[derive(Default)]
pub(super) struct Waiters {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the number of the wait.
    wakers: BTreeMap<u64, Waker>,
    /// How many numbers from `UNHELD` on were given.
    unheld: u64,
    is_polled: bool,
    /// It rang since the poll began.
    rang: bool,
}

/// From here on are the numbers of waits that no value stands for, so that nobody takes them out before the next ring.
const UNHELD: u64 = 1 << 63;

/// What is to be woken when nothing is borrowed.
#[must_use]
pub(super) struct Rung(BTreeMap<u64, Waker>);

impl Rung {
    pub(super) fn wake(self) {
        self.0.into_values().for_each(Waker::wake);
    }
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A poll begins, and with it the borrow of the core.
    pub(super) fn begin(&self) {
        let mut state = self.lock();
        state.is_polled = true;
        state.rang = false;
    }

    /// The poll has ended. `waits`: who has to wait, and the number of its wait; `is_over`: nobody waits for anything any more.
    pub(super) fn settle(&self, waits: Option<(Option<u64>, &Waker)>, is_over: bool) -> Rung {
        let new = waits.map(|(number, waker)| (number, waker.clone()));
        let mut state = self.lock();
        state.is_polled = false;
        let old = new.and_then(|(number, waker)| {
            let number = number.unwrap_or_else(|| state.number_of(&waker));
            state.wakers.insert(number, waker)
        });
        let is_rung = state.rang || is_over;
        state.rang = false;
        let rung = if is_rung { std::mem::take(&mut state.wakers) } else { BTreeMap::new() };
        drop(state);
        drop(old);
        Rung(rung)
    }

    /// Nobody waits under that number any more.
    pub(super) fn forget(&self, number: u64) {
        let old = self.lock().wakers.remove(&number);
        drop(old);
    }
}

impl State {
    /// One number for each task that waits without one: bounded by the number of tasks.
    fn number_of(&mut self, waker: &Waker) -> u64 {
        let mut unheld = self.wakers.range(UNHELD..);
        if let Some((&number, _)) = unheld.find(|(_, other)| other.will_wake(waker)) {
            return number;
        }
        self.unheld += 1;
        UNHELD + self.unheld
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.is_polled {
            state.rang = true;
            return;
        }
        let rung = Rung(std::mem::take(&mut state.wakers));
        drop(state);
        rung.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts, and looks whether it is called while the list is locked or the core would be borrowed.
    struct Looks {
        waiters: Arc<Waiters>,
        woken: Arc<AtomicUsize>,
    }

    impl Looks {
        fn look(&self) {
            let state = self.waiters.state.try_lock().expect("called while it is locked");
            assert!(!state.is_polled, "called while the core is borrowed");
        }
    }

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.look();
            self.woken.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            self.look();
        }
    }

    #[test]
    fn a_ring_during_a_poll_wakes_when_the_poll_has_ended() {
        let waiters = Arc::new(Waiters::default());
        let woken = Arc::new(AtomicUsize::new(0));
        let waker = || Waker::from(Arc::new(Looks { waiters: waiters.clone(), woken: woken.clone() }));
        let wait = |number| {
            waiters.begin();
            waiters.settle(Some((number, &waker())), false).wake();
        };
        // The second of the first wait's wakers takes the place of the first.
        [Some(1), Some(1), Some(2), None].into_iter().for_each(wait);
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        waiters.begin();
        waiters.wake_by_ref();
        assert_eq!(woken.load(Ordering::SeqCst), 0, "the core is borrowed");
        let last = waker();
        waiters.settle(Some((Some(3), &last)), false).wake();
        assert_eq!(woken.load(Ordering::SeqCst), 4, "who polled is woken too");
        wait(Some(4));
        waiters.forget(4);
        waiters.wake_by_ref();
        assert_eq!(woken.load(Ordering::SeqCst), 4, "the wait was given up");
    }

    #[test]
    fn waits_without_a_number_are_one_for_each_waker() {
        let waiters = Waiters::default();
        for _ in 0..3 {
            waiters.begin();
            waiters.settle(Some((None, Waker::noop())), false).wake();
        }
        assert_eq!(waiters.lock().wakers.len(), 1);
    }
}

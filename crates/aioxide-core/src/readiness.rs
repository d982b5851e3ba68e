//! What an edge-triggered descriptor was last said to be ready for, and who waits for it.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::task::{Context, Poll, Waker};

use crate::destroy::wake;
use crate::sys::Interest;
use crate::task::is_of_ended;

/// Of one descriptor, for reading and for writing.
#[derive(Default)]
pub(crate) struct Readiness {
    pub(crate) read: Direction,
    pub(crate) write: Direction,
    /// No edge comes after the one that told of the end: see [`Registration::drained`](crate::reactor::Registration::drained).
    read_closed: Cell<bool>,
}

impl Readiness {
    pub(crate) fn set(&self, ready: Interest, read_closed: bool) {
        if read_closed {
            self.read_closed.set(true);
        }
        if ready.is_readable() {
            self.read.set();
        }
        if ready.is_writable() {
            self.write.set();
        }
    }

    pub(crate) fn is_read_closed(&self) -> bool {
        self.read_closed.get()
    }
}

/// One direction: whether it is thought to be ready, and the wakers of those that wait.
#[derive(Default)]
pub(crate) struct Direction {
    ready: Cell<bool>,
    waiters: RefCell<Waiters>,
}

impl Direction {
    /// Ready when it is thought to be; else the task is woken when it is.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.ready.get() {
            return Poll::Ready(());
        }
        let known = self.waiters.borrow().has(cx.waker());
        if !known {
            // Cloned while nothing is borrowed: the waker may be anybody's code.
            let waker = cx.waker().clone();
            let ended = self.waiters.borrow_mut().add(waker);
            drop(ended);
        }
        Poll::Pending
    }

    /// Lets go of a waker of somebody who has given up. It is woken: others may wait by it as well, and ask again then.
    pub(crate) fn forget(&self, waker: &Waker) {
        let removed = self.waiters.borrow_mut().remove(waker);
        removed.into_iter().for_each(wake);
    }

    pub(crate) fn clear(&self) {
        self.ready.set(false);
    }

    /// Lets the next call be tried, without waking anybody.
    pub(crate) fn assume(&self) {
        self.ready.set(true);
    }

    fn set(&self) {
        self.ready.set(true);
        self.wake_all();
    }

    pub(crate) fn wake_all(&self) {
        // One waiter is by far the commonest case: it keeps the list's memory.
        let only = {
            let mut waiters = self.waiters.borrow_mut();
            if waiters.wakers.len() <= 1 { Some(waiters.wakers.pop()) } else { None }
        };
        match only {
            Some(waker) => waker.into_iter().for_each(wake),
            None => {
                let taken = self.waiters.take();
                taken.wakers.into_iter().for_each(wake);
            }
        }
    }
}

/// Each task that waits has one entry. A wait that is given up leaves its entry until the next event; those of tasks that have
/// ended meanwhile are taken out whenever there are twice as many as were left the last time, so that the entries are
/// bounded by the number of living tasks. Whoever waits by another waker than its task's takes that out itself ([`Direction::forget`]).
#[derive(Default)]
struct Waiters {
    wakers: Vec<Waker>,
    /// How many entries were left when it was last looked for ended tasks.
    living: usize,
    /// Which they are, once there are more than [`FEW`].
    known: HashSet<Identity>,
}

/// So many are compared one by one: a set costs an allocation.
const FEW: usize = 16;

/// With fewer entries it is not looked for those of ended tasks.
const LOOKED_THROUGH: usize = 64;

/// Equal for wakers that wake the same, as [`Waker::will_wake`] has it. A waker in the list keeps its own from being reused.
type Identity = (usize, usize);

fn identity(waker: &Waker) -> Identity {
    (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
}

impl Waiters {
    fn has(&self, waker: &Waker) -> bool {
        if self.wakers.len() > FEW {
            return self.known.contains(&identity(waker));
        }
        self.wakers.iter().any(|held| held.will_wake(waker))
    }

    fn remove(&mut self, waker: &Waker) -> Option<Waker> {
        let place = self.wakers.iter().position(|held| held.will_wake(waker))?;
        let removed = self.wakers.remove(place);
        self.known.remove(&identity(&removed));
        Some(removed)
    }

    /// Adds a waker that is not in it; returns those that wake nobody any more, to be dropped when nothing is borrowed.
    fn add(&mut self, waker: Waker) -> Vec<Waker> {
        let mut ended = Vec::new();
        if self.wakers.len() >= (2 * self.living).max(LOOKED_THROUGH) {
            ended = self.wakers.extract_if(.., |held| is_of_ended(held)).collect();
            self.living = self.wakers.len();
            self.known.clear();
            if self.living > FEW {
                self.known = self.wakers.iter().map(identity).collect();
            }
        }
        if self.wakers.len() == FEW {
            self.known = self.wakers.iter().map(identity).collect();
        }
        if self.wakers.len() >= FEW {
            self.known.insert(identity(&waker));
        }
        self.wakers.push(waker);
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn waker_of_a_wait_that_was_given_up_is_woken_and_gone() {
        for others in [0, FEW, 3 * FEW] {
            let counts: Vec<_> = (0..=others).map(|_| Arc::new(Count::default())).collect();
            let direction = Direction::default();
            let wakers: Vec<_> = counts.iter().map(|count| Waker::from(Arc::clone(count))).collect();
            for waker in &wakers {
                assert!(direction.poll(&Context::from_waker(waker)).is_pending());
            }
            direction.forget(&wakers[0]);
            direction.forget(&wakers[0]);
            assert_eq!((counts[0].0.load(Ordering::Relaxed), Arc::strong_count(&counts[0])), (1, 2));
            // It may wait again.
            assert!(direction.poll(&Context::from_waker(&wakers[0])).is_pending());
            direction.set();
            assert_eq!(counts[0].0.load(Ordering::Relaxed), 2);
            assert!(counts[1..].iter().all(|count| count.0.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn each_of_few_and_of_many_waiters_has_one_entry_and_is_woken_once() {
        for tasks in [1, 2, FEW, FEW + 1, FEW + 2, 20 * FEW] {
            let counts: Vec<_> = (0..tasks).map(|_| Arc::new(Count::default())).collect();
            let direction = Direction::default();
            for _ in 0..3 {
                for count in &counts {
                    let waker = Waker::from(Arc::clone(count));
                    assert!(direction.poll(&Context::from_waker(&waker)).is_pending());
                }
            }
            assert!(counts.iter().all(|count| Arc::strong_count(count) == 2), "{tasks} tasks");
            direction.set();
            assert!(counts.iter().all(|count| count.0.load(Ordering::Relaxed) == 1), "{tasks} tasks");
            assert!(counts.iter().all(|count| Arc::strong_count(count) == 1), "{tasks} tasks");
            let again = Waker::from(Arc::clone(&counts[0]));
            assert!(direction.poll(&Context::from_waker(&again)).is_ready());
            direction.clear();
            assert!(direction.poll(&Context::from_waker(&again)).is_pending());
        }
    }
}

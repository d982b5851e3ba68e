//! What an edge-triggered descriptor was last said to be ready for, and who waits for it.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::task::{Context, Poll, Waker};

use crate::sys::Interest;

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
            self.waiters.borrow_mut().add(waker);
        }
        Poll::Pending
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
            Some(waker) => waker.into_iter().for_each(Waker::wake),
            None => {
                let taken = self.waiters.take();
                taken.wakers.into_iter().for_each(Waker::wake);
            }
        }
    }
}

/// Each task that waits has one entry, so they are bounded by the number of tasks.
#[derive(Default)]
struct Waiters {
    wakers: Vec<Waker>,
    /// Which they are, once there are more than [`FEW`].
    known: HashSet<Identity>,
}

/// So many are compared one by one: a set costs an allocation.
const FEW: usize = 16;

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

    fn add(&mut self, waker: Waker) {
        if self.wakers.len() == FEW {
            self.known = self.wakers.iter().map(identity).collect();
        }
        if self.wakers.len() >= FEW {
            self.known.insert(identity(&waker));
        }
        self.wakers.push(waker);
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

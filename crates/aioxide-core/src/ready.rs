//! The ready queue: first in, first out, run in batches.

use std::cell::RefCell;
use std::collections::VecDeque;

/// What runs next, in order.
///
/// No borrow is alive while an entry runs, so an entry may push, and the owner may clear, at any time.
/// It has no limit: asyncio's has none, and what pushes into it (callbacks, woken tasks) is bounded by their number.
#[derive(Debug)]
pub(crate) struct Ready<R> {
    queue: RefCell<VecDeque<R>>,
}

impl<R> Ready<R> {
    pub(crate) fn new() -> Self {
        Self { queue: RefCell::new(VecDeque::with_capacity(64)) }
    }

    #[inline]
    pub(crate) fn push(&self, runnable: R) {
        self.queue.borrow_mut().push_back(runnable);
    }

    /// Puts an entry before the one that is at `place`, behind all if there is none.
    pub(crate) fn insert(&self, place: usize, runnable: R) {
        let mut queue = self.queue.borrow_mut();
        let place = place.min(queue.len());
        queue.insert(place, runnable);
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<R> {
        self.queue.borrow_mut().pop_front()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Takes everything out, so that it is dropped without a borrow alive.
    pub(crate) fn take(&self) -> VecDeque<R> {
        std::mem::take(&mut *self.queue.borrow_mut())
    }

    /// Calls `look` on each entry in order.
    pub(crate) fn for_each(&self, look: impl FnMut(&R)) {
        self.queue.borrow().iter().for_each(look);
    }
}

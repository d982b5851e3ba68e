//! A field that holds any number of objects, first in, first out.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::os::raw::c_int;

use super::object::{Object, Owned, Visit};
use super::row::Row;

/// Objects in a row. As with a `Slot`, what it holds is never lent: it may change while anything runs.
pub(crate) struct Line(UnsafeCell<Row>);

impl Line {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Row::new()))
    }

    /// Changes it in place, and then releases what has left.
    #[inline(always)]
    fn with<T>(&self, change: impl FnOnce(&mut Row, &mut Vec<Owned>) -> T) -> T {
        let mut left = Vec::new();
        // SAFETY: what is given here, all of it in this file, runs nobody else's code and drops no object, so that there
        // is never a second one at work.
        change(unsafe { &mut *self.0.get() }, &mut left)
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.with(Row::len)
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.with(|row, _| row.is_empty())
    }

    #[inline(always)]
    pub(crate) fn push(&self, object: Owned) {
        self.with(|row, _| row.push(object));
    }

    /// The first at `index` or behind it, which is then its place.
    #[inline]
    pub(crate) fn get(&self, index: &mut usize) -> Option<Owned> {
        self.with(|row, _| row.get(index).cloned())
    }

    /// Takes out an object, if it is still there.
    #[inline]
    pub(crate) fn remove(&self, object: &Object) {
        self.with(|row, left| row.remove(object, left));
    }

    /// Takes out the first.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Owned> {
        self.with(Row::pop)
    }

    /// The objects of a line that `remove` is never called on, for what runs no Python code: nobody comes back here.
    #[inline(always)]
    pub(crate) fn with_items<T>(&self, change: impl FnOnce(&mut VecDeque<Owned>) -> T) -> T {
        // SAFETY: see `with`; all callers stand in this crate and give a method of the deque.
        change(unsafe { &mut *self.0.get() }.items())
    }

    /// Takes out all of them.
    pub(crate) fn take(&self) -> VecDeque<Owned> {
        self.with(Row::take)
    }

    /// Shows the objects to the collector.
    pub(crate) fn visit(&self, visit: Visit) -> c_int {
        // SAFETY: the collector only looks; nothing else runs while the field is read in place.
        for item in unsafe { &*self.0.get() }.held() {
            let status = visit.object(item);
            if status != 0 {
                return status;
            }
        }
        0
    }
}

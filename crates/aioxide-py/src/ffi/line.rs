//! A field that holds any number of objects in a row.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::raw::c_int;

use super::object::{Object, Owned, Visit};

/// Objects in a row. As with a `Slot`, what it holds is never lent: it may change while anything runs.
pub(crate) struct Line(Cell<VecDeque<Owned>>);

impl Line {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(VecDeque::new()))
    }

    /// Changes it in place: moving it out and in would cost more than the change.
    #[inline]
    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<Owned>) -> T) -> T {
        // SAFETY: what is given here, all of it in this file, runs nobody else's code and drops no object, so that there
        // is never a second one at work.
        change(unsafe { &mut *self.0.as_ptr() })
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.with(|items| items.len())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn push(&self, object: Owned) {
        self.with(|items| items.push_back(object));
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Owned> {
        self.with(|items| items.get(index).cloned())
    }

    /// Takes out the first one that is this very object.
    #[inline]
    pub(crate) fn remove(&self, object: &Object) -> Option<Owned> {
        self.with(|items| {
            let place = items.iter().position(|item| item.is(object))?;
            items.remove(place)
        })
    }

    /// Takes out all of them.
    pub(crate) fn take(&self) -> VecDeque<Owned> {
        self.0.take()
    }

    /// Shows the objects to the collector.
    pub(crate) fn visit(&self, visit: Visit) -> c_int {
        // SAFETY: the collector only looks; nothing else runs while the field is read in place.
        for item in unsafe { &*self.0.as_ptr() } {
            let status = visit.object(item);
            if status != 0 {
                return status;
            }
        }
        0
    }
}

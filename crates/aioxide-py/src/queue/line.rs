//! Objects in a row, first in, first out: Rust's own until somebody asks to see them, from then on a Python object.
//!
//! `queue._queue`, `_getters` and `_putters` are deques in asyncio, and programs change them. So a row is in one of two
//! states:
//! 1. own: the objects are in `own`, `shown` is empty;
//! 2. shown: `own` is empty, and `shown` holds the Python object that has them, whatever a program has put there.
//!
//! `show` leads from 1 to 2. Back leads `settle`, once the deque is empty and nobody else holds it.

use std::cell::UnsafeCell;
use std::os::raw::c_int;

use crate::ffi::row::Row;
use crate::ffi::{Object, Outcome, Owned, Slot, Visit, call, raised};
use crate::interp::names;

pub(super) struct Line {
    /// Reached through `with` only.
    own: UnsafeCell<Row>,
    shown: Slot,
}

impl Line {
    pub(super) const fn new() -> Self {
        Self { own: UnsafeCell::new(Row::new()), shown: Slot::new() }
    }

    /// Reads or changes Rust's own row.
    ///
    /// `change` runs no Python code, which the release of an object is too: so nobody comes back here meanwhile.
    #[inline(always)]
    fn with<T>(&self, change: impl FnOnce(&mut Row) -> T) -> T {
        // SAFETY: see above; and a queue belongs to whoever holds the interpreter's lock.
        change(unsafe { &mut *self.own.get() })
    }

    /// `with`, and then releases what has left the row.
    #[inline]
    fn leave<T>(&self, change: impl FnOnce(&mut Row, &mut Vec<Owned>) -> T) -> T {
        let mut left = Vec::new();
        self.with(|own| change(own, &mut left))
    }

    /// How many objects there are, if Rust has them.
    #[inline(always)]
    pub(super) fn own_len(&self) -> Option<usize> {
        self.is_own().then(|| self.with(|own| own.items().len()))
    }

    /// Whether Rust has the objects.
    #[inline(always)]
    fn is_own(&self) -> bool {
        self.shown.is_empty()
    }

    /// Whether there is no object, as can be told without asking Python.
    #[inline(always)]
    pub(super) fn is_surely_empty(&self) -> bool {
        self.is_own() && self.with(|own| own.is_empty())
    }

    /// Takes the first object out of Rust's own row.
    #[inline(always)]
    pub(super) fn pop_own(&self) -> Option<Owned> {
        self.with(|own| own.items().pop_front())
    }

    /// Appends to Rust's own row.
    #[inline(always)]
    pub(super) fn push_own(&self, object: Owned) {
        debug_assert!(self.is_own(), "what was shown has the objects");
        self.with(|own| own.push(object));
    }

    /// `not row`.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> Outcome<bool> {
        if self.is_own() { Ok(self.with(|own| own.is_empty())) } else { self.is_empty_when_shown() }
    }

    #[cold]
    fn is_empty_when_shown(&self) -> Outcome<bool> {
        call::truth(&self.shown.get_or_none()).map(|filled| !filled)
    }

    /// `len(row)`.
    #[inline(always)]
    pub(super) fn len(&self) -> Outcome<usize> {
        if self.is_own() { Ok(self.leave(Row::len)) } else { call::length(&self.shown.get_or_none()) }
    }

    /// `row.append(object)`.
    #[inline(always)]
    pub(super) fn push(&self, object: Owned) -> Outcome<()> {
        if !self.is_own() {
            return self.push_when_shown(&object);
        }
        self.with(|own| own.push(object));
        Ok(())
    }

    #[cold]
    fn push_when_shown(&self, object: &Object) -> Outcome<()> {
        call::call_method(&names().append, &[&*self.shown.get_or_none(), object], None).map(drop)
    }

    /// `row.popleft()`, nothing from an empty one; of a row that `remove` is never called on.
    #[inline(always)]
    pub(super) fn pop(&self) -> Outcome<Option<Owned>> {
        if self.is_own() {
            return Ok(self.pop_own());
        }
        self.pop_shown()
    }

    /// `pop` of a row of waiters.
    pub(super) fn pop_waiter(&self) -> Outcome<Option<Owned>> {
        if self.is_own() { Ok(self.leave(Row::pop)) } else { self.pop_shown() }
    }

    #[cold]
    fn pop_shown(&self) -> Outcome<Option<Owned>> {
        self.settle()?;
        let Some(shown) = self.shown.get() else { return Ok(None) };
        if call::truth(&shown)? {
            return call::call_method(&names().popleft, &[&shown], None).map(Some);
        }
        Ok(None)
    }

    /// `row.remove(object)` of what is compared by identity; not being there is no error.
    pub(super) fn remove(&self, object: &Object) -> Outcome<()> {
        let Some(shown) = self.shown.get() else {
            self.leave(|own, left| own.remove(object, left));
            return Ok(());
        };
        match call::call_method(&names().remove, &[&*shown, object], None) {
            Ok(_) => Ok(()),
            Err(raised) if raised::matches(raised::value_error()) => {
                raised::clear(raised);
                Ok(())
            }
            Err(raised) => Err(raised),
        }
    }

    /// The row as a Python object, which has the objects from now on.
    pub(super) fn show(&self) -> Outcome {
        if let Some(shown) = self.shown.get() {
            return Ok(shown);
        }
        let deque = call::call(&names().deque, &[])?;
        self.shown.set(deque.clone());
        for object in self.leave(Row::take) {
            call::call_method(&names().append, &[&*deque, &object], None)?;
        }
        Ok(deque)
    }

    /// Goes back to a row in Rust, if what was shown is an empty deque that nobody else holds.
    pub(super) fn settle(&self) -> Outcome<()> {
        let Some(shown) = self.shown.take() else { return Ok(()) };
        let unchanged = shown.class().is(&names().deque) && shown.is_held_once();
        if !unchanged || call::length(&shown)? > 0 {
            self.shown.set(shown);
        }
        Ok(())
    }

    /// Puts a Python object in the row's place.
    pub(super) fn replace(&self, object: Option<Owned>) {
        let own = self.leave(Row::take);
        self.shown.put(object);
        drop(own);
    }

    /// A list of the objects, without showing the row; of one that `remove` is never called on.
    pub(super) fn to_list(&self) -> Outcome {
        match self.shown.get() {
            Some(shown) => call::list_of(&shown),
            None => {
                let items: Vec<Owned> = self.with(|own| own.items().iter().cloned().collect());
                call::list(items.into_iter())
            }
        }
    }

    pub(super) fn traverse(&self, visit: Visit) -> c_int {
        let status = self.with(|own| {
            own.held().map(|object| visit.object(object)).find(|status| *status != 0).unwrap_or(0)
        });
        if status != 0 {
            return status;
        }
        self.shown.visit(visit)
    }
}

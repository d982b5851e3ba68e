//! A deque: Rust's own until somebody asks to see it, from then on a Python object.
//!
//! `queue._queue`, `_getters`, `_putters` and a lock's `_waiters` are deques in asyncio, and programs change them. So one is
//! in one of two states:
//! 1. own: the objects are in `own`, `shown` is empty;
//! 2. shown: `own` is empty, and `shown` holds the Python object that has them, whatever a program has put there.
//!
//! `show` leads from 1 to 2. Back leads `settle`, once the deque is empty and nobody else holds it.

use std::collections::VecDeque;
use std::os::raw::c_int;

use crate::ffi::{Line, Object, Outcome, Owned, Slot, Visit, call, raised};
use crate::interp::names;

pub(crate) struct Deque {
    own: Line,
    shown: Slot,
}

impl Deque {
    pub(crate) const fn new() -> Self {
        Self { own: Line::new(), shown: Slot::new() }
    }

    /// Rust's own objects, if Rust has them.
    #[inline(always)]
    pub(crate) fn own(&self) -> Option<&Line> {
        self.is_own().then_some(&self.own)
    }

    /// The Python object that has the objects, if one has.
    #[inline]
    pub(crate) fn shown(&self) -> Option<Owned> {
        self.shown.get()
    }

    /// How many objects there are, if Rust has them.
    #[inline(always)]
    pub(crate) fn own_len(&self) -> Option<usize> {
        self.is_own().then(|| self.own.with_items(|items| items.len()))
    }

    /// Whether Rust has the objects.
    #[inline(always)]
    fn is_own(&self) -> bool {
        self.shown.is_empty()
    }

    /// Whether there is no object, as can be told without asking Python.
    #[inline(always)]
    pub(crate) fn is_surely_empty(&self) -> bool {
        self.is_own() && self.own.is_empty()
    }

    /// Takes the first of Rust's own objects out; of a deque that `remove` is never called on.
    #[inline(always)]
    pub(crate) fn pop_own(&self) -> Option<Owned> {
        self.own.with_items(VecDeque::pop_front)
    }

    /// Appends to Rust's own objects.
    #[inline(always)]
    pub(crate) fn push_own(&self, object: Owned) {
        debug_assert!(self.is_own(), "what was shown has the objects");
        self.own.push(object);
    }

    /// `not deque`.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> Outcome<bool> {
        if self.is_own() { Ok(self.own.is_empty()) } else { self.is_empty_when_shown() }
    }

    #[cold]
    fn is_empty_when_shown(&self) -> Outcome<bool> {
        call::truth(&self.shown.get_or_none()).map(|filled| !filled)
    }

    /// `len(deque)`.
    #[inline(always)]
    pub(crate) fn len(&self) -> Outcome<usize> {
        if self.is_own() { Ok(self.own.len()) } else { call::length(&self.shown.get_or_none()) }
    }

    /// `deque.append(object)`.
    #[inline(always)]
    pub(crate) fn push(&self, object: Owned) -> Outcome<()> {
        if !self.is_own() {
            return self.push_when_shown(&object);
        }
        self.own.push(object);
        Ok(())
    }

    #[cold]
    fn push_when_shown(&self, object: &Object) -> Outcome<()> {
        call::call_method(&names().append, &[&*self.shown.get_or_none(), object], None).map(drop)
    }

    /// `deque.popleft()`, `None` from an empty one; of one that `remove` is never called on.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Outcome<Option<Owned>> {
        if self.is_own() {
            return Ok(self.pop_own());
        }
        self.pop_shown()
    }

    /// `pop` of a deque of waiters.
    pub(crate) fn pop_waiter(&self) -> Outcome<Option<Owned>> {
        if self.is_own() { Ok(self.own.pop()) } else { self.pop_shown() }
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

    /// `deque.remove(object)` of what is compared by identity; not being there is no error.
    pub(crate) fn remove(&self, object: &Object) -> Outcome<()> {
        let Some(shown) = self.shown.get() else {
            self.own.remove(object);
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

    /// The deque as a Python object, which has the objects from now on.
    pub(crate) fn show(&self) -> Outcome {
        self.show_behind(VecDeque::new())
    }

    /// `show`, with others in front of its own.
    pub(crate) fn show_behind(&self, first: VecDeque<Owned>) -> Outcome {
        if let Some(shown) = self.shown.get() {
            return Ok(shown);
        }
        let deque = call::call(&names().deque, &[])?;
        self.shown.set(deque.clone());
        for object in first.into_iter().chain(self.own.take()) {
            call::call_method(&names().append, &[&*deque, &object], None)?;
        }
        Ok(deque)
    }

    /// Goes back to objects in Rust, if what was shown is an empty deque that nobody else holds.
    pub(crate) fn settle(&self) -> Outcome<()> {
        let Some(shown) = self.shown.take() else { return Ok(()) };
        let unchanged = shown.class().is(&names().deque) && shown.is_held_once();
        if !unchanged || call::length(&shown)? > 0 {
            self.shown.set(shown);
        }
        Ok(())
    }

    /// Puts a Python object in its place.
    pub(crate) fn replace(&self, object: Option<Owned>) {
        let own = self.own.take();
        self.shown.put(object);
        drop(own);
    }

    /// A list of the objects, without showing the deque; of one that `remove` is never called on.
    pub(crate) fn to_list(&self) -> Outcome {
        match self.shown.get() {
            Some(shown) => call::list_of(&shown),
            None => {
                let items: Vec<Owned> = self.own.with_items(|items| items.iter().cloned().collect());
                call::list(items.into_iter())
            }
        }
    }

    pub(crate) fn traverse(&self, visit: Visit) -> c_int {
        let status = self.own.visit(visit);
        if status != 0 { status } else { self.shown.visit(visit) }
    }
}

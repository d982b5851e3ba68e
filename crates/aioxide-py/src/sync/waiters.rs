//! Who waits: futures in the order in which they came.
//!
//! They are in a row of Rust's until somebody asks for `_waiters` or writes it. From then on a Python deque, or what was
//! written, has them, for whoever holds it may change it.

use std::cell::Cell;
use std::os::raw::c_int;

use crate::ffi::{Line, Object, Outcome, Owned, Slot, Visit, call, raised};
use crate::future::{Future, State, is_done};
use crate::interp::names;

pub(super) struct Waiters {
    line: Line,
    /// Those before the line that were cancelled and have not left yet: nobody looks at them again.
    passed_over: Line,
    shown: Slot,
    /// Whether the attribute is a deque, not None: where asyncio makes it with the first waiter, it stays false till then.
    begun: Cell<bool>,
}

impl Waiters {
    /// `begun` tells whether the attribute is a deque before the first waiter comes.
    pub(super) const fn new(begun: bool) -> Self {
        Self { line: Line::new(), passed_over: Line::new(), shown: Slot::new(), begun: Cell::new(begun) }
    }

    /// Begins anew.
    pub(super) fn reset(&self, begun: bool) {
        self.clear();
        self.begun.set(begun);
    }

    pub(super) fn push(&self, future: Owned) -> Outcome<()> {
        if let Some(shown) = self.shown.get() {
            return call::call_method(&names().append, &[&shown, &future], None).map(drop);
        }
        self.begun.set(true);
        self.line.push(future);
        Ok(())
    }

    /// Takes a future out, if it is still there.
    pub(super) fn remove(&self, future: &Object) -> Outcome<()> {
        let Some(shown) = self.shown.get() else {
            if !self.passed_over.is_empty() {
                self.passed_over.remove(future);
            }
            self.line.remove(future);
            return Ok(());
        };
        match call::call_method(&names().remove, &[&shown, future], None) {
            Err(raised) if raised::matches(raised::value_error()) => {
                raised::clear(raised);
                Ok(())
            }
            removed => removed.map(drop),
        }
    }

    pub(super) fn len(&self) -> Outcome<usize> {
        match self.shown.get() {
            Some(shown) => call::length(&shown),
            None => Ok(self.passed_over.len() + self.line.len()),
        }
    }

    #[inline]
    fn is_surely_empty(&self) -> bool {
        self.shown.is_empty() && self.line.is_empty()
    }

    /// Whether `test` holds for any, asked in their order until it does.
    fn any(&self, mut test: impl FnMut(&Object) -> Outcome<bool>) -> Outcome<bool> {
        if let Some(shown) = self.shown.get() {
            return call::any_item(&shown, test);
        }
        let mut index = 0;
        while let Some(future) = self.line.get(&mut index) {
            if test(&future)? {
                return Ok(true);
            }
            index += 1;
        }
        Ok(false)
    }

    /// Takes those at the front out of the line that were cancelled: nobody wakes them.
    ///
    /// Else each of many that are cancelled at once would look at all the others.
    fn pass_over_cancelled(&self) {
        let is_cancelled = |future: &Object| {
            Future::exact(future).is_some_and(|future| future.state.get() == State::Cancelled)
        };
        while let Some(first) = self.line.get(&mut 0).filter(|first| is_cancelled(first)) {
            self.line.remove(&first);
            self.passed_over.push(first);
        }
    }

    /// Whether somebody waits who was not cancelled.
    #[inline]
    pub(super) fn any_waits(&self) -> Outcome<bool> {
        if self.is_surely_empty() {
            return Ok(false);
        }
        self.any(|future| is_cancelled(future).map(|cancelled| !cancelled))
    }

    /// Wakes the first one, unless it is done: then somebody has seen to it that it will run.
    #[inline]
    pub(super) fn wake_first(&self) -> Outcome<()> {
        if self.is_surely_empty() {
            return Ok(());
        }
        self.any(|future| {
            if !is_done(future)? {
                wake(future, true)?;
            }
            Ok(true)
        })
        .map(drop)
    }

    /// Wakes as many of those that are not done as may be, in their order; returns how many.
    #[inline]
    pub(super) fn wake(&self, at_most: i64, value: bool) -> Outcome<i64> {
        let mut woken = 0;
        if at_most <= 0 || self.is_surely_empty() {
            return Ok(woken);
        }
        self.pass_over_cancelled();
        self.any(|future| {
            if !is_done(future)? {
                wake(future, value)?;
                woken += 1;
            }
            Ok(woken >= at_most)
        })?;
        Ok(woken)
    }

    /// The attribute `_waiters`.
    pub(super) fn show(&self) -> Outcome {
        if let Some(shown) = self.shown.get() {
            return Ok(shown);
        }
        if !self.begun.get() {
            return Ok(Owned::none());
        }
        let deque = call::call(&names().deque, &[])?;
        for future in self.passed_over.take().into_iter().chain(self.line.take()) {
            call::call_method(&names().append, &[&deque, &future], None)?;
        }
        self.shown.set(deque.clone());
        Ok(deque)
    }

    /// Writes the attribute.
    pub(super) fn replace(&self, value: Option<&Object>) -> Outcome<()> {
        let Some(value) = value else {
            return Err(raised::raise(raised::attribute_error(), "cannot delete attribute"));
        };
        self.clear();
        self.begun.set(!value.is_none());
        self.shown.put((!value.is_none()).then(|| value.own()));
        Ok(())
    }

    pub(super) fn traverse(&self, visit: Visit) -> c_int {
        [self.shown.visit(visit), self.passed_over.visit(visit), self.line.visit(visit)]
            .into_iter()
            .find(|status| *status != 0)
            .unwrap_or(0)
    }

    pub(super) fn clear(&self) {
        drop((self.line.take(), self.passed_over.take()));
        self.shown.clear();
    }
}

/// `future.cancelled()`.
#[inline]
pub(super) fn is_cancelled(future: &Object) -> Outcome<bool> {
    match Future::exact(future) {
        Some(future) => Ok(future.state.get() == State::Cancelled),
        None => call::truth(&*call::call_method(&names().cancelled, &[future], None)?),
    }
}

/// `future.set_result(value)` of one that is not done.
#[inline]
fn wake(future: &Object, value: bool) -> Outcome<()> {
    let value = Owned::boolean(value);
    match Future::exact(future) {
        Some(future) => future.finish_with_result(value),
        None => call::call_method(&names().set_result, &[future, &value], None).map(drop),
    }
}

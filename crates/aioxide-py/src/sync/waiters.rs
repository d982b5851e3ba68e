//! Who waits: futures in the order in which they came.
//!
//! They are in a `Deque`, which is shown when somebody asks for `_waiters` or writes it.

use std::cell::Cell;
use std::os::raw::c_int;

use super::deque::Deque;
use crate::ffi::{Line, Object, Outcome, Owned, Visit, call, raised};
use crate::future::{Future, State, is_done};
use crate::interp::names;

pub(super) struct Waiters {
    deque: Deque,
    /// Those in front that were cancelled and have not left yet: nobody looks at them again.
    passed_over: Line,
    /// Whether the attribute is a deque, not None: where asyncio makes it with the first waiter, it stays false till then.
    begun: Cell<bool>,
}

impl Waiters {
    /// `begun` tells whether the attribute is a deque before the first waiter comes.
    pub(super) const fn new(begun: bool) -> Self {
        Self { deque: Deque::new(), passed_over: Line::new(), begun: Cell::new(begun) }
    }

    /// Begins anew.
    pub(super) fn reset(&self, begun: bool) {
        self.clear();
        self.begun.set(begun);
    }

    pub(super) fn push(&self, future: Owned) -> Outcome<()> {
        self.begun.set(true);
        self.deque.push(future)
    }

    /// Takes a future out, if it is still there.
    pub(super) fn remove(&self, future: &Object) -> Outcome<()> {
        if !self.passed_over.is_empty() {
            self.passed_over.remove(future);
        }
        self.deque.remove(future)
    }

    pub(super) fn len(&self) -> Outcome<usize> {
        Ok(self.passed_over.len() + self.deque.len()?)
    }

    #[inline]
    fn is_surely_empty(&self) -> bool {
        self.deque.is_surely_empty()
    }

    /// Whether `test` holds for any, asked in their order until it does.
    fn any(&self, mut test: impl FnMut(&Object) -> Outcome<bool>) -> Outcome<bool> {
        if let Some(shown) = self.deque.shown() {
            return call::any_item(&shown, test);
        }
        let mut index = 0;
        while let Some(future) = self.deque.own().and_then(|own| own.get(&mut index)) {
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
        let Some(own) = self.deque.own() else { return };
        while let Some(first) = own.get(&mut 0).filter(|first| is_cancelled(first)) {
            own.remove(&first);
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
        if !self.begun.get() {
            return Ok(Owned::none());
        }
        self.deque.show_behind(self.passed_over.take())
    }

    /// Writes the attribute.
    pub(super) fn replace(&self, value: Option<&Object>) -> Outcome<()> {
        let Some(value) = value else {
            return Err(raised::raise(raised::attribute_error(), "cannot delete attribute"));
        };
        drop(self.passed_over.take());
        self.begun.set(!value.is_none());
        self.deque.replace((!value.is_none()).then(|| value.own()));
        Ok(())
    }

    pub(super) fn traverse(&self, visit: Visit) -> c_int {
        let status = self.passed_over.visit(visit);
        if status != 0 { status } else { self.deque.traverse(visit) }
    }

    pub(super) fn clear(&self) {
        drop(self.passed_over.take());
        self.deque.replace(None);
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

//! What an awaitable awaits itself.

use super::{Next, reused};
use crate::ffi::coroutine::{self, Resumed};
use crate::ffi::{Outcome, Owned, Slot, call, raised, recursion};
use crate::interp::names;

/// What an awaitable awaits itself: a coroutine or an iterator that everything is passed on to.
pub(crate) struct Inner(Slot);

impl Inner {
    pub(crate) const fn new() -> Self {
        Self(Slot::new())
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Resumes `inner` for the first time and keeps it.
    pub(crate) fn begin(&self, inner: Owned) -> Outcome<Next> {
        self.0.set(inner);
        self.advance()
    }

    /// Raises an exception in `inner` and keeps it.
    pub(crate) fn begin_by(&self, inner: Owned, exception: Owned) -> Outcome<Next> {
        self.0.set(inner);
        self.throw(exception)
    }

    /// Resumes it; once it has ended it is let go.
    pub(crate) fn advance(&self) -> Outcome<Next> {
        let Some(inner) = self.0.get() else { return Err(reused()) };
        self.settle(coroutine::send(&inner))
    }

    /// Raises an exception in it.
    pub(crate) fn throw(&self, exception: Owned) -> Outcome<Next> {
        let Some(inner) = self.0.get() else { return Err(raised::put_back(exception)) };
        if raised::is_kind(&exception, raised::generator_exit()) {
            self.close()?;
            return Err(raised::put_back(exception));
        }
        if call::find_attribute(&inner, &names().throw)?.is_none() {
            self.0.clear();
            return Err(raised::put_back(exception));
        }
        self.settle(recursion::nested(|| coroutine::throw(&inner, &exception, &names().throw)))
    }

    fn settle(&self, resumed: Outcome<Resumed>) -> Outcome<Next> {
        match resumed {
            Ok(Resumed::Yielded(yielded)) => Ok(Next::Yield(yielded)),
            Ok(Resumed::Returned(value)) => {
                self.0.clear();
                Ok(Next::Return(value))
            }
            Err(raised) => {
                let exception = raised::take(raised);
                self.0.clear();
                Err(raised::put_back(exception))
            }
        }
    }

    /// Closes it, if it can be closed.
    pub(crate) fn close(&self) -> Outcome<()> {
        let Some(inner) = self.0.take() else { return Ok(()) };
        match call::find_attribute(&inner, &names().close)? {
            Some(close) => recursion::nested(|| call::call(&close, &[])).map(drop),
            None => Ok(()),
        }
    }
}

//! The awaitable of `__aenter__`, for classes with a struct of their own (`holder`).

use super::inner::Inner;
use super::looks::Stage;
use super::{Awaitable, Home, Next, Steps, reused};
use crate::ffi::holder::{Contents, Holder, Link};
use crate::ffi::{Outcome, Owned, Slot, call};

/// What `async with` enters.
pub(crate) trait Entered: Contents {
    /// The full name of `__aenter__`.
    const ENTER: &'static str;
    /// Where the type of the awaitable is kept.
    fn entering() -> &'static Home;
    /// Enters it as one of ours; `false` where asyncio's own method is to do it.
    fn enter(this: &Holder<Self>) -> Outcome<bool>;
    /// asyncio's own `__aenter__`.
    fn stock_enter() -> Owned;
}

/// `__aenter__`: entered when it is awaited, by whoever awaits it.
pub(crate) struct Entering<T> {
    target: Link<T>,
    inner: Inner,
}

impl<T: Entered> Steps for Entering<T> {
    fn name(&self) -> &'static str {
        T::ENTER
    }

    fn stage(&self) -> Stage {
        match (self.target.slot().is_empty(), self.inner.is_empty()) {
            (false, _) => Stage::New,
            (true, true) => Stage::Done,
            (true, false) => Stage::Suspended,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.inner.slot().get()
    }

    fn home() -> &'static Home {
        T::entering()
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [self.target.slot(), self.inner.slot()].into_iter()
    }

    #[inline]
    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        if !this.inner.is_empty() {
            return this.inner.advance();
        }
        let Some(target) = this.target.take() else { return Err(reused()) };
        if T::enter(&target)? {
            return Ok(Next::Return(target.into_object()));
        }
        this.inner.begin(call::call(&T::stock_enter(), &[target.object()])?)
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        this.target.slot().clear();
        this.inner.close()
    }
}

/// The method `__aenter__`.
pub(crate) fn aenter<T: Entered>(this: &Holder<T>) -> Outcome {
    Awaitable::make(Entering { target: Link::new(this), inner: Inner::new() })
}

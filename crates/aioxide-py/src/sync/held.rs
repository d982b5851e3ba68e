//! `acquire`, `release` and `async with`: the same for whatever is held, locks and semaphores.
//!
//! Each of asyncio's own methods consults others; where one of those was replaced, asyncio's own method does it all.

use super::primitive::Primitive;
use super::wait::{self, Gate};
use crate::ffi::arguments::Arguments;
use crate::ffi::holder::Holder;
use crate::ffi::{Outcome, Owned, none};

// The bits of the methods in `Own::watched`, which names them in this order.
pub(super) const ACQUIRE: u8 = 1;
pub(super) const RELEASE: u8 = 2;
/// `_wake_up_first`, `_wake_up_next`.
pub(super) const WAKE_UP: u8 = 4;
pub(super) const GET_LOOP: u8 = 8;
pub(super) const ENTER: u8 = 16;
pub(super) const EXIT: u8 = 32;
/// `locked`, which only a semaphore's methods consult.
pub(super) const LOCKED: u8 = 64;

/// What is held by those who have passed it.
pub(super) trait Held: Gate {
    /// Whether asyncio's own method has to do it, since one of these that it consults was replaced.
    #[inline]
    fn is_theirs(this: &Holder<Primitive<Self>>, bits: u8) -> Outcome<bool> {
        this.replaced(bits)
    }
    /// What `release` does.
    fn give_back(this: &Holder<Primitive<Self>>) -> Outcome<()>;
}

pub(super) fn acquire<S: Held>(this: &Holder<Primitive<S>>) -> Outcome {
    if S::is_theirs(this, LOCKED | WAKE_UP | GET_LOOP)? {
        return S::watched().call_theirs(ACQUIRE, this.object(), &[]);
    }
    wait::make(this, true)
}

pub(super) fn enter<S: Held>(this: &Holder<Primitive<S>>) -> Outcome {
    if S::is_theirs(this, ACQUIRE | LOCKED | WAKE_UP | GET_LOOP)? {
        return S::watched().call_theirs(ENTER, this.object(), &[]);
    }
    wait::make(this, false)
}

pub(super) fn release<S: Held>(this: &Holder<Primitive<S>>) -> Outcome {
    if S::is_theirs(this, WAKE_UP)? {
        return S::watched().call_theirs(RELEASE, this.object(), &[]);
    }
    S::give_back(this)?;
    Ok(Owned::none())
}

pub(super) fn exit<S: Held>(this: &Holder<Primitive<S>>, _: &Arguments<'_>) -> Outcome {
    exit_unless(this, |_| Ok(()))
}

/// `__aexit__`, unless `refuse` raises.
pub(super) fn exit_unless<S: Held>(
    this: &Holder<Primitive<S>>,
    refuse: impl FnOnce(&Holder<Primitive<S>>) -> Outcome<()>,
) -> Outcome {
    if S::is_theirs(this, RELEASE | WAKE_UP)? {
        return S::watched().call_theirs(EXIT, this.object(), &[none(); 3]);
    }
    refuse(this)?;
    S::give_back(this)?;
    wait::nothing()
}

/// The methods of a class of what is held.
macro_rules! held_methods {
    ($own:ty) => {
        [
            $crate::ffi::method::method_none!(
                c"acquire",
                $crate::sync::held::acquire::<$own>,
                c"acquire($self)\n--\n\nAcquire it; wait until it is free. Returns True."
            ),
            $crate::ffi::method::method_none!(
                c"__aenter__",
                $crate::sync::held::enter::<$own>,
                c"__aenter__($self)\n--\n\nAcquire it."
            ),
            $crate::ffi::method::method_fast!(
                c"__aexit__",
                $crate::sync::held::exit::<$own>,
                c"__aexit__($self, *args)\n--\n\nRelease it."
            ),
            $crate::ffi::method::method_none!(
                c"release",
                $crate::sync::held::release::<$own>,
                c"release($self)\n--\n\nRelease it and wake the one that has waited longest.\n\nRaises RuntimeError if it is a lock that is not locked."
            ),
        ]
    };
}

pub(super) use held_methods;

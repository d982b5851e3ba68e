//! What every class has that tasks wait for, beside what is its own: who waits, the loop, and which methods were replaced.
//!
//! `Barrier` is none of these: those who come wait for its condition.

use std::ops::Deref;
use std::os::raw::c_int;

use super::bound::Bound;
use super::overrides::{Overrides, Watched};
use super::waiters::Waiters;
use crate::ffi::holder::{Constructed, Contents, Holder, InitArguments, Kind, Shown};
use crate::ffi::{Object, Outcome, Slot, Visit};

/// What an instance holds: `S` is what the class has of its own.
pub(super) struct Primitive<S> {
    own: S,
    pub(super) waiters: Waiters,
    pub(super) bound: Bound,
    overrides: Overrides,
}

/// What one of the classes has of its own.
pub(super) trait Own: Sized + 'static {
    /// Whether asyncio makes the deque of the waiters at once, not with the first of them.
    const BEGUN: bool;
    /// Where the type is kept.
    fn home() -> &'static Kind;
    /// The methods that asyncio's own ones consult.
    fn watched() -> &'static Watched;
    /// An instance before its `__init__`.
    fn new() -> Self;
    /// `__init__`, but for the waiters.
    fn init(this: &Holder<Primitive<Self>>, arguments: &InitArguments) -> Outcome<()>;
    /// `repr`.
    fn repr(this: &Holder<Primitive<Self>>) -> Outcome;
    /// What it holds.
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::empty()
    }
}

impl<S> Deref for Primitive<S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        &self.own
    }
}

impl<S: Own> Contents for Primitive<S> {
    fn home() -> &'static Kind {
        S::home()
    }

    fn traverse(&self, visit: Visit) -> c_int {
        let status = visit.slots(self.own.slots().chain([self.bound.slot()]));
        if status != 0 { status } else { self.waiters.traverse(visit) }
    }

    fn clear(&self) {
        self.waiters.clear();
        self.own.slots().chain([self.bound.slot()]).for_each(Slot::clear);
    }
}

impl<S: Own> Constructed for Primitive<S> {
    fn new() -> Self {
        let waiters = Waiters::new(S::BEGUN);
        Self { own: S::new(), waiters, bound: Bound::new(), overrides: Overrides::new() }
    }

    fn init(this: &Holder<Self>, arguments: &InitArguments) -> Outcome<()> {
        S::init(this, arguments)?;
        this.waiters.reset(S::BEGUN);
        Ok(())
    }
}

impl<S: Own> Shown for Primitive<S> {
    fn repr(this: &Holder<Self>) -> Outcome {
        S::repr(this)
    }

    fn assigned(&self, name: &Object) -> Outcome<()> {
        self.overrides.assigned(S::watched(), name)
    }
}

impl<S: Own> Holder<Primitive<S>> {
    /// Whether any of the methods with these bits was replaced.
    #[inline]
    pub(super) fn replaced(&self, bits: u8) -> Outcome<bool> {
        self.overrides.any(self.object(), S::watched(), bits)
    }
}

pub(super) fn get_loop<S: Own>(this: &Holder<Primitive<S>>) -> Outcome {
    this.bound.running(this.object())
}

pub(super) fn loop_attribute<S: Own>(this: &Holder<Primitive<S>>) -> Outcome {
    this.bound.get()
}

pub(super) fn set_loop_attribute<S: Own>(this: &Holder<Primitive<S>>, value: Option<&Object>) -> Outcome<()> {
    this.bound.set(value)
}

pub(super) fn waiters_attribute<S: Own>(this: &Holder<Primitive<S>>) -> Outcome {
    this.waiters.show()
}

pub(super) fn set_waiters_attribute<S: Own>(
    this: &Holder<Primitive<S>>,
    value: Option<&Object>,
) -> Outcome<()> {
    this.waiters.replace(value)
}

/// The method that every class here has for asyncio's own ones, as for the mixin of asyncio's classes.
macro_rules! common_methods {
    ($own:ty) => {
        [$crate::ffi::method::method_none!(
            c"_get_loop",
            $crate::sync::primitive::get_loop::<$own>,
            c"_get_loop($self)\n--\n\nReturn the running loop, which it belongs to from then on."
        )]
    };
}

/// The attributes that every class here has.
macro_rules! common_attributes {
    ($own:ty) => {
        [
            $crate::ffi::method::attribute!(
                c"_waiters",
                $crate::sync::primitive::waiters_attribute::<$own>,
                $crate::sync::primitive::set_waiters_attribute::<$own>
            ),
            $crate::ffi::method::attribute!(
                c"_loop",
                $crate::sync::primitive::loop_attribute::<$own>,
                $crate::sync::primitive::set_loop_attribute::<$own>
            ),
        ]
    };
}

pub(super) use {common_attributes, common_methods};

//! Which methods a subclass or an instance has replaced, of those that asyncio's own methods call.
//!
//! asyncio's `__aenter__` calls `self.acquire()`, its `release` calls `self._wake_up_first()`: whoever replaces one of
//! these is to be obeyed. Looking each up for each call would cost more than an acquisition; so what the class has is
//! remembered with the number that the interpreter gives a class until something about it changes, and what is assigned
//! to an instance is noted when it is.

use std::cell::{Cell, OnceCell};
use std::ffi::CStr;

use crate::ffi::{Confined, Object, Outcome, Owned, call, function};

/// The methods of a class that matter, each with its bit: that of its place.
pub(super) struct Watched(Confined<OnceCell<Vec<Method>>>);

struct Method {
    name: Owned,
    /// What the classes themselves have.
    own: Vec<Owned>,
    /// asyncio's, a function of Python; None if it has none.
    theirs: Owned,
}

impl Watched {
    pub(super) const fn new() -> Self {
        Self(Confined::new(OnceCell::new()))
    }

    /// Makes the methods of `kinds` look like those of asyncio's class `name`, and remembers both.
    pub(super) fn load(&self, kinds: &[&Object], name: &CStr, methods: &[&CStr]) -> Outcome<()> {
        let theirs = call::find_attribute(&*call::import(c"asyncio.locks")?, &*call::interned(name)?)?;
        if let Some(theirs) = &theirs {
            kinds.iter().try_for_each(|kind| function::dress_methods(kind, theirs))?;
        }
        let mut loaded = Vec::with_capacity(methods.len());
        for method in methods {
            let name = call::interned(method)?;
            let theirs = match &theirs {
                Some(class) => call::find_attribute(class, &name)?.unwrap_or_else(Owned::none),
                None => Owned::none(),
            };
            let mut own = Vec::with_capacity(kinds.len());
            for kind in kinds {
                // What we do not have is asyncio's, and nothing where asyncio has no such class.
                own.push(call::find_attribute(kind, &name)?.unwrap_or_else(|| theirs.clone()));
            }
            loaded.push(Method { name, own, theirs });
        }
        let _ = self.0.set(loaded);
        Ok(())
    }

    fn methods(&self) -> &[Method] {
        self.0.get().map_or(&[], Vec::as_slice)
    }

    /// Has asyncio's own method of the bit's name do it; `more` are at most three arguments.
    pub(super) fn call_theirs(&self, bit: u8, this: &Object, more: &[&Object]) -> Outcome {
        let mut arguments = [this; 4];
        arguments[1..=more.len()].copy_from_slice(more);
        call::call(&*self.theirs(bit)?, &arguments[..=more.len()])
    }

    /// asyncio's own method of the bit's name.
    pub(super) fn theirs(&self, bit: u8) -> Outcome {
        let found = self.methods().get(bit.trailing_zeros() as usize);
        Ok(found.map_or_else(Owned::none, |method| method.theirs.clone()))
    }
}

/// What an instance and its class have replaced.
pub(super) struct Overrides {
    version: Cell<u32>,
    class: Cell<u8>,
    instance: Cell<u8>,
}

impl Overrides {
    pub(super) const fn new() -> Self {
        Self { version: Cell::new(0), class: Cell::new(0), instance: Cell::new(0) }
    }

    /// Whether any of the methods with these bits is not the class's own.
    #[inline]
    pub(super) fn any(&self, this: &Object, watched: &Watched, bits: u8) -> Outcome<bool> {
        let version = this.class_version();
        if version == 0 || version != self.version.get() {
            self.look(this, watched)?;
        }
        Ok((self.class.get() | self.instance.get()) & bits != 0)
    }

    #[cold]
    fn look(&self, this: &Object, watched: &Watched) -> Outcome<()> {
        let mut replaced = 0;
        for (place, method) in watched.methods().iter().enumerate() {
            let found = call::find_attribute(this.class(), &method.name)?.unwrap_or_else(Owned::none);
            if !method.own.iter().any(|own| found.is(own)) {
                replaced |= 1 << place;
            }
        }
        self.class.set(replaced);
        self.version.set(this.class_version());
        Ok(())
    }

    /// An attribute of the instance was assigned.
    pub(super) fn assigned(&self, watched: &Watched, name: &Object) -> Outcome<()> {
        for (place, method) in watched.methods().iter().enumerate() {
            if name.is(&method.name) || call::equal(name, &method.name)? {
                self.instance.set(self.instance.get() | 1 << place);
            }
        }
        Ok(())
    }
}

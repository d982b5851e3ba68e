//! A class and its methods as they were at one time, and whether somebody has changed them since.

use std::cell::Cell;
use std::ffi::CStr;

use super::arguments::Arguments;
use super::object::{Object, Outcome, Owned};
use super::{call, layout};

/// A class with those of its methods that matter.
pub(crate) struct StockClass {
    pub(crate) class: Owned,
    methods: Vec<(Owned, Owned)>,
    /// The class's version when its methods were last compared.
    version: Cell<u32>,
}

impl StockClass {
    /// The class `name` of a module.
    pub(crate) fn load(module: &Object, name: &CStr, methods: &[&CStr]) -> Outcome<Self> {
        Self::of(call::get_attribute(module, &*call::interned(name)?)?, methods)
    }

    /// A class as it is now.
    pub(crate) fn of(class: Owned, methods: &[&CStr]) -> Outcome<Self> {
        let method = |name: &&CStr| {
            let name = call::interned(name)?;
            let method = call::get_attribute(&class, &name)?;
            Ok((name, method))
        };
        let methods = methods.iter().map(method).collect::<Outcome<Vec<_>>>()?;
        Ok(Self { class, methods, version: Cell::new(0) })
    }

    /// Whether the methods are still those that we do without.
    pub(crate) fn is_unchanged(&self) -> Outcome<bool> {
        self.is_unchanged_in(&self.class, &self.version)
    }

    /// Whether `class`, which is or derives from this one, has the same methods; `version` is the number that it had when
    /// they were last compared, 0 if they never were.
    pub(crate) fn is_unchanged_in(&self, class: &Object, version: &Cell<u32>) -> Outcome<bool> {
        let now = layout::version_of(class);
        if now != 0 && now == version.get() {
            return Ok(true);
        }
        for (name, method) in &self.methods {
            if !call::get_attribute(class, name)?.is(method) {
                return Ok(false);
            }
        }
        version.set(layout::version_of(class));
        Ok(true)
    }

    /// Calls the method with the arguments that ours was given.
    #[cold]
    pub(crate) fn forward(&self, index: usize, this: &Object, arguments: &Arguments<'_>) -> Outcome {
        arguments.forward(&self.methods[index].1, this)
    }

    /// Calls the method.
    #[cold]
    pub(crate) fn call(&self, index: usize, arguments: &[&Object]) -> Outcome {
        call::call(&self.methods[index].1, arguments)
    }
}

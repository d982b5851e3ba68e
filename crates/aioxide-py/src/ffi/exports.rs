//! How a room makes itself known: each has one `export`, which `lib.rs` calls from the ground up.

use pyo3::prelude::*;
use pyo3::{PyClass, ffi};

use super::method::Definition;
use super::object::{Object, Outcome, Owned, none};
use super::{function, raised};

/// The module that is being made.
pub(crate) struct Exports<'a, 'py>(pub(crate) &'a Bound<'py, PyModule>);

impl Exports<'_, '_> {
    /// Puts an object into the module.
    pub(crate) fn add(&self, name: &str, object: Owned) -> Outcome<()> {
        self.python(|module| module.add(name, object.into_py()))
    }

    /// Puts a function into the module, which looks like asyncio's of the same name if it has one.
    pub(crate) fn function(&self, definition: ffi::PyMethodDef) -> Outcome<()> {
        let (name, made) = Self::bound(definition)?;
        let made = function::named_like(&name, made)?;
        self.add(&name, made)
    }

    /// Puts a function into the module as it is.
    pub(crate) fn plain_function(&self, definition: ffi::PyMethodDef) -> Outcome<()> {
        let (name, made) = Self::bound(definition)?;
        self.add(&name, made)
    }

    /// Puts a class of PyO3's into the module.
    pub(crate) fn class<T: PyClass>(&self) -> Outcome<()> {
        self.python(|module| module.add_class::<T>())
    }

    /// Has PyO3 do it.
    pub(crate) fn python(&self, add: impl FnOnce(&Bound<'_, PyModule>) -> PyResult<()>) -> Outcome<()> {
        add(self.0).map_err(|error| raised::from_pyerr(error, self.0.py()))
    }

    /// The module as an object.
    pub(crate) fn module(&self) -> &Object {
        Object::of(self.0)
    }

    fn bound(definition: ffi::PyMethodDef) -> Outcome<(String, Owned)> {
        // SAFETY: the name of a definition is a text that lives for ever.
        let name = unsafe { std::ffi::CStr::from_ptr(definition.ml_name) };
        // The interpreter refers to it for ever.
        let definition: &'static Definition = Box::leak(Box::new(Definition(definition)));
        Ok((name.to_string_lossy().into_owned(), definition.bind(none())?))
    }
}

/// Puts functions of PyO3's into the module: `export_functions!(exports, one, two)`.
macro_rules! export_functions {
    ($exports:expr, $($function:path),* $(,)?) => {
        $exports.python(|module| {
            $(module.add_function(pyo3::wrap_pyfunction!($function, module)?)?;)*
            Ok(())
        })
    };
}
pub(crate) use export_functions;

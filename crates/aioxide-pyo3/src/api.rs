//! Finding the table of functions that aioxide publishes.

use std::sync::OnceLock;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::abi;

static API: OnceLock<&'static abi::Api> = OnceLock::new();

/// The table; the package is imported the first time.
pub(crate) fn load(py: Python<'_>) -> PyResult<&'static abi::Api> {
    if let Some(api) = API.get() {
        return Ok(api);
    }
    py.import("aioxide._aioxide")?;
    // SAFETY: attached; a name that ends in a zero. Null comes with an exception.
    let pointer = unsafe { pyo3::ffi::PyCapsule_Import(abi::CAPSULE.as_ptr(), 0) };
    if pointer.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: every version of the table begins with these two numbers.
    let (version, size) = unsafe {
        let numbers = pointer.cast::<u32>();
        (numbers.read(), numbers.add(1).read())
    };
    if version != abi::VERSION || (size as usize) < size_of::<abi::Api>() {
        let message = format!(
            "this extension needs version {} ({} bytes) of aioxide's Rust interface; the aioxide installed has version \
             {version} ({size} bytes)",
            abi::VERSION,
            size_of::<abi::Api>(),
        );
        return Err(PyImportError::new_err(message));
    }
    // SAFETY: it is of this version, at least as long, and lives as long as the process.
    Ok(API.get_or_init(|| unsafe { &*pointer.cast::<abi::Api>() }))
}

/// The table, where something that only it can give is at hand.
pub(crate) fn loaded() -> &'static abi::Api {
    API.get().expect("what is at hand was made by way of the table")
}

/// The table for what may be the first that an extension asks for, in a thread that may not be attached.
///
/// # Errors
/// As `load`; one too when the interpreter is at its end.
pub(crate) fn load_anywhere() -> PyResult<&'static abi::Api> {
    match API.get() {
        Some(api) => Ok(api),
        None => Python::try_attach(load)
            .unwrap_or_else(|| Err(PyImportError::new_err("the interpreter is at its end"))),
    }
}

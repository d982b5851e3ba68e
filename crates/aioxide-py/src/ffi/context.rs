//! `contextvars`: copy, enter, exit.

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::{self, check};
use super::object::{Object, Outcome, Owned};
use super::raised;

/// A copy of the current context.
pub(crate) fn copy_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    copy().map(Owned::into_py).map_err(|raised| raised::to_pyerr(py, raised))
}

/// A copy of `context`; it fails when that is none.
pub(crate) fn copy_of_context(py: Python<'_>, context: &Py<PyAny>) -> PyResult<Py<PyAny>> {
    let context = Owned::from(context.clone_ref(py));
    copy_of(&context).map(Owned::into_py).map_err(|raised| raised::to_pyerr(py, raised))
}

/// Makes `context` the current one; it fails when it is entered already.
pub(crate) fn enter_context(py: Python<'_>, context: &Py<PyAny>) -> PyResult<()> {
    enter(&Owned::from(context.clone_ref(py))).map_err(|raised| raised::to_pyerr(py, raised))
}

/// Ends what `enter_context` began.
pub(crate) fn exit_context(py: Python<'_>, context: &Py<PyAny>) -> PyResult<()> {
    exit(&Owned::from(context.clone_ref(py))).map_err(|raised| raised::to_pyerr(py, raised))
}

/// Whether it is a context.
#[inline]
pub(crate) fn is_context(object: &Object) -> bool {
    // SAFETY: attached; a macro over a live object.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}

/// A copy of the current context.
#[inline]
pub(crate) fn copy() -> Outcome {
    // SAFETY: attached; a new reference or NULL with an exception.
    unsafe { Owned::from_new(ffi::PyContext_CopyCurrent()) }
}

/// An empty context.
pub(crate) fn new() -> Outcome {
    // SAFETY: attached; a new reference or NULL with an exception.
    unsafe { Owned::from_new(ffi::PyContext_New()) }
}

/// A copy of `context`; it fails when that is none.
pub(crate) fn copy_of(context: &Object) -> Outcome {
    // SAFETY: attached; the call checks the type itself; a new reference or NULL with an exception.
    unsafe { Owned::from_new(ffi::PyContext_Copy(context.as_ptr())) }
}

/// Makes `context` the current one; it fails when it is entered already.
#[inline]
pub(crate) fn enter(context: &Object) -> Outcome<()> {
    // SAFETY: attached; the call checks the type itself.
    check(unsafe { ffi::PyContext_Enter(context.as_ptr()) })
}

/// Ends what `enter` began. An exception that is set stays set.
#[inline]
pub(crate) fn exit(context: &Object) -> Outcome<()> {
    // SAFETY: attached; the call checks that it is the current one.
    check(unsafe { ffi::PyContext_Exit(context.as_ptr()) })
}

/// `context.run(function, argument)`, of whatever has such a method.
#[cold]
pub(crate) fn run(context: &Object, function: &Object, argument: Option<&Object>) -> Outcome {
    let name = call::interned(c"run")?;
    match argument {
        Some(argument) => call::call_method(&name, &[context, function, argument], None),
        None => call::call_method(&name, &[context, function], None),
    }
}

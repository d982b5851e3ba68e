//! `contextvars`: copy, enter, exit.

use pyo3::ffi;
use pyo3::prelude::*;

/// A copy of the current context.
pub(crate) fn copy_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // SAFETY: attached; a new reference or NULL with an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()).map(Bound::unbind) }
}

/// Makes `context` the current one; it fails when it is entered already.
pub(crate) fn enter_context(py: Python<'_>, context: &Py<PyAny>) -> PyResult<()> {
    // SAFETY: attached; the call checks the type itself.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
}

/// Ends what `enter_context` began.
pub(crate) fn exit_context(py: Python<'_>, context: &Py<PyAny>) -> PyResult<()> {
    // SAFETY: attached; the call checks that it is the current one.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
}

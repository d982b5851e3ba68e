//! Calls of Python callables.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Calls `callable(*arguments)`.
pub(crate) fn call_with_tuple<'py>(
    py: Python<'py>,
    callable: &Py<PyAny>,
    arguments: &Py<PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: attached; a callable, a tuple and no keywords; a new reference or NULL with an exception.
    unsafe {
        let result = ffi::PyObject_Call(callable.as_ptr(), arguments.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, result)
    }
}

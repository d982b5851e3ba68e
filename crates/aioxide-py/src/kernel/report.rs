//! Reports to the loop's exception handler, with asyncio's keys and texts.

use std::ffi::CStr;

use pyo3::exceptions::{PyBaseException, PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::{Owned, call, raised};

/// Reports what a callback raised. asyncio: the end of `Handle._run`.
pub(crate) fn callback_failed(handle: Borrowed<'_, '_, PyAny>, error: PyErr) -> PyResult<()> {
    let exception = error.into_value(handle.py());
    handling(handle.py(), &exception, || tell_of_callback(handle, &exception))
}

/// A module that was imported before, or is now.
pub(crate) fn imported<'py>(py: Python<'py>, name: &'static CStr) -> PyResult<Bound<'py, PyAny>> {
    call::import(name).map(|module| module.into_bound(py)).map_err(|raised| raised::to_pyerr(py, raised))
}

/// Calls `__repr__` of the callback and of its arguments, which may raise: whoever calls it handles the exception.
fn tell_of_callback(handle: Borrowed<'_, '_, PyAny>, exception: &Py<PyBaseException>) -> PyResult<()> {
    let py = handle.py();
    let event_loop = handle.getattr("_loop")?;
    let call = (handle.getattr("_callback")?, handle.getattr("_args")?);
    let options = PyDict::new(py);
    if py.version_info() >= (3, 13) {
        options.set_item("debug", event_loop.call_method0("get_debug")?)?;
    }
    let source = imported(py, c"asyncio.format_helpers")?.call_method(
        "_format_callback_source",
        call,
        Some(&options),
    )?;
    let context = PyDict::new(py);
    context.set_item("message", format!("Exception in callback {source}"))?;
    context.set_item("exception", exception)?;
    context.set_item("handle", handle)?;
    let traceback = handle.getattr("_source_traceback")?;
    if traceback.is_truthy()? {
        context.set_item("source_traceback", traceback)?;
    }
    event_loop.call_method1(intern!(py, "call_exception_handler"), (context,)).map(drop)
}

/// Calls the loop's exception handler inside of `except`, as asyncio does: it may log or raise what `sys.exc_info()` returns.
pub(crate) fn call_handler(
    event_loop: &Bound<'_, PyAny>,
    exception: &Py<PyBaseException>,
    context: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let call = || event_loop.call_method1(intern!(event_loop.py(), "call_exception_handler"), (context,));
    handling(event_loop.py(), exception, call).map(drop)
}

/// Runs `body` as if inside of `except`, with the exception as the one that is being handled.
pub(crate) fn handling<T>(
    py: Python<'_>,
    exception: &Py<PyBaseException>,
    body: impl FnOnce() -> PyResult<T>,
) -> PyResult<T> {
    let exception = Owned::from(exception.bind(py).clone());
    raised::handling(&exception, body)
}

/// Whether an exception leaves the loop, whoever raised it.
pub(crate) fn leaves_the_loop(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py)
}

//! Every exception that aioxide itself raises, with asyncio's texts where a program could compare them.

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;

pub(crate) fn loop_closed() -> PyErr {
    PyRuntimeError::new_err("Event loop is closed")
}

pub(crate) fn delay_is_none() -> PyErr {
    PyTypeError::new_err("delay must not be None")
}

pub(crate) fn when_is_none() -> PyErr {
    PyTypeError::new_err("when cannot be None")
}

pub(crate) fn invalid_file(file: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("Invalid file object: {file:?}"))
}

pub(crate) fn invalid_descriptor(fd: i64) -> PyErr {
    PyValueError::new_err(format!("Invalid file descriptor: {fd}"))
}

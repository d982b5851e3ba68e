//! Every exception that aioxide itself raises, with asyncio's texts where a program could compare them.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;

pub(crate) fn loop_closed() -> PyErr {
    PyRuntimeError::new_err("Event loop is closed")
}

pub(crate) fn delay_is_none() -> PyErr {
    PyTypeError::new_err("delay must not be None")
}

//! Exceptions that more than one room raises, with asyncio's texts where a program could compare them.

use std::io;
use std::sync::OnceLock;

use pyo3::exceptions::{PyOSError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;

pub(crate) fn loop_closed() -> PyErr {
    PyRuntimeError::new_err("Event loop is closed")
}

/// What `socket.recv_into` says of memory that nothing can be received into, whatever the reason.
pub(crate) fn not_writable(buffer: &Bound<'_, PyAny>) -> PyErr {
    let kind = if buffer.is_none() {
        "None".to_owned()
    } else {
        buffer.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
    };
    PyTypeError::new_err(format!("recv_into() argument 1 must be read-write bytes-like object, not {kind}"))
}

pub(crate) fn invalid_file(file: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("Invalid file object: {file:?}"))
}

pub(crate) fn invalid_descriptor(fd: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("Invalid file descriptor: {fd}"))
}

/// What epoll's own method says of such a number.
pub(crate) fn descriptor_too_large() -> PyErr {
    PyOverflowError::new_err("Python int too large to convert to C int")
}

/// The subclass of `OSError` that belongs to the errno, with the system's text.
pub(crate) fn os_error(error: &io::Error) -> PyErr {
    let Some(errno) = error.raw_os_error() else {
        return match error.kind() {
            // The reactor's own: a descriptor that Rust I/O watches already.
            io::ErrorKind::AlreadyExists => PyOSError::new_err((libc::EEXIST, error.to_string())),
            _ => PyOSError::new_err(error.to_string()),
        };
    };
    // Asking the system for the text costs as much as all else about an error; peers that reset their connections make many.
    static TEXTS: [OnceLock<String>; 160] = [const { OnceLock::new() }; 160];
    match usize::try_from(errno).ok().and_then(|errno| TEXTS.get(errno)) {
        Some(text) => PyOSError::new_err((errno, text.get_or_init(|| text_of(errno)).as_str())),
        None => PyOSError::new_err((errno, text_of(errno))),
    }
}

fn text_of(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error ").next().unwrap_or_default().to_owned()
}

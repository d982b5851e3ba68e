//! What Python hands over, as Rust has it: headers, limits of time, bodies.

use std::time::Duration;

use aioxide_http::{Body, HeaderMap, HeaderName, HeaderValue, Timeouts};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::upload::Upload;

/// `[(name, value), …]`, each text or bytes.
///
/// # Errors
/// ValueError for what HTTP does not allow.
pub(crate) fn headers(pairs: &Bound<'_, PyList>) -> PyResult<HeaderMap> {
    let mut map = HeaderMap::with_capacity(pairs.len());
    for pair in pairs {
        let pair = pair.cast::<PyTuple>()?;
        let name = bytes_of(&pair.get_item(0)?, |bytes| HeaderName::from_bytes(bytes).ok())?;
        let Some(name) = name else {
            let message = format!("{} cannot be the name of a header", pair.get_item(0)?.repr()?);
            return Err(PyValueError::new_err(message));
        };
        let value = bytes_of(&pair.get_item(1)?, |bytes| HeaderValue::from_bytes(bytes).ok())?;
        let Some(value) = value else {
            let message = format!(
                "the value of the header {name} holds a line break, a null byte or another control character: \
                 potential header injection"
            );
            return Err(PyValueError::new_err(message));
        };
        map.append(name, value);
    }
    Ok(map)
}

fn bytes_of<T>(object: &Bound<'_, PyAny>, make: impl FnOnce(&[u8]) -> T) -> PyResult<T> {
    if let Ok(text) = object.cast::<PyString>() {
        return match text.to_str() {
            Ok(text) => Ok(make(text.as_bytes())),
            // Surrogates: what is none is refused by `make`.
            Err(_) => Ok(make(b"\n")),
        };
    }
    match object.cast::<PyBytes>() {
        Ok(bytes) => Ok(make(bytes.as_bytes())),
        Err(_) => {
            let kind = object.get_type().qualname()?;
            Err(PyTypeError::new_err(format!("a header is text or bytes, not {kind}")))
        }
    }
}

/// total, connect, sock_connect, sock_read, in seconds; zero and None mean without limit.
pub(crate) type Seconds = (Option<f64>, Option<f64>, Option<f64>, Option<f64>);

pub(crate) fn timeouts(seconds: Seconds) -> Timeouts {
    let (total, connect, sock_connect, read) = seconds;
    Timeouts {
        total: limit(total),
        // As in aiohttp: connecting includes the wait for a place.
        pool: limit(connect),
        connect: limit(connect),
        sock_connect: limit(sock_connect),
        read: limit(read),
    }
}

fn limit(seconds: Option<f64>) -> Option<Duration> {
    let seconds = seconds.filter(|seconds| *seconds != 0.0)?;
    // What is over already is over at once; what no clock can count is no limit.
    if seconds < 0.0 { Some(Duration::ZERO) } else { Duration::try_from_secs_f64(seconds).ok() }
}

/// None, bytes, or an asynchronous iterator of bytes with its length if that is known.
pub(crate) fn body(object: Option<&Bound<'_, PyAny>>, length: Option<u64>) -> PyResult<Body> {
    let Some(object) = object else { return Ok(Body::empty()) };
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Body::from(bytes.as_bytes().to_vec()));
    }
    let upload = Upload::new(object);
    Ok(match length {
        Some(length) => Body::sized_stream(length, upload),
        None => Body::stream(upload),
    })
}

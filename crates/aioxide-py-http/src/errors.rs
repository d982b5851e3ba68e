//! Rust's errors as aiohttp's exceptions, which Python makes (`aioxide.http.errors`).

use std::error::Error as StdError;

use aioxide::net::ConnectError;
use aioxide_http::{Error, TimeoutPhase};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

/// The exception for what befell `response`, which may have got no answer yet.
pub(crate) fn exception(py: Python<'_>, response: &Bound<'_, PyAny>, error: &Error, is_body: bool) -> PyErr {
    make(py, response, error, is_body).unwrap_or_else(|failure| failure)
}

/// The exception for a body that was given up while it was read.
pub(crate) fn closed(py: Python<'_>, response: &Bound<'_, PyAny>) -> PyErr {
    let make = || {
        let make = MAKE.import(py, "aioxide.http.failures", "exception")?;
        let nothing = py.None();
        let arguments = (response, "given up", "Connection closed", &nothing, &nothing, true);
        PyResult::Ok(PyErr::from_value(make.call1(arguments)?))
    };
    make().unwrap_or_else(|failure| failure)
}

/// The exception for an answer whose head is refused.
pub(crate) fn bad_head(py: Python<'_>, response: &Bound<'_, PyAny>, why: &str) -> PyErr {
    let make = || {
        let make = MAKE.import(py, "aioxide.http.failures", "exception")?;
        let nothing = py.None();
        PyResult::Ok(PyErr::from_value(make.call1((response, "head", why, &nothing, &nothing, false))?))
    };
    make().unwrap_or_else(|failure| failure)
}

static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn make(py: Python<'_>, response: &Bound<'_, PyAny>, error: &Error, is_body: bool) -> PyResult<PyErr> {
    let make = MAKE.import(py, "aioxide.http.failures", "exception")?;
    let cause = find::<PyErr>(error).map(|cause| cause.value(py).clone().into_any());
    let digest = error.unpinned_certificate().map(|digest| PyBytes::new(py, &digest).into_any());
    let detail = cause.or(digest);
    let errno = match error.proxy_status().or_else(|| error.status().filter(|_| error.is_upgrade())) {
        Some(status) => Some(i32::from(status.as_u16())),
        None => find::<std::io::Error>(error).and_then(std::io::Error::raw_os_error),
    };
    let made = make.call1((response, kind(error), text(error), errno, detail, is_body))?;
    Ok(PyErr::from_value(made))
}

/// One word, that `aioxide.http.failures` knows.
fn kind(error: &Error) -> &'static str {
    match error.timeout_phase() {
        Some(TimeoutPhase::Total) => return "total",
        Some(TimeoutPhase::Pool) => return "pool",
        Some(TimeoutPhase::Connect) => return "connect timeout",
        Some(TimeoutPhase::SockConnect) => return "sock connect timeout",
        Some(_) => return "read timeout",
        None => {}
    }
    match () {
        () if error.is_upgrade() => "upgrade",
        () if error.is_denied() => "denied",
        () if error.proxy_status().is_some() => "proxy status",
        () if error.is_proxy() => "proxy",
        () if error.is_connect() && find::<ConnectError>(error).is_some_and(|error| !error.is_lookup()) => {
            "connect"
        }
        // An option that the system refuses for a connected socket.
        () if error.is_connect() && find::<std::io::Error>(error).is_some_and(has_number) => "connect",
        () if error.is_connect() => "lookup",
        () if error.unpinned_certificate().is_some() => "not pinned",
        () if error.is_tls() => "tls",
        () if error.is_protocol() => "protocol",
        () if error.is_closed() => "closed",
        () if error.is_decode() => "decode",
        () if error.is_request_body() => "upload",
        () if error.is_invalid_url() => "url",
        () if error.is_invalid_request() => "request",
        () if error.is_session_closed() => "session closed",
        () => "other",
    }
}

fn has_number(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some()
}

/// The first error of that type among an error and its causes.
fn find<T: StdError + 'static>(error: &Error) -> Option<&T> {
    let mut current: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        // An io::Error shows what it was made from as itself, and then only that one's causes.
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = (inner as &(dyn StdError + 'static)).downcast_ref::<T>()
        {
            return Some(found);
        }
        current = error.source();
    }
    None
}

/// All its levels in one line.
pub(crate) fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        source = error.source();
    }
    text
}

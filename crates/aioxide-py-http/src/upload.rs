//! A request's body that Python makes piece by piece.

use std::pin::Pin;
use std::task::{Context, Poll};

use aioxide_http::Bytes;
use aioxide_pyo3::{AwaitPython, await_python};
use futures_core::Stream;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

/// The pieces of an asynchronous iterator.
///
/// Each is asked for when the connection can take it, in the task that waits for the answer.
pub(crate) struct Upload {
    iterator: Py<PyAny>,
    next: Option<AwaitPython>,
}

impl Upload {
    pub(crate) fn new(iterator: &Bound<'_, PyAny>) -> Self {
        Self { iterator: iterator.clone().unbind(), next: None }
    }
}

impl Stream for Upload {
    type Item = Result<Bytes, PyErr>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.next.is_none() {
            let started = Python::attach(|py| {
                static NEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                // The end as a value: as an exception it would be reported when nobody is left to take it.
                let next = NEXT.import(py, "builtins", "anext")?;
                next.call1((&this.iterator, end(py)?)).map(|awaitable| await_python(awaitable))
            });
            match started {
                Ok(next) => this.next = Some(next),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let Some(next) = &mut this.next else { return Poll::Pending };
        let outcome = std::task::ready!(Pin::new(next).poll(cx));
        this.next = None;
        Poll::Ready(Python::attach(|py| match outcome {
            Ok(piece) => match end(py) {
                Ok(end) if piece.is(end) => None,
                Ok(_) => Some(bytes(piece.bind(py))),
                Err(error) => Some(Err(error)),
            },
            Err(error) => Some(Err(error)),
        }))
    }
}

/// What stands for the end of an iterator.
fn end(py: Python<'_>) -> PyResult<&Py<PyAny>> {
    static END: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    END.get_or_try_init(py, || Ok(py.import("builtins")?.call_method0("object")?.unbind()))
}

fn bytes(piece: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    match piece.cast::<PyBytes>() {
        Ok(bytes) => Ok(Bytes::copy_from_slice(bytes.as_bytes())),
        Err(_) => {
            let kind = piece.get_type().qualname()?;
            Err(PyTypeError::new_err(format!("the body's iterator made {kind}, which is not bytes")))
        }
    }
}

//! A plain request: awaited, or entered with `async with`.

use std::cell::{Cell, OnceCell, RefCell};

use aioxide_http::{Method, RequestBuilder};
use aioxide_pyo3::{await_python, into_awaitable};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::errors;
use crate::local::Local;
use crate::ready::ready;
use crate::response::Response;

/// All that is needed to send it.
pub(crate) struct Plain {
    pub(crate) request: RequestBuilder,
    pub(crate) method: Method,
    pub(crate) session: Py<PyAny>,
    pub(crate) response_class: Py<PyType>,
    /// What it was called with, for the hop after a redirect.
    pub(crate) keywords: Option<Py<PyDict>>,
}

/// What `ClientSession.get` returns for a plain request: as a coroutine, and as a context.
#[pyclass(frozen, weakref, module = "aioxide._aioxide", name = "_FastRequest")]
pub(crate) struct FastRequest {
    inner: Local<Inner>,
}

struct Inner {
    plain: Cell<Option<Plain>>,
    /// The awaitable, once it is asked for.
    awaitable: OnceCell<Py<PyAny>>,
    response: RefCell<Option<Py<PyAny>>>,
}

impl FastRequest {
    pub(crate) fn new(plain: Plain) -> Self {
        let inner =
            Inner { plain: Cell::new(Some(plain)), awaitable: OnceCell::new(), response: RefCell::default() };
        Self { inner: Local::new(inner) }
    }

    fn awaitable<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let inner = slf.get().inner.get()?;
        if let Some(awaitable) = inner.awaitable.get() {
            return Ok(awaitable.bind(py).clone());
        }
        let Some(plain) = inner.plain.take() else {
            return Err(PyRuntimeError::new_err("cannot reuse already awaited request"));
        };
        let awaitable = into_awaitable(py, send(plain))?;
        Ok(inner.awaitable.get_or_init(|| awaitable.unbind()).bind(py).clone())
    }
}

async fn send(plain: Plain) -> PyResult<Py<PyAny>> {
    let Plain { request, method, session, response_class, keywords } = plain;
    let outcome = request.send().await;
    let next = Python::attach(|py| {
        let object = response_class.bind(py).call0()?;
        let response = object.cast::<Response>()?;
        response.get().belong_to(session.clone_ref(py))?;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                object.setattr("_asked", (method.as_str(), error.url().map(|url| url.to_string())))?;
                return Err(errors::exception(py, &object, &error, false));
            }
        };
        if let Err(why) = response.get().fill(answer)? {
            return Err(errors::bad_head(py, &object, &why));
        }
        let (status, has_cookies) = response.get().looks()?;
        let is_redirect = matches!(status, 301 | 302 | 303 | 307 | 308);
        if method != Method::GET {
            object.setattr("method", method.as_str())?;
        }
        if let Some(keywords) = &keywords {
            object.setattr("_keywords", keywords)?;
        }
        if !has_cookies && !is_redirect {
            return Ok((object.unbind(), None));
        }
        let keywords = keywords.as_ref().map(|keywords| keywords.bind(py));
        let next = session.bind(py).call_method("_fast_special", (&object, method.as_str()), keywords)?;
        Ok((object.unbind(), (!next.is_none()).then(|| await_python(next))))
    })?;
    match next {
        (response, None) => Ok(response),
        (_, Some(next)) => next.await,
    }
}

#[pymethods]
impl FastRequest {
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::awaitable(slf)?.call_method0("__await__")
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::__await__(slf)
    }

    fn send<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::awaitable(slf)?.call_method1("send", (value,))
    }

    #[pyo3(signature = (*exception))]
    fn throw<'py>(slf: &Bound<'py, Self>, exception: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        Self::awaitable(slf)?.call_method1("throw", exception)
    }

    fn close<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::awaitable(slf)?.call_method0("close")
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let Some(plain) = slf.get().inner.get()?.plain.take() else {
            return Err(PyRuntimeError::new_err("cannot reuse already awaited request"));
        };
        let context = slf.clone().unbind();
        into_awaitable(slf.py(), async move {
            let response = send(plain).await?;
            let kept = Python::attach(|py| response.clone_ref(py));
            let before = context.get().inner.get()?.response.replace(Some(kept));
            drop(before);
            Ok(response)
        })
    }

    #[pyo3(signature = (*exception))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        exception: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let Some(response) = slf.get().inner.get()?.response.take() else {
            return Ok(ready(py)?.into_bound(py).into_any());
        };
        response.bind(py).call_method1("__aexit__", exception)
    }
}

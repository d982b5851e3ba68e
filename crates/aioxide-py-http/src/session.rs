//! The base of Python's `ClientSession`: plain requests, which never come to Python's own `_request`.

use std::cell::RefCell;

use aioxide_http::{HeaderMap, Method, Timeouts};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};

use crate::arguments::{self, Seconds};
use crate::connector::Connector;
use crate::fast::{FastRequest, Plain};
use crate::local::Local;

/// `ClientSession` derives from it.
#[pyclass(subclass, frozen, weakref, module = "aioxide._aioxide", name = "_Session")]
pub(crate) struct Session {
    inner: Local<RefCell<Option<Fast>>>,
}

/// What a plain request needs; None while any request needs more.
struct Fast {
    connector: Py<Connector>,
    response_class: Py<PyType>,
    headers: HeaderMap,
    timeouts: Timeouts,
    decompress: bool,
}

impl Session {
    fn plain<'py>(
        slf: &Bound<'py, Self>,
        method: Method,
        url: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Plain>> {
        let Ok(text) = url.cast_exact::<PyString>() else { return Ok(None) };
        let Ok(text) = text.to_str() else { return Ok(None) };
        if !is_plain(text) {
            return Ok(None);
        }
        let py = slf.py();
        let inner = slf.get().inner.get()?.borrow();
        let Some(fast) = &*inner else { return Ok(None) };
        let mut request = fast
            .connector
            .get()
            .session()?
            .request(method.clone(), text)
            .redirects(0)
            .timeouts(fast.timeouts)
            .decompress(fast.decompress);
        if !fast.headers.is_empty() {
            request = request.headers(fast.headers.clone());
        }
        Ok(Some(Plain {
            request,
            method,
            session: slf.clone().into_any().unbind(),
            response_class: fast.response_class.clone_ref(py),
        }))
    }

    fn start<'py>(
        slf: &Bound<'py, Self>,
        method: Method,
        url: &Bound<'py, PyAny>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if keywords.is_none_or(|keywords| keywords.is_empty())
            && let Some(plain) = Self::plain(slf, method.clone(), url)?
        {
            return Ok(Bound::new(slf.py(), FastRequest::new(plain))?.into_any());
        }
        slf.call_method("_start", (method.as_str(), url), keywords)
    }
}

/// Whether the URL means the same to everybody as it stands: nothing to quote, no user, no fragment, no dots to take out.
fn is_plain(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return false;
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_host =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':');
    let is_path = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b'?' | b'=' | b'&' | b',' | b':')
    };
    !host.is_empty()
        && host.bytes().all(is_host)
        && !host.ends_with([':', '.'])
        && path.bytes().all(is_path)
        && !path.contains("/.")
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self { inner: Local::new(RefCell::new(None)) }
    }

    /// Says that requests without arguments are plain: no cookies, hooks or anything else needs Python.
    fn _set_plain(
        &self,
        connector: Py<Connector>,
        response_class: Py<PyType>,
        headers: &Bound<'_, PyList>,
        timeouts: Seconds,
        decompress: bool,
    ) -> PyResult<()> {
        let headers = arguments::headers(headers)?;
        let timeouts = arguments::timeouts(timeouts);
        let fast = Fast { connector, response_class, headers, timeouts, decompress };
        let before = self.inner.get()?.replace(Some(fast));
        drop(before);
        Ok(())
    }

    /// Says that every request needs Python.
    fn _set_special(&self) -> PyResult<()> {
        let before = self.inner.get()?.take();
        drop(before);
        Ok(())
    }

    /// Starts a GET request; redirects are followed.
    #[pyo3(signature = (url, **kwargs))]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        url: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::start(slf, Method::GET, url, kwargs)
    }
}

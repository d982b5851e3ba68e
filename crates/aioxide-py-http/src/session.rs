//! The base of Python's `ClientSession`: plain requests, which never come to Python's own `_request`.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use aioxide_http::{HeaderMap, HeaderName, HeaderValue, Method, Timeouts, header};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple, PyType};

use crate::arguments::{self, Seconds};
use crate::connector::Connector;
use crate::fast::{FastRequest, Plain};
use crate::local::Local;

/// `ClientSession` derives from it.
#[pyclass(subclass, frozen, weakref, module = "aioxide._aioxide", name = "_Session")]
pub(crate) struct Session {
    inner: Local<RefCell<Option<Fast>>>,
}

/// Something stands in the place of connections, which only Python knows.
static IS_REPLACED: AtomicBool = AtomicBool::new(false);

/// What a plain request needs; None while any request needs more.
struct Fast {
    connector: Py<Connector>,
    response_class: Py<PyType>,
    headers: HeaderMap,
    timeouts: Timeouts,
    decompress: bool,
}

impl Session {
    /// The request, if it needs nothing of Python: no arguments but headers that are no secrets, and a body in bytes or JSON.
    fn plain<'py>(
        slf: &Bound<'py, Self>,
        method: &Method,
        url: &Bound<'py, PyAny>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Option<Plain>> {
        let Ok(text) = url.cast_exact::<PyString>() else { return Ok(None) };
        let Ok(text) = text.to_str() else { return Ok(None) };
        if !is_plain(text) {
            return Ok(None);
        }
        let py = slf.py();
        let Some(extra) = Extra::of(keywords)? else { return Ok(None) };
        let with_query;
        let text = match extra.query.as_str() {
            "" => text,
            // What is there already is joined by yarl's rules.
            _ if text.contains('?') => return Ok(None),
            query => {
                with_query = format!("{text}?{query}");
                &with_query
            }
        };
        // An empty body has a length of its own to announce; so has none, where there is one as a rule.
        let is_empty = extra.body.as_ref().is_some_and(|(body, _)| body.is_empty());
        if is_empty || method != Method::GET && extra.body.is_none() {
            return Ok(None);
        }
        if IS_REPLACED.load(Ordering::Relaxed) {
            return Ok(None);
        }
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
        if let Some((body, kind)) = extra.body {
            if !fast.headers.contains_key(header::CONTENT_TYPE) {
                request = request.header(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            request = request.body(body);
        }
        if !extra.headers.is_empty() {
            request = request.headers(extra.headers);
        }
        Ok(Some(Plain {
            request,
            method: method.clone(),
            session: slf.clone().into_any().unbind(),
            response_class: fast.response_class.clone_ref(py),
            keywords: keywords.map(|keywords| keywords.clone().unbind()),
        }))
    }

    fn start<'py>(
        slf: &Bound<'py, Self>,
        method: &Method,
        url: &Bound<'py, PyAny>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(plain) = Self::plain(slf, method, url, keywords)? {
            return Ok(Bound::new(slf.py(), FastRequest::new(plain))?.into_any());
        }
        slf.call_method("_start", (method.as_str(), url), keywords)
    }
}

/// What the arguments of a plain request ask for.
#[derive(Default)]
struct Extra {
    headers: HeaderMap,
    body: Option<(Vec<u8>, &'static str)>,
    /// `name=value&…`, with nothing in it to quote.
    query: String,
}

impl Extra {
    /// `None` when Python has to look at them.
    fn of(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Option<Self>> {
        let mut extra = Self::default();
        for (name, value) in keywords.into_iter().flatten() {
            let name = name.cast::<PyString>()?.to_str()?.to_owned();
            match name.as_str() {
                _ if value.is_none() => {}
                "headers" => match value.cast_exact::<PyDict>() {
                    Ok(headers) => {
                        let items = headers.items();
                        let Ok(headers) = arguments::headers(&items) else { return Ok(None) };
                        // What is for one origin, and what says how the body is framed or coded.
                        if SPECIAL.iter().any(|name| headers.contains_key(name)) {
                            return Ok(None);
                        }
                        extra.headers = headers;
                    }
                    Err(_) => return Ok(None),
                },
                "params" => match query(&value)? {
                    Some(query) => extra.query = query,
                    None => return Ok(None),
                },
                "data" if extra.body.is_none() => match value.cast_exact::<PyBytes>() {
                    Ok(bytes) => extra.body = Some((bytes.as_bytes().to_vec(), "application/octet-stream")),
                    Err(_) => return Ok(None),
                },
                "json" if extra.body.is_none() => {
                    static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                    // Its error belongs to the await.
                    let Ok(dumped) = DUMPS.import(value.py(), "json", "dumps")?.call1((value,)) else {
                        return Ok(None);
                    };
                    let text = dumped.cast::<PyString>()?.to_str()?.to_owned();
                    extra.body = Some((text.into_bytes(), "application/json"));
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(extra))
    }
}

/// The query of a dict of texts in which nothing needs to be quoted; `None` for another.
fn query(parameters: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let Ok(parameters) = parameters.cast_exact::<PyDict>() else { return Ok(None) };
    let is_plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    };
    let mut query = String::new();
    for (name, value) in parameters {
        let (Ok(name), Ok(value)) = (name.cast_exact::<PyString>(), value.cast_exact::<PyString>()) else {
            return Ok(None);
        };
        let (name, value) = (name.to_cow()?, value.to_cow()?);
        if name.is_empty() || !is_plain(&name) || !is_plain(&value) {
            return Ok(None);
        }
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(&name);
        query.push('=');
        query.push_str(&value);
    }
    Ok(Some(query))
}

/// Headers that Python has rules for.
const SPECIAL: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::EXPECT,
];

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
    // `http://host` stays without a slash where it is shown, which Rust's URLs cannot.
    path.starts_with('/')
        && !host.is_empty()
        && host.bytes().all(is_host)
        && !host.ends_with([':', '.'])
        && path.bytes().all(is_path)
        && !path.contains("/.")
}

#[pymethods]
impl Session {
    /// Says whether plain requests of all sessions go by Python, where something stands in the place of connections.
    #[staticmethod]
    fn _replace_connections(yes: bool) {
        IS_REPLACED.store(yes, Ordering::Relaxed);
    }

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
        Self::start(slf, &Method::GET, url, kwargs)
    }

    /// Starts a POST request.
    #[pyo3(signature = (url, **kwargs))]
    fn post<'py>(
        slf: &Bound<'py, Self>,
        url: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::start(slf, &Method::POST, url, kwargs)
    }

    /// Starts a PUT request.
    #[pyo3(signature = (url, **kwargs))]
    fn put<'py>(
        slf: &Bound<'py, Self>,
        url: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::start(slf, &Method::PUT, url, kwargs)
    }

    /// Starts a PATCH request.
    #[pyo3(signature = (url, **kwargs))]
    fn patch<'py>(
        slf: &Bound<'py, Self>,
        url: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::start(slf, &Method::PATCH, url, kwargs)
    }
}

//! The base of Python's connectors: the pool, and one exchange through it.

use std::cell::{Cell, OnceCell};
use std::time::Duration;

use aioxide_core::LoopId;
use aioxide_core::current::try_with;
use aioxide_http::{Method, RequestBuilder, Session, SessionBuilder};
use aioxide_pyo3::into_awaitable;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::arguments::{self, Seconds};
use crate::errors;
use crate::local::Local;
use crate::response::Response;

/// `BaseConnector` derives from it.
#[pyclass(subclass, frozen, weakref, module = "aioxide._aioxide", name = "_Connector")]
pub(crate) struct Connector {
    inner: Local<Inner>,
}

#[derive(Default)]
struct Inner {
    session: OnceCell<Session>,
    /// The loop that its sockets are on.
    event_loop: Cell<Option<LoopId>>,
}

impl Connector {
    /// The Rust session, on the loop that runs.
    ///
    /// # Errors
    /// RuntimeError on another loop than the one that it began on, or on none of aioxide's.
    pub(crate) fn session(&self) -> PyResult<&Session> {
        let inner = self.inner.get()?;
        let Some(running) = try_with(|event_loop| event_loop.id()) else {
            return Err(PyRuntimeError::new_err(
                "aioxide.http works on aioxide's event loop, and another one runs here: start the program with \
                 aioxide.run() or python -m aioxide, or call aioxide.install() before the loop is made",
            ));
        };
        match inner.event_loop.get() {
            None => inner.event_loop.set(Some(running)),
            Some(begun) if begun == running => {}
            Some(_) => {
                return Err(PyRuntimeError::new_err(
                    "the session began on another event loop, which its connections belong to: make a session for \
                     each loop",
                ));
            }
        }
        inner
            .session
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("the connector was not opened: call super().__init__()"))
    }
}

fn setting<'py, T>(settings: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py>,
    for<'a> PyErr: From<<T as FromPyObject<'a, 'py>>::Error>,
{
    match settings.get_item(name)? {
        Some(value) if !value.is_none() => Ok(Some(value.extract()?)),
        _ => Ok(None),
    }
}

/// A session of `settings`, whose names are those of `aioxide.http.connector`.
fn build(settings: &Bound<'_, PyDict>) -> PyResult<Session> {
    let mut builder: SessionBuilder = Session::builder().title_case_headers(true);
    if let Some(limit) = setting::<usize>(settings, "limit")? {
        builder = builder.limit(limit);
    }
    if let Some(limit) = setting::<usize>(settings, "limit_per_host")? {
        builder = builder.limit_per_host(limit);
    }
    if let Some(seconds) = setting::<f64>(settings, "keepalive_timeout")? {
        builder = builder.idle_timeout(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    if let Some(agent) = setting::<String>(settings, "user_agent")? {
        builder = builder.user_agent(&agent);
    }
    if let Some(yes) = setting::<bool>(settings, "http2")? {
        builder = builder.http2(yes);
    }
    if let Some(yes) = setting::<bool>(settings, "retry")? {
        builder = builder.retry(yes);
    }
    builder.build().map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymethods]
impl Connector {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self { inner: Local::new(Inner::default()) }
    }

    /// Makes the pool; once.
    fn _open(&self, settings: &Bound<'_, PyDict>) -> PyResult<()> {
        let inner = self.inner.get()?;
        if inner.session.set(build(settings)?).is_err() {
            return Err(PyRuntimeError::new_err("the connector is open already"));
        }
        Ok(())
    }

    /// Closes what is idle; requests from now on are refused.
    fn _shut(&self) -> PyResult<()> {
        if let Some(session) = self.inner.get()?.session.get() {
            session.close();
        }
        Ok(())
    }

    /// How many connections there are, and how many of them are idle.
    fn _counts(&self) -> PyResult<(usize, usize)> {
        let inner = self.inner.get()?;
        Ok(inner.session.get().map_or((0, 0), |session| (session.connections(), session.idle_connections())))
    }

    /// An awaitable: sends one request with these headers alone, and fills `response` with its answer.
    #[expect(clippy::too_many_arguments, reason = "one call for each hop, by position")]
    #[pyo3(signature = (response, method, url, headers, body, length, timeouts, decompress))]
    fn _exchange<'py>(
        &self,
        py: Python<'py>,
        response: Bound<'py, Response>,
        method: &str,
        url: &str,
        headers: &Bound<'py, PyList>,
        body: Option<&Bound<'py, PyAny>>,
        length: Option<u64>,
        timeouts: Seconds,
        decompress: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| PyValueError::new_err(format!("{method:?} cannot be a method")))?;
        let request = self
            .session()?
            .request(method, url)
            .without_defaults()
            .redirects(0)
            .headers(arguments::headers(headers)?)
            .body(arguments::body(body, length)?)
            .timeouts(arguments::timeouts(timeouts))
            .decompress(decompress);
        into_awaitable(py, send(request, response.unbind()))
    }
}

async fn send(request: RequestBuilder, response: Py<Response>) -> PyResult<Py<Response>> {
    match request.send().await {
        Ok(answer) => {
            response.get().fill(answer)?;
            Ok(response)
        }
        Err(error) => Err(Python::attach(|py| errors::exception(py, response.bind(py), &error, false))),
    }
}

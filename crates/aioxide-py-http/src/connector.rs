//! The base of Python's connectors: the pool, and one exchange through it.

use std::cell::{Cell, OnceCell};

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
use crate::observer::{Observer, watched};
use crate::response::Response;
use crate::settings::{self, ProxyParts};
use crate::tls::Tls;
use crate::websocket;

/// `BaseConnector` derives from it.
#[pyclass(subclass, frozen, weakref, module = "aioxide._aioxide", name = "_Connector")]
pub(crate) struct Connector {
    inner: Local<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Until the first request.
    builder: Cell<Option<SessionBuilder>>,
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
        if let Some(session) = inner.session.get() {
            return Ok(session);
        }
        let Some(builder) = inner.builder.take() else {
            return Err(PyRuntimeError::new_err("the connector was not opened: call super().__init__()"));
        };
        let session = builder.build().map_err(|error| PyValueError::new_err(errors::text(&error)))?;
        Ok(inner.session.get_or_init(|| session))
    }
}

#[pymethods]
impl Connector {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self { inner: Local::new(Inner::default()) }
    }

    /// Says what the pool is like, before the first request.
    fn _open(&self, settings: &Bound<'_, PyDict>) -> PyResult<()> {
        let builder = settings::prepare(settings)?;
        let inner = self.inner.get()?;
        if inner.session.get().is_some() {
            return Err(PyRuntimeError::new_err("the connector has made requests already"));
        }
        drop(inner.builder.replace(Some(builder)));
        Ok(())
    }

    /// Has exchanges tell what happened in them; before the first request.
    fn _observe(&self) -> PyResult<()> {
        let inner = self.inner.get()?;
        if let Some(builder) = inner.builder.take() {
            inner.builder.set(Some(builder.observer(Observer)));
        }
        Ok(())
    }

    /// Closes all connections; requests from now on are refused.
    fn _shut(&self) -> PyResult<()> {
        if let Some(session) = self.inner.get()?.session.get() {
            session.abort();
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
    #[pyo3(signature = (response, method, url, headers, body, length, timeouts, decompress, tls=None, proxy=None, happened=None, http10=false))]
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
        tls: Option<&Bound<'py, Tls>>,
        proxy: Option<ProxyParts>,
        happened: Option<Py<PyList>>,
        http10: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| PyValueError::new_err(format!("{method:?} cannot be a method")))?;
        let mut request = self
            .session()?
            .request(method, url)
            .without_defaults()
            .redirects(0)
            .headers(arguments::headers(headers)?)
            .body(arguments::body(body, length)?)
            .timeouts(arguments::timeouts(timeouts))
            .decompress(decompress);
        if http10 {
            request = request.http1_0();
        }
        if let Some(tls) = tls {
            request = request.tls(tls.get().settings()?);
        }
        if let Some(proxy) = proxy {
            request = request.proxy(settings::proxy(proxy)?);
        }
        match happened {
            Some(happened) => into_awaitable(py, send_watched(request, response.unbind(), happened)),
            None => into_awaitable(py, send(request, response.unbind())),
        }
    }

    /// An awaitable of a connected websocket; `response` is what exceptions are about.
    #[expect(clippy::too_many_arguments, reason = "one call for each websocket, by position")]
    fn _websocket<'py>(
        &self,
        py: Python<'py>,
        response: Bound<'py, Response>,
        url: &str,
        settings: &Bound<'py, PyDict>,
        timeouts: Seconds,
        tls: Option<&Bound<'py, Tls>>,
        proxy: Option<ProxyParts>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut builder = websocket::configure(self.session()?.websocket(url), settings)?;
        let tls = tls.map(|tls| tls.get().settings()).transpose()?;
        let proxy = proxy.map(settings::proxy).transpose()?;
        let timeouts = arguments::timeouts(timeouts);
        builder = builder.map_request(|mut request| {
            request = request.without_defaults().redirects(0).timeouts(timeouts);
            if let Some(tls) = tls {
                request = request.tls(tls);
            }
            match proxy {
                Some(proxy) => request.proxy(proxy),
                None => request,
            }
        });
        into_awaitable(py, websocket::connect(builder, response.unbind()))
    }
}

/// Appends what happened to a list, however the exchange ends.
async fn send_watched(
    request: RequestBuilder,
    response: Py<Response>,
    list: Py<PyList>,
) -> PyResult<Py<Response>> {
    let (sent, happened) = watched(send(request, response)).await;
    Python::attach(|py| happened.into_iter().try_for_each(|entry| list.bind(py).append(entry)))?;
    sent
}

async fn send(request: RequestBuilder, response: Py<Response>) -> PyResult<Py<Response>> {
    match request.send().await {
        Ok(answer) => match response.get().fill(answer)? {
            Ok(()) => Ok(response),
            Err(why) => Err(Python::attach(|py| errors::bad_head(py, response.bind(py), &why))),
        },
        Err(error) => Err(Python::attach(|py| errors::exception(py, response.bind(py), &error, false))),
    }
}

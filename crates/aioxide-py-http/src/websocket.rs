//! The base of Python's `ClientWebSocketResponse`: messages in and out.

use std::rc::Rc;
use std::time::Duration;

use aioxide_http::{Bytes, Message, WebSocket as Socket, WebSocketBuilder};
use aioxide_pyo3::into_awaitable;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::arguments;
use crate::errors;
use crate::local::Local;
use crate::response::Response;
use crate::settings::setting;

// The numbers of `WSMsgType`.
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A connected websocket.
#[pyclass(frozen, weakref, module = "aioxide._aioxide", name = "_WebSocket")]
pub(crate) struct WebSocket {
    socket: Local<Rc<Socket>>,
    /// What exceptions are about.
    response: Py<Response>,
}

/// Sets what Python has chosen; the keys are those of `aioxide.http.websocket`.
pub(crate) fn configure(
    mut builder: WebSocketBuilder,
    settings: &Bound<'_, PyDict>,
) -> PyResult<WebSocketBuilder> {
    let protocols = setting::<Vec<String>>(settings, "protocols")?.unwrap_or_default();
    let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
    builder = builder.protocols(&protocols);
    builder = builder.compress(setting::<bool>(settings, "compress")?.unwrap_or(false));
    if let Some(bytes) = setting::<usize>(settings, "max_message_size")? {
        builder = builder.max_message_size(bytes);
    }
    if let Some(seconds) = setting::<f64>(settings, "heartbeat")? {
        let interval = Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("heartbeat={seconds} is no length of time")))?;
        builder = builder.heartbeat(interval);
    }
    builder = builder.answer_pings(setting::<bool>(settings, "answer_pings")?.unwrap_or(true));
    if let Some(pairs) = settings.get_item("headers")? {
        let headers = arguments::headers(pairs.cast()?)?;
        builder = builder.map_request(|request| request.headers(headers));
    }
    Ok(builder)
}

/// Connects; `response` is what exceptions are about.
pub(crate) async fn connect(builder: WebSocketBuilder, response: Py<Response>) -> PyResult<Py<WebSocket>> {
    match builder.connect().await {
        Ok(socket) => {
            Python::attach(|py| Py::new(py, WebSocket { socket: Local::new(Rc::new(socket)), response }))
        }
        Err(error) => Err(Python::attach(|py| errors::exception(py, response.bind(py), &error, false))),
    }
}

fn message_of(kind: u8, data: &Bound<'_, PyAny>) -> PyResult<Message> {
    let bytes = || -> PyResult<Bytes> { Ok(Bytes::copy_from_slice(data.cast::<PyBytes>()?.as_bytes())) };
    match kind {
        TEXT => Ok(Message::Text(data.cast::<PyString>()?.to_str()?.to_owned())),
        BINARY => Ok(Message::Binary(bytes()?)),
        PING => Ok(Message::Ping(bytes()?)),
        PONG => Ok(Message::Pong(bytes()?)),
        CLOSE => {
            let (code, reason) = data.extract()?;
            Ok(Message::Close { code, reason })
        }
        _ => Err(PyTypeError::new_err(format!("{kind} is no type of a message that can be sent"))),
    }
}

type Parts = (u8, Py<PyAny>, Option<String>);

fn parts_of(py: Python<'_>, message: Message) -> Parts {
    let bytes = |bytes: &Bytes| PyBytes::new(py, bytes).into_any().unbind();
    match message {
        Message::Text(text) => (TEXT, PyString::new(py, &text).into_any().unbind(), None),
        Message::Binary(data) => (BINARY, bytes(&data), None),
        Message::Ping(data) => (PING, bytes(&data), None),
        Message::Pong(data) => (PONG, bytes(&data), None),
        Message::Close { code, reason } => {
            (CLOSE, pyo3::types::PyInt::new(py, code).into_any().unbind(), Some(reason))
        }
    }
}

#[pymethods]
impl WebSocket {
    /// An awaitable: sends a message of a type of `WSMsgType`.
    fn send<'py>(&self, py: Python<'py>, kind: u8, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let message = message_of(kind, data)?;
        let socket = self.socket.get()?.clone();
        let response = self.response.clone_ref(py);
        into_awaitable(py, async move {
            let sent = socket.send(message).await;
            sent.map_err(|error| Python::attach(|py| errors::exception(py, response.bind(py), &error, true)))
        })
    }

    /// An awaitable of the next message: type, data, reason of a goodbye; None at the end.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let socket = self.socket.get()?.clone();
        let response = self.response.clone_ref(py);
        into_awaitable(py, async move {
            let received = socket.receive().await;
            Python::attach(|py| match received {
                Ok(message) => Ok(message.map(|message| parts_of(py, message))),
                Err(error) => Err(errors::exception(py, response.bind(py), &error, true)),
            })
        })
    }

    /// An awaitable: says goodbye and closes the connection.
    fn close<'py>(&self, py: Python<'py>, code: u16, reason: String) -> PyResult<Bound<'py, PyAny>> {
        let socket = self.socket.get()?.clone();
        let response = self.response.clone_ref(py);
        into_awaitable(py, async move {
            let closed = socket.close(code, &reason).await;
            closed
                .map_err(|error| Python::attach(|py| errors::exception(py, response.bind(py), &error, true)))
        })
    }

    /// The protocol that the server has chosen.
    #[getter]
    fn protocol(&self) -> PyResult<Option<String>> {
        Ok(self.socket.get()?.protocol().map(str::to_owned))
    }

    /// Whether messages are compressed.
    #[getter]
    fn is_compressed(&self) -> PyResult<bool> {
        Ok(self.socket.get()?.is_compressed())
    }

    /// Whether a goodbye was said, or the connection is gone.
    #[getter]
    fn is_closed(&self) -> PyResult<bool> {
        Ok(self.socket.get()?.is_closed())
    }

    /// The headers of the server's answer.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
        let headers = self.socket.get()?.headers();
        let pairs = headers.iter().map(|(name, value)| {
            let value = crate::response::text_of(py, value.as_bytes())?;
            Ok((name.as_str().to_owned(), value))
        });
        pairs.collect()
    }
}

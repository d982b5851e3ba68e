//! Connecting to an address: what asyncio does by a socket object and four coroutines, with the descriptor alone.
//!
//! ```text
//!   _start_connecting(host, port) ──> None: asyncio's own code does it
//!       │
//!       ▼  a Connecting, which owns the descriptor, and a future (None if connected at once)
//!   writable ──> the future has a result, or "Connect call failed"
//!       │
//!       ├─ _make_connected_transport ──> the transport owns the descriptor
//!       ├─ close                     ──> closed: the wait was given up, or has failed
//!       └─ to_socket                 ──> a socket object owns it: there is no protocol for the connection
//! ```
//!
//! Only where nobody can tell: the host is an address, the loop is not in debug mode, its methods that asyncio's code would call and
//! `socket.socket` are the stock ones, and no audit hook is to hear of sockets.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use aioxide_core::Token;
use aioxide_core::sys::connect;
use aioxide_core::sys::socket::Address;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString};
use pyo3::{PyTraverseError, PyVisit};

use crate::ffi::stock::StockClass;
use crate::ffi::{self, Confined, Object, Outcome, Owned, audit, call, raised};
use crate::kernel::{LoopCore, LoopState, Watch, Watcher, error, running};
use crate::transports::{Connection, ConnectionSocket, StreamTransport, common};

/// The methods of a loop that asyncio's `create_connection` calls.
const OF_LOOP: &[&CStr] = &[
    c"_add_writer",
    c"_connect_sock",
    c"_create_connection_transport",
    c"_ensure_fd_no_transport",
    c"_ensure_resolved",
    c"_make_socket_transport",
    c"_sock_connect",
    c"_sock_connect_cb",
    c"_sock_write_done",
    c"remove_writer",
    c"sock_connect",
];

/// And those of its socket.
const OF_SOCKET: &[&CStr] = &[
    c"__init__",
    c"__new__",
    c"close",
    c"connect",
    c"family",
    c"fileno",
    c"getpeername",
    c"getsockname",
    c"getsockopt",
    c"gettimeout",
    c"proto",
    c"setblocking",
    c"setsockopt",
    c"type",
];

/// What asyncio's `create_connection` would use.
struct Stock {
    event_loop: StockClass,
    socket: StockClass,
    /// `asyncio.base_events`, which has the module `socket` under that name, as that has the class.
    base_events: Owned,
    socket_module: Owned,
    socket_name: Owned,
}

static STOCK: Confined<OnceCell<Stock>> = Confined::new(OnceCell::new());

impl Stock {
    fn load(event_loop: Owned, socket: Owned) -> Outcome<Self> {
        Ok(Self {
            event_loop: StockClass::of(event_loop, OF_LOOP)?,
            socket: StockClass::of(socket, OF_SOCKET)?,
            base_events: call::import(c"asyncio.base_events")?,
            socket_module: call::import(c"socket")?,
            socket_name: call::interned(c"socket")?,
        })
    }

    /// Whether all of it is unchanged, for this loop.
    fn is_unchanged(&self, event_loop: &Object, state: &LoopState) -> Outcome<bool> {
        let named = |module: &Object| call::get_attribute(module, &self.socket_name);
        Ok(!state.replaces_connecting.get()
            && self.event_loop.is_unchanged_in(event_loop.class(), &state.connecting_version)?
            && named(&self.base_events)?.is(&self.socket_module)
            && named(&self.socket_module)?.is(&self.socket.class)
            && self.socket.is_unchanged()?)
    }
}

/// Tells which loop and which sockets are the stock ones.
#[pyfunction]
pub(crate) fn _prepare_connecting(event_loop: Py<PyAny>, socket: Py<PyAny>, py: Python<'_>) -> PyResult<()> {
    let stock = py.import("_socket")?.getattr("socket")?.getattr("connect")?;
    // A program that has put sockets of its own in their place before it has imported us gets those.
    if socket.bind(py).getattr("connect")?.is(&stock) {
        let stock = Stock::load(event_loop.into(), socket.into());
        let _ = STOCK.set(stock.map_err(|raised| raised::to_pyerr(py, raised))?);
    }
    Ok(())
}

/// Whether an attribute of an instance takes the place of what this file does without.
pub(super) fn is_replaced_by(name: &str) -> bool {
    OF_LOOP.iter().any(|method| method.to_bytes() == name.as_bytes())
}

/// Whether asyncio's code that connects to an address would be no other than the stock one, and nobody would see its steps.
pub(super) fn is_plain(event_loop: &Object, state: &LoopState) -> Outcome<bool> {
    let Some(stock) = STOCK.get() else { return Ok(false) };
    Ok(!state.debug.get()
        && !state.core.is_closed()
        && stock.is_unchanged(event_loop, state)?
        && !audit::is_heard(event_loop))
}

/// Where a connection goes.
pub(super) struct Target {
    pub(super) host: Py<PyString>,
    pub(super) address: SocketAddr,
}

impl Target {
    /// The exception of a connection that could not be made, with the address as asyncio's words have it.
    pub(super) fn failed(&self, py: Python<'_>, error: &std::io::Error) -> PyResult<PyErr> {
        let (host, port) = (self.host.bind(py).repr()?, self.address.port());
        let rest = match self.address {
            SocketAddr::V4(_) => String::new(),
            SocketAddr::V6(v6) => format!(", {}, {}", v6.flowinfo(), v6.scope_id()),
        };
        let message = format!("Connect call failed ({host}, {port}{rest})");
        Ok(PyOSError::new_err((error.raw_os_error(), message)))
    }
}

/// Who waits for a connection.
struct Waiting {
    fd: RawFd,
    target: Target,
    future: Py<PyAny>,
}

impl Watch for Waiting {
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.target.host)?;
        visit.call(&self.future)
    }

    fn on_event(&self, py: Python<'_>, token: Token) -> PyResult<()> {
        let Some(state) = running() else { return Ok(()) };
        let future = self.future.bind(py);
        if future.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        let error = match connect::take_error(self.fd) {
            Ok(None) => None,
            Ok(Some(error)) if connect::is_under_way(&error) => return Ok(()),
            Ok(Some(error)) => Some(self.target.failed(py, &error)?),
            Err(error) => Some(error::os_error(&error)),
        };
        forget(state, self.fd, token);
        match error {
            None => future.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop),
            Some(error) => {
                future.call_method1(intern!(py, "set_exception"), (error.into_value(py),)).map(drop)
            }
        }
    }
}

/// Ends the watch of a descriptor, unless another has taken its place.
fn forget(state: &LoopState, fd: RawFd, token: Token) {
    if state.core.reactor().tokens(fd).1 == Some(token) {
        state.core.reactor().remove_writer(fd);
    }
    drop(state.watchers.remove(token));
}

/// A connection that has no transport yet.
#[pyclass(frozen, module = "aioxide._aioxide")]
pub(crate) struct Connecting(Confined<Inner>);

struct Inner {
    state: Rc<LoopState>,
    socket: RefCell<Option<OwnedFd>>,
    watched: Cell<Option<Token>>,
}

impl Inner {
    /// The descriptor, which nobody watches from here on.
    fn take(&self) -> Option<OwnedFd> {
        let socket = self.socket.take()?;
        if let Some(token) = self.watched.take() {
            forget(&self.state, socket.as_raw_fd(), token);
        }
        Some(socket)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[pymethods]
impl Connecting {
    /// Closes the descriptor.
    fn close(&self, py: Python<'_>) {
        if let Some(socket) = self.0.take() {
            ffi::close(py, socket.into_raw_fd());
        }
    }

    /// Hands the descriptor over to a socket object; `None` if it is gone.
    fn to_socket<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(socket) = self.0.take() else { return Ok(None) };
        let keywords = PyDict::new(py);
        keywords.set_item("fileno", socket.as_raw_fd())?;
        let made = common::socket_class(py)?.call((), Some(&keywords))?;
        // The object has it from here on.
        let _taken = socket.into_raw_fd();
        Ok(Some(made))
    }
}

/// The address that a host and a port are, if nobody need be asked for it. What asyncio would convert or refuse is none.
fn target_of(host: &Bound<'_, PyAny>, port: &Bound<'_, PyAny>) -> Option<Target> {
    let host = host.cast_exact::<PyString>().ok()?;
    let port = port.cast_exact::<PyInt>().ok()?.extract::<u16>().ok()?;
    let address = host.to_str().ok()?.parse::<IpAddr>().ok()?;
    Some(Target { host: host.clone().unbind(), address: SocketAddr::new(address, port) })
}

#[pymethods]
impl LoopCore {
    /// Begins to connect: the connection, and the future of its being there or `None` if it is. `None` for both where asyncio's own
    /// code is to do it.
    fn _start_connecting<'py>(
        slf: &Bound<'py, Self>,
        host: &Bound<'py, PyAny>,
        port: &Bound<'py, PyAny>,
    ) -> PyResult<Option<(Connecting, Option<Bound<'py, PyAny>>)>> {
        let (py, state) = (slf.py(), &slf.get().state);
        let Some(target) = target_of(host, port) else { return Ok(None) };
        if !is_plain(Object::of(slf), state).map_err(|raised| raised::to_pyerr(py, raised))? {
            return Ok(None);
        }
        let to = Address::from_ip(target.address);
        let socket = connect::tcp_socket(to.family()).map_err(|error| error::os_error(&error))?;
        state.expect_events();
        let fd = socket.as_raw_fd();
        let connected = connect::connect(fd, &to).map_err(|error| error::os_error(&error))?;
        let socket = RefCell::new(Some(socket));
        let inner = Inner { state: Rc::clone(state), socket, watched: Cell::new(None) };
        if connected {
            return Ok(Some((Connecting(Confined::new(inner)), None)));
        }
        let future = slf.call_method0(intern!(py, "create_future"))?;
        state.transports.ensure_unused(py, fd, PyInt::new(py, fd).as_any())?;
        let waiting = Waiting { fd, target, future: future.clone().unbind() };
        let token = state.watchers.add(Watcher::Other(Rc::new(waiting)));
        match state.core.reactor().set_writer(fd, token) {
            Ok(before) => {
                inner.watched.set(Some(token));
                super::readers::cancel_watcher(py, state, before)?;
                Ok(Some((Connecting(Confined::new(inner)), Some(future))))
            }
            Err(error) => {
                drop(state.watchers.remove(token));
                Err(error::os_error(&error))
            }
        }
    }

    /// Makes the transport of a connection that is there.
    fn _make_connected_transport<'py>(
        slf: &Bound<'py, Self>,
        connecting: &Bound<'py, Connecting>,
        protocol: Bound<'py, PyAny>,
        waiter: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        StreamTransport::check(&protocol)?;
        let inner = &connecting.get().0;
        if let Some(fd) = inner.socket.borrow().as_ref().map(AsRawFd::as_raw_fd) {
            slf.get().state.transports.ensure_unused(py, fd, PyInt::new(py, fd).as_any())?;
        }
        let Some(socket) = inner.take() else {
            return Err(PyRuntimeError::new_err("the connection is closed"));
        };
        let socket = ConnectionSocket::Connected(socket);
        let waiter = Some(waiter);
        let connection = Connection { socket, protocol, waiter, extra: None, server: None, context: None };
        StreamTransport::make(slf, connection)
    }
}

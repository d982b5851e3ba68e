//! Accepting connections: the listening half of a server; the `Server` object stays asyncio's own.
//!
//! asyncio makes a task for every connection, which calls the protocol's factory an iteration later. Without TLS nothing is
//! waited for, so here the factory is called at once, in a context of its own as a task would have it.

use std::cell::Cell;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use aioxide_core::Token;
use aioxide_core::sys::socket::{self, Address};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use crate::ffi;
use crate::kernel::report::{call_handler, imported, leaves_the_loop};
use crate::kernel::{LoopCore, Watch, Watcher, error, running};
use crate::transports::{Accepted, Connection, ConnectionSocket, StreamTransport, common};

/// Who sets a connection's TCP_NODELAY, as asyncio does on each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NoDelay {
    /// Nobody: it is no TCP.
    Nobody,
    /// Each connection by itself.
    Each,
    /// Each that may be older than the option of the listening socket; later ones inherit it.
    Older,
    Inherited,
}

impl NoDelay {
    /// Sets the option of a listening socket, where connections inherit it.
    fn of_listener(fd: RawFd) -> Self {
        if Address::of_socket(fd).is_ok_and(|own| own.family() == libc::AF_UNIX) {
            Self::Nobody
        } else if socket::is_tcp(fd) && socket::set_nodelay(fd).is_ok() {
            Self::Older
        } else {
            Self::Each
        }
    }
}

/// A listening socket.
pub(crate) struct Listener {
    factory: Py<PyAny>,
    socket: Py<PyAny>,
    server: Option<Py<PyAny>>,
    context: Py<PyAny>,
    /// The server's context, of which each connection has a copy: from Python 3.15 on.
    server_context: Option<Py<PyAny>>,
    backlog: i32,
    fd: RawFd,
    /// The address of this end of every connection, if it is the same for all.
    own_address: Option<Address>,
    no_delay: Cell<NoDelay>,
}

impl Watch for Listener {
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.factory)?;
        visit.call(&self.socket)?;
        visit.call(&self.server)?;
        visit.call(&self.server_context)?;
        visit.call(&self.context)
    }

    /// Accepts what waits, one connection more than `backlog` at most, as asyncio does from Python 3.14 on: with `backlog=0`
    /// one that waits must not wake the loop for ever. `Err` only for what must leave the loop.
    fn on_event(&self, py: Python<'_>, token: Token) -> PyResult<()> {
        let Some(state) = running() else { return Ok(()) };
        let event_loop = state.python_loop(py)?;
        let event_loop = event_loop.cast::<LoopCore>()?;
        let result = common::in_context(py, &self.context, || self.accept(event_loop, token));
        result.or_else(|error| {
            let callback = event_loop.getattr(intern!(py, "_accept_connection"))?;
            common::report_callback(event_loop.as_any(), &callback, self.factory.bind(py), error)
        })
    }
}

impl Listener {
    fn accept(&self, event_loop: &Bound<'_, LoopCore>, token: Token) -> PyResult<()> {
        let py = event_loop.py();
        let reactor = event_loop.get().state.core.reactor();
        let may_block = socket::may_block(self.fd);
        for _ in 0..=self.backlog.max(0) {
            // The factory that was called for the last connection may have closed the server.
            if reactor.tokens(self.fd).0 != Some(token) {
                return Ok(());
            }
            match ffi::accept(py, self.fd, may_block) {
                Ok((fd, peer)) => {
                    let has_no_delay = matches!(self.no_delay.get(), NoDelay::Nobody | NoDelay::Inherited);
                    let accepted = Accepted { fd, peer, own: self.own_address, has_no_delay };
                    self.connect(event_loop, ConnectionSocket::Accepted(accepted))?;
                }
                Err(error)
                    if common::would_block(&error)
                        || error.kind() == std::io::ErrorKind::ConnectionAborted =>
                {
                    if error.kind() == std::io::ErrorKind::WouldBlock && self.no_delay.get() == NoDelay::Older
                    {
                        self.no_delay.set(NoDelay::Inherited);
                    }
                    return Ok(());
                }
                Err(error) if is_out_of_resources(&error) => return self.back_off(event_loop, &error),
                Err(error) => return Err(error::os_error(&error)),
            }
        }
        Ok(())
    }

    fn connect<'py>(&self, event_loop: &Bound<'py, LoopCore>, socket: ConnectionSocket<'py>) -> PyResult<()> {
        let py = event_loop.py();
        let (context, kept) = match &self.server_context {
            Some(context) => {
                let context = ffi::copy_of_context(py, context)?;
                (context.clone_ref(py), Some(context))
            }
            None => (ffi::copy_context(py)?, None),
        };
        let made = common::in_context(py, &context, || {
            let protocol = self.factory.bind(py).call0()?;
            let server = self.server.as_ref().map(|server| server.bind(py).clone());
            let connection =
                Connection { socket, protocol, waiter: None, extra: None, server, context: kept };
            StreamTransport::make(event_loop, connection)
        });
        match made {
            // As in asyncio, which tells of other failures in debug mode only; there its own code runs.
            Err(error) if leaves_the_loop(py, &error) => Err(error),
            _ => Ok(()),
        }
    }

    /// No descriptor or no memory: the kernel would report the same connection for ever, so it is tried again in a while.
    #[cold]
    fn back_off(&self, event_loop: &Bound<'_, LoopCore>, error: &std::io::Error) -> PyResult<()> {
        let py = event_loop.py();
        let context = PyDict::new(py);
        context.set_item("message", "socket.accept() out of system resource")?;
        let exception = error::os_error(error).into_value(py);
        context.set_item("exception", &exception)?;
        context.set_item("socket", common::transport_socket(py)?.call1((&self.socket,))?)?;
        call_handler(event_loop.as_any(), &exception, &context)?;
        event_loop.call_method1("_remove_reader", (self.fd,))?;
        let delay = imported(py, c"asyncio.constants")?.getattr("ACCEPT_RETRY_DELAY")?;
        let mut again = event_loop.getattr("_start_serving")?;
        if let Some(context) = &self.server_context {
            let keywords = PyDict::new(py);
            keywords.set_item("context", context)?;
            again = imported(py, c"functools")?.getattr("partial")?.call((again,), Some(&keywords))?;
        }
        let none = py.None();
        let arguments = (delay, again, &self.factory, &self.socket, none, &self.server, self.backlog);
        event_loop.call_method1("call_later", arguments).map(drop)
    }
}

fn is_out_of_resources(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[pymethods]
impl LoopCore {
    /// Accepts connections from a listening socket until `_stop_serving`.
    #[pyo3(signature = (protocol_factory, sock, server, backlog, context=None))]
    fn _serve<'py>(
        slf: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        sock: &Bound<'py, PyAny>,
        server: Option<Py<PyAny>>,
        backlog: i32,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let state = &slf.get().state;
        if state.core.is_closed() {
            return Err(error::loop_closed());
        }
        let fd = sock.call_method0(intern!(py, "fileno"))?.extract::<RawFd>()?.as_raw_fd();
        let listener = Listener {
            factory: protocol_factory,
            socket: sock.clone().unbind(),
            server,
            context: ffi::copy_context(py)?,
            server_context: context,
            backlog,
            fd,
            own_address: socket::address_of_accepted(fd),
            no_delay: Cell::new(NoDelay::of_listener(fd)),
        };
        let token = state.watchers.add(Watcher::Other(Rc::new(listener)));
        match state.core.reactor().set_reader(fd, token) {
            Ok(before) => {
                drop(before.and_then(|before| state.watchers.remove(before)));
                Ok(())
            }
            Err(error) => {
                drop(state.watchers.remove(token));
                Err(error::os_error(&error))
            }
        }
    }
}

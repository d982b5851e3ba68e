//! The waiting half of `sock_recv`, `sock_recv_into`, `sock_sendall`, `sock_accept` and `sock_connect`.
//!
//! Each is tried at once (`sock_connect` in a file of its own). What would block leaves a watcher with a future; the event does
//! the work and sets the result, with no handle and no done-callback. The coroutines in `connections.py` take the watcher out when the wait is given up.
//! A watcher whose future is done already (cancelled a moment ago) touches neither socket nor buffer.

use std::cell::Cell;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use aioxide_core::Token;
use aioxide_core::sys::connect;
use aioxide_core::sys::socket::{self, Address};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView};
use pyo3::{PyTraverseError, PyVisit};

use crate::ffi::{self, Buffer, Owned};
use crate::kernel::report::leaves_the_loop;
use crate::kernel::{LoopCore, LoopState, Watch, Watcher, error, running};
use crate::transports::{address_to_python, common};

use super::connect::Target;

/// Up to this size bytes are received into the loop's memory and copied, which is cheaper than shrinking a new object.
const COPIED_BYTES: usize = 64 * 1024;
/// But not after a receive of so many bytes: the next one is likely to bring as many, and to copy them costs more.
const LARGE_BYTES: usize = 8 * 1024;

/// What is to be done with a socket.
pub(super) enum Work {
    Receive(usize),
    ReceiveInto(Py<PyAny>),
    Send {
        data: Py<PyAny>,
        sent: Cell<usize>,
    },
    Accept,
    /// It is under way: what has become of it.
    Connect(Target),
}

/// Somebody who waits for a socket.
pub(crate) struct Waiting {
    work: Work,
    socket: Py<PyAny>,
    fd: RawFd,
    future: Py<PyAny>,
}

impl Work {
    fn is_write(&self) -> bool {
        matches!(self, Self::Send { .. } | Self::Connect(_))
    }

    /// Tries it; `None` if it would block.
    fn attempt<'py>(
        &self,
        state: &LoopState,
        socket: &Bound<'py, PyAny>,
        fd: RawFd,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let result = match self {
            // Python's own methods do not ask the system for nothing either, which would wait until there is something.
            Self::Receive(0) => Ok(PyBytes::new(py, b"").into_any()),
            Self::Receive(size) if *size <= COPIED_BYTES && state.last_received.get() < LARGE_BYTES => {
                let mut scratch = state.scratch.borrow_mut();
                socket::recv(fd, &mut scratch[..*size]).map(|size| {
                    state.last_received.set(size);
                    PyBytes::new(py, &scratch[..size]).into_any()
                })
            }
            Self::Receive(size) => ffi::receive_bytes(py, fd, *size)?.map(|received| {
                state.last_received.set(received.as_bytes().len());
                received.into_any()
            }),
            Self::ReceiveInto(buffer) => {
                let buffer = buffer.bind(py);
                let view = Buffer::writable(buffer).map_err(|_| error::not_writable(buffer))?;
                let received = if view.bytes().is_empty() { Ok(0) } else { view.receive(fd) };
                match received {
                    Ok(size) => Ok(size.into_bound_py_any(py)?),
                    Err(error) => Err(error),
                }
            }
            Self::Send { data, sent } => {
                let view = Buffer::readable(data.bind(py))?;
                let bytes = view.bytes();
                match socket::send(fd, &bytes[sent.get().min(bytes.len())..]) {
                    Ok(size) => {
                        sent.set(sent.get() + size);
                        if sent.get() < bytes.len() {
                            return Ok(None);
                        }
                        Ok(py.None().into_bound(py))
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Accept => match ffi::accept(py, fd, socket::may_block(fd)) {
                Ok((accepted, address)) => accepted_socket(socket, accepted, &address).map(Ok)?,
                Err(error) => Err(error),
            },
            Self::Connect(target) => match connect::take_error(fd) {
                Ok(None) => Ok(py.None().into_bound(py)),
                Ok(Some(error)) if connect::is_under_way(&error) => return Ok(None),
                Ok(Some(error)) => return Err(target.failed(py, &error)?),
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if common::would_block(&error) => Ok(None),
            Err(error) => Err(error::os_error(&error)),
        }
    }
}

/// What `sock_accept` returns: the connection's socket, of its listener's kind, and the peer.
fn accepted_socket<'py>(
    listener: &Bound<'py, PyAny>,
    accepted: OwnedFd,
    address: &Address,
) -> PyResult<Bound<'py, PyAny>> {
    let py = listener.py();
    let [family, kind, proto] = ["family", "type", "proto"].map(|name| listener.getattr(name));
    let arguments = (family?, kind?, proto?);
    let keywords = PyDict::new(py);
    keywords.set_item("fileno", accepted.as_raw_fd())?;
    let connection = common::socket_class(py)?.call(arguments, Some(&keywords))?;
    // The object has it from here on.
    let _taken = accepted.into_raw_fd();
    connection.call_method1(intern!(py, "setblocking"), (false,))?;
    let peer = match address_to_python(py, address)? {
        Some(known) => known.into_bound(py),
        None if address.family() == libc::AF_UNSPEC => py.None().into_bound(py),
        // A family that only Python knows.
        None => connection.call_method0("getpeername")?,
    };
    (connection, peer).into_bound_py_any(py)
}

impl Watch for Waiting {
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.socket)?;
        visit.call(&self.future)?;
        match &self.work {
            Work::ReceiveInto(object) | Work::Send { data: object, .. } => visit.call(object),
            Work::Connect(target) => visit.call(&target.host),
            Work::Receive(_) | Work::Accept => Ok(()),
        }
    }

    /// Does the work and tells the future; `Err` only for what must leave the loop.
    #[inline(never)]
    fn on_event(&self, py: Python<'_>, _: Token) -> PyResult<()> {
        let Some(state) = running() else { return Ok(()) };
        let future = self.future.bind(py);
        if future.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        let socket = self.socket.bind(py);
        // The program may have closed it meanwhile, and the number may be another's.
        let fd = crate::interp::descriptor_of(&Owned::from(socket.clone()));
        let (method, value) = match self.work.attempt(state, socket, fd) {
            Ok(None) => return Ok(()),
            Ok(Some(value)) => (intern!(py, "set_result"), value),
            Err(error) if leaves_the_loop(py, &error) => return Err(error),
            Err(error) => (intern!(py, "set_exception"), error.into_value(py).into_bound(py).into_any()),
        };
        self.forget(state);
        future.call_method1(method, (value,)).map(drop)
    }
}

impl Waiting {
    fn forget(&self, state: &LoopState) {
        let reactor = state.core.reactor();
        let before = if self.work.is_write() {
            reactor.remove_writer(self.fd)
        } else {
            reactor.remove_reader(self.fd)
        };
        drop(before.and_then(|before| state.watchers.remove(before)));
    }
}

impl LoopCore {
    /// The result, or the future of it.
    fn attempt<'py>(
        slf: &Bound<'py, Self>,
        socket: &Bound<'py, PyAny>,
        work: Work,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let state = &slf.get().state;
        if state.debug.get() && !socket.call_method0("gettimeout")?.eq(0)? {
            return Err(PyValueError::new_err("the socket must be non-blocking"));
        }
        let fd = socket.call_method0(intern!(py, "fileno"))?.extract::<RawFd>()?;
        if work.is_write() {
            state.expect_events();
        }
        match work.attempt(state, socket, fd)? {
            Some(value) => Ok(value),
            None => Self::wait(slf, socket, fd, work),
        }
    }

    /// The future of what is done when the descriptor is ready.
    pub(super) fn wait<'py>(
        slf: &Bound<'py, Self>,
        socket: &Bound<'py, PyAny>,
        fd: RawFd,
        work: Work,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, state) = (slf.py(), &slf.get().state);
        let future = slf.call_method0(intern!(py, "create_future"))?;
        state.transports.ensure_unused(py, fd, fd.into_bound_py_any(py)?.as_any())?;
        let is_write = work.is_write();
        let work = match work {
            // As asyncio does: what is still to be sent cannot change its size, nor be released, meanwhile.
            Work::Send { data, sent } => {
                Work::Send { data: PyMemoryView::from(data.bind(py))?.into_any().unbind(), sent }
            }
            other => other,
        };
        let waiting = Waiting { work, socket: socket.clone().unbind(), fd, future: future.clone().unbind() };
        let token = state.watchers.add(Watcher::Other(Rc::new(waiting)));
        let reactor = state.core.reactor();
        let set = if is_write { reactor.set_writer(fd, token) } else { reactor.set_reader(fd, token) };
        match set {
            Ok(before) => {
                super::readers::cancel_watcher(py, state, before)?;
                Ok(future)
            }
            Err(error) => {
                drop(state.watchers.remove(token));
                Err(error::os_error(&error))
            }
        }
    }
}

#[pymethods]
impl LoopCore {
    /// Receives at most `size` bytes: the bytes, or a future of them.
    fn _try_recv<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        size: isize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let size = usize::try_from(size).map_err(|_| PyValueError::new_err("negative buffersize in recv"))?;
        Self::attempt(slf, sock, Work::Receive(size))
    }

    /// Receives into a buffer: the number of bytes, or a future of it.
    fn _try_recv_into<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        buffer: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::attempt(slf, sock, Work::ReceiveInto(buffer))
    }

    /// Sends all of the data: None, or a future of it.
    fn _try_sendall<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        data: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::attempt(slf, sock, Work::Send { data, sent: Cell::new(0) })
    }

    /// Accepts a connection: the socket and its peer, or a future of them.
    fn _try_accept<'py>(slf: &Bound<'py, Self>, sock: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::attempt(slf, sock, Work::Accept)
    }

    /// Ends the wait of the future, if it is still the one that the descriptor is watched for.
    fn _give_up(&self, py: Python<'_>, sock: &Bound<'_, PyAny>, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let state = &self.state;
        let fd = sock.call_method0(intern!(py, "fileno"))?.extract::<RawFd>()?;
        let (reader, writer) = state.core.reactor().tokens(fd);
        // A socket that was closed meanwhile has no number: it is the watcher who knows it, and another socket may have it soon.
        let tokens: Vec<_> = [reader, writer].into_iter().flatten().collect();
        let waiting = state.watchers.find(if fd < 0 { None } else { Some(&tokens) }, |waiting: &Waiting| {
            waiting.future.bind(py).is(future)
        });
        if let Some(waiting) = waiting {
            waiting.forget(state);
        }
        Ok(())
    }
}

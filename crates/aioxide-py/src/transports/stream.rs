//! TCP and UNIX connections.
//!
//! ```text
//!   made ──(next iteration: connection_made, then reading starts, then the waiter)──> open
//!   open ──close()──> closing ──(buffer empty)──> lost ──(next iteration: connection_lost)──> closed
//!   open, closing ──abort(), a fatal error──> lost
//! ```
//!
//! * `closing`: no event for reading any more; what is buffered is still written.
//! * `conn_lost > 0`: nothing is sent any more; it then counts the writes that were dropped, as asyncio's does.
//! * `closed`: socket, protocol, loop and server are let go.
//! * No borrow of a field is alive while Python code runs.

use std::cell::{Cell, RefCell};
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use aioxide_core::Token;
use aioxide_core::flow::{Watermarks, WriteBuffer};
use aioxide_core::sys::socket::{self, Address, AddressParts};
use pyo3::exceptions::{PyConnectionError, PyOSError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::ssl::{self, Records};
use super::stream_hold::Hold;
use super::{common, stream_face, stream_read};
use crate::ffi::slot::Place;
use crate::ffi::{self, Chunk, Confined, Object, Slot};
use crate::interp::Descriptor;
use crate::kernel::Entry;
use crate::kernel::{LoopCore, LoopState, error};

/// Where a `StreamTransport` keeps its core.
pub(super) static PLACE: Place = Place::new();

/// The connection's descriptor, and the Python object for it where one was made.
pub(super) enum Socket {
    Python(Py<PyAny>),
    /// A connection that the loop has made or accepted: the Python object is made when somebody asks for it.
    Raw(RawFd),
    Closed,
}

/// How incoming bytes reach the protocol.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Data,
    Buffered,
    /// asyncio's `SSLProtocol`, whose records are dealt with here.
    Tls,
    /// A protocol whose class has a way of its own: see `receive_for`.
    Own(stream_read::Receive),
}

/// What is put off to the next iteration.
enum Deferred {
    Start(Box<Start>),
    Lost { error: Option<PyErr>, context: Py<PyAny> },
}

struct Start {
    protocol: Py<PyAny>,
    waiter: Option<Py<PyAny>>,
    made_context: Py<PyAny>,
    reader_context: Py<PyAny>,
}

/// What a new transport is made from.
pub(crate) struct Connection<'py> {
    pub(crate) socket: ConnectionSocket<'py>,
    pub(crate) protocol: Bound<'py, PyAny>,
    pub(crate) waiter: Option<Bound<'py, PyAny>>,
    pub(crate) extra: Option<Bound<'py, PyDict>>,
    pub(crate) server: Option<Bound<'py, PyAny>>,
    /// The context of all calls of the protocol, as from Python 3.15 on; if none, each is made in a copy of what is
    /// current when it is arranged.
    pub(crate) context: Option<Py<PyAny>>,
}

#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack, taken apart at once")]
pub(crate) enum ConnectionSocket<'py> {
    Python(Bound<'py, PyAny>),
    Accepted(Accepted),
    Connected(OwnedFd),
}

/// A connection that was just accepted.
pub(crate) struct Accepted {
    pub(crate) fd: OwnedFd,
    pub(crate) peer: Address,
    /// The address of this end, if that is known without asking.
    pub(crate) own: Option<Address>,
    /// Whether its small writes are sent at once already.
    pub(crate) has_no_delay: bool,
}

/// The Rust half of `aioxide.transports.StreamTransport`.
#[pyclass(frozen, module = "aioxide._aioxide")]
pub(crate) struct StreamCore(pub(super) Confined<Stream>);

pub(crate) struct Stream {
    pub(crate) state: Rc<LoopState>,
    pub(super) event_loop: RefCell<Option<Py<PyAny>>>,
    pub(super) socket: RefCell<Socket>,
    /// The number that the connection was made with, which names it in the loop's tables.
    pub(super) fd: RawFd,
    /// What to send to and to receive from.
    pub(crate) descriptor: Descriptor,
    pub(super) protocol: Slot,
    pub(super) protocol_connected: Cell<bool>,
    pub(super) mode: Cell<Mode>,
    pub(super) records: RefCell<Option<Rc<Records>>>,
    pub(super) server: RefCell<Option<Py<PyAny>>>,
    pub(super) extra: RefCell<Option<Py<PyDict>>>,
    pub(super) transport_socket: RefCell<Option<Py<PyAny>>>,
    /// The socket, once it is closed: `get_extra_info` still shows it.
    pub(super) closed_socket: RefCell<Option<Py<PyAny>>>,
    pub(super) own_address: Cell<Option<Address>>,
    pub(super) peer_address: Cell<Option<Address>>,
    pub(super) buffer: RefCell<WriteBuffer<Chunk>>,
    pub(super) marks: Cell<Watermarks>,
    /// The low and the high limit of the buffer as they were given, where `marks` has them rounded.
    pub(super) limits: RefCell<Option<(Py<PyAny>, Py<PyAny>)>>,
    pub(super) eof: Cell<bool>,
    pub(super) closing: Cell<bool>,
    pub(super) paused: Cell<bool>,
    pub(super) conn_lost: Cell<u32>,
    pub(super) reader: Cell<Option<Token>>,
    pub(super) writer: Cell<Option<Token>>,
    context: RefCell<Option<Py<PyAny>>>,
    pub(super) reader_context: Slot,
    pub(super) writer_context: Slot,
    pub(super) empty_waiter: RefCell<Option<Py<PyAny>>>,
    deferred: RefCell<[Option<Deferred>; 2]>,
    pub(crate) last_read_bytes: Cell<usize>,
    /// The protocol has kept a bytes object that it was given: from then on it gets new ones.
    pub(super) keeps: Cell<bool>,
    /// What a `write` that is under way got from the socket before it was left to the general way.
    pub(super) sent_ahead: Cell<Option<std::io::Result<usize>>>,
    /// The writes that wait for the end of the entry that made them.
    pub(super) hold: Hold,
}

impl Stream {
    /// The number that the connection was made with, as long as it is the connection's; else -1.
    pub(super) fn own_fd(&self) -> RawFd {
        if self.descriptor.get() == self.fd { self.fd } else { -1 }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        ffi::outlive_interpreter();
        if let Socket::Raw(fd) = *self.socket.get_mut() {
            self.state.core.reactor().forget(fd);
            ffi::close_here(fd);
        }
    }
}

#[pymethods]
impl StreamCore {
    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        let stream = &*self.0;
        // A field that is borrowed just now is not visited: what it refers to then counts as referred to from outside.
        for field in [
            &stream.event_loop,
            &stream.server,
            &stream.transport_socket,
            &stream.closed_socket,
            &stream.context,
            &stream.empty_waiter,
        ] {
            if let Ok(value) = field.try_borrow() {
                visit.call(&*value)?;
            }
        }
        for slot in [&stream.protocol, &stream.reader_context, &stream.writer_context] {
            slot.traverse(&visit)?;
        }
        if let Ok(records) = stream.records.try_borrow()
            && let Some(records) = &*records
        {
            records.traverse(&visit)?;
        }
        if let Ok(extra) = stream.extra.try_borrow() {
            visit.call(&*extra)?;
        }
        if let Ok(limits) = stream.limits.try_borrow()
            && let Some((low, high)) = &*limits
        {
            visit.call(low)?;
            visit.call(high)?;
        }
        if let Ok(socket) = stream.socket.try_borrow()
            && let Socket::Python(socket) = &*socket
        {
            visit.call(socket)?;
        }
        stream.descriptor.traverse(&visit)?;
        if let Ok(deferred) = stream.deferred.try_borrow() {
            for deferred in deferred.iter().flatten() {
                match deferred {
                    Deferred::Start(start) => {
                        visit.call(&start.protocol)?;
                        visit.call(&start.waiter)?;
                        visit.call(&start.made_context)?;
                        visit.call(&start.reader_context)?;
                    }
                    Deferred::Lost { context, .. } => visit.call(context)?,
                }
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let stream = &*self.0;
        let dropped = (
            stream.event_loop.take(),
            stream.protocol.take(),
            stream.server.take(),
            stream.transport_socket.take(),
            stream.closed_socket.take(),
            stream.extra.take(),
            stream.limits.take(),
            stream.records.take(),
            stream.empty_waiter.take(),
            stream.deferred.take(),
        );
        drop(dropped);
    }
}

/// `transport.is_closing()` of a transport of ours.
#[inline]
pub(crate) fn is_closing(transport: &Object) -> Option<bool> {
    PLACE.core_of_exact::<StreamCore>(transport).map(|core| core.0.closing.get())
}

/// A transport and its core, for the length of a call.
#[derive(Clone, Copy)]
pub(crate) struct This<'a, 'py> {
    pub(crate) core: &'a Stream,
    pub(super) transport: &'a Bound<'py, PyAny>,
}

fn is_unknown_family(address: &Cell<Option<Address>>) -> bool {
    address.get().is_some_and(|address| address.parts() == AddressParts::Other)
}

impl<'a, 'py> This<'a, 'py> {
    /// A transport that holds no writes: those that it held are sent first.
    ///
    /// # Errors
    /// RuntimeError when the transport was not made by a loop.
    #[inline]
    pub(super) fn of(transport: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        let this = Self::holding(transport)?;
        this.settle()?;
        Ok(this)
    }

    /// A transport that may hold writes: for what writes more.
    ///
    /// # Errors
    /// As `of`.
    #[inline]
    pub(super) fn holding(transport: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        Ok(Self { core: &PLACE.core::<StreamCore>(transport)?.0, transport })
    }

    #[inline]
    pub(crate) fn py(self) -> Python<'py> {
        self.transport.py()
    }

    pub(super) fn event_loop(self) -> PyResult<Bound<'py, PyAny>> {
        match &*self.core.event_loop.borrow() {
            Some(event_loop) => Ok(event_loop.bind(self.py()).clone()),
            None => Err(PyRuntimeError::new_err("the transport is closed")),
        }
    }

    #[inline]
    pub(crate) fn protocol(self) -> Option<Bound<'py, PyAny>> {
        self.core.protocol.get().map(|protocol| protocol.into_bound(self.py()))
    }

    pub(super) fn current_protocol(self) -> PyResult<Bound<'py, PyAny>> {
        self.protocol().ok_or_else(|| PyRuntimeError::new_err("the transport has no protocol"))
    }

    pub(super) fn is_reading(self) -> bool {
        !self.core.closing.get() && !self.core.paused.get()
    }

    /// A factory that gave no protocol is told so at once, as in asyncio.
    pub(crate) fn check(protocol: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        if !protocol.is_instance(common::base_protocol(py)?)? {
            protocol.getattr(intern!(py, "connection_made"))?;
        }
        Ok(())
    }

    /// Makes a transport; the protocol hears of it in the next iteration.
    pub(crate) fn make(
        event_loop: &Bound<'py, LoopCore>,
        connection: Connection<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        Self::check(&connection.protocol)?;
        let state = Rc::clone(&event_loop.get().state);
        let (mut own_address, mut has_no_delay) = (None, false);
        let (socket, fd, peer_address) = match connection.socket {
            ConnectionSocket::Accepted(accepted) => {
                let fd = accepted.fd.into_raw_fd();
                (own_address, has_no_delay) = (accepted.own, accepted.has_no_delay);
                (Socket::Raw(fd), fd, Some(accepted.peer))
            }
            ConnectionSocket::Connected(fd) => {
                let fd = fd.into_raw_fd();
                (Socket::Raw(fd), fd, Address::of_peer(fd).ok())
            }
            ConnectionSocket::Python(socket) => {
                let fd = socket.call_method0(intern!(py, "fileno"))?.extract::<RawFd>()?;
                let known = match &connection.extra {
                    Some(extra) => extra.contains(intern!(py, "peername"))?,
                    None => false,
                };
                let peer = if known { None } else { Address::of_peer(fd).ok() };
                (Socket::Python(socket.unbind()), fd, peer)
            }
        };
        let descriptor = match &socket {
            Socket::Python(socket) => Descriptor::of_socket(socket.clone_ref(py).into()),
            Socket::Raw(_) | Socket::Closed => Descriptor::of_number(fd),
        };
        let core = Stream {
            event_loop: RefCell::new(Some(event_loop.clone().into_any().unbind())),
            socket: RefCell::new(socket),
            fd,
            descriptor,
            protocol: Slot::new(),
            protocol_connected: Cell::new(false),
            mode: Cell::new(Mode::Data),
            records: RefCell::new(None),
            server: RefCell::new(connection.server.as_ref().map(|server| server.clone().unbind())),
            extra: RefCell::new(connection.extra.map(Bound::unbind)),
            transport_socket: RefCell::new(None),
            closed_socket: RefCell::new(None),
            own_address: Cell::new(own_address.or_else(|| Address::of_socket(fd).ok())),
            peer_address: Cell::new(peer_address),
            buffer: RefCell::default(),
            marks: Cell::default(),
            limits: RefCell::default(),
            eof: Cell::new(false),
            closing: Cell::new(false),
            paused: Cell::new(false),
            conn_lost: Cell::new(0),
            reader: Cell::new(None),
            writer: Cell::new(None),
            context: RefCell::new(connection.context),
            reader_context: Slot::new(),
            writer_context: Slot::new(),
            empty_waiter: RefCell::new(None),
            deferred: RefCell::default(),
            last_read_bytes: Cell::new(0),
            keeps: Cell::new(false),
            sent_ahead: Cell::new(None),
            hold: Hold::new(),
            state,
        };
        let core = Bound::new(py, StreamCore(Confined::new(core)))?;
        let transport = PLACE.attach(py, core.into_any())?;
        let this = This::of(&transport)?;
        this.set_protocol(&connection.protocol)?;
        if [&this.core.own_address, &this.core.peer_address].into_iter().any(is_unknown_family) {
            // Only Python knows how to show it, and only as long as the socket is open.
            stream_face::extra(&transport)?;
        }
        if let Some(server) = &connection.server {
            common::server_attach(server, &transport)?;
        }
        this.core.state.transports.insert(fd, &transport)?;
        if !has_no_delay {
            // Not a TCP socket: then there is nothing to turn off.
            let _not_tcp = socket::set_nodelay(fd);
        }
        let start = Start {
            protocol: connection.protocol.unbind(),
            waiter: connection.waiter.map(Bound::unbind),
            made_context: this.callback_context()?,
            reader_context: this.callback_context()?,
        };
        this.defer(Deferred::Start(Box::new(start)));
        Ok(transport)
    }

    /// The context for a call of the protocol that is arranged now.
    pub(super) fn callback_context(self) -> PyResult<Py<PyAny>> {
        if let Some(context) = &*self.core.context.borrow() {
            return Ok(context.clone_ref(self.py()));
        }
        match self.core.hold.context(self.py())? {
            Some(context) => Ok(context),
            None => ffi::copy_context(self.py()),
        }
    }

    pub(super) fn set_protocol(self, protocol: &Bound<'py, PyAny>) -> PyResult<()> {
        let buffered = protocol.is_instance(common::buffered_protocol(self.py())?)?;
        let records = if buffered { ssl::Records::of(protocol)? } else { None };
        self.core.mode.set(match (buffered, &records) {
            (false, _) => stream_read::own_way(protocol).map_or(Mode::Data, Mode::Own),
            (true, None) => Mode::Buffered,
            (true, Some(_)) => Mode::Tls,
        });
        drop(self.core.records.replace(records));
        self.core.keeps.set(false);
        self.core.protocol_connected.set(true);
        self.core.protocol.set(protocol.clone().into());
        Ok(())
    }

    // What is put off.

    fn defer(self, what: Deferred) {
        let mut deferred = self.core.deferred.borrow_mut();
        let index = usize::from(deferred[0].is_some());
        debug_assert!(deferred[index].is_none(), "a transport starts once and is lost once");
        deferred[index] = Some(what);
        let (core, entry) = (&self.core.state.core, Entry::Transport(self.transport.clone().unbind()));
        match self.core.hold.place() {
            Some(place) => core.call_soon_at(core.batch_left() + place, entry),
            None => core.call_soon(entry),
        }
    }

    /// Does the older of the things put off; `Err` only for what must leave the loop.
    pub(super) fn run_deferred(self) -> PyResult<()> {
        let first = {
            let mut deferred = self.core.deferred.borrow_mut();
            let first = deferred[0].take();
            deferred.swap(0, 1);
            first
        };
        match first {
            Some(Deferred::Start(start)) => self.start(*start),
            Some(Deferred::Lost { error, context }) => {
                let py = self.py();
                let event_loop = self.event_loop()?;
                let argument = error.as_ref().map(|error| error.value(py).clone().into_any());
                let result = common::in_context(py, &context, || self.call_connection_lost(error));
                result.or_else(|error| {
                    let callback = self.transport.getattr(intern!(py, "_call_connection_lost"))?;
                    let argument = argument.unwrap_or_else(|| py.None().into_bound(py));
                    common::report_callback(&event_loop, &callback, &argument, error)
                })
            }
            None => Ok(()),
        }
    }

    fn start(self, start: Start) -> PyResult<()> {
        let py = self.py();
        let protocol = start.protocol.bind(py);
        let event_loop = self.event_loop()?;
        let made = common::in_context(py, &start.made_context, || {
            protocol.call_method1(intern!(py, "connection_made"), (self.transport,))
        });
        // An exception that leaves the loop does not keep the rest from happening: asyncio has three callbacks here.
        let mut result = made.map(drop).or_else(|error| {
            let callback = protocol.getattr(intern!(py, "connection_made"))?;
            common::report_callback(&event_loop, &callback, self.transport, error)
        });
        if self.is_reading() && self.core.reader.get().is_none() {
            result = result.and(self.add_reader(start.reader_context));
        }
        if let Some(waiter) = &start.waiter {
            result = result.and(common::set_result_unless_cancelled(waiter.bind(py)));
        }
        result
    }

    // The end.

    pub(super) fn close(self) -> PyResult<()> {
        self.settle()?;
        if self.core.closing.replace(true) {
            return Ok(());
        }
        self.stop_reading();
        if self.core.buffer.borrow().is_empty() {
            self.stop_writing();
            self.lose(None)?;
        }
        Ok(())
    }

    pub(super) fn lose(self, error: Option<PyErr>) -> PyResult<()> {
        self.core.conn_lost.set(self.core.conn_lost.get() + 1);
        if self.core.state.core.is_closed() {
            return Err(error::loop_closed());
        }
        let context = self.callback_context()?;
        self.defer(Deferred::Lost { error, context });
        Ok(())
    }

    #[cold]
    pub(crate) fn fatal_error(self, error: PyErr, message: &str) -> PyResult<()> {
        let py = self.py();
        if error.is_instance_of::<PyOSError>(py) {
            if self.core.state.debug.get() {
                let keywords = PyDict::new(py);
                keywords.set_item("exc_info", error.clone_ref(py).into_value(py))?;
                let arguments = ("%r: %s", self.transport, message);
                common::logger(py)?.call_method("debug", arguments, Some(&keywords))?;
            }
        } else {
            let protocol = self.protocol();
            let error = error.clone_ref(py);
            common::report(&self.event_loop()?, message, error, self.transport, protocol.as_ref())?;
        }
        self.force_close(Some(error))
    }

    pub(super) fn force_close(self, error: Option<PyErr>) -> PyResult<()> {
        self.settle()?;
        if self.core.conn_lost.get() > 0 {
            return Ok(());
        }
        if !self.core.buffer.borrow().is_empty() {
            self.core.buffer.take();
            self.stop_writing();
        }
        if !self.core.closing.replace(true) {
            self.stop_reading();
        }
        self.lose(error)
    }

    pub(super) fn call_connection_lost(self, error: Option<PyErr>) -> PyResult<()> {
        let py = self.py();
        // Also when it comes straight from the last `write_ready`: nothing may be sent from here on, for the descriptor's number
        // is soon another connection's; nor may the protocol be told twice.
        self.core.conn_lost.set(self.core.conn_lost.get().max(1));
        let protocol = self.protocol().filter(|_| self.core.protocol_connected.get());
        let told = match protocol {
            Some(protocol) => {
                let error = error.map(|error| error.into_value(py));
                protocol.call_method1(intern!(py, "connection_lost"), (error,)).map(drop)
            }
            None => Ok(()),
        };
        self.stop_reading();
        self.stop_writing();
        let closed = self.close_socket();
        drop(self.core.context.take());
        drop((self.core.protocol.take(), self.core.event_loop.take()));
        drop((self.core.reader_context.take(), self.core.writer_context.take(), self.core.records.take()));
        let detached = match self.core.server.take() {
            Some(server) => common::server_detach(server.bind(py), self.transport),
            None => Ok(()),
        };
        told.and(closed).and(detached)?;
        self.fail_empty_waiter(PyConnectionError::new_err("Connection is closed by peer"))
    }

    /// Closes the descriptor, by way of the Python socket if there is one.
    pub(super) fn close_socket(self) -> PyResult<()> {
        let py = self.py();
        let is_ours = self.core.own_fd() == self.core.fd;
        let socket = self.core.socket.replace(Socket::Closed);
        self.core.descriptor.hand_to(None);
        if !matches!(socket, Socket::Closed) {
            self.core.state.transports.remove(self.core.fd, self.transport);
            // If the program has closed the socket, the number may be another connection's.
            if is_ours {
                self.core.state.core.reactor().forget(self.core.fd);
            }
        }
        match socket {
            Socket::Python(socket) => {
                let closed = socket.bind(py).call_method0(intern!(py, "close")).map(drop);
                drop(self.core.closed_socket.replace(Some(socket)));
                closed
            }
            Socket::Raw(fd) => {
                ffi::close(py, fd);
                Ok(())
            }
            Socket::Closed => Ok(()),
        }
    }
}

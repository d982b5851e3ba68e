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
use std::io::IoSlice;
use std::os::fd::RawFd;
use std::rc::Rc;

use aioxide_core::Token;
use aioxide_core::flow::{Change, Watermarks, WriteBuffer};
use aioxide_core::sys::socket::{self, Address};
use pyo3::exceptions::{PyConnectionError, PyOSError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::common::{self, leaves_loop, would_block};
use super::reader;
use super::ssl::{self, Records};
use super::{Direction, TransportWatcher};
use crate::entry::Entry;
use crate::error;
use crate::event_loop::{LoopCore, LoopState, Watcher};
use crate::ffi::{self, Buffer, Chunk, Confined, slot::Place};

/// Where a `StreamTransport` keeps its core.
pub(super) static PLACE: Place = Place::new();

/// From this size of the last read on, the next one goes straight into a new bytes object instead of being copied to one.
const DIRECT_READ_BYTES: usize = 16 * 1024;

/// What is allocated for the end of the stream, which shows as nothing to receive.
const MIN_DIRECT_BYTES: usize = 512;

/// Slices of one vectored write; asyncio uses as many as the system takes.
const SLICES: usize = 64;

/// The connection's descriptor, and the Python object for it where one was made.
pub(super) enum Socket {
    Python(Py<PyAny>),
    /// An accepted connection: the Python object is made when somebody asks for it.
    Raw(RawFd),
    Closed,
}

/// How incoming bytes reach the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Data,
    Buffered,
    /// asyncio's `SSLProtocol`, whose records are dealt with here.
    Tls,
    /// asyncio's `StreamReaderProtocol`, whose reader is fed here.
    Streams,
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
}

pub(crate) enum ConnectionSocket<'py> {
    Python(Bound<'py, PyAny>),
    Accepted(std::os::fd::OwnedFd, Address),
}

/// The Rust half of `aioxide.transports.StreamTransport`.
#[pyclass(frozen, module = "aioxide._aioxide")]
pub(crate) struct StreamCore(Confined<Stream>);

pub(super) struct Stream {
    pub(super) state: Rc<LoopState>,
    pub(super) event_loop: RefCell<Option<Py<PyAny>>>,
    pub(super) socket: RefCell<Socket>,
    pub(super) fd: RawFd,
    pub(super) protocol: RefCell<Option<Py<PyAny>>>,
    pub(super) protocol_connected: Cell<bool>,
    mode: Cell<Mode>,
    pub(super) records: RefCell<Option<Records>>,
    pub(super) server: RefCell<Option<Py<PyAny>>>,
    pub(super) extra: RefCell<Option<Py<PyDict>>>,
    pub(super) transport_socket: RefCell<Option<Py<PyAny>>>,
    pub(super) own_address: Cell<Option<Address>>,
    pub(super) peer_address: Cell<Option<Address>>,
    pub(super) buffer: RefCell<WriteBuffer<Chunk>>,
    pub(super) marks: Cell<Watermarks>,
    pub(super) eof: Cell<bool>,
    pub(super) closing: Cell<bool>,
    pub(super) paused: Cell<bool>,
    pub(super) conn_lost: Cell<u32>,
    pub(super) reader: Cell<Option<Token>>,
    pub(super) writer: Cell<Option<Token>>,
    reader_context: RefCell<Option<Py<PyAny>>>,
    writer_context: RefCell<Option<Py<PyAny>>>,
    pub(super) empty_waiter: RefCell<Option<Py<PyAny>>>,
    deferred: RefCell<[Option<Deferred>; 2]>,
    last_read_bytes: Cell<usize>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Socket::Raw(fd) = *self.socket.get_mut() {
            self.state.core.reactor().forget(fd);
            socket::close(fd);
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
            &stream.protocol,
            &stream.server,
            &stream.transport_socket,
            &stream.reader_context,
            &stream.writer_context,
            &stream.empty_waiter,
        ] {
            if let Ok(value) = field.try_borrow() {
                visit.call(&*value)?;
            }
        }
        if let Ok(records) = stream.records.try_borrow()
            && let Some(records) = &*records
        {
            records.traverse(&visit)?;
        }
        if let Ok(extra) = stream.extra.try_borrow() {
            visit.call(&*extra)?;
        }
        if let Ok(socket) = stream.socket.try_borrow()
            && let Socket::Python(socket) = &*socket
        {
            visit.call(socket)?;
        }
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
            stream.extra.take(),
            stream.records.take(),
            stream.empty_waiter.take(),
            stream.deferred.take(),
        );
        drop(dropped);
    }
}

/// A transport and its core, for the length of a call.
#[derive(Clone, Copy)]
pub(crate) struct This<'a, 'py> {
    pub(super) core: &'a Stream,
    pub(super) transport: &'a Bound<'py, PyAny>,
}

impl<'a, 'py> This<'a, 'py> {
    /// # Errors
    /// RuntimeError when the transport was not made by a loop.
    #[inline]
    pub(super) fn of(transport: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        Ok(Self { core: &PLACE.core::<StreamCore>(transport)?.0, transport })
    }

    #[inline]
    pub(super) fn py(self) -> Python<'py> {
        self.transport.py()
    }

    pub(super) fn event_loop(self) -> PyResult<Bound<'py, PyAny>> {
        match &*self.core.event_loop.borrow() {
            Some(event_loop) => Ok(event_loop.bind(self.py()).clone()),
            None => Err(PyRuntimeError::new_err("the transport is closed")),
        }
    }

    #[inline]
    pub(super) fn protocol(self) -> Option<Bound<'py, PyAny>> {
        self.core.protocol.borrow().as_ref().map(|protocol| protocol.bind(self.py()).clone())
    }

    fn current_protocol(self) -> PyResult<Bound<'py, PyAny>> {
        self.protocol().ok_or_else(|| PyRuntimeError::new_err("the transport has no protocol"))
    }

    pub(super) fn is_reading(self) -> bool {
        !self.core.closing.get() && !self.core.paused.get()
    }

    /// Makes a transport; the protocol hears of it in the next iteration.
    pub(crate) fn make(
        event_loop: &Bound<'py, LoopCore>,
        connection: Connection<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        let state = Rc::clone(&event_loop.get().state);
        let (socket, fd, peer_address) = match connection.socket {
            ConnectionSocket::Accepted(fd, address) => {
                let fd = std::os::fd::IntoRawFd::into_raw_fd(fd);
                (Socket::Raw(fd), fd, Some(address))
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
        let core = Stream {
            event_loop: RefCell::new(Some(event_loop.clone().into_any().unbind())),
            socket: RefCell::new(socket),
            fd,
            protocol: RefCell::new(None),
            protocol_connected: Cell::new(false),
            mode: Cell::new(Mode::Data),
            records: RefCell::new(None),
            server: RefCell::new(connection.server.as_ref().map(|server| server.clone().unbind())),
            extra: RefCell::new(connection.extra.map(Bound::unbind)),
            transport_socket: RefCell::new(None),
            own_address: Cell::new(Address::of_socket(fd).ok()),
            peer_address: Cell::new(peer_address),
            buffer: RefCell::default(),
            marks: Cell::default(),
            eof: Cell::new(false),
            closing: Cell::new(false),
            paused: Cell::new(false),
            conn_lost: Cell::new(0),
            reader: Cell::new(None),
            writer: Cell::new(None),
            reader_context: RefCell::new(None),
            writer_context: RefCell::new(None),
            empty_waiter: RefCell::new(None),
            deferred: RefCell::default(),
            last_read_bytes: Cell::new(0),
            state,
        };
        let core = Bound::new(py, StreamCore(Confined::new(core)))?;
        let transport = PLACE.attach(py, core.into_any())?;
        let this = This::of(&transport)?;
        this.set_protocol(&connection.protocol)?;
        if let Some(server) = &connection.server {
            common::server_attach(server, &transport)?;
        }
        this.core.state.transports.insert(fd, &transport)?;
        // Not a TCP socket: then there is nothing to turn off.
        let _not_tcp = socket::set_nodelay(fd);
        let start = Start {
            protocol: connection.protocol.unbind(),
            waiter: connection.waiter.map(Bound::unbind),
            made_context: ffi::copy_context(py)?,
            reader_context: ffi::copy_context(py)?,
        };
        this.defer(Deferred::Start(Box::new(start)));
        Ok(transport)
    }

    pub(super) fn set_protocol(self, protocol: &Bound<'py, PyAny>) -> PyResult<()> {
        let buffered = protocol.is_instance(common::buffered_protocol(self.py())?)?;
        let records = if buffered { ssl::Records::of(protocol)? } else { None };
        self.core.mode.set(match (buffered, &records) {
            (false, _) if reader::is_plain_protocol(protocol)? => Mode::Streams,
            (false, _) => Mode::Data,
            (true, None) => Mode::Buffered,
            (true, Some(_)) => Mode::Tls,
        });
        drop(self.core.records.replace(records));
        let before = self.core.protocol.replace(Some(protocol.clone().unbind()));
        self.core.protocol_connected.set(true);
        drop(before);
        Ok(())
    }

    // What is put off.

    fn defer(self, what: Deferred) {
        let mut deferred = self.core.deferred.borrow_mut();
        let index = usize::from(deferred[0].is_some());
        debug_assert!(deferred[index].is_none(), "a transport starts once and is lost once");
        deferred[index] = Some(what);
        self.core.state.core.call_soon(Entry::Transport(self.transport.clone().unbind()));
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

    // Watching.

    fn add_reader(self, context: Py<PyAny>) -> PyResult<()> {
        let before = self.core.reader_context.replace(Some(context));
        let token = self.watcher(Direction::Read);
        let set = self.core.state.core.reactor().set_reader(self.core.fd, token);
        self.watched(&self.core.reader, token, set)?;
        drop(before);
        Ok(())
    }

    pub(super) fn start_reading(self) -> PyResult<()> {
        let context = ffi::copy_context(self.py())?;
        self.add_reader(context)
    }

    fn start_writing(self) -> PyResult<()> {
        let before = self.core.writer_context.replace(Some(ffi::copy_context(self.py())?));
        let token = self.watcher(Direction::Write);
        let set = self.core.state.core.reactor().set_writer(self.core.fd, token);
        self.watched(&self.core.writer, token, set)?;
        drop(before);
        Ok(())
    }

    fn watcher(self, direction: Direction) -> Token {
        let transport = self.transport.clone().unbind();
        self.core.state.add_watcher(Watcher::Transport(TransportWatcher { transport, direction }))
    }

    fn watched(
        self,
        place: &Cell<Option<Token>>,
        token: Token,
        set: std::io::Result<Option<Token>>,
    ) -> PyResult<()> {
        match set {
            Ok(before) => {
                place.set(Some(token));
                drop(before.and_then(|before| self.core.state.remove_watcher(before)));
                Ok(())
            }
            Err(error) => {
                drop(self.core.state.remove_watcher(token));
                Err(error::os_error(&error))
            }
        }
    }

    pub(super) fn stop_reading(self) {
        if let Some(token) = self.core.reader.take() {
            self.core.state.core.reactor().remove_reader(self.core.fd);
            drop(self.core.state.remove_watcher(token));
        }
    }

    pub(super) fn stop_writing(self) {
        if let Some(token) = self.core.writer.take() {
            self.core.state.core.reactor().remove_writer(self.core.fd);
            drop(self.core.state.remove_watcher(token));
        }
    }

    pub(super) fn on_event(self, direction: Direction) -> PyResult<()> {
        let py = self.py();
        let context = match direction {
            Direction::Read => &self.core.reader_context,
            Direction::Write => &self.core.writer_context,
        };
        let context = context.borrow().as_ref().map(|context| context.clone_ref(py));
        let Some(context) = context else { return Ok(()) };
        let result = common::in_context(py, &context, || match direction {
            Direction::Read => self.read_ready(),
            Direction::Write => self.write_ready(),
        });
        result.or_else(|error| {
            if leaves_loop(py, &error) {
                return Err(error);
            }
            let name = if direction == Direction::Read {
                intern!(py, "_read_ready")
            } else {
                intern!(py, "_write_ready")
            };
            let event_loop = self.core.state.python_loop(py)?;
            common::report_callback(
                &event_loop,
                &self.transport.getattr(name)?,
                &py.None().into_bound(py),
                error,
            )
        })
    }

    // Reading.

    pub(super) fn read_ready(self) -> PyResult<()> {
        if self.core.conn_lost.get() > 0 {
            return Ok(());
        }
        match self.core.mode.get() {
            Mode::Data => self.read_data(),
            Mode::Buffered => self.read_buffered(),
            Mode::Streams => self.read_stream(),
            Mode::Tls if self.read_records()? => Ok(()),
            Mode::Tls => self.read_buffered(),
        }
    }

    fn read_data(self) -> PyResult<()> {
        let py = self.py();
        let received = if self.core.last_read_bytes.get() < DIRECT_READ_BYTES {
            let mut scratch = self.core.state.scratch.borrow_mut();
            socket::recv(self.core.fd, &mut scratch).map(|size| PyBytes::new(py, &scratch[..size]))
        } else {
            // As large as what is there: shrinking 256 KiB, as asyncio does, costs three times the system call.
            let capacity = socket::available(self.core.fd).clamp(MIN_DIRECT_BYTES, common::MAX_READ_BYTES);
            ffi::receive_bytes(py, self.core.fd, capacity)?
        };
        let data = match received {
            Ok(data) => data,
            Err(error) if would_block(&error) => return Ok(()),
            Err(error) => {
                return self.fatal_error(error::os_error(&error), "Fatal read error on socket transport");
            }
        };
        let size = data.as_bytes().len();
        self.core.last_read_bytes.set(size);
        if size == 0 {
            return self.on_eof();
        }
        let protocol = self.current_protocol()?;
        match protocol.call_method1(intern!(py, "data_received"), (data,)) {
            Ok(_) => Ok(()),
            Err(error) if leaves_loop(py, &error) => Err(error),
            Err(error) => self.fatal_error(error, "Fatal error: protocol.data_received() call failed."),
        }
    }

    fn read_buffered(self) -> PyResult<()> {
        let py = self.py();
        let protocol = self.current_protocol()?;
        let buffer = protocol.call_method1(intern!(py, "get_buffer"), (-1,)).and_then(|object| {
            if object.len()? == 0 {
                return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
            }
            Ok(object)
        });
        let buffer = match buffer {
            Ok(buffer) => buffer,
            Err(error) if leaves_loop(py, &error) => return Err(error),
            Err(error) => return self.fatal_error(error, "Fatal error: protocol.get_buffer() call failed."),
        };
        let received = match Buffer::writable(&buffer) {
            Ok(view) => view.receive(self.core.fd),
            Err(error) => return self.fatal_error(error, "Fatal read error on socket transport"),
        };
        drop(buffer);
        let size = match received {
            Ok(size) => size,
            Err(error) if would_block(&error) => return Ok(()),
            Err(error) => {
                return self.fatal_error(error::os_error(&error), "Fatal read error on socket transport");
            }
        };
        if size == 0 {
            return self.on_eof();
        }
        match protocol.call_method1(intern!(py, "buffer_updated"), (size,)) {
            Ok(_) => Ok(()),
            Err(error) if leaves_loop(py, &error) => Err(error),
            Err(error) => self.fatal_error(error, "Fatal error: protocol.buffer_updated() call failed."),
        }
    }

    pub(super) fn on_eof(self) -> PyResult<()> {
        let py = self.py();
        self.log_debug("%r received EOF")?;
        let protocol = self.current_protocol()?;
        let answer = protocol.call_method0(intern!(py, "eof_received")).and_then(|answer| answer.is_truthy());
        match answer {
            Ok(true) => {
                // The protocol may still write, but nothing more comes in.
                self.stop_reading();
                Ok(())
            }
            Ok(false) => self.close(),
            Err(error) if leaves_loop(py, &error) => Err(error),
            Err(error) => self.fatal_error(error, "Fatal error: protocol.eof_received() call failed."),
        }
    }

    pub(super) fn log_debug(self, text: &str) -> PyResult<()> {
        if self.core.state.debug.get() {
            common::logger(self.py())?.call_method1("debug", (text, self.transport))?;
        }
        Ok(())
    }

    // Writing.

    /// `true` if a write is to go ahead; `false` if it is dropped because the connection is lost.
    pub(super) fn may_write(self) -> PyResult<bool> {
        let lost = self.core.conn_lost.get();
        if lost == 0 {
            return Ok(true);
        }
        if lost >= common::LOG_THRESHOLD_FOR_CONN_LOST_WRITES {
            common::logger(self.py())?.call_method1("warning", ("socket.send() raised exception.",))?;
        }
        self.core.conn_lost.set(lost + 1);
        Ok(false)
    }

    /// Sends what the socket takes at once, and keeps the rest.
    pub(super) fn write(self, data: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            let content = bytes.as_bytes();
            if content.is_empty() || !self.may_write()? {
                return Ok(());
            }
            let Some(sent) = self.send_now(content)? else { return Ok(()) };
            if sent == content.len() {
                return Ok(());
            }
            return self.keep(Chunk::Bytes(bytes.clone().unbind()), sent);
        }
        if data.len()? == 0 || !self.may_write()? {
            return Ok(());
        }
        let view = match Buffer::readable(data) {
            Ok(view) => view,
            Err(error) => return self.fatal_error(error, "Fatal write error on socket transport"),
        };
        let Some(sent) = self.send_now(view.bytes())? else { return Ok(()) };
        if sent == view.bytes().len() {
            return Ok(());
        }
        // The caller may change it after this call: it is copied, but for bytes, which cannot change.
        let copy = Chunk::Copy(view.bytes()[sent..].into());
        drop(view);
        self.keep(copy, 0)
    }

    /// How much the socket took; `None` if the connection broke.
    #[inline]
    fn send_now(self, content: &[u8]) -> PyResult<Option<usize>> {
        if !self.core.buffer.borrow().is_empty() {
            return Ok(Some(0));
        }
        match socket::send(self.core.fd, content) {
            Ok(sent) => Ok(Some(sent)),
            Err(error) if would_block(&error) => Ok(Some(0)),
            Err(error) => {
                self.fatal_error(error::os_error(&error), "Fatal write error on socket transport")?;
                Ok(None)
            }
        }
    }

    fn keep(self, chunk: Chunk, skip: usize) -> PyResult<()> {
        if self.core.buffer.borrow().is_empty() {
            self.start_writing()?;
        }
        self.core.buffer.borrow_mut().push(chunk, skip);
        self.maybe_pause_protocol()
    }

    /// Sends all of `items` with one system call where the socket takes it.
    pub(super) fn write_lines(self, items: &[Bound<'py, PyAny>]) -> PyResult<()> {
        let views = items.iter().map(Buffer::readable).collect::<PyResult<Vec<_>>>()?;
        if !self.may_write()? {
            return Ok(());
        }
        let total = views.iter().map(|view| view.bytes().len()).sum::<usize>();
        let mut sent = 0;
        if self.core.buffer.borrow().is_empty() {
            while sent < total {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let (mut skip, mut filled, mut asked) = (sent, 0, 0);
                for view in &views {
                    let bytes = view.bytes();
                    if skip >= bytes.len() {
                        skip -= bytes.len();
                        continue;
                    }
                    if filled == SLICES {
                        break;
                    }
                    slices[filled] = IoSlice::new(&bytes[skip..]);
                    asked += bytes.len() - skip;
                    filled += 1;
                    skip = 0;
                }
                match socket::send_vectored(self.core.fd, &slices[..filled]) {
                    Ok(size) => {
                        sent += size;
                        if size < asked {
                            break;
                        }
                    }
                    Err(error) if would_block(&error) => break,
                    Err(error) => {
                        return self
                            .fatal_error(error::os_error(&error), "Fatal write error on socket transport");
                    }
                }
            }
            if sent == total {
                return Ok(());
            }
            self.start_writing()?;
        }
        for (item, view) in items.iter().zip(&views) {
            let content = view.bytes();
            if sent >= content.len() {
                sent -= content.len();
                continue;
            }
            let mut buffer = self.core.buffer.borrow_mut();
            match item.cast_exact::<PyBytes>() {
                Ok(bytes) => buffer.push(Chunk::Bytes(bytes.clone().unbind()), sent),
                Err(_) => buffer.push(Chunk::Copy(content[sent..].into()), 0),
            }
            sent = 0;
        }
        drop(views);
        self.maybe_pause_protocol()
    }

    pub(super) fn write_ready(self) -> PyResult<()> {
        if self.core.conn_lost.get() > 0 {
            return Ok(());
        }
        let sent = {
            let buffer = self.core.buffer.borrow();
            let mut slices = [IoSlice::new(&[]); SLICES];
            match buffer.fill(&mut slices) {
                1 => socket::send(self.core.fd, &slices[0]),
                filled => socket::send_vectored(self.core.fd, &slices[..filled]),
            }
        };
        match sent {
            Ok(sent) => self.core.buffer.borrow_mut().advance(sent),
            Err(error) if would_block(&error) => return Ok(()),
            Err(error) => {
                let error = error::os_error(&error);
                let py = self.py();
                self.stop_writing();
                drop(self.core.buffer.borrow_mut().take());
                self.fatal_error(error.clone_ref(py), "Fatal write error on socket transport")?;
                return self.fail_empty_waiter(error);
            }
        }
        self.maybe_resume_protocol()?;
        if !self.core.buffer.borrow().is_empty() {
            return Ok(());
        }
        self.stop_writing();
        let py = self.py();
        let waiter = self.core.empty_waiter.borrow().as_ref().map(|waiter| waiter.clone_ref(py));
        if let Some(waiter) = waiter {
            waiter.bind(py).call_method1(intern!(py, "set_result"), (py.None(),))?;
        }
        if self.core.closing.get() {
            self.call_connection_lost(None)
        } else if self.core.eof.get() {
            socket::shutdown_write(self.core.fd).map_err(|error| error::os_error(&error))
        } else {
            Ok(())
        }
    }

    fn fail_empty_waiter(self, error: PyErr) -> PyResult<()> {
        let py = self.py();
        let waiter = self.core.empty_waiter.borrow().as_ref().map(|waiter| waiter.clone_ref(py));
        match waiter {
            Some(waiter) => {
                let waiter = waiter.bind(py);
                waiter.call_method1(intern!(py, "set_exception"), (error.into_value(py),)).map(drop)
            }
            None => Ok(()),
        }
    }

    pub(super) fn maybe_pause_protocol(self) -> PyResult<()> {
        let size = self.core.buffer.borrow().len();
        let mut marks = self.core.marks.get();
        let change = marks.grown_to(size);
        self.core.marks.set(marks);
        match change {
            Some(change) => self.tell_protocol(change),
            None => Ok(()),
        }
    }

    pub(super) fn maybe_resume_protocol(self) -> PyResult<()> {
        let size = self.core.buffer.borrow().len();
        let mut marks = self.core.marks.get();
        let change = marks.shrunk_to(size);
        self.core.marks.set(marks);
        match change {
            Some(change) => self.tell_protocol(change),
            None => Ok(()),
        }
    }

    #[cold]
    fn tell_protocol(self, change: Change) -> PyResult<()> {
        let py = self.py();
        let protocol = self.current_protocol()?;
        let (method, message) = match change {
            Change::Pause => (intern!(py, "pause_writing"), "protocol.pause_writing() failed"),
            Change::Resume => (intern!(py, "resume_writing"), "protocol.resume_writing() failed"),
        };
        match protocol.call_method0(method) {
            Ok(_) => Ok(()),
            Err(error) if leaves_loop(py, &error) => Err(error),
            Err(error) => {
                common::report(&self.event_loop()?, message, error, self.transport, Some(&protocol))
            }
        }
    }

    // The end.

    pub(super) fn close(self) -> PyResult<()> {
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

    fn lose(self, error: Option<PyErr>) -> PyResult<()> {
        self.core.conn_lost.set(self.core.conn_lost.get() + 1);
        let context = ffi::copy_context(self.py())?;
        self.defer(Deferred::Lost { error, context });
        Ok(())
    }

    #[cold]
    pub(super) fn fatal_error(self, error: PyErr, message: &str) -> PyResult<()> {
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
        if self.core.conn_lost.get() > 0 {
            return Ok(());
        }
        if !self.core.buffer.borrow().is_empty() {
            drop(self.core.buffer.borrow_mut().take());
            self.stop_writing();
        }
        if !self.core.closing.replace(true) {
            self.stop_reading();
        }
        self.lose(error)
    }

    pub(super) fn call_connection_lost(self, error: Option<PyErr>) -> PyResult<()> {
        let py = self.py();
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
        let released =
            (self.core.protocol.take(), self.core.event_loop.take(), self.core.reader_context.take());
        drop(released);
        drop((self.core.writer_context.take(), self.core.records.take()));
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
        let socket = self.core.socket.replace(Socket::Closed);
        if !matches!(socket, Socket::Closed) {
            self.core.state.transports.remove(self.core.fd, self.transport);
            self.core.state.core.reactor().forget(self.core.fd);
        }
        match socket {
            Socket::Python(socket) => socket.bind(py).call_method0(intern!(py, "close")).map(drop),
            Socket::Raw(fd) => {
                socket::close(fd);
                Ok(())
            }
            Socket::Closed => Ok(()),
        }
    }
}

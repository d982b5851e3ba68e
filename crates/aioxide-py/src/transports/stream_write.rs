//! The sending half of a stream transport: what the socket takes goes out in the call, the rest is kept.

use std::io::IoSlice;

use aioxide_core::flow::Change;
use aioxide_core::sys::socket;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::common::{self, would_block};
use super::stream::{StreamCore, This};
use super::stream_hold::MOST_COPIED_BYTES;
use crate::ffi::{self, Buffer, Chunk, Object, Owned};
use crate::kernel::error;
use crate::kernel::report::leaves_the_loop;

/// Slices of one vectored write; asyncio uses as many as the system takes.
pub(super) const SLICES: usize = 64;

/// `write` in the plain case: bytes for an open connection with nothing in its buffer, which the socket takes whole.
///
/// What the socket says otherwise is noted for the general way, which does the rest.
pub(super) fn write_at_once(transport: &Object, core: &StreamCore, arguments: &[&Object]) -> Option<Owned> {
    let (core, [data]) = (&*core.0, arguments) else { return None };
    let data = data.bind(ffi::python(transport)).cast_exact::<PyBytes>().ok()?;
    let content = data.as_bytes();
    let is_open = core.conn_lost.get() == 0
        && !core.eof.get()
        && !content.is_empty()
        && core.empty_waiter.try_borrow().is_ok_and(|waiter| waiter.is_none());
    if !is_open {
        return None;
    }
    if core.hold_write(transport, content.len(), || Chunk::of(&data)) {
        return Some(Owned::none());
    }
    if !core.buffer.try_borrow().is_ok_and(|buffer| buffer.is_empty()) {
        return None;
    }
    core.state.expect_events();
    let sent = socket::send(core.descriptor.get(), content);
    if matches!(sent, Ok(sent) if sent == content.len()) {
        return Some(Owned::none());
    }
    core.sent_ahead.set(Some(sent));
    None
}

/// One of several pieces of data to be sent.
enum Piece<'a> {
    Bytes(&'a [u8]),
    View(Buffer),
}

impl<'a> Piece<'a> {
    fn of(item: &'a Bound<'_, PyAny>) -> PyResult<Self> {
        match item.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.as_bytes())),
            Err(_) => Buffer::readable(item).map(Self::View),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::View(view) => view.bytes(),
        }
    }
}

/// What is left to send of several pieces: from a byte of one of them on.
struct Rest<'a> {
    pieces: &'a [Piece<'a>],
    index: usize,
    offset: usize,
}

impl<'a> Rest<'a> {
    fn is_empty(&self) -> bool {
        self.index == self.pieces.len()
    }

    /// As many pieces as one system call takes, and how many bytes they are.
    fn slices(&self) -> (Vec<IoSlice<'a>>, usize) {
        let pieces = &self.pieces[self.index..];
        let mut slices = Vec::with_capacity(pieces.len().min(socket::MAX_SLICES));
        let (mut skip, mut asked) = (self.offset, 0);
        for piece in pieces.iter().take(socket::MAX_SLICES) {
            let bytes = &piece.bytes()[std::mem::take(&mut skip)..];
            asked += bytes.len();
            slices.push(IoSlice::new(bytes));
        }
        (slices, asked)
    }

    /// Leaves out the next `size` bytes, and empty pieces behind them.
    fn advance(&mut self, size: usize) {
        self.offset += size;
        while let Some(piece) = self.pieces.get(self.index) {
            let length = piece.bytes().len();
            if self.offset < length {
                break;
            }
            self.offset -= length;
            self.index += 1;
        }
    }
}

impl<'py> This<'_, 'py> {
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
            let chunk = || Chunk::of(bytes);
            if content.is_empty()
                || self.core.hold_write(Object::of(self.transport), content.len(), chunk)
                || self.send_with_held(content.len(), chunk)?
                || !self.may_write()?
            {
                return Ok(());
            }
            let Some(sent) = self.send_now(content)? else { return Ok(()) };
            if sent == content.len() {
                return Ok(());
            }
            return match data.cast_exact::<PyBytes>() {
                Ok(bytes) => self.keep(Chunk::Bytes(bytes.clone().unbind()), sent),
                Err(_) => self.keep(Chunk::Copy(content[sent..].into()), 0),
            };
        }
        if data.len()? == 0 {
            return Ok(());
        }
        let view = match Buffer::readable(data) {
            Ok(view) => view,
            Err(error) => {
                self.settle()?;
                let may_write = self.may_write()?;
                let message = "Fatal write error on socket transport";
                return if may_write { self.fatal_error(error, message) } else { Ok(()) };
            }
        };
        if self.hold_copy(view.bytes()) {
            return Ok(());
        }
        self.settle()?;
        if !self.may_write()? {
            return Ok(());
        }
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
    pub(super) fn send_now(self, content: &[u8]) -> PyResult<Option<usize>> {
        if !self.core.buffer.borrow().is_empty() {
            return Ok(Some(0));
        }
        self.core.state.expect_events();
        let sent =
            self.core.sent_ahead.take().unwrap_or_else(|| socket::send(self.core.descriptor.get(), content));
        match sent {
            Ok(sent) => Ok(Some(sent)),
            Err(error) if would_block(&error) => Ok(Some(0)),
            Err(error) => {
                self.fatal_error(error::os_error(&error), "Fatal write error on socket transport")?;
                Ok(None)
            }
        }
    }

    pub(super) fn keep(self, chunk: Chunk, skip: usize) -> PyResult<()> {
        if self.core.buffer.borrow().is_empty() {
            self.start_writing()?;
        }
        self.core.buffer.borrow_mut().push(chunk, skip);
        self.maybe_pause_protocol()
    }

    /// Sends all of `items` with one system call where the socket takes it.
    pub(super) fn write_lines(self, items: &[Bound<'py, PyAny>]) -> PyResult<()> {
        let pieces = items.iter().map(Piece::of).collect::<PyResult<Vec<_>>>()?;
        let total = pieces.iter().map(|piece| piece.bytes().len()).sum::<usize>();
        let joined = || Chunk::Copy(pieces.iter().flat_map(|piece| piece.bytes()).copied().collect());
        if total <= MOST_COPIED_BYTES && self.core.hold_write(Object::of(self.transport), total, joined) {
            return Ok(());
        }
        self.settle()?;
        if !self.may_write()? {
            return Ok(());
        }
        let mut rest = Rest { pieces: &pieces, index: 0, offset: 0 };
        rest.advance(0);
        let behind = !self.core.buffer.borrow().is_empty();
        if !behind {
            self.core.state.expect_events();
            while !rest.is_empty() {
                let (slices, asked) = rest.slices();
                match socket::send_vectored(self.core.descriptor.get(), &slices) {
                    Ok(size) => {
                        rest.advance(size);
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
            if rest.is_empty() {
                return Ok(());
            }
            self.start_writing()?;
        }
        let Rest { index, mut offset, .. } = rest;
        for (item, piece) in items.iter().zip(&pieces).skip(index) {
            let chunk = match item.cast_exact::<PyBytes>() {
                Ok(bytes) => Chunk::Bytes(bytes.clone().unbind()),
                Err(_) => Chunk::Copy(piece.bytes()[std::mem::take(&mut offset)..].into()),
            };
            self.core.buffer.borrow_mut().push(chunk, std::mem::take(&mut offset));
        }
        drop(pieces);
        if behind {
            // As asyncio does: another try at once, and from now on in the context of this call.
            self.write_ready()?;
            if !self.core.buffer.borrow().is_empty() {
                self.start_writing()?;
            }
        }
        self.maybe_pause_protocol()
    }

    pub(super) fn write_ready(self) -> PyResult<()> {
        if self.core.conn_lost.get() > 0 {
            return Ok(());
        }
        let fd = self.core.descriptor.get();
        let sent = {
            let buffer = self.core.buffer.borrow();
            let mut slices = [IoSlice::new(&[]); SLICES];
            match buffer.fill(&mut slices) {
                1 => socket::send(fd, &slices[0]),
                filled => socket::send_vectored(fd, &slices[..filled]),
            }
        };
        match sent {
            Ok(sent) => self.core.buffer.borrow_mut().advance(sent),
            Err(error) if would_block(&error) => return Ok(()),
            Err(error) => {
                let error = error::os_error(&error);
                let py = self.py();
                self.stop_writing();
                self.core.buffer.take();
                self.fatal_error(error.clone_ref(py), "Fatal write error on socket transport")?;
                return self.fail_empty_waiter(error);
            }
        }
        self.maybe_resume_protocol()?;
        self.settle()?;
        // The protocol may have written more in `resume_writing`, or closed: then the end is on its way.
        if self.core.conn_lost.get() > 0 || !self.core.buffer.borrow().is_empty() {
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
            socket::shutdown_write(self.core.descriptor.get()).map_err(|error| error::os_error(&error))
        } else {
            Ok(())
        }
    }

    pub(super) fn fail_empty_waiter(self, error: PyErr) -> PyResult<()> {
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
    pub(super) fn tell_protocol(self, change: Change) -> PyResult<()> {
        let py = self.py();
        let protocol = self.current_protocol()?;
        let (method, message) = match change {
            Change::Pause => (intern!(py, "pause_writing"), "protocol.pause_writing() failed"),
            Change::Resume => (intern!(py, "resume_writing"), "protocol.resume_writing() failed"),
        };
        match protocol.call_method0(method) {
            Ok(_) => Ok(()),
            Err(error) if leaves_the_loop(py, &error) => Err(error),
            Err(error) => {
                common::report(&self.event_loop()?, message, error, self.transport, Some(&protocol))
            }
        }
    }
}

//! The receiving half of a stream transport.

use std::cell::Cell;

use aioxide_core::sys::socket;
use pyo3::ffi::PyTypeObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::common::{self, would_block};
use super::stream::{Mode, This};
use crate::ffi::{self, Confined, Owned, Raised, raised};
use crate::interp::names;
use crate::kernel::error;
use crate::kernel::report::leaves_the_loop;

/// From this size of the last read on, the next one goes straight into a new bytes object instead of being copied to one.
pub(crate) const DIRECT_READ_BYTES: usize = 16 * 1024;

/// What is allocated for the end of the stream, which shows as nothing to receive.
pub(crate) const MIN_DIRECT_BYTES: usize = 512;

/// Receives what a connection is ready for and feeds it to its protocol.
pub(crate) type Receive = for<'a, 'py> fn(This<'a, 'py>) -> PyResult<()>;

/// The class of protocols that has a way of its own, and that way.
static OWN_WAY: Confined<Cell<Option<(*mut PyTypeObject, Receive)>>> = Confined::new(Cell::new(None));

/// From now on what arrives for protocols of exactly the class `kind` is received by `receive`.
pub(crate) fn receive_for(kind: *mut PyTypeObject, receive: Receive) {
    OWN_WAY.set(Some((kind, receive)));
}

pub(super) fn own_way(protocol: &Bound<'_, PyAny>) -> Option<Receive> {
    OWN_WAY.get().filter(|(kind, _)| protocol.get_type().as_type_ptr() == *kind).map(|(_, receive)| receive)
}

impl<'py> This<'_, 'py> {
    pub(super) fn read_ready(self) -> PyResult<()> {
        if self.core.conn_lost.get() > 0 {
            return Ok(());
        }
        match self.core.mode.get() {
            Mode::Data => self.read_data(),
            Mode::Buffered => self.read_buffered(),
            Mode::Own(receive) => receive(self),
            Mode::Tls if self.read_records()? => Ok(()),
            Mode::Tls => self.read_buffered(),
        }
    }

    /// Receives for a protocol that wants bytes.
    ///
    /// Most protocols let go of what they get, and the next message goes into the same object. One that has kept an object gets new
    /// ones: from a certain size on as large as what is there, because shrinking 256 KiB, as asyncio does, costs three times the
    /// system call.
    pub(crate) fn read_data(self) -> PyResult<()> {
        let py = self.py();
        let (fd, state, expected) =
            (self.core.descriptor.get(), &self.core.state, self.core.last_read_bytes.get());
        let recycled = !self.core.keeps.get();
        let received = if recycled {
            state.recycler.receive(fd, expected).map_err(|raised| raised::to_pyerr(py, raised))?
        } else if expected < DIRECT_READ_BYTES {
            let mut scratch = state.scratch.borrow_mut();
            socket::recv(fd, &mut scratch).map(|size| PyBytes::new(py, &scratch[..size]).into())
        } else {
            let capacity = socket::available(fd).clamp(MIN_DIRECT_BYTES, common::MAX_READ_BYTES);
            ffi::receive_bytes(py, fd, capacity)?.map(Owned::from)
        };
        let data = match received {
            Ok(data) => data,
            Err(error) if would_block(&error) => return Ok(()),
            Err(error) => {
                return self.fatal_error(error::os_error(&error), "Fatal read error on socket transport");
            }
        };
        let size = ffi::bytes::content(&data).len();
        self.core.last_read_bytes.set(size);
        if size == 0 {
            if recycled {
                state.recycler.give_back(data, expected);
            }
            return self.on_eof();
        }
        let Some(protocol) = self.core.protocol.get() else { return self.current_protocol().map(drop) };
        let told = ffi::call::call_method(&names().data_received, &[&protocol, &data], None);
        if recycled && !state.recycler.give_back(data, expected) {
            self.core.keeps.set(true);
        }
        match told {
            Ok(_) => Ok(()),
            Err(raised) => self.method_failed(raised, "Fatal error: protocol.data_received() call failed."),
        }
    }

    pub(super) fn read_buffered(self) -> PyResult<()> {
        let Some(protocol) = self.core.protocol.get() else { return self.current_protocol().map(drop) };
        let hint = ffi::call::integer(-1).map_err(|raised| raised::to_pyerr(self.py(), raised))?;
        let buffer =
            ffi::call::call_method(&names().get_buffer, &[&protocol, &hint], None).and_then(|buffer| {
                if ffi::call::length(&buffer)? == 0 {
                    return Err(raised::raise(
                        raised::runtime_error(),
                        "get_buffer() returned an empty buffer",
                    ));
                }
                Ok(buffer)
            });
        let buffer = match buffer {
            Ok(buffer) => buffer,
            Err(raised) => {
                return self.method_failed(raised, "Fatal error: protocol.get_buffer() call failed.");
            }
        };
        let size = match ffi::receive_into(&buffer, self.core.descriptor.get()) {
            Ok(Ok(size)) => size,
            Ok(Err(error)) if would_block(&error) => return Ok(()),
            Ok(Err(error)) => {
                return self.fatal_error(error::os_error(&error), "Fatal read error on socket transport");
            }
            Err(raised) => {
                drop(raised::to_pyerr(self.py(), raised));
                let error = error::not_writable(&buffer.into_bound(self.py()));
                return self.fatal_error(error, "Fatal read error on socket transport");
            }
        };
        if size == 0 {
            return self.on_eof();
        }
        // `get_buffer` may have put another protocol in its place.
        let Some(protocol) = self.core.protocol.get() else { return self.current_protocol().map(drop) };
        let told = ffi::call::integer(size as i64)
            .and_then(|size| ffi::call::call_method(&names().buffer_updated, &[&protocol, &size], None));
        match told {
            Ok(_) => Ok(()),
            Err(raised) => self.method_failed(raised, "Fatal error: protocol.buffer_updated() call failed."),
        }
    }

    /// A method of the protocol raised: that is fatal, unless it must leave the loop.
    #[cold]
    fn method_failed(self, raised: Raised, message: &str) -> PyResult<()> {
        let error = raised::to_pyerr(self.py(), raised);
        if leaves_the_loop(self.py(), &error) { Err(error) } else { self.fatal_error(error, message) }
    }

    pub(crate) fn on_eof(self) -> PyResult<()> {
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
            Err(error) if leaves_the_loop(py, &error) => Err(error),
            Err(error) => self.fatal_error(error, "Fatal error: protocol.eof_received() call failed."),
        }
    }

    pub(super) fn log_debug(self, text: &str) -> PyResult<()> {
        if self.core.state.debug.get() {
            common::logger(self.py())?.call_method1("debug", (text, self.transport))?;
        }
        Ok(())
    }
}

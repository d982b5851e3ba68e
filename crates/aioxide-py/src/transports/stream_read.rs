//! The receiving half of a stream transport.

use aioxide_core::sys::socket;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::common::{self, leaves_loop, would_block};
use super::stream::{Mode, This};
use crate::error;
use crate::ffi::{self, Buffer};

/// From this size of the last read on, the next one goes straight into a new bytes object instead of being copied to one.
pub(super) const DIRECT_READ_BYTES: usize = 16 * 1024;

/// What is allocated for the end of the stream, which shows as nothing to receive.
pub(super) const MIN_DIRECT_BYTES: usize = 512;

impl<'py> This<'_, 'py> {
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

    pub(super) fn read_data(self) -> PyResult<()> {
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

    pub(super) fn read_buffered(self) -> PyResult<()> {
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
}

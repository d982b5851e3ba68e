//! Feeding `asyncio.StreamReader` without its Python code, for connections whose protocol is exactly asyncio's.
//!
//! A protocol or reader of a derived class is called as ever. What is done here is what `StreamReaderProtocol.data_received`
//! and `StreamReader.feed_data` do, on the reader's own attributes: its `_buffer` stays the bytearray that programs look at.

use aioxide_core::sys::socket;
use pyo3::exceptions::PyAssertionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use super::common::{self, leaves_loop, would_block};
use super::stream::This;
use crate::error;
use crate::ffi;

/// Whether the protocol is one whose reader can be fed from here.
pub(super) fn is_plain_protocol(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(protocol.get_type().is(common::stream_protocol_class(protocol.py())?))
}

impl<'py> This<'_, 'py> {
    /// Receives into the buffer of the protocol's reader.
    pub(super) fn read_stream(self) -> PyResult<()> {
        let py = self.py();
        let Some(protocol) = self.protocol() else { return Ok(()) };
        let weak = protocol.getattr(intern!(py, "_stream_reader_wr"))?;
        let reader = if weak.is_none() { weak } else { weak.call0()? };
        let plain = reader.get_type().is(common::stream_reader_class(py)?);
        let mut scratch = self.core.state.scratch.borrow_mut();
        let size = match socket::recv(self.core.fd, &mut scratch) {
            Ok(size) => size,
            Err(error) if would_block(&error) => return Ok(()),
            Err(error) => {
                drop(scratch);
                return self.fatal_error(error::os_error(&error), "Fatal read error on socket transport");
            }
        };
        if size == 0 {
            drop(scratch);
            return self.on_eof();
        }
        let fed = if plain {
            let buffer = reader.getattr(intern!(py, "_buffer"))?;
            let appended = match buffer.cast_exact::<PyByteArray>() {
                Ok(buffer) => ffi::extend_bytearray(buffer, &scratch[..size]),
                Err(error) => Err(error.into()),
            };
            drop(scratch);
            appended.and_then(|length| self.wake_reader(&reader, length))
        } else {
            let data = PyBytes::new(py, &scratch[..size]);
            drop(scratch);
            protocol.call_method1(intern!(py, "data_received"), (data,)).map(drop)
        };
        match fed {
            Ok(()) => Ok(()),
            Err(error) if leaves_loop(py, &error) => Err(error),
            Err(error) => self.fatal_error(error, "Fatal error: protocol.data_received() call failed."),
        }
    }

    /// asyncio: the rest of `StreamReader.feed_data`; `length` is how much is buffered now.
    fn wake_reader(self, reader: &Bound<'py, PyAny>, length: usize) -> PyResult<()> {
        let py = self.py();
        if reader.getattr(intern!(py, "_eof"))?.is_truthy()? {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        let waiter = reader.getattr(intern!(py, "_waiter"))?;
        if !waiter.is_none() {
            reader.setattr(intern!(py, "_waiter"), py.None())?;
            common::set_result_unless_cancelled(&waiter)?;
        }
        let limit = reader.getattr(intern!(py, "_limit"))?.extract::<usize>().unwrap_or(usize::MAX);
        if length <= limit.saturating_mul(2) {
            return Ok(());
        }
        let transport = reader.getattr(intern!(py, "_transport"))?;
        if !transport.is_none() && !reader.getattr(intern!(py, "_paused"))?.is_truthy()? {
            transport.call_method0(intern!(py, "pause_reading"))?;
            reader.setattr(intern!(py, "_paused"), true)?;
        }
        Ok(())
    }
}

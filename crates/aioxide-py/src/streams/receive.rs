//! Receiving for asyncio's streams, straight into the reader's buffer; see the module above for whose.

use aioxide_core::sys::socket;
use pyo3::prelude::*;

use super::protocol::reader_of;
use super::reader::Reader;
use crate::ffi::{self, Outcome, Owned, raised};
use crate::kernel::error;
use crate::kernel::report::leaves_the_loop;
use crate::transports::common::{self, would_block};
use crate::transports::{DIRECT_READ_BYTES, MIN_DIRECT_BYTES, StreamTransport};

/// Receives for the protocol's reader, or for the protocol when that must be called.
pub(super) fn receive(this: StreamTransport<'_, '_>) -> PyResult<()> {
    let py = this.py();
    let Some(protocol) = this.protocol().map(Owned::from) else { return Ok(()) };
    let found = reader_of(&protocol).map_err(|raised| raised::to_pyerr(py, raised))?;
    let Some(reader) = found.as_deref().and_then(Reader::plain) else { return this.read_data() };
    let put = |size: usize, put: &dyn Fn() -> Outcome<()>| match size {
        0 => (0, Ok(())),
        _ => (size, reader.refuse_after_end().and_then(|()| put())),
    };
    let fd = this.core.descriptor.get();
    let received = if this.core.last_read_bytes.get() < DIRECT_READ_BYTES {
        let mut scratch = this.core.state.scratch.borrow_mut();
        socket::recv(fd, &mut scratch).map(|size| put(size, &|| reader.put(&scratch[..size])))
    } else {
        let capacity = socket::available(fd).clamp(MIN_DIRECT_BYTES, common::MAX_READ_BYTES);
        ffi::receive_bytes(py, fd, capacity)?
            .map(|data| put(data.as_bytes().len(), &|| reader.put_bytes(Owned::from(data.clone()))))
    };
    let (size, put) = match received {
        Ok(received) => received,
        Err(error) if would_block(&error) => return Ok(()),
        Err(error) => {
            return this.fatal_error(error::os_error(&error), "Fatal read error on socket transport");
        }
    };
    this.core.last_read_bytes.set(size);
    if size == 0 {
        return this.on_eof();
    }
    let feed = || -> Outcome<()> {
        put?;
        reader.fed()
    };
    let Err(raised) = feed() else { return Ok(()) };
    let error = raised::to_pyerr(py, raised);
    if leaves_the_loop(py, &error) {
        return Err(error);
    }
    this.fatal_error(error, "Fatal error: protocol.data_received() call failed.")
}

//! The hot methods of pipe transports, whose classes are otherwise the running interpreter's own.
//!
//! asyncio's classes keep their state in attributes. What runs per piece is done here on those attributes; whatever is not
//! the plain case (nothing to read, an error, a full pipe) is left to asyncio's method of the same name, which
//! then meets the same situation. So each version keeps its own semantics.

use aioxide_core::sys::pipe;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use super::common::{self, would_block};
use crate::ffi::slot::{Arguments, Method, equip};
use crate::ffi::slot_method;
use crate::kernel::LoopCore;

/// Gives a subclass of asyncio's `_UnixReadPipeTransport` its hot method.
#[pyfunction]
pub(crate) fn equip_read_pipe_transport(class: &Bound<'_, PyType>) -> PyResult<()> {
    equip(class, READ_PIPE, &[])
}

/// Gives a subclass of asyncio's `_UnixWritePipeTransport` its hot method.
#[pyfunction]
pub(crate) fn equip_write_pipe_transport(class: &Bound<'_, PyType>) -> PyResult<()> {
    equip(class, WRITE_PIPE, &[])
}

static READ_PIPE: &[Method] = &[slot_method!("_read_ready", [], 0, "Reads what there is.", read_pipe)];
static WRITE_PIPE: &[Method] = &[slot_method!(
    "write",
    ["data"],
    1,
    "Writes data, or keeps what the pipe does not take now.",
    write_pipe
)];

/// asyncio's own method, for all but the plain case.
pub(super) fn inherited<'py>(
    class: &Bound<'py, PyAny>,
    name: &Bound<'py, pyo3::types::PyString>,
    arguments: impl pyo3::call::PyCallArgs<'py>,
) -> PyResult<Py<PyAny>> {
    class.getattr(name)?.call1(arguments).map(Bound::unbind)
}

fn read_pipe<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let fd = transport.getattr(intern!(py, "_fileno"))?.extract::<i32>()?;
    let event_loop = transport.getattr(intern!(py, "_loop"))?;
    let event_loop = event_loop.cast::<LoopCore>()?;
    let data = {
        let mut scratch = event_loop.get().state.scratch.borrow_mut();
        match pipe::read(fd, &mut scratch) {
            Ok(size) if size > 0 => PyBytes::new(py, &scratch[..size]),
            Err(error) if would_block(&error) => return Ok(py.None()),
            // The end, or an error: it is still there for asyncio's own code. That also waits without the interpreter, where
            // only a call that may wait can tell what there is.
            _ => {
                drop(scratch);
                let class = common::read_pipe_class(py)?;
                return inherited(class, intern!(py, "_read_ready"), (transport,));
            }
        }
    };
    let protocol = transport.getattr(intern!(py, "_protocol"))?;
    protocol.call_method1(intern!(py, "data_received"), (data,))?;
    Ok(py.None())
}

fn write_pipe<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let name = intern!(py, "write");
    let Some(data) = arguments[0] else { return Ok(py.None()) };
    let event_loop = transport.getattr(intern!(py, "_loop"))?;
    // None when the connection is lost: the write is dropped and counted, as asyncio does.
    if let Ok(event_loop) = event_loop.cast::<LoopCore>() {
        event_loop.get().state.expect_events();
    }
    let class = common::write_pipe_class(py)?;
    let plain = match data.cast_exact::<PyBytes>() {
        Ok(bytes) if !bytes.as_bytes().is_empty() => {
            !transport.getattr(intern!(py, "_conn_lost"))?.is_truthy()?
                && !transport.getattr(intern!(py, "_closing"))?.is_truthy()?
                && !transport.getattr(intern!(py, "_buffer"))?.is_truthy()?
        }
        _ => false,
    };
    if !plain {
        return inherited(class, name, (transport, data));
    }
    let bytes = data.cast::<PyBytes>()?;
    let content = bytes.as_bytes();
    let fd = transport.getattr(intern!(py, "_fileno"))?.extract::<i32>()?;
    match pipe::write(fd, content) {
        Ok(written) if written == content.len() => Ok(py.None()),
        Ok(written) => inherited(class, name, (transport, PyBytes::new(py, &content[written..]))),
        // A full pipe, or an error, which comes again.
        Err(_) => inherited(class, name, (transport, data)),
    }
}

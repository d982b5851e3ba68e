//! The hot methods of pipe and datagram transports, whose classes are otherwise the running interpreter's own.
//!
//! asyncio's classes keep their state in attributes. What runs per packet is done here on those attributes; whatever is not
//! the plain case (nothing to read, an error, a full pipe, a host name) is left to asyncio's method of the same name, which
//! then meets the same situation. So each version keeps its own semantics.

use std::net::{IpAddr, SocketAddr};

use aioxide_core::sys::socket::{self, Address};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};

use super::address::address_to_python;
use super::common::{self, would_block};
use crate::error;
use crate::event_loop::LoopCore;
use crate::ffi::slot::{Arguments, Method, equip};
use crate::ffi::slot_method;

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

/// Gives a subclass of asyncio's `_SelectorDatagramTransport` its hot methods.
#[pyfunction]
pub(crate) fn equip_datagram_transport(class: &Bound<'_, PyType>) -> PyResult<()> {
    equip(class, DATAGRAM, &[])
}

static READ_PIPE: &[Method] = &[slot_method!("_read_ready", [], 0, "Reads what there is.", read_pipe)];
static WRITE_PIPE: &[Method] = &[slot_method!(
    "write",
    ["data"],
    1,
    "Writes data, or keeps what the pipe does not take now.",
    write_pipe
)];
static DATAGRAM: &[Method] = &[
    slot_method!("_read_ready", [], 0, "Receives a datagram.", receive_datagram),
    slot_method!("sendto", ["data", "addr"], 1, "Sends a datagram.", send_datagram),
];

/// asyncio's own method, for all but the plain case.
fn inherited<'py>(
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
        match socket::read(fd, &mut scratch) {
            Ok(size) if size > 0 => PyBytes::new(py, &scratch[..size]),
            Err(error) if would_block(&error) => return Ok(py.None()),
            // The end, or an error: it is still there for asyncio's own code.
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
    match socket::write(fd, content) {
        Ok(written) if written == content.len() => Ok(py.None()),
        Ok(written) => inherited(class, name, (transport, PyBytes::new(py, &content[written..]))),
        // A full pipe, or an error, which comes again.
        Err(_) => inherited(class, name, (transport, data)),
    }
}

fn receive_datagram<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    if transport.getattr(intern!(py, "_conn_lost"))?.is_truthy()? {
        return Ok(py.None());
    }
    let fd = transport.getattr(intern!(py, "_sock_fd"))?.extract::<i32>()?;
    let event_loop = transport.getattr(intern!(py, "_loop"))?;
    let protocol = transport.getattr(intern!(py, "_protocol"))?;
    let received = {
        let mut scratch = event_loop.cast::<LoopCore>()?.get().state.scratch.borrow_mut();
        socket::recv_from(fd, &mut scratch)
            .map(|(size, address)| (PyBytes::new(py, &scratch[..size]), address))
    };
    match received {
        Ok((data, address)) => {
            let address = address_to_python(py, &address)?;
            protocol.call_method1(intern!(py, "datagram_received"), (data, address))?;
        }
        Err(error) if would_block(&error) => {}
        Err(error) => {
            let error = error::os_error(&error).into_value(py);
            protocol.call_method1(intern!(py, "error_received"), (error,))?;
        }
    }
    Ok(py.None())
}

/// The address behind a tuple of a numeric host and a port.
fn numeric_address(address: &Bound<'_, PyAny>) -> Option<Address> {
    let tuple = address.cast_exact::<PyTuple>().ok()?;
    if tuple.len() != 2 {
        return None;
    }
    let host = tuple.get_borrowed_item(0).ok()?;
    let host =
        host.cast::<pyo3::types::PyString>().ok()?.to_str().ok()?.parse::<std::net::Ipv4Addr>().ok()?;
    let port = tuple.get_borrowed_item(1).ok()?.extract::<u16>().ok()?;
    Some(Address::from_ip(SocketAddr::new(IpAddr::V4(host), port)))
}

fn send_datagram<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let Some(data) = arguments[0] else { return Ok(py.None()) };
    let address = arguments[1].map_or_else(|| py.None().into_bound(py), |address| address.to_owned());
    let leave = || {
        let class = common::datagram_class(py)?;
        inherited(class, intern!(py, "sendto"), (transport, data, &address))
    };
    let Ok(bytes) = data.cast_exact::<PyBytes>() else { return leave() };
    if bytes.as_bytes().is_empty()
        || transport.getattr(intern!(py, "_conn_lost"))?.is_truthy()?
        || transport.getattr(intern!(py, "_buffer"))?.is_truthy()?
    {
        return leave();
    }
    let remote = transport.getattr(intern!(py, "_address"))?;
    let fd = transport.getattr(intern!(py, "_sock_fd"))?.extract::<i32>()?;
    let sent = if remote.is_truthy()? {
        // Connected, if the kernel knows the peer; another address than that is refused by asyncio's code.
        let connected = transport.getattr(intern!(py, "_extra"))?.get_item(intern!(py, "peername"))?;
        if !connected.is_truthy()? || !(address.is_none() || address.eq(&remote)?) {
            return leave();
        }
        socket::send(fd, bytes.as_bytes())
    } else {
        let is_v4 = transport.getattr(intern!(py, "_sends_to_ipv4"))?.is_truthy()?;
        let Some(address) = numeric_address(&address).filter(|_| is_v4) else { return leave() };
        socket::send_to(fd, bytes.as_bytes(), &address)
    };
    match sent {
        Ok(_) => Ok(py.None()),
        Err(error) if would_block(&error) => leave(),
        Err(error) => {
            let error = error::os_error(&error).into_value(py);
            let protocol = transport.getattr(intern!(py, "_protocol"))?;
            protocol.call_method1(intern!(py, "error_received"), (error,)).map(Bound::unbind)
        }
    }
}

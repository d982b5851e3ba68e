//! What Python sees of a stream transport: asyncio's methods, and those private attributes that programs use.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyType};

use super::address::address_to_python;
use super::common;
use super::stream::{PLACE, Socket, StreamCore, This};
use super::stream_limits::{limits, set_limits};
use super::stream_write::write_at_once;
use crate::ffi::slot::{Arguments, Attribute, Method};
use crate::ffi::{fast_method, slot_attribute, slot_method};
use crate::kernel::error;
use aioxide_core::sys::socket;

/// Gives the class `aioxide.transports.StreamTransport` its methods.
#[pyfunction]
pub(crate) fn equip_stream_transport(class: &Bound<'_, PyType>) -> PyResult<()> {
    common::preload(class.py());
    PLACE.equip(class, "_core", METHODS, ATTRIBUTES)
}

static METHODS: &[Method] = &[
    fast_method!(
        PLACE,
        StreamCore,
        write_at_once,
        slot_method!("write", ["data"], 1, "Sends data, or keeps what the socket does not take now.", write)
    ),
    slot_method!("writelines", ["list_of_data"], 1, "Sends several pieces of data at once.", write_lines),
    slot_method!("write_eof", [], 0, "Ends the sending half once everything is written.", write_eof),
    slot_method!("can_write_eof", [], 0, "Returns True.", |transport, _| true.into_py_any(transport.py())),
    slot_method!("close", [], 0, "Closes the transport once everything is written.", |transport, _| {
        done(transport, This::of(transport)?.close())
    }),
    slot_method!("abort", [], 0, "Closes the transport now; what is buffered is lost.", |transport, _| {
        done(transport, This::of(transport)?.force_close(None))
    }),
    slot_method!(
        "is_closing",
        [],
        0,
        "Returns whether the transport is closing or closed.",
        |transport, _| { is_closing(transport)?.into_py_any(transport.py()) }
    ),
    slot_method!("is_reading", [], 0, "Returns whether the transport receives.", |transport, _| {
        This::holding(transport)?.is_reading().into_py_any(transport.py())
    }),
    slot_method!("pause_reading", [], 0, "Stops receiving until resume_reading().", pause_reading),
    slot_method!("resume_reading", [], 0, "Receives again.", resume_reading),
    slot_method!("set_protocol", ["protocol"], 1, "Sets the protocol.", set_protocol),
    slot_method!("get_protocol", [], 0, "Returns the protocol.", |transport, _| protocol(transport)),
    slot_method!(
        "get_extra_info",
        ["name", "default"],
        1,
        "Returns what is known of the connection.",
        extra_info
    ),
    slot_method!(
        "get_write_buffer_size",
        [],
        0,
        "Returns how many bytes wait to be sent.",
        |transport, _| {
            let size = This::of(transport)?.core.buffer.borrow().len();
            size.into_py_any(transport.py())
        }
    ),
    slot_method!(
        "get_write_buffer_limits",
        [],
        0,
        "Returns the low and the high water mark.",
        |transport, _| { limits(transport)?.into_py_any(transport.py()) }
    ),
    slot_method!(
        "set_write_buffer_limits",
        ["high", "low"],
        0,
        "Sets the high and the low water mark.",
        set_limits
    ),
    slot_method!("_read_ready", [], 0, "Receives.", |transport, _| {
        done(transport, This::of(transport)?.read_ready())
    }),
    slot_method!("_write_ready", [], 0, "Sends what is buffered.", |transport, _| {
        done(transport, This::of(transport)?.write_ready())
    }),
    slot_method!("_force_close", ["exc"], 1, "Closes the transport now, with a reason.", force_close),
    slot_method!(
        "_fatal_error",
        ["exc", "message"],
        1,
        "Reports an error and closes the transport.",
        fatal_error
    ),
    slot_method!(
        "_call_connection_lost",
        ["exc"],
        1,
        "Tells the protocol and lets everything go.",
        |transport, a| {
            done(transport, This::of(transport)?.call_connection_lost(a[0].and_then(|exc| to_error(&exc))))
        }
    ),
    slot_method!(
        "_maybe_pause_protocol",
        [],
        0,
        "Pauses the protocol above the high mark.",
        |transport, _| { done(transport, This::of(transport)?.maybe_pause_protocol()) }
    ),
    slot_method!("_maybe_resume_protocol", [], 0, "Resumes the protocol at the low mark.", |transport, _| {
        done(transport, This::of(transport)?.maybe_resume_protocol())
    }),
    slot_method!("_make_empty_waiter", [], 0, "Returns a future of the empty buffer.", make_empty_waiter),
    slot_method!("_reset_empty_waiter", [], 0, "Ends what _make_empty_waiter began.", |transport, _| {
        drop(This::of(transport)?.core.empty_waiter.take());
        Ok(transport.py().None())
    }),
    slot_method!("__repr__", [], 0, "Return repr(self).", repr),
    slot_method!("__del__", [], 0, "Closes what was forgotten, with a warning.", finalize),
];

static ATTRIBUTES: &[Attribute] = &[
    slot_attribute!("_sock", socket_object),
    slot_attribute!("_sock_fd", |transport| This::of(transport)?.core.fd.into_py_any(transport.py())),
    slot_attribute!("_protocol", protocol, |transport, value| {
        This::of(transport)?.core.protocol.set(value.into());
        Ok(())
    }),
    slot_attribute!(
        "_protocol_connected",
        |transport| This::of(transport)?.core.protocol_connected.get().into_py_any(transport.py()),
        |transport, value| {
            This::of(transport)?.core.protocol_connected.set(value.is_truthy()?);
            Ok(())
        }
    ),
    slot_attribute!("_loop", |transport| {
        let this = This::of(transport)?;
        this.core.event_loop.borrow().as_ref().into_py_any(transport.py())
    }),
    slot_attribute!("_server", |transport| {
        let this = This::of(transport)?;
        this.core.server.borrow().as_ref().into_py_any(transport.py())
    }),
    slot_attribute!("_extra", extra),
    slot_attribute!("_buffer", buffered),
    slot_attribute!("_conn_lost", |transport| This::of(transport)?
        .core
        .conn_lost
        .get()
        .into_py_any(transport.py())),
    slot_attribute!("_closing", |transport| This::of(transport)?
        .core
        .closing
        .get()
        .into_py_any(transport.py())),
    slot_attribute!("_paused", |transport| This::of(transport)?
        .core
        .paused
        .get()
        .into_py_any(transport.py())),
    slot_attribute!("_eof", |transport| This::of(transport)?.core.eof.get().into_py_any(transport.py())),
    slot_attribute!("_empty_waiter", |transport| {
        let this = This::of(transport)?;
        this.core.empty_waiter.borrow().as_ref().into_py_any(transport.py())
    }),
    slot_attribute!("_high_water", |transport| Ok(limits(transport)?.1.unbind())),
    slot_attribute!("_low_water", |transport| Ok(limits(transport)?.0.unbind())),
    slot_attribute!(
        "_protocol_paused",
        |transport| This::of(transport)?.core.marks.get().is_paused().into_py_any(transport.py()),
        |transport, value| {
            let this = This::of(transport)?;
            let mut marks = this.core.marks.get();
            marks.set_paused(value.is_truthy()?);
            this.core.marks.set(marks);
            Ok(())
        }
    ),
];

fn done(transport: &Bound<'_, PyAny>, result: PyResult<()>) -> PyResult<Py<PyAny>> {
    result.map(|()| transport.py().None())
}

/// The argument `exc`: an exception or None.
fn to_error(value: &Bound<'_, PyAny>) -> Option<PyErr> {
    (!value.is_none()).then(|| PyErr::from_value(value.clone()))
}

fn required<'a, 'py>(argument: Option<Borrowed<'a, 'py, PyAny>>) -> PyResult<Borrowed<'a, 'py, PyAny>> {
    argument.ok_or_else(|| PyTypeError::new_err("missing required argument"))
}

/// Refuses to write after `write_eof` and during `sendfile`.
fn check_open(this: This<'_, '_>, name: &str, during: &str) -> PyResult<()> {
    if this.core.eof.get() {
        return Err(PyRuntimeError::new_err(format!("Cannot call {name}() after write_eof()")));
    }
    if this.core.empty_waiter.borrow().is_some() {
        return Err(PyRuntimeError::new_err(format!("unable to {during}; sendfile is in progress")));
    }
    Ok(())
}

fn write<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let this = This::holding(transport)?;
    write_one(this, &*required(arguments[0])?)
}

fn write_one<'py>(this: This<'_, 'py>, data: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
    let transport = this.transport;
    if !(data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>())
    {
        // It refuses the data before it looks at the transport, in the words of this release.
        return common::stream_class(transport.py())?
            .call_method1("write", (transport, data))
            .map(Bound::unbind);
    }
    check_open(this, "write", "write")?;
    done(transport, this.write(data))
}

fn write_lines<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let this = This::holding(transport)?;
    if cfg!(not(Py_3_12)) {
        // Until then asyncio joins them.
        let joined = PyBytes::new(transport.py(), b"").call_method1("join", (required(arguments[0])?,))?;
        return write_one(this, &joined);
    }
    check_open(this, "writelines", "writelines")?;
    let items = required(arguments[0])?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    if items.is_empty() {
        return Ok(transport.py().None());
    }
    done(transport, this.write_lines(&items))
}

fn write_eof<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let core = This::of(transport)?.core;
    if !core.closing.get() && !core.eof.replace(true) && core.buffer.borrow().is_empty() {
        core.state.expect_events();
        socket::shutdown_write(core.descriptor.get()).map_err(|error| error::os_error(&error))?;
    }
    Ok(transport.py().None())
}

fn is_closing(transport: &Bound<'_, PyAny>) -> PyResult<bool> {
    let this = This::holding(transport)?;
    if this.core.reader.get().is_none() {
        // Nothing is read, so that the loop does not hear that the peer has gone: only a send tells.
        this.settle()?;
    }
    Ok(this.core.closing.get())
}

fn pause_reading<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let this = This::of(transport)?;
    if this.is_reading() {
        this.core.paused.set(true);
        this.stop_reading();
        this.log_debug("%r pauses reading")?;
    }
    Ok(transport.py().None())
}

fn resume_reading<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let this = This::of(transport)?;
    if !this.core.closing.get() && this.core.paused.replace(false) {
        this.start_reading()?;
        this.log_debug("%r resumes reading")?;
    }
    Ok(transport.py().None())
}

fn set_protocol<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    done(transport, This::of(transport)?.set_protocol(&*required(arguments[0])?))
}

fn protocol(transport: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    This::holding(transport)?.protocol().into_py_any(transport.py())
}

fn force_close<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let error = to_error(&*required(arguments[0])?);
    done(transport, This::of(transport)?.force_close(error))
}

fn fatal_error<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let error = PyErr::from_value(required(arguments[0])?.to_owned());
    let message = match arguments[1] {
        Some(message) => message.extract::<String>()?,
        None => "Fatal error on transport".to_owned(),
    };
    done(transport, This::of(transport)?.fatal_error(error, &message))
}

fn make_empty_waiter<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let this = This::of(transport)?;
    let py = transport.py();
    if this.core.empty_waiter.borrow().is_some() {
        return Err(PyRuntimeError::new_err("Empty waiter is already set"));
    }
    let waiter = this.event_loop()?.call_method0(intern!(py, "create_future"))?;
    drop(this.core.empty_waiter.replace(Some(waiter.clone().unbind())));
    if this.core.buffer.borrow().is_empty() {
        waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(waiter.unbind())
}

/// The Python socket, made now if the connection has none yet.
fn socket_object(transport: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let this = This::of(transport)?;
    let fd = match &*this.core.socket.borrow() {
        Socket::Python(socket) => return Ok(socket.clone_ref(py)),
        Socket::Raw(fd) => *fd,
        Socket::Closed => return Ok(py.None()),
    };
    let keywords = PyDict::new(py);
    keywords.set_item("fileno", fd)?;
    let made = common::socket_class(py)?.call((), Some(&keywords))?;
    if !matches!(*this.core.socket.borrow(), Socket::Raw(_)) {
        // Whoever hears of sockets that are made has closed the transport, or asked for the socket too.
        made.call_method0("detach")?;
        return socket_object(transport);
    }
    // From here on it owns the descriptor.
    drop(this.core.socket.replace(Socket::Python(made.clone().unbind())));
    this.core.descriptor.hand_to(Some(made.clone().into()));
    made.call_method1("setblocking", (false,))?;
    Ok(made.unbind())
}

/// The socket of a closed transport; one of the same family, closed as well, if the connection never had one.
fn closed_socket(this: This<'_, '_>) -> PyResult<Py<PyAny>> {
    let py = this.py();
    if let Some(socket) = &*this.core.closed_socket.borrow() {
        return Ok(socket.clone_ref(py));
    }
    let family = this.core.own_address.get().map_or(libc::AF_INET, |address| address.family());
    let proto = if matches!(family, libc::AF_INET | libc::AF_INET6) { libc::IPPROTO_TCP } else { 0 };
    let made = common::socket_class(py)?.call1((family, libc::SOCK_STREAM, proto))?;
    made.call_method0("close")?;
    Ok(made.unbind())
}

/// One of asyncio's three entries of every socket transport, or one that the maker gave.
fn extra_value(this: This<'_, '_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
    let py = this.py();
    let address = match name {
        "socket" => {
            if let Some(known) = &*this.core.transport_socket.borrow() {
                return Ok(Some(known.clone_ref(py)));
            }
            let socket = match socket_object(this.transport)? {
                socket if socket.is_none(py) => closed_socket(this)?,
                socket => socket,
            };
            let wrapped = common::transport_socket(py)?.call1((socket,))?;
            drop(this.core.transport_socket.replace(Some(wrapped.clone().unbind())));
            return Ok(Some(wrapped.unbind()));
        }
        "sockname" => this.core.own_address.get(),
        "peername" => {
            let given = this.core.extra.borrow().as_ref().map(|extra| extra.clone_ref(py));
            if let Some(extra) = given
                && let Some(peer) = extra.bind(py).get_item("peername")?
            {
                return Ok(Some(peer.unbind()));
            }
            this.core.peer_address.get()
        }
        _ => return Ok(None),
    };
    let Some(address) = address else { return Ok(Some(py.None())) };
    match address_to_python(py, &address)? {
        Some(known) => Ok(Some(known)),
        // A family that only Python knows.
        None => {
            let asked = this.core.extra.borrow().as_ref().map(|extra| extra.clone_ref(py));
            if let Some(known) = asked.and_then(|extra| extra.bind(py).get_item(name).transpose()) {
                return Ok(Some(known?.unbind()));
            }
            let method = if name == "sockname" { "getsockname" } else { "getpeername" };
            Ok(Some(socket_object(this.transport)?.call_method0(py, method).unwrap_or_else(|_| py.None())))
        }
    }
}

fn extra_info<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let this = This::of(transport)?;
    let name = required(arguments[0])?;
    if let Ok(text) = name.extract::<std::borrow::Cow<'_, str>>()
        && let Some(value) = extra_value(this, &text)?
    {
        return Ok(value);
    }
    let extra = this.core.extra.borrow().as_ref().map(|extra| extra.clone_ref(py));
    let found = match extra {
        Some(extra) => extra.bind(py).get_item(name)?,
        None => None,
    };
    Ok(match found {
        Some(value) => value.unbind(),
        None => arguments[1].map_or_else(|| py.None(), |default| default.to_owned().unbind()),
    })
}

pub(super) fn extra(transport: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let this = This::of(transport)?;
    let given = this.core.extra.borrow().as_ref().map(|extra| extra.clone_ref(py));
    let all = match given {
        Some(given) => given.bind(py).clone(),
        None => {
            let made = PyDict::new(py);
            drop(this.core.extra.replace(Some(made.clone().unbind())));
            made
        }
    };
    for name in ["socket", "sockname", "peername"] {
        if let Some(value) = extra_value(this, name)? {
            all.set_item(name, value)?;
        }
    }
    all.into_py_any(py)
}

/// A copy of what waits to be sent: its length and truth are what programs look at.
fn buffered(transport: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let this = This::of(transport)?;
    let mut copy = Vec::new();
    {
        let buffer = this.core.buffer.borrow();
        let mut slices = vec![std::io::IoSlice::new(&[]); buffer.chunks()];
        let filled = buffer.fill(&mut slices);
        slices[..filled].iter().for_each(|slice| copy.extend_from_slice(slice));
    }
    PyByteArray::new(transport.py(), &copy).into_py_any(transport.py())
}

fn repr<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let core = This::of(transport)?.core;
    let mut text = format!("<{}", transport.get_type().name()?);
    if matches!(*core.socket.borrow(), Socket::Closed) {
        text.push_str(" closed");
    } else if core.closing.get() {
        text.push_str(" closing");
    }
    text.push_str(&format!(" fd={}", core.fd));
    if core.event_loop.borrow().is_some() && !core.state.core.is_closed() {
        let state = |polling: bool| if polling { "polling" } else { "idle" };
        text.push_str(&format!(
            " read={} write=<{}, bufsize={}>",
            state(core.reader.get().is_some()),
            state(core.writer.get().is_some()),
            core.buffer.borrow().len()
        ));
    }
    text.push('>');
    text.into_py_any(transport.py())
}

fn finalize<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    // An instance that no loop made has nothing to close.
    let Ok(this) = This::of(transport) else { return Ok(py.None()) };
    if matches!(*this.core.socket.borrow(), Socket::Closed) {
        return Ok(py.None());
    }
    let keywords = PyDict::new(py);
    keywords.set_item("source", transport)?;
    let text = format!("unclosed transport {}", transport.repr()?);
    let warned =
        common::warn(py)?.call((text, py.get_type::<pyo3::exceptions::PyResourceWarning>()), Some(&keywords));
    this.close_socket()?;
    if let Some(server) = this.core.server.take()
        && common::detaches_on_finalize(py)?
    {
        common::server_detach(server.bind(py), transport)?;
    }
    warned.map(Bound::unbind)
}

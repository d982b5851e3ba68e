//! TLS: the records' way through the interpreter's own OpenSSL, for connections that asyncio's `SSLProtocol` looks after.
//!
//! The states (handshake, shutdown, timeouts) stay `SSLProtocol`'s. What runs per record is done here, as long as it is the
//! plain case: the connection is established, the application reads and has no buffer of its own. A Python program pays for
//! two wrappers and an exception per message there: `SSLObject.read` is called until it raises "want read". Here the
//! memory BIO is asked whether anything is left before the next call, which saves that exception.

use aioxide_core::sys::socket;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use pyo3::{PyTraverseError, PyVisit};

use super::common::{self, leaves_loop, would_block};
use super::stream::This;
use crate::error;
use crate::ffi::slot::{Arguments, Method, equip};
use crate::ffi::slot_method;

/// The most that one TLS record holds.
const RECORD_BYTES: usize = 16 * 1024;

/// What OpenSSL is reached through: methods of `_ssl`'s own objects, without the wrappers in `ssl.py`.
pub(super) struct Records {
    read: Py<PyAny>,
    feed: Py<PyAny>,
    incoming: Py<PyAny>,
    outgoing: Py<PyAny>,
}

impl Records {
    /// Of an `SSLProtocol`; `None` if it or its SSL object is of another class.
    pub(super) fn of(protocol: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = protocol.py();
        // Before 3.11 asyncio's protocol was built differently.
        if py.version_info() < (3, 11) || !protocol.get_type().is(common::ssl_protocol_class(py)?) {
            return Ok(None);
        }
        let wrapper = protocol.getattr("_sslobj")?;
        if !wrapper.get_type().is(common::ssl_object_class(py)?) {
            return Ok(None);
        }
        let incoming = protocol.getattr("_incoming")?;
        Ok(Some(Self {
            read: wrapper.getattr("_sslobj")?.getattr("read")?.unbind(),
            feed: incoming.getattr("write")?.unbind(),
            incoming: incoming.unbind(),
            outgoing: protocol.getattr("_outgoing")?.unbind(),
        }))
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.read)?;
        visit.call(&self.feed)?;
        visit.call(&self.incoming)?;
        visit.call(&self.outgoing)
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            read: self.read.clone_ref(py),
            feed: self.feed.clone_ref(py),
            incoming: self.incoming.clone_ref(py),
            outgoing: self.outgoing.clone_ref(py),
        }
    }
}

/// Whether the protocol is in the state in which application data flows.
fn is_wrapped(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = protocol.py();
    Ok(protocol.getattr(intern!(py, "_state"))?.is(common::wrapped_state(py)?))
}

fn pending(bio: &Bound<'_, PyAny>) -> PyResult<usize> {
    bio.getattr(intern!(bio.py(), "pending"))?.extract()
}

impl This<'_, '_> {
    /// Receives records and hands over what they hold; `false` if `SSLProtocol` itself has to see them.
    pub(super) fn read_records(self) -> PyResult<bool> {
        let py = self.py();
        let records = self.core.records.borrow().as_ref().map(|records| records.clone_ref(py));
        let (Some(records), Some(protocol)) = (records, self.protocol()) else { return Ok(false) };
        if !is_wrapped(&protocol)?
            || protocol.getattr(intern!(py, "_app_reading_paused"))?.is_truthy()?
            || protocol.getattr(intern!(py, "_app_protocol_is_buffer"))?.is_truthy()?
        {
            return Ok(false);
        }
        let received = {
            let mut scratch = self.core.state.scratch.borrow_mut();
            socket::recv(self.core.fd, &mut scratch).map(|size| PyBytes::new(py, &scratch[..size]))
        };
        let data = match received {
            Ok(data) => data,
            Err(error) if would_block(&error) => return Ok(true),
            Err(error) => {
                self.fatal_error(error::os_error(&error), "Fatal read error on socket transport")?;
                return Ok(true);
            }
        };
        if data.as_bytes().is_empty() {
            self.on_eof()?;
            return Ok(true);
        }
        let result = records.feed.bind(py).call1((data,)).and_then(|_| deliver(&protocol, &records));
        match result {
            Ok(()) => {}
            Err(error) if leaves_loop(py, &error) => return Err(error),
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let arguments = (error.into_value(py), "Fatal error on SSL protocol");
                protocol.call_method1(intern!(py, "_fatal_error"), arguments)?;
            }
            Err(error) => self.fatal_error(error, "Fatal error: protocol.buffer_updated() call failed.")?,
        }
        Ok(true)
    }
}

/// asyncio: `SSLProtocol._do_read` with `_do_read__copied`.
fn deliver(protocol: &Bound<'_, PyAny>, records: &Records) -> PyResult<()> {
    let py = protocol.py();
    let (read, incoming) = (records.read.bind(py), records.incoming.bind(py));
    let mut first: Option<Bound<'_, PyBytes>> = None;
    let mut joined = Vec::new();
    let mut ended = false;
    loop {
        let chunk = match read.call1((RECORD_BYTES,)) {
            Ok(chunk) => chunk.cast_into::<PyBytes>()?,
            Err(error) if error.matches(py, common::ssl_again_errors(py)?)? => break,
            Err(error) => return Err(error),
        };
        if chunk.as_bytes().is_empty() {
            ended = true;
            break;
        }
        match &first {
            None => first = Some(chunk),
            Some(first) => {
                if joined.is_empty() {
                    joined.extend_from_slice(first.as_bytes());
                }
                joined.extend_from_slice(chunk.as_bytes());
            }
        }
        if pending(incoming)? == 0 {
            break;
        }
    }
    if let Some(first) = first {
        let data = if joined.is_empty() { first } else { PyBytes::new(py, &joined) };
        let application = protocol.getattr(intern!(py, "_app_protocol"))?;
        application.call_method1(intern!(py, "data_received"), (data,))?;
    }
    if ended {
        // The peer's close_notify.
        protocol.call_method0(intern!(py, "_call_eof_received"))?;
        protocol.call_method0(intern!(py, "_start_shutdown"))?;
    }
    if protocol.getattr(intern!(py, "_write_backlog"))?.is_truthy()? {
        protocol.call_method0(intern!(py, "_do_write"))?;
    } else if pending(records.outgoing.bind(py))? > 0
        || protocol.getattr(intern!(py, "_app_writing_paused"))?.is_truthy()?
    {
        protocol.call_method0(intern!(py, "_process_outgoing"))?;
    }
    let left = pending(incoming)?;
    if left > 0 || protocol.getattr(intern!(py, "_ssl_reading_paused"))?.is_truthy()? {
        protocol.call_method0(intern!(py, "_control_ssl_reading"))?;
    }
    Ok(())
}

/// Gives a subclass of asyncio's `_SSLProtocolTransport` its hot method.
#[pyfunction]
pub(crate) fn equip_tls_transport(class: &Bound<'_, PyType>) -> PyResult<()> {
    equip(class, METHODS, &[])
}

static METHODS: &[Method] =
    &[slot_method!("write", ["data"], 1, "Sends data, or keeps what cannot be sent now.", write)];

fn write<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let Some(data) = arguments[0] else { return Ok(py.None()) };
    let leave = |data: &Bound<'py, PyAny>| {
        let write = common::tls_transport_class(py)?.getattr(intern!(py, "write"))?;
        write.call1((transport, data)).map(Bound::unbind)
    };
    let Ok(bytes) = data.cast_exact::<PyBytes>() else { return leave(&data) };
    let content = bytes.as_bytes();
    let protocol = transport.getattr(intern!(py, "_ssl_protocol"))?;
    if content.is_empty() || protocol.is_none() || !is_plain(&protocol)? {
        return leave(&data);
    }
    let object = protocol.getattr(intern!(py, "_sslobj"))?;
    let send = object.getattr(intern!(py, "_sslobj"))?.getattr(intern!(py, "write"))?;
    let mut written = 0;
    let mut rest = data.to_owned();
    loop {
        match send.call1((&rest,)) {
            Ok(count) => written += count.extract::<usize>()?,
            // It comes again where asyncio's own code deals with it.
            Err(_) => return leave(&rest),
        }
        if written >= content.len() {
            break;
        }
        rest = PyBytes::new(py, &content[written..content.len()]).into_any();
    }
    let outgoing = protocol.getattr(intern!(py, "_outgoing"))?;
    let encrypted = outgoing.call_method0(intern!(py, "read"))?;
    let below = protocol.getattr(intern!(py, "_transport"))?;
    below.call_method1(intern!(py, "write"), (encrypted,))?;
    Ok(py.None())
}

/// Whether data can go straight through: nothing is kept, nobody is paused, and no limit asks for a pause at once.
fn is_plain(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = protocol.py();
    let class = common::ssl_object_class(py)?;
    Ok(is_wrapped(protocol)?
        && !protocol.getattr(intern!(py, "_write_backlog"))?.is_truthy()?
        && !protocol.getattr(intern!(py, "_ssl_writing_paused"))?.is_truthy()?
        && !protocol.getattr(intern!(py, "_app_writing_paused"))?.is_truthy()?
        && protocol.getattr(intern!(py, "_outgoing_high_water"))?.is_truthy()?
        && protocol.getattr(intern!(py, "_sslobj"))?.get_type().is(class))
}

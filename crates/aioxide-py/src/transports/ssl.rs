//! TLS: the records' way through the interpreter's own OpenSSL, for connections that asyncio's `SSLProtocol` looks after.
//!
//! The states (handshake, shutdown, timeouts) stay `SSLProtocol`'s. What runs per record is done here, as long as it is the
//! plain case: the connection is established, the application reads and has no buffer of its own. A Python program pays for
//! two wrappers and an exception per message there: `SSLObject.read` is called until it raises "want read". Here the
//! memory BIO is asked whether anything is left before the next call, which saves that exception.
//!
//! * The protocol's attributes are read from its dict: six or seven looks per message and direction, each for less than half of
//!   what `getattr` costs.
//! * What is received goes to the BIO in a recycled object. One record is read into the loop's memory for records and copied
//!   to an object of its size; of several, all but the first go straight into the object that the application gets.

use std::rc::Rc;

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyTraverseError, PyVisit};

use super::common::{self, would_block};
use super::stream::{PLACE, StreamCore, This};
use super::stream_write::write_at_once;
use crate::ffi::reused::Pool;
use crate::ffi::slot::{Arguments, Method, equip};
use crate::ffi::{self, Confined, Object, Outcome, Owned, Raised, boolean, bytes, call, raised, slot_method};
use crate::interp::names;
use crate::kernel::error;
use crate::kernel::report::leaves_the_loop;

/// The most that one TLS record holds.
pub(crate) const RECORD_BYTES: usize = 16 * 1024;

/// Messages of one record, used again once the application has let them go.
static MESSAGES: Confined<Pool> = Confined::new(Pool::new());

/// What OpenSSL is reached through: methods of `_ssl`'s own objects, without the wrappers in `ssl.py`.
pub(super) struct Records {
    /// The `__dict__` of the `SSLProtocol`.
    attributes: Owned,
    wrapped: Owned,
    object: Owned,
    again_errors: Owned,
    record_bytes: Owned,
    read: Owned,
    send: Owned,
    feed: Owned,
    take: Owned,
    incoming: Owned,
    outgoing: Owned,
}

impl Records {
    /// Of an `SSLProtocol`; `None` if it or its SSL object is of another class.
    pub(super) fn of(protocol: &Bound<'_, PyAny>) -> PyResult<Option<Rc<Self>>> {
        let py = protocol.py();
        // Before 3.11 asyncio's protocol was built differently.
        if py.version_info() < (3, 11) || !protocol.get_type().is(common::ssl_protocol_class(py)?) {
            return Ok(None);
        }
        let object = protocol.getattr("_sslobj")?;
        if !object.get_type().is(common::ssl_object_class(py)?) {
            return Ok(None);
        }
        let native = object.getattr("_sslobj")?;
        if !native.get_type().is(common::ssl_socket_class(py)?) {
            return Ok(None);
        }
        let (incoming, outgoing) = (protocol.getattr("_incoming")?, protocol.getattr("_outgoing")?);
        Ok(Some(Rc::new(Self {
            attributes: protocol.getattr("__dict__")?.into(),
            wrapped: common::wrapped_state(py)?.clone().into(),
            object: object.into(),
            again_errors: common::ssl_again_errors(py)?.clone().into(),
            record_bytes: RECORD_BYTES.into_pyobject(py)?.into_any().into(),
            read: native.getattr("read")?.into(),
            send: native.getattr("write")?.into(),
            feed: incoming.getattr("write")?.into(),
            take: outgoing.getattr("read")?.into(),
            incoming: incoming.into(),
            outgoing: outgoing.into(),
        })))
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let methods = [&self.read, &self.send, &self.feed, &self.take];
        let objects = [&self.attributes, &self.object, &self.incoming, &self.outgoing];
        methods.into_iter().chain(objects).try_for_each(|held| held.traverse(visit))
    }

    fn get(&self, name: &Object) -> Outcome {
        match call::find_item(&self.attributes, name)? {
            Some(found) => Ok(found),
            None => Err(raised::raise(raised::attribute_error(), "asyncio's SSLProtocol has changed")),
        }
    }

    /// Whether it has this very value; not if it has none, and then asyncio's own code does the work.
    fn has(&self, name: &Object, value: &Object) -> Outcome<bool> {
        Ok(call::find_item(&self.attributes, name)?.is_some_and(|found| found.is(value)))
    }

    /// Whether incoming application data goes straight to a protocol without a buffer of its own.
    fn may_read(&self) -> Outcome<bool> {
        let (names, no) = (names(), boolean(false));
        Ok(self.has(&names.state, &self.wrapped)?
            && self.has(&names.app_reading_paused, no)?
            && self.has(&names.app_protocol_is_buffer, no)?)
    }

    /// Whether data can go straight out: nothing is kept, nobody is paused, and no limit asks for a pause at once.
    fn may_write(&self) -> Outcome<bool> {
        let (names, no) = (names(), boolean(false));
        Ok(self.has(&names.state, &self.wrapped)?
            && self.has(&names.ssl_writing_paused, no)?
            && self.has(&names.app_writing_paused, no)?
            && !call::truth(&*self.get(&names.write_backlog)?)?
            && call::truth(&*self.get(&names.outgoing_high_water)?)?
            && self.has(&names.ssl_object, &self.object)?)
    }

    /// Reads at most one record into `memory`, which has room for it; `None` if OpenSSL has no whole one.
    fn read_into(&self, memory: &Object) -> Outcome<Option<usize>> {
        match call::call(&self.read, &[&self.record_bytes, memory]) {
            Ok(size) => Ok(Some(call::to_integer(&size)? as usize)),
            Err(raised) if raised::matches(&self.again_errors) => {
                raised::clear(raised);
                Ok(None)
            }
            Err(raised) => Err(raised),
        }
    }

    /// Reads all that OpenSSL has; whether the peer has ended, and what is left of the input.
    fn read_all(&self, this: This<'_, '_>) -> Outcome<Read> {
        let state = &this.core.state;
        let record = state.record_memory(RECORD_BYTES)?;
        let first = self.read_into(&record)?;
        let mut left = pending(&self.incoming)?;
        let Some(size @ 1..) = first else {
            return Ok(Read { data: None, recycled: None, has_ended: first.is_some(), left });
        };
        if left == 0 {
            let data = bytes::look(&record, |record| MESSAGES.bytes(&record[..size]))?;
            return Ok(Read { data: Some(data), recycled: None, has_ended: false, left });
        }
        let mut room = size + left + RECORD_BYTES;
        let mut data = state.recycler.lend(room)?;
        bytes::look(&record, |record| data.append(&record[..size]));
        let mut has_ended = false;
        while left > 0 {
            // What decrypts to more than came in just now was kept by OpenSSL before: less than a record.
            if data.room() < RECORD_BYTES {
                room = data.filled() + left + 2 * RECORD_BYTES;
                let mut longer = state.recycler.lend(room)?;
                longer.append(data.content());
                data = longer;
            }
            match data.append_by(|memory| self.read_into(memory))? {
                None => {
                    left = pending(&self.incoming)?;
                    break;
                }
                Some(0) => {
                    has_ended = true;
                    break;
                }
                Some(_) => left = pending(&self.incoming)?,
            }
        }
        if this.core.keeps.get() {
            let copy = bytes::bytes(data.content())?;
            state.recycler.give_back(data.into_bytes(), room);
            return Ok(Read { data: Some(copy), recycled: None, has_ended, left });
        }
        Ok(Read { data: Some(data.into_bytes()), recycled: Some(room), has_ended, left })
    }
}

/// What `Records::read_all` found.
struct Read {
    data: Option<Owned>,
    /// What the object was made for, if it may be used again.
    recycled: Option<usize>,
    has_ended: bool,
    left: usize,
}

fn pending(bio: &Object) -> Outcome<usize> {
    Ok(call::to_integer(&*call::get_attribute(bio, &names().pending)?)? as usize)
}

impl This<'_, '_> {
    /// Receives records and hands over what they hold; `false` if `SSLProtocol` itself has to see them.
    pub(super) fn read_records(self) -> PyResult<bool> {
        let py = self.py();
        let to_pyerr = |raised| raised::to_pyerr(py, raised);
        let records = self.core.records.borrow().clone();
        let (Some(records), Some(protocol)) = (records, self.core.protocol.get()) else { return Ok(false) };
        if !records.may_read().map_err(to_pyerr)? {
            return Ok(false);
        }
        let (recycler, expected) = (&self.core.state.recycler, self.core.last_read_bytes.get());
        let data = match recycler.receive(self.core.descriptor.get(), expected).map_err(to_pyerr)? {
            Ok(data) => data,
            Err(error) if would_block(&error) => return Ok(true),
            Err(error) => {
                self.fatal_error(error::os_error(&error), "Fatal read error on socket transport")?;
                return Ok(true);
            }
        };
        let size = bytes::content(&data).len();
        self.core.last_read_bytes.set(size);
        let fed = if size == 0 { Ok(()) } else { call::call(&records.feed, &[&data]).map(drop) };
        recycler.give_back(data, expected);
        if size == 0 {
            self.on_eof()?;
            return Ok(true);
        }
        match fed.and_then(|()| self.deliver(&protocol, &records)).map_err(to_pyerr) {
            Ok(()) => {}
            Err(error) if leaves_the_loop(py, &error) => return Err(error),
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let arguments = (error.into_value(py), "Fatal error on SSL protocol");
                protocol.bind(py).call_method1(intern!(py, "_fatal_error"), arguments)?;
            }
            Err(error) => self.fatal_error(error, "Fatal error: protocol.buffer_updated() call failed.")?,
        }
        Ok(true)
    }

    /// asyncio: `SSLProtocol._do_read` with `_do_read__copied`.
    fn deliver(self, protocol: &Object, records: &Records) -> Outcome<()> {
        let names = names();
        let read = records.read_all(self)?;
        if let Some(data) = read.data {
            let application = records.get(&names.app_protocol)?;
            let told = call::call_method(&names.data_received, &[&application, &data], None);
            if let Some(room) = read.recycled
                && !self.core.state.recycler.give_back(data, room)
            {
                self.core.keeps.set(true);
            }
            told?;
        }
        if read.has_ended {
            // The peer's close_notify.
            call::call_method(&names.call_eof_received, &[protocol], None)?;
            call::call_method(&names.start_shutdown, &[protocol], None)?;
        }
        let no = boolean(false);
        if call::truth(&*records.get(&names.write_backlog)?)? {
            call::call_method(&names.do_write, &[protocol], None)?;
        } else if pending(&records.outgoing)? > 0 || !records.has(&names.app_writing_paused, no)? {
            call::call_method(&names.process_outgoing, &[protocol], None)?;
        }
        // Nothing but reading makes it less, and only we add to it.
        if read.left > 0 || !records.has(&names.ssl_reading_paused, no)? {
            call::call_method(&names.control_ssl_reading, &[protocol], None)?;
        }
        Ok(())
    }
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
    let (this, data) = (Owned::from(transport.clone()), Owned::from(data.to_owned()));
    match write_records(&this, &data).map_err(|raised| raised::to_pyerr(py, raised))? {
        None => Ok(py.None()),
        Some(rest) => {
            let write = common::tls_transport_class(py)?.getattr(intern!(py, "write"))?;
            write.call1((transport, rest.bind(py))).map(Bound::unbind)
        }
    }
}

/// Encrypts and sends in the plain case; what is left for asyncio's own code.
fn write_records(transport: &Object, data: &Object) -> Outcome<Option<Owned>> {
    let names = names();
    let Some(content) = ffi::bytes_content(data).filter(|content| !content.is_empty()) else {
        return Ok(Some(data.own()));
    };
    let protocol = call::get_attribute(transport, &names.ssl_protocol)?;
    if protocol.is_none() {
        return Ok(Some(data.own()));
    }
    let below = call::get_attribute(&protocol, &names.transport_attribute)?;
    let Some(core) = PLACE.core_of_exact::<StreamCore>(&below) else { return Ok(Some(data.own())) };
    let records = core.0.records.borrow().clone();
    let Some(records) = records.filter(|_| core.0.protocol.holds(&protocol)) else {
        return Ok(Some(data.own()));
    };
    if !records.may_write()? {
        return Ok(Some(data.own()));
    }
    let mut written = 0;
    let mut rest = data.own();
    loop {
        match call::call(&records.send, &[&rest]) {
            Ok(count) => written += call::to_integer(&count)? as usize,
            // It comes again where asyncio's own code deals with it.
            Err(raised) => {
                raised::clear(raised);
                return Ok(Some(rest));
            }
        }
        if written >= content.len() {
            break;
        }
        rest = bytes::bytes(&content[written..])?;
    }
    let encrypted = call::call(&records.take, &[])?;
    if write_at_once(&below, core, &[&encrypted]).is_none() {
        let py = ffi::python(transport);
        let below = below.clone().into_bound(py);
        let sent = This { core: &core.0, transport: &below }.write(&encrypted.bind(py));
        sent.map_err(|error| -> Raised { raised::from_pyerr(error, py) })?;
    }
    Ok(None)
}

//! Datagram transports: asyncio's class, with what runs per packet in Rust.
//!
//! Closing, buffering and errors stay asyncio's code. The attributes that decide whether a packet may go straight through are kept in
//! the *core* (see `ffi::slot`) and shown to that code under asyncio's names, so that neither a packet received nor one sent looks
//! into the instance's dictionary. Whatever is not the plain case (a host name, a full socket, a closed transport) is left to
//! asyncio's method, which then meets the same situation.
//!
//! Peers are few beside packets: the tuple that Python sees of an address is made once and given again, and one that was given to
//! `sendto` is taken apart once. Both are found by a hash, and the newer takes the older one's place.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;

use aioxide_core::sys::socket::{self, Address, AddressParts};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple, PyType};
use pyo3::{IntoPyObjectExt, PyTraverseError, PyVisit, intern};

use super::address::address_to_python;
use super::common::{self, would_block};
use super::inherited::inherited;
use crate::ffi::slot::{Arguments, Attribute, Method, Place};
use crate::ffi::{self, Confined, Object, Owned, Slot, fast_method, raised, slot_attribute, slot_method};
use crate::interp::{Descriptor, names};
use crate::kernel::{LoopCore, LoopState, error};

/// Where a `DatagramTransport` keeps its core.
static PLACE: Place = Place::new();

/// Places for addresses, each way.
const PEERS: usize = 32;

/// Datagrams delivered for one event, at most: asyncio delivers one, other callbacks are to have their turn as well.
const BURST: u32 = 8;

/// How often in a row there was another datagram at once.
const MOST_LUCK: u32 = 8;

/// The Rust half of `aioxide.transports.DatagramTransport`.
#[pyclass(frozen, module = "aioxide._aioxide")]
pub(crate) struct DatagramCore(Confined<Datagrams>);

struct Datagrams {
    state: Rc<LoopState>,
    /// The socket, and what to send to and to receive from.
    descriptor: Descriptor,
    is_ipv4: bool,
    protocol: Slot,
    buffer: Slot,
    address: Slot,
    conn_lost: Cell<u32>,
    closing: Cell<bool>,
    paused: Cell<bool>,
    /// Whether the kernel knows the peer; asked once.
    connected: Cell<Option<bool>>,
    received: RefCell<Vec<Option<(Ipv4Addr, u16, Owned)>>>,
    sent: RefCell<Vec<Option<(Owned, Address)>>>,
    /// What was shown for the sender of the last datagram, whom most answers are for.
    last_shown: Slot,
    last: Cell<(Ipv4Addr, u16)>,
    memory: Cell<Memory>,
    luck: Cell<u32>,
    events: Cell<u32>,
    /// What a `sendto` that is under way got from the socket before it was left to the general way.
    sent_ahead: Cell<Option<std::io::Result<usize>>>,
}

/// What datagrams are received into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Memory of the loop, from which it is copied: the protocol may keep what it gets.
    Copied,
    /// An object that is used again: so far the protocol has let go of what it got.
    Recycled,
    /// As `Copied`, for good: the protocol has kept a recycled object, or its datagrams may be too large.
    AlwaysCopied,
}

#[pymethods]
impl DatagramCore {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Addresses are tuples of text and numbers: no cycle goes through them.
        for slot in [&self.0.protocol, &self.0.buffer, &self.0.address] {
            slot.traverse(&visit)?;
        }
        self.0.descriptor.traverse(&visit)
    }

    fn __clear__(&self) {
        drop((self.0.protocol.take(), self.0.buffer.take(), self.0.address.take()));
    }
}

/// Gives a subclass of asyncio's `_SelectorDatagramTransport` its hot methods.
#[pyfunction]
pub(crate) fn equip_datagram_transport(class: &Bound<'_, PyType>) -> PyResult<()> {
    PLACE.equip(class, "_core", METHODS, ATTRIBUTES)
}

/// Puts a core into a new transport, before its `__init__` sets any attribute.
#[pyfunction]
pub(crate) fn prepare_datagram_transport(
    transport: &Bound<'_, PyAny>,
    event_loop: &Bound<'_, LoopCore>,
    family: i32,
) -> PyResult<()> {
    let is_ip = family == libc::AF_INET || family == libc::AF_INET6;
    let core = Datagrams {
        state: Rc::clone(&event_loop.get().state),
        descriptor: Descriptor::closed(),
        is_ipv4: family == libc::AF_INET,
        protocol: Slot::new(),
        buffer: Slot::new(),
        address: Slot::new(),
        conn_lost: Cell::new(0),
        closing: Cell::new(false),
        paused: Cell::new(false),
        connected: Cell::new(None),
        received: RefCell::default(),
        sent: RefCell::default(),
        last_shown: Slot::new(),
        last: Cell::new((Ipv4Addr::UNSPECIFIED, 0)),
        memory: Cell::new(if is_ip { Memory::Copied } else { Memory::AlwaysCopied }),
        luck: Cell::new(0),
        events: Cell::new(0),
        sent_ahead: Cell::new(None),
    };
    let core = Bound::new(transport.py(), DatagramCore(Confined::new(core)))?;
    PLACE.fill(transport, core.into_any())
}

static METHODS: &[Method] = &[
    slot_method!("_read_ready", [], 0, "Receives what there is.", receive),
    fast_method!(
        PLACE,
        DatagramCore,
        send_at_once,
        slot_method!("sendto", ["data", "addr"], 1, "Sends a datagram.", send)
    ),
];

static ATTRIBUTES: &[Attribute] = &[
    slot_attribute!(
        "_sock",
        // asyncio's destructor looks at it, also if the constructor was never called.
        |transport| Ok(of(transport)
            .ok()
            .and_then(|core| core.descriptor.socket())
            .unwrap_or_else(Owned::none)
            .into_py()),
        |transport, value| {
            of(transport)?.descriptor.hand_to((!value.is_none()).then(|| value.into()));
            Ok(())
        }
    ),
    slot_attribute!(
        "_protocol",
        |transport| Ok(of(transport)?.protocol.get_or_none().into_py()),
        |transport, value| store(&of(transport)?.protocol, value)
    ),
    slot_attribute!(
        "_buffer",
        |transport| Ok(of(transport)?.buffer.get_or_none().into_py()),
        |transport, value| { store(&of(transport)?.buffer, value) }
    ),
    slot_attribute!(
        "_address",
        |transport| Ok(of(transport)?.address.get_or_none().into_py()),
        |transport, value| store(&of(transport)?.address, value)
    ),
    slot_attribute!(
        "_conn_lost",
        |transport| of(transport)?.conn_lost.get().into_py_any(transport.py()),
        |transport, value| {
            of(transport)?.conn_lost.set(value.extract()?);
            Ok(())
        }
    ),
    slot_attribute!(
        "_closing",
        |transport| of(transport)?.closing.get().into_py_any(transport.py()),
        |transport, value| {
            of(transport)?.closing.set(value.is_truthy()?);
            Ok(())
        }
    ),
    slot_attribute!(
        "_paused",
        |transport| of(transport)?.paused.get().into_py_any(transport.py()),
        |transport, value| {
            of(transport)?.paused.set(value.is_truthy()?);
            Ok(())
        }
    ),
];

fn of<'a>(transport: &'a Bound<'_, PyAny>) -> PyResult<&'a Datagrams> {
    Ok(&PLACE.core::<DatagramCore>(transport)?.0)
}

/// `None` empties the place.
fn store(place: &Slot, value: Bound<'_, PyAny>) -> PyResult<()> {
    place.put((!value.is_none()).then(|| value.into()));
    Ok(())
}

// Receiving.

fn receive<'py>(transport: &Bound<'py, PyAny>, _: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let core = of(transport)?;
    let is_open = || core.conn_lost.get() == 0 && !core.closing.get() && !core.paused.get();
    if core.conn_lost.get() > 0 {
        return Ok(py.None());
    }
    core.events.set(core.events.get().wrapping_add(1));
    // Asking for a second datagram that is not there costs a system call, waiting for it in the selector costs more. One event in
    // eight asks in any case, to learn.
    let tries = if core.luck.get() > 0 || core.events.get().is_multiple_of(8) { BURST } else { 1 };
    for attempt in 0..tries {
        if attempt > 0 && (!is_open() || core.state.core.is_stopping()) {
            break;
        }
        let found = core.receive_one(py)?;
        if attempt > 0 {
            let luck = core.luck.get();
            core.luck.set(if found { MOST_LUCK.min(luck + 1) } else { luck.saturating_sub(1) });
        }
        if !found {
            break;
        }
    }
    Ok(py.None())
}

impl Datagrams {
    /// Receives a datagram and hands it over; whether one was there.
    fn receive_one(&self, py: Python<'_>) -> PyResult<bool> {
        let memory = self.memory.get();
        let mut address = Address::default();
        let fd = self.descriptor.get();
        let received = if memory == Memory::Recycled {
            let received = self.state.recycler.receive_from(fd, &mut address);
            received.map_err(|raised| raised::to_pyerr(py, raised))?
        } else {
            let mut scratch = self.state.scratch.borrow_mut();
            socket::recv_from(fd, &mut scratch, &mut address)
                .map(|size| PyBytes::new(py, &scratch[..size]).into())
        };
        let Some(protocol) = self.protocol.get() else { return Ok(false) };
        let data: Owned = match received {
            Ok(data) => data,
            Err(error) if would_block(&error) => return Ok(false),
            Err(error) => {
                let error = error::os_error(&error).into_value(py);
                protocol.bind(py).call_method1(intern!(py, "error_received"), (error,))?;
                return Ok(true);
            }
        };
        let address = self.python_address(py, &address)?;
        let told = ffi::call::call_method(&names().datagram_received, &[&protocol, &data, &address], None);
        self.memory.set(match memory {
            Memory::Copied if ffi::bytes::has_one_owner(&data, 1) => Memory::Recycled,
            Memory::Recycled => {
                let recycled = self.state.recycler.give_back_datagram(data);
                if recycled { Memory::Recycled } else { Memory::AlwaysCopied }
            }
            Memory::Copied | Memory::AlwaysCopied => memory,
        });
        told.map(|_| true).map_err(|raised| raised::to_pyerr(py, raised))
    }

    /// The address as Python sees it.
    fn python_address(&self, py: Python<'_>, address: &Address) -> PyResult<Owned> {
        let AddressParts::V4(ip, port) = address.parts() else {
            return Ok(address_to_python(py, address)?.map_or_else(Owned::none, Owned::from));
        };
        let index = (ip.to_bits() as usize ^ usize::from(port)) % PEERS;
        if self.last.get() == (ip, port)
            && let Some(shown) = self.last_shown.get()
        {
            return Ok(shown);
        }
        let known = match self.received.borrow().get(index) {
            Some(Some((known_ip, known_port, shown))) if (*known_ip, *known_port) == (ip, port) => {
                Some(shown.own())
            }
            _ => None,
        };
        let shown = match known {
            Some(shown) => shown,
            None => self.show(py, index, ip, port)?,
        };
        self.last.set((ip, port));
        self.last_shown.set(shown.own());
        Ok(shown)
    }

    /// Makes the tuple of an address, and keeps it at `index`.
    fn show(&self, py: Python<'_>, index: usize, ip: Ipv4Addr, port: u16) -> PyResult<Owned> {
        let shown: Owned = (ip.to_string(), port).into_py_any(py)?.into();
        let mut known = self.received.borrow_mut();
        if known.is_empty() {
            known.resize_with(PEERS, || None);
        }
        let before = known[index].replace((ip, port, shown.own()));
        drop(known);
        drop(before);
        Ok(shown)
    }

    // Sending.

    fn may_send(&self) -> bool {
        let has_room = self.buffer.get().is_some_and(|buffer| match ffi::call::length(&buffer) {
            Ok(length) => length == 0,
            Err(raised) => {
                raised::clear(raised);
                false
            }
        });
        has_room && self.conn_lost.get() == 0 && !self.protocol.is_empty()
    }

    /// Where an address is kept: by its object's own, mixed, because objects that were made in a row lie in a row.
    fn place_of(address: &Object) -> usize {
        ((address.as_ptr() as u64 >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % PEERS
    }

    /// Sends to an address that a datagram came from just now, or that was sent to before; `None` for any other.
    fn send_to_known(&self, content: &[u8], address: &Object) -> Option<std::io::Result<usize>> {
        let fd = self.descriptor.get();
        if self.last_shown.holds(address) {
            let (ip, port) = self.last.get();
            let raw = Address::from_ip(SocketAddr::V4(SocketAddrV4::new(ip, port)));
            return Some(socket::send_to(fd, content, &raw));
        }
        let known = self.sent.try_borrow().ok()?;
        match known.get(Self::place_of(address)) {
            Some(Some((shown, raw))) if shown.is(address) => Some(socket::send_to(fd, content, raw)),
            _ => None,
        }
    }

    /// Remembers what the tuple stands for, which cannot change: it is one of an exact text and an exact number.
    fn remember(&self, shown: &Bound<'_, PyAny>, raw: Address) {
        let shown = Owned::from(shown.clone());
        let mut known = self.sent.borrow_mut();
        if known.is_empty() {
            known.resize_with(PEERS, || None);
        }
        let before = known[Self::place_of(&shown)].replace((shown, raw));
        drop(known);
        drop(before);
    }
}

/// `sendto` in the plain case: bytes, an open socket with nothing to be sent before them, and an address that was used before.
fn send_at_once(_: &Object, core: &DatagramCore, arguments: &[&Object]) -> Option<Owned> {
    let core = &*core.0;
    let (data, address) = match arguments {
        [data] => (*data, None),
        [data, address] => (*data, (!address.is_none()).then_some(*address)),
        _ => return None,
    };
    let content = ffi::bytes_content(data)?;
    if content.is_empty() || !core.may_send() {
        return None;
    }
    core.state.expect_events();
    let sent = match (core.address.get(), address) {
        // Connected, as the first `sendto` has found out.
        (Some(remote), address) if address.is_none_or(|address| address.is(&remote)) => {
            core.connected.get().filter(|connected| *connected)?;
            socket::send(core.descriptor.get(), content)
        }
        (None, Some(address)) => core.send_to_known(content, address)?,
        _ => return None,
    };
    if sent.is_ok() {
        return Some(Owned::none());
    }
    core.sent_ahead.set(Some(sent));
    None
}

/// The address behind a tuple of a numeric host and a port.
fn numeric_address(address: &Bound<'_, PyAny>) -> Option<Address> {
    let tuple = address.cast_exact::<PyTuple>().ok()?;
    if tuple.len() != 2 {
        return None;
    }
    let (host, port) = (tuple.get_borrowed_item(0).ok()?, tuple.get_borrowed_item(1).ok()?);
    let host = host.cast_exact::<PyString>().ok()?.to_str().ok()?.parse::<Ipv4Addr>().ok()?;
    let port = port.cast_exact::<PyInt>().ok()?.extract::<u16>().ok()?;
    Some(Address::from_ip(SocketAddr::V4(SocketAddrV4::new(host, port))))
}

fn send<'py>(transport: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let core = of(transport)?;
    let Some(data) = arguments[0] else { return Ok(py.None()) };
    let address = arguments[1].map_or_else(|| py.None().into_bound(py), |address| address.to_owned());
    let leave = || {
        let class = common::datagram_class(py)?;
        inherited(class, intern!(py, "sendto"), (transport, data, &address))
    };
    let ahead = core.sent_ahead.take();
    let Ok(bytes) = data.cast_exact::<PyBytes>() else { return leave() };
    if bytes.as_bytes().is_empty() || !core.may_send() {
        return leave();
    }
    core.state.expect_events();
    let sent = if let Some(ahead) = ahead {
        ahead
    } else if let Some(remote) = core.address.get() {
        // Connected, if the kernel knows the peer; another address than that is refused by asyncio's code.
        let connected = match core.connected.get() {
            Some(connected) => connected,
            None => {
                let extra = transport.getattr(intern!(py, "_extra"))?;
                extra.get_item(intern!(py, "peername"))?.is_truthy()?
            }
        };
        core.connected.set(Some(connected));
        if !connected || !(address.is_none() || address.eq(remote.bind(py))?) {
            return leave();
        }
        socket::send(core.descriptor.get(), bytes.as_bytes())
    } else {
        let Some(raw) = numeric_address(&address).filter(|_| core.is_ipv4) else { return leave() };
        core.remember(&address, raw);
        socket::send_to(core.descriptor.get(), bytes.as_bytes(), &raw)
    };
    match sent {
        Ok(_) => Ok(py.None()),
        Err(error) if would_block(&error) => leave(),
        Err(error) => {
            let error = error::os_error(&error).into_value(py);
            let Some(protocol) = core.protocol.get() else { return Ok(py.None()) };
            protocol.bind(py).call_method1(intern!(py, "error_received"), (error,)).map(Bound::unbind)
        }
    }
}

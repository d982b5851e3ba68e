//! `sock_connect` to an address: what asyncio does by a coroutine, three methods and a handle, in one call.
//!
//! ```text
//!   _try_connect(sock, address) ──> NotImplemented: asyncio's own code does it
//!                               ──> None: connected
//!                               ──> a future: it is under way, and `sock` waits until the descriptor is writable
//! ```
//!
//! Only where nobody can tell, see `connect`; and the socket is of TCP or UDP, does not wait, and the address is one of its family.

use std::cell::OnceCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use aioxide_core::sys::socket::Address;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};

use crate::ffi::{self, Confined, Object, Outcome, call, raised};
use crate::interp::descriptor_of;
use crate::kernel::{LoopCore, error};

use super::connect::{Target, is_plain};
use super::sock::Work;

/// Flow labels have twenty bits; `socket.connect` refuses more.
const FLOW_LABELS: u32 = 1 << 20;

/// The fields of a socket, as `_socket.socket` shows them: its derived class makes members of enumerations of them each time.
struct Fields {
    family: ffi::Owned,
    kind: ffi::Owned,
    proto: ffi::Owned,
    timeout: ffi::Owned,
}

static FIELDS: Confined<OnceCell<Fields>> = Confined::new(OnceCell::new());

impl Fields {
    fn load() -> Outcome<&'static Self> {
        if let Some(known) = FIELDS.get() {
            return Ok(known);
        }
        let class = call::get_attribute(&*call::import(c"_socket")?, &*call::interned(c"socket")?)?;
        let field = |name| call::get_attribute(&class, &*call::interned(name)?);
        let (family, kind) = (field(c"family")?, field(c"type")?);
        let (proto, timeout) = (field(c"proto")?, field(c"timeout")?);
        Ok(FIELDS.get_or_init(|| Self { family, kind, proto, timeout }))
    }

    /// The family of a socket of TCP or UDP that does not wait.
    fn family_of(&self, socket: &Object) -> Outcome<Option<i64>> {
        let number = |field| call::described(field, socket).map(|value| call::small_integer(&value));
        let timeout = call::described(&self.timeout, socket)?;
        if timeout.is_none() || call::as_float(&timeout)? != 0.0 {
            return Ok(None);
        }
        let is_known = |value: Option<i64>, known: &[libc::c_int]| {
            value.is_some_and(|value| known.iter().any(|known| i64::from(*known) == value))
        };
        let is_taken = is_known(number(&self.kind)?, &[libc::SOCK_STREAM, libc::SOCK_DGRAM])
            && is_known(number(&self.proto)?, &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP]);
        if is_taken { number(&self.family) } else { Ok(None) }
    }
}

/// Where sockets of `family` connect to by `address`, if nobody need be asked for it. What asyncio would convert or refuse is none.
fn target_of(family: i64, address: &Bound<'_, PyAny>) -> Option<Target> {
    let parts = address.cast_exact::<PyTuple>().ok()?;
    let number = |index| parts.get_item(index).ok()?.cast_exact::<PyInt>().ok()?.extract::<u32>().ok();
    let host = parts.get_item(0).ok()?.cast_into_exact::<PyString>().ok()?;
    let text = host.to_str().ok()?;
    let port = u16::try_from(number(1)?).ok()?;
    let address = if family == i64::from(libc::AF_INET) && parts.len() == 2 {
        SocketAddr::V4(SocketAddrV4::new(text.parse::<Ipv4Addr>().ok()?, port))
    } else if family == i64::from(libc::AF_INET6) && parts.len() <= 4 {
        let flow = if parts.len() > 2 { number(2)? } else { 0 };
        let scope = if parts.len() > 3 { number(3)? } else { 0 };
        if flow >= FLOW_LABELS {
            return None;
        }
        SocketAddr::V6(SocketAddrV6::new(text.parse::<Ipv6Addr>().ok()?, port, flow, scope))
    } else {
        return None;
    };
    Some(Target { host: host.unbind(), address })
}

#[pymethods]
impl LoopCore {
    /// Connects a socket of `socket.socket` itself: None, a future of it, or NotImplemented where asyncio's own code is to do it.
    fn _try_connect<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        address: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, state) = (slf.py(), &slf.get().state);
        let failed = |raised| raised::to_pyerr(py, raised);
        let left_to_asyncio = || py.NotImplemented().into_bound(py);
        let socket = Object::of(sock);
        if !is_plain(Object::of(slf), state).map_err(failed)? {
            return Ok(left_to_asyncio());
        }
        let family = Fields::load().and_then(|fields| fields.family_of(socket)).map_err(failed)?;
        let Some(target) = family.and_then(|family| target_of(family, address)) else {
            return Ok(left_to_asyncio());
        };
        let (fd, to) = (descriptor_of(socket), Address::from_ip(target.address));
        state.expect_events();
        let connected = ffi::connect(py, fd, &to).map_err(|error| error::os_error(&error))?;
        if connected {
            return Ok(py.None().into_bound(py));
        }
        if state.core.is_closed() {
            // By another thread meanwhile.
            return Err(error::loop_closed());
        }
        Self::wait(slf, sock, fd, Work::Connect(target))
    }
}

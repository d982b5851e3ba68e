//! Transports: the Rust halves of the classes in `aioxide.transports`.
//!
//! A transport is a Python object of a class that derives from asyncio's, with a *core* in one slot (see `ffi::slot`).
//! The loop's table of watchers refers to the transport while it reads or writes, and so keeps it alive; the core refers
//! to loop, protocol, socket and server until the connection is lost, as asyncio's does. Events run the core's code
//! directly: no `Handle` is made for them.
//!
//! * `address`: socket addresses as Python shows them.
//! * `inherited`: pipes: asyncio's classes with their hot methods in Rust.
//! * `datagram`: the same for datagrams, with their state in Rust as well.
//! * `ssl`: the records of TLS connections.
//! * `table`: which descriptor is used by which transport.
//! * `stream`: TCP and UNIX connections; `stream_read` and `stream_write` its two halves, `stream_hold` the
//!   writes that wait for the end of their entry, `stream_watch` its events, `stream_face` what Python sees of it.
//!
//! ```text
//!   descriptor ready ──> dispatch ──> on_event ──> stream_watch ──Read──> stream_read ──> the protocol, a buffer, the records of TLS
//!                                                               └─Write─> stream_write
//!   transport.write ──> stream_face ──> stream_hold, until the entry ends ──> one system call
//! ```

mod address;
pub(crate) mod common;
mod datagram;
mod inherited;
mod ssl;
mod stream;
mod stream_face;
mod stream_hold;
mod stream_limits;
mod stream_read;
mod stream_watch;
mod stream_write;
mod table;

use pyo3::prelude::*;

use crate::ffi::exports::{Exports, export_functions};
use crate::ffi::{Outcome, Owned};
use crate::kernel::Direction;

pub(crate) use address::address_to_python;
use datagram::{equip_datagram_transport, prepare_datagram_transport};
use inherited::{equip_read_pipe_transport, equip_write_pipe_transport};
use ssl::equip_tls_transport;
pub(crate) use stream::{Accepted, Connection, ConnectionSocket, This as StreamTransport, is_closing};
use stream_face::equip_stream_transport;
use stream_hold::_send_held_writes;
pub(crate) use stream_hold::{drained, send_held};
pub(crate) use stream_read::{DIRECT_READ_BYTES, MIN_DIRECT_BYTES, receive_for};
pub(crate) use table::Transports;

/// A descriptor of a transport is ready; `Err` only for what must leave the loop.
pub(crate) fn on_event(py: Python<'_>, transport: &Owned, direction: Direction) -> PyResult<()> {
    stream::This::of(&transport.bind(py))?.on_event(direction)
}

/// Does what a transport has put off to the next iteration; `Err` only for what must leave the loop.
pub(crate) fn run_deferred(py: Python<'_>, transport: &Py<PyAny>) -> PyResult<()> {
    stream::This::of(transport.bind(py))?.run_deferred()
}

/// What the room puts into the module.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    export_functions!(
        exports,
        _send_held_writes,
        equip_datagram_transport,
        equip_read_pipe_transport,
        equip_stream_transport,
        equip_tls_transport,
        equip_write_pipe_transport,
        prepare_datagram_transport,
    )
}

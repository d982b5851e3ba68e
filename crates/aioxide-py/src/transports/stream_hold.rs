//! Writes that are held until the loop has run what is ready, so that they leave in one system call, and wake the peer once.
//!
//! What a transport is given within one batch of the ready queue waits in its buffer and is sent when the batch ends: when the loop
//! would ask the kernel again. A peer that sleeps is woken by the first answer, while the others are still to come: to send
//! them one after the other, with the work for each in between, costs up to twice the system time. A batch that takes long is not
//! waited for: what has been held for 2 ms, or was written when the batch had been running for 8, is sent when the entry
//! ends; and so is what a protocol writes in `data_received`, where no work lies between. Only the time at which the peer
//! gets it tells:
//!
//! * Whatever asks the transport for anything but to write more, and could tell, is answered after what is held was sent: `This::of`
//!   does that, and so do `close` and `force_close`. `is_closing` does not while the loop
//!   would hear from the kernel, too, that the peer has gone: that news may come a little later.
//! * No more is held than a full buffer, nor than the high-water mark: what would pause the protocol is sent at once, with what is held.
//! * What shows only at the send, a lost connection or a full socket, takes effect where asyncio has it: with the context of the
//!   write that it befalls, and at the place in the ready queue of the first one.
//! * A connection whose socket object the program has as well holds nothing: the program may use it at any time.
//! * Outside of an entry nothing is held, and at the end of a batch all is sent, so nothing is when the loop waits and when it stops.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::IoSlice;

use aioxide_core::sys::socket;
use pyo3::prelude::*;

use super::common::would_block;
use super::stream::{PLACE, Socket, Stream, StreamCore, This};
use super::stream_write::SLICES;
use crate::ffi::{self, Chunk, Object, Owned, raised};
use crate::interp::Captured;
use crate::kernel::{LoopState, error, running};

/// A full buffer: what gathers to more is sent at once.
const MOST_BYTES: usize = 64 * 1024;

/// What else but bytes is copied to be held, up to this size.
pub(super) const MOST_COPIED_BYTES: usize = 4 * 1024;

/// The writes that one transport holds; their data are in its buffer.
pub(super) struct Hold {
    writes: RefCell<Vec<HeldWrite>>,
    /// How many entries were ready for the next batch at the first of them.
    place: Cell<usize>,
    /// What follows from one of them is done just now: it gets its context, and the place.
    follows: RefCell<Option<Captured>>,
    /// Somebody has waited until there is room for more (`drain`).
    is_drained: Cell<bool>,
}

struct HeldWrite {
    bytes: usize,
    context: Captured,
}

impl Hold {
    pub(super) fn new() -> Self {
        Self {
            writes: RefCell::default(),
            place: Cell::new(0),
            follows: RefCell::new(None),
            is_drained: Cell::new(false),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.writes.borrow().is_empty()
    }

    /// The place in the next batch of what follows from the writes that are sent just now.
    pub(super) fn place(&self) -> Option<usize> {
        self.follows.borrow().is_some().then(|| self.place.get())
    }

    /// The context of what follows from the writes that are sent just now.
    pub(super) fn context(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let context = self.follows.borrow().as_ref().map_or(Ok(None), Captured::get);
        Ok(context.map_err(|raised| raised::to_pyerr(py, raised))?.map(Owned::into_py))
    }
}

/// Sends all that the transports of a loop hold.
///
/// # Errors
/// What must leave the loop: the first one; the others are sent all the same.
pub(crate) fn send_held(py: Python<'_>, state: &LoopState) -> PyResult<()> {
    let mut result = Ok(());
    let mut index = 0;
    // One after the other: logging and destructors may run, and write.
    loop {
        let next = state.held.transports.borrow().get(index).map(|transport| transport.clone_ref(py));
        let Some(transport) = next else { break };
        let sent = This::of(&transport.into_bound(py)).map(drop);
        result = result.and(sent);
        index += 1;
    }
    let sent = state.held.transports.take();
    drop(sent);
    result
}

/// Somebody waits until a transport of ours has room for more: once that is true anyway, but who writes and waits over and
/// over in one step has to hear when the peer has gone.
///
/// # Errors
/// What must leave the loop.
pub(crate) fn drained(py: Python<'_>, transport: &Object) -> PyResult<()> {
    let Some(core) = PLACE.core_of_exact::<StreamCore>(transport) else { return Ok(()) };
    let hold = &core.0.hold;
    if hold.is_empty() || !hold.is_drained.replace(true) {
        return Ok(());
    }
    This::of(&transport.bind(py)).map(drop)
}

/// Something was put into the ready queue on account of `transport`: what later ones may put there stands behind it.
fn make_room(state: &LoopState, transport: &Object) {
    let transports = state.held.transports.borrow();
    // One that is not there stood last.
    let place = transports.iter().rposition(|held| held.is(transport));
    let later = place.map_or(transports.len(), |index| index + 1);
    // One that was asked for something in between, and then wrote again, stands there twice.
    let mut moved = HashSet::new();
    for held in transports[later..].iter().filter(|held| moved.insert(held.as_ptr())) {
        if let Some(core) = PLACE.core_of_exact::<StreamCore>(held) {
            core.0.hold.place.set(core.0.hold.place.get() + 1);
        }
    }
}

/// Sends what the transports of the loop that runs hold: a child that is forked would send it too.
#[pyfunction]
pub(crate) fn _send_held_writes(py: Python<'_>) -> PyResult<()> {
    running().map_or(Ok(()), |state| send_held(py, state))
}

impl Stream {
    /// Whether a write of that size may be held now.
    #[inline]
    fn may_hold(&self, size: usize) -> bool {
        let held = &self.state.held;
        let limit = MOST_BYTES.min(self.marks.get().limits().1);
        held.is_open()
            && self.conn_lost.get() == 0
            && self.buffer.try_borrow().is_ok_and(|buffer| {
                buffer.len() + size <= limit && (buffer.is_empty() || !self.hold.is_empty())
            })
    }

    /// Whether the program has the connection's socket object too.
    fn is_shared(&self, py: Python<'_>) -> bool {
        let (Ok(socket), Ok(shown)) = (self.socket.try_borrow(), self.transport_socket.try_borrow()) else {
            return true;
        };
        // Each of these has a reference: this field, the descriptor, and what wraps it for `get_extra_info`.
        let references = |object: &Py<PyAny>| Object::of(object.bind(py)).references();
        match &*socket {
            Socket::Python(socket) => match &*shown {
                Some(shown) => references(shown) != 1 || references(socket) != 3,
                None => references(socket) != 2,
            },
            Socket::Raw(_) => false,
            Socket::Closed => true,
        }
    }

    /// Holds a write; `false` if it is to be sent now.
    #[inline]
    pub(super) fn hold_write(&self, transport: &Object, bytes: usize, chunk: impl FnOnce() -> Chunk) -> bool {
        if !self.may_hold(bytes) || self.hold.is_empty() && self.is_shared(ffi::python(transport)) {
            return false;
        }
        let Ok(context) = Captured::current().map_err(raised::clear) else { return false };
        // The collector may have run.
        if !self.may_hold(bytes) {
            return false;
        }
        if self.hold.is_empty() {
            self.hold.is_drained.set(false);
            let core = &self.state.core;
            self.hold.place.set(core.ready_len().saturating_sub(core.batch_left()));
            self.state.held.add(transport.own(), || (core.clock().now_ns(), core.batch_age_ns()));
        }
        self.add_to_hold(chunk(), HeldWrite { bytes, context });
        true
    }

    fn add_to_hold(&self, chunk: Chunk, write: HeldWrite) {
        self.hold.writes.borrow_mut().push(write);
        self.buffer.borrow_mut().push(chunk, 0);
    }
}

impl This<'_, '_> {
    /// Whether the data of a write, which are no bytes object, may be held: they are copied.
    pub(super) fn hold_copy(self, content: &[u8]) -> bool {
        content.len() <= MOST_COPIED_BYTES
            && self.core.hold_write(Object::of(self.transport), content.len(), || Chunk::Copy(content.into()))
    }

    /// Adds a write to those that are held, if there are any, and sends all; `false` if there are none.
    pub(super) fn send_with_held(self, bytes: usize, chunk: impl FnOnce() -> Chunk) -> PyResult<bool> {
        if self.core.hold.is_empty() {
            return Ok(false);
        }
        let context = Captured::current().map_err(|raised| raised::to_pyerr(self.py(), raised))?;
        // The collector may have run, and may have had them sent.
        if self.core.hold.is_empty() {
            return Ok(false);
        }
        self.core.add_to_hold(chunk(), HeldWrite { bytes, context });
        self.send_held()?;
        Ok(true)
    }

    /// Sends what is held.
    ///
    /// # Errors
    /// What must leave the loop.
    #[inline]
    pub(super) fn settle(self) -> PyResult<()> {
        if self.core.hold.is_empty() {
            return Ok(());
        }
        self.core.state.held.forget_last(Object::of(self.transport));
        self.send_held()
    }

    #[inline(never)]
    fn send_held(self) -> PyResult<()> {
        let mut writes = self.core.hold.writes.take();
        let all = self.core.buffer.borrow().len();
        let failed = self.send_buffer();
        let mut sent = all - self.core.buffer.borrow().len();
        let result = match failed {
            None if sent == all => Ok(()),
            failed => {
                let befallen = writes.iter().position(|write| {
                    let is_whole = write.bytes <= sent;
                    sent -= if is_whole { write.bytes } else { 0 };
                    !is_whole
                });
                let index = befallen.unwrap_or_default();
                let later = writes.len() - index - 1;
                drop(self.core.hold.follows.replace(Some(writes.swap_remove(index).context)));
                let result = match failed {
                    None => self.start_writing().and_then(|()| self.maybe_pause_protocol()),
                    Some(error) => self.held_failed(&error, later),
                };
                drop(self.core.hold.follows.take());
                result
            }
        };
        writes.clear();
        // The list is used again, unless something was held meanwhile.
        if self.core.hold.is_empty() {
            drop(self.core.hold.writes.replace(writes));
        }
        result
    }

    /// Sends from the buffer until it is empty or the socket is full; returns the error, if there is one.
    fn send_buffer(self) -> Option<std::io::Error> {
        self.core.state.expect_events();
        let fd = self.core.descriptor.get();
        loop {
            let mut buffer = self.core.buffer.borrow_mut();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = buffer.fill(&mut slices);
            let asked: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            let sent = match filled {
                0 => return None,
                1 => socket::send(fd, &slices[0]),
                filled => socket::send_vectored(fd, &slices[..filled]),
            };
            match sent {
                Ok(sent) => {
                    buffer.advance(sent);
                    if sent < asked {
                        return None;
                    }
                }
                Err(error) if would_block(&error) => return None,
                Err(error) => return Some(error),
            }
        }
    }

    /// The first of the writes that were left could not be sent, and neither could the later ones.
    #[cold]
    fn held_failed(self, error: &std::io::Error, later: usize) -> PyResult<()> {
        drop(self.core.buffer.take());
        self.fatal_error(error::os_error(error), "Fatal write error on socket transport")?;
        make_room(&self.core.state, Object::of(self.transport));
        // asyncio drops and counts them.
        (0..later).try_for_each(|_| self.may_write().map(drop))
    }
}

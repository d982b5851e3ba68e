//! `bytes` objects that are filled again by the kernel once nobody but us refers to them.
//!
//! Most protocols look at what they are given and let it go: the object for the next message is then the same one, which saves
//! allocating, copying and freeing (a quarter of the user instructions of an echo of 1 KiB).
//!
//! Rules:
//! 1. An object is written to only while its reference count is 1, and that reference is the [`Recycler`]'s or its caller's: nobody
//!    can see that an immutable object changes. Views of the memory count as references.
//! 2. The object's size is that of the message, its memory that of the class it belongs to. A protocol that keeps what it gets would
//!    keep that memory: the caller asks [`Recycler::give_back`] and does not come again.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;

use super::object::{Object, Outcome, Owned};
use super::{bytes, memory, raised};
use aioxide_core::sys::socket::{self, Address, RawBuffer};

/// Room for messages of several sizes; the last is what asyncio reads at most.
const SIZES: [usize; 4] = [2 * 1024, 16 * 1024, 64 * 1024, 256 * 1024];

/// Which of them holds every datagram of the internet protocols.
const DATAGRAM: usize = 2;

/// The objects of one loop, one of each size.
#[derive(Default)]
pub(crate) struct Recycler([Cell<Option<Owned>>; SIZES.len()]);

/// A `bytes` that is being filled, piece by piece; nobody else sees it before [`Filling::into_bytes`].
pub(crate) struct Filling {
    bytes: Owned,
    memory: usize,
    filled: usize,
}

impl Filling {
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    pub(crate) fn room(&self) -> usize {
        self.memory - self.filled
    }

    pub(crate) fn content(&self) -> &[u8] {
        // SAFETY: the object has more memory, and so much of it was written to.
        unsafe { std::slice::from_raw_parts(bytes::start(&self.bytes), self.filled) }
    }

    pub(crate) fn append(&mut self, data: &[u8]) {
        assert!(data.len() <= self.room(), "the room is asked for beforehand");
        // SAFETY: rule 1; the memory is there.
        unsafe {
            let end = bytes::start(&self.bytes).add(self.filled);
            end.copy_from_nonoverlapping(data.as_ptr(), data.len());
        }
        self.filled += data.len();
    }

    /// Appends what `fill` writes to the view that it gets, and says the size of.
    pub(crate) fn append_by(
        &mut self,
        fill: impl FnOnce(&Object) -> Outcome<Option<usize>>,
    ) -> Outcome<Option<usize>> {
        let (start, room) = (bytes::start(&self.bytes), self.room());
        // SAFETY: memory of the object behind what is filled.
        let memory = RawBuffer { start: unsafe { start.add(self.filled) }, len: room };
        let size = memory::lent(&self.bytes, memory, fill)?;
        self.filled += size.map_or(0, |size| size.min(room));
        Ok(size)
    }

    pub(crate) fn into_bytes(self) -> Owned {
        // SAFETY: rule 1; the object has the memory.
        unsafe { bytes::set_length(&self.bytes, self.filled) };
        self.bytes
    }
}

impl std::fmt::Debug for Recycler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Recycler").finish_non_exhaustive()
    }
}

impl Recycler {
    /// Receives from a socket into an object for messages of about `expected` bytes; empty at the end of the stream.
    ///
    /// # Errors
    /// MemoryError outside; inside, those of `recv`.
    pub(crate) fn receive(&self, fd: RawFd, expected: usize) -> Outcome<io::Result<Owned>> {
        let class = SIZES.iter().position(|size| *size > expected).unwrap_or(SIZES.len() - 1);
        let capacity = SIZES[class];
        // Whoever runs inside the protocol's method, in a nested loop, finds none and makes one.
        let bytes = match self.0[class].take() {
            Some(bytes) => bytes,
            None => bytes::with_memory(capacity)?,
        };
        debug_assert!(bytes::has_one_owner(&bytes, 1), "recycled while somebody looks");
        let buffer = RawBuffer { start: bytes::start(&bytes), len: capacity };
        // SAFETY: rule 1; an object of this class has the memory.
        let received = unsafe { socket::recv_raw(fd, buffer) };
        let size = match received {
            Ok(size) => size,
            Err(error) => {
                self.0[class].set(Some(bytes));
                return Ok(Err(error));
            }
        };
        if size == capacity
            && class + 1 < SIZES.len()
            && let Some(longer) = receive_rest(fd, &bytes, capacity)
        {
            self.0[class].set(Some(bytes));
            return Ok(Ok(longer));
        }
        // SAFETY: as above.
        unsafe { bytes::set_length(&bytes, size) };
        Ok(Ok(bytes))
    }

    /// An object with more than `room` bytes of memory, to be filled.
    ///
    /// # Errors
    /// MemoryError.
    pub(crate) fn lend(&self, room: usize) -> Outcome<Filling> {
        let class = SIZES.iter().position(|size| *size > room);
        let memory = class.map_or(room + 1, |class| SIZES[class]);
        let bytes = match class.and_then(|class| self.0[class].take()) {
            Some(bytes) => bytes,
            None => bytes::with_memory(memory)?,
        };
        debug_assert!(bytes::has_one_owner(&bytes, 1), "recycled while somebody looks");
        Ok(Filling { bytes, memory, filled: 0 })
    }

    /// Receives a datagram of at most 64 KiB, and where it is `from`.
    ///
    /// # Errors
    /// MemoryError outside; inside, those of `recvfrom`.
    pub(crate) fn receive_from(&self, fd: RawFd, from: &mut Address) -> Outcome<io::Result<Owned>> {
        let bytes = match self.0[DATAGRAM].take() {
            Some(bytes) => bytes,
            None => bytes::with_memory(SIZES[DATAGRAM])?,
        };
        debug_assert!(bytes::has_one_owner(&bytes, 1), "recycled while somebody looks");
        let buffer = RawBuffer { start: bytes::start(&bytes), len: SIZES[DATAGRAM] };
        // SAFETY: rule 1; an object of this class has the memory.
        Ok(match unsafe { socket::recv_from_raw(fd, buffer, from) } {
            Ok(size) => {
                // SAFETY: as above.
                unsafe { bytes::set_length(&bytes, size) };
                Ok(bytes)
            }
            Err(error) => {
                self.0[DATAGRAM].set(Some(bytes));
                Err(error)
            }
        })
    }

    /// Takes an object that `receive_from` gave for the next time; `false` if somebody has kept it.
    pub(crate) fn give_back_datagram(&self, bytes: Owned) -> bool {
        let unshared = bytes::has_one_owner(&bytes, 1);
        if unshared {
            self.0[DATAGRAM].set(Some(bytes));
        }
        unshared
    }

    /// Takes an object that `receive` gave for the next time; `false` if somebody has kept it.
    pub(crate) fn give_back(&self, bytes: Owned, expected: usize) -> bool {
        if !bytes::has_one_owner(&bytes, 1) {
            return false;
        }
        // What grew beyond its class was made for its size: it is let go.
        if let Some(class) = SIZES.iter().position(|size| *size > expected)
            && bytes::content(&bytes).len() <= SIZES[class]
        {
            self.0[class].set(Some(bytes));
        }
        true
    }
}

/// What filled its object may go on: an object for all of it, if something is there.
fn receive_rest(fd: RawFd, start: &Object, filled: usize) -> Option<Owned> {
    let most = SIZES[SIZES.len() - 1] - filled;
    let more = socket::available(fd).min(most);
    if more == 0 {
        return None;
    }
    let whole = match bytes::with_memory(filled + more) {
        Ok(whole) => whole,
        Err(raised) => {
            // What has been received must not be lost for want of memory.
            raised::clear(raised);
            return None;
        }
    };
    // SAFETY: both have that much memory, and the second is new.
    unsafe { bytes::start(start).copy_to_nonoverlapping(bytes::start(&whole), filled) };
    // SAFETY: the part of the new object's memory behind what was copied.
    let buffer = RawBuffer { start: unsafe { bytes::start(&whole).add(filled) }, len: more };
    // SAFETY: as above.
    let received = unsafe { socket::recv_raw(fd, buffer) };
    // An error comes again with the next event.
    let size = filled + received.unwrap_or(0);
    // SAFETY: a new object, with memory for more.
    unsafe { bytes::set_length(&whole, size) };
    Some(whole)
}

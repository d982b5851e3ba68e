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

use aioxide_core::sys::socket::{self, Address, RawBuffer};
use pyo3::ffi;

use super::object::{Object, Outcome, Owned};
use super::raised;

/// Room for messages of several sizes; the last is what asyncio reads at most.
const SIZES: [usize; 4] = [2 * 1024, 16 * 1024, 64 * 1024, 256 * 1024];

/// Which of them holds every datagram of the internet protocols.
const DATAGRAM: usize = 2;

/// The objects of one loop, one of each size.
#[derive(Default)]
pub(crate) struct Recycler([Cell<Option<Owned>>; SIZES.len()]);

impl std::fmt::Debug for Recycler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Recycler").finish_non_exhaustive()
    }
}

fn content(bytes: &Object) -> *mut u8 {
    // SAFETY: a bytes object, as all callers here know; the field is the start of its content.
    unsafe { (&raw mut (*bytes.as_ptr().cast::<ffi::PyBytesObject>()).ob_sval).cast() }
}

/// A new bytes object, not filled yet.
fn make(size: usize) -> Outcome {
    // SAFETY: attached; NULL asks for memory that is not initialised.
    unsafe { Owned::from_new(ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as ffi::Py_ssize_t)) }
}

/// Makes it an object of `size` bytes, as if it were new.
///
/// # Safety
/// Nobody else refers to it (rule 1), and it has the memory.
unsafe fn set_size(bytes: &Object, size: usize) {
    let raw = bytes.as_ptr().cast::<ffi::PyBytesObject>();
    // SAFETY: the caller's promise; behind the content is room for the final zero.
    unsafe {
        (*raw).ob_base.ob_size = size as ffi::Py_ssize_t;
        // Somebody may have asked for the hash of what was in it before.
        #[allow(deprecated, reason = "CPython's own field, in every version")]
        {
            (*raw).ob_shash = -1;
        }
        content(bytes).add(size).write(0);
    }
}

/// Whether the caller's reference is the only one.
pub(crate) fn is_unshared(bytes: &Object) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(bytes.as_ptr()) == 1 }
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
            None => make(capacity)?,
        };
        debug_assert!(is_unshared(&bytes), "recycled while somebody looks");
        let buffer = RawBuffer { start: content(&bytes), len: capacity };
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
        unsafe { set_size(&bytes, size) };
        Ok(Ok(bytes))
    }

    /// Receives a datagram of at most 64 KiB, and where it is `from`.
    ///
    /// # Errors
    /// MemoryError outside; inside, those of `recvfrom`.
    pub(crate) fn receive_from(&self, fd: RawFd, from: &mut Address) -> Outcome<io::Result<Owned>> {
        let bytes = match self.0[DATAGRAM].take() {
            Some(bytes) => bytes,
            None => make(SIZES[DATAGRAM])?,
        };
        debug_assert!(is_unshared(&bytes), "recycled while somebody looks");
        let buffer = RawBuffer { start: content(&bytes), len: SIZES[DATAGRAM] };
        // SAFETY: rule 1; an object of this class has the memory.
        Ok(match unsafe { socket::recv_from_raw(fd, buffer, from) } {
            Ok(size) => {
                // SAFETY: as above.
                unsafe { set_size(&bytes, size) };
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
        let unshared = is_unshared(&bytes);
        if unshared {
            self.0[DATAGRAM].set(Some(bytes));
        }
        unshared
    }

    /// Takes an object that `receive` gave for the next time; `false` if somebody has kept it.
    pub(crate) fn give_back(&self, bytes: Owned, expected: usize) -> bool {
        if !is_unshared(&bytes) {
            return false;
        }
        // What grew beyond its class was made for its size: it is let go.
        if let Some(class) = SIZES.iter().position(|size| *size > expected)
            && len(&bytes) <= SIZES[class]
        {
            self.0[class].set(Some(bytes));
        }
        true
    }
}

/// The size of a bytes object.
pub(crate) fn len(bytes: &Object) -> usize {
    // SAFETY: a bytes object, as the caller knows.
    unsafe { ffi::Py_SIZE(bytes.as_ptr()) as usize }
}

/// What filled its object may go on: an object for all of it, if something is there.
fn receive_rest(fd: RawFd, start: &Object, filled: usize) -> Option<Owned> {
    let most = SIZES[SIZES.len() - 1] - filled;
    let more = socket::available(fd).min(most);
    if more == 0 {
        return None;
    }
    let whole = match make(filled + more) {
        Ok(whole) => whole,
        Err(raised) => {
            // What has been received must not be lost for want of memory.
            raised::clear(raised);
            return None;
        }
    };
    // SAFETY: both have that much memory, and the second is new.
    unsafe { content(start).copy_to_nonoverlapping(content(&whole), filled) };
    // SAFETY: the part of the new object's memory behind what was copied.
    let buffer = RawBuffer { start: unsafe { content(&whole).add(filled) }, len: more };
    // SAFETY: as above.
    let received = unsafe { socket::recv_raw(fd, buffer) };
    // An error comes again with the next event.
    let size = filled + received.unwrap_or(0);
    // SAFETY: a new object, with memory for more.
    unsafe { set_size(&whole, size) };
    Some(whole)
}

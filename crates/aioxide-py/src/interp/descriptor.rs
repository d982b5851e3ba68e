//! A connection's file descriptor, read from its current owner at each use.
//!
//! A program may close a socket under its transport. The number is soon another connection's then, so it is not kept: like
//! asyncio, which calls the socket object, the transport reads it there each time, and -1 gives EBADF. Where a socket object keeps
//! the number is found when the module is made, from one whose number is known before and after it is closed; it is only read.
//! What does not fit is not used: then, as with sockets of another class, `fileno()` is asked.
//!
//! ```text
//!                     place points to               for
//!   of_number         the number, in `number`       accepted connections, which nobody in Python has
//!   hand_to(socket)   the number in the object      sockets of `_socket.socket` and derived classes
//!                     nothing: `fileno()` is asked  any other object
//!   hand_to(none)     -1                            what is closed
//! ```
//!
//! `place` points only to what `number` or `socket` holds, or to `CLOSED`; it is changed before those are.

use std::cell::{Cell, OnceCell};
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;

use pyo3::{PyTraverseError, PyVisit};

use super::names;
use super::probe::{Sample, only};
use crate::ffi::{Confined, Object, Outcome, Owned, Slot, call, raised};

/// What is known of the interpreter's sockets.
struct Layout {
    class: Owned,
    offset: usize,
}

static LAYOUT: Confined<OnceCell<Layout>> = Confined::new(OnceCell::new());

/// `AF_UNIX` and `SOCK_STREAM`: a socket that needs no network.
const SAMPLE: [i64; 2] = [libc::AF_UNIX as i64, libc::SOCK_STREAM as i64];

/// Looks for the place; if it cannot be found, it stays unknown.
///
/// # Errors
/// That of a missing module; a socket that cannot be opened is none.
pub(crate) fn learn() -> Outcome<()> {
    let class = call::get_attribute(&*call::import(c"_socket")?, &*call::interned(c"socket")?)?;
    match find(&class) {
        Ok(Some(offset)) => drop(LAYOUT.set(Layout { class, offset })),
        Ok(None) => {}
        Err(raised) => raised::clear(raised),
    }
    Ok(())
}

/// Whether the numbers of sockets are read in place.
pub(super) fn is_known() -> bool {
    LAYOUT.get().is_some()
}

/// The only number in a socket that is its descriptor's while it is open, and -1 after.
fn find(class: &Object) -> Outcome<Option<usize>> {
    let [family, kind] = [call::integer(SAMPLE[0])?, call::integer(SAMPLE[1])?];
    let socket = call::call(class, &[&family, &kind])?;
    let (sample, fd) = (Sample::of(&socket), ask(&socket));
    let open: Vec<usize> = if fd < 0 { Vec::new() } else { sample.holding(fd).collect() };
    call::call_method(&*call::interned(c"close")?, &[&socket], None)?;
    Ok(only(open.into_iter().filter(|offset| sample.read::<RawFd>(*offset) == Some(-1))))
}

/// What `fileno()` says; -1 if it says nothing of use.
#[cold]
#[inline(never)]
fn ask(socket: &Object) -> RawFd {
    let asked = call::call_method(&names().fileno, &[socket], None).and_then(|fd| call::to_integer(&fd));
    match asked {
        Ok(fd) => RawFd::try_from(fd).unwrap_or(-1),
        Err(raised) => {
            raised::clear(raised);
            -1
        }
    }
}

fn place_in(socket: &Object) -> Option<NonNull<RawFd>> {
    let Layout { class, offset } = LAYOUT.get()?;
    if !socket.is_instance(class.as_ptr().cast()) {
        return None;
    }
    // SAFETY: the offset is inside of an instance of the class.
    NonNull::new(unsafe { socket.as_ptr().byte_add(*offset).cast() })
}

/// The descriptor that a socket has now; -1 if it is closed.
#[inline(never)]
pub(crate) fn descriptor_of(socket: &Object) -> RawFd {
    match place_in(socket) {
        // SAFETY: inside of a live socket.
        Some(place) => unsafe { place.read() },
        None => ask(socket),
    }
}

/// What a closed descriptor is read as.
static CLOSED: RawFd = -1;

/// See the module.
pub(crate) struct Descriptor {
    place: Cell<Option<NonNull<RawFd>>>,
    socket: Slot,
    number: Cell<Option<Rc<RawFd>>>,
}

impl Descriptor {
    /// None yet.
    pub(crate) fn closed() -> Self {
        Self { place: Cell::new(Some(NonNull::from(&CLOSED))), socket: Slot::new(), number: Cell::new(None) }
    }

    /// One that nobody in Python has.
    pub(crate) fn of_number(number: RawFd) -> Self {
        let number = Rc::new(number);
        let place = NonNull::new(Rc::as_ptr(&number).cast_mut());
        Self { place: Cell::new(place), socket: Slot::new(), number: Cell::new(Some(number)) }
    }

    /// One that `socket` has.
    pub(crate) fn of_socket(socket: Owned) -> Self {
        let made = Self::closed();
        made.hand_to(Some(socket));
        made
    }

    /// From here on `socket` has it; nothing: it is closed.
    pub(crate) fn hand_to(&self, socket: Option<Owned>) {
        let place = match socket.as_deref() {
            Some(socket) => place_in(socket),
            None => Some(NonNull::from(&CLOSED)),
        };
        self.place.set(place);
        self.number.set(None);
        self.socket.put(socket);
    }

    /// The number at this moment, -1 if it is closed. May run Python code, with sockets of another class.
    #[inline]
    pub(crate) fn get(&self) -> RawFd {
        match self.place.get() {
            // SAFETY: `CLOSED`, or inside of what `number` or `socket` holds.
            Some(place) => unsafe { place.read() },
            None => self.asked(),
        }
    }

    #[cold]
    #[inline(never)]
    fn asked(&self) -> RawFd {
        self.socket.get().map_or(-1, |socket| ask(&socket))
    }

    /// The object that has it.
    pub(crate) fn socket(&self) -> Option<Owned> {
        self.socket.get()
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.socket.traverse(visit)
    }
}

//! The C interface between `aioxide._aioxide` and the extensions that use this crate.
//!
//! Each extension is linked by itself, perhaps by another compiler and with another version of this crate: only what has a
//! C layout may cross. aioxide publishes an [`Api`] as a capsule named [`CAPSULE`]; everything else is reached through it.
//!
//! Rules:
//! 1. Unless it says otherwise, a function is called on the loop's thread, attached to the interpreter.
//! 2. A function that returns a pointer to an object, or a status, raises a Python exception where that is null or
//!    [`RAISED`]. No panic passes.
//! 3. Fields are only ever added, at the end of `Api`; `size` tells which there are. Anything else is a new `version`.
//! 4. The table and the functions in it live as long as the process.

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi::PyObject;

/// Where the table is: what `PyCapsule_Import` takes.
pub const CAPSULE: &CStr = c"aioxide._aioxide._rust_api";

/// The version of the interface that is described here.
pub const VERSION: u32 = 1;

/// What a poll gives when it is not over; the waker will be woken.
pub const PENDING: c_int = 0;
/// What a poll gives when it is over and has put a new reference, or the answer, in its place.
pub const READY: c_int = 1;
/// What a poll gives when it is over and a Python exception is set.
pub const RAISED: c_int = 2;
/// What `fd_poll` gives on another loop than the one that watches: no event would come. No exception is set.
pub const ELSEWHERE: c_int = 3;

/// [`WakerRef::kind`]: a waker that exists during one poll only and costs nothing until it is armed.
pub const LAZY: u32 = 0;
/// [`WakerRef::kind`]: aioxide's own waker; it may be kept, by any thread.
pub const ARMED: u32 = 1;
/// [`WakerRef::kind`]: a waker of the extension's, described by [`WakerRef::vtable`].
pub const FOREIGN: u32 = 2;

/// A waker that is lent for the time of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WakerRef {
    /// [`LAZY`], [`ARMED`] or [`FOREIGN`].
    pub kind: u32,
    /// What the functions take.
    pub data: *const c_void,
    /// The functions of a foreign waker; else null.
    pub vtable: *const WakerVtable,
}

/// What can be done with a foreign waker, on any thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WakerVtable {
    /// From a lent waker, or from one that was made by this: one to keep, until `drop`.
    pub clone: unsafe extern "C" fn(*const c_void) -> *const c_void,
    /// Wakes a lent waker, or one that `clone` made, which stays.
    pub wake: unsafe extern "C" fn(*const c_void),
    /// Ends one that `clone` made.
    pub drop: unsafe extern "C" fn(*const c_void),
}

/// What aioxide does with a future of an extension's: polls it and drops it, on the thread that gave it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FutureVtable {
    /// Polls once. [`READY`] comes with a new reference in the place given. With that and with [`RAISED`] the future is
    /// over: the function has dropped and freed it.
    pub poll: unsafe extern "C" fn(*mut c_void, WakerRef, *mut *mut PyObject) -> c_int,
    /// Drops and frees a future that is not over.
    pub drop: unsafe extern "C" fn(*mut c_void),
    /// The name of its type, in UTF-8, static, with its length: what `repr` of a task shows.
    pub name: unsafe extern "C" fn(*mut usize) -> *const u8,
}

/// What aioxide can do for an extension.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// [`VERSION`].
    pub version: u32,
    /// The size of the table in bytes.
    pub size: u32,
    /// A Python awaitable of a future, which becomes aioxide's in any case. Any thread that is attached: it becomes the
    /// future's own.
    pub awaitable: unsafe extern "C" fn(*mut c_void, &'static FutureVtable) -> *mut PyObject,
    /// The same as a task of the loop that this thread runs.
    pub spawn: unsafe extern "C" fn(*mut c_void, &'static FutureVtable) -> *mut PyObject,
    /// Raises `aioxide.RustPanic` with the text.
    pub raise_panic: unsafe extern "C" fn(*const u8, usize),

    /// Makes an armed waker of a lazy one, to keep until `waker_drop`. Any thread, attached or not.
    pub waker_arm: unsafe extern "C" fn(*const c_void) -> *const c_void,
    /// Wakes a lazy waker. Any thread, attached or not.
    pub waker_mark: unsafe extern "C" fn(*const c_void),
    /// Another armed waker of the same task. Any thread, attached or not.
    pub waker_clone: unsafe extern "C" fn(*const c_void) -> *const c_void,
    /// Wakes an armed waker. Any thread, attached or not.
    pub waker_wake: unsafe extern "C" fn(*const c_void),
    /// Ends an armed waker. Any thread, attached or not.
    pub waker_drop: unsafe extern "C" fn(*const c_void),

    /// Starts waiting for a Python awaitable; null with an exception.
    pub python_start: unsafe extern "C" fn(*mut PyObject) -> *mut c_void,
    /// Polls it; [`READY`] comes with a new reference.
    pub python_poll: unsafe extern "C" fn(*mut c_void, WakerRef, *mut *mut PyObject) -> c_int,
    /// Ends the wait; what is awaited is cancelled if it is not done.
    pub python_drop: unsafe extern "C" fn(*mut c_void),

    /// A timer of so many nanoseconds from now, on the loop that this thread runs; null if it runs none.
    pub sleep_start: unsafe extern "C" fn(u64) -> *mut c_void,
    /// [`PENDING`] or [`READY`].
    pub sleep_poll: unsafe extern "C" fn(*mut c_void, WakerRef) -> c_int,
    /// Takes the timer back.
    pub sleep_drop: unsafe extern "C" fn(*mut c_void),

    /// Watches a descriptor with the loop that this thread runs. Null, with the errno in the place given (0: no loop).
    pub fd_watch: unsafe extern "C" fn(c_int, *mut c_int) -> *mut c_void,
    /// [`READY`] when reading (`false`) or writing (`true`) may succeed, else [`PENDING`] or [`ELSEWHERE`].
    pub fd_poll: unsafe extern "C" fn(*mut c_void, bool, WakerRef) -> c_int,
    /// It did not succeed, `EWOULDBLOCK`: the next `fd_poll` waits.
    pub fd_clear: unsafe extern "C" fn(*mut c_void, bool),
    /// Stops watching; before the descriptor is closed.
    pub fd_drop: unsafe extern "C" fn(*mut c_void),
}

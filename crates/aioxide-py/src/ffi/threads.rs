//! Giving the interpreter up around a call that may block, and what becomes of threads when the interpreter ends.

use std::cell::Cell;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use aioxide_core::sys::connect;
use aioxide_core::sys::socket::{self, Address};
use pyo3::ffi;
use pyo3::prelude::*;

struct Saved(*mut ffi::PyThreadState);

impl Drop for Saved {
    fn drop(&mut self) {
        // SAFETY: the state that this thread gave up, restored once.
        unsafe { ffi::PyEval_RestoreThread(self.0) };
    }
}

/// Runs `wait` without the interpreter; it must not touch any Python object.
pub(crate) fn detached<T>(_py: Python<'_>, wait: impl FnOnce() -> T) -> T {
    // SAFETY: the token shows that this thread is attached.
    let saved = Saved(unsafe { ffi::PyEval_SaveThread() });
    let result = wait();
    drop(saved);
    result
}

/// Takes a waiting connection; without the interpreter, if the listening socket `may_block`.
///
/// No flag keeps `accept` from waiting, and what the descriptor was set to may have been changed by who shares it: so it
/// is asked shortly before.
///
/// # Errors
/// Those of `accept`.
pub(crate) fn accept(py: Python<'_>, fd: RawFd, may_block: bool) -> io::Result<(OwnedFd, Address)> {
    if may_block { detached(py, || socket::accept(fd)) } else { socket::accept(fd) }
}

/// Begins to connect, as `sys::connect` does; without the interpreter, if the socket may block: the object may say that it does
/// not, and who shares the open file may have changed that.
///
/// # Errors
/// Those of `connect`.
pub(crate) fn connect(py: Python<'_>, fd: RawFd, address: &Address) -> io::Result<bool> {
    if socket::may_block(fd) {
        detached(py, || connect::connect(fd, address))
    } else {
        connect::connect(fd, address)
    }
}

/// Closes a descriptor; without the interpreter, for it may linger until all is sent.
pub(crate) fn close(py: Python<'_>, fd: RawFd) {
    detached(py, || close_here(fd));
}

/// Closes a descriptor of a transport's own.
pub(crate) fn close_here(fd: RawFd) {
    // SAFETY: a transport closes what it has opened or taken over, once.
    unsafe { socket::close(fd) };
}

/// Lets this thread outlive the interpreter, should it not end before.
///
/// CPython up to 3.13 calls `pthread_exit` in a thread that wants its lock while it ends (a daemon thread; in a callback's
/// `time.sleep`, or between any two instructions). No frame of Rust may be unwound like that: not PyO3's, which catch panics, nor one
/// that holds objects, which would release them without the lock. Such a thread stands still instead, as CPython's own do from 3.14 on.
///
/// Called where a thread comes in that may run Python code below frames of ours, which includes the release of an object: by
/// `method::guard` and `slot::guarded`, hence in every function of ours that C calls, and in those methods of PyO3's classes that
/// call Python or release what they were given. In a thread that has called it last it costs a comparison.
#[inline]
pub(crate) fn outlive_interpreter() {
    #[cfg(not(Py_3_14))]
    aioxide_core::sys::thread::before_forced_exit(stand_still_at_the_end);
}

/// Sees to it that it still does: a `longjmp` of C code in the thread undoes it. Called by a loop before it waits.
#[inline]
pub(crate) fn go_on_outliving_interpreter() {
    #[cfg(not(Py_3_14))]
    aioxide_core::sys::thread::renew_before_forced_exit(stand_still_at_the_end);
}

#[cfg(not(Py_3_14))]
fn stand_still_at_the_end() {
    if is_ending() {
        aioxide_core::sys::thread::stand_still();
    }
}

#[cfg(not(Py_3_14))]
fn is_ending() -> bool {
    #[cfg(not(Py_3_13))]
    unsafe extern "C" {
        #[link_name = "_Py_IsFinalizing"]
        safe fn is_finalizing() -> std::ffi::c_int;
    }
    #[cfg(Py_3_13)]
    fn is_finalizing() -> std::ffi::c_int {
        // SAFETY: may be called at any time, by any thread.
        unsafe { ffi::Py_IsFinalizing() }
    }
    is_finalizing() != 0
}

/// A number that no other thread of the process has or had.
pub(crate) fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER
        .try_with(|number| {
            if number.get() == 0 {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
        .unwrap_or(0)
}

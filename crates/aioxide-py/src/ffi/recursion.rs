//! The limit of recursion, for Rust that comes back to itself through Python objects.
//!
//! Rule: no ring of objects that a program has put together (what is gathered, awaited, locked or shown may be anything) uses the
//! stack up, which would end the process. What C calls asks for room by [`check_stack`], in `method::guard` and `slot::guarded`, so
//! nothing else need be done there. A function that comes back to itself without leaving Rust, or that is to count as a level as
//! asyncio's own does, goes through [`nested`], or works through the objects by a loop.
//!
//! The interpreter's count is not enough: it counts levels, whatever each takes of the stack, on 3.12 and 3.13 ten thousand, and on any
//! version what a program has set.

use aioxide_core::sys::stack;
use pyo3::ffi;

use super::object::Outcome;
use super::{call, raised};

struct Level;

impl Drop for Level {
    fn drop(&mut self) {
        // SAFETY: attached; it was entered.
        unsafe { ffi::Py_LeaveRecursiveCall() };
    }
}

/// Whether what follows may go deeper. Every function of ours that C calls asks first, so no ring of them can use the stack up.
///
/// # Errors
/// RecursionError when the stack is nearly used up.
#[inline]
pub(crate) fn check_stack() -> Outcome<()> {
    if stack::is_nearly_used_up() { Err(raised::recursion_error()) } else { Ok(()) }
}

/// Runs `body` one level deeper.
///
/// # Errors
/// RecursionError when there is none left, and what `body` raises.
#[inline]
pub(crate) fn nested<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    check_stack()?;
    // SAFETY: attached; a text that ends in a zero.
    call::check(unsafe { ffi::Py_EnterRecursiveCall(c" while calling a Python object".as_ptr()) })?;
    let _level = Level;
    body()
}

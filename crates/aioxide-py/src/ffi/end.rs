//! The end of objects that hold each other in a row, however long the row is.
//!
//! An object that is released releases what it holds, and that what it holds in its turn: done by recursion, a row of some
//! ten thousand overflows the stack. CPython's own containers put off what is too deep (the "trashcan", macros over
//! functions that differ between versions); so do all classes of ours, through [`take_apart`].
//!
//! Rule: each `tp_dealloc` makes the object unreachable first (finalizer, lists that know it without holding it, the
//! collector, weak references) and then gives the rest, which releases what it holds, to [`take_apart`]. It may happen later,
//! but nobody can see the object meanwhile.

use std::cell::Cell;

use pyo3::ffi;

use super::Confined;

/// The second half of a `tp_dealloc`: drops what the object holds, and gives its memory back.
type End = unsafe fn(*mut ffi::PyObject);

/// How many objects are taken apart inside of each other. CPython's containers take 50; between two of ours may be several frames.
const DEEPEST: u32 = 50;

struct State {
    depth: Cell<u32>,
    /// What is to be taken apart by the innermost of those under way.
    later: Cell<Vec<(*mut ffi::PyObject, End)>>,
}

static STATE: Confined<State> = Confined::new(State { depth: Cell::new(0), later: Cell::new(Vec::new()) });

struct Level;

impl Level {
    fn enter(depth: u32) -> Self {
        STATE.depth.set(depth + 1);
        Self
    }
}

impl Drop for Level {
    #[inline]
    fn drop(&mut self) {
        STATE.depth.set(STATE.depth.get() - 1);
    }
}

/// Runs `end` on the object: now, or when the stack is less deep.
///
/// # Safety
/// Called from `tp_dealloc`, at its end: nobody can reach the object, and `end` is for its type.
#[inline(always)]
pub(crate) unsafe fn take_apart(this: *mut ffi::PyObject, end: End) {
    let depth = STATE.depth.get();
    if depth >= DEEPEST {
        put_off(this, end);
        return;
    }
    let _level = Level::enter(depth);
    // SAFETY: the caller's promise.
    unsafe { end(this) };
    if depth + 1 == DEEPEST {
        take_apart_the_rest();
    }
}

#[cold]
fn put_off(this: *mut ffi::PyObject, end: End) {
    let mut later = STATE.later.take();
    later.push((this, end));
    STATE.later.set(later);
}

/// What each of them releases is put off as well, and comes next.
#[cold]
fn take_apart_the_rest() {
    loop {
        let mut later = STATE.later.take();
        let next = later.pop();
        STATE.later.set(later);
        let Some((this, end)) = next else { return };
        // SAFETY: `take_apart`'s contract; it is done once.
        unsafe { end(this) };
    }
}

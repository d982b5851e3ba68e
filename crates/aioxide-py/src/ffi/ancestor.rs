//! What a class with a struct of its own (`holder`) derives from, where that is a class of ours with data.

use std::cell::Cell;
use std::os::raw::c_int;

use pyo3::ffi as c;

use super::Confined;
use super::object::{Object, Outcome, Owned, Visit};
use super::raised;

/// The class beneath another: its functions do their part for the instances of that one, whose struct lies behind the data.
pub(crate) struct Ancestor {
    kind: Confined<Cell<*mut c::PyTypeObject>>,
    end: Confined<Cell<usize>>,
}

impl Ancestor {
    pub(crate) const fn new() -> Self {
        Self { kind: Confined::new(Cell::new(std::ptr::null_mut())), end: Confined::new(Cell::new(0)) }
    }

    /// Keeps the class, before the one that derives from it is made.
    pub(super) fn learn(&self, class: &Object) {
        // The class lives as long as the process: its pointer is kept.
        let kind = class.own().into_ptr().cast::<c::PyTypeObject>();
        self.kind.set(kind);
        // SAFETY: a ready type.
        self.end.set(unsafe { (*kind).tp_basicsize as usize }.next_multiple_of(16));
    }

    /// Where the data ends in an instance.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end.get()
    }

    /// A new instance of `kind`, of which what lies behind the end is not written yet.
    ///
    /// # Safety
    /// A type derived from the class, whose own `__new__` minds no arguments.
    pub(super) unsafe fn make(&self, kind: *mut c::PyTypeObject) -> Outcome {
        // SAFETY: a ready type, and the caller's promise.
        unsafe {
            match (*self.kind.get()).tp_new {
                Some(new) => Owned::from_new(new(kind, std::ptr::null_mut(), std::ptr::null_mut())),
                None => Err(raised::raise(raised::type_error(), "cannot create instances")),
            }
        }
    }

    /// Shows the data and the type.
    pub(super) fn traverse(&self, this: &Object, visit: Visit) -> c_int {
        // SAFETY: a ready type and an instance of one derived from it.
        unsafe {
            let traverse = (*self.kind.get()).tp_traverse;
            traverse.map_or(0, |traverse| traverse(this.as_ptr(), visit.function, visit.argument))
        }
    }

    /// Clears the data.
    pub(super) fn clear(&self, this: &Object) {
        // SAFETY: as above.
        unsafe {
            if let Some(clear) = (*self.kind.get()).tp_clear {
                clear(this.as_ptr());
            }
        }
    }

    /// Ends an instance of which everything behind the data was dropped.
    ///
    /// # Safety
    /// Called from `tp_dealloc`.
    pub(super) unsafe fn end_instance(&self, this: *mut c::PyObject) {
        // SAFETY: as above, and the caller's promise.
        unsafe {
            if let Some(dealloc) = (*self.kind.get()).tp_dealloc {
                dealloc(this);
            }
        }
    }
}

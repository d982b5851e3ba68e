//! Memory of instances whose type derives from one of C: made, shown to the collector, taken apart.

use std::cell::Cell;
use std::os::raw::c_int;

use pyo3::ffi;

use super::free_list::FreeList;
use super::object::{Object, Outcome, Visit};

/// What instances of a type derived from C need to know about their base.
pub(crate) struct Base {
    traverse: Cell<Option<ffi::traverseproc>>,
    clear: Cell<Option<ffi::inquiry>>,
    is_static: Cell<bool>,
}

impl Base {
    pub(crate) const fn new() -> Self {
        Self { traverse: Cell::new(None), clear: Cell::new(None), is_static: Cell::new(false) }
    }

    /// Reads the base type; returns the size of its instances, rounded up for what follows.
    pub(crate) fn read(&self, base: &Object) -> usize {
        let kind = base.as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: a ready type.
        unsafe {
            self.traverse.set((*kind).tp_traverse);
            self.clear.set((*kind).tp_clear);
            self.is_static.set(ffi::PyType_GetFlags(kind) & ffi::Py_TPFLAGS_HEAPTYPE == 0);
            ((*kind).tp_basicsize as usize).next_multiple_of(16)
        }
    }

    /// Shows what the base has (the instance's dict, and from 3.14 on who awaits it) and the type.
    ///
    /// A type that C made on the heap is shown by the base's own function, a static one does not count references.
    pub(crate) fn traverse(&self, this: &Object, visit: Visit) -> c_int {
        if let Some(traverse) = self.traverse.get() {
            // SAFETY: an instance of a type derived from the base.
            let status = unsafe { traverse(this.as_ptr(), visit.function, visit.argument) };
            if status != 0 {
                return status;
            }
        }
        if self.is_static.get() {
            // SAFETY: our own type, made on the heap.
            return visit.object(unsafe { Object::from_ptr(this.kind().cast()) });
        }
        0
    }

    /// Clears what the base has.
    pub(crate) fn clear(&self, this: &Object) {
        if let Some(clear) = self.clear.get() {
            // SAFETY: as above.
            unsafe { clear(this.as_ptr()) };
        }
    }
}

/// A new instance of a type without a list of free ones.
///
/// # Safety
/// As [`FreeList::make`].
pub(crate) unsafe fn make_plain(
    kind: *mut ffi::PyTypeObject,
    fill: impl FnOnce(*mut ffi::PyObject),
) -> Outcome {
    // SAFETY: the caller's promise; nothing is ever in this list.
    unsafe { NONE_FREE.make(kind, false, fill) }
}

/// Ends an instance that `make_plain` made.
///
/// # Safety
/// As [`FreeList::release`].
pub(crate) unsafe fn release_plain(this: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    unsafe { NONE_FREE.release(this, false) };
}

static NONE_FREE: FreeList = FreeList::new();

/// Lets the collector see an object.
///
/// # Safety
/// It does not see it yet, and everything in the object is in order.
pub(crate) unsafe fn track(this: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    unsafe { ffi::PyObject_GC_Track(this.cast()) };
}

/// Tells the collector that the object is being taken apart.
///
/// # Safety
/// The object is tracked or not, but its type is one that the collector handles.
pub(crate) unsafe fn untrack(this: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    unsafe { ffi::PyObject_GC_UnTrack(this.cast()) };
}

/// Empties the weak references to an object that is being taken apart.
///
/// # Safety
/// Called from `tp_dealloc`.
pub(crate) unsafe fn clear_weak_references(this: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    unsafe { ffi::PyObject_ClearWeakRefs(this) };
}

/// Runs the type's finalizer from `tp_dealloc`; `false` when it brought the object back to life.
///
/// # Safety
/// Called from `tp_dealloc`, before anything was taken apart.
pub(crate) unsafe fn finalize(this: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's promise.
    unsafe { ffi::PyObject_CallFinalizerFromDealloc(this) == 0 }
}

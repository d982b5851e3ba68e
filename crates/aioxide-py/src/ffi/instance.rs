//! Memory of instances whose type derives from one of C: made, shown to the collector, taken apart, used again.

use std::cell::Cell;
use std::os::raw::c_int;

use pyo3::ffi;

use super::Confined;
use super::object::{Object, Outcome, Owned, Visit};

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
            self.is_static.set((*kind).tp_flags & ffi::Py_TPFLAGS_HEAPTYPE == 0);
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

/// Instances kept for the next one of exactly the same type: no more than `LIMIT`, so that a burst is given back.
pub(crate) struct FreeList {
    items: Confined<Cell<Vec<*mut ffi::PyObject>>>,
}

const LIMIT: usize = 256;

impl FreeList {
    pub(crate) const fn new() -> Self {
        Self { items: Confined::new(Cell::new(Vec::new())) }
    }

    fn pop(&self) -> Option<*mut ffi::PyObject> {
        let mut items = self.items.take();
        let item = items.pop();
        self.items.set(items);
        item
    }

    fn push(&self, item: *mut ffi::PyObject) -> bool {
        let mut items = self.items.take();
        let room = items.len() < LIMIT;
        if room {
            items.push(item);
        }
        self.items.set(items);
        room
    }

    /// A new instance of `kind`; `fill` writes what is ours before the collector sees it.
    ///
    /// # Safety
    /// `kind` is the type that this list is for if `exact`, else one derived from it.
    pub(crate) unsafe fn make(
        &self,
        kind: *mut ffi::PyTypeObject,
        exact: bool,
        fill: impl FnOnce(*mut ffi::PyObject),
    ) -> Outcome {
        if exact && let Some(item) = self.pop() {
            fill(item);
            // SAFETY: memory of an instance of this type, taken apart down to zero fields by `release`.
            unsafe {
                ffi::PyObject_Init(item, kind);
                ffi::PyObject_GC_Track(item.cast());
                return Owned::from_new(item);
            }
        }
        // SAFETY: a ready type; the collector does not run between this and `fill`.
        let made = unsafe {
            let Some(allocate) = (*kind).tp_alloc else { return Err(super::Raised) };
            Owned::from_new(allocate(kind, 0))?
        };
        fill(made.as_ptr());
        Ok(made)
    }

    /// Ends an instance that was taken apart.
    ///
    /// # Safety
    /// Nobody refers to it, the collector does not know it, nothing in it owns anything.
    pub(crate) unsafe fn release(&self, this: *mut ffi::PyObject, exact: bool) {
        // SAFETY: still a valid header.
        let kind = unsafe { ffi::Py_TYPE(this) };
        // An instance that was finalized would not be finalized a second time.
        // SAFETY: an object that the collector could have known.
        let reusable = exact && unsafe { ffi::PyObject_GC_IsFinalized(this) } == 0;
        if !(reusable && self.push(this)) {
            // SAFETY: the type's own function for memory that its `tp_alloc` made.
            unsafe {
                if let Some(free) = (*kind).tp_free {
                    free(this.cast());
                }
            }
        }
        // SAFETY: each instance of a heap type owns a reference to it.
        unsafe { ffi::Py_DECREF(kind.cast()) };
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

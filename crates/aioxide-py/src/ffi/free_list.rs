//! Instances that are kept for the next ones of exactly the same type.
//!
//! A burst of tasks ends in a list of free ones, and the next burst is made of them: no memory is asked of the allocator, none
//! is given back to the kernel and taken again. Whatever lay there unused between two collections of older objects is
//! given back at the second, so that memory follows what the program does.
//!
//! A free instance has a reference count of 0, and keeps the reference to its type.

use std::cell::{Cell, RefCell};

use pyo3::ffi;

use super::Confined;
use super::object::{Outcome, Owned};

/// The free instances of one type, linked through the word behind each one's header.
pub(crate) struct FreeList {
    first: Confined<Cell<*mut ffi::PyObject>>,
    count: Confined<Cell<usize>>,
    /// The least that `count` was since the last collection of older objects: so many were not needed.
    unused: Confined<Cell<usize>>,
    known: Confined<Cell<bool>>,
}

/// How many a list holds at most.
const LIMIT: usize = 1 << 14;

/// Every list that ever held an instance.
static LISTS: Confined<RefCell<Vec<&'static FreeList>>> = Confined::new(RefCell::new(Vec::new()));

/// Gives back what no list needed since the last call.
pub(crate) fn give_back_unused() {
    for list in &*LISTS.borrow() {
        for _ in 0..list.unused.get() {
            if let Some(item) = list.pop() {
                // SAFETY: memory of an instance that was taken apart, in no list any more.
                unsafe { free(item) };
            }
        }
        list.unused.set(list.count.get());
    }
}

/// Gives an instance's memory back, and its reference to the type.
///
/// # Safety
/// Nobody refers to it, the collector does not know it, nothing in it owns anything.
unsafe fn free(this: *mut ffi::PyObject) {
    // SAFETY: the type's own function for memory that its `tp_alloc` made; the header is valid to the last; each instance
    // of a heap type owns a reference to it.
    unsafe {
        let kind = ffi::Py_TYPE(this);
        if let Some(free) = (*kind).tp_free {
            free(this.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

/// Gives a free instance its first reference.
///
/// # Safety
/// It comes from a list of instances of `kind`.
#[inline]
unsafe fn revive(item: *mut ffi::PyObject, kind: *mut ffi::PyTypeObject) {
    // SAFETY: the caller's promise; the count is 0, and the type is still referred to.
    unsafe {
        if cfg!(any(Py_GIL_DISABLED, py_sys_config = "Py_REF_DEBUG", py_sys_config = "Py_TRACE_REFS")) {
            // There is more to a new object than its count.
            ffi::PyObject_Init(item, kind);
            ffi::Py_DECREF(kind.cast());
        } else {
            ffi::Py_INCREF(item);
        }
    }
}

/// A new instance in new memory.
///
/// # Safety
/// A ready type with our fields, which `fill` writes.
#[cold]
#[inline(never)]
unsafe fn make_anew(kind: *mut ffi::PyTypeObject, fill: impl FnOnce(*mut ffi::PyObject)) -> Outcome {
    // SAFETY: a ready type; the collector does not run between this and `fill`.
    let made = unsafe {
        let Some(allocate) = (*kind).tp_alloc else { return Err(super::Raised) };
        Owned::from_new(allocate(kind, 0))?
    };
    fill(made.as_ptr());
    Ok(made)
}

/// The word behind the header, which is the type's own (or its base's) while the instance lives, and zero at its end.
#[inline]
unsafe fn link(item: *mut ffi::PyObject) -> *mut *mut ffi::PyObject {
    // SAFETY: no type that has a list is as small as a header.
    unsafe { item.byte_add(size_of::<ffi::PyObject>()).cast() }
}

impl FreeList {
    pub(crate) const fn new() -> Self {
        Self {
            first: Confined::new(Cell::new(std::ptr::null_mut())),
            count: Confined::new(Cell::new(0)),
            unused: Confined::new(Cell::new(0)),
            known: Confined::new(Cell::new(false)),
        }
    }

    #[inline]
    fn pop(&self) -> Option<*mut ffi::PyObject> {
        let item = self.first.get();
        if item.is_null() {
            return None;
        }
        // SAFETY: `push` wrote the link; it is left as `push` found it.
        self.first.set(unsafe { link(item).replace(std::ptr::null_mut()) });
        let left = self.count.get() - 1;
        self.count.set(left);
        if left < self.unused.get() {
            self.unused.set(left);
        }
        Some(item)
    }

    #[inline]
    fn push(&'static self, item: *mut ffi::PyObject) -> bool {
        if self.count.get() == LIMIT {
            return false;
        }
        if !self.known.get() {
            self.become_known();
        }
        // SAFETY: memory of an instance that was taken apart.
        unsafe { link(item).write(self.first.get()) };
        self.first.set(item);
        self.count.set(self.count.get() + 1);
        true
    }

    #[cold]
    fn become_known(&'static self) {
        self.known.set(true);
        LISTS.borrow_mut().push(self);
    }

    /// A new instance of `kind`; `fill` writes what is ours before the collector sees it.
    ///
    /// # Safety
    /// `kind` is the type that this list is for if `exact`, else one derived from it.
    #[inline]
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
                revive(item, kind);
                ffi::PyObject_GC_Track(item.cast());
                return Owned::from_new(item);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { make_anew(kind, fill) }
    }

    /// `make` of an instance that the collector does not see, until somebody lets it.
    ///
    /// # Safety
    /// `kind` is the type that this list is for.
    #[inline]
    pub(crate) unsafe fn make_unseen(
        &self,
        kind: *mut ffi::PyTypeObject,
        fill: impl FnOnce(*mut ffi::PyObject),
    ) -> Outcome {
        if let Some(item) = self.pop() {
            fill(item);
            // SAFETY: as above.
            unsafe {
                revive(item, kind);
                return Owned::from_new(item);
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            let made = make_anew(kind, fill)?;
            ffi::PyObject_GC_UnTrack(made.as_ptr().cast());
            Ok(made)
        }
    }

    /// Ends an instance that was taken apart.
    ///
    /// # Safety
    /// Nobody refers to it, the collector does not know it, nothing in it owns anything.
    #[inline(always)]
    pub(crate) unsafe fn release(&'static self, this: *mut ffi::PyObject, exact: bool) {
        // SAFETY: still a valid header.
        let kind = unsafe { ffi::Py_TYPE(this) };
        // An instance that was finalized would not be finalized a second time.
        // SAFETY: an object that the collector could have known; its type is alive.
        let reusable =
            exact && unsafe { (*kind).tp_finalize.is_none() || ffi::PyObject_GC_IsFinalized(this) == 0 };
        // SAFETY: the caller's promise.
        unsafe { self.put_away(this, reusable) };
    }

    /// `release` by one who knows whether the instance can be used again: it is of the very type, and was not finalized.
    ///
    /// # Safety
    /// As `release`.
    #[inline(always)]
    pub(crate) unsafe fn put_away(&'static self, this: *mut ffi::PyObject, reusable: bool) {
        if !(reusable && self.push(this)) {
            // SAFETY: the caller's promise.
            unsafe { free(this) };
        }
    }
}

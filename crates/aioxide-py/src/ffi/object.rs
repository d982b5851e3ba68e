//! Typed references to Python objects that cost what the pointers cost: borrowed `&Object`, owned `Owned`, a field `Slot`.
//!
//! Rules, which make everything here sound and which the rest of the crate may take for granted:
//! 1. Values of these types exist only on a thread that is attached to the interpreter, and are used only there.
//! 2. An `&Object` points to a live object for as long as the reference lasts: it comes from an `Owned` that outlives it, or
//!    from an argument that the interpreter keeps alive during the call.
//! 3. A `Slot` never lends what it holds: `get` returns a reference of its own, so that a destructor or a callback may
//!    empty the slot meanwhile.

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::raw::{c_int, c_void};
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

/// A Python object, always behind a reference.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Object(UnsafeCell<ffi::PyObject>);

/// A Python exception is set in this thread; whoever gets this value returns it, takes it or clears it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Raised;

/// What a call into Python returns.
pub(crate) type Outcome<T = Owned> = Result<T, Raised>;

impl Object {
    /// The object behind a pointer that the interpreter lent us.
    ///
    /// # Safety
    /// Not null, and alive for `'a`.
    #[inline]
    pub(crate) unsafe fn from_ptr<'a>(pointer: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the caller's promise; the layout is that of the object.
        unsafe { &*pointer.cast::<Self>() }
    }

    /// The object that PyO3 has a reference to.
    #[inline]
    pub(crate) fn of<'a, T>(bound: &'a Bound<'_, T>) -> &'a Self {
        // SAFETY: not null, and alive while the reference is borrowed.
        unsafe { Self::from_ptr(bound.as_ptr()) }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.get()
    }

    /// The object as PyO3 knows it.
    #[inline]
    pub(crate) fn bind<'a, 'py>(&'a self, py: Python<'py>) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: rule 2.
        unsafe { Borrowed::from_ptr(py, self.as_ptr()) }
    }

    /// A reference of one's own.
    #[inline]
    pub(crate) fn own(&self) -> Owned {
        // SAFETY: rule 2: the object is alive.
        unsafe { ffi::Py_INCREF(self.as_ptr()) };
        // SAFETY: a reference is never null.
        Owned(unsafe { NonNull::new_unchecked(self.as_ptr()) })
    }

    /// Shows the object to the collector, for a class of PyO3's.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: the collector runs attached; the reference stays the holder's, `ManuallyDrop` gives nothing up.
        let object = unsafe { Bound::from_owned_ptr(Python::assume_attached(), self.as_ptr()).unbind() };
        let object = ManuallyDrop::new(object);
        visit.call(&*object)
    }

    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.is(none())
    }

    /// The object's type, for comparing.
    #[inline]
    pub(crate) fn kind(&self) -> *mut ffi::PyTypeObject {
        // SAFETY: rule 2.
        unsafe { ffi::Py_TYPE(self.as_ptr()) }
    }

    /// The object's type, as an object.
    #[inline]
    pub(crate) fn class(&self) -> &Self {
        // SAFETY: a type is alive while its instance is.
        unsafe { Self::from_ptr(self.kind().cast()) }
    }

    /// A number that the object's type has until anything about it changes; 0 if it has none now.
    #[inline]
    pub(crate) fn class_version(&self) -> u32 {
        // SAFETY: a type is alive while its instance is.
        unsafe { (*self.kind()).tp_version_tag }
    }

    /// How many references there are to the object.
    #[inline]
    pub(crate) fn references(&self) -> isize {
        // SAFETY: rule 2.
        unsafe { ffi::Py_REFCNT(self.as_ptr()) }
    }

    /// Whether there is one reference to the object.
    #[inline]
    pub(crate) fn is_held_once(&self) -> bool {
        self.references() == 1
    }

    /// Whether there are two references to the object.
    #[inline]
    pub(crate) fn is_held_twice(&self) -> bool {
        self.references() == 2
    }

    /// Whether the object is an instance of `kind` or of a type derived from it.
    #[inline]
    pub(crate) fn is_instance(&self, kind: *mut ffi::PyTypeObject) -> bool {
        // SAFETY: rule 2; types outlive their instances.
        self.kind() == kind || unsafe { ffi::PyType_IsSubtype(self.kind(), kind) != 0 }
    }

    /// Whether the object is a class.
    pub(crate) fn is_type(&self) -> bool {
        self.is_instance(&raw mut ffi::PyType_Type)
    }

    /// Whether both are classes, and this one is the other or derives from it.
    pub(crate) fn derives_from(&self, other: &Self) -> bool {
        let (kind, base) = (self.as_ptr().cast(), other.as_ptr().cast());
        // SAFETY: types, as was just checked.
        self.is_type() && other.is_type() && unsafe { ffi::PyType_IsSubtype(kind, base) != 0 }
    }
}

/// `None`.
#[inline]
pub(crate) fn none() -> &'static Object {
    // SAFETY: `None` lives for ever.
    unsafe { Object::from_ptr(ffi::Py_None()) }
}

/// `True` or `False`.
#[inline]
pub(crate) fn boolean(value: bool) -> &'static Object {
    // SAFETY: both live for ever.
    unsafe { Object::from_ptr(if value { ffi::Py_True() } else { ffi::Py_False() }) }
}

/// A reference of one's own to a Python object; released without the look that `Py` takes at whether it may be.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Owned(NonNull<ffi::PyObject>);

impl Owned {
    /// Takes over what a call returned: a new reference, or null with an exception.
    ///
    /// # Safety
    /// The pointer is null, or a reference that nobody else releases.
    #[inline]
    pub(crate) unsafe fn from_new(pointer: *mut ffi::PyObject) -> Outcome {
        NonNull::new(pointer).map(Self).ok_or(Raised)
    }

    /// Takes over a reference.
    ///
    /// # Safety
    /// A live object, a reference to which the caller gives away.
    pub(crate) unsafe fn from_raw(pointer: NonNull<ffi::PyObject>) -> Self {
        Self(pointer)
    }

    /// Another reference to the same object.
    #[inline]
    pub(crate) fn clone_ref(&self, _py: Python<'_>) -> Self {
        self.own()
    }

    /// The same reference for PyO3.
    #[inline]
    pub(crate) fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        // SAFETY: the reference is handed over.
        unsafe { Bound::from_owned_ptr(py, self.into_ptr()) }
    }

    /// Gives the reference to the caller, as a pointer.
    #[inline]
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        ManuallyDrop::new(self).0.as_ptr()
    }

    #[inline]
    pub(crate) fn none() -> Self {
        none().own()
    }

    /// The same reference for PyO3.
    pub(crate) fn into_py(self) -> Py<PyAny> {
        // SAFETY: rule 1; the reference is handed over.
        unsafe { Bound::from_owned_ptr(Python::assume_attached(), self.into_ptr()) }.unbind()
    }

    #[inline]
    pub(crate) fn boolean(value: bool) -> Self {
        boolean(value).own()
    }
}

// SAFETY: rule 1: wherever it is sent, it is used and dropped on attached threads only.
unsafe impl Send for Owned {}

impl Deref for Owned {
    type Target = Object;

    #[inline]
    fn deref(&self) -> &Object {
        // SAFETY: we own a reference.
        unsafe { Object::from_ptr(self.0.as_ptr()) }
    }
}

impl Clone for Owned {
    #[inline]
    fn clone(&self) -> Self {
        self.own()
    }
}

impl Drop for Owned {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: rule 1, and the reference is ours.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
    }
}

impl<T> From<Py<T>> for Owned {
    fn from(object: Py<T>) -> Self {
        // SAFETY: a `Py` is never null and its reference is handed over.
        Self(unsafe { NonNull::new_unchecked(object.into_ptr()) })
    }
}

impl<'py, T> From<Bound<'py, T>> for Owned {
    fn from(object: Bound<'py, T>) -> Self {
        // SAFETY: as above.
        Self(unsafe { NonNull::new_unchecked(object.into_ptr()) })
    }
}

/// A field that holds an object or nothing.
#[repr(transparent)]
pub(crate) struct Slot(Cell<Option<Owned>>);

impl Slot {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    #[inline]
    fn pointer(&self) -> *mut ffi::PyObject {
        // SAFETY: `Option<Owned>` has the layout of a pointer that may be null; it is read, not moved.
        unsafe { *self.0.as_ptr().cast::<*mut ffi::PyObject>() }
    }

    /// What the slot holds, lent.
    ///
    /// # Safety
    /// Nothing runs while the result is used that could empty the slot.
    #[inline]
    pub(crate) unsafe fn peek(&self) -> Option<&Object> {
        let pointer = self.pointer();
        // SAFETY: the slot owns a reference to what it points to, and keeps it for so long.
        (!pointer.is_null()).then(|| unsafe { Object::from_ptr(pointer) })
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Owned> {
        let pointer = self.pointer();
        // SAFETY: the slot owns a reference to what it points to.
        (!pointer.is_null()).then(|| unsafe { Object::from_ptr(pointer) }.own())
    }

    /// What the slot holds, or `None` the Python object.
    #[inline]
    pub(crate) fn get_or_none(&self) -> Owned {
        self.get().unwrap_or_else(Owned::none)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.pointer().is_null()
    }

    #[inline]
    pub(crate) fn holds(&self, object: &Object) -> bool {
        std::ptr::eq(self.pointer(), object.as_ptr())
    }

    /// Whether two slots hold the same object.
    #[inline]
    pub(crate) fn same(&self, other: &Slot) -> bool {
        self.pointer() == other.pointer()
    }

    #[inline]
    pub(crate) fn set(&self, object: Owned) {
        drop(self.0.replace(Some(object)));
    }

    #[inline]
    pub(crate) fn put(&self, object: Option<Owned>) {
        drop(self.0.replace(object));
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Owned> {
        self.0.take()
    }

    #[inline]
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }

    /// Shows the object to the collector, for a class of PyO3's.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: the collector only looks.
        unsafe { self.peek() }.map_or(Ok(()), |held| held.traverse(visit))
    }

    /// Shows the object to the collector.
    #[inline]
    pub(crate) fn visit(&self, visit: Visit) -> c_int {
        visit.pointer(self.pointer())
    }
}

/// The collector's visitor.
#[derive(Clone, Copy)]
pub(crate) struct Visit {
    pub(crate) function: ffi::visitproc,
    pub(crate) argument: *mut c_void,
}

impl Visit {
    /// Shows what a field holds that owns a reference, or is null.
    #[inline]
    pub(crate) fn pointer(self, pointer: *mut ffi::PyObject) -> c_int {
        // SAFETY: called during a traversal, with an object that the holder owns.
        if pointer.is_null() { 0 } else { unsafe { (self.function)(pointer, self.argument) } }
    }

    /// Shows `object`, to which the caller owns a reference; not 0 ends the traversal.
    #[inline]
    pub(crate) fn object(self, object: &Object) -> c_int {
        self.pointer(object.as_ptr())
    }

    /// Shows what each of the slots holds.
    #[inline]
    pub(crate) fn slots<'a>(self, slots: impl IntoIterator<Item = &'a Slot>) -> c_int {
        for slot in slots {
            let status = slot.visit(self);
            if status != 0 {
                return status;
            }
        }
        0
    }
}

//! An owned reference without the bookkeeping that `Py`'s destructor does.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

/// An owned reference that is released where it is dropped, with no look at whether the thread is attached.
///
/// Whoever holds one drops it on an attached thread: queue entries, which are run and cleared by methods of the loop.
#[derive(Debug)]
pub(crate) struct Owned(NonNull<ffi::PyObject>);

// SAFETY: a reference count is touched on attached threads only: see the type.
unsafe impl Send for Owned {}

impl Owned {
    /// Takes over a reference.
    ///
    /// # Safety
    /// * `pointer` is a valid object and the caller owns one reference to it, which it gives away.
    pub(crate) unsafe fn from_raw(pointer: NonNull<ffi::PyObject>) -> Self {
        Self(pointer)
    }

    /// Takes over what a call returned: NULL means that it raised.
    ///
    /// # Safety
    /// * `pointer` is NULL with an exception set, or a new reference.
    pub(crate) unsafe fn from_call(py: Python<'_>, pointer: *mut ffi::PyObject) -> PyResult<Self> {
        NonNull::new(pointer).map(Self).ok_or_else(|| PyErr::fetch(py))
    }

    /// The object, borrowed.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference away.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut ffi::PyObject {
        let pointer = self.0.as_ptr();
        std::mem::forget(self);
        pointer
    }

    /// Shows the object to the collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: the collector runs attached; the reference stays ours, `ManuallyDrop` gives nothing up.
        let object = unsafe { Bound::from_owned_ptr(Python::assume_attached(), self.0.as_ptr()).unbind() };
        let object = ManuallyDrop::new(object);
        visit.call(&*object)
    }

    /// Another reference to the same object.
    #[inline]
    pub(crate) fn clone_ref(&self, _py: Python<'_>) -> Self {
        // SAFETY: valid as long as `self` is; the new reference is the clone's.
        unsafe { ffi::Py_INCREF(self.0.as_ptr()) };
        Self(self.0)
    }

    /// The object as PyO3 knows it.
    #[inline]
    pub(crate) fn bind<'a, 'py>(&'a self, py: Python<'py>) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: valid as long as `self` is.
        unsafe { Borrowed::from_ptr(py, self.0.as_ptr()) }
    }
}

impl From<Py<PyAny>> for Owned {
    fn from(object: Py<PyAny>) -> Self {
        // SAFETY: a `Py` is never NULL and owns its reference.
        Self(unsafe { NonNull::new_unchecked(object.into_ptr()) })
    }
}

impl Drop for Owned {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: our reference, given up once, on an attached thread: see the type.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
    }
}

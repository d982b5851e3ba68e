//! What Python calls: functions, methods and attributes written as Rust functions that give an `Outcome`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::object::{Object, Outcome, Owned, Raised};
use super::{call, raised, recursion};

/// Runs what a C function stands for that may raise: a panic becomes an exception, for it must not pass through C, the end of the
/// interpreter does not unwind it, whichever thread it is called in, and the stack has room for it.
#[inline]
pub(crate) fn guard<T>(failure: T, body: impl FnOnce() -> Outcome<T>) -> T {
    guard_always(failure, || {
        recursion::check_stack()?;
        body()
    })
}

/// `guard` for what must be done however little of the stack is left: the release of an instance, and a look at what it holds.
#[inline]
pub(crate) fn guard_always<T>(failure: T, body: impl FnOnce() -> Outcome<T>) -> T {
    super::outlive_interpreter();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(result)) => result,
        Ok(Err(Raised)) => failure,
        Err(payload) => {
            let Raised = raised::panicked(&*payload);
            failure
        }
    }
}

/// `guard` for functions that return an object.
#[inline]
pub(crate) fn guard_object(body: impl FnOnce() -> Outcome) -> *mut ffi::PyObject {
    guard(std::ptr::null_mut(), || body().map(Owned::into_ptr))
}

/// Adds a method to a class.
///
/// # Safety
/// The method is one for instances of `kind`.
pub(crate) unsafe fn add_method(kind: *mut ffi::PyTypeObject, method: ffi::PyMethodDef) -> Outcome<()> {
    let method = Box::leak(Box::new(method));
    // SAFETY: a type and a definition that live for ever.
    unsafe {
        let descriptor = Owned::from_new(ffi::PyDescr_NewMethod(kind, method))?;
        call::check(ffi::PyObject_SetAttrString(kind.cast(), method.ml_name, descriptor.as_ptr()))
    }
}

/// Adds an attribute to a class.
///
/// # Safety
/// The attribute is one of instances of `kind`.
pub(crate) unsafe fn add_attribute(kind: *mut ffi::PyTypeObject, attribute: ffi::PyGetSetDef) -> Outcome<()> {
    let attribute = Box::leak(Box::new(attribute));
    // SAFETY: a type and a definition that live for ever.
    unsafe {
        let descriptor = Owned::from_new(ffi::PyDescr_NewGetSet(kind, attribute))?;
        call::check(ffi::PyObject_SetAttrString(kind.cast(), attribute.name, descriptor.as_ptr()))
    }
}

/// `object.__setattr__`, and `object.__delattr__` without a value.
pub(crate) fn generic_set_attribute(
    this: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: attached; live objects, or null for `del`.
    let status = unsafe { ffi::PyObject_GenericSetAttr(this.as_ptr(), name.as_ptr(), value) };
    if status < 0 { Err(PyErr::fetch(this.py())) } else { Ok(()) }
}

/// The description of a function, which the interpreter refers to for ever.
pub(crate) struct Definition(pub(crate) ffi::PyMethodDef);

// SAFETY: it is only read.
unsafe impl Send for Definition {}
// SAFETY: as above.
unsafe impl Sync for Definition {}

impl Definition {
    /// The function, bound to an object.
    pub(crate) fn bind(&'static self, this: &Object) -> Outcome {
        bind_function(std::ptr::from_ref(&self.0).cast_mut(), this)
    }
}

/// A function bound to an object.
fn bind_function(definition: *mut ffi::PyMethodDef, this: &Object) -> Outcome {
    // SAFETY: attached; a definition that lives for ever, of a function for objects like this.
    unsafe { Owned::from_new(ffi::PyCFunction_New(definition, this.as_ptr())) }
}

/// A method without arguments: `fn(&Object) -> Outcome`.
macro_rules! method_none {
    ($name:literal, $function:expr, $doc:literal) => {{
        unsafe extern "C" fn raw(
            this: *mut pyo3::ffi::PyObject,
            _: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the interpreter passes a live object of the type that the method belongs to.
            $crate::ffi::method::guard_object(|| $function(unsafe { $crate::ffi::cast(this) }))
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer { PyCFunction: raw },
            ml_flags: pyo3::ffi::METH_NOARGS,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A method with one argument: `fn(&Object, &Object) -> Outcome`.
macro_rules! method_one {
    ($name:literal, $function:expr, $doc:literal) => {{
        unsafe extern "C" fn raw(
            this: *mut pyo3::ffi::PyObject,
            argument: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the interpreter passes live objects, the first of the type that the method belongs to.
            $crate::ffi::method::guard_object(|| unsafe {
                $function($crate::ffi::cast(this), $crate::ffi::cast(argument))
            })
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer { PyCFunction: raw },
            ml_flags: pyo3::ffi::METH_O,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A method with any arguments: `fn(&Object, &Arguments) -> Outcome`.
macro_rules! method_fast {
    ($name:literal, $function:expr, $doc:expr) => {{
        unsafe extern "C" fn raw(
            this: *mut pyo3::ffi::PyObject,
            values: *const *mut pyo3::ffi::PyObject,
            positional: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            $crate::ffi::method::guard_object(|| {
                // SAFETY: what the interpreter passes to a function of this kind.
                let arguments = unsafe { $crate::ffi::arguments::Arguments::new(values, positional, names) };
                // SAFETY: the object that the method belongs to.
                $function(unsafe { $crate::ffi::cast(this) }, &arguments)
            })
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: raw },
            ml_flags: pyo3::ffi::METH_FASTCALL | pyo3::ffi::METH_KEYWORDS,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// An attribute: `fn(&Object) -> Outcome`, and after a semicolon its text, or for writing `fn(&Object, Option<&Object>) -> Outcome<()>`.
macro_rules! attribute {
    ($name:literal, $get:expr) => {
        $crate::ffi::method::attribute!(@ $name, $get, None, std::ptr::null())
    };
    ($name:literal, $get:expr; $doc:literal) => {
        $crate::ffi::method::attribute!(@ $name, $get, None, $doc.as_ptr())
    };
    ($name:literal, $get:expr, $set:expr) => {{
        unsafe extern "C" fn raw_set(
            this: *mut pyo3::ffi::PyObject,
            value: *mut pyo3::ffi::PyObject,
            _: *mut std::os::raw::c_void,
        ) -> std::os::raw::c_int {
            $crate::ffi::method::guard(-1, || {
                // SAFETY: a live value, or null for `del`.
                let value = (!value.is_null()).then(|| unsafe { $crate::ffi::cast(value) });
                // SAFETY: the object that the attribute belongs to.
                $set(unsafe { $crate::ffi::cast(this) }, value).map(|()| 0)
            })
        }
        $crate::ffi::method::attribute!(@ $name, $get, Some(raw_set), std::ptr::null())
    }};
    (@ $name:literal, $get:expr, $set:expr, $doc:expr) => {{
        unsafe extern "C" fn raw_get(
            this: *mut pyo3::ffi::PyObject,
            _: *mut std::os::raw::c_void,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the object that the attribute belongs to.
            $crate::ffi::method::guard_object(|| $get(unsafe { $crate::ffi::cast(this) }))
        }
        pyo3::ffi::PyGetSetDef {
            name: $name.as_ptr(),
            get: Some(raw_get),
            set: $set,
            doc: $doc,
            closure: std::ptr::null_mut(),
        }
    }};
}

pub(crate) use {attribute, method_fast, method_none, method_one};

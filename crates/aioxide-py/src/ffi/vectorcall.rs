//! Methods that take their arguments as CPython passes them: no tuple, no dictionary.
//!
//! PyO3 builds a tuple for `*args` and takes the slow protocol for `**kwargs`; `call_soon` and its like are called once per
//! callback, so they are put into the finished class as method descriptors over the functions that `method!` writes.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

use super::Owned;

/// The arguments of one call, borrowed from the caller.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a> {
    positional: &'a [*mut ffi::PyObject],
    keywords: &'a [*mut ffi::PyObject],
    names: *mut ffi::PyObject,
    lifetime: PhantomData<&'a ()>,
}

/// The arguments of a method `f(leading..., *rest, context=None)`.
pub(crate) struct Split<'a, const N: usize> {
    pub(crate) leading: [*mut ffi::PyObject; N],
    pub(crate) rest: &'a [*mut ffi::PyObject],
    /// NULL when absent or None.
    pub(crate) context: *mut ffi::PyObject,
}

impl<'a> Arguments<'a> {
    /// # Safety
    /// * The three come from a call by the METH_FASTCALL | METH_KEYWORDS convention that lasts for `'a`.
    unsafe fn new(
        arguments: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Self {
        if arguments.is_null() {
            return Self {
                positional: &[],
                keywords: &[],
                names: std::ptr::null_mut(),
                lifetime: PhantomData,
            };
        }
        let named = if names.is_null() {
            0
        } else {
            // SAFETY: the convention: a tuple of the names, or NULL.
            unsafe { ffi::PyTuple_GET_SIZE(names) }
        };
        // SAFETY: the convention: `count` positional values, then one for each name.
        let all = unsafe { std::slice::from_raw_parts(arguments, (count + named) as usize) };
        let (positional, keywords) = all.split_at(count as usize);
        Self { positional, keywords, names, lifetime: PhantomData }
    }

    /// Parses `function(leading..., *rest, context=None)`.
    #[inline]
    pub(crate) fn split<const N: usize>(
        self,
        py: Python<'_>,
        function: &str,
        leading: [&str; N],
    ) -> PyResult<Split<'a, N>> {
        if self.names.is_null()
            && let Some((first, rest)) = self.positional.split_first_chunk::<N>()
        {
            return Ok(Split { leading: *first, rest, context: std::ptr::null_mut() });
        }
        self.split_keywords(py, function, leading)
    }

    #[cold]
    #[inline(never)]
    fn missing<T>(function: &str, name: &str) -> PyResult<T> {
        Err(PyTypeError::new_err(format!(
            "EventLoop.{function}() missing 1 required positional argument: '{name}'"
        )))
    }

    fn split_keywords<const N: usize>(
        self,
        py: Python<'_>,
        function: &str,
        leading: [&str; N],
    ) -> PyResult<Split<'a, N>> {
        let given = self.positional.len().min(N);
        let mut split = Split {
            leading: [std::ptr::null_mut(); N],
            rest: &self.positional[given..],
            context: std::ptr::null_mut(),
        };
        split.leading[..given].copy_from_slice(&self.positional[..given]);
        for (index, value) in self.keywords.iter().enumerate() {
            // SAFETY: the convention: a tuple of strings, one for each keyword value.
            let name = unsafe {
                Borrowed::from_ptr(py, ffi::PyTuple_GET_ITEM(self.names, index as ffi::Py_ssize_t))
            };
            let context = pyo3::intern!(py, "context");
            if name.is(context) || name.eq(context)? {
                // SAFETY: the singleton, compared by address.
                if *value != unsafe { ffi::Py_None() } {
                    split.context = *value;
                }
                continue;
            }
            let name = name.cast::<PyString>()?;
            let text = name.to_str()?;
            let place = leading.iter().position(|known| *known == text).ok_or_else(|| {
                PyTypeError::new_err(format!(
                    "EventLoop.{function}() got an unexpected keyword argument '{text}'"
                ))
            })?;
            if !split.leading[place].is_null() {
                return Err(PyTypeError::new_err(format!(
                    "EventLoop.{function}() got multiple values for argument '{text}'"
                )));
            }
            split.leading[place] = *value;
        }
        match split.leading.iter().position(|value| value.is_null()) {
            Some(place) => Self::missing(function, leading[place]),
            None => Ok(split),
        }
    }
}

/// Runs the body of a method that CPython calls directly; an error becomes the exception, a panic as well.
///
/// # Safety
/// * As [`Arguments::new`]; the thread is attached.
pub(crate) unsafe fn enter(
    slf: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
    body: for<'a, 'py> fn(Borrowed<'a, 'py, PyAny>, Arguments<'a>) -> PyResult<Owned>,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    let py = unsafe { Python::assume_attached() };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise; the receiver lives as long as the call.
        let (slf, arguments) =
            unsafe { (Borrowed::from_ptr(py, slf), Arguments::new(arguments, count, names)) };
        body(slf, arguments)
    }));
    match outcome {
        Ok(Ok(value)) => value.into_raw(),
        Ok(Err(error)) => {
            error.restore(py);
            std::ptr::null_mut()
        }
        Err(_payload) => {
            PanicException::new_err("a method of aioxide's event loop panicked").restore(py);
            std::ptr::null_mut()
        }
    }
}

/// Writes the C function for a body `fn(Borrowed<PyAny>, Arguments) -> PyResult<Owned>`.
macro_rules! method {
    ($body:path) => {{
        unsafe extern "C" fn called(
            slf: *mut pyo3::ffi::PyObject,
            arguments: *const *mut pyo3::ffi::PyObject,
            count: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: CPython calls this by the convention that the flags announce, attached.
            unsafe { $crate::ffi::vectorcall::enter(slf, arguments, count, names, $body) }
        }
        called as pyo3::ffi::PyCFunctionFastWithKeywords
    }};
}
pub(crate) use method;

/// Puts a method into a class, in place of the one that it may have.
pub(crate) fn add_method(
    class: &Bound<'_, PyType>,
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> PyResult<()> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }));
    let py = class.py();
    // SAFETY: the definition lives for ever; the descriptor is a new reference or NULL with an exception.
    let descriptor =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition))? };
    class.setattr(PyString::intern(py, &name.to_string_lossy()), descriptor)
}

/// A new tuple of borrowed values.
pub(crate) fn tuple(py: Python<'_>, values: &[*mut ffi::PyObject]) -> PyResult<Py<PyTuple>> {
    // SAFETY: every value is valid for the call; each gets a reference of its own.
    let bound = values.iter().map(|value| unsafe { Borrowed::<PyAny>::from_ptr(py, *value) });
    Ok(PyTuple::new(py, bound.collect::<Vec<_>>())?.unbind())
}

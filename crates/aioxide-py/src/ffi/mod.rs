//! CPython as typed references: raw calls that return results. It knows nothing of asyncio.
//!
//! ```text
//!   a call from Python ──> method (macros, guard) ──> arguments ──> fn(&T, ...) -> Outcome ──> an object, or the exception that is set
//!   a call of Python   ──> call, coroutine, raised ──> Owned, or Err(Raised)
//!
//!   object, line, row         references, fields that hold one or many        kind, method, unbound, function   types, methods, what they look like
//!   holder, ancestor          instances with a struct behind the header       layout, slot                      fields of classes written in Python
//!   instance, free_list, end  how instances are made, kept and taken apart    exports                           how a room makes itself known
//!   stock                     classes and methods before anybody changes them context, threads, recursion, audit   the rest of the interpreter
//!   bytes, memory, recycled, reused   what is received and sent
//! ```

pub(crate) mod address_hasher;
pub(crate) mod ancestor;
pub(crate) mod arguments;
pub(crate) mod audit;
pub(crate) mod bytes;
pub(crate) mod call;
mod confined;
pub(crate) mod context;
pub(crate) mod coroutine;
pub(crate) mod end;
pub(crate) mod exports;
pub(crate) mod free_list;
pub(crate) mod function;
pub(crate) mod holder;
pub(crate) mod instance;
pub(crate) mod kind;
pub(crate) mod layout;
mod line;
mod memory;
pub(crate) mod method;
pub(crate) mod number;
mod object;
pub(crate) mod raised;
pub(crate) mod recursion;
pub(crate) mod recycled;
pub(crate) mod reused;
pub(crate) mod row;
pub(crate) mod slot;
pub(crate) mod stock;
pub(crate) mod text;
mod threads;
pub(crate) mod unbound;

pub(crate) use confined::Confined;
pub(crate) use context::{copy_context, copy_of_context, enter_context, exit_context};
pub(crate) use line::Line;
pub(crate) use memory::{Buffer, Chunk, bytes_content, receive_bytes, receive_into};
pub(crate) use object::{Object, Outcome, Owned, Raised, Slot, Visit, boolean, none};
pub(crate) use slot::{fast_method, slot_attribute, slot_method};
pub(crate) use threads::{
    accept, close, close_here, connect, detached, go_on_outliving_interpreter, outlive_interpreter,
    this_thread,
};

/// A type that is an `Object` of a certain class, and nothing more.
///
/// # Safety
/// `repr(transparent)` over [`Object`].
pub(crate) unsafe trait Class {}

// SAFETY: it is the thing itself.
unsafe impl Class for Object {}

/// The object behind a pointer, as one of its class.
///
/// # Safety
/// Not null, alive for `'a`, and an instance of the class.
#[inline]
pub(crate) unsafe fn cast<'a, T: Class>(pointer: *mut pyo3::ffi::PyObject) -> &'a T {
    // SAFETY: the caller's promise, and the trait's.
    unsafe { &*pointer.cast::<T>() }
}

/// The data of an instance of a class that PyO3 made.
///
/// # Safety
/// The object is one.
#[inline]
pub(crate) unsafe fn frozen<T>(object: &Object) -> &T
where
    T: pyo3::PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync,
{
    // SAFETY: the caller's promise; a frozen class's data lives where it is as long as the object.
    unsafe {
        let bound = pyo3::Borrowed::<pyo3::PyAny>::from_ptr(python(object), object.as_ptr());
        let data: *const T = bound.cast_unchecked::<T>().get();
        &*data
    }
}

/// The interpreter's token: whoever holds an object is attached.
#[inline]
pub(crate) fn python(_witness: &Object) -> pyo3::Python<'_> {
    // SAFETY: rule 1 of `object`.
    unsafe { pyo3::Python::assume_attached() }
}

/// Whether this thread is attached to the interpreter.
#[inline]
pub(crate) fn is_attached() -> bool {
    // SAFETY: may be called at any time.
    unsafe { pyo3::ffi::PyGILState_Check() != 0 }
}

/// Whether the interpreter is shutting down.
pub(crate) fn is_finalizing() -> bool {
    // SAFETY: may be called at any time.
    unsafe { pyo3::ffi::Py_IsInitialized() == 0 }
}

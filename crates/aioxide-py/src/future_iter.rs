//! What `await future` iterates over: yields the future once if it is pending, then gives its result.

use std::cell::Cell;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use crate::ffi::instance::{self, FreeList};
use crate::ffi::kind::{Arguments, KindBuilder, guard, guard_object, method_fast, method_none, method_one};
use crate::ffi::{Class, Confined, Object, Outcome, Owned, Slot, Visit, cast, coroutine, raised};
use crate::future::Future;

struct Data {
    future: Slot,
    gave_value: Cell<bool>,
}

/// An instance of the iterator.
#[repr(transparent)]
struct Iter(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Iter {}

impl std::ops::Deref for Iter {
    type Target = Data;

    #[inline]
    fn deref(&self) -> &Data {
        // SAFETY: written by `make`.
        unsafe { &*self.0.as_ptr().byte_add(size_of::<c::PyObject>()).cast::<Data>() }
    }
}

static KIND: Confined<Cell<*mut c::PyTypeObject>> = Confined::new(Cell::new(std::ptr::null_mut()));
static FREE: FreeList = FreeList::new();

/// An iterator over `future`.
#[inline]
pub(crate) fn make(future: &Future) -> Outcome {
    future.loop_or_raise()?;
    // SAFETY: the type that the list is for.
    unsafe {
        FREE.make(KIND.get(), true, |instance| {
            let data = Data { future: Slot::new(), gave_value: Cell::new(false) };
            data.future.set(future.own());
            instance.byte_add(size_of::<c::PyObject>()).cast::<Data>().write(data);
        })
    }
}

enum Next {
    Yield(Owned),
    Return(Owned),
}

fn advance(this: &Iter) -> Outcome<Next> {
    let Some(object) = this.future.get() else { return Ok(Next::Return(Owned::none())) };
    // SAFETY: `make` put a future of ours there.
    let future: &Future = unsafe { cast(object.as_ptr()) };
    if !future.is_done() {
        if future.blocking.replace(true) {
            return Err(raised::raise(raised::runtime_error(), "await wasn't used with future"));
        }
        return Ok(Next::Yield(object));
    }
    this.future.clear();
    future.result_or_raise().map(Next::Return)
}

unsafe extern "C" fn iternext(this: *mut c::PyObject) -> *mut c::PyObject {
    guard(std::ptr::null_mut(), || {
        // SAFETY: an instance of ours.
        let this: &Iter = unsafe { cast(this) };
        match advance(this)? {
            Next::Yield(future) => Ok(future.into_ptr()),
            Next::Return(value) => {
                this.gave_value.set(!value.is_none());
                Ok(coroutine::finish_iteration(value))
            }
        }
    })
}

unsafe extern "C" fn am_send(
    this: *mut c::PyObject,
    _: *mut c::PyObject,
    result: *mut *mut c::PyObject,
) -> c::PySendResult {
    guard(c::PySendResult::PYGEN_ERROR, || {
        // SAFETY: an instance of ours, and a place for the result.
        let (value, status) = match advance(unsafe { cast(this) })? {
            Next::Yield(future) => (future, c::PySendResult::PYGEN_NEXT),
            Next::Return(value) => (value, c::PySendResult::PYGEN_RETURN),
        };
        // SAFETY: as above.
        unsafe { *result = value.into_ptr() };
        Ok(status)
    })
}

fn send(this: &Iter, _: &Object) -> Outcome {
    match advance(this)? {
        Next::Yield(future) => Ok(future),
        Next::Return(value) => {
            this.gave_value.set(!value.is_none());
            Err(coroutine::raise_stop(value))
        }
    }
}

/// `throw(type, value=None, traceback=None)`.
fn throw(this: &Iter, arguments: &Arguments<'_>) -> Outcome {
    let exception = raised::from_throw(arguments.positional())?;
    this.future.clear();
    Err(raised::put_back(exception))
}

fn close(this: &Iter) -> Outcome {
    this.future.clear();
    Ok(Owned::none())
}

unsafe extern "C" fn iterate(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: a live object.
    guard_object(|| Ok(unsafe { cast::<Object>(this) }.own()))
}

unsafe extern "C" fn traverse(
    this: *mut c::PyObject,
    function: c::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: an instance of ours; it owns a reference to its type, which lives on the heap.
    unsafe {
        let visit = Visit { function, argument };
        let status = visit.object(cast::<Object>(c::Py_TYPE(this).cast()));
        if status != 0 { status } else { cast::<Iter>(this).future.visit(visit) }
    }
}

unsafe extern "C" fn clear(this: *mut c::PyObject) -> c_int {
    // SAFETY: an instance of ours.
    unsafe { cast::<Iter>(this) }.future.clear();
    0
}

unsafe extern "C" fn dealloc(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: the last reference to an instance of ours is gone.
        unsafe {
            instance::untrack(this);
            let iter: &Iter = cast(this);
            iter.future.clear();
            if iter.gave_value.get() {
                coroutine::forget_value();
            }
            FREE.release(this, true);
        }
        Ok(())
    });
}

/// Makes the type.
pub(crate) fn make_kind() -> Outcome<()> {
    let builder = KindBuilder::new()
        .slot(c::Py_tp_iter, iterate as *mut c_void)
        .slot(c::Py_tp_iternext, iternext as *mut c_void)
        .slot(c::Py_am_send, am_send as *mut c_void)
        .slot(c::Py_tp_traverse, traverse as *mut c_void)
        .slot(c::Py_tp_clear, clear as *mut c_void)
        .slot(c::Py_tp_dealloc, dealloc as *mut c_void)
        .methods([
            method_one!(c"send", send, c"Resume."),
            method_fast!(c"throw", throw, c"Raise an exception at the await."),
            method_none!(c"close", close, c"End the iteration."),
        ]);
    let size = size_of::<c::PyObject>() + size_of::<Data>();
    // SAFETY: every slot is of its type, and the data lies behind the header.
    let kind = unsafe { builder.final_type().build(c"aioxide.FutureIter", size, None)? };
    KIND.set(kind.as_ptr().cast());
    // The type lives as long as the process: its pointer is kept above.
    let _ = kind.into_ptr();
    Ok(())
}

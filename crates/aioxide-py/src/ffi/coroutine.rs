//! Resuming coroutines, and ending an iteration with a value. What we give to `await` ourselves is in `awaitable`.

#[cfg(Py_3_12)]
use std::cell::Cell;

use pyo3::ffi;

#[cfg(Py_3_12)]
use super::Confined;
use super::object::{Object, Outcome, Owned, Raised, none};
use super::text::Word;
use super::{call, raised, recursion};

/// What a coroutine did when it was resumed.
pub(crate) enum Resumed {
    Yielded(Owned),
    Returned(Owned),
}

/// `coroutine.send(None)`.
///
/// A native coroutine counts as the call of a function that it is; anything else may lead back here uncounted.
#[inline]
pub(crate) fn send(coroutine: &Object) -> Outcome<Resumed> {
    if is_native(coroutine) {
        send_uncounted(coroutine)
    } else {
        recursion::nested(|| send_uncounted(coroutine))
    }
}

#[inline]
fn send_uncounted(coroutine: &Object) -> Outcome<Resumed> {
    let mut result = std::ptr::null_mut();
    // SAFETY: attached; the result is a new reference unless an error is returned.
    let status = unsafe { ffi::PyIter_Send(coroutine.as_ptr(), none().as_ptr(), &mut result) };
    // SAFETY: as above; null stands for an error.
    let result = unsafe { Owned::from_new(result) }?;
    match status {
        ffi::PySendResult::PYGEN_RETURN => Ok(Resumed::Returned(result)),
        _ => Ok(Resumed::Yielded(result)),
    }
}

/// `coroutine.throw(exception)`.
pub(crate) fn throw(coroutine: &Object, exception: &Object, name: &Object) -> Outcome<Resumed> {
    match call::call_method(name, &[coroutine, exception], None) {
        Ok(result) => Ok(Resumed::Yielded(result)),
        Err(raised) if raised::matches(raised::stop_iteration()) => {
            let stop = raised::take(raised);
            static VALUE: Word = Word::new(c"value");
            Ok(Resumed::Returned(call::get_attribute(&stop, VALUE.get()?)?))
        }
        Err(raised) => Err(raised),
    }
}

/// Whether it is a native coroutine (`async def`).
#[inline]
pub(crate) fn is_native(object: &Object) -> bool {
    // SAFETY: the type lives for ever.
    std::ptr::eq(object.kind(), &raw mut ffi::PyCoro_Type)
}

/// What `await object` iterates over.
pub(crate) fn start_await(object: &Object) -> Outcome {
    if is_native(object) {
        static AWAITED: Word = Word::new(c"cr_await");
        if !call::get_attribute(object, AWAITED.get()?)?.is_none() {
            let message = "coroutine is being awaited already";
            return Err(raised::raise(raised::runtime_error(), message));
        }
        return Ok(object.own());
    }
    // SAFETY: attached; a slot of a live object's type, which returns a new reference or null with an exception.
    let iterator = unsafe {
        let methods = (*object.kind()).tp_as_async;
        let function = if methods.is_null() { None } else { (*methods).am_await };
        match function {
            Some(function) => Owned::from_new(function(object.as_ptr()))?,
            None if is_generator_coroutine(object) => object.own(),
            None => {
                let message =
                    format!("object {} can't be used in 'await' expression", super::text::type_name(object));
                return Err(raised::raise(raised::type_error(), &message));
            }
        }
    };
    // SAFETY: attached; a live object.
    if unsafe { ffi::PyIter_Check(iterator.as_ptr()) } == 0 {
        let kind = super::text::type_name(&iterator);
        let message = format!("__await__() returned non-iterator of type '{kind}'");
        return Err(raised::raise(raised::type_error(), &message));
    }
    Ok(iterator)
}

/// Whether it is a generator that `types.coroutine` made awaitable.
fn is_generator_coroutine(object: &Object) -> bool {
    /// `inspect.CO_ITERABLE_COROUTINE`.
    const ITERABLE_COROUTINE: i64 = 0x100;
    let flags = || {
        let code = call::get_attribute(object, &*call::interned(c"gi_code")?)?;
        call::to_integer(&*call::get_attribute(&code, &*call::interned(c"co_flags")?)?)
    };
    is_generator(object)
        && flags().unwrap_or_else(|raised| {
            raised::clear(raised);
            0
        }) & ITERABLE_COROUTINE
            != 0
}

/// Whether it is a generator.
pub(crate) fn is_generator(object: &Object) -> bool {
    // SAFETY: attached.
    unsafe { ffi::PyGen_CheckExact(object.as_ptr()) != 0 }
}

/// One StopIteration that is used again and again while nobody else holds it: making one costs more than an await.
#[cfg(Py_3_12)]
static STOP: Confined<Cell<*mut ffi::PyObject>> = Confined::new(Cell::new(std::ptr::null_mut()));

/// Ends an iteration: the null that `tp_iternext` returns, with StopIteration(value) unless the value is `None`.
pub(crate) fn finish_iteration(value: Owned) -> *mut ffi::PyObject {
    if !value.is_none() {
        stop_with(value);
    }
    std::ptr::null_mut()
}

/// Raises StopIteration(value), for methods, whose null must come with an exception.
pub(crate) fn raise_stop(value: Owned) -> Raised {
    if value.is_none() {
        return raised::raise_value(raised::stop_iteration(), none());
    }
    stop_with(value);
    Raised
}

#[cfg(Py_3_12)]
#[inline]
fn stop_with(value: Owned) {
    let mut stop = STOP.get();
    if stop.is_null() || !is_unused(stop) {
        match make_stop() {
            Ok(made) => stop = made,
            Err(Raised) => return,
        }
    }
    // SAFETY: the static owns a reference; another one is made for the interpreter, first: what `fill` releases may run
    // code that comes here too.
    unsafe {
        ffi::Py_INCREF(stop);
        fill(stop, value.clone().into_ptr(), value.into_ptr());
        ffi::PyErr_SetRaisedException(stop);
    }
}

/// A StopIteration with room for one argument, in the place of the one that somebody holds.
#[cfg(Py_3_12)]
#[cold]
fn make_stop() -> Outcome<*mut ffi::PyObject> {
    let made = call::call(raised::stop_iteration(), &[none()])?.into_ptr();
    let before = STOP.replace(made);
    keep_stop_tracked();
    // SAFETY: the static owned a reference, or nothing.
    unsafe { ffi::Py_XDECREF(before) };
    Ok(made)
}

/// Has the collector see what the cached exception will carry: it loses sight of a tuple that holds only `None`.
#[cfg(Py_3_12)]
pub(crate) fn keep_stop_tracked() {
    let stop = STOP.get().cast::<ffi::PyStopIterationObject>();
    // SAFETY: null, or an instance of exactly this type that the static owns, whose `args` is a tuple.
    unsafe {
        if !stop.is_null() && ffi::PyObject_GC_IsTracked((*stop).args) == 0 {
            ffi::PyObject_GC_Track((*stop).args.cast());
        }
    }
}

/// Nothing is cached here.
#[cfg(not(Py_3_12))]
pub(crate) fn keep_stop_tracked() {}

/// Lets go of the value that was last carried, once it has been read: the cache must not keep it alive.
#[cfg(Py_3_12)]
#[inline]
pub(crate) fn forget_value() {
    let stop = STOP.get();
    if stop.is_null() {
        return;
    }
    if is_held_once(stop) {
        // SAFETY: nobody else can see it.
        unsafe { fill(stop, Owned::none().into_ptr(), std::ptr::null_mut()) };
    } else {
        STOP.set(std::ptr::null_mut());
        // SAFETY: the reference of the static.
        unsafe { ffi::Py_DECREF(stop) };
    }
}

/// Nothing is cached here.
#[cfg(not(Py_3_12))]
pub(crate) fn forget_value() {}

/// Puts two references into an exception: that of its only argument, and of its value, which may be null.
///
/// # Safety
/// It was `is_held_once`, and nobody has seen it since.
#[cfg(Py_3_12)]
#[inline]
unsafe fn fill(stop: *mut ffi::PyObject, argument: *mut ffi::PyObject, value: *mut ffi::PyObject) {
    let instance = stop.cast::<ffi::PyStopIterationObject>();
    // SAFETY: an instance of exactly this type, and a tuple of one that nobody else refers to; both own what they hold.
    unsafe {
        let place = &raw mut (*(*instance).args.cast::<ffi::PyTupleObject>()).ob_item;
        let argument = place.cast::<*mut ffi::PyObject>().replace(argument);
        let value = (&raw mut (*instance).value).replace(value);
        ffi::Py_XDECREF(argument);
        ffi::Py_XDECREF(value);
    }
}

/// Whether only the cache holds it, and it was not caught: an exception that went through a frame has a traceback.
#[cfg(Py_3_12)]
#[inline]
fn is_unused(stop: *mut ffi::PyObject) -> bool {
    let instance = stop.cast::<ffi::PyStopIterationObject>();
    // SAFETY: an instance of exactly this type.
    unsafe {
        is_held_once(stop)
            && (*instance).traceback.is_null()
            && (*instance).context.is_null()
            && (*instance).cause.is_null()
            && (*instance).dict.is_null()
    }
}

/// Whether only the cache holds it and its tuple of one.
#[cfg(Py_3_12)]
#[inline]
fn is_held_once(stop: *mut ffi::PyObject) -> bool {
    // SAFETY: an instance of exactly this type; `args` is a tuple, whoever has set it.
    unsafe {
        let arguments = (*stop.cast::<ffi::PyStopIterationObject>()).args;
        ffi::Py_REFCNT(stop) == 1 && ffi::Py_REFCNT(arguments) == 1 && ffi::PyTuple_GET_SIZE(arguments) == 1
    }
}

#[cfg(not(Py_3_12))]
fn stop_with(value: Owned) {
    // SAFETY: attached; macros over a live object. A tuple or an exception would be taken for the arguments.
    let ambiguous = unsafe {
        ffi::PyTuple_Check(value.as_ptr()) != 0 || ffi::PyExceptionInstance_Check(value.as_ptr()) != 0
    };
    if !ambiguous {
        let Raised = raised::raise_value(raised::stop_iteration(), &value);
    } else if let Ok(stop) = call::call(raised::stop_iteration(), &[&value]) {
        let Raised = raised::put_back(stop);
    }
}

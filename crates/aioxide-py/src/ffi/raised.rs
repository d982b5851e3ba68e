//! The exception that is set in the thread: raised, looked at, taken out, put back.

use pyo3::ffi;
use pyo3::prelude::*;

use super::object::{Object, Outcome, Owned, Raised};

/// The built-in exception types that are compared with; they live for ever.
macro_rules! builtin {
    ($($name:ident = $symbol:ident),* $(,)?) => {$(
        pub(crate) fn $name() -> &'static Object {
            // SAFETY: set before any extension is loaded, and never released.
            unsafe { Object::from_ptr(ffi::$symbol) }
        }
    )*};
}

builtin! {
    assertion_error = PyExc_AssertionError,
    attribute_error = PyExc_AttributeError,
    base_exception = PyExc_BaseException,
    connection_reset_error = PyExc_ConnectionResetError,
    not_implemented_error = PyExc_NotImplementedError,
    recursion_error_type = PyExc_RecursionError,
    runtime_error = PyExc_RuntimeError,
    type_error = PyExc_TypeError,
    value_error = PyExc_ValueError,
    stop_async_iteration = PyExc_StopAsyncIteration,
    stop_iteration = PyExc_StopIteration,
    overflow_error = PyExc_OverflowError,
    generator_exit = PyExc_GeneratorExit,
    keyboard_interrupt = PyExc_KeyboardInterrupt,
    system_exit = PyExc_SystemExit,
}

/// Whether the exception that is set is of `kind`.
pub(crate) fn matches(kind: &Object) -> bool {
    // SAFETY: an exception is set: the callers hold a `Raised`.
    unsafe { ffi::PyErr_ExceptionMatches(kind.as_ptr()) != 0 }
}

/// Whether `exception` is of `kind`.
pub(crate) fn is_kind(exception: &Object, kind: &Object) -> bool {
    // SAFETY: attached.
    unsafe { ffi::PyErr_GivenExceptionMatches(exception.as_ptr(), kind.as_ptr()) != 0 }
}

/// Whether it is one of those that must leave the loop.
pub(crate) fn ends_the_loop(exception: &Object) -> bool {
    is_kind(exception, keyboard_interrupt()) || is_kind(exception, system_exit())
}

/// Raises `kind(message)`.
pub(crate) fn raise(kind: &Object, message: &str) -> Raised {
    if let Ok(text) = super::call::text(message) {
        // SAFETY: attached; an exception type and its argument.
        unsafe { ffi::PyErr_SetObject(kind.as_ptr(), text.as_ptr()) };
    }
    Raised
}

/// Raises what a recursion without end ends in.
pub(crate) fn recursion_error() -> Raised {
    raise(recursion_error_type(), "maximum recursion depth exceeded while calling a Python object")
}

/// Raises `kind(value)`, or `kind` with what PyErr_SetObject makes of `value`.
pub(crate) fn raise_value(kind: &Object, value: &Object) -> Raised {
    // SAFETY: attached; an exception type and its argument.
    unsafe { ffi::PyErr_SetObject(kind.as_ptr(), value.as_ptr()) };
    Raised
}

/// Forgets the exception.
pub(crate) fn clear(_raised: Raised) {
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() };
}

/// Takes the exception out, as an instance that carries its traceback.
pub(crate) fn take(_raised: Raised) -> Owned {
    #[cfg(Py_3_12)]
    // SAFETY: an exception is set, so the call returns a new reference.
    let taken = unsafe { ffi::PyErr_GetRaisedException() };
    #[cfg(not(Py_3_12))]
    // SAFETY: an exception is set; fetching returns three references, of which the value stays.
    let taken = unsafe {
        let (mut kind, mut value, mut traceback) =
            (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        ffi::PyErr_Fetch(&mut kind, &mut value, &mut traceback);
        ffi::PyErr_NormalizeException(&mut kind, &mut value, &mut traceback);
        if !traceback.is_null() && !value.is_null() {
            ffi::PyException_SetTraceback(value, traceback);
        }
        ffi::Py_XDECREF(traceback);
        ffi::Py_XDECREF(kind);
        value
    };
    // SAFETY: a reference of our own.
    unsafe { Owned::from_new(taken) }.unwrap_or_else(|_| {
        // Only if somebody held a `Raised` without an exception: a bug, made visible as what Python calls it.
        take(raise(runtime_error(), "an error was reported without an exception"))
    })
}

/// Whether it is an exception.
fn is_instance(object: &Object) -> bool {
    // SAFETY: attached; a look at the flags of a live object's type.
    unsafe { ffi::PyExceptionInstance_Check(object.as_ptr()) != 0 }
}

/// Whether it is a class of exceptions.
fn is_class(object: &Object) -> bool {
    // SAFETY: attached; a look at the flags of a live object, and of its type.
    unsafe { ffi::PyExceptionClass_Check(object.as_ptr()) != 0 }
}

/// What `Future.set_exception` makes of what it is given.
///
/// # Errors
/// TypeError for what is no exception.
pub(crate) fn settable(given: &Object) -> Outcome {
    instance(given)?.ok_or_else(|| raise(type_error(), "invalid exception object"))
}

/// What the call of the class of exceptions `kind` has made.
///
/// # Errors
/// TypeError when that is no exception.
fn checked(kind: &Object, made: Owned) -> Outcome {
    if is_instance(&made) {
        return Ok(made);
    }
    let (kind, class) = (super::call::repr(kind)?, super::call::repr(made.class())?);
    let (kind, class) = (super::text::to_string(&kind), super::text::to_string(&class));
    let message = format!("calling {kind} should have returned an instance of BaseException, not {class}");
    Err(raise(type_error(), &message))
}

/// Raises an instance again, with the traceback that it carries.
pub(crate) fn put_back(exception: Owned) -> Raised {
    debug_assert!(is_kind(&exception, base_exception()), "no exception is put back");
    #[cfg(Py_3_12)]
    // SAFETY: an exception instance; the reference is handed over.
    unsafe {
        ffi::PyErr_SetRaisedException(exception.into_ptr());
    }
    #[cfg(not(Py_3_12))]
    // SAFETY: an exception instance; three references are handed over.
    unsafe {
        let kind = exception.kind().cast::<ffi::PyObject>();
        ffi::Py_INCREF(kind);
        let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
        ffi::PyErr_Restore(kind, exception.into_ptr(), traceback);
    }
    Raised
}

/// Raises an exception that was kept as an object: `raise exception`. Unlike `put_back` it is a raise of its own, so what is
/// being handled becomes its context.
pub(crate) fn raise_object(exception: Owned) -> Raised {
    raise_value(exception.class(), &exception)
}

/// `raise given` of what a program has put where an exception belongs: an instance, a class, or a TypeError for all else.
pub(crate) fn raise_given(given: Owned) -> Raised {
    if is_instance(&given) {
        raise_object(given)
    } else if is_class(&given) {
        raise_value(&given, super::none())
    } else {
        raise(type_error(), "exceptions must derive from BaseException")
    }
}

/// Runs `body` as if inside of `except`, with the exception as the one that is being handled.
pub(crate) fn handling<T>(exception: &Object, body: impl FnOnce() -> T) -> T {
    let none = std::ptr::null_mut;
    let (mut kind, mut value, mut traceback) = (none(), none(), none());
    // SAFETY: attached; three references or nulls are got, and those that are set are taken over. From 3.11 on only the instance
    // counts.
    unsafe {
        ffi::PyErr_GetExcInfo(&mut kind, &mut value, &mut traceback);
        let carried = ffi::PyException_GetTraceback(exception.as_ptr());
        ffi::PyErr_SetExcInfo(exception.class().own().into_ptr(), exception.own().into_ptr(), carried);
    }
    let result = body();
    // SAFETY: what was got is handed back.
    unsafe { ffi::PyErr_SetExcInfo(kind, value, traceback) };
    result
}

/// The traceback that an exception carries.
pub(crate) fn traceback(exception: &Object) -> Option<Owned> {
    // SAFETY: an exception instance; a new reference or null without an exception.
    unsafe { Owned::from_new(ffi::PyException_GetTraceback(exception.as_ptr())) }.ok()
}

/// Sets or removes the traceback of an exception.
pub(crate) fn set_traceback(exception: &Object, traceback: Option<&Object>) -> Outcome<()> {
    let traceback = traceback.unwrap_or_else(|| super::object::none());
    // SAFETY: an exception instance, and a traceback or `None`.
    super::call::check(unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) })
}

/// `exception.__cause__ = exception.__context__ = cause`.
pub(crate) fn set_cause(exception: &Object, cause: &Object) {
    // SAFETY: exception instances; each call takes a reference over.
    unsafe {
        ffi::PyException_SetCause(exception.as_ptr(), cause.own().into_ptr());
        ffi::PyException_SetContext(exception.as_ptr(), cause.own().into_ptr());
    }
}

/// Whether an exception has a context.
pub(crate) fn has_context(exception: &Object) -> bool {
    // SAFETY: an exception instance; a new reference or null without an exception.
    unsafe { Owned::from_new(ffi::PyException_GetContext(exception.as_ptr())) }.is_ok()
}

/// `exception.__context__ = context`.
pub(crate) fn set_context(exception: &Object, context: Owned) {
    // SAFETY: exception instances; the call takes the reference over.
    unsafe { ffi::PyException_SetContext(exception.as_ptr(), context.into_ptr()) };
}

/// Sets the context of an exception that has none, as if it had been raised while `context` was handled.
pub(crate) fn set_context_if_none(exception: &Object, context: &Object) {
    // SAFETY: exception instances; what is got is a new reference or null, what is set is taken over.
    unsafe {
        match Owned::from_new(ffi::PyException_GetContext(exception.as_ptr())) {
            Ok(_) => {}
            Err(Raised) if exception.is(context) => {}
            Err(Raised) => ffi::PyException_SetContext(exception.as_ptr(), context.own().into_ptr()),
        }
    }
}

/// A new exception of `kind` with the arguments of `exception`, which becomes its context.
pub(crate) fn again(kind: &Object, exception: Owned) -> Outcome {
    let arguments = super::call::get_attribute(&exception, &*super::call::interned(c"args")?)?;
    // SAFETY: attached; a tuple; a new reference or null with an exception. The context's reference is given away.
    unsafe {
        let new = Owned::from_new(ffi::PyObject_CallObject(kind.as_ptr(), arguments.as_ptr()))?;
        ffi::PyException_SetContext(new.as_ptr(), exception.into_ptr());
        Ok(new)
    }
}

/// What `raise argument` raises: an instance, made if `argument` is a type. `None` when it is no exception.
pub(crate) fn instance(argument: &Object) -> Outcome<Option<Owned>> {
    if is_instance(argument) {
        return Ok(Some(argument.own()));
    }
    if !is_class(argument) {
        return Ok(None);
    }
    Ok(Some(super::call::call(argument, &[])?).filter(|made| is_instance(made)))
}

/// The same for PyO3.
pub(crate) fn to_pyerr(py: Python<'_>, _raised: Raised) -> PyErr {
    PyErr::fetch(py)
}

/// An error of PyO3, raised.
pub(crate) fn from_pyerr(error: PyErr, py: Python<'_>) -> Raised {
    error.restore(py);
    Raised
}

/// Tells the user about an exception that nobody can be given.
pub(crate) fn unraisable(_raised: Raised, where_: &Object) {
    // SAFETY: an exception is set.
    unsafe { ffi::PyErr_WriteUnraisable(where_.as_ptr()) };
}

/// Runs what is due while an object dies: whatever is raised already stays, and what is raised now is written out.
pub(crate) fn shielded(where_: &Object, body: impl FnOnce() -> Outcome<()>) {
    let pending = pending();
    if let Err(raised) = body() {
        unraisable(raised, where_);
    }
    if let Some(pending) = pending {
        let Raised = put_back(pending);
    }
}

/// A new type of exception, derived from Exception; `name` with its module.
pub(crate) fn new_kind(name: &std::ffi::CStr, doc: &std::ffi::CStr) -> Outcome {
    // SAFETY: attached; texts that end in a zero; null stands for the usual base and for no attributes.
    unsafe {
        let (base, dict) = (std::ptr::null_mut(), std::ptr::null_mut());
        Owned::from_new(ffi::PyErr_NewExceptionWithDoc(name.as_ptr(), doc.as_ptr(), base, dict))
    }
}

/// Raises what a panic stands for.
pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Raised {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    raise(runtime_error(), &format!("a bug in aioxide: {text}"))
}

/// Whether an exception is set.
pub(crate) fn occurred() -> bool {
    // SAFETY: attached.
    unsafe { !ffi::PyErr_Occurred().is_null() }
}

/// Takes out the exception that is set, if one is.
pub(crate) fn pending() -> Option<Owned> {
    occurred().then(|| take(Raised))
}

/// Forgets the exception that is set, if one is.
pub(crate) fn clear_pending() {
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() };
}

/// The exception that `throw(type, value, traceback)` stands for.
pub(crate) fn from_throw<'a>(mut arguments: impl ExactSizeIterator<Item = &'a Object>) -> Outcome {
    if !(1..=3).contains(&arguments.len()) {
        return Err(raise(type_error(), "throw() takes from 1 to 3 arguments"));
    }
    #[cfg(Py_3_12)]
    if arguments.len() > 1 {
        let message =
            c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.";
        // SAFETY: attached; a type of warning and a text.
        super::call::check(unsafe { ffi::PyErr_WarnEx(ffi::PyExc_DeprecationWarning, message.as_ptr(), 1) })?;
    }
    let kind = arguments.next().unwrap_or(super::none());
    let value = arguments.next().filter(|value| !value.is_none());
    let traceback = arguments.next().filter(|traceback| !traceback.is_none());
    if let Some(traceback) = traceback {
        // SAFETY: attached; the type lives for ever.
        if unsafe { ffi::PyTraceBack_Check(traceback.as_ptr()) } == 0 {
            return Err(raise(type_error(), "throw() third argument must be a traceback"));
        }
    }
    let exception = if is_instance(kind) {
        if value.is_some() {
            return Err(raise(type_error(), "instance exception may not have a separate value"));
        }
        kind.own()
    } else if is_class(kind) {
        match value {
            Some(value) if is_kind(value, kind) => value.own(),
            Some(value) => checked(kind, super::call::call(kind, &[value])?)?,
            None => checked(kind, super::call::call(kind, &[])?)?,
        }
    } else {
        let message = "exceptions must be classes deriving BaseException or instances of such a class";
        return Err(raise(type_error(), message));
    };
    if traceback.is_some() {
        set_traceback(&exception, traceback)?;
    }
    Ok(exception)
}

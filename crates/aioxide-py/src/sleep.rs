//! `sleep`: an awaitable with a future and a timer in it, and no coroutine frame.
//!
//! States: NEW until it is first resumed, then YIELDED (no delay: one turn of the loop) or WAITING for the future that the
//! timer will finish, then DONE. It has what the abstract class Coroutine asks for, so that `create_task` takes it.

use std::cell::Cell;
use std::os::raw::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi as c;

use crate::event_loop;
use crate::ffi::instance::{self, FreeList};
use crate::ffi::kind::{
    Arguments, Definition, KindBuilder, guard, guard_object, method_fast, method_none, method_one,
};
use crate::ffi::{
    Class, Confined, Object, Outcome, Owned, Raised, Slot, Visit, call, cast, coroutine, names, raised,
};
use crate::future::Future;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Yielded,
    Waiting,
    Done,
}

struct Data {
    state: Cell<State>,
    delay: Slot,
    result: Slot,
    future: Slot,
    handle: Slot,
}

/// An instance of the awaitable.
#[repr(transparent)]
struct Sleep(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Sleep {}

impl std::ops::Deref for Sleep {
    type Target = Data;

    fn deref(&self) -> &Data {
        // SAFETY: written by `sleep`.
        unsafe { &*self.0.as_ptr().byte_add(size_of::<c::PyObject>()).cast::<Data>() }
    }
}

static KIND: Confined<Cell<*mut c::PyTypeObject>> = Confined::new(Cell::new(std::ptr::null_mut()));
static FREE: FreeList = FreeList::new();

/// `sleep(delay, result=None)`.
fn sleep(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [delay, result] = arguments.parse("sleep", &[&names.delay, &names.result], 2)?;
    let Some(delay) = delay else {
        let message = "sleep() missing 1 required positional argument: 'delay'";
        return Err(raised::raise(raised::type_error(), message));
    };
    let data = Data {
        state: Cell::new(State::New),
        delay: Slot::new(),
        result: Slot::new(),
        future: Slot::new(),
        handle: Slot::new(),
    };
    data.delay.set(delay.own());
    data.result.put(result.map(Object::own));
    // SAFETY: the type that the list is for.
    unsafe {
        FREE.make(KIND.get(), true, |instance| {
            instance.byte_add(size_of::<c::PyObject>()).cast::<Data>().write(data);
        })
    }
}

enum Next {
    Yield(Owned),
    Return(Owned),
}

fn advance(this: &Sleep) -> Outcome<Next> {
    match this.state.get() {
        State::New => begin(this),
        State::Yielded => {
            this.state.set(State::Done);
            Ok(Next::Return(this.result.take().unwrap_or_else(Owned::none)))
        }
        State::Waiting => {
            let Some(future) = this.future.get() else { return Err(reused()) };
            if !future_is_done(&future)? {
                return Err(raised::raise(raised::runtime_error(), "await wasn't used with future"));
            }
            end(this)?;
            call::call_method(&names().result, &[&future], None).map(Next::Return)
        }
        State::Done => Err(reused()),
    }
}

fn future_is_done(future: &Object) -> Outcome<bool> {
    match Future::exact(future) {
        Some(future) => Ok(future.is_done()),
        None => call::truth(&*call::call_method(&names().done, &[future], None)?),
    }
}

fn reused() -> Raised {
    raised::raise(raised::runtime_error(), "cannot reuse already awaited coroutine")
}

fn begin(this: &Sleep) -> Outcome<Next> {
    let names = names();
    let delay = this.delay.get_or_none();
    let Some(seconds) = call::to_float(&delay)? else {
        this.state.set(State::Done);
        let message = "must be real number";
        return Err(raised::raise(raised::type_error(), message));
    };
    if seconds <= 0.0 {
        this.state.set(State::Yielded);
        return Ok(Next::Yield(Owned::none()));
    }
    this.state.set(State::Done);
    if seconds.is_nan() && cfg!(Py_3_13) {
        return Err(raised::raise(raised::value_error(), "Invalid delay: NaN (not a number)"));
    }
    let event_loop = call::call(&names.get_running_loop, &[])?;
    let future = match event_loop::state_of(&event_loop) {
        Some(state) if state.own_classes.get() => Future::make(&event_loop, state)?,
        _ => call::call_method(&names.create_future, &[&event_loop], None)?,
    };
    let result = this.result.get_or_none();
    let handle =
        call::call_method(&names.call_later, &[&event_loop, &delay, &*finisher()?, &future, &result], None)?;
    this.handle.set(handle);
    match Future::exact(&future) {
        Some(ours) => ours.blocking.set(true),
        None => call::set_attribute(&future, &names.blocking, &Owned::boolean(true))?,
    }
    this.future.set(future.clone());
    this.state.set(State::Waiting);
    Ok(Next::Yield(future))
}

/// Takes the timer back, as every way out does.
fn end(this: &Sleep) -> Outcome<()> {
    this.state.set(State::Done);
    this.future.clear();
    this.result.clear();
    match this.handle.take() {
        Some(handle) => call::call_method(&names().cancel, &[&handle], None).map(drop),
        None => Ok(()),
    }
}

/// What the timer calls: `finish(future, result)`, which leaves a future alone that is done.
fn finish(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    let (Some(future), Some(result)) = (given.next(), given.next()) else {
        return Err(raised::raise(raised::type_error(), "two arguments are needed"));
    };
    match Future::exact(future) {
        Some(ours) if ours.is_done() => {}
        Some(ours) => ours.finish_with_result(result.own())?,
        None => {
            if !future_is_done(future)? {
                call::call_method(&names().set_result, &[future, result], None)?;
            }
        }
    }
    Ok(Owned::none())
}

fn finisher() -> Outcome {
    static FINISH: OnceLock<Definition> = OnceLock::new();
    FINISH
        .get_or_init(|| Definition(method_fast!(c"_set_result_unless_cancelled", finish, c"End a sleep.")))
        .bind(crate::ffi::none())
}

unsafe extern "C" fn iternext(this: *mut c::PyObject) -> *mut c::PyObject {
    guard(std::ptr::null_mut(), || {
        // SAFETY: an instance of ours.
        match advance(unsafe { cast(this) })? {
            Next::Yield(yielded) => Ok(yielded.into_ptr()),
            Next::Return(value) => Ok(coroutine::finish_iteration(value)),
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
            Next::Yield(yielded) => (yielded, c::PySendResult::PYGEN_NEXT),
            Next::Return(value) => (value, c::PySendResult::PYGEN_RETURN),
        };
        // SAFETY: as above.
        unsafe { *result = value.into_ptr() };
        Ok(status)
    })
}

fn send(this: &Sleep, _: &Object) -> Outcome {
    match advance(this)? {
        Next::Yield(yielded) => Ok(yielded),
        Next::Return(value) => Err(coroutine::raise_stop(value)),
    }
}

fn throw(this: &Sleep, arguments: &Arguments<'_>) -> Outcome {
    let exception = raised::from_throw(arguments.positional())?;
    end(this)?;
    Err(raised::put_back(exception))
}

fn close(this: &Sleep) -> Outcome {
    end(this)?;
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
    let visit = Visit { function, argument };
    // SAFETY: an instance of ours; it owns a reference to its type, which lives on the heap.
    let (kind, this) = unsafe { (cast::<Object>(c::Py_TYPE(this).cast()), cast::<Sleep>(this)) };
    let mut status = visit.object(kind);
    for slot in [&this.delay, &this.result, &this.future, &this.handle] {
        if status == 0 {
            status = slot.visit(visit);
        }
    }
    status
}

fn take_apart(this: &Sleep) {
    for slot in [&this.delay, &this.result, &this.future, &this.handle] {
        slot.clear();
    }
}

unsafe extern "C" fn clear(this: *mut c::PyObject) -> c_int {
    // SAFETY: an instance of ours.
    take_apart(unsafe { cast(this) });
    0
}

unsafe extern "C" fn dealloc(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: the last reference to an instance of ours is gone.
        unsafe {
            instance::untrack(this);
            take_apart(cast(this));
            FREE.release(this, true);
        }
        coroutine::forget_value();
        Ok(())
    });
}

/// Makes the type and gives the function `sleep`.
pub(crate) fn make_function() -> Outcome {
    let builder = KindBuilder::new()
        .final_type()
        .slot(c::Py_tp_iter, iterate as *mut c_void)
        .slot(c::Py_am_await, iterate as *mut c_void)
        .slot(c::Py_tp_iternext, iternext as *mut c_void)
        .slot(c::Py_am_send, am_send as *mut c_void)
        .slot(c::Py_tp_traverse, traverse as *mut c_void)
        .slot(c::Py_tp_clear, clear as *mut c_void)
        .slot(c::Py_tp_dealloc, dealloc as *mut c_void)
        .methods([
            method_one!(c"send", send, c"Resume."),
            method_fast!(c"throw", throw, c"Raise an exception at the await."),
            method_none!(c"close", close, c"Give the sleep up."),
        ]);
    // SAFETY: every slot is of its type, and the data lies behind the header.
    let kind =
        unsafe { builder.build(c"aioxide.Sleep", size_of::<c::PyObject>() + size_of::<Data>(), None)? };
    KIND.set(kind.as_ptr().cast());
    let _ = kind.into_ptr();
    static SLEEP: OnceLock<Definition> = OnceLock::new();
    let doc = c"sleep(delay, result=None)\n--\n\nWait for `delay` seconds, then give `result`.";
    SLEEP
        .get_or_init(|| {
            let mut definition = method_fast!(c"sleep", sleep, c"");
            definition.ml_doc = doc.as_ptr();
            Definition(definition)
        })
        .bind(crate::ffi::none())
}

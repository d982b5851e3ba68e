//! `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at`, `time`.

use aioxide_core::timers::TimerKey;
use pyo3::ffi as raw;
use pyo3::prelude::*;
#[cfg(Py_3_14)]
use pyo3::types::PyTuple;
use pyo3::types::PyType;

use super::{LoopCore, LoopState};
use crate::entry::Entry;
#[cfg(Py_3_14)]
use crate::ffi::names;
use crate::ffi::{Arguments, Owned, add_method, method};
use crate::handle::{Callback, Handle};
use crate::{debug, error};

/// A delay so short that the next iteration has to look at the clock, not one of the next sixty.
const AT_ONCE_SECONDS: f64 = 1e-4;

/// The Rust half of the loop that a method was called on.
pub(super) fn core_of<'a, 'py>(event_loop: Borrowed<'a, 'py, PyAny>) -> Borrowed<'a, 'py, LoopCore> {
    // SAFETY: `add_method` made these functions methods of `LoopCore`: CPython has checked the receiver.
    unsafe { event_loop.cast_unchecked() }
}

/// A handle in debug mode: checked first, and with the stack of whoever scheduled it.
#[cold]
fn debug_handle(
    event_loop: Borrowed<'_, '_, PyAny>,
    call: &Callback<'_>,
    method: &str,
    when: Option<f64>,
) -> PyResult<Handle> {
    debug::check_call(event_loop, call.callback, method, method == "call_soon_threadsafe")?;
    let handle = match when {
        Some(when) => Handle::new_timer(event_loop, call, when)?,
        None => Handle::new(event_loop, call)?,
    };
    debug::remember_source(event_loop.py(), &handle)?;
    Ok(handle)
}

#[inline]
fn queue(
    event_loop: Borrowed<'_, '_, PyAny>,
    arguments: Arguments<'_>,
    method: &'static str,
) -> PyResult<Owned> {
    let py = event_loop.py();
    let state = &core_of(event_loop).get().state;
    let split = arguments.split(py, method, ["callback"])?;
    if state.core.is_closed() {
        return Err(error::loop_closed());
    }
    let call = Callback { callback: split.leading[0], arguments: split.rest, context: split.context };
    let handle = if state.debug.get() {
        debug_handle(event_loop, &call, method, None)?
    } else {
        Handle::new(event_loop, &call)?
    };
    state.core.call_soon(Entry::Handle(handle.clone_ref(py)));
    Ok(handle.into_owned())
}

fn call_soon(event_loop: Borrowed<'_, '_, PyAny>, arguments: Arguments<'_>) -> PyResult<Owned> {
    queue(event_loop, arguments, "call_soon")
}

/// From 3.14 on a handle that another thread may cancel while it runs is one of asyncio's own, with a lock.
#[cfg(Py_3_14)]
fn queue_thread_safe(event_loop: Borrowed<'_, '_, PyAny>, arguments: Arguments<'_>) -> PyResult<Owned> {
    let py = event_loop.py();
    let state = &core_of(event_loop).get().state;
    let split = arguments.split(py, "call_soon_threadsafe", ["callback"])?;
    if state.core.is_closed() {
        return Err(error::loop_closed());
    }
    if state.debug.get() {
        debug::check_call(event_loop, split.leading[0], "call_soon_threadsafe", true)?;
    }
    // SAFETY: arguments of the call that is under way; the context may be missing.
    let (callback, rest, context) = unsafe {
        let borrowed = |object: &*mut raw::PyObject| Borrowed::<PyAny>::from_ptr(py, *object).to_owned();
        let rest = PyTuple::new(py, split.rest.iter().map(borrowed))?;
        (borrowed(&split.leading[0]), rest, Borrowed::<PyAny>::from_ptr_or_opt(py, split.context))
    };
    let class = names().thread_safe_handle.bind(py);
    let handle = class.call1((callback, rest, event_loop, context))?;
    let stack = handle.getattr("_source_traceback")?;
    if stack.is_truthy()? {
        // The frame of the handle's own `__init__`.
        stack.del_item(-1)?;
    }
    if state.core.is_closed() {
        // Another thread has had its turn while the handle was made in Python.
        return Err(error::loop_closed());
    }
    let handle = Owned::from(handle);
    state.core.call_soon(Entry::Foreign(handle.clone_ref(py)));
    Ok(handle)
}

#[cfg(not(Py_3_14))]
fn queue_thread_safe(event_loop: Borrowed<'_, '_, PyAny>, arguments: Arguments<'_>) -> PyResult<Owned> {
    queue(event_loop, arguments, "call_soon_threadsafe")
}

/// The interpreter's lock is held, so the queue may be touched from any thread; the loop's wait has to be ended.
fn call_soon_threadsafe(event_loop: Borrowed<'_, '_, PyAny>, arguments: Arguments<'_>) -> PyResult<Owned> {
    let handle = queue_thread_safe(event_loop, arguments)?;
    core_of(event_loop).get().state.core.interrupt();
    Ok(handle)
}

fn call_later(event_loop: Borrowed<'_, '_, PyAny>, arguments: Arguments<'_>) -> PyResult<Owned> {
    let split = arguments.split(event_loop.py(), "call_later", ["delay", "callback"])?;
    let delay = number(event_loop.py(), split.leading[0], error::delay_is_none)?;
    let when = core_of(event_loop).get().time() + delay;
    let call = Callback { callback: split.leading[1], arguments: split.rest, context: split.context };
    schedule(event_loop, &call, when, delay)
}

fn call_at(event_loop: Borrowed<'_, '_, PyAny>, arguments: Arguments<'_>) -> PyResult<Owned> {
    let split = arguments.split(event_loop.py(), "call_at", ["when", "callback"])?;
    let when = number(event_loop.py(), split.leading[0], error::when_is_none)?;
    let delay = when - core_of(event_loop).get().time();
    let call = Callback { callback: split.leading[1], arguments: split.rest, context: split.context };
    schedule(event_loop, &call, when, delay)
}

fn number(py: Python<'_>, value: *mut raw::PyObject, is_none: fn() -> PyErr) -> PyResult<f64> {
    // SAFETY: an argument of the call that is under way.
    let value = unsafe { Borrowed::<PyAny>::from_ptr(py, value) };
    if value.is_none() { Err(is_none()) } else { value.extract() }
}

fn schedule(
    event_loop: Borrowed<'_, '_, PyAny>,
    call: &Callback<'_>,
    when: f64,
    delay: f64,
) -> PyResult<Owned> {
    let state = &core_of(event_loop).get().state;
    if state.core.is_closed() {
        return Err(error::loop_closed());
    }
    let handle = if state.debug.get() {
        // asyncio's `call_later` is a `call_at`, and says so.
        debug_handle(event_loop, call, "call_at", Some(when))?
    } else {
        Handle::new_timer(event_loop, call, when)?
    };
    let entry = Entry::Handle(handle.clone_ref(event_loop.py()));
    handle.set_timer(state.set_timer_in(when, delay, entry));
    Ok(handle.into_owned())
}

impl LoopState {
    /// The loop's clock, in seconds.
    #[inline]
    pub(crate) fn now(&self) -> f64 {
        self.core.clock().now_ns() as f64 / 1e9
    }

    /// Queues `entry` for the loop's time `when`, in seconds.
    pub(crate) fn set_timer(&self, when: f64, now: f64, entry: Entry) -> TimerKey {
        self.set_timer_in(when, when - now, entry)
    }

    fn set_timer_in(&self, when: f64, delay: f64, entry: Entry) -> TimerKey {
        let key = self.core.call_at(deadline_ns(when), entry);
        if delay < AT_ONCE_SECONDS {
            self.core.poll_soon();
        }
        key
    }
}

/// The first nanosecond at which `time()` is `when` or later.
fn deadline_ns(when: f64) -> u64 {
    // `as` saturates: before the clock's start means now, beyond its end means never.
    let deadline_ns = (when * 1e9).ceil() as u64;
    if (deadline_ns as f64) / 1e9 < when { deadline_ns.saturating_add(1) } else { deadline_ns }
}

/// Puts the methods above into the class.
pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_method(
        class,
        c"call_soon",
        method!(call_soon),
        c"call_soon($self, callback, /, *args, context=None)\n--\n\n\
          Calls `callback(*args)` in the next iteration, after what is queued already.",
    )?;
    add_method(
        class,
        c"call_soon_threadsafe",
        method!(call_soon_threadsafe),
        c"call_soon_threadsafe($self, callback, /, *args, context=None)\n--\n\n\
          `call_soon` from any thread: it ends the loop's wait.",
    )?;
    add_method(
        class,
        c"call_later",
        method!(call_later),
        c"call_later($self, delay, callback, /, *args, context=None)\n--\n\n\
          Calls `callback(*args)` once, at least `delay` seconds from now.",
    )?;
    add_method(
        class,
        c"call_at",
        method!(call_at),
        c"call_at($self, when, callback, /, *args, context=None)\n--\n\n\
          Calls `callback(*args)` once, at the loop's time `when` (seconds) or later.",
    )
}

#[pymethods]
impl LoopCore {
    /// The loop's clock: seconds of `time.monotonic()`.
    pub(crate) fn time(&self) -> f64 {
        self.state.now()
    }

    /// Queues a handle that was made elsewhere, such as asyncio's own for a signal.
    fn _add_callback(&self, handle: &Bound<'_, PyAny>) {
        self.state.core.call_soon(Entry::Foreign(handle.clone().unbind().into()));
    }

    /// Ends the loop's wait, from any thread.
    fn _write_to_self(&self) {
        self.state.core.interrupt();
    }
}

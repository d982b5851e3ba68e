//! `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at`, `time`.

use aioxide_core::timers::TimerKey;
use pyo3::ffi::PyMethodDef;
use pyo3::prelude::*;

use crate::event_loop::debug;
use crate::ffi::arguments::{Arguments, Split};
use crate::ffi::method::method_fast;
#[cfg(Py_3_14)]
use crate::ffi::none;
use crate::ffi::{Object, Outcome, call, outlive_interpreter, raised};
#[cfg(Py_3_14)]
use crate::interp::names;
use crate::kernel::Entry;
use crate::kernel::handle::{Callback, Handle};
use crate::kernel::{Loop, LoopCore, LoopState};

/// A delay so short that the next iteration has to look at the clock, not one of the next sixty.
const AT_ONCE_SECONDS: f64 = 1e-4;

/// A handle in debug mode: checked first, and with the stack of whoever scheduled it.
#[cold]
fn debug_handle(this: &Loop, call: &Callback<'_>, method: &str, when: Option<f64>) -> Outcome<Handle> {
    debug::check_call(this.object(), call.callback, method, method == "call_soon_threadsafe")?;
    let handle = match when {
        Some(when) => Handle::new_timer(this.object(), call, when)?,
        None => Handle::new(this.object(), call)?,
    };
    debug::remember_source(&handle)?;
    Ok(handle)
}

#[inline]
fn queue(this: &Loop, arguments: &Arguments<'_>, method: &'static str) -> Outcome {
    let Split { leading: [callback], rest, context } = arguments.split(method, ["callback"])?;
    let state = this.state();
    state.refuse_when_closed()?;
    let call = Callback { callback, arguments: rest, context };
    let handle = if state.debug.get() {
        debug_handle(this, &call, method, None)?
    } else {
        Handle::new(this.object(), &call)?
    };
    state.core.call_soon(Entry::Handle(handle.clone()));
    Ok(handle.into_owned())
}

fn call_soon(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    queue(this, arguments, "call_soon")
}

/// From 3.14 on a handle that another thread may cancel while it runs is one of asyncio's own, with a lock.
#[cfg(Py_3_14)]
fn queue_thread_safe(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    let Split { leading: [callback], rest, context } =
        arguments.split("call_soon_threadsafe", ["callback"])?;
    let state = this.state();
    state.refuse_when_closed()?;
    if state.debug.get() {
        debug::check_call(this.object(), callback, "call_soon_threadsafe", true)?;
    }
    let context = context.unwrap_or(none());
    let handle =
        call::call(&names().thread_safe_handle, &[callback, &*call::tuple(rest)?, this.object(), context])?;
    let stack = call::get_attribute(&handle, &*call::interned(c"_source_traceback")?)?;
    if call::truth(&stack)? {
        // The frame of the handle's own `__init__`.
        call::call_method(&*call::interned(c"pop")?, &[&stack], None)?;
    }
    // Another thread may have had its turn while the handle was made in Python.
    state.refuse_when_closed()?;
    state.core.call_soon(Entry::Foreign(handle.clone()));
    Ok(handle)
}

#[cfg(not(Py_3_14))]
fn queue_thread_safe(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    queue(this, arguments, "call_soon_threadsafe")
}

/// The interpreter's lock is held, so the queue may be touched from any thread; the loop's wait has to be ended.
fn call_soon_threadsafe(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    outlive_interpreter();
    let handle = queue_thread_safe(this, arguments)?;
    this.state().core.interrupt();
    Ok(handle)
}

fn call_later(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    let Split { leading: [delay, callback], rest, context } =
        arguments.split("call_later", ["delay", "callback"])?;
    let now = this.state().now();
    let delay = number(delay, "delay must not be None").or_else(|raised| {
        if delay.is_none() {
            return Err(raised);
        }
        // asyncio's sum fails in its words.
        raised::clear(raised);
        call::as_float(&*call::add(&*call::float(now)?, delay)?).map(|when| when - now)
    })?;
    let when = now + delay;
    let handle = schedule(this, &Callback { callback, arguments: rest, context }, when, delay)?;
    Ok(handle.into_owned())
}

fn call_at(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    let Split { leading: [when, callback], rest, context } =
        arguments.split("call_at", ["when", "callback"])?;
    let given = when;
    let when = number(given, "when cannot be None")?;
    let delay = when - this.state().now();
    let handle = schedule(this, &Callback { callback, arguments: rest, context }, when, delay)?;
    if !call::is_float(given) {
        handle.set_when(given.own());
    }
    Ok(handle.into_owned())
}

fn number(value: &Object, is_none: &str) -> Outcome<f64> {
    if value.is_none() { Err(raised::raise(raised::type_error(), is_none)) } else { call::as_float(value) }
}

fn schedule(this: &Loop, call: &Callback<'_>, when: f64, delay: f64) -> Outcome<Handle> {
    let state = this.state();
    state.refuse_when_closed()?;
    let handle = if state.debug.get() {
        // asyncio's `call_later` is a `call_at`, and says so.
        debug_handle(this, call, "call_at", Some(when))?
    } else {
        Handle::new_timer(this.object(), call, when)?
    };
    handle.set_timer(state.set_timer_in(when, delay, Entry::Handle(handle.clone())));
    Ok(handle)
}

impl LoopState {
    /// RuntimeError once the loop is closed.
    #[inline]
    pub(super) fn refuse_when_closed(&self) -> Outcome<()> {
        if self.core.is_closed() {
            return Err(raised::raise(raised::runtime_error(), "Event loop is closed"));
        }
        Ok(())
    }

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

pub(super) fn methods() -> [PyMethodDef; 4] {
    [
        method_fast!(
            c"call_soon",
            call_soon,
            c"call_soon($self, callback, *args, context=None)\n--\n\n\
              Calls `callback(*args)` in the next iteration, after what is queued already."
        ),
        method_fast!(
            c"call_soon_threadsafe",
            call_soon_threadsafe,
            c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n\
              `call_soon` from any thread: it ends the loop's wait."
        ),
        method_fast!(
            c"call_later",
            call_later,
            c"call_later($self, delay, callback, *args, context=None)\n--\n\n\
              Calls `callback(*args)` once, at least `delay` seconds from now."
        ),
        method_fast!(
            c"call_at",
            call_at,
            c"call_at($self, when, callback, *args, context=None)\n--\n\n\
              Calls `callback(*args)` once, at the loop's time `when` (seconds) or later."
        ),
    ]
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

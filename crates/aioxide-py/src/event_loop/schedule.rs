//! `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at`, `time`.

use aioxide_core::timers::TimerKey;
use pyo3::ffi::{Py_GE, PyMethodDef};
use pyo3::prelude::*;

use crate::event_loop::debug;
use crate::ffi::arguments::{Arguments, Split};
use crate::ffi::method::method_fast;
use crate::ffi::none;
use crate::ffi::{Object, Outcome, Owned, call, number, outlive_interpreter, raised};
use crate::interp::names;
use crate::kernel::Entry;
use crate::kernel::handle::{Callback, Handle};
use crate::kernel::{Loop, LoopCore, LoopState, times};

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
fn queue(this: &Loop, arguments: &Arguments<'_>, method: &'static str, shared: bool) -> Outcome {
    let Split { leading: [callback], rest, context } = arguments.split(method, ["callback"])?;
    let state = this.state();
    state.refuse_when_closed()?;
    let call = Callback { callback, arguments: rest, context };
    let handle = if state.debug.get() {
        let handle = debug_handle(this, &call, method, None)?;
        // Another thread may have had its turn meanwhile.
        state.refuse_when_closed()?;
        handle
    } else {
        Handle::new(this.object(), &call)?
    };
    if shared {
        handle.share();
    }
    state.core.call_soon(Entry::Handle(handle.clone()));
    Ok(handle.into_owned())
}

fn call_soon(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    queue(this, arguments, "call_soon", false)
}

/// The interpreter's lock is held, so the queue may be touched from any thread; the loop's wait has to be ended.
fn call_soon_threadsafe(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    outlive_interpreter();
    // From 3.14 on, a `cancel` in another thread waits for a callback that runs.
    let handle = queue(this, arguments, "call_soon_threadsafe", cfg!(Py_3_14))?;
    this.state().core.interrupt();
    Ok(handle)
}

fn call_later(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    let Split { leading: [delay, callback], rest, context } =
        arguments.split("call_later", ["delay", "callback"])?;
    if delay.is_none() {
        return Err(raised::raise(raised::type_error(), "delay must not be None"));
    }
    let now = this.state().current_time(this.object())?;
    if this.state().replaces_call_at.get() {
        return forward_to_call_at(this, &*call::add(&*call::float(now)?, delay)?, callback, rest, context);
    }
    let (when, given) = times::after(now, delay)?;
    let call = Callback { callback, arguments: rest, context };
    set_timer(this, &call, when, number::plain(delay).unwrap_or(when - now), given)
}

/// asyncio's `call_later` calls `call_at`, which a program may have replaced.
#[cold]
fn forward_to_call_at(
    this: &Loop,
    when: &Object,
    callback: &Object,
    rest: &[&Object],
    context: Option<&Object>,
) -> Outcome {
    let call_at = call::get_attribute(this.object(), &*call::interned(c"call_at")?)?;
    let positional = call::tuple(&[&[when, callback], rest].concat())?;
    let keywords = call::dict()?;
    call::set_item(&keywords, &names().context, context.unwrap_or(none()))?;
    call::call_with(&call_at, &positional, &keywords)
}

fn call_at(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    let Split { leading: [when, callback], rest, context } =
        arguments.split("call_at", ["when", "callback"])?;
    if when.is_none() {
        return Err(raised::raise(raised::type_error(), "when cannot be None"));
    }
    let now = this.state().current_time(this.object())?;
    let given = (!call::is_float(when)).then(|| when.own());
    let when = times::at(when, now, Py_GE)?;
    set_timer(this, &Callback { callback, arguments: rest, context }, when, when - now, given)
}

/// A timer, whose handle shows the time that was `given`, where that was no float.
fn set_timer(this: &Loop, call: &Callback<'_>, when: f64, delay: f64, given: Option<Owned>) -> Outcome {
    let state = this.state();
    state.refuse_when_closed()?;
    let handle = if state.debug.get() {
        // asyncio's `call_later` is a `call_at`, and says so.
        debug_handle(this, call, "call_at", Some(when))?
    } else {
        Handle::new_timer(this.object(), call, when)?
    };
    handle.set_timer(state.set_timer_in(when, delay, Entry::Handle(handle.clone())));
    if let Some(given) = given {
        handle.set_when(given);
    }
    Ok(handle.into_owned())
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

    /// `loop.time()`, which may be a program's own.
    #[inline]
    fn current_time(&self, event_loop: &Object) -> Outcome<f64> {
        if self.replaces_time.get() { self.ask_for_time(event_loop) } else { Ok(self.now()) }
    }

    /// Asks the program's own `time` what timers are measured against.
    #[cold]
    fn ask_for_time(&self, event_loop: &Object) -> Outcome<f64> {
        let now = call::as_float(&*call::call_method(&names().time, &[event_loop], None)?)?;
        self.core.tell_time(Some(deadline_ns(now)));
        Ok(now)
    }

    /// Before and after a wait: looks at the program's own clock, if it has one.
    #[inline]
    pub(crate) fn read_time(&self, py: Python<'_>) -> PyResult<()> {
        if !self.replaces_time.get() {
            return Ok(());
        }
        self.leave_current_task();
        let event_loop = Owned::from(self.python_loop(py)?);
        self.ask_for_time(&event_loop).map(drop).map_err(|raised| raised::to_pyerr(py, raised))
    }

    /// `time` is the program's own from now on, or ours again.
    pub(super) fn replace_time(&self, is_own: bool) {
        self.replaces_time.set(is_own);
        // What is without handles would have to ask as well.
        self.replaces_timers.set(self.replaces_timers.get() || is_own);
        if !is_own {
            self.core.tell_time(None);
        }
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

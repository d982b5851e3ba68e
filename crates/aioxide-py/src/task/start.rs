//! `create_task` and `ensure_future`: the functions, for the loop that runs.

use std::ffi::CStr;
use std::sync::OnceLock;

use super::{Start, Task};
use crate::awaitable;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{Definition, method_fast};
use crate::ffi::{self, Object, Outcome, Owned, call, raised};
use crate::future::Future;
use crate::interp::names;
use crate::kernel::state_of;

/// The loop that runs, or `None`.
#[inline]
pub(crate) fn running_loop() -> Outcome {
    call::call(&names().get_running_loop_or_none, &[])
}

/// `create_task(coro, *, name=None, context=None)`.
fn create_task(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let running = running_loop()?;
    let state = if running.is_none() { None } else { state_of(&running) };
    let Some(state) = state.filter(|state| state.makes_tasks()) else {
        return arguments.forward_all(&names.asyncio_create_task);
    };
    let Some([name, context]) = arguments.one_and_named([&names.name, &names.context]) else {
        return arguments.forward_all(&names.asyncio_create_task);
    };
    let mut given = arguments.positional();
    let Some(coro) = given.next() else { return arguments.forward_all(&names.asyncio_create_task) };
    Task::make(&running, state, &Start { coro, name, context, eager: false })
}

/// `ensure_future(coro_or_future, *, loop=None)`.
fn ensure_future(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [given, event_loop] = arguments.parse("ensure_future", &[&names.coro_or_future, &names.loop_], 1)?;
    let Some(given) = given else {
        let message = "ensure_future() missing 1 required positional argument: 'coro_or_future'";
        return Err(raised::raise(raised::type_error(), message));
    };
    let event_loop = event_loop.filter(|event_loop| !event_loop.is_none());
    match ensure(given, event_loop)? {
        Some(made) => Ok(made),
        None => arguments.forward_all(&names.ensure_future),
    }
}

/// `ensure_future` where it takes nothing of asyncio's: a future of ours, or a coroutine for a loop of ours that runs.
#[inline]
pub(crate) fn ensure(given: &Object, event_loop: Option<&Object>) -> Outcome<Option<Owned>> {
    if let Some(future) = Future::exact(given) {
        let fits = event_loop.is_none_or(|event_loop| future.event_loop.holds(event_loop));
        return Ok(fits.then(|| given.own()));
    }
    if !awaitable::is_coroutine(given) {
        return Ok(None);
    }
    let running = match event_loop {
        Some(event_loop) => event_loop.own(),
        None => running_loop()?,
    };
    if running.is_none() {
        return Ok(None);
    }
    match state_of(&running).filter(|state| state.running.get() && state.makes_tasks()) {
        Some(state) => {
            let start = Start { coro: given, name: None, context: None, eager: false };
            Task::make(&running, state, &start).map(Some)
        }
        None => Ok(None),
    }
}

/// `ensure_future(given, loop=event_loop)`.
pub(crate) fn ensure_on(given: &Object, event_loop: &Object) -> Outcome {
    match ensure(given, Some(event_loop))? {
        Some(made) => Ok(made),
        None => {
            let names = names();
            call::call_with_names(&names.ensure_future, &[given, event_loop], Some(&names.loop_names))
        }
    }
}

/// As asyncio's own is: from 3.14 on it passes everything on, `eager_start` too.
const SIGNATURE: &CStr = if cfg!(Py_3_14) {
    c"create_task(coro, **kwargs)\n--\n\nSchedule a coroutine; return a task."
} else {
    c"create_task(coro, *, name=None, context=None)\n--\n\nSchedule a coroutine; return a task."
};

/// Gives the functions by their names.
pub(crate) fn make_functions() -> Outcome<[(&'static str, Owned); 2]> {
    static CREATE: OnceLock<Definition> = OnceLock::new();
    static ENSURE: OnceLock<Definition> = OnceLock::new();
    let create = CREATE.get_or_init(|| Definition(method_fast!(c"create_task", create_task, SIGNATURE)));
    let ensure = ENSURE.get_or_init(|| {
        Definition(method_fast!(
            c"ensure_future",
            ensure_future,
            c"ensure_future(coro_or_future, *, loop=None)\n--\n\nWrap a coroutine or an awaitable in a future."
        ))
    });
    Ok([("create_task", create.bind(ffi::none())?), ("ensure_future", ensure.bind(ffi::none())?)])
}

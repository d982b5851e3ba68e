//! `create_task` and `ensure_future`: the functions, for the loop that runs.

use std::ffi::CStr;

use super::{Start, Task, introspect};
use crate::awaitable;
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::method::method_fast;
use crate::ffi::{self, Object, Outcome, Owned, call, raised};
use crate::future::Future;
use crate::interp::names;
use crate::kernel::{LoopState, Making, Naming, state_of};

/// The loop that runs, or `None`.
#[inline]
pub(crate) fn running_loop() -> Outcome {
    call::call(&names().get_running_loop_or_none, &[])
}

/// A task as `create_task` of a loop makes it; `start.eager` counts for one that is not eager anyway.
#[inline]
pub(crate) fn create(making: Making, event_loop: &Object, state: &LoopState, start: &Start<'_>) -> Outcome {
    match making {
        Making::Queued => Task::make(event_loop, state, start),
        Making::Eager(naming) => create_eager(naming, event_loop, state, start),
    }
}

fn create_eager(naming: Naming, event_loop: &Object, state: &LoopState, start: &Start<'_>) -> Outcome {
    let &Start { coro, name, context, .. } = start;
    let at_start = if naming == Naming::BeforeItStarts { name } else { None };
    let made = Task::make(event_loop, state, &Start { coro, name: at_start, context, eager: true })?;
    let given = name.filter(|name| !name.is_none());
    let later = match naming {
        Naming::BeforeItStarts => None,
        Naming::AfterIfGiven => given,
        Naming::AfterAlways => given.or(Some(ffi::none())),
    };
    if let (Some(name), Some(task)) = (later, Task::from_object(&made)) {
        introspect::rename(task, name)?;
    }
    Ok(made)
}

/// `create_task(coro, *, name=None, context=None)`.
fn create_task(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let running = running_loop()?;
    let state = if running.is_none() { None } else { state_of(&running) };
    let Some((state, making)) = state.and_then(|state| Some((state, state.making()?))) else {
        return arguments.forward_all(&names.asyncio_create_task);
    };
    let Some([name, context]) = arguments.one_and_named([&names.name, &names.context]) else {
        return arguments.forward_all(&names.asyncio_create_task);
    };
    let mut given = arguments.positional();
    let Some(coro) = given.next() else { return arguments.forward_all(&names.asyncio_create_task) };
    create(making, &running, state, &Start { coro, name, context, eager: false })
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
    let Some(state) = state_of(&running).filter(|state| state.running.get()) else {
        return Ok(None);
    };
    let Some(making) = state.making() else { return Ok(None) };
    create(making, &running, state, &Start { coro: given, name: None, context: None, eager: false }).map(Some)
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
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    exports.function(method_fast!(c"create_task", create_task, SIGNATURE))?;
    exports.function(method_fast!(
        c"ensure_future",
        ensure_future,
        c"ensure_future(coro_or_future, *, loop=None)\n--\n\nWrap a coroutine or an awaitable in a future."
    ))
}

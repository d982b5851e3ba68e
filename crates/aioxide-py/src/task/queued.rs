//! How the ready queue's entries for tasks and futures are run, and what becomes of what they raise.

use std::ffi::CStr;

use pyo3::prelude::*;

use super::{Task, step};
use crate::ffi::context::{self, is_context};
use crate::ffi::text::{qualified_name, to_string};
use crate::ffi::{Object, Outcome, Owned, Raised, call, cast, raised};
use crate::future::Future;
use crate::interp::{Captured, names};
use crate::kernel::{ChildDone, LoopState};

/// A step of a task.
#[inline]
pub(crate) fn step(py: Python<'_>, state: &LoopState, task: &Object, thrown: Option<Owned>) -> PyResult<()> {
    // SAFETY: only tasks are queued as such.
    let task: &Task = unsafe { cast(task.as_ptr()) };
    step::run(state, task, thrown).or_else(|raised| {
        // What asyncio queues here is an object that shows as no more than that.
        let shown = || Ok(format!("<TaskStepMethWrapper object at {task:p}>()"));
        let handle =
            || handle(&*step::step_callback(task)?, &*call::tuple(&[])?, task.as_future(), &task.context);
        report(py, raised, task.as_future(), shown, handle)
    })
}

/// A wake-up of a task.
#[inline]
pub(crate) fn wake(py: Python<'_>, state: &LoopState, task: &Object) -> PyResult<()> {
    // SAFETY: only tasks are queued as such.
    let task: &Task = unsafe { cast(task.as_ptr()) };
    step::wake(state, task).or_else(|raised| {
        let callback = step::wakeup_callback(task).unwrap_or_else(|raised| {
            raised::clear(raised);
            task.own()
        });
        let awaited = task.fut_waiter.get().unwrap_or_else(|| task.own());
        report_call(py, raised, (&callback, &awaited), task.as_future(), &task.context)
    })
}

/// The name of a queued task, and what it runs.
pub(crate) fn describe(task: &Object) -> (String, String) {
    // SAFETY: only tasks are queued as such.
    let task: &Task = unsafe { cast(task.as_ptr()) };
    let name = super::introspect::get_name(task).map(|name| to_string(&name));
    let name = name.unwrap_or_else(|raised| {
        raised::clear(raised);
        String::new()
    });
    (name, task.coro.get().map_or_else(String::new, |coroutine| qualified_name(&coroutine)))
}

/// A Python callback of a future.
#[inline]
pub(crate) fn call_back(
    py: Python<'_>,
    callback: &Object,
    future: &Object,
    context: &Captured,
) -> PyResult<()> {
    let outcome = match context.enter() {
        Ok(entered) => {
            let outcome = call::call(callback, &[future]);
            entered.exit(context).and_then(|()| outcome.map(drop))
        }
        Err(raised) => call_back_by_context(callback, future, context, raised),
    };
    // SAFETY: only futures are queued as such.
    let future: &Future = unsafe { cast(future.as_ptr()) };
    outcome.or_else(|raised| report_call(py, raised, (callback, future.object()), future, context))
}

/// The context could not be entered. It may be anything with a method `run`, which asyncio calls.
#[cold]
fn call_back_by_context(
    callback: &Object,
    future: &Object,
    context: &Captured,
    raised: Raised,
) -> Outcome<()> {
    let exception = raised::take(raised);
    let context = context.get_or_none()?;
    if is_context(&context) {
        return Err(raised::put_back(exception));
    }
    context::run(&context, callback, Some(future)).map(drop)
}

/// What a parent waits for is done.
#[inline]
pub(crate) fn child_done(
    py: Python<'_>,
    waiting: &Object,
    child: &Object,
    child_done: &ChildDone,
) -> PyResult<()> {
    // SAFETY: only futures are queued as such.
    let future: &Future = unsafe { cast(child.as_ptr()) };
    (child_done.run)(waiting, child).or_else(|raised| {
        let shown = || {
            let format = format_helper(c"_format_args_and_kwargs")?;
            let arguments = call::call(&format, &[&*call::tuple(&[child])?, &*Owned::none()])?;
            Ok(format!("{}{}", child_done.name, to_string(&arguments)))
        };
        report(py, raised, future, shown, || Ok(None))
    })
}

/// A function of `asyncio.format_helpers`.
fn format_helper(name: &CStr) -> Outcome {
    call::get_attribute(&names().format_helpers_module, &*call::interned(name)?)
}

/// Reports what the call of a callback with its argument raised.
#[cold]
fn report_call(
    py: Python<'_>,
    raised: Raised,
    (callback, argument): (&Object, &Object),
    future: &Future,
    context: &Captured,
) -> PyResult<()> {
    let arguments = || call::tuple(&[argument]);
    let shown = || {
        let format = format_helper(c"_format_callback_source")?;
        Ok(to_string(&*call::call(&format, &[callback, &*arguments()?])?))
    };
    let handle = || handle(callback, &*arguments()?, future, context);
    report(py, raised, future, shown, handle)
}

/// What asyncio would have queued: a program may expect it in the report, so it is made now.
fn handle(
    callback: &Object,
    arguments: &Object,
    future: &Future,
    context: &Captured,
) -> Outcome<Option<Owned>> {
    let parts = [callback, arguments, &*future.loop_or_raise()?, &*context.get_or_none()?];
    call::call(&names().stock_handle, &parts).map(Some)
}

/// Hands what a callback raised to the loop's exception handler, as a Handle does, or lets it leave the loop.
#[cold]
fn report(
    py: Python<'_>,
    raised: Raised,
    future: &Future,
    shown: impl FnOnce() -> Outcome<String>,
    handle: impl FnOnce() -> Outcome<Option<Owned>>,
) -> PyResult<()> {
    let exception = raised::take(raised);
    if raised::ends_the_loop(&exception) {
        return Err(raised::to_pyerr(py, raised::put_back(exception)));
    }
    let tell = || {
        let details = call::dict()?;
        let message = format!("Exception in callback {}", shown()?);
        call::set_item(&details, &names().message, &*call::text(&message)?)?;
        call::set_item(&details, &names().exception, &exception)?;
        if let Some(handle) = handle()? {
            call::set_item(&details, &*call::interned(c"handle")?, &handle)?;
        }
        let event_loop = future.loop_or_raise()?;
        call::call_method(&names().call_exception_handler, &[&event_loop, &details], None).map(drop)
    };
    raised::handling(&exception, tell).map_err(|raised| raised::to_pyerr(py, raised))
}

//! How the ready queue's entries for tasks and futures are run, and what becomes of what they raise.

use pyo3::prelude::*;

use super::{Task, deadline, parent, step};
use crate::event_loop::LoopState;
use crate::ffi::text::to_string;
use crate::ffi::{Captured, Object, Outcome, Owned, Raised, call, cast, names, raised};
use crate::future::Future;

/// A step of a task.
#[inline]
pub(crate) fn step(py: Python<'_>, state: &LoopState, task: &Object, thrown: Option<Owned>) -> PyResult<()> {
    // SAFETY: only tasks are queued as such.
    let task: &Task = unsafe { cast(task.as_ptr()) };
    step::run(state, task, thrown).or_else(|raised| report_step(py, raised, task))
}

/// A wake-up of a task.
#[inline]
pub(crate) fn wake(py: Python<'_>, state: &LoopState, task: &Object) -> PyResult<()> {
    // SAFETY: only tasks are queued as such.
    let task: &Task = unsafe { cast(task.as_ptr()) };
    step::wake(state, task).or_else(|raised| report_step(py, raised, task))
}

/// A Python callback of a future.
#[inline]
pub(crate) fn call_back(
    py: Python<'_>,
    callback: &Object,
    future: &Object,
    context: &Captured,
) -> PyResult<()> {
    let outcome = context.enter().and_then(|entered| {
        let outcome = call::call(callback, &[future]);
        entered.exit(context)?;
        outcome.map(drop)
    });
    // SAFETY: only futures are queued as such.
    let future: &Future = unsafe { cast(future.as_ptr()) };
    outcome.or_else(|raised| report(py, raised, callback, future, Some(context)))
}

/// What a parent waits for is done.
#[inline]
pub(crate) fn child_done(py: Python<'_>, waiting: &Object, child: &Object) -> PyResult<()> {
    // SAFETY: only futures are queued as such.
    let future: &Future = unsafe { cast(child.as_ptr()) };
    parent::child_done(waiting, child).or_else(|raised| report(py, raised, waiting, future, None))
}

/// The time of a timeout is up.
pub(crate) fn expire(py: Python<'_>, owner: &Object, generation: u32) -> PyResult<()> {
    deadline::expire(owner, generation).map_err(|raised| raised::to_pyerr(py, raised))
}

#[cold]
fn report_step(py: Python<'_>, raised: Raised, task: &Task) -> PyResult<()> {
    let callback = step::wakeup_callback(task).unwrap_or_else(|raised| {
        raised::clear(raised);
        task.own()
    });
    report(py, raised, &callback, task.as_future(), None)
}

/// Hands what a callback raised to the loop's exception handler, as a Handle does, or lets it leave the loop.
#[cold]
fn report(
    py: Python<'_>,
    raised: Raised,
    callback: &Object,
    future: &Future,
    context: Option<&Captured>,
) -> PyResult<()> {
    let exception = raised::take(raised);
    if raised::ends_the_loop(&exception) {
        return Err(raised::to_pyerr(py, raised::put_back(exception)));
    }
    raised::handling(&exception, || tell_handler(&exception, callback, future, context))
        .map_err(|raised| raised::to_pyerr(py, raised))
}

fn tell_handler(
    exception: &Object,
    callback: &Object,
    future: &Future,
    context: Option<&Captured>,
) -> Outcome<()> {
    let names = names();
    let event_loop = future.loop_or_raise()?;
    let arguments = call::tuple(&[future.object()])?;
    let helpers = &names.format_helpers_module;
    let format = call::get_attribute(helpers, &*call::interned(c"_format_callback_source")?)?;
    let shown = call::call(&format, &[callback, &arguments])?;
    let details = call::dict()?;
    let message = format!("Exception in callback {}", to_string(&shown));
    call::set_item(&details, &names.message, &*call::text(&message)?)?;
    call::set_item(&details, &names.exception, exception)?;
    if let Some(context) = context {
        // A handle, which a program may expect there, is made only now.
        let handle =
            call::call(&names.stock_handle, &[callback, &arguments, &event_loop, &*context.get_or_none()?])?;
        call::set_item(&details, &*call::interned(c"handle")?, &handle)?;
    }
    call::call_method(&names.call_exception_handler, &[&event_loop, &details], None).map(drop)
}

//! Debug mode: checks before a callback is scheduled, where it was scheduled, how long it ran.

use pyo3::prelude::*;

use crate::event_loop::LoopState;
use crate::ffi::{Object, Outcome, call};
use crate::handle::Handle;
use crate::interp::names;

/// Checks the calling thread and the callback, as asyncio does in debug mode. `any_thread` for `call_soon_threadsafe`.
pub(crate) fn check_call(
    event_loop: &Object,
    callback: &Object,
    method: &str,
    any_thread: bool,
) -> Outcome<()> {
    if !any_thread {
        call::call_method(&*call::interned(c"_check_thread")?, &[event_loop], None)?;
    }
    let method = call::text(method)?;
    call::call_method(&*call::interned(c"_check_callback")?, &[event_loop, callback, &method], None)?;
    Ok(())
}

/// Remembers the stack of the caller in `handle`.
pub(crate) fn remember_source(handle: &Handle) -> Outcome<()> {
    // Called from a C function, `extract_stack` begins with that function's caller.
    let extract = call::get_attribute(&names().format_helpers_module, &*call::interned(c"extract_stack")?)?;
    handle.set_source_traceback(call::call(&extract, &[])?);
    Ok(())
}

/// Runs a callback and reports it when it took `slow_callback_duration` or longer.
pub(crate) fn run_timed(py: Python<'_>, state: &LoopState, handle: &Handle) -> PyResult<()> {
    let Some(event_loop) = handle.python_loop(py) else { return Ok(()) };
    timed(state, &event_loop, handle.bind(py), || handle.call(py))
}

/// The same for a handle of asyncio's own.
pub(crate) fn run_foreign_timed(state: &LoopState, handle: Borrowed<'_, '_, PyAny>) -> PyResult<()> {
    let event_loop = handle.getattr("_loop")?;
    timed(state, &event_loop, handle, || handle.call_method0("_run").map(drop))
}

fn timed(
    state: &LoopState,
    event_loop: &Bound<'_, PyAny>,
    handle: Borrowed<'_, '_, PyAny>,
    run: impl FnOnce() -> PyResult<()>,
) -> PyResult<()> {
    let py = handle.py();
    event_loop.setattr("_current_handle", handle)?;
    let started_ns = state.core.clock().now_ns();
    let result = run();
    let seconds = (state.core.clock().now_ns() - started_ns) as f64 / 1e9;
    event_loop.setattr("_current_handle", py.None())?;
    result?;
    if seconds >= event_loop.getattr("slow_callback_duration")?.extract()? {
        report_slow(event_loop, handle, seconds)?;
    }
    Ok(())
}

/// Logs that a callback held the loop up, naming the task when it was a step of one.
fn report_slow(event_loop: &Bound<'_, PyAny>, handle: Borrowed<'_, '_, PyAny>, seconds: f64) -> PyResult<()> {
    let py = event_loop.py();
    let base_events = py.import("asyncio.base_events")?;
    let what = base_events.call_method1("_format_handle", (handle,))?;
    let logger = base_events.getattr("logger")?;
    logger.call_method1("warning", ("Executing %s took %.3f seconds", what, seconds))?;
    Ok(())
}

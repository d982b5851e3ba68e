//! What each kind of entry in the ready queue *does*: the one place that knows them all.
//!
//! ```text
//!   Handle, Foreign             the callback, timed in debug mode
//!   Io                          the watcher of the descriptor: a handle, a transport, a listening socket, a `sock_*` method
//!   Task, Woken, Dropped        Rust futures: ours, and those of other extensions
//!   Transport                   what a transport has put off
//!   Step, Throw, Wake           a task's next step
//!   FutureCallback, Child       what follows from the end of a future
//!   Expire                      a timeout
//! ```
//!
//! What an entry raises goes to the loop's exception handler, but for what ends the loop: that breaks the batch off.

use std::ops::ControlFlow;

use aioxide_core::{Runnable, Token, clock};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat};

use crate::ffi::{self, raised};
use crate::kernel::handle::Handle;
use crate::kernel::{Entry, LoopState, Posted, RunContext, Watcher, report};
use crate::task::queued as steps;
use crate::transports;

impl Runnable for Entry {
    type Posted = Posted;
    type Context<'a> = RunContext<'a>;

    fn from_io(token: Token) -> Self {
        Self::Io(token)
    }

    #[inline]
    fn run(self, context: &mut RunContext<'_>) -> ControlFlow<()> {
        let py = context.py;
        if !matches!(self, Self::Step(_) | Self::Wake(_) | Self::Throw { .. }) {
            context.state.leave_current_task();
        }
        let after_task = std::mem::take(&mut context.after_task);
        let is_event = matches!(self, Self::Io(_));
        context.state.held.begin();
        let result = match self {
            Self::Handle(handle) => {
                let result = run_handle(py, context.state, &handle);
                handle.track_if_shared();
                result.map_err(Failed::Callback)
            }
            Self::Foreign(handle) => run_foreign(context.state, handle.bind(py)).map_err(Failed::Callback),
            Self::Io(token) => run_watcher(py, context.state, token),
            Self::Task(task) => {
                if !after_task {
                    // Else the time since the last task, Python's, would count as this one's.
                    clock::mark();
                }
                task.run();
                context.after_task = true;
                Ok(())
            }
            Self::Woken(waker) => {
                waker.deliver().map_err(|raised| Failed::Entry(raised::to_pyerr(py, raised)))
            }
            Self::Dropped(body) => {
                drop(body);
                Ok(())
            }
            Self::Transport(transport) => transports::run_deferred(py, &transport).map_err(Failed::Entry),
            Self::Step(task) => steps::step(py, context.state, &task, None).map_err(Failed::Entry),
            Self::Throw { task, exception } => {
                steps::step(py, context.state, &task, Some(exception)).map_err(Failed::Entry)
            }
            Self::Wake(task) => steps::wake(py, context.state, &task).map_err(Failed::Entry),
            Self::FutureCallback { callback, future, context } => {
                steps::call_back(py, &callback, &future, &context).map_err(Failed::Entry)
            }
            Self::Child { parent, child, child_done } => {
                steps::child_done(py, &parent, &child, child_done).map_err(Failed::Entry)
            }
            Self::Expire { owner, generation, expire } => {
                expire(&owner, generation).map_err(|raised| Failed::Entry(raised::to_pyerr(py, raised)))
            }
        };
        let result = result.or_else(|failed| failed.handle(py, context.state));
        let is_due = context.state.held.end(is_event, || context.state.core.clock().now_ns());
        let sent = if is_due { transports::send_held(py, context.state) } else { Ok(()) };
        match result.and(sent) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                context.raised = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    #[inline]
    fn end_batch(context: &mut RunContext<'_>) -> ControlFlow<()> {
        if context.state.held.is_waiting()
            && let Err(error) = transports::send_held(context.py, context.state)
        {
            // What broke the batch off comes first.
            context.raised.get_or_insert(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn block<T>(context: &mut RunContext<'_>, wait: impl FnOnce() -> T) -> T {
        context.state.leave_current_task();
        ffi::go_on_outliving_interpreter();
        let result = ffi::detached(context.py, wait);
        if let Err(error) = context.state.read_time(context.py) {
            context.raised = Some(error);
        }
        result
    }
}

/// What an entry of the queue let through.
enum Failed {
    /// A handle has reported what its callback raised: what comes out of it all the same leaves the loop, as asyncio's does.
    Callback(PyErr),
    Entry(PyErr),
}

impl Failed {
    /// Reports it; `Err` for what must leave the loop.
    #[cold]
    fn handle(self, py: Python<'_>, state: &LoopState) -> PyResult<()> {
        match self {
            Self::Callback(error) => Err(error),
            Self::Entry(error) => entry_failed(py, state, error),
        }
    }
}

/// Runs a callback unless it was cancelled; `Err` only for what must leave the loop.
#[inline]
fn run_handle(py: Python<'_>, state: &LoopState, handle: &Handle) -> PyResult<()> {
    if !handle.begin() {
        return Ok(());
    }
    if state.debug.get() {
        return run_timed(py, state, handle);
    }
    handle.call(py)
}

fn run_foreign(state: &LoopState, handle: Borrowed<'_, '_, PyAny>) -> PyResult<()> {
    if handle.getattr("_cancelled")?.is_truthy()? {
        return Ok(());
    }
    if state.debug.get() {
        return run_foreign_timed(state, handle);
    }
    handle.call_method0("_run").map(drop)
}

/// Runs the watcher behind `token`, if it still is the one that the event was for.
fn run_watcher(py: Python<'_>, state: &LoopState, token: Token) -> Result<(), Failed> {
    match state.watchers.get(token) {
        Some(Watcher::Callback(handle)) => run_handle(py, state, &handle).map_err(Failed::Callback),
        Some(Watcher::Transport { transport, direction }) => {
            transports::on_event(py, &transport, direction).map_err(Failed::Entry)
        }
        Some(Watcher::Other(watch)) => watch.on_event(py, token).map_err(Failed::Entry),
        None => Ok(()),
    }
}

/// Reports what an entry that is no handle let through; `Err` for what must leave the loop.
#[cold]
fn entry_failed(py: Python<'_>, state: &LoopState, error: PyErr) -> PyResult<()> {
    if report::leaves_the_loop(py, &error) {
        return Err(error);
    }
    let context = PyDict::new(py);
    context.set_item("message", "Exception in a callback of the event loop's own")?;
    let exception = error.into_value(py);
    context.set_item("exception", &exception)?;
    report::call_handler(&state.python_loop(py)?, &exception, &context)
}

/// Runs a callback and reports it when it took `slow_callback_duration` or longer.
fn run_timed(py: Python<'_>, state: &LoopState, handle: &Handle) -> PyResult<()> {
    let Some(event_loop) = handle.python_loop(py) else { return Ok(()) };
    timed(state, &event_loop, handle.bind(py), || handle.call(py))
}

/// The same for a handle of asyncio's own.
fn run_foreign_timed(state: &LoopState, handle: Borrowed<'_, '_, PyAny>) -> PyResult<()> {
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
    // Compared as Python does it: the limit may be any number, or refuse.
    if PyFloat::new(py, seconds).ge(event_loop.getattr("slow_callback_duration")?)? {
        report_slow(event_loop, handle, seconds)?;
    }
    Ok(())
}

/// Logs that a callback held the loop up, naming the task when it was a step of one.
fn report_slow(event_loop: &Bound<'_, PyAny>, handle: Borrowed<'_, '_, PyAny>, seconds: f64) -> PyResult<()> {
    let py = event_loop.py();
    let base_events = report::imported(py, c"asyncio.base_events")?;
    let what = base_events.call_method1("_format_handle", (handle,))?;
    let logger = base_events.getattr("logger")?;
    logger.call_method1("warning", ("Executing %s took %.3f seconds", what, seconds))?;
    Ok(())
}

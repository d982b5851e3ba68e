//! Running, stopping and closing.

use std::ops::ControlFlow;

use pyo3::prelude::*;

use super::tasks::choose_classes;
use crate::ffi::{outlive_interpreter, raised};
use crate::kernel::error::os_error;
use crate::kernel::{self, LoopCore, RunContext};
use crate::transports::send_held;

#[pymethods]
impl LoopCore {
    /// Tells the Rust half which Python object it belongs to; `EventLoop.__init__` calls it.
    fn _bind(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::look_for_overrides(slf)?;
        slf.get().state.set_python_loop(slf.as_any())
    }

    /// Runs iterations until `stop` is called or a callback raises `KeyboardInterrupt` or `SystemExit`.
    fn _run(&self, py: Python<'_>) -> PyResult<()> {
        send_of_running(py)?;
        let core = &self.state.core;
        let _entered = core.enter();
        let _running = kernel::enter(&self.state);
        choose_classes(&self.state).map_err(|raised| raised::to_pyerr(py, raised))?;
        self.state.running.set(true);
        // What was done between two runs (a socket written to, say) is not known here; and programs that run the loop for a
        // moment at a time would starve their connections otherwise.
        self.state.expect_events();
        let mut context = RunContext { py, state: &self.state, raised: None, after_task: false };
        let result = loop {
            if let Err(error) = self.iterate(&mut context) {
                break Err(error);
            }
            if core.is_stopping() {
                break Ok(());
            }
        };
        self.state.leave_current_task();
        core.clear_stop();
        self.state.running.set(false);
        result
    }

    /// One iteration, for programs that nest loops.
    fn _run_once(&self, py: Python<'_>) -> PyResult<()> {
        send_of_running(py)?;
        let _entered = self.state.core.enter();
        let _running = kernel::enter(&self.state);
        let result =
            self.iterate(&mut RunContext { py, state: &self.state, raised: None, after_task: false });
        self.state.leave_current_task();
        result
    }

    /// Lets the iteration under way be the last.
    fn stop(&self) {
        self.state.core.stop();
    }

    /// Whether the loop runs now.
    fn is_running(&self) -> bool {
        self.state.running.get()
    }

    /// Whether the loop was closed.
    fn is_closed(&self) -> bool {
        self.state.core.is_closed()
    }

    /// How many callbacks may run before the kernel is asked for events again, once the loop is hot: after 1 000 busy iterations
    /// without an event, a new descriptor, or anything written by a transport or a `sock_*` method. 0: it is asked in every iteration,
    /// always.
    ///
    /// A tick of the system's coarse clock (1-10 ms), an idle loop and a timer that is due at once end the interval early.
    /// The environment variable `AIOXIDE_POLL_INTERVAL` sets it for new loops.
    #[getter]
    fn poll_interval(&self) -> u32 {
        self.state.core.poll_interval()
    }

    #[setter]
    fn set_poll_interval(&self, entries: u32) {
        self.state.core.set_poll_interval(entries);
    }

    /// Whether a transport sends each write at once, as asyncio does; else what callbacks and steps write leaves when the loop
    /// has run what is ready, or after 2 ms at the end of the one that runs.
    ///
    /// The environment variable `AIOXIDE_WRITE_AT_ONCE=1` sets it for new loops.
    #[getter]
    fn write_at_once(&self) -> bool {
        self.state.held.at_once()
    }

    #[setter]
    fn set_write_at_once(&self, py: Python<'_>, at_once: bool) -> PyResult<()> {
        self.state.held.set_at_once(at_once);
        send_held(py, &self.state)
    }

    #[getter(_stopping)]
    fn stopping(&self) -> bool {
        self.state.core.is_stopping()
    }

    #[setter(_stopping)]
    fn set_stopping(&self, stopping: bool) {
        if stopping {
            self.state.core.stop();
        } else {
            self.state.core.clear_stop();
        }
    }

    #[getter(_closed)]
    fn closed(&self) -> bool {
        self.state.core.is_closed()
    }

    /// Closes: drops what is queued and watched. asyncio's own `close` sets it.
    #[setter(_closed)]
    fn set_closed(&self, closed: bool) {
        outlive_interpreter();
        if closed {
            self.drop_queued();
            self.release_tasks();
            self.state.watchers.clear();
        }
    }

    #[getter(_debug)]
    fn debug_flag(&self) -> bool {
        self.state.debug.get()
    }

    #[setter(_debug)]
    fn set_debug_flag(&self, enabled: &Bound<'_, PyAny>) -> PyResult<()> {
        outlive_interpreter();
        self.state.debug.set(enabled.is_truthy()?);
        Ok(())
    }

    /// Whether the loop is in debug mode.
    fn get_debug(&self) -> bool {
        self.state.debug.get()
    }
}

impl LoopCore {
    fn iterate(&self, context: &mut RunContext<'_>) -> PyResult<()> {
        let core = &self.state.core;
        if core.needs_poll() || self.state.replaces_time.get() {
            // A signal that came while C code ran must not wait until the next event.
            context.py.check_signals()?;
            self.state.read_time(context.py)?;
            match core.poll(context) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                    context.py.check_signals()?
                }
                other => other.map_err(|error| os_error(&error))?,
            }
            // What the program's own clock raised after a wait.
            if let Some(error) = context.raised.take() {
                return Err(error);
            }
            // Such a loop polls in each iteration.
            if core.is_observed() {
                return end_batch(core.run_observed_batch(context), context);
            }
        }
        end_batch(core.run_batch(context), context)
    }
}

/// What broke a batch off leaves the loop.
#[inline]
fn end_batch(flow: ControlFlow<()>, context: &mut RunContext<'_>) -> PyResult<()> {
    if flow.is_break()
        && let Some(error) = context.raised.take()
    {
        return Err(error);
    }
    Ok(())
}

/// Sends what the entry has written that runs a loop just now, of whichever loop: it waits for what the peer makes of it.
fn send_of_running(py: Python<'_>) -> PyResult<()> {
    match kernel::running() {
        Some(state) if state.held.is_waiting() => send_held(py, state),
        _ => Ok(()),
    }
}

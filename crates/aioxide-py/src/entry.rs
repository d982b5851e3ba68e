//! What the ready queue holds on the Python face, and how each kind is run.

use std::ops::ControlFlow;

use aioxide_core::{Notified, Runnable, Token};
use pyo3::prelude::*;

use crate::event_loop::LoopState;
use crate::ffi;
use crate::handle::Handle;

/// An entry of the ready queue: one word of kind, one of pointer.
pub(crate) enum Entry {
    /// A callback: `call_soon`, a timer that is due, a posted one.
    Handle(Py<Handle>),
    /// A descriptor is ready; the token names its place in the loop's I/O table.
    Io(Token),
    /// A Rust future was woken.
    Task(Notified),
}

/// What another thread may post.
pub(crate) enum Posted {
    Handle(Py<Handle>),
    Task(Notified),
}

/// What running an entry needs, and where what it raised goes.
pub(crate) struct RunContext<'a> {
    pub(crate) py: Python<'a>,
    pub(crate) state: &'a LoopState,
    /// What ended the run: `KeyboardInterrupt` or `SystemExit` of a callback.
    pub(crate) raised: Option<PyErr>,
}

impl From<Notified> for Entry {
    fn from(task: Notified) -> Self {
        Self::Task(task)
    }
}

impl From<Notified> for Posted {
    fn from(task: Notified) -> Self {
        Self::Task(task)
    }
}

impl From<Posted> for Entry {
    fn from(posted: Posted) -> Self {
        match posted {
            Posted::Handle(handle) => Self::Handle(handle),
            Posted::Task(task) => Self::Task(task),
        }
    }
}

impl Runnable for Entry {
    type Posted = Posted;
    type Context<'a> = RunContext<'a>;

    fn from_io(token: Token) -> Self {
        Self::Io(token)
    }

    fn run(self, context: &mut RunContext<'_>) -> ControlFlow<()> {
        let py = context.py;
        let result = match self {
            Self::Handle(handle) => handle.get().run(py, &handle, context.state),
            Self::Io(token) => context.state.run_io(py, token),
            Self::Task(task) => {
                task.run();
                Ok(())
            }
        };
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                context.raised = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn block<T>(context: &mut RunContext<'_>, wait: impl FnOnce() -> T) -> T {
        ffi::detached(context.py, wait)
    }
}

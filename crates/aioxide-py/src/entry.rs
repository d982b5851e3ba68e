//! What the ready queue holds on the Python face, and how each kind is run.

use std::ops::ControlFlow;

use aioxide_core::{Notified, Runnable, Token, clock};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::bridge::Event;
use crate::event_loop::LoopState;
use crate::ffi::{self, Owned, raised};
use crate::handle::Handle;
use crate::interp::Captured;
use crate::task::queued as steps;
use crate::{debug, report, transports};

/// An entry of the ready queue: a word of kind and up to three pointers.
pub(crate) enum Entry {
    /// A callback: `call_soon`, a timer that is due.
    Handle(Handle),
    /// A handle of asyncio's own, from code that is inherited: anything with `_cancelled` and `_run()`.
    Foreign(Owned),
    /// A descriptor is ready; the token names its place in the loop's I/O table.
    Io(Token),
    /// A Rust future was woken.
    Task(Notified),
    /// Something happened to a Rust future that Python awaits.
    Rust(Event),
    /// What a transport has put off: `connection_made`, `connection_lost`.
    Transport(Py<PyAny>),
    /// A task's next step.
    Step(Owned),
    /// A task's next step, which raises.
    Throw { task: Owned, exception: Owned },
    /// What a task waits for is done.
    Wake(Owned),
    /// A callback of a future that is done.
    FutureCallback { callback: Owned, future: Owned, context: Captured },
    /// A future that a parent (`task::parent`) waits for is done.
    Child { parent: Owned, child: Owned },
    /// The time of a timeout is up, unless it has another generation meanwhile.
    Expire { owner: Owned, generation: u32 },
}

/// What another thread may post: whoever holds the interpreter's lock puts Python's callbacks into the queue itself.
pub(crate) enum Posted {
    /// A Rust task was woken.
    Task(Notified),
    /// Something happened to a Rust future that Python awaits.
    Rust(Event),
}

/// What running an entry needs, and where what it raised goes.
pub(crate) struct RunContext<'a> {
    pub(crate) py: Python<'a>,
    pub(crate) state: &'a LoopState,
    /// What ended the run: `KeyboardInterrupt` or `SystemExit` of a callback.
    pub(crate) raised: Option<PyErr>,
    /// Whether the entry before was a Rust task, which has left the clock's mark at its end.
    pub(crate) after_task: bool,
}

impl Entry {
    /// The Python object that an entry holds: for `loop._ready`.
    pub(crate) fn object<'a, 'py>(&'a self, py: Python<'py>) -> Option<Borrowed<'a, 'py, PyAny>> {
        match self {
            Self::Handle(handle) => Some(handle.bind(py)),
            Self::Foreign(held)
            | Self::Step(held)
            | Self::Wake(held)
            | Self::Throw { task: held, .. }
            | Self::FutureCallback { callback: held, .. }
            | Self::Child { parent: held, .. }
            | Self::Expire { owner: held, .. } => Some(held.bind(py)),
            Self::Transport(transport) => Some(transport.bind_borrowed(py)),
            Self::Io(_) | Self::Task(_) | Self::Rust(_) => None,
        }
    }

    /// Lets the collector see a handle that others hold as well.
    pub(crate) fn show_if_shared(&self) {
        if let Self::Handle(handle) = self {
            handle.track_if_shared();
        }
    }

    /// Shows the collector what the entry holds.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Handle(handle) => handle.traverse(visit),
            Self::Foreign(held) | Self::Step(held) | Self::Wake(held) | Self::Expire { owner: held, .. } => {
                held.traverse(visit)
            }
            Self::Throw { task: one, exception: other } | Self::Child { parent: one, child: other } => {
                one.traverse(visit)?;
                other.traverse(visit)
            }
            Self::FutureCallback { callback, future, context } => {
                callback.traverse(visit)?;
                future.traverse(visit)?;
                context.traverse(visit)
            }
            Self::Transport(transport) => visit.call(transport),
            Self::Io(_) | Self::Task(_) | Self::Rust(_) => Ok(()),
        }
    }
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
            Posted::Task(task) => Self::Task(task),
            Posted::Rust(event) => Self::Rust(event),
        }
    }
}

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
        context.state.held.begin();
        let result = match self {
            Self::Handle(handle) => {
                let result = handle.run(py, context.state);
                handle.track_if_shared();
                result
            }
            Self::Foreign(handle) => run_foreign(context.state, handle.bind(py)),
            Self::Io(token) => context.state.run_io(py, token),
            Self::Task(task) => {
                if !after_task {
                    // Else the time since the last task, Python's, would count as this one's.
                    clock::mark();
                }
                task.run();
                context.after_task = true;
                Ok(())
            }
            Self::Rust(event) => event.run().map_err(|raised| raised::to_pyerr(py, raised)),
            Self::Transport(transport) => transports::run_deferred(py, &transport),
            Self::Step(task) => steps::step(py, context.state, &task, None),
            Self::Throw { task, exception } => steps::step(py, context.state, &task, Some(exception)),
            Self::Wake(task) => steps::wake(py, context.state, &task),
            Self::FutureCallback { callback, future, context } => {
                steps::call_back(py, &callback, &future, &context)
            }
            Self::Child { parent, child } => steps::child_done(py, &parent, &child),
            Self::Expire { owner, generation } => steps::expire(py, &owner, generation),
        };
        let result = result.or_else(|error| report::entry_failed(py, context.state, error));
        let sent = context.state.held.end(py);
        match result.and(sent) {
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

fn run_foreign(state: &LoopState, handle: Borrowed<'_, '_, PyAny>) -> PyResult<()> {
    if handle.getattr("_cancelled")?.is_truthy()? {
        return Ok(());
    }
    if state.debug.get() {
        return debug::run_foreign_timed(state, handle);
    }
    handle.call_method0("_run").map(drop)
}

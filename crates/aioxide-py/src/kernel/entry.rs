//! What the ready queue holds on the Python face; `dispatch` runs it.

use std::sync::Arc;

use aioxide_core::{Notified, Token};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::LoopState;
use super::handle::Handle;
use crate::ffi::{Object, Outcome, Owned};
use crate::interp::Captured;

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
    /// The waker of a Rust future that Python awaits was woken.
    Woken(Arc<dyn Deliver>),
    /// A Rust future that has come home to be dropped.
    Dropped(Box<dyn Send>),
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
    /// A future that a parent (`future::parent`) waits for is done, and what the parent does about it.
    Child { parent: Owned, child: Owned, child_done: &'static ChildDone },
    /// The time of a timeout is up, unless it has another generation meanwhile.
    Expire { owner: Owned, generation: u32, expire: fn(&Object, u32) -> Outcome<()> },
}

/// What a parent does about a child that is done.
pub(crate) struct ChildDone {
    /// Takes the parent and the child.
    pub(crate) run: fn(&Object, &Object) -> Outcome<()>,
    /// What asyncio calls the callback that does the same.
    pub(crate) name: &'static str,
}

/// What another thread may post: whoever holds the interpreter's lock puts Python's callbacks into the queue itself.
pub(crate) enum Posted {
    /// A Rust task was woken.
    Task(Notified),
    /// The waker of a Rust future that Python awaits was woken.
    Woken(Arc<dyn Deliver>),
    /// A Rust future that has come home to be dropped.
    Dropped(Box<dyn Send>),
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

/// What another thread wakes, and what is done about it on the loop's thread.
pub(crate) trait Deliver: Send + Sync {
    /// Called on the loop's thread, attached.
    fn deliver(&self) -> Outcome<()>;
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
            Self::Io(_) | Self::Task(_) | Self::Woken(_) | Self::Dropped(_) => None,
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
            Self::Throw { task: one, exception: other } | Self::Child { parent: one, child: other, .. } => {
                one.traverse(visit)?;
                other.traverse(visit)
            }
            Self::FutureCallback { callback, future, context } => {
                callback.traverse(visit)?;
                future.traverse(visit)?;
                context.traverse(visit)
            }
            Self::Transport(transport) => visit.call(transport),
            Self::Io(_) | Self::Task(_) | Self::Woken(_) | Self::Dropped(_) => Ok(()),
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
            Posted::Woken(waker) => Self::Woken(waker),
            Posted::Dropped(body) => Self::Dropped(body),
        }
    }
}

//! What a task waits for, and who waits for a task.

use std::rc::Rc;
use std::task::Waker;

use aioxide_core::task::TaskRef;

use super::AnyTask;
use super::meta::Meta;

/// Something that a cancellation of the waiting task is handed to.
pub(crate) trait Delegate {
    /// Those that the cancellation goes to; none if there was nothing left to cancel.
    fn cancel(&self, message: Option<Rc<str>>) -> Vec<AnyTask>;
    /// The tasks that are waited for.
    fn tasks(&self) -> Vec<AnyTask>;
}

/// What a task waits for, as far as it was said.
#[derive(Default)]
pub(crate) enum Waiting {
    #[default]
    Nothing,
    /// A task that is awaited: a cancellation goes to it.
    Task(TaskRef),
    /// A task behind a shield: a cancellation does not reach it.
    Shielded(TaskRef),
    /// Several tasks, by name of the operation.
    Group(&'static str, Rc<dyn Delegate>),
    /// Anything else.
    Other(Operation),
}

/// An operation of this crate that waits.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// The address of the lock, queue or the like that it waits for; 0 where there is none that others wait for as well.
    #[cfg_attr(not(feature = "monitor"), expect(dead_code, reason = "it is told to the monitor alone"))]
    pub(crate) of: usize,
}

#[cfg(feature = "monitor")]
impl Operation {
    /// Whether it is the same wait.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.of == other.of
    }
}

impl Waiting {
    /// An operation that is its task's own.
    #[inline]
    pub(crate) fn alone(name: &'static str) -> Self {
        Self::Other(Operation { name, of: 0 })
    }
}

/// Who is told of a task's end, before its callbacks.
pub(crate) enum Waiter {
    Task(Waker),
    /// One that waits for many.
    Tally(Rc<dyn Tally>),
}

/// Counts the ends of many.
pub(crate) trait Tally {
    /// One has ended.
    fn ended(&self, meta: &Meta);
}

/// Whether a cancellation that is being handed on has come by a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    Never,
    UnderWay,
    Asked,
}

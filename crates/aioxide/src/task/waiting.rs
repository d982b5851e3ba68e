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
    /// Anything else, by name.
    Other(&'static str),
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

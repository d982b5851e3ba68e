//! What a task waits for, and who waits for a task.

use std::rc::Rc;
use std::task::{Context, Waker};

use aioxide_core::task::{TaskRef, is_own_waker, with_current_meta};

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

/// When a future was polled last that hands the cancellation of its task on: what is kept aside is not awaited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Awaited {
    #[default]
    Never,
    /// At that moment of its task, by the task's own waker.
    At(u16, u16),
    /// By a waker of somebody between, who polls it when that is woken.
    Behind,
}

impl Awaited {
    /// Says what the current task waits for, until its next poll; when that was.
    #[inline]
    pub(crate) fn wait_for(what: Waiting, cx: &Context<'_>) -> Self {
        let moment = with_current_meta(|meta: &Meta| {
            meta.wait_for(what);
            meta.moment()
        });
        match moment.filter(|_| is_own_waker(cx.waker())) {
            Some((poll, races)) => Self::At(poll, races),
            None => Self::Behind,
        }
    }

    /// It is dropped before its end: what it said, if that is what `is_it` says, is not awaited any more. Whether what it stands
    /// for is to be cancelled.
    #[cold]
    pub(crate) fn leave(self, is_it: impl FnOnce(&Waiting) -> bool) -> bool {
        with_current_meta(|meta: &Meta| meta.withdraw_waiting(is_it));
        self.is_unwinding()
    }

    /// Whether it is being dropped because its task was cancelled while it was awaited.
    pub(crate) fn is_unwinding(self) -> bool {
        let is_awaited = |meta: &Meta| match self {
            Self::Never => false,
            Self::At(poll, races) => meta.is_latest_but_one(poll) && meta.moment().1 == races,
            Self::Behind => true,
        };
        with_current_meta(|meta: &Meta| meta.is_unwinding() && is_awaited(meta)).unwrap_or(false)
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

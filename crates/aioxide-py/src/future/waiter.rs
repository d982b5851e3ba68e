//! Who is told that a future is done. The waiter says what it is; nobody asks what class its object is of.

use std::os::raw::c_int;

use super::parent::ParentKind;
use super::{Future, KINDS};
use crate::ffi::{Object, Outcome, Owned, Visit, context};
use crate::interp::Captured;
use crate::kernel::Entry;

/// Who is told that a future is done.
pub(crate) enum Waiter {
    /// A task, which goes on.
    Task(Owned),
    /// What waits for several futures, or in another's name.
    Parent(Owned, &'static ParentKind),
    /// A Python callback, and the context that it is called in.
    Callback(Owned, Captured),
}

impl Waiter {
    /// The object that is told.
    pub(super) fn object(&self) -> &Owned {
        match self {
            Self::Task(object) | Self::Parent(object, _) | Self::Callback(object, _) => object,
        }
    }

    pub(super) fn visit(&self, visit: Visit) -> c_int {
        let status = visit.object(self.object());
        match self {
            Self::Callback(_, context) if status == 0 => context.visit(visit),
            _ => status,
        }
    }

    /// Whether it is this parent.
    pub(super) fn is_parent(&self, parent: &Object) -> bool {
        matches!(self, Self::Parent(object, _) if object.is(parent))
    }

    /// What the ready queue gets now that `future` is done, if anything.
    #[inline]
    pub(super) fn into_entry(self, future: &Future) -> Option<Entry> {
        match self {
            Self::Task(task) => Some(Entry::Wake(task)),
            Self::Parent(parent, kind) => (kind.needs_entry)(&parent, future).then(|| Entry::Child {
                parent,
                child: future.own(),
                child_done: &kind.child_done,
            }),
            Self::Callback(callback, context) => {
                Some(Entry::FutureCallback { callback, future: future.own(), context })
            }
        }
    }

    /// The callback and its context, as a loop that is not ours knows them.
    #[cold]
    pub(super) fn as_callback(&self) -> Outcome<(Owned, Owned)> {
        match self {
            Self::Task(task) => KINDS.wakeup(task),
            Self::Parent(parent, kind) => Ok((kind.as_callback(parent)?, context::copy()?)),
            Self::Callback(callback, context) => Ok((callback.clone(), context.get_or_none()?)),
        }
    }
}

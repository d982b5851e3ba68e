//! What the interpreter's own lists of tasks must know about ours, where they cannot be taught to ask.
//!
//! Up to 3.13 nothing: `asyncio.all_tasks` is Python and asks a set that `aioxide` stands in for. From 3.14 on it is C,
//! walks a list that runs through the C part of each task, and knows who awaits whom.

use super::object::{Object, Outcome};

/// Whether the interpreter wants to know who awaits whom.
pub(crate) const KNOWS_AWAITERS: bool = cfg!(Py_3_14);

/// Whether `gather` looks at children that are done at once (from 3.12 on), or an iteration later.
pub(crate) const GATHERS_AT_ONCE: bool = cfg!(Py_3_12);

/// Tells the interpreter about a task that begins.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn register(_task: &Object) -> Outcome<()> {
    Ok(())
}

/// Tells the interpreter about a task that ends.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn unregister(_task: &Object) {}

/// Tells the interpreter that `task` waits for `awaited`.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn add_awaited_by(_awaited: &Object, _task: &Object) -> Outcome<()> {
    Ok(())
}

/// Tells the interpreter that `task` does not wait for `awaited` any more.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn discard_awaited_by(_awaited: &Object, _task: &Object) -> Outcome<()> {
    Ok(())
}

#[cfg(Py_3_14)]
pub(crate) fn discard_awaited_by(awaited: &Object, task: &Object) -> Outcome<()> {
    super::call::call(&super::names().discard_awaited_by, &[awaited, task]).map(drop)
}

#[cfg(Py_3_14)]
pub(crate) fn register(task: &Object) -> Outcome<()> {
    super::call::call(&super::names().register_task, &[task]).map(drop)
}

#[cfg(Py_3_14)]
pub(crate) fn unregister(task: &Object) {
    if let Err(raised) = super::call::call(&super::names().unregister_task, &[task]) {
        super::raised::clear(raised);
    }
}

#[cfg(Py_3_14)]
pub(crate) fn add_awaited_by(awaited: &Object, task: &Object) -> Outcome<()> {
    super::call::call(&super::names().add_awaited_by, &[awaited, task]).map(drop)
}

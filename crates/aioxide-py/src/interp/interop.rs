//! What the interpreter's own lists of tasks must know about ours, where they cannot be taught to ask.
//!
//! Up to 3.13 nothing: `asyncio.all_tasks` is Python and asks a set that `aioxide` stands in for. From 3.14 on it is C,
//! walks a list that runs through the C part of each task, and knows who awaits whom: see `c_part`.

use crate::ffi::{Object, Outcome};

/// Whether the interpreter wants to know who awaits whom.
pub(crate) const KNOWS_AWAITERS: bool = cfg!(Py_3_14);

/// The task that runs now on the loop, where the interpreter wants to know of it as somebody who awaits.
pub(crate) fn awaiter(event_loop: &Object) -> Option<crate::ffi::Owned> {
    if KNOWS_AWAITERS { super::current::get(event_loop) } else { None }
}

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

/// Sees to it that a task which is taken apart is not in the interpreter's list.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn forget(_task: &Object) {}

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

/// What a task is shown by: its coroutine, and its name or number.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn describe(_task: &Object, _coro: &Object, _name: Option<&Object>, _number: u64) -> Outcome<()> {
    Ok(())
}

/// The task is called `name` now.
#[cfg(not(Py_3_14))]
pub(crate) fn rename(_task: &Object, _name: &Object) {}

/// The coroutine of the task is let go.
#[cfg(not(Py_3_14))]
pub(crate) fn forget_coro(_task: &Object) {}

/// Whether taking a task out of the interpreter's list calls C, which needs a live object.
#[cfg(not(Py_3_14))]
pub(crate) fn unregister_is_a_call() -> bool {
    false
}

/// Learns where the C part of a task keeps what: see `c_part`.
#[cfg(not(Py_3_14))]
pub(crate) fn learn(_: &Object, _: &Object, _: &Object, _: &Object, _: &Object, _: &Object) -> bool {
    false
}

#[cfg(Py_3_14)]
pub(crate) fn learn(
    first: &Object,
    second: &Object,
    coro: &Object,
    name: &Object,
    awaiter: &Object,
    event_loop: &Object,
) -> bool {
    super::c_part::learn(super::c_part::Samples { first, second, coro, name, awaiter, event_loop })
}

#[cfg(Py_3_14)]
pub(crate) use super::c_part::{describe, forget_coro, rename};

#[cfg(Py_3_14)]
pub(crate) fn unregister_is_a_call() -> bool {
    !super::c_part::is_known()
}

#[cfg(Py_3_14)]
#[inline]
pub(crate) fn register(task: &Object) -> Outcome<()> {
    if super::c_part::link(task) {
        return Ok(());
    }
    crate::ffi::call::call(&super::names().register_task, &[task]).map(drop)
}

#[cfg(Py_3_14)]
#[inline]
pub(crate) fn forget(task: &Object) {
    super::c_part::unlink(task);
}

#[cfg(Py_3_14)]
#[inline]
pub(crate) fn unregister(task: &Object) {
    if super::c_part::unlink(task) {
        return;
    }
    let pending = crate::ffi::raised::pending();
    if let Err(raised) = crate::ffi::call::call(&super::names().unregister_task, &[task]) {
        crate::ffi::raised::clear(raised);
    }
    if let Some(pending) = pending {
        let crate::ffi::Raised = crate::ffi::raised::put_back(pending);
    }
}

#[cfg(Py_3_14)]
#[inline]
pub(crate) fn add_awaited_by(awaited: &Object, task: &Object) -> Outcome<()> {
    if super::c_part::add_awaiter(awaited, task) {
        return Ok(());
    }
    note(awaited, task, &super::names().add_awaited_by, c"future_add_to_awaited_by")
}

#[cfg(Py_3_14)]
#[inline]
pub(crate) fn discard_awaited_by(awaited: &Object, task: &Object) -> Outcome<()> {
    if super::c_part::discard_awaiter(awaited, task) {
        return Ok(());
    }
    note(awaited, task, &super::names().discard_awaited_by, c"future_discard_from_awaited_by")
}

/// Calls asyncio's function; for a future written in Python the one that stands in asyncio now.
#[cfg(Py_3_14)]
#[cold]
fn note(awaited: &Object, task: &Object, function: &Object, name: &'static std::ffi::CStr) -> Outcome<()> {
    if super::c_part::is_of_c(awaited) {
        return crate::ffi::call::call(function, &[awaited, task]).map(drop);
    }
    let futures = crate::ffi::call::import(c"asyncio.futures")?;
    let function = crate::ffi::call::get_attribute(&futures, &*crate::ffi::call::interned(name)?)?;
    crate::ffi::call::call(&function, &[awaited, task]).map(drop)
}

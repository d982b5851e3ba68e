//! The current task of a loop, kept where this interpreter's asyncio keeps it.
//!
//! Up to 3.13 that is the dict `asyncio.tasks._current_tasks`; from 3.14 on a field of the thread's state: see
//! `c_part`.

use super::names;
use crate::ffi::{Object, Outcome, Owned, call, raised};

#[cfg(not(Py_3_14))]
mod place {
    use pyo3::ffi;

    use super::*;
    use crate::ffi::Raised;

    pub(super) fn set(event_loop: &Object, task: &Object) -> Outcome<()> {
        let table = names().current_tasks.as_ptr();
        // SAFETY: attached; asyncio's dict.
        call::check(unsafe { ffi::PyDict_SetItem(table, event_loop.as_ptr(), task.as_ptr()) })
    }

    pub(super) fn get(event_loop: &Object) -> Option<Owned> {
        let table = names().current_tasks.as_ptr();
        // SAFETY: attached; a borrowed reference, made one of our own at once, or null.
        unsafe {
            let found = ffi::PyDict_GetItem(table, event_loop.as_ptr());
            (!found.is_null()).then(|| Object::from_ptr(found).own())
        }
    }

    pub(super) fn remove(event_loop: &Object) {
        let table = names().current_tasks.as_ptr();
        // SAFETY: attached; asyncio's dict. Somebody else may have removed the entry.
        if unsafe { ffi::PyDict_DelItem(table, event_loop.as_ptr()) } < 0 {
            raised::clear(Raised);
        }
    }
}

#[cfg(Py_3_14)]
mod place {
    use super::*;
    use crate::ffi::none;
    use crate::interp::c_part;

    pub(super) fn set(event_loop: &Object, task: &Object) -> Outcome<()> {
        if c_part::set_current(event_loop, Some(task)) {
            return Ok(());
        }
        call::call(&names().swap_current_task, &[event_loop, task]).map(drop)
    }

    pub(super) fn get(event_loop: &Object) -> Option<Owned> {
        if let Ok(task) = c_part::current(event_loop) {
            return task;
        }
        match call::call(&names().current_task, &[event_loop]) {
            Ok(task) => (!task.is_none()).then_some(task),
            Err(raised) => {
                raised::clear(raised);
                None
            }
        }
    }

    pub(super) fn remove(event_loop: &Object) {
        if c_part::set_current(event_loop, None) {
            return;
        }
        if let Err(raised) = call::call(&names().swap_current_task, &[event_loop, none()]) {
            raised::clear(raised);
        }
    }
}

/// Makes `task` the current one of its loop, whatever was before.
#[inline]
pub(crate) fn set(event_loop: &Object, task: &Object) -> Outcome<()> {
    place::set(event_loop, task)
}

/// The current task of the loop.
pub(crate) fn get(event_loop: &Object) -> Option<Owned> {
    place::get(event_loop)
}

/// Leaves the loop without a current task.
pub(crate) fn remove(event_loop: &Object) {
    place::remove(event_loop);
}

/// Makes `task`, or none, the current one; returns what was before.
pub(crate) fn swap(event_loop: &Object, task: Option<&Object>) -> Outcome<Option<Owned>> {
    let before = get(event_loop);
    match task {
        Some(task) => set(event_loop, task)?,
        None => remove(event_loop),
    }
    Ok(before)
}

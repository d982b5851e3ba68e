//! The list of all tasks that are not done. What a loop runs, it keeps alive by this list.

use std::cell::Cell;

use pyo3::ffi as c;

use super::Task;
use crate::ffi::{Confined, Object, Outcome, Owned, cast};
use crate::interp::interop;

/// The newest task of the list of all tasks of all loops that are not done.
static HEAD: Confined<Cell<*mut c::PyObject>> = Confined::new(Cell::new(std::ptr::null_mut()));

fn at<'a>(pointer: *mut c::PyObject) -> Option<&'a Task> {
    // SAFETY: what the list points to is a task that leaves the list before it is taken apart.
    (!pointer.is_null()).then(|| unsafe { cast(pointer) })
}

/// Puts a task into the list; if `held`, the list keeps it alive. One that is done already stays out.
pub(crate) fn list(task: &Task, held: bool) -> Outcome<()> {
    if task.as_future().is_done() || task.listed.replace(true) {
        return Ok(());
    }
    let this = task.object().as_ptr();
    let head = HEAD.replace(this);
    task.previous.set(std::ptr::null_mut());
    task.next.set(head);
    if let Some(head) = at(head) {
        head.previous.set(this);
    }
    if held {
        task.held.set(true);
        let _ = task.own().into_ptr();
    }
    interop::register(task.object())
}

/// Takes a task out of the list. The caller holds it, if it is to live on.
pub(crate) fn unlist(task: &Task) {
    if !task.listed.replace(false) {
        return;
    }
    let (previous, next) =
        (task.previous.replace(std::ptr::null_mut()), task.next.replace(std::ptr::null_mut()));
    match at(previous) {
        Some(previous) => previous.next.set(next),
        None => HEAD.set(next),
    }
    if let Some(next) = at(next) {
        next.previous.set(previous);
    }
    interop::unregister(task.object());
    if task.held.replace(false) {
        // SAFETY: the reference that `list` gave away.
        drop(unsafe { Owned::from_new(task.object().as_ptr()) });
    }
}

/// All tasks that are not done, of one loop or of all, newest first.
pub(crate) fn pending(event_loop: Option<&Object>) -> Vec<Owned> {
    let mut found = Vec::new();
    let mut next = at(HEAD.get());
    while let Some(task) = next {
        if event_loop.is_none_or(|event_loop| task.as_future().event_loop.holds(event_loop)) {
            found.push(task.own());
        }
        next = at(task.next.get());
    }
    found
}

/// Lets go of the tasks that a loop holds; it is closed, and nobody will run them.
pub(crate) fn release_all(event_loop: &Object) {
    for task in pending(Some(event_loop)) {
        if let Some(task) = Task::from_object(&task)
            && task.held.replace(false)
        {
            // SAFETY: the reference that `list` gave away.
            drop(unsafe { Owned::from_new(task.object().as_ptr()) });
        }
    }
}

/// The tasks that a loop holds, for the collector.
pub(crate) fn for_each_held(event_loop: &Object, mut look: impl FnMut(Owned)) {
    let mut next = at(HEAD.get());
    while let Some(task) = next {
        if task.held.get() && task.as_future().event_loop.holds(event_loop) {
            look(task.own());
        }
        next = at(task.next.get());
    }
}

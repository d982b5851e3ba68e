//! Looking at tasks: the list of all that are not done, names, stacks.

use std::cell::Cell;

use pyo3::ffi as c;

use super::Task;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{method_fast, method_none, method_one};
use crate::ffi::{Confined, Object, Outcome, Owned, call, cast, none};
use crate::interp::names;

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
    crate::interp::interop::register(task.object())
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
    crate::interp::interop::unregister(task.object());
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

/// From 3.14 on: notes who awaits whom, for the interpreter's own tools.
#[inline]
pub(crate) fn add_awaited_by(awaited: &Object, task: &Object) -> Outcome<()> {
    crate::interp::interop::add_awaited_by(awaited, task)
}

fn get_name(this: &Task) -> Outcome {
    if let Some(name) = this.name.get() {
        return Ok(name);
    }
    if this.number.get() == 0 {
        return Ok(Owned::none());
    }
    let name = call::text(&format!("Task-{}", this.number.get()))?;
    this.name.set(name.clone());
    Ok(name)
}

fn set_name(this: &Task, name: &Object) -> Outcome {
    let name = call::to_text(name)?;
    crate::interp::interop::rename(this.object(), &name);
    this.name.set(name);
    Ok(Owned::none())
}

fn helper(function: &std::ffi::CStr) -> Outcome {
    call::get_attribute(&names().base_tasks_module, &*call::interned(function)?)
}

fn get_stack(this: &Task, arguments: &Arguments<'_>) -> Outcome {
    let [limit] = arguments.parse("get_stack", &[&names().limit], 0)?;
    call::call(&*helper(c"_task_get_stack")?, &[this.object(), limit.unwrap_or(none())])
}

fn print_stack(this: &Task, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [limit, file] = arguments.parse("print_stack", &[&names.limit, &names.file], 0)?;
    let (limit, file) = (limit.unwrap_or(none()), file.unwrap_or(none()));
    call::call(&*helper(c"_task_print_stack")?, &[this.object(), limit, file])
}

pub(super) fn methods() -> [c::PyMethodDef; 4] {
    [
        method_none!(c"get_name", get_name, c"get_name($self, /)\n--\n\nReturn the task's name."),
        method_one!(c"set_name", set_name, c"set_name($self, value, /)\n--\n\nSet the task's name."),
        method_fast!(c"get_stack", get_stack, c"get_stack($self, /, *, limit=None)\n--\n\nReturn the list of stack frames for this task's coroutine."),
        method_fast!(c"print_stack", print_stack, c"print_stack($self, /, *, limit=None, file=None)\n--\n\nPrint the stack or traceback for this task's coroutine."),
    ]
}

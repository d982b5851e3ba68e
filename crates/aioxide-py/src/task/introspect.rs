//! Looking at tasks: names, stacks.

use aioxide_core::clock::Clock;
use pyo3::ffi as c;

use super::Task;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{method_fast, method_none, method_one};
use crate::ffi::text::to_string;
use crate::ffi::{Object, Outcome, Owned, call, none};
use crate::interp::names;

pub(super) fn get_name(this: &Task) -> Outcome {
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

/// The same as text, without a change to the task.
pub(super) fn own_name(this: &Task) -> String {
    let name = this.name.get();
    name.map_or_else(|| format!("Task-{}", this.number.get()), |name| to_string(&name))
}

/// `Task.set_name`.
pub(crate) fn rename(this: &Task, name: &Object) -> Outcome<()> {
    let name = call::to_text(name)?;
    crate::interp::interop::rename(this.object(), &name);
    this.name.set(name);
    Ok(())
}

/// How many steps a task of ours has run, and for how many nanoseconds since somebody asked, with the step under way.
pub(crate) fn steps_of(task: &Object) -> Option<(u64, u64)> {
    let task = Task::from_object(task)?;
    let now = if task.is_timed.get() { Clock::Monotonic.now_ns() } else { 0 };
    Some((u64::from(task.steps.get()), task.ran_ns.get().wrapping_add(now)))
}

fn set_name(this: &Task, name: &Object) -> Outcome {
    rename(this, name).map(|()| Owned::none())
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

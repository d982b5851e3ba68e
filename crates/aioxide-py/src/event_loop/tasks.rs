//! `create_task` and `create_future`: our classes, where nobody asked for others.

use std::ffi::CStr;

use pyo3::ffi::PyMethodDef;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::connect::is_replaced_by;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{method_fast, method_none};
use crate::ffi::{self, Object, Outcome, Owned, call, raised};
use crate::future::{Future, KINDS};
use crate::interp::names;
use crate::kernel::{Loop, LoopCore, LoopState, Making, Naming};
use crate::task::start::create;
use crate::task::{Start, list};

fn create_future(this: &Loop) -> Outcome {
    let state = this.state();
    if state.own_classes.get() {
        return Future::make(this.object(), state);
    }
    inherited(this.object(), c"create_future", None)
}

fn create_task(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let state = this.state();
    if !state.running.get() {
        choose_classes(state)?;
    }
    let factory = state.eager_naming.get();
    if !state.own_classes.get() || (factory.is_none() && !state.task_factory.is_empty()) {
        return inherited(this.object(), c"create_task", Some(arguments));
    }
    let parameters = [&*names.coro, &names.name, &names.context, &names.eager_start];
    let [coro, name, context, eager] = arguments.parse("create_task", &parameters, 1)?;
    let Some(coro) = coro else {
        let message = "create_task() missing 1 required positional argument: 'coro'";
        return Err(raised::raise(raised::type_error(), message));
    };
    state.refuse_when_closed()?;
    let start = |eager| Start { coro, name, context, eager };
    match (factory, eager) {
        // Before 3.14 there is no such argument, which asyncio's own method says.
        (_, Some(_)) if !cfg!(Py_3_14) => inherited(this.object(), c"create_task", Some(arguments)),
        (Some(naming), None) => create(Making::Eager(naming), this.object(), state, &start(true)),
        (_, eager) => {
            let eager = eager.map(call::truth).transpose()?.unwrap_or(false);
            create(Making::Queued, this.object(), state, &start(eager))
        }
    }
}

/// Obeys a program that has put a class of its own, or asyncio's Python one, in the place of `asyncio.Task`.
///
/// Looked at when a run begins and for the tasks that are made before, not for each task of a run.
pub(super) fn choose_classes(state: &LoopState) -> Outcome<()> {
    let names = names();
    let task = call::get_attribute(&names.tasks_module, &names.task_class_name)?;
    let replaced = !task.is(&names.stock_task) && task.as_ptr() != KINDS.task.get().cast();
    state.own_classes.set(state.wants_own_classes.get() && !replaced);
    Ok(())
}

/// asyncio's own method, which knows what this version of Python does about factories and other classes.
#[cold]
fn inherited(this: &Object, name: &'static std::ffi::CStr, arguments: Option<&Arguments<'_>>) -> Outcome {
    let method = call::get_attribute(&names().base_event_loop, &*call::interned(name)?)?;
    match arguments {
        Some(arguments) => arguments.forward(&method, this),
        None => call::call(&method, &[this]),
    }
}

/// As asyncio's own is: from 3.14 on everything is for the task, `eager_start` too.
const CREATE_TASK: &CStr = if cfg!(Py_3_14) {
    c"create_task($self, coro, **kwargs)\n--\n\nSchedule a coroutine; return a task."
} else {
    c"create_task($self, coro, *, name=None, context=None)\n--\n\nSchedule a coroutine; return a task."
};

/// Raw ones, because they run once per task and per wait.
pub(super) fn methods() -> [PyMethodDef; 2] {
    [
        method_none!(
            c"create_future",
            create_future,
            c"create_future($self)\n--\n\nCreate a future attached to the loop."
        ),
        method_fast!(c"create_task", create_task, CREATE_TASK),
    ]
}

#[pymethods]
impl LoopCore {
    /// Notes that an instance gets a `call_soon` or `create_task` of its own.
    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        ffi::outlive_interpreter();
        match name.to_str()? {
            "call_soon" => slf.get().state.replaces_call_soon.set(true),
            "call_at" => {
                slf.get().state.replaces_call_at.set(true);
                slf.get().state.replaces_timers.set(true);
            }
            "call_later" => slf.get().state.replaces_timers.set(true),
            "create_future" => slf.get().state.replaces_create_future.set(true),
            "time" => slf.get().state.replace_time(true),
            "create_task" => slf.get().state.replaces_create_task.set(true),
            name if is_replaced_by(name) => slf.get().state.replaces_connecting.set(true),
            _ => {}
        }
        ffi::method::generic_set_attribute(slf.as_any(), name, Some(value))
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        ffi::outlive_interpreter();
        ffi::method::generic_set_attribute(slf.as_any(), name, None)?;
        if name == "time" {
            slf.get().state.replace_time(Self::overrides(slf, name)?);
        }
        Ok(())
    }

    #[getter(_task_factory)]
    fn task_factory(&self) -> Option<Py<PyAny>> {
        self.state.task_factory.get().map(Owned::into_py)
    }

    #[setter(_task_factory)]
    fn set_task_factory(&self, factory: Option<Py<PyAny>>) {
        ffi::outlive_interpreter();
        self.state.eager_naming.set(None);
        self.state.task_factory.put(factory.map(Owned::from));
    }

    /// When tasks of the factory get their names; 0 if it is to be called.
    #[setter(_eager_naming)]
    fn set_eager_naming(&self, naming: u8) {
        self.state.eager_naming.set(Naming::from_number(naming));
    }

    /// Whether `create_task` and `create_future` make aioxide's classes, not asyncio's.
    #[getter(_own_classes)]
    fn own_classes(&self) -> bool {
        self.state.own_classes.get()
    }

    #[setter(_own_classes)]
    fn set_own_classes(&self, own: bool) {
        self.state.wants_own_classes.set(own);
        self.state.own_classes.set(own);
    }
}

impl LoopCore {
    /// Whether the class has a method of its own in the place of ours.
    fn overrides(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<bool> {
        let ours = slf.py().get_type::<Self>().getattr(name)?;
        Ok(!ours.is(slf.get_type().getattr(name)?))
    }

    /// Notes whether the class has a `call_soon` or `create_task` of its own, which are then to be called.
    pub(super) fn look_for_overrides(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let overrides = |name| Self::overrides(slf, name);
        let state = &slf.get().state;
        state.replaces_call_soon.set(overrides(pyo3::intern!(py, "call_soon"))?);
        state.replaces_call_at.set(overrides(pyo3::intern!(py, "call_at"))?);
        state
            .replaces_timers
            .set(state.replaces_call_at.get() || overrides(pyo3::intern!(py, "call_later"))?);
        state.replaces_create_future.set(overrides(pyo3::intern!(py, "create_future"))?);
        state.replace_time(overrides(pyo3::intern!(py, "time"))?);
        state.replaces_create_task.set(overrides(pyo3::intern!(py, "create_task"))?);
        Ok(())
    }
}

/// The pending tasks of ours that belong to `event_loop`, or all of them.
#[pyfunction]
#[pyo3(signature = (event_loop=None))]
pub(crate) fn _pending_tasks(event_loop: Option<&Bound<'_, PyAny>>) -> Vec<Py<PyAny>> {
    let event_loop = event_loop.map(|event_loop| Owned::from(event_loop.clone()));
    list::pending(event_loop.as_deref()).into_iter().map(Owned::into_py).collect()
}

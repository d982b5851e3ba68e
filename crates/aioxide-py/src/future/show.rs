//! `repr()` of futures and tasks, as asyncio's own helpers make it.

use pyo3::ffi as c;

use crate::ffi::method::method_none;
use crate::ffi::text::{to_string, type_name};
use crate::ffi::{self, Object, Outcome, call, raised, recursion};
use crate::interp::names;

/// As what an object is shown: a task may be shown as a future, too, by `asyncio.Future.__repr__(task)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Future,
    Task,
}

/// `__repr__`. What a task waits for is a part of it, and so on.
pub(crate) fn repr(this: &Object, shown: Shown) -> Outcome {
    ffi::outlive_interpreter();
    recursion::nested(|| make_repr(this, shown))
}

fn make_repr(this: &Object, shown: Shown) -> Outcome {
    let (module, function) = match shown {
        Shown::Future => (&names().base_futures_module, c"_future_repr"),
        Shown::Task => (&names().base_tasks_module, c"_task_repr"),
    };
    if let Some(function) = call::find_attribute(module, &*call::interned(function)?)? {
        return call::call(&function, &[this]);
    }
    // Python 3.10 puts it together itself.
    let parts = call::call_method(&*call::interned(c"_repr_info")?, &[this], None)?;
    let joined = call::call_method(&*call::interned(c"join")?, &[&*call::text(" ")?, &parts], None)?;
    call::text(&format!("<{} {}>", type_name(this), to_string(&joined)))
}

fn future_info(this: &Object) -> Outcome {
    info(&names().base_futures_module, c"_future_repr_info", this)
}

fn task_info(this: &Object) -> Outcome {
    info(&names().base_tasks_module, c"_task_repr_info", this)
}

fn info(module: &Object, function: &std::ffi::CStr, this: &Object) -> Outcome {
    match call::find_attribute(module, &*call::interned(function)?)? {
        Some(function) => call::call(&function, &[this]),
        None => Err(raised::raise(raised::attribute_error(), "_repr_info")),
    }
}

/// The parts of the repr, which Python 3.10 lets derived classes change; later versions have no such method.
pub(crate) fn methods(shown: Shown, base: &Object) -> Outcome<Option<c::PyMethodDef>> {
    if call::find_attribute(base, &*call::interned(c"_repr_info")?)?.is_none() {
        return Ok(None);
    }
    Ok(Some(match shown {
        Shown::Future => method_none!(
            c"_repr_info",
            future_info,
            c"_repr_info($self, /)\n--\n\nReturn the parts of the repr."
        ),
        Shown::Task => method_none!(
            c"_repr_info",
            task_info,
            c"_repr_info($self, /)\n--\n\nReturn the parts of the repr."
        ),
    }))
}

//! The type `aioxide.Task`: its methods, attributes and slots.

use std::ffi::CStr;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use super::{HOME, Start, Task, TaskData, introspect, list, wakeup};
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{attribute, guard, guard_object, method_fast, method_none, method_one};
use crate::ffi::{self, Object, Outcome, Owned, Visit, call, cast, raised};
use crate::future::family::{self, Home, Member};
use crate::future::show::{self, Shown};
use crate::future::{self, KINDS};
use crate::interp::{interop, names};

/// Without a signature: `inspect` finds that of asyncio's.
const DOC: &CStr = c"A coroutine that runs on the loop, beside others; awaiting the task waits for what the coroutine returns.

Made by `create_task`, which also keeps it alive until it is done.

# Cancel safety
`cancel` raises CancelledError in the coroutine where it waits; the coroutine may clean up, or go on.

asyncio: `asyncio.Task`; docs/compat.md lists the differences.";

// The methods that Python sees.

fn cancel_method(this: &Task, arguments: &Arguments<'_>) -> Outcome {
    let message = future::cancel_message(arguments)?;
    this.as_future().loop_or_raise()?;
    this.cancel(message).map(Owned::boolean)
}

fn cancelling(this: &Task) -> Outcome {
    call::integer(i64::from(this.cancels.get()))
}

fn uncancel(this: &Task) -> Outcome {
    this.uncancel();
    cancelling(this)
}

fn refuse_set_result(_: &Task, _: &Object) -> Outcome {
    Err(raised::raise(raised::runtime_error(), "Task does not support set_result operation"))
}

fn refuse_set_exception(_: &Task, _: &Object) -> Outcome {
    Err(raised::raise(raised::runtime_error(), "Task does not support set_exception operation"))
}

fn get_coro(this: &Task) -> Outcome {
    Ok(this.coro.get_or_none())
}

fn get_context(this: &Task) -> Outcome {
    this.context.get_or_none()
}

fn get_must_cancel(this: &Task) -> Outcome {
    Ok(Owned::boolean(this.must_cancel.get()))
}

fn get_fut_waiter(this: &Task) -> Outcome {
    Ok(this.fut_waiter.get_or_none())
}

fn get_log_destroy_pending(this: &Task) -> Outcome {
    Ok(Owned::boolean(this.log_destroy_pending.get()))
}

fn set_log_destroy_pending(this: &Task, value: Option<&Object>) -> Outcome<()> {
    let Some(value) = value else {
        return Err(raised::raise(raised::attribute_error(), "cannot delete attribute"));
    };
    this.log_destroy_pending.set(call::truth(value)?);
    Ok(())
}

// SAFETY: its data begins with a future's, and the type is made below.
unsafe impl Member for Task {
    fn home() -> &'static Home {
        &HOME
    }

    #[inline]
    fn kind() -> *mut c::PyTypeObject {
        KINDS.task.get()
    }

    #[inline]
    fn data() -> TaskData {
        TaskData::new()
    }

    fn begin(&self) {
        self.log_destroy_pending.set(false);
    }

    fn visit(&self, visit: Visit) -> c_int {
        for slot in self.slots() {
            let status = slot.visit(visit);
            if status != 0 {
                return status;
            }
        }
        self.context.visit(visit)
    }

    #[inline(always)]
    fn let_go(&self) {
        for slot in self.slots() {
            slot.clear();
        }
        self.context.clear();
    }

    /// The list finds a task by the loop that it holds.
    #[inline]
    fn leave(&self) {
        list::unlist(self);
        // A program may have registered it, with asyncio's own function, before it was a task at all.
        interop::forget(&self.0);
    }

    #[inline]
    fn needs_finalizer(&self) -> bool {
        let future = self.as_future();
        future.log_traceback.get()
            || (!future.is_done() && self.log_destroy_pending.get())
            // Where leaving the list is a call of C, it needs a live object, which it is again during the finalizer.
            || interop::unregister_is_a_call()
    }

    fn report(&self) -> Outcome<()> {
        if interop::unregister_is_a_call() {
            interop::unregister(&self.0);
        }
        let future = self.as_future();
        if !future.is_done() && self.log_destroy_pending.get() {
            future::report(future, "Task was destroyed but it is pending!", None, &names().task)?;
        }
        future::report_never_retrieved(future)
    }
}

unsafe extern "C" fn init(
    this: *mut c::PyObject,
    arguments: *mut c::PyObject,
    named: *mut c::PyObject,
) -> c_int {
    guard(-1, || {
        let names = names();
        // SAFETY: an instance of ours.
        let this: &Task = unsafe { cast(this) };
        let parameters = [&*names.coro, &names.loop_, &names.name, &names.context, &names.eager_start];
        // SAFETY: the arguments of a call, as the interpreter passes them.
        let [coro, event_loop, name, context, eager] =
            unsafe { ffi::arguments::parse_init("Task", arguments, named, &parameters, 1) }?;
        let Some(coro) = coro else {
            return Err(raised::raise(
                raised::type_error(),
                "Task() missing required argument 'coro' (pos 1)",
            ));
        };
        let eager = eager.map(call::truth).transpose()?.unwrap_or(false);
        this.initialize(event_loop, &Start { coro, name, context, eager }).map(|()| 0)
    })
}

unsafe extern "C" fn repr(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: an instance of ours.
    guard_object(|| show::repr(unsafe { cast(this) }, Shown::Task))
}

/// Reads the base type; returns the size of its instances.
pub(crate) fn read_base(base: &Object) -> usize {
    HOME.read_base(base)
}

/// Makes the type `aioxide.Task`; after that of futures, which knows the offset.
pub(super) fn make_kind() -> Outcome {
    let asyncio = call::import(c"_asyncio")?;
    let base = call::get_attribute(&asyncio, &*call::interned(c"Task")?)?;
    let mut methods = future::common_methods();
    methods.extend([
        method_fast!(
            c"cancel",
            cancel_method,
            c"cancel($self, /, msg=None)\n--\n\nRequest that this task cancel itself."
        ),
        method_none!(
            c"cancelling",
            cancelling,
            c"cancelling($self, /)\n--\n\nReturn the count of the task's cancellation requests."
        ),
        method_none!(
            c"uncancel",
            uncancel,
            c"uncancel($self, /)\n--\n\nDecrement the count of cancellation requests; return what is left."
        ),
        method_one!(c"set_result", refuse_set_result, c"set_result($self, result, /)\n--\n\nNot for tasks."),
        method_one!(
            c"set_exception",
            refuse_set_exception,
            c"set_exception($self, exception, /)\n--\n\nNot for tasks."
        ),
        method_none!(c"get_coro", get_coro, c"get_coro($self, /)\n--\n\nReturn the coroutine."),
        method_none!(
            c"get_context",
            get_context,
            c"get_context($self, /)\n--\n\nReturn the context in which the coroutine runs."
        ),
    ]);
    methods.extend(introspect::methods());
    methods.extend(show::methods(Shown::Task, &base)?);
    let mut attributes = future::common_attributes();
    attributes.extend([
        attribute!(c"_must_cancel", get_must_cancel),
        attribute!(c"_fut_waiter", get_fut_waiter),
        attribute!(c"_coro", get_coro),
        attribute!(c"_context", get_context),
        attribute!(c"_num_cancels_requested", cancelling),
        attribute!(c"_log_destroy_pending", get_log_destroy_pending, set_log_destroy_pending),
    ]);
    let builder = family::slots::<Task>()
        .slot(c::Py_tp_init, init as *mut c_void)
        .slot(c::Py_tp_repr, repr as *mut c_void)
        .slot(c::Py_tp_doc, DOC.as_ptr() as *mut c_void)
        .methods(methods)
        .attributes(attributes);
    let size = KINDS.offset.get() + size_of::<TaskData>();
    // SAFETY: every slot is of its type; our data lies behind the larger of the two bases of C, and begins with a future's.
    let kind = unsafe {
        future::await_slots(builder).build_with(c"aioxide.Task", size, &base, KINDS.future_class())?
    };
    KINDS.task.set(kind.as_ptr().cast());
    KINDS.wakeup.set(Some(wakeup));
    Ok(kind)
}

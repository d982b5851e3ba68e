//! The type `aioxide.Future`: its slots, over the state and the methods of its neighbours.

use std::ffi::CStr;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use super::family::{self, Home, Member};
use super::methods::{common_attributes, common_methods, own_methods};
use super::report::report_never_retrieved;
use super::show::{self, Shown};
use super::{Future, FutureData, KINDS};
use crate::ffi::kind::KindBuilder;
use crate::ffi::method::guard;
use crate::ffi::unbound::{self, Pair};
use crate::ffi::{self, Object, Outcome, Owned, call, cast};
use crate::interp::names;

static HOME: Home = Home::new();

/// Without a signature: `inspect` finds asyncio's.
const DOC: &CStr = c"A result that is to come; awaiting it waits for the result.

# Cancel safety
Cancelling a task that awaits a future cancels the future, too; see `shield`.

asyncio: `asyncio.Future`; docs/compat.md lists the differences.";

// SAFETY: a future's data, and the type made below.
unsafe impl Member for Future {
    fn home() -> &'static Home {
        &HOME
    }

    #[inline]
    fn kind() -> *mut c::PyTypeObject {
        KINDS.future.get()
    }

    #[inline]
    fn data() -> FutureData {
        FutureData::new()
    }

    #[inline]
    fn needs_finalizer(&self) -> bool {
        self.log_traceback.get()
    }

    fn report(&self) -> Outcome<()> {
        report_never_retrieved(self)
    }
}

unsafe extern "C" fn init(
    this: *mut c::PyObject,
    arguments: *mut c::PyObject,
    named: *mut c::PyObject,
) -> c_int {
    guard(-1, || {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        // SAFETY: the arguments of a call, as the interpreter passes them.
        let [event_loop] =
            unsafe { ffi::arguments::parse_init("Future", arguments, named, &[&names().loop_], 0) }?;
        this.initialize(event_loop).map(|()| 0)
    })
}

unsafe extern "C" fn iterate(this: *mut c::PyObject) -> *mut c::PyObject {
    ffi::method::guard_object(|| {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        crate::future::iter::make(this)
    })
}

/// `__iter__` and `__await__`.
pub(crate) fn await_slots(builder: KindBuilder) -> KindBuilder {
    builder.slot(c::Py_tp_iter, iterate as *mut c_void).slot(c::Py_am_await, iterate as *mut c_void)
}

unsafe extern "C" fn repr(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: an instance of ours.
    ffi::method::guard_object(|| show::repr(unsafe { cast(this) }, Shown::Future))
}

/// asyncio's own classes, of futures and of tasks.
fn bases() -> Outcome<[Owned; 2]> {
    let asyncio = call::import(c"_asyncio")?;
    let class = |name| call::get_attribute(&asyncio, &*call::interned(name)?);
    Ok([class(c"Future")?, class(c"Task")?])
}

/// Leads the methods of asyncio's own classes to ours, for our objects.
pub(crate) fn lead_to_ours(future: &Object, task: &Object) -> Outcome<()> {
    let [future_base, task_base] = bases()?;
    unbound::lead([Pair { stock: &future_base, ours: future }, Pair { stock: &task_base, ours: task }])
}

/// Makes the type `aioxide.Future`; `read_task_base` returns the size of the instances of asyncio's class of tasks.
pub(crate) fn make_kind(read_task_base: fn(&Object) -> usize) -> Outcome {
    let [base, task_base] = bases()?;
    let offset = HOME.read_base(&base).max(read_task_base(&task_base));
    KINDS.offset.set(offset);
    let mut methods = common_methods();
    methods.extend(own_methods());
    methods.extend(show::methods(Shown::Future, &base)?);
    let builder = family::slots::<Future>()
        .slot(c::Py_tp_init, init as *mut c_void)
        .slot(c::Py_tp_repr, repr as *mut c_void)
        .slot(c::Py_tp_doc, DOC.as_ptr() as *mut c_void)
        .methods(methods)
        .attributes(common_attributes());
    // SAFETY: every slot is of its type, and our data fits behind the larger of the two bases.
    let kind = unsafe {
        await_slots(builder).build(c"aioxide.Future", offset + size_of::<FutureData>(), Some(&base))?
    };
    KINDS.future.set(kind.as_ptr().cast());
    Ok(kind)
}

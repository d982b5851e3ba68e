//! The type `aioxide.Future`: its slots, over the state and the methods of its neighbours.

use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use super::methods::{common_attributes, common_methods, own_methods};
use super::report::{report_from_finalizer, report_never_retrieved};
use super::{FREE, Future, FutureData, KINDS};
use crate::ffi::instance::{self, Base};
use crate::ffi::kind::KindBuilder;
use crate::ffi::method::guard;
use crate::ffi::{self, Confined, Outcome, Visit, call, cast, names};
use crate::future_iter;
use crate::task;

static BASE: Confined<Base> = Confined::new(Base::new());

pub(super) fn fill(instance: *mut c::PyObject) {
    // SAFETY: memory of an instance of ours; nothing is there that would have to be dropped.
    unsafe { instance.byte_add(KINDS.offset.get()).cast::<FutureData>().write(FutureData::new()) };
}

unsafe extern "C" fn new(
    kind: *mut c::PyTypeObject,
    _: *mut c::PyObject,
    _: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: the interpreter passes our type or one derived from it.
    ffi::method::guard_object(|| unsafe { FREE.make(kind, kind == KINDS.future.get(), fill) })
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

unsafe extern "C" fn traverse(
    this: *mut c::PyObject,
    function: c::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: an instance of ours.
    let this: &Future = unsafe { cast(this) };
    let visit = Visit { function, argument };
    let status = BASE.traverse(this.object(), visit);
    if status != 0 { status } else { FutureData::traverse(this, visit) }
}

unsafe extern "C" fn clear(this: *mut c::PyObject) -> c_int {
    guard(0, || {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        FutureData::clear(this);
        BASE.clear(this.object());
        Ok(0)
    })
}

unsafe extern "C" fn finalize(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        report_from_finalizer(this.object(), || report_never_retrieved(this));
        Ok(())
    });
}

unsafe extern "C" fn dealloc(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: the last reference to an instance of ours is gone.
        unsafe {
            let future: &Future = cast(this);
            if future.log_traceback.get() && !instance::finalize(this) {
                return Ok(());
            }
            instance::untrack(this);
            instance::clear_weak_references(this);
            FutureData::clear(cast::<Future>(this));
            BASE.clear(cast(this));
            FREE.release(this, c::Py_TYPE(this) == KINDS.future.get());
        }
        Ok(())
    });
}

unsafe extern "C" fn iterate(this: *mut c::PyObject) -> *mut c::PyObject {
    ffi::method::guard_object(|| {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        future_iter::make(this)
    })
}

/// `__iter__` and `__await__`.
pub(crate) fn await_slots(builder: KindBuilder) -> KindBuilder {
    builder
        .slot(c::Py_tp_iter, iterate as *mut c_void)
        .slot(c::Py_am_await, iterate as *mut c_void)
        .slot(c::Py_tp_repr, repr as *mut c_void)
}

unsafe extern "C" fn repr(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: an instance of ours.
    ffi::method::guard_object(|| task::repr(unsafe { cast(this) }))
}

/// Makes the type `aioxide.Future`.
pub(crate) fn make_kind() -> Outcome {
    let asyncio = call::import(c"_asyncio")?;
    let base = call::get_attribute(&asyncio, &*call::interned(c"Future")?)?;
    let task_base = call::get_attribute(&asyncio, &*call::interned(c"Task")?)?;
    let offset = BASE.read(&base).max(task::read_base(&task_base));
    KINDS.offset.set(offset);
    let mut methods = common_methods();
    methods.extend(own_methods());
    let builder = KindBuilder::new()
        .slot(c::Py_tp_new, new as *mut c_void)
        .slot(c::Py_tp_init, init as *mut c_void)
        .slot(c::Py_tp_traverse, traverse as *mut c_void)
        .slot(c::Py_tp_clear, clear as *mut c_void)
        .slot(c::Py_tp_finalize, finalize as *mut c_void)
        .slot(c::Py_tp_dealloc, dealloc as *mut c_void)
        .methods(methods)
        .attributes(common_attributes());
    // SAFETY: every slot is of its type, and our data fits behind the larger of the two bases.
    let kind = unsafe {
        await_slots(builder).build(c"aioxide.Future", offset + size_of::<FutureData>(), Some(&base))?
    };
    KINDS.future.set(kind.as_ptr().cast());
    Ok(kind)
}

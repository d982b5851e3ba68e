//! The two classes as Python sees them: attributes, methods, slots.
//!
//! What is not called per callback is asyncio's own: `repr` and the comparisons are functions of `asyncio.Handle` and
//! `asyncio.TimerHandle` that need nothing but the attributes, so each Python keeps its own texts. `__class__` names
//! asyncio's classes, so that `isinstance(handle, asyncio.Handle)` holds; deriving from them would bring their slots along.

use std::ffi::{CStr, c_int, c_uint, c_ulong, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::{FREE, HANDLE, Handle, KEPT, Layout, TIMER_HANDLE, own};
use crate::ffi::{Owned, raised};

/// What `repr` and the comparisons are taken over from.
static STOCK_HANDLE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(null_mut());
static STOCK_TIMER_HANDLE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(null_mut());

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: Layout; the last reference is gone, so the object is ours; it is untracked before it is taken apart.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let raw = object.cast::<Layout>();
        if !(*raw).weakrefs.get().is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        (*raw).release_all();
        let class = ffi::Py_TYPE(object);
        if FREE.count.get() < KEPT {
            (*raw).weakrefs.set(FREE.head.get().cast());
            FREE.head.set(raw);
            FREE.count.set(FREE.count.get() + 1);
        } else {
            ffi::PyObject_GC_Del(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: Layout; the collector's own function, called with objects that are alive.
    unsafe {
        let layout = &*object.cast::<Layout>();
        for held in layout.held() {
            let answer = visit(held.as_ptr(), argument);
            if answer != 0 {
                return answer;
            }
        }
        visit(ffi::Py_TYPE(object).cast(), argument)
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: Layout.
    let layout = unsafe { &*object.cast::<Layout>() };
    if layout.running.get() == 0 {
        layout.release_all();
    }
    0
}

/// What a getter or method gives back: NULL with the exception set for `Err`.
fn answer(py: Python<'_>, value: PyResult<*mut ffi::PyObject>) -> *mut ffi::PyObject {
    value.unwrap_or_else(|error| {
        error.restore(py);
        null_mut()
    })
}

fn or_none(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the singleton.
    own(if object.is_null() { unsafe { ffi::Py_None() } } else { object })
}

/// Writes a getter over the layout.
macro_rules! getter {
    ($layout:ident, $py:ident => $value:expr) => {{
        unsafe extern "C" fn get(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
            // SAFETY: Layout; CPython calls getters attached.
            let ($layout, $py) = unsafe { (&*object.cast::<Layout>(), Python::assume_attached()) };
            answer($py, $value)
        }
        get
    }};
}

/// Writes a method without arguments over the handle.
macro_rules! no_arguments {
    ($handle:ident, $py:ident => $value:expr) => {{
        unsafe extern "C" fn call(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
            // SAFETY: CPython calls methods attached, with a receiver of the class.
            let ($handle, $py) = unsafe {
                (
                    Handle(Owned::from_raw(std::ptr::NonNull::new_unchecked(own(object)))),
                    Python::assume_attached(),
                )
            };
            answer($py, $value)
        }
        ffi::PyMethodDefPointer { PyCFunction: call }
    }};
}

fn truth(value: bool) -> *mut ffi::PyObject {
    // SAFETY: the singletons.
    own(unsafe { if value { ffi::Py_True() } else { ffi::Py_False() } })
}

fn context(layout: &Layout, py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
    let context = layout.context.get().map_err(|raised| raised::to_pyerr(py, raised))?;
    Ok(context.unwrap_or_else(Owned::none).into_ptr())
}

fn attribute(name: &'static CStr, get: ffi::getter, doc: &'static CStr) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set: None,
        doc: doc.as_ptr(),
        closure: null_mut(),
    }
}

fn method(name: &'static CStr, call: ffi::PyMethodDefPointer, doc: &'static CStr) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: call,
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

fn float(py: Python<'_>, value: f64) -> PyResult<*mut ffi::PyObject> {
    Ok(value.into_pyobject(py)?.into_any().into_ptr())
}

/// Lives as long as the process, as a class does.
fn forever<T>(values: Vec<T>) -> *mut c_void {
    Box::leak(values.into_boxed_slice()).as_mut_ptr().cast()
}

fn handle_slots() -> Vec<ffi::PyType_Slot> {
    let attributes = vec![
        attribute(
            c"_callback",
            getter!(layout, _py => Ok(or_none(if layout.has_call() { layout.callback.get() } else { null_mut() }))),
            c"What is called; None after a cancel.",
        ),
        attribute(
            c"_args",
            getter!(layout, py => if layout.has_call() {
                layout.arguments().map(Owned::into_ptr).map_err(|raised| raised::to_pyerr(py, raised))
            } else {
                Ok(or_none(null_mut()))
            }),
            c"Its arguments; None after a cancel.",
        ),
        attribute(c"_context", getter!(layout, py => context(layout, py)), c"Where it runs."),
        attribute(c"_loop", getter!(layout, _py => Ok(or_none(layout.event_loop.get()))), c"The loop."),
        attribute(
            c"_cancelled",
            getter!(layout, _py => Ok(truth(layout.cancelled.get()))),
            c"Whether it was cancelled.",
        ),
        attribute(
            c"_source_traceback",
            getter!(layout, _py => Ok(or_none(layout.source_traceback.get()))),
            c"Where it was scheduled, in debug mode.",
        ),
        attribute(
            c"_repr",
            getter!(layout, _py => Ok(or_none(layout.repr.get()))),
            c"What repr said before the cancel.",
        ),
        attribute(
            c"__class__",
            getter!(_layout, _py => Ok(or_none(STOCK_HANDLE.load(Ordering::Relaxed)))),
            c"asyncio.Handle.",
        ),
        empty_attribute(),
    ];
    let methods = vec![
        method(
            c"cancel",
            no_arguments!(handle, py => handle.cancel(py).map(|()| or_none(null_mut()))),
            c"cancel($self, /)\n--\n\nCancels the callback; again, or after it ran, changes nothing.",
        ),
        method(
            c"cancelled",
            no_arguments!(handle, _py => Ok(truth(handle.is_cancelled()))),
            c"cancelled($self, /)\n--\n\nWhether `cancel` was called.",
        ),
        method(
            c"get_context",
            no_arguments!(handle, py => context(handle.layout(), py)),
            c"get_context($self, /)\n--\n\nThe context in which the callback runs.",
        ),
        method(
            c"_run",
            no_arguments!(handle, py => handle.call(py).map(|()| or_none(null_mut()))),
            c"_run($self, /)\n--\n\nRuns the callback now.",
        ),
        empty_method(),
    ];
    let members = vec![
        ffi::PyMemberDef {
            name: c"__weaklistoffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset_of!(Layout, weakrefs) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: null(),
        },
        empty_member(),
    ];
    vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_getset, forever(attributes)),
        slot(ffi::Py_tp_methods, forever(methods)),
        slot(ffi::Py_tp_members, forever(members)),
        slot(
            ffi::Py_tp_doc,
            c"A callback scheduled by `call_soon`, `add_reader` and the like.".as_ptr() as *mut c_void,
        ),
        slot(0, null_mut()),
    ]
}

fn timer_slots() -> Vec<ffi::PyType_Slot> {
    let attributes = vec![
        attribute(c"_when", getter!(layout, py => float(py, layout.when.get())), c"When it is due."),
        attribute(
            c"_scheduled",
            getter!(layout, _py => Ok(truth(layout.timer.get().is_some()))),
            c"Whether it waits for its time.",
        ),
        attribute(
            c"__class__",
            getter!(_layout, _py => Ok(or_none(STOCK_TIMER_HANDLE.load(Ordering::Relaxed)))),
            c"asyncio.TimerHandle.",
        ),
        empty_attribute(),
    ];
    let methods = vec![
        method(
            c"when",
            no_arguments!(handle, py => float(py, handle.layout().when.get())),
            c"when($self, /)\n--\n\nThe loop's time at which the callback is due, in seconds.",
        ),
        empty_method(),
    ];
    vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_getset, forever(attributes)),
        slot(ffi::Py_tp_methods, forever(methods)),
        slot(ffi::Py_tp_doc, c"A callback scheduled by `call_later` or `call_at`.".as_ptr() as *mut c_void),
        slot(0, null_mut()),
    ]
}

fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

fn empty_attribute() -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: null(), get: None, set: None, doc: null(), closure: null_mut() }
}

fn empty_method() -> ffi::PyMethodDef {
    ffi::PyMethodDef::zeroed()
}

fn empty_member() -> ffi::PyMemberDef {
    ffi::PyMemberDef { name: null(), type_code: 0, offset: 0, flags: 0, doc: null() }
}

fn make<'py>(
    py: Python<'py>,
    name: &'static CStr,
    mut slots: Vec<ffi::PyType_Slot>,
    flags: c_ulong,
    base: Option<&Bound<'py, PyType>>,
) -> PyResult<Bound<'py, PyType>> {
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<Layout>() as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
            | flags) as c_uint,
        slots: slots.as_mut_ptr(),
    };
    let bases = base.map_or(null_mut(), |base| base.as_ptr());
    // SAFETY: the specification and its slots live for the call, what they point to for ever.
    let class =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpecWithBases(&raw mut spec, bases))? };
    Ok(class.cast_into::<PyType>()?)
}

/// Makes the two classes and puts them into the module.
pub(crate) fn add_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let stock = py.import("asyncio.events")?;
    let (stock_handle, stock_timer) = (stock.getattr("Handle")?, stock.getattr("TimerHandle")?);
    let handle = make(py, c"aioxide._aioxide.Handle", handle_slots(), ffi::Py_TPFLAGS_BASETYPE, None)?;
    let timer = make(py, c"aioxide._aioxide.TimerHandle", timer_slots(), 0, Some(&handle))?;
    for name in ["__repr__", "_repr_info"] {
        handle.setattr(name, stock_handle.getattr(name)?)?;
    }
    for name in ["_repr_info", "__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__hash__"] {
        timer.setattr(name, stock_timer.getattr(name)?)?;
    }
    module.add("Handle", &handle)?;
    module.add("TimerHandle", &timer)?;
    STOCK_HANDLE.store(stock_handle.into_ptr(), Ordering::Relaxed);
    STOCK_TIMER_HANDLE.store(stock_timer.into_ptr(), Ordering::Relaxed);
    HANDLE.store(handle.into_ptr().cast(), Ordering::Relaxed);
    TIMER_HANDLE.store(timer.into_ptr().cast(), Ordering::Relaxed);
    Ok(())
}

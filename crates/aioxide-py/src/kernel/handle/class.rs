//! The two classes as Python sees them: attributes, methods, slots.
//!
//! What is not called per callback is asyncio's own: `repr` and the comparisons are functions of `asyncio.Handle` and
//! `asyncio.TimerHandle` that need nothing but the attributes, so each Python keeps its own texts. `__class__` names
//! asyncio's classes, so that `isinstance(handle, asyncio.Handle)` holds; deriving from them would bring their slots along.

use std::ffi::{CStr, c_int, c_void};
use std::mem::offset_of;
use std::ops::Deref;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use super::{HANDLE, Handle, Layout, Rare, TIMER_HANDLE};
use crate::ffi::kind::KindBuilder;
use crate::ffi::method::{attribute, method_none};
use crate::ffi::{Class, Object, Outcome, Owned, call, end, outlive_interpreter, python, raised};

/// What `repr` and the comparisons are taken over from.
static STOCK_HANDLE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(null_mut());
static STOCK_TIMER_HANDLE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(null_mut());
/// What `call_soon_threadsafe` returns, where that is a class of its own.
static STOCK_SHARED_HANDLE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(null_mut());

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    outlive_interpreter();
    // SAFETY: Layout; the last reference is gone, so the object is ours; it is untracked before it is taken apart.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let raw = object.cast::<Layout>();
        if !(*raw).weakrefs.get().is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        end::take_apart(object, end_of);
    }
}

/// The end of a handle that nobody can reach any more.
unsafe fn end_of(object: *mut ffi::PyObject) {
    // SAFETY: as above.
    unsafe {
        (*object.cast::<Layout>()).release_all();
        let is_timer = ffi::Py_TYPE(object) == TIMER_HANDLE.kind.load(Ordering::Relaxed);
        // Neither class has a finalizer, and none derives from them.
        if is_timer { &TIMER_HANDLE } else { &HANDLE }.free.put_away(object, true);
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

/// An instance of one of the two classes.
#[repr(transparent)]
struct Instance(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Instance {}

impl Deref for Instance {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        // SAFETY: Layout.
        unsafe { &*self.0.as_ptr().cast::<Layout>() }
    }
}

impl Instance {
    /// Runs a method of the handle, which stays alive meanwhile.
    #[inline(always)]
    fn run(&self, method: impl FnOnce(&Handle, Python<'_>) -> PyResult<()>) -> Outcome {
        let py = python(&self.0);
        method(&Handle(self.0.own()), py).map_err(|error| raised::from_pyerr(error, py))?;
        Ok(Owned::none())
    }
}

/// What a pointer holds that owns its object or is NULL.
fn or_none(object: *mut ffi::PyObject) -> Outcome {
    // SAFETY: Owned fields; or a class of asyncio's, held for ever.
    Ok(if object.is_null() { Owned::none() } else { unsafe { Object::from_ptr(object) }.own() })
}

fn callback(this: &Instance) -> Outcome {
    if this.has_call() { or_none(this.callback.get()) } else { Ok(Owned::none()) }
}

fn arguments(this: &Instance) -> Outcome {
    if this.has_call() { this.arguments() } else { Ok(Owned::none()) }
}

fn context(this: &Instance) -> Outcome {
    this.context.get_or_none()
}

fn cancelled(this: &Instance) -> Outcome {
    Ok(Owned::boolean(this.cancelled.get()))
}

/// The method, which waits for a callback that another thread runs.
fn is_cancelled(this: &Instance) -> Outcome {
    this.run(|_, py| this.turns.wait(py))?;
    cancelled(this)
}

fn class(this: &Instance) -> Outcome {
    let stock = if this.turns.is_shared() { &STOCK_SHARED_HANDLE } else { &STOCK_HANDLE };
    or_none(stock.load(Ordering::Relaxed))
}

/// One of the things that few handles have, or None.
fn rare(this: &Instance, which: impl FnOnce(&Rare) -> &Option<Owned>) -> Owned {
    this.rare().and_then(|rare| which(rare).clone()).unwrap_or_else(Owned::none)
}

fn when(this: &Instance) -> Outcome {
    match this.rare().and_then(|rare| rare.when.clone()) {
        Some(given) => Ok(given),
        None => call::float(this.when.get()),
    }
}

/// What the two classes are made of alike.
fn builder(doc: &'static CStr) -> KindBuilder {
    KindBuilder::new()
        .uncallable()
        .slot(ffi::Py_tp_dealloc, dealloc as *mut c_void)
        .slot(ffi::Py_tp_traverse, traverse as *mut c_void)
        .slot(ffi::Py_tp_clear, clear as *mut c_void)
        .slot(ffi::Py_tp_doc, doc.as_ptr() as *mut c_void)
}

fn make_handle() -> Outcome {
    let builder = builder(c"A callback scheduled by `call_soon`, `add_reader` and the like.")
        .weak_references(offset_of!(Layout, weakrefs))
        .methods([
            method_none!(
                c"cancel",
                |this: &Instance| this.run(Handle::cancel),
                c"cancel($self, /)\n--\n\nCancels the callback; again, or after it ran, changes nothing."
            ),
            method_none!(
                c"cancelled",
                is_cancelled,
                c"cancelled($self, /)\n--\n\nWhether `cancel` was called."
            ),
            method_none!(
                c"get_context",
                context,
                c"get_context($self, /)\n--\n\nThe context in which the callback runs."
            ),
            method_none!(
                c"_run",
                |this: &Instance| this.run(Handle::call),
                c"_run($self, /)\n--\n\nRuns the callback now."
            ),
        ])
        .attributes([
            attribute!(c"_callback", callback; c"What is called; None after a cancel."),
            attribute!(c"_args", arguments; c"Its arguments; None after a cancel."),
            attribute!(c"_context", context; c"Where it runs."),
            attribute!(c"_loop", |this: &Instance| or_none(this.event_loop.get()); c"The loop."),
            attribute!(c"_cancelled", cancelled; c"Whether it was cancelled."),
            attribute!(
                c"_source_traceback",
                |this: &Instance| Ok(rare(this, |rare| &rare.source_traceback));
                c"Where it was scheduled, in debug mode."
            ),
            attribute!(
                c"_repr",
                |this: &Instance| Ok(rare(this, |rare| &rare.repr));
                c"What repr said before the cancel."
            ),
            attribute!(c"__class__", class; c"The class of asyncio's that it stands for."),
        ]);
    // SAFETY: every slot is of its type and takes a `Layout`.
    unsafe { builder.build(c"aioxide._aioxide.Handle", size_of::<Layout>(), None) }
}

fn make_timer_handle(handle: &Object) -> Outcome {
    let builder = builder(c"A callback scheduled by `call_later` or `call_at`.")
        .final_type()
        .methods([method_none!(
            c"when",
            when,
            c"when($self, /)\n--\n\nThe loop's time at which the callback is due, in seconds."
        )])
        .attributes([
            attribute!(c"_when", when; c"When it is due."),
            attribute!(
                c"_scheduled",
                |this: &Instance| Ok(Owned::boolean(this.timer.get().is_some()));
                c"Whether it waits for its time."
            ),
            attribute!(
                c"__class__",
                |_: &Instance| or_none(STOCK_TIMER_HANDLE.load(Ordering::Relaxed));
                c"asyncio.TimerHandle."
            ),
        ]);
    // SAFETY: as above.
    unsafe { builder.build(c"aioxide._aioxide.TimerHandle", size_of::<Layout>(), Some(handle)) }
}

/// Makes the two classes and puts them into the module.
pub(crate) fn add_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let failed = |raised| raised::to_pyerr(py, raised);
    let stock = py.import("asyncio.events")?;
    let (stock_handle, stock_timer) = (stock.getattr("Handle")?, stock.getattr("TimerHandle")?);
    let stock_shared = stock.getattr("_ThreadSafeHandle").unwrap_or_else(|_| stock_handle.clone());
    let handle = make_handle().map_err(failed)?;
    let timer = make_timer_handle(&handle).map_err(failed)?;
    let (handle, timer) = (handle.into_bound(py), timer.into_bound(py));
    for name in ["__repr__", "_repr_info"] {
        handle.setattr(name, stock_handle.getattr(name)?)?;
    }
    for name in ["_repr_info", "__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__hash__"] {
        timer.setattr(name, stock_timer.getattr(name)?)?;
    }
    module.add("Handle", &handle)?;
    module.add("TimerHandle", &timer)?;
    STOCK_SHARED_HANDLE.store(stock_shared.into_ptr(), Ordering::Relaxed);
    STOCK_HANDLE.store(stock_handle.into_ptr(), Ordering::Relaxed);
    STOCK_TIMER_HANDLE.store(stock_timer.into_ptr(), Ordering::Relaxed);
    HANDLE.kind.store(handle.into_ptr().cast(), Ordering::Relaxed);
    TIMER_HANDLE.kind.store(timer.into_ptr().cast(), Ordering::Relaxed);
    Ok(())
}

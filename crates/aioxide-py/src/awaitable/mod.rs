//! Awaitables without a coroutine frame: one generic type over the data and the steps of each.
//!
//! An awaitable is a struct that implements [`Steps`] and has a [`Home`]; everything that the interpreter wants to know of
//! it (`__await__`, `__next__`, `send`, `throw`, `close`, the collector's functions) is made from these, once per struct, so
//! that a step costs no indirect call. It has what the abstract class Coroutine asks for: `create_task` takes it.
//!
//! An instance is resumed by `advance` until it returns a value or raises; `give_up` is called for an exception that is
//! thrown in and for `close`, in whatever state it is. Neither may count on the other to come. What awaits something else
//! itself has a `thrown` of its own, which may go on, and passes everything on by `inner`.
//!
//! ```text
//!   await x ──> __await__ ──> next, send ──> Steps::advance ──Yield──> the task waits for what was yielded, then resumes it
//!                                               │         └─Return──> the value of the await
//!               throw, close ──> Steps::thrown, give_up
//!   inner: an awaitable that awaits another · entering: `async with` · looks: what it shows of a coroutine
//! ```

pub(crate) mod entering;
pub(crate) mod inner;
pub(crate) mod looks;

use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Deref;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::free_list::FreeList;
use crate::ffi::kind::KindBuilder;
use crate::ffi::method::{guard, guard_always, guard_object};
use crate::ffi::{
    Class, Confined, Object, Outcome, Owned, Raised, Slot, Visit, cast, coroutine, end, instance, raised,
};
use looks::Stage;

/// What the room puts into the module.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    looks::export(exports)
}

/// What an awaitable did when it was resumed.
pub(crate) enum Next {
    Yield(Owned),
    Return(Owned),
}

/// The data of an awaitable, and what it does.
pub(crate) trait Steps: Sized + 'static {
    /// Whether `await` takes it; else it is only the iterator of something that can be awaited.
    const AWAITABLE: bool = true;
    /// Whether it stands for the coroutine of a function of asyncio's, and looks like it (`looks`).
    const IS_COROUTINE: bool = true;
    /// Where its type and its free instances are: a static of the struct's own.
    fn home() -> &'static Home;
    /// The full name of the function whose coroutine it stands for.
    fn name(&self) -> &'static str {
        ""
    }
    /// How far it is.
    #[inline]
    fn stage(&self) -> Stage {
        Stage::Suspended
    }
    /// What it awaits itself.
    fn awaited(&self) -> Option<Owned> {
        None
    }
    /// The objects that it holds.
    fn slots(&self) -> impl Iterator<Item = &Slot>;
    /// Resumes it.
    fn advance(this: &Awaitable<Self>) -> Outcome<Next>;
    /// Whether it holds nothing any more, so that nothing is to be done at its end.
    fn is_spent(&self) -> bool {
        false
    }
    /// Whether somebody awaits it, so that nobody else may begin to.
    fn is_under_way(&self) -> bool {
        false
    }
    /// Ends it from outside.
    fn give_up(this: &Awaitable<Self>) -> Outcome<()>;
    /// An exception is thrown in. One that has to wait before it may end does not give up, as the others do.
    fn thrown(this: &Awaitable<Self>, exception: Owned) -> Outcome<Next> {
        Self::give_up(this)?;
        Err(raised::put_back(exception))
    }
    /// What Python may read of it.
    fn attributes() -> Vec<c::PyGetSetDef> {
        Vec::new()
    }
}

/// The type of an awaitable, once it is made, and instances to be used again.
pub(crate) struct Home {
    kind: Confined<Cell<*mut c::PyTypeObject>>,
    free: FreeList,
    /// The only instance that the collector does not see, if it is alive.
    unseen: Confined<Cell<*mut c::PyObject>>,
}

impl Home {
    /// Whether an object is an instance of the awaitable that lives here.
    #[inline]
    pub(crate) fn is_of(&self, object: &Object) -> bool {
        object.kind() == self.kind.get()
    }

    pub(crate) const fn new() -> Self {
        Self {
            kind: Confined::new(Cell::new(std::ptr::null_mut())),
            free: FreeList::new(),
            unseen: Confined::new(Cell::new(std::ptr::null_mut())),
        }
    }
}

/// An instance: the struct behind a Python object's header.
#[repr(transparent)]
pub(crate) struct Awaitable<S>(Object, PhantomData<S>);

// SAFETY: transparent over `Object`.
unsafe impl<S> Class for Awaitable<S> {}

struct Body<S> {
    /// The list of the weak references to it, which is the interpreter's.
    weakrefs: Cell<*mut c::PyObject>,
    /// Its value went out by the StopIteration that is used again and again.
    gave_value: Cell<bool>,
    /// Whether the collector sees the instance.
    seen: Cell<bool>,
    /// Whether `finalize` was called, which is so once in its life.
    finalized: Cell<bool>,
    /// Whether it is known where it was made.
    has_origin: Cell<bool>,
    steps: S,
}

impl<S> Body<S> {
    #[inline(always)]
    fn new(steps: S, seen: bool) -> Self {
        let no = Cell::new(false);
        let weakrefs = Cell::new(std::ptr::null_mut());
        Self {
            weakrefs,
            gave_value: no.clone(),
            seen: Cell::new(seen),
            finalized: no.clone(),
            has_origin: no,
            steps,
        }
    }
}

impl<S: Steps> Deref for Awaitable<S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        &self.body().steps
    }
}

impl<S: Steps> Awaitable<S> {
    /// A new instance.
    #[inline]
    pub(crate) fn make(steps: S) -> Outcome {
        let home = S::home();
        // SAFETY: the type that the list is for.
        let made = unsafe {
            home.free.make(home.kind.get(), true, |instance| {
                instance.byte_add(size_of::<c::PyObject>()).cast::<Body<S>>().write(Body::new(steps, true));
            })?
        };
        Self::note_origin(&made)?;
        Ok(made)
    }

    /// The object as an instance, if it is one.
    #[inline]
    pub(crate) fn exact(object: &Object) -> Option<&Self> {
        // SAFETY: an instance of the type.
        S::home().is_of(object).then(|| unsafe { cast(object.as_ptr()) })
    }

    /// A new instance that the collector does not see before it waits: `show` is to be called when it does.
    ///
    /// Most end without waiting, before the next one is made, and the collector's book-keeping would be a good part of what
    /// they cost. One that is still there when the next is made, or when the collector is about to look, is shown then.
    #[inline]
    pub(crate) fn make_unseen(steps: S) -> Outcome {
        let home = S::home();
        Self::show_unseen();
        // SAFETY: as above.
        let made = unsafe {
            home.free.make_unseen(home.kind.get(), |instance| {
                instance.byte_add(size_of::<c::PyObject>()).cast::<Body<S>>().write(Body::new(steps, false));
            })?
        };
        home.unseen.set(made.as_ptr());
        Self::note_origin(&made)?;
        Ok(made)
    }

    #[inline(always)]
    fn note_origin(made: &Owned) -> Outcome<()> {
        if S::IS_COROUTINE && crate::awaitable::looks::tracks_origins() {
            // SAFETY: an instance of ours.
            let this: &Self = unsafe { cast(made.as_ptr()) };
            this.body().has_origin.set(crate::awaitable::looks::note_origin(made)?);
        }
        Ok(())
    }

    /// Lets the collector see the instance from now on.
    #[inline]
    pub(crate) fn show(&self) {
        if !self.body().seen.replace(true) {
            S::home().unseen.set(std::ptr::null_mut());
            // SAFETY: it did not see it so far.
            unsafe { instance::track(self.0.as_ptr()) };
        }
    }

    /// Lets the collector see the instance that it does not see.
    #[inline]
    pub(crate) fn show_unseen() {
        let unseen = S::home().unseen.get();
        if !unseen.is_null() {
            // SAFETY: an instance of ours, which is alive: its end takes it out of there.
            unsafe { cast::<Self>(unseen) }.show();
        }
    }

    /// Makes the type; `name` with its module.
    pub(crate) fn make_kind(name: &'static CStr) -> Outcome<()> {
        const { assert!(align_of::<Body<S>>() <= align_of::<c::PyObject>()) };
        let mut builder = KindBuilder::new()
            .final_type()
            .slot(c::Py_tp_iter, iterate as *mut c_void)
            .slot(c::Py_tp_iternext, iternext::<S> as *mut c_void)
            .slot(c::Py_am_send, am_send::<S> as *mut c_void)
            .slot(c::Py_tp_traverse, traverse::<S> as *mut c_void)
            .slot(c::Py_tp_clear, clear::<S> as *mut c_void)
            .slot(c::Py_tp_dealloc, dealloc::<S> as *mut c_void)
            .weak_references(size_of::<c::PyObject>() + offset_of!(Body<S>, weakrefs))
            .attributes(S::attributes())
            .methods([
                c::PyMethodDef {
                    ml_name: c"send".as_ptr(),
                    ml_meth: c::PyMethodDefPointer { PyCFunction: send::<S> },
                    ml_flags: c::METH_O,
                    ml_doc: c"Resume.".as_ptr(),
                },
                c::PyMethodDef {
                    ml_name: c"throw".as_ptr(),
                    ml_meth: c::PyMethodDefPointer { PyCFunctionFastWithKeywords: throw::<S> },
                    ml_flags: c::METH_FASTCALL | c::METH_KEYWORDS,
                    ml_doc: c"Raise an exception at the await.".as_ptr(),
                },
                c::PyMethodDef {
                    ml_name: c"close".as_ptr(),
                    ml_meth: c::PyMethodDefPointer { PyCFunction: close::<S> },
                    ml_flags: c::METH_NOARGS,
                    ml_doc: c"Give it up.".as_ptr(),
                },
            ]);
        if S::AWAITABLE {
            builder = builder.slot(c::Py_am_await, start_await::<S> as *mut c_void);
        }
        if S::IS_COROUTINE {
            builder = builder
                .attributes(crate::awaitable::looks::attributes::<S>())
                .slot(c::Py_tp_repr, crate::awaitable::looks::repr::<S> as *mut c_void)
                .slot(c::Py_tp_finalize, finalize::<S> as *mut c_void);
        }
        let size = size_of::<c::PyObject>() + size_of::<Body<S>>();
        // SAFETY: every slot is of its type, and the body lies behind the header.
        let kind = unsafe { builder.build(name, size, None)? };
        // The type lives as long as the process: its pointer is kept.
        S::home().kind.set(kind.into_ptr().cast());
        Ok(())
    }

    /// The instance as an object.
    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.0
    }

    #[inline]
    fn body(&self) -> &Body<S> {
        // SAFETY: written by `make`, before anybody could see the instance.
        unsafe { &*self.0.as_ptr().byte_add(size_of::<c::PyObject>()).cast::<Body<S>>() }
    }
}

/// Whether a task takes it as a coroutine without asking asyncio: a native one, or an awaitable of ours.
#[inline]
pub(crate) fn is_coroutine(object: &Object) -> bool {
    if coroutine::is_native(object) {
        return true;
    }
    // SAFETY: a type is alive while its instance is; all of ours, which are final, have this function, nothing else has.
    unsafe {
        let (iterate, methods) = ((*object.kind()).tp_iter, (*object.kind()).tp_as_async);
        iterate.is_some_and(|found| std::ptr::fn_addr_eq(found, ITERATE))
            && !methods.is_null()
            && (*methods).am_await.is_some()
    }
}

const ITERATE: c::getiterfunc = iterate;

/// What is raised by an awaitable that has ended.
#[cold]
pub(crate) fn reused() -> Raised {
    raised::raise(raised::runtime_error(), "cannot reuse already awaited coroutine")
}

/// What is raised by an awaitable that somebody else awaits.
#[cold]
pub(crate) fn awaited_already() -> Raised {
    raised::raise(raised::runtime_error(), "coroutine is being awaited already")
}

/// What is raised by an awaitable that is resumed before its future is done.
#[cold]
pub(crate) fn resumed_too_early() -> Raised {
    raised::raise(raised::runtime_error(), "await wasn't used with future")
}

unsafe extern "C" fn iternext<S: Steps>(this: *mut c::PyObject) -> *mut c::PyObject {
    guard(std::ptr::null_mut(), || {
        // SAFETY: an instance of ours.
        let this: &Awaitable<S> = unsafe { cast(this) };
        match S::advance(this).map_err(refuse_stop::<S>)? {
            Next::Yield(yielded) => Ok(yielded.into_ptr()),
            Next::Return(value) => {
                this.body().gave_value.set(!value.is_none());
                Ok(coroutine::finish_iteration(value))
            }
        }
    })
}

unsafe extern "C" fn am_send<S: Steps>(
    this: *mut c::PyObject,
    _: *mut c::PyObject,
    result: *mut *mut c::PyObject,
) -> c::PySendResult {
    // SAFETY: a place for the result; with an error it must be NULL, which a debug build of CPython asserts.
    unsafe { *result = std::ptr::null_mut() };
    guard(c::PySendResult::PYGEN_ERROR, || {
        // SAFETY: an instance of ours.
        let (value, status) = match S::advance(unsafe { cast(this) }).map_err(refuse_stop::<S>)? {
            Next::Yield(yielded) => (yielded, c::PySendResult::PYGEN_NEXT),
            Next::Return(value) => (value, c::PySendResult::PYGEN_RETURN),
        };
        // SAFETY: a place for the result.
        unsafe { *result = value.into_ptr() };
        Ok(status)
    })
}

unsafe extern "C" fn send<S: Steps>(this: *mut c::PyObject, _: *mut c::PyObject) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: an instance of ours.
        resumed::<S>(unsafe { cast(this) }, S::advance)
    })
}

/// A failure by StopIteration would be taken for an end with its value: as in a coroutine it is a RuntimeError.
#[cold]
fn refuse_stop<S: Steps>(raised: Raised) -> Raised {
    if !S::AWAITABLE || !raised::matches(raised::stop_iteration()) {
        return raised;
    }
    let stop = raised::take(raised);
    let error = raised::take(raised::raise(raised::runtime_error(), "coroutine raised StopIteration"));
    raised::set_cause(&error, &stop);
    raised::put_back(error)
}

/// What a method that resumes returns: what is yielded, or StopIteration with what is returned.
fn resumed<S: Steps>(this: &Awaitable<S>, resume: impl FnOnce(&Awaitable<S>) -> Outcome<Next>) -> Outcome {
    match resume(this).map_err(refuse_stop::<S>)? {
        Next::Yield(yielded) => Ok(yielded),
        Next::Return(value) => {
            this.body().gave_value.set(!value.is_none());
            Err(coroutine::raise_stop(value))
        }
    }
}

/// `throw(type, value=None, traceback=None)`.
unsafe extern "C" fn throw<S: Steps>(
    this: *mut c::PyObject,
    values: *const *mut c::PyObject,
    positional: c::Py_ssize_t,
    names: *mut c::PyObject,
) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: what the interpreter passes to a function of this kind.
        let arguments = unsafe { Arguments::new(values, positional, names) };
        // SAFETY: an instance of ours.
        let this: &Awaitable<S> = unsafe { cast(this) };
        let exception = match raised::from_throw(arguments.positional()) {
            Ok(exception) => exception,
            // What is awaited refuses it, which is raised where it is awaited.
            Err(refused) if matches!(this.stage(), Stage::Suspended) => raised::take(refused),
            Err(refused) => return Err(refused),
        };
        resumed::<S>(this, |this| S::thrown(this, exception))
    })
}

unsafe extern "C" fn close<S: Steps>(this: *mut c::PyObject, _: *mut c::PyObject) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: an instance of ours.
        S::give_up(unsafe { cast(this) })?;
        Ok(Owned::none())
    })
}

/// `__await__`: as with a coroutine, there is one who awaits.
unsafe extern "C" fn start_await<S: Steps>(this: *mut c::PyObject) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: an instance of ours.
        let this: &Awaitable<S> = unsafe { cast(this) };
        if this.is_under_way() { Err(awaited_already()) } else { Ok(this.object().own()) }
    })
}

unsafe extern "C" fn iterate(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: a live object.
    guard_object(|| Ok(unsafe { cast::<Object>(this) }.own()))
}

unsafe extern "C" fn traverse<S: Steps>(
    this: *mut c::PyObject,
    function: c::visitproc,
    argument: *mut c_void,
) -> c_int {
    let visit = Visit { function, argument };
    // SAFETY: an instance of ours; it owns a reference to its type, which lives on the heap.
    let this: &Awaitable<S> = unsafe { cast(this) };
    let mut status = visit.object(this.object().class());
    for slot in this.slots() {
        if status == 0 {
            status = slot.visit(visit);
        }
    }
    status
}

unsafe extern "C" fn clear<S: Steps>(this: *mut c::PyObject) -> c_int {
    // SAFETY: an instance of ours.
    for slot in unsafe { cast::<Awaitable<S>>(this) }.slots() {
        slot.clear();
    }
    0
}

/// Called once, when nobody refers to an instance any more.
unsafe extern "C" fn finalize<S: Steps>(this: *mut c::PyObject) {
    guard_always((), || {
        // SAFETY: an instance of ours.
        let this: &Awaitable<S> = unsafe { cast(this) };
        if !this.body().finalized.replace(true) && this.stage() == Stage::New {
            crate::awaitable::looks::warn_never_awaited(this.object());
        }
        Ok(())
    });
}

unsafe extern "C" fn dealloc<S: Steps>(this: *mut c::PyObject) {
    guard_always((), || {
        // SAFETY: the last reference to an instance of ours is gone.
        unsafe {
            let body = this.byte_add(size_of::<c::PyObject>()).cast::<Body<S>>();
            if !(*body).weakrefs.get().is_null() {
                clear_weak_references::<S>(this);
            }
            let spent = (*body).steps.is_spent();
            if S::IS_COROUTINE && !spent && (*body).steps.stage() == Stage::New {
                cast::<Awaitable<S>>(this).show();
                if !instance::finalize(this) {
                    return Ok(());
                }
            }
            if (*body).seen.get() {
                instance::untrack(this);
            } else {
                S::home().unseen.set(std::ptr::null_mut());
            }
            if (*body).has_origin.get() {
                crate::awaitable::looks::forget_origin(Object::from_ptr(this));
            }
            if spent {
                release::<S>(this);
            } else {
                end::take_apart(this, end_of::<S>);
            }
        }
        Ok(())
    });
}

/// Empties the weak references; what their callbacks do may start the collector, which must not see the instance.
#[cold]
unsafe fn clear_weak_references<S: Steps>(this: *mut c::PyObject) {
    // SAFETY: called by `dealloc`, first of all.
    unsafe {
        cast::<Awaitable<S>>(this).show();
        instance::untrack(this);
        instance::clear_weak_references(this);
        instance::track(this);
    }
}

/// The end of an instance that nobody can reach any more.
unsafe fn end_of<S: Steps>(this: *mut c::PyObject) {
    // SAFETY: as above; what is left in the memory owns nothing.
    unsafe {
        this.byte_add(size_of::<c::PyObject>()).cast::<Body<S>>().drop_in_place();
        release::<S>(this);
    }
}

#[inline]
unsafe fn release<S: Steps>(this: *mut c::PyObject) {
    // SAFETY: as above; the marks are plain data, which are there whether the steps were dropped or not.
    unsafe {
        let body = this.byte_add(size_of::<c::PyObject>()).cast::<Body<S>>();
        let finalized = (*body).finalized.get();
        if (*body).gave_value.get() {
            coroutine::forget_value();
        }
        S::home().free.put_away(this, !finalized);
    }
}

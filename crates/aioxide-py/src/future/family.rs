//! What `Future` and `Task` have in common as types: how instances are made, shown to the collector and taken apart.
//!
//! Our data lies behind the interpreter's part of an instance, at the same offset for both, and begins with a future's.

use std::ops::Deref;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use super::{Future, FutureData, KINDS};
use crate::ffi::free_list::FreeList;
use crate::ffi::instance::{self, Base};
use crate::ffi::kind::KindBuilder;
use crate::ffi::method::{guard_always, guard_object};
use crate::ffi::{Class, Confined, Object, Outcome, Visit, cast, end, raised};
use crate::kernel::LoopState;

/// What a type of the family has but once.
pub(crate) struct Home {
    base: Confined<Base>,
    free: FreeList,
}

impl Home {
    pub(crate) const fn new() -> Self {
        Self { base: Confined::new(Base::new()), free: FreeList::new() }
    }

    /// Reads the base type; returns the size of its instances.
    pub(crate) fn read_base(&self, base: &Object) -> usize {
        self.base.read(base)
    }
}

/// A type of the family.
///
/// # Safety
/// The target is a `FutureData` or `repr(C)` with one at its beginning, and `kind` is a type made of `slots`.
pub(crate) unsafe trait Member: Class + Deref<Target: Sized> + 'static {
    fn home() -> &'static Home;
    fn kind() -> *mut c::PyTypeObject;
    /// What a new instance holds.
    fn data() -> Self::Target;
    /// What `__new__` changes in it: what `__init__` gives is missing yet.
    fn begin(&self) {}
    /// Shows what it holds beside what a future holds.
    fn visit(&self, _visit: Visit) -> c_int {
        0
    }
    /// Lets go of that.
    fn let_go(&self) {}
    /// Leaves what knows it without holding it; called before each step that may be its last.
    fn leave(&self) {}
    /// Whether there is anything to do for the finalizer.
    fn needs_finalizer(&self) -> bool;
    /// What the finalizer tells the loop.
    fn report(&self) -> Outcome<()>;
}

/// An instance of exactly the type, for one of our loops. (A call of it would be 32 instructions for each task.)
#[inline(always)]
pub(crate) fn make<T: Member>(event_loop: &Object, state: &LoopState) -> Outcome {
    // SAFETY: the type that the list is for.
    let made = unsafe { T::home().free.make(T::kind(), true, fill::<T>)? };
    // SAFETY: just made; every member begins as a future.
    let future: &Future = unsafe { cast(made.as_ptr()) };
    future.adopt(event_loop, Some(state));
    if state.debug.get() {
        future.remember_source()?;
    }
    Ok(made)
}

/// The slots of the type, but for `__init__`.
pub(crate) fn slots<T: Member>() -> KindBuilder {
    KindBuilder::new()
        .slot(c::Py_tp_new, new::<T> as *mut c_void)
        .slot(c::Py_tp_traverse, traverse::<T> as *mut c_void)
        .slot(c::Py_tp_clear, clear::<T> as *mut c_void)
        .slot(c::Py_tp_finalize, finalize::<T> as *mut c_void)
        .slot(c::Py_tp_dealloc, dealloc::<T> as *mut c_void)
}

#[inline]
fn fill<T: Member>(instance: *mut c::PyObject) {
    // SAFETY: memory of an instance of ours; nothing is there that would have to be dropped.
    unsafe { instance.byte_add(KINDS.offset.get()).cast::<T::Target>().write(T::data()) };
}

unsafe extern "C" fn new<T: Member>(
    kind: *mut c::PyTypeObject,
    _: *mut c::PyObject,
    _: *mut c::PyObject,
) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: the interpreter passes our type or one derived from it.
        let made = unsafe { T::home().free.make(kind, kind == T::kind(), fill::<T>)? };
        // SAFETY: just made.
        unsafe { cast::<T>(made.as_ptr()) }.begin();
        Ok(made)
    })
}

unsafe extern "C" fn traverse<T: Member>(
    this: *mut c::PyObject,
    function: c::visitproc,
    argument: *mut c_void,
) -> c_int {
    let visit = Visit { function, argument };
    // SAFETY: an instance of ours, which begins as a future.
    let (this, future) = unsafe { (cast::<T>(this), cast::<Future>(this)) };
    let mut status = T::home().base.traverse(future.object(), visit);
    if status == 0 {
        status = FutureData::traverse(future, visit);
    }
    if status == 0 { this.visit(visit) } else { status }
}

/// Lets go of everything. What finds the instance by what it holds is left first.
///
/// # Safety
/// An instance of the type or of one derived from it.
unsafe fn take_apart<T: Member>(this: *mut c::PyObject) {
    // SAFETY: the caller's promise; every member begins as a future.
    let (this, future) = unsafe { (cast::<T>(this), cast::<Future>(this)) };
    this.leave();
    FutureData::clear(future);
    this.let_go();
    T::home().base.clear(future.object());
}

unsafe extern "C" fn clear<T: Member>(this: *mut c::PyObject) -> c_int {
    guard_always(0, || {
        // SAFETY: an instance of ours.
        unsafe { take_apart::<T>(this) };
        Ok(0)
    })
}

unsafe extern "C" fn finalize<T: Member>(this: *mut c::PyObject) {
    guard_always((), || {
        // SAFETY: an instance of ours.
        let (object, this) = unsafe { (cast::<Object>(this), cast::<T>(this)) };
        // The report may bring it back to life, but nobody will run it any more.
        this.leave();
        raised::shielded(object, || this.report());
        Ok(())
    });
}

unsafe extern "C" fn dealloc<T: Member>(this: *mut c::PyObject) {
    guard_always((), || {
        // SAFETY: the last reference to an instance of ours is gone.
        unsafe {
            if cast::<T>(this).needs_finalizer() && !instance::finalize(this) {
                return Ok(());
            }
            // First, so that no weak reference's callback finds it there.
            cast::<T>(this).leave();
            instance::untrack(this);
            instance::clear_weak_references(this);
            end::take_apart(this, end_of::<T>);
        }
        Ok(())
    });
}

/// The end of an instance that nobody can reach any more.
unsafe fn end_of<T: Member>(this: *mut c::PyObject) {
    // SAFETY: as above.
    unsafe {
        take_apart::<T>(this);
        T::home().free.release(this, c::Py_TYPE(this) == T::kind());
    }
}

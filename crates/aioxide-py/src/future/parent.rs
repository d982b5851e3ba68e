//! Parents: what waits for several futures, or for one in another's name, and is told by each as it ends.
//!
//! ```text
//!   child ends ──> needs_entry(child), at once ──true──> an entry in the ready queue ──its turn──> child_done(child)
//!                                               └─false─> counted, and no more
//! ```
//!
//! A parent declares what it does by a `ParentKind` beside its type; the child's waiter carries it, so that nobody has to ask
//! what class the parent is of. `child_done` runs when the entry has its turn, as asyncio's callback would: no Python
//! function, no handle, no context. A future of another class gets a Python callback that does the same.

use pyo3::ffi as c;

use super::{Future, Waiter};
use crate::ffi::method::{Definition, guard_object};
use crate::ffi::{Class, Object, Outcome, Owned, call, cast};
use crate::interp::names;
use crate::kernel::ChildDone;

/// A type of waiters that are no tasks.
pub(crate) trait Parent: Class + Sized + 'static {
    /// `static KIND: ParentKind = ParentKind::of::<Self>(...)`, which stands beside the type.
    fn kind() -> &'static ParentKind;
    /// Whether there is anything to do about a child that is done now, when its turn comes.
    #[inline]
    fn needs_entry(&self, _child: &Future) -> bool {
        true
    }
    /// A child is done and has its turn.
    fn child_done(&self, child: &Object) -> Outcome<()>;
}

/// What a type of parents does, for whoever has the object alone.
pub(crate) struct ParentKind {
    pub(super) needs_entry: fn(&Object, &Future) -> bool,
    pub(super) child_done: ChildDone,
    callback: Definition,
}

impl ParentKind {
    /// `name` is what asyncio calls the callback by which it does the same, for reports.
    pub(crate) const fn of<P: Parent>(name: &'static str) -> Self {
        Self {
            // SAFETY: `watch` makes the waiters, which have the kind of their object's type; the callback is bound to such an one.
            needs_entry: |waiting, child| unsafe { cast::<P>(waiting.as_ptr()) }.needs_entry(child),
            child_done: ChildDone {
                // SAFETY: as above.
                run: |waiting, child| unsafe { cast::<P>(waiting.as_ptr()) }.child_done(child),
                name,
            },
            callback: Definition(c::PyMethodDef {
                ml_name: c"__child_done".as_ptr(),
                ml_meth: c::PyMethodDefPointer { PyCFunction: child_done_method::<P> },
                ml_flags: c::METH_O,
                ml_doc: c"A child is done.".as_ptr(),
            }),
        }
    }

    /// The callback by which a child of another class tells the parent.
    pub(super) fn as_callback(&'static self, waiting: &Object) -> Outcome<Owned> {
        self.callback.bind(waiting)
    }
}

unsafe extern "C" fn child_done_method<P: Parent>(
    this: *mut c::PyObject,
    child: *mut c::PyObject,
) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: live objects; `as_callback` binds the method to a parent of its kind.
        let (this, child) = unsafe { (cast::<P>(this), cast::<Object>(child)) };
        this.child_done(child).map(|()| Owned::none())
    })
}

/// How a child tells of its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Exactly of our classes: as a waiter.
    Ours,
    /// Any other, of a class derived from ours too, which may override anything: by a callback.
    Foreign,
}

fn object<P: Parent>(waiting: &P) -> &Object {
    // SAFETY: `Class`: it is the object and nothing more.
    unsafe { cast(std::ptr::from_ref(waiting).cast_mut().cast()) }
}

/// Makes `child` tell `waiting` of its end.
///
/// Inlined always: a call of its own costs 10 instructions for each child of a gather or a group.
#[inline(always)]
pub(crate) fn watch<P: Parent>(waiting: &P, child: &Object) -> Outcome<Watched> {
    match Future::exact(child) {
        Some(future) => {
            future.add_waiter(Waiter::Parent(object(waiting).own(), P::kind()))?;
            Ok(Watched::Ours)
        }
        None => watch_foreign(waiting, child),
    }
}

/// The same for a future of another class. asyncio gives its `add_done_callback` no context, so it need not take one.
#[inline(never)]
fn watch_foreign<P: Parent>(waiting: &P, child: &Object) -> Outcome<Watched> {
    let callback = as_callback(waiting)?;
    call::call_method(&names().add_done_callback, &[child, &callback], None).map(|_| Watched::Foreign)
}

/// Takes back what `watch` did.
pub(crate) fn unwatch<P: Parent>(waiting: &P, child: &Object) -> Outcome<()> {
    if let Some(future) = Future::exact(child) {
        future.remove_parent(object(waiting));
        return Ok(());
    }
    let callback = as_callback(waiting)?;
    call::call_method(&names().remove_done_callback, &[child, &callback], None).map(drop)
}

/// The callback by which a child of another class tells a parent.
pub(crate) fn as_callback<P: Parent>(waiting: &P) -> Outcome<Owned> {
    P::kind().as_callback(object(waiting))
}

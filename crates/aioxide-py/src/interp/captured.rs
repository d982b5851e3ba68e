//! The context of a callback, copied no sooner than anybody can tell.
//!
//! asyncio copies the current context whenever it schedules something. As long as the variables stay as they are, all those
//! copies are alike, until one is entered or shown. So here what is scheduled shares one copy, the *snapshot*; a copy
//! proper is made when it runs, and given to the next one if the callback left it as it was. A burst of callbacks costs one or two
//! contexts, ten thousand timers or tasks that wait have one between them, and the collector sees as many fewer objects.
//!
//! A [`Captured`] is one of:
//! 1. nothing;
//! 2. *shared*: a reference to a snapshot. Nobody enters it and Python never gets it, so its variables never change;
//! 3. *own*: a reference to a context proper, which anybody may know.
//!
//! Rules:
//! * `latest` owns nothing. It is not null exactly while `sharers`, the number of [`Snapshot`]s that own a reference to it, is not 0.
//! * `spare` has the variables of `latest`, and nobody else refers to it. It is there only while a loop runs, since the
//!   collector cannot see whose it is, and only as long as `latest` is: it keeps nothing alive that a callback does not.
//! * A context is taken for the snapshot's equal only if its variables are the very same mapping and nobody could tell it from
//!   another: no other reference, strong or weak.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::os::raw::c_int;
use std::ptr::{NonNull, null_mut};

use pyo3::{PyTraverseError, PyVisit, ffi};

use super::context_layout::{current_variables, is_known, is_weakly_referenced, variables_of};
use crate::ffi::{Confined, Object, Outcome, Owned, Slot, Visit, context};

struct Snapshots {
    latest: Cell<*mut ffi::PyObject>,
    sharers: Cell<usize>,
    spare: Slot,
    /// How many loops run.
    running: Cell<usize>,
}

static SNAPSHOTS: Confined<Snapshots> = Confined::new(Snapshots {
    latest: Cell::new(null_mut()),
    sharers: Cell::new(0),
    spare: Slot::new(),
    running: Cell::new(0),
});

impl Snapshots {
    #[inline]
    fn is_latest(&self, snapshot: &Object) -> bool {
        self.latest.get() == snapshot.as_ptr()
    }

    /// Another reference to the latest snapshot, if its variables are these.
    #[inline]
    fn share(&self, variables: usize) -> Option<Snapshot> {
        let latest = self.latest.get();
        if latest.is_null() {
            return None;
        }
        // SAFETY: not null, so there is a sharer, which owns a reference.
        let latest = unsafe { Object::from_ptr(latest) };
        (variables_of(latest) == variables).then(|| {
            self.sharers.set(self.sharers.get() + 1);
            Snapshot(latest.own())
        })
    }

    /// Makes another one the latest, or none; returns the spare context, to be dropped when all is consistent.
    #[must_use]
    fn replace(&self, latest: Option<&Object>) -> Option<Owned> {
        self.latest.set(latest.map_or(null_mut(), Object::as_ptr));
        self.sharers.set(usize::from(latest.is_some()));
        self.spare.take()
    }
}

/// A reference to a snapshot.
struct Snapshot(Owned);

impl Snapshot {
    /// A snapshot of the current context.
    #[inline]
    fn take() -> Outcome<Self> {
        if let Some(shared) = current_variables().and_then(|variables| SNAPSHOTS.share(variables)) {
            return Ok(shared);
        }
        let new = context::copy()?;
        drop(SNAPSHOTS.replace(Some(&new)));
        Ok(Self(new))
    }
}

impl Drop for Snapshot {
    #[inline]
    fn drop(&mut self) {
        if SNAPSHOTS.is_latest(&self.0) {
            let left = SNAPSHOTS.sharers.get() - 1;
            SNAPSHOTS.sharers.set(left);
            if left == 0 {
                drop(SNAPSHOTS.replace(None));
            }
        }
    }
}

/// The context that something scheduled is to run in, in one word.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Captured(Cell<*mut ffi::PyObject>);

// Flags in a pointer: objects lie at multiples of 8.
/// It is to a snapshot.
const SHARED: usize = 1;
/// It was entered before: what runs a second time will run a third, and gets a context for good.
const USED: usize = 2;

/// What a [`Captured`] holds.
enum Held {
    Shared(Snapshot),
    Own(Owned),
}

impl Captured {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(null_mut()))
    }

    /// The current context, as it is now.
    #[inline]
    pub(crate) fn current() -> Outcome<Self> {
        let captured = Self::new();
        let held = if is_known() { Held::Shared(Snapshot::take()?) } else { Held::Own(context::copy()?) };
        drop(captured.replace(held));
        Ok(captured)
    }

    /// A given context.
    #[inline]
    pub(crate) fn given(context: Owned) -> Self {
        Self(Cell::new(context.into_ptr()))
    }

    /// The snapshot or the context, or null: what the collector is shown.
    #[inline]
    pub(crate) fn pointer(&self) -> *mut ffi::PyObject {
        self.0.get().map_addr(|address| address & !(SHARED | USED))
    }

    #[inline]
    pub(crate) fn visit(&self, visit: Visit) -> c_int {
        visit.pointer(self.pointer())
    }

    /// `visit` for a class of PyO3's.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.object().map_or(Ok(()), |held| held.traverse(visit))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }

    #[inline]
    fn is_shared(&self) -> bool {
        self.0.get().addr() & SHARED != 0
    }

    /// The snapshot or the context, lent: nothing may run meanwhile that could change the field.
    #[inline]
    fn object(&self) -> Option<&Object> {
        let pointer = self.pointer();
        // SAFETY: the field owns a reference to it.
        (!pointer.is_null()).then(|| unsafe { Object::from_ptr(pointer) })
    }

    /// Fills the field, which gives up what it held.
    #[inline]
    fn replace(&self, held: Held) -> Option<Held> {
        let before = self.take();
        self.0.set(match held {
            Held::Own(context) => context.into_ptr(),
            Held::Shared(snapshot) => {
                // The reference and the share in it are the field's from now on.
                let pointer = ManuallyDrop::new(snapshot).0.as_ptr();
                pointer.map_addr(|address| address | SHARED)
            }
        });
        before
    }

    #[inline]
    fn take(&self) -> Option<Held> {
        let (shared, pointer) = (self.is_shared(), NonNull::new(self.pointer())?);
        self.0.set(null_mut());
        // SAFETY: the field owned the reference.
        let owned = unsafe { Owned::from_raw(pointer) };
        Some(if shared { Held::Shared(Snapshot(owned)) } else { Held::Own(owned) })
    }

    /// Takes over what `other` holds.
    #[inline]
    pub(crate) fn set(&self, other: Self) {
        drop(other.take().map_or_else(|| self.take(), |held| self.replace(held)));
    }

    #[inline]
    pub(crate) fn clear(&self) {
        drop(self.take());
    }

    /// A context proper, for whoever wants to enter, keep or compare it; nothing if the field is empty.
    pub(crate) fn get(&self) -> Outcome<Option<Owned>> {
        let Some(held) = self.object() else { return Ok(None) };
        if !self.is_shared() {
            return Ok(Some(held.own()));
        }
        let context = proper(held)?;
        drop(self.replace(Held::Own(context.clone())));
        Ok(Some(context))
    }

    /// `get`, or `None` the Python object.
    pub(crate) fn get_or_none(&self) -> Outcome {
        Ok(self.get()?.unwrap_or_else(Owned::none))
    }

    /// Makes the context the current one; an empty field gets a copy of what is current.
    ///
    /// # Errors
    /// RuntimeError if it is entered already, TypeError if it is no context.
    #[inline]
    pub(crate) fn enter(&self) -> Outcome<Entered> {
        let entered = match self.object() {
            Some(context) if !self.is_shared() => Entered { context: context.own(), snapshot: None },
            held => self.become_own(held)?,
        };
        context::enter(&entered.context)?;
        Ok(entered)
    }

    /// Replaces the snapshot by a context proper, and keeps it as long as that is entered if this is the first time.
    #[inline(never)]
    fn become_own(&self, held: Option<&Object>) -> Outcome<Entered> {
        let used = self.0.get().addr() & USED != 0;
        let context = held.map_or_else(context::copy, proper)?;
        let snapshot = match self.replace(Held::Own(context.clone())) {
            Some(Held::Shared(snapshot)) if !used && !snapshot.0.is(&context) => Some(snapshot),
            _ => None,
        };
        Ok(Entered { context, snapshot })
    }

    /// Shares `snapshot` again if nobody could tell the difference; the context that was entered is for the next one then.
    #[inline(never)]
    fn give_back(&self, context: Owned, snapshot: Snapshot) {
        if SNAPSHOTS.is_latest(&snapshot.0)
            && variables_of(&snapshot.0) == variables_of(&context)
            && self.is_plain(&context)
        {
            drop(self.replace(Held::Shared(snapshot)));
            self.0.set(self.0.get().map_addr(|address| address | USED));
            if SNAPSHOTS.spare.is_empty() {
                SNAPSHOTS.spare.set(context);
            }
        }
    }

    /// Whether nobody could tell the context that this field owns, and the caller, from another one with the same variables.
    #[inline]
    fn is_plain(&self, context: &Object) -> bool {
        std::ptr::eq(self.0.get(), context.as_ptr())
            && context.is_held_twice()
            && !is_weakly_referenced(context)
            && SNAPSHOTS.running.get() > 0
    }
}

impl Drop for Captured {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

// SAFETY: a reference, which like every other is used and dropped on attached threads only.
unsafe impl Send for Captured {}

/// A context proper with the variables of a snapshot that a field holds: if nobody else does, that very one.
fn proper(snapshot: &Object) -> Outcome {
    if SNAPSHOTS.is_latest(snapshot)
        && let Some(spare) = SNAPSHOTS.spare.take()
    {
        return Ok(spare);
    }
    if snapshot.is_held_once() {
        return Ok(snapshot.own());
    }
    // The collector, which a new object may start, could empty the field.
    let snapshot = snapshot.own();
    // What the collector has cleared has no variables at all.
    if variables_of(&snapshot) == 0 { context::new() } else { context::copy_of(&snapshot) }
}

/// The context that is entered, and the snapshot that it came from, for what the callback schedules.
#[must_use]
pub(crate) struct Entered {
    context: Owned,
    snapshot: Option<Snapshot>,
}

impl Entered {
    /// Leaves the context that `captured` was entered by. An exception that is set stays set.
    ///
    /// # Errors
    /// RuntimeError if another context is the current one.
    #[inline]
    pub(crate) fn exit(self, captured: &Captured) -> Outcome<()> {
        context::exit(&self.context)?;
        if let Some(snapshot) = self.snapshot {
            captured.give_back(self.context, snapshot);
        }
        Ok(())
    }
}

/// A loop runs as long as this lives.
pub(crate) struct Running(());

/// Says that a loop runs: contexts may be kept for its next callback.
pub(crate) fn run() -> Running {
    SNAPSHOTS.running.set(SNAPSHOTS.running.get() + 1);
    Running(())
}

impl Drop for Running {
    fn drop(&mut self) {
        SNAPSHOTS.running.set(SNAPSHOTS.running.get() - 1);
        if SNAPSHOTS.running.get() == 0 {
            SNAPSHOTS.spare.clear();
        }
    }
}

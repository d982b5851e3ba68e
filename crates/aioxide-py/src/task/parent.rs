//! Parents: what waits for several futures, or for one in another's name, and is told by each as it ends.
//!
//! A parent of ours is a waiter without a context (see `future`). When a future of ours ends, the parent is asked at once
//! whether it has anything to do about it (`needs_entry`); if so the ready queue gets one entry for the two, and
//! `child_done` runs when its turn comes, as the callback of asyncio would: no Python function, no handle, no context. A future
//! that is not ours gets a Python callback that does the same.

use std::sync::OnceLock;

use super::completions::Completions;
use super::group::Group;
use super::shield::{self, Shield};
use super::wait::{self, Wait};
use crate::awaitable::Awaitable;
use crate::ffi::method::{Definition, method_one};
use crate::ffi::{Object, Outcome, Owned, call, cast, context};
use crate::future::{Future, KINDS, Waiter};
use crate::interp::{Captured, names};
use crate::task::gather::Gather;

/// A waiter of ours that is no task.
pub(crate) enum Parent<'a> {
    Gather(&'a Gather),
    Wait(&'a Awaitable<Wait>),
    Shield(&'a Awaitable<Shield>),
    Completions(&'a Completions),
    Group(&'a Group),
}

/// The parent that a waiter without a context is; nothing for a task or what wakes a Rust future.
#[inline]
pub(crate) fn of(what: &Object) -> Option<Parent<'_>> {
    let kind = what.kind();
    if kind == KINDS.task.get() {
        return None;
    }
    if let Some(gather) = Gather::exact(what) {
        return Some(Parent::Gather(gather));
    }
    // SAFETY: each is an instance of the type that was asked about.
    unsafe {
        if let Some(group) = Group::from_object(what) {
            Some(Parent::Group(group))
        } else if wait::HOME.is_of(what) {
            Some(Parent::Wait(cast(what.as_ptr())))
        } else if shield::HOME.is_of(what) {
            Some(Parent::Shield(cast(what.as_ptr())))
        } else {
            Completions::exact(what).map(Parent::Completions)
        }
    }
}

impl Parent<'_> {
    /// Whether there is anything to do about a child that is done now, when its turn comes.
    #[inline]
    pub(crate) fn needs_entry(&self, child: &Future) -> bool {
        match self {
            Self::Gather(gather) => gather.needs_entry(child),
            Self::Wait(wait) => wait.needs_entry(child),
            Self::Group(group) => group.needs_entry(child),
            Self::Shield(_) | Self::Completions(_) => true,
        }
    }

    fn child_done(&self, child: &Object) -> Outcome<()> {
        match self {
            Self::Gather(gather) => gather.child_has_turn(child),
            Self::Wait(wait) => wait.child_done(child),
            Self::Shield(shield) => shield.child_done(child),
            Self::Completions(completions) => completions.child_done(child),
            Self::Group(group) => group.child_done(child),
        }
    }
}

/// What a parent does about a child that is done.
pub(crate) fn child_done(waiting: &Object, child: &Object) -> Outcome<()> {
    match of(waiting) {
        Some(parent) => parent.child_done(child),
        None => Ok(()),
    }
}

/// How a child tells of its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Exactly of our classes: as a waiter.
    Ours,
    /// Any other, of a class derived from ours too, which may override anything: by a callback.
    Foreign,
}

/// Makes `child` tell `waiting` of its end.
///
/// Inlined always: a call of its own costs 10 instructions for each child of a gather or a group.
#[inline(always)]
pub(crate) fn watch(waiting: &Object, child: &Object) -> Outcome<Watched> {
    match Future::exact(child) {
        Some(future) => {
            future.add_waiter(Waiter { what: waiting.own(), context: Captured::new() })?;
            Ok(Watched::Ours)
        }
        None => watch_foreign(waiting, child),
    }
}

/// The same for a future that is not ours.
#[inline(never)]
fn watch_foreign(waiting: &Object, child: &Object) -> Outcome<Watched> {
    let names = names();
    let (callback, context) = as_callback(waiting)?;
    call::call_method(&names.add_done_callback, &[child, &callback, &context], Some(&names.context_names))
        .map(|_| Watched::Foreign)
}

/// Takes back what `watch` did.
pub(crate) fn unwatch(waiting: &Object, child: &Object) -> Outcome<()> {
    if let Some(future) = Future::exact(child) {
        future.remove_waiter(waiting);
        return Ok(());
    }
    let (callback, _) = as_callback(waiting)?;
    call::call_method(&names().remove_done_callback, &[child, &callback], None).map(drop)
}

fn child_done_method(this: &Object, child: &Object) -> Outcome {
    child_done(this, child)?;
    Ok(Owned::none())
}

/// The callback, and a context for it, by which a child that is not ours tells a parent.
pub(crate) fn as_callback(waiting: &Object) -> Outcome<(Owned, Owned)> {
    static CHILD_DONE: OnceLock<Definition> = OnceLock::new();
    let definition = CHILD_DONE
        .get_or_init(|| Definition(method_one!(c"__child_done", child_done_method, c"A child is done.")));
    Ok((definition.bind(waiting)?, context::copy()?))
}

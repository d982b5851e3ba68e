//! asyncio's locks in Rust: `Lock`, `Event`, `Semaphore`, `BoundedSemaphore`, `Condition`, `Barrier`.
//!
//! Each is a struct behind the header of a class (`_LockCore` and so on) from which the Python class derives, with
//! asyncio's own as its second base. What a method does at once it does without coroutine frame and future; where it has
//! to wait, `wait` has the awaitable for all of them. `primitive` has what they share. The state is here, and asyncio's
//! attributes (`_locked`, `_value`, `_waiters`...) read and write it: a subclass that replaces what asyncio's methods
//! consult is served by those methods, over the same state (`overrides`).
//!
//! ```text
//!   await lock.acquire() ──> held ──> wait: passes at once (Gate::try_pass) ──> goes on
//!                                          └─ else a future in waiters ──> release wakes it ──> Gate::passed, or missed if cancelled
//!   lock, semaphore: what is held (held) · event · condition, barrier: awaitables of their own
//!   primitive: what all have · waiters over deque: who waits · bound: the loop · overrides: replaced methods
//! ```

mod barrier;
mod barrier_wait;
pub(crate) mod bound;
mod condition;
mod condition_wait;
pub(crate) mod deque;
mod event;
mod held;
mod lock;
mod overrides;
mod primitive;
mod semaphore;
mod wait;
mod waiters;

use std::cell::Cell;
use std::ffi::CStr;

use crate::ffi::exports::Exports;
use crate::ffi::{Object, Outcome, call, raised};
use crate::interp::names;

pub(crate) use lock::taker_of;

/// Makes the types and puts them into the module.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    wait::make_kinds()?;
    exports.add("_LockCore", lock::make_kind()?)?;
    exports.add("_EventCore", event::make_kind()?)?;
    exports.add("_ConditionCore", condition::make_kind()?)?;
    exports.add("_BarrierCore", barrier::make_kind()?)?;
    semaphore::make_kinds()?.into_iter().try_for_each(|(name, kind)| exports.add(name, kind))
}

/// A class of the Python module `aioxide.locks`.
pub(crate) fn ours(name: &CStr) -> Outcome {
    call::get_attribute(&*call::import(c"aioxide.locks")?, &*call::interned(name)?)
}

/// A coroutine of asyncio's that awaits `this.acquire()`.
fn enter_by_protocol(this: &Object) -> Outcome {
    let mixin = &names().context_manager_mixin;
    call::call(&*call::get_attribute(mixin, &*call::interned(c"__aenter__")?)?, &[this])
}

/// `repr` as asyncio writes it: what any object shows, the state, and how many wait.
fn repr(this: &Object, state: &str, waiting: usize) -> Outcome {
    let plain = crate::ffi::text::to_string(&*call::plain_repr(this)?);
    let plain = plain.trim_start_matches('<').trim_end_matches('>');
    let waiting = if waiting > 0 { format!(", waiters:{waiting}") } else { String::new() };
    call::text(&format!("<{plain} [{state}{waiting}]>"))
}

/// Writes an attribute that is a truth value.
fn set_flag(flag: &Cell<bool>, value: Option<&Object>) -> Outcome<()> {
    let Some(value) = value else {
        return Err(raised::raise(raised::attribute_error(), "cannot delete attribute"));
    };
    flag.set(call::truth(value)?);
    Ok(())
}

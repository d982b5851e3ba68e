//! What this interpreter and its asyncio are like, found out while the module is imported: the objects that are used again
//! and again, and where the interpreter keeps what its own functions would be too slow to ask for.
//!
//! ```text
//!   names             interned names, imported objects
//!   captured          the context of a callback, shared until somebody could tell
//!    └ context_layout where a context keeps its variables
//!   current, interop  the current task and the interpreter's lists of tasks
//!    └ c_part         (from 3.14 on) the fields of a task that the interpreter reads itself
//!   descriptor        where a socket object keeps its number
//! ```
//!
//! Each place is looked for by `probe`, in a sample whose content is known. It is used if it was found exactly once; else the
//! public way is taken: slower, never wrong. `learned` tells which were found.

#[cfg(Py_3_14)]
mod c_part;
pub(crate) mod captured;
pub(crate) mod context_layout;
pub(crate) mod current;
pub(crate) mod descriptor;
pub(crate) mod interop;
mod names;
mod probe;

use pyo3::prelude::*;

use crate::ffi::exports::{Exports, export_functions};
use crate::ffi::{Outcome, Owned};

pub(crate) use captured::Captured;
pub(crate) use descriptor::{Descriptor, descriptor_of};
pub(crate) use names::names;

/// Learns, and puts into the module what the room has.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    names::load()?;
    context_layout::learn()?;
    descriptor::learn()?;
    exports.add("QueueShutDown", names().queue_shut_down.clone())?;
    export_functions!(exports, _learn_layout, _learned)
}

/// What was found, by what it makes faster.
#[pyfunction]
fn _learned() -> Vec<(&'static str, bool)> {
    let mut found = vec![
        ("contexts are shared until they are used", context_layout::is_known()),
        ("socket objects are read in place", descriptor::is_known()),
    ];
    if interop::KNOWS_AWAITERS {
        found.push(("tasks are kept where the interpreter keeps its own", !interop::unregister_is_a_call()));
    }
    found
}

/// Learns from tasks of asyncio's own where the interpreter's tools look; `false` if that is not needed or not known.
#[pyfunction]
fn _learn_layout(
    first: &Bound<'_, PyAny>,
    second: &Bound<'_, PyAny>,
    coro: &Bound<'_, PyAny>,
    name: &Bound<'_, PyAny>,
    awaiter: &Bound<'_, PyAny>,
    event_loop: &Bound<'_, PyAny>,
) -> bool {
    let objects = [first, second, coro, name, awaiter, event_loop].map(|object| Owned::from(object.clone()));
    let [first, second, coro, name, awaiter, event_loop] = &objects;
    interop::learn(first, second, coro, name, awaiter, event_loop)
}

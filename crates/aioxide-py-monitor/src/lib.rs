//! The part of `aioxide.monitor` that reads the interpreter: the Python face of `aioxide-monitor`.
//!
//! ```text
//! face     what aioxide.monitor calls
//! source   a snapshot in pieces, attached to the interpreter only during each
//! recorded what a loop has recorded, on its way from there to here
//! watch    the watchdog's thread: heartbeats, stacks of loops that do not answer, deadlocks
//! loops    which loops run, and what could still happen on them
//! walk     from a task to nodes and edges;  things: locks, timers, connections …
//! chain    what a task awaits, link by link
//! eyes     what is learned once: functions, and what an object is by its type
//! facts    what only the extension can read in its own objects
//! watched  whether any of this was used: what only a look wants to know is kept from then on
//! ```
//!
//! Each uses those below it. Nothing here runs unless `aioxide.monitor` was asked for something.
//!
//! **Invariant:** what is read is read without running the program's code, as far as asyncio's own classes go: by the types'
//! own methods, by what the collector sees, and by fields. A derived loop or an overridden private name may run.

mod chain;
mod eyes;
mod face;
mod facts;
mod loops;
mod recorded;
mod source;
mod things;
mod walk;
mod watch;
pub mod watched;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

pub use aioxide_monitor::ends;
pub use aioxide_monitor::schema::{RUN_BOUNDS_NS, Why};
pub use facts::Facts;
pub use recorded::Recorded;

/// Adds the class to the extension's module, which reads `facts`.
///
/// # Errors
/// MemoryError.
pub fn add(module: &Bound<'_, PyModule>, facts: Facts) -> PyResult<()> {
    facts::give(facts);
    module.add_class::<face::Monitor>()
}

/// Locks, also after a panic of who held it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

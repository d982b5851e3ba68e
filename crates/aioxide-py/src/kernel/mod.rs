//! What a loop is and what its queue holds: data, and what can be done with them without knowing who uses them.
//!
//! ```text
//!   LoopCore (core) ──owns──> LoopState (state) ──owns──> ready queue, timers: Entry (entry)
//!      ^                          │                                    │
//!      └──── event_loop ──────────┼── watchers: Watcher (watch) ───────┴─> Handle (handle)
//!                                 └── descriptors of transports, writes that are held (transports)
//! ```
//!
//! core, state, entry, handle and watch refer to each other. What an entry *does* is told in `dispatch`, at the other end of
//! the crate, which knows every kind of entry.
//!
//! * `alive`: the loops that exist. `report`: what the exception handler is told. `making`: how tasks are made. `times`: delays and
//!   deadlines as programs give them. `error`: exceptions that more than one room raises.

pub(crate) mod alive;
mod core;
mod entry;
pub(crate) mod error;
pub(crate) mod handle;
mod making;
pub(crate) mod report;
mod state;
pub(crate) mod times;
mod transports;
mod watch;

use crate::ffi::Outcome;
use crate::ffi::exports::Exports;

pub(crate) use core::{Loop, LoopCore, state_of};
pub(crate) use entry::{ChildDone, Deliver, Entry, Posted, RunContext};
pub(crate) use making::{Making, Naming};
pub(crate) use state::{LoopState, Registry, enter, running};
pub(crate) use transports::{HeldWrites, TransportTable};
pub(crate) use watch::{Direction, Watch, Watcher};

/// What the room puts into the module.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    exports.class::<LoopCore>()?;
    exports.python(handle::add_classes)
}

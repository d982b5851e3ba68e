//! Rust futures of other extensions on this loop, and Python awaitables for them: the other side of the crate `aioxide-pyo3`.
//!
//! `future` is the awaitable, `parker` its waker, `waiting` the wait of a Rust future for Python, `leaves` timers and
//! descriptors, `exports` the table of C functions by which extensions reach all that.
//!
//! Life of an awaitable:
//!
//! ```text
//!   NEW ──resumed──> RUNNING ──ready, raised──────────────> OVER
//!                      │  ^                                   ^
//!              pending │  │ resumed                           │ thrown into, closed, collected,
//!                      v  │                                   │ its loop closed
//!                     WAITING ────────────────────────────────┘
//! ```
//!
//! * The body, which is the Rust future, is there until OVER and is dropped in getting there: on its own thread, attached,
//!   with nothing borrowed; by the poll itself when that ends it. A body that another thread has in its hands at the end (the collector runs anywhere) is
//!   sent home to be dropped; one whose loop is closed is given up, with a report.
//! * A poll lends a lazy waker, which costs nothing unless it is cloned: then the parker is made, for good.
//! * WAITING, the awaitable has yielded a future of the loop, its wait; the parker holds it and finishes it when it is woken:
//!   whoever awaits (a task of ours, one of C, a foreign one) knows how to wait for that, and cancels it. The task then
//!   throws into the awaitable, as into a coroutine.
//! * A waker that is woken during the poll leaves a mark only; the awaitable yields None then, one turn of the loop.
//! * A wake-up on the loop's thread, attached, finishes the wait at once; any other is posted to the loop's inbox, without the
//!   interpreter's lock.

mod exports;
mod future;
mod leaves;
mod parker;
mod waiting;

use aioxide_core::Remote;
use pyo3::prelude::*;

use crate::ffi::Outcome;
use crate::ffi::exports::Exports;

use crate::kernel::Posted;

pub(crate) use future::drop_waiting;

/// How another thread reaches a loop.
pub(crate) type Home = Remote<Posted>;

/// What the room puts into the module: what Python sees of it, and the table.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    future::make_kind()?;
    exports.python(|module| {
        module.add("RustPanic", module.py().get_type::<exports::RustPanic>())?;
        module.add("_rust_api", exports::capsule(module.py())?)
    })
}

//! asyncio's model in Rust: tasks, futures, `gather`, cancellation and introspection on a loop of one thread.
//!
//! ```
//! use std::time::Duration;
//! use aioxide::{gather, spawn, time::sleep};
//!
//! let lengths = aioxide::run(async {
//!     let tasks = ["jython", "realpython"].map(|site| {
//!         spawn(async move {
//!             sleep(Duration::from_millis(1)).await;
//!             Ok::<_, std::convert::Infallible>(site.len())
//!         })
//!     });
//!     assert!(!tasks[0].done());
//!     gather(tasks).await
//! })?;
//! assert_eq!(lengths.unwrap(), [6, 10]);
//! # Ok::<(), aioxide::Error>(())
//! ```
//!
//! Nothing here is bound to a loop of this crate: all of it works on whichever `aioxide-core` loop the thread runs,
//! that of the Python package too.

#![deny(unsafe_code)]

pub mod io;
pub mod net;
pub mod process;
pub mod signal;
pub mod sync;
pub mod testing;
pub mod time;
#[cfg(feature = "watchdog")]
pub mod watchdog;

mod blocking;
mod error;
mod future;
mod handle;
mod label;
mod line;
#[cfg(feature = "monitor")]
mod monitor;
mod race;
mod report;
mod runtime;
mod task;
mod wake;

pub use blocking::{Blocking, spawn_blocking, to_thread};
pub use error::{Cancelled, Elapsed, Error, Panic, ResultError, TaskError};
pub use future::{Future, Take};
pub use handle::{CallHandle, Handle, RemoteHandle, Shutdown};
#[doc(hidden)]
pub use label::label as __label;
#[doc(hidden)]
pub use race::{First as __First, race as __race};
pub use report::{
    DEFAULT_SLOW_CALLBACK_DURATION, ExceptionHandler, Report, ReportKind, set_exception_handler,
    set_slow_callback_duration, slow_callback_duration,
};
pub use runtime::{Runtime, RuntimeBuilder, run};
pub use task::{
    AllOutcomes, AnyTask, AsCompleted, Builder, CallbackKey, CatchCancel, Context, ContextVar, Finished,
    FirstFailure, Gather, GatherAll, Gathering, GroupError, Join, JoinRef, Mode, ResetToken, ReturnWhen,
    Shield, Task, TaskGroup, TaskState, Wait, Waited, WaitingOn, YieldNow, all_tasks, as_completed,
    catch_cancel, current_task, gather, ok, shield, spawn, task_group, try_spawn, wait, yield_now,
};
pub use time::{timeout, timeout_at};

/// The README's example runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// So do those of the guide to what is going on inside.
#[cfg(all(doctest, feature = "watchdog"))]
#[doc = include_str!("../../../docs/guide/seeing-inside.md")]
struct SeeingInside;

/// So do those of the guide for users of tokio.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/from-tokio.md")]
struct FromTokio;

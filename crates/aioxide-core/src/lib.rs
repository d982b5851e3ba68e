//! The engine of aioxide: an event loop that knows neither Python nor HTTP.
//!
//! ```text
//!   run_once
//!   ┌──────────────────────────────────────────────────────────────────────────────┐
//!   │ 1 timers    drop cancelled ones at the head                                  │
//!   │ 2 limit     0 if anything is ready or stopping, else until the next deadline │
//!   │ 3 select    one system call; skipped while work is ready, for a time slice   │
//!   │ 4 collect   events → ready, inbox → ready, due timers → ready, in this order │
//!   │ 5 batch     run exactly what is ready now; what it adds waits                │
//!   └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Modules, in the order in which to read them: [`runnable`] (what the ready queue holds), [`event_loop`] (the
//! iteration), [`timers`], [`reactor`] (descriptors), [`remote`] (other threads), [`current`] (how Rust futures find the
//! loop), [`task`] (the cell of a Rust future), [`clock`], [`signals`], [`children`], [`pool`] and [`resolver`]
//! (blocking calls), [`flow`] (the parts of transports that do no I/O), [`sys`] (the operating system).
//!
//! Invariants:
//! * One thread owns a loop. Only `Remote`, `Notified`, `Schedule` and wakers may be elsewhere.
//! * No borrow of the loop's state is alive while an entry, a waker or a destructor of the user runs.
//! * A wait is one system call; nothing is re-armed for it.
//! * Timers never fire early, and those with equal deadlines fire in the order of the calls.
//! * The type of the entries, `R`, stays in `event_loop`, `ready`, `timers` and `remote`.
//!
//! What is public here serves the faces and is not stable; programs use the crate `aioxide`.
//!
//! # Examples
//! A whole face, for entries that are either a woken task or a callback:
//! ```
//! use std::ops::ControlFlow;
//! use aioxide_core::{EventLoop, Notified, Runnable, Token, spawn};
//!
//! enum Entry { Task(Notified), Call(fn()) }
//! impl From<Notified> for Entry { fn from(task: Notified) -> Self { Entry::Task(task) } }
//! impl Runnable for Entry {
//!     type Posted = Notified;
//!     type Context<'a> = ();
//!     fn from_io(_: Token) -> Self { unreachable!("nothing is watched by callback") }
//!     fn run(self, _: &mut ()) -> ControlFlow<()> {
//!         match self { Entry::Task(task) => task.run(), Entry::Call(call) => call() }
//!         ControlFlow::Continue(())
//!     }
//! }
//!
//! let event_loop = EventLoop::<Entry>::new()?;
//! event_loop.call_soon(Entry::Call(|| println!("first")));
//! let stopper = std::rc::Rc::downgrade(&event_loop);
//! let mut task = spawn(&*event_loop, async move {
//!     if let Some(event_loop) = stopper.upgrade() { event_loop.stop(); }
//!     42
//! }, ());
//! let _ = event_loop.run_forever(&mut ())?;
//! assert_eq!(task.take_output().unwrap().unwrap(), 42);
//! event_loop.close();
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod children;
pub mod clock;
pub mod current;
mod destroy;
pub mod event_loop;
pub mod flow;
mod loom;
#[cfg(all(test, loom))]
mod models;
pub mod observer;
mod patience;
pub mod pool;
pub mod reactor;
mod readiness;
mod ready;
pub mod remote;
pub mod resolver;
pub mod runnable;
pub mod signals;
pub mod sys;
pub mod task;
pub mod timers;

pub use current::LoopHandle;
pub use destroy::{destroy, wake};
pub use event_loop::EventLoop;
pub use reactor::{Reactor, Registration, Token};
pub use remote::Remote;
pub use runnable::Runnable;
pub use sys::Interest;
pub use task::{JoinError, JoinHandle, Meta, Notified, TaskOf, TaskRef, Then, spawn};

/// Names a loop; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoopId(std::num::NonZeroU64);

impl LoopId {
    pub(crate) fn next() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::num::NonZeroU64::new(id).expect("fewer than 2^64 loops"))
    }
}

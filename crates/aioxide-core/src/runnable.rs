//! What the ready queue holds: the one trait through which a face puts its own objects on the loop.

use std::ops::ControlFlow;

use crate::reactor::Token;
use crate::task::Notified;

/// An entry of the ready queue.
///
/// A face defines one small enum (a callback handle, a task step, a woken Rust task, …) and implements this for it.
/// Rust futures join the same queue through `From<Notified>`, so that one FIFO order holds for both.
pub trait Runnable: Sized + From<Notified> + From<Self::Posted> + 'static {
    /// What other threads may send (`call_soon_threadsafe`): it becomes a runnable on the loop's thread.
    type Posted: Send + From<Notified> + 'static;

    /// What running needs: `()` in Rust, the attached interpreter in Python.
    type Context<'a>;

    /// Whether running an entry always moves the thread's [`mark`](crate::clock::mark), so that the loop need not read
    /// the clock itself to notice that its time slice is over: 8 ns of an iteration of 100.
    const MARKS_TIME: bool = false;

    /// The runnable for an event on a descriptor watched with [`Reactor::set_reader`] or `set_writer`.
    ///
    /// [`Reactor::set_reader`]: crate::reactor::Reactor::set_reader
    fn from_io(token: Token) -> Self;

    /// Whether the entry was cancelled after it was queued; such an entry is dropped without being run.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Runs the entry.
    ///
    /// `Break` ends the batch and the run: what is behind the entry stays queued (asyncio does this when a callback
    /// raises `KeyboardInterrupt` or `SystemExit`).
    fn run(self, context: &mut Self::Context<'_>) -> ControlFlow<()>;

    /// A batch has ended, or was broken off: what is left of it still stands first in the queue
    /// ([`EventLoop::batch_left`](crate::EventLoop::batch_left)).
    ///
    /// `Break` ends the run.
    #[inline]
    fn end_batch(context: &mut Self::Context<'_>) -> ControlFlow<()> {
        let _ = context;
        ControlFlow::Continue(())
    }

    /// Calls `wait`, which may block the thread; Python releases the interpreter around it.
    fn block<T>(context: &mut Self::Context<'_>, wait: impl FnOnce() -> T) -> T {
        let _ = context;
        wait()
    }
}

//! What a face implements, so that the server has something to answer.

use std::time::Duration;

use crate::protocol::{Refusal, SnapshotOptions};
use crate::schema::{Ended, Id, Lag, Program, Snapshot, Stacks, ThreadStack};
use crate::timeline::LoopTimeline;

/// A program that can be looked into.
///
/// All of it but `program`, `threads`, `lag` and `held_for` is called on one thread, one call at a time. Those are called on
/// any thread, also while another call is under way, and must return soon.
pub trait Source: Send + Sync + 'static {
    /// The program.
    fn program(&self) -> Program;

    /// Everything at one time; need not be linked.
    ///
    /// # Errors
    /// When it cannot be taken.
    fn snapshot(&self, options: &SnapshotOptions) -> Result<Snapshot, Refusal>;

    /// The stacks of tasks, and of the threads that run loops.
    ///
    /// # Errors
    /// When they cannot be taken. A task that is not there is left out.
    fn stacks(&self, tasks: &[Id]) -> Result<Stacks, Refusal>;

    /// What the threads that run loops are doing, where that can be told beside a call that is under way: it is called on any
    /// thread. `None`: `stacks` is to be asked.
    fn threads(&self) -> Option<Vec<ThreadStack>> {
        None
    }

    /// Cancels a task, if it still has that name; returns whether it was not done.
    ///
    /// # Errors
    /// `UnknownTask` when there is none, or it has another name.
    fn cancel(&self, task: Id, name: &str) -> Result<bool, Refusal>;

    /// Tasks that have ended, the newest first.
    ///
    /// # Errors
    /// When they are not known.
    fn history(&self, limit: usize) -> Result<Vec<Ended>, Refusal>;

    /// Records what the loops run, from now on, for at most `length`.
    ///
    /// # Errors
    /// `Busy` when that is done already, `Unsupported` when no loop can.
    fn record(&self, length: Duration) -> Result<(), Refusal>;

    /// Ends that, and returns what was recorded, a timeline for each loop.
    ///
    /// # Errors
    /// When nothing was.
    fn recorded(&self) -> Result<Vec<LoopTimeline>, Refusal>;

    /// How late the loops answer.
    fn lag(&self) -> Vec<Lag>;

    /// How long a call that is under way has been waiting to be let into the program, by the interpreter's lock, say.
    fn held_for(&self) -> Duration {
        Duration::ZERO
    }
}

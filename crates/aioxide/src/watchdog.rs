//! What keeps a loop from running, told while it does so; and who can never go on. (Feature `watchdog`.)
//!
//! ```text
//! Watchdog ──build──> beat: a thread  ── a call, twice per limit ──>  the loop answers
//!                       │ no answer within the limit
//!                       └─ stack: what the loop's thread is doing, ─> Finding ─> the program's function, or standard error
//! ```
//!
//! ```no_run
//! use aioxide::{Runtime, watchdog::Watchdog};
//! use std::time::Duration;
//!
//! let runtime = Runtime::builder().watchdog(Watchdog::new(Duration::from_millis(200))).build()?;
//! runtime.block_on(async {
//!     std::thread::sleep(Duration::from_secs(1)); // is told, with this line
//! })?;
//! # Ok::<(), aioxide::Error>(())
//! ```
//!
//! asyncio: `aioxide.monitor.watchdog` of the Python package. There `set_slow_callback_duration` tells afterwards, without a stack;
//! so does [`set_slow_callback_duration`](crate::set_slow_callback_duration) here.

mod beat;
mod names;
mod stack;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use aioxide_core::sys::sample::Sample;
pub(crate) use beat::{Beating, start};
pub(crate) use names::{forget, note};

/// The functions of a sample from the program's innermost on, the innermost first.
pub(crate) fn of_program(sample: &Sample) -> Vec<StackFrame> {
    let mut found = stack::resolve(sample);
    found.drain(..stack::innermost(&found).unwrap_or(0));
    found
}

/// A place is told of no more often than that, unless the program says otherwise.
const EVERY: Duration = Duration::from_secs(10);

/// A shorter limit would tell of the watchdog's own wake-ups.
const LEAST_LIMIT: Duration = Duration::from_millis(1);

type Report = Arc<dyn Fn(&Finding) + Send + Sync>;

/// What a loop's watchdog is to do; for [`RuntimeBuilder::watchdog`](crate::RuntimeBuilder::watchdog).
///
/// A thread asks the loop for an answer twice per limit. A poll of one and a half times the limit is always seen, a shorter one
/// than the limit never; many short ones in one batch count as one. What the loop's thread is doing is asked by a signal, SIGURG
/// (Linux; it is ignored where nobody handles it, and a program that handles it itself gets no stacks): after the limit, and each time
/// that the wait has doubled. A system call of the blocker may return EINTR because of it, and its timeout begin again.
#[derive(Clone)]
#[must_use = "it does nothing before a loop is built with it"]
pub struct Watchdog {
    limit: Duration,
    every: Duration,
    deadlocks: bool,
    report: Option<Report>,
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Watchdog")
            .field("limit", &self.limit)
            .field("every", &self.every)
            .field("deadlocks", &self.deadlocks)
            .finish_non_exhaustive()
    }
}

impl Watchdog {
    /// One that tells when the loop does not answer for `limit`, a millisecond at least.
    pub fn new(limit: Duration) -> Self {
        Self { limit: limit.max(LEAST_LIMIT), every: EVERY, deadlocks: true, report: None }
    }

    /// The same place is told of no more often than that: every ten seconds, unless it is said.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Whether it also tells, once, when nothing can happen on any watched loop any more and tasks are waiting: it does, unless
    /// it is said.
    pub fn deadlocks(mut self, on: bool) -> Self {
        self.deadlocks = on;
        self
    }

    /// Who is told, on the watchdog's own thread; without it, findings are written to standard error.
    ///
    /// # Examples
    /// ```
    /// use aioxide::{Runtime, watchdog::{Finding, Watchdog}};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let watchdog = Watchdog::new(Duration::from_millis(20)).report(move |found| {
    ///     if let Finding::Blocked(blocked) = found {
    ///         let _ = tell.send(blocked.task_name.clone());
    ///     }
    /// });
    /// let runtime = Runtime::builder().watchdog(watchdog).build()?;
    /// let name = runtime.block_on(async {
    ///     let slow = async move { told.recv().unwrap() }; // blocks the loop until it is told
    ///     aioxide::Task::builder().name("request 7").spawn(slow).await
    /// })?;
    /// assert_eq!(name.as_deref(), Some("request 7"));
    /// # Ok::<(), aioxide::Error>(())
    /// ```
    pub fn report(mut self, report: impl Fn(&Finding) + Send + Sync + 'static) -> Self {
        self.report = Some(Arc::new(report));
        self
    }
}

/// What the watchdog has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// A poll keeps the loop from running, now.
    Blocked(Blocked),
    /// Tasks wait on what nobody can do any more.
    Deadlock(Deadlock),
}

/// A poll that keeps the loop from running.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Blocked {
    /// For how long the loop has not answered by now.
    pub duration: Duration,
    /// The number of the task; `None` where that is not known, or it is no task.
    pub task_id: Option<u64>,
    /// Its name.
    pub task_name: Option<String>,
    /// Where it was spawned.
    pub place: Option<&'static Location<'static>>,
    /// What it is doing, the innermost first: from what the program has called out to the task's future. Empty where that could not be
    /// learned; without debug information there are no lines, in a stripped program no names.
    pub stack: Vec<StackFrame>,
    /// How often the same place was not told of since the last time.
    pub suppressed: u64,
}

/// A place in a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackFrame {
    /// The function's path, or an address.
    pub function: String,
    /// Its source file, and the line.
    pub place: Option<(String, u32)>,
}

/// Tasks that can never go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlock {
    /// How many.
    pub tasks: u64,
    /// Which, and on what they wait: several lines for people.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked(blocked) => blocked.fmt(formatter),
            Self::Deadlock(deadlock) => formatter.write_str(deadlock.text.trim_end()),
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "loop blocked for {:.2} s", self.duration.as_secs_f64())?;
        match (&self.task_name, self.place) {
            (Some(name), Some(place)) => write!(formatter, " in task '{name}' spawned at {place}")?,
            (Some(name), None) => write!(formatter, " in task '{name}'")?,
            (None, Some(place)) => write!(formatter, " in a callback made at {place}")?,
            (None, None) => {}
        }
        if !self.stack.is_empty() {
            formatter.write_str(" by a call that does not return:")?;
        }
        for frame in &self.stack {
            write!(formatter, "\n  {}", frame.function)?;
            if let Some((file, line)) = &frame.place {
                write!(formatter, "\n    at {file}:{line}")?;
            }
        }
        if self.suppressed > 0 {
            write!(formatter, "\n  (the same place {} times since the last report)", self.suppressed)?;
        }
        Ok(())
    }
}

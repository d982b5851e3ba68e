//! What goes wrong where nobody awaits it: told once, to a handler that the program may set.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// A poll that takes longer than this is reported, unless [`set_slow_callback_duration`] says otherwise.
pub const DEFAULT_SLOW_CALLBACK_DURATION: Duration = Duration::from_millis(100);

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportKind {
    /// A task or future failed, and its handle was dropped without anybody having looked (asyncio: "exception was
    /// never retrieved").
    NeverRetrieved,
    /// One poll of a task kept the loop for so long; the others starved meanwhile.
    SlowCallback(Duration),
    /// A callback panicked.
    CallbackPanicked,
    /// A listener found descriptors or memory exhausted, and rests for so long.
    AcceptPaused(Duration),
}

/// One thing that went wrong where nobody awaits it.
///
/// asyncio: the context given to `call_exception_handler`.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) kind: ReportKind,
    pub(crate) task: Option<ReportedTask>,
    pub(crate) detail: Option<String>,
}

/// The task that a [`Report`] is about.
#[derive(Clone, Debug)]
pub(crate) struct ReportedTask {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) place: &'static Location<'static>,
}

impl Report {
    /// What it is about.
    pub fn kind(&self) -> &ReportKind {
        &self.kind
    }

    /// The number of the task concerned.
    pub fn task_id(&self) -> Option<u64> {
        Some(self.task.as_ref()?.id)
    }

    /// The name of the task concerned.
    pub fn task_name(&self) -> Option<&str> {
        Some(&self.task.as_ref()?.name)
    }

    /// Where the task concerned was spawned.
    pub fn place(&self) -> Option<&'static Location<'static>> {
        Some(self.task.as_ref()?.place)
    }

    /// The error or the text of the panic.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some(task) => write!(formatter, "task '{}' spawned at {} ", task.name, task.place)?,
            None if matches!(self.kind, ReportKind::AcceptPaused(_)) => formatter.write_str("accept() ")?,
            None => formatter.write_str("future ")?,
        }
        match &self.kind {
            ReportKind::NeverRetrieved => formatter.write_str("failed and nobody looked")?,
            ReportKind::SlowCallback(took) => write!(formatter, "kept the event loop for {took:?}")?,
            ReportKind::CallbackPanicked => formatter.write_str("has a callback that panicked")?,
            ReportKind::AcceptPaused(rest) => {
                write!(formatter, "is out of system resources, next try in {rest:?}")?;
            }
        }
        match &self.detail {
            Some(detail) => write!(formatter, ": {detail}"),
            None => Ok(()),
        }
    }
}

/// Takes the reports of a thread.
pub type ExceptionHandler = Rc<dyn Fn(&Report)>;

thread_local! {
    static HANDLER: RefCell<Option<ExceptionHandler>> = const { RefCell::new(None) };
    static SLOW_NS: Cell<u64> = const { Cell::new(DEFAULT_SLOW_CALLBACK_DURATION.as_nanos() as u64) };
}

/// Sets who takes this thread's reports, and returns who did; `None` writes them to standard error.
///
/// # Examples
/// ```
/// use std::{cell::RefCell, rc::Rc};
/// let seen = Rc::new(RefCell::new(Vec::new()));
/// let sink = Rc::clone(&seen);
/// aioxide::set_exception_handler(Some(Rc::new(move |report| sink.borrow_mut().push(report.to_string()))));
/// aioxide::run(async {
///     drop(aioxide::try_spawn(async { Err::<(), _>("no such host") }));
///     aioxide::yield_now().await;
/// }).unwrap();
/// assert!(seen.borrow()[0].ends_with("failed and nobody looked: \"no such host\""));
/// ```
/// asyncio: `loop.set_exception_handler`, but of the thread, since a thread runs one loop at a time.
pub fn set_exception_handler(handler: Option<ExceptionHandler>) -> Option<ExceptionHandler> {
    // A thread that is at its end has none any more, and keeps none.
    HANDLER.try_with(|held| held.replace(handler)).unwrap_or_default()
}

/// Sets from which duration on a poll is reported as slow; the resolution is a few milliseconds.
///
/// asyncio: `loop.slow_callback_duration`, which only counts in debug mode; here it always does.
pub fn set_slow_callback_duration(duration: Duration) {
    let _ended = SLOW_NS.try_with(|slow| slow.set(aioxide_core::clock::saturating_ns(duration)));
}

/// The duration from which on a poll is reported as slow.
pub fn slow_callback_duration() -> Duration {
    Duration::from_nanos(slow_ns())
}

#[inline]
pub(crate) fn slow_ns() -> u64 {
    SLOW_NS.try_with(Cell::get).unwrap_or(u64::MAX)
}

/// Hands a report to the handler, or to standard error.
pub(crate) fn report(report: &Report) {
    // The handler may replace itself: no borrow is alive while it runs.
    let handler = HANDLER.try_with(|held| held.borrow().clone()).ok().flatten();
    // A handler that panics must not take the loop with it: what it was to be told goes to standard error.
    let told = handler.is_some_and(|handler| {
        // It is let go in there, too: it may have taken itself out.
        let called = catch_unwind(AssertUnwindSafe(move || handler(report)));
        called.map_err(aioxide_core::destroy).is_ok()
    });
    if !told {
        tell(report);
    }
}

/// Writes a line to standard error.
pub(crate) fn tell(text: &impl fmt::Display) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "aioxide: {text}");
}

//! The errors of this crate: why a task has no result, and why a run has none.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::rc::Rc;

/// What is said where a loop is needed and none is there.
pub(crate) const NO_LOOP: &str =
    "no event loop is running on this thread: this works inside `aioxide::run` and the tasks spawned there";
/// What is said where something of one loop is awaited on another.
pub(crate) const OTHER_LOOP: &str =
    "what is awaited belongs to another event loop than the one that runs here";

/// A cancellation, as [`catch_cancel`](crate::catch_cancel) hands it out.
///
/// asyncio: `CancelledError`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancelled {
    message: Option<Rc<str>>,
}

impl Cancelled {
    pub(crate) fn new(message: Option<Rc<str>>) -> Self {
        Self { message }
    }

    /// What the canceller said.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    pub(crate) fn shared_message(&self) -> Option<Rc<str>> {
        self.message.clone()
    }

    /// Passes the cancellation on, as `raise` does in an `except CancelledError`: the future awaiting this is dropped
    /// up to the next [`catch_cancel`](crate::catch_cancel) scope, or the task ends as cancelled.
    ///
    /// # Panics
    /// Outside a task of this crate there is nothing to end.
    ///
    /// # Examples
    /// ```
    /// use aioxide::{catch_cancel, spawn, time::sleep};
    /// use std::time::Duration;
    ///
    /// aioxide::run(async {
    ///     let task = spawn(async {
    ///         if let Err(cancelled) = catch_cancel(sleep(Duration::from_secs(3600))).await {
    ///             // ... clean up, with awaits if need be ...
    ///             cancelled.propagate().await;
    ///         }
    ///     });
    ///     aioxide::yield_now().await;
    ///     task.cancel();
    ///     assert!(task.join().await.unwrap_err().is_cancelled());
    /// }).unwrap();
    /// ```
    pub async fn propagate(self) -> Infallible {
        std::future::poll_fn(|_| crate::task::raise(self.shared_message())).await
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            None => formatter.write_str("cancelled"),
            Some(message) => write!(formatter, "cancelled: {message}"),
        }
    }
}

impl std::error::Error for Cancelled {}

/// What a task panicked with.
pub struct Panic {
    payload: Box<dyn Any + Send>,
}

impl Panic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        Self { payload }
    }

    /// The text of the panic, if it has one.
    pub fn message(&self) -> Option<&str> {
        message_of(&*self.payload)
    }

    /// What the panic carried.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload
    }

    /// Panics with the same payload, without calling the panic hook again.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.payload)
    }
}

/// The text in the payload of a panic.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

impl fmt::Debug for Panic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Panic({:?})", self.message().unwrap_or("(no text)"))
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "panicked: {}", self.message().unwrap_or("(no text)"))
    }
}

impl std::error::Error for Panic {}

/// How a task ended that has no value to give; `E` is the error type of its own result.
///
/// # Examples
/// ```
/// use aioxide::{TaskError, gather};
/// aioxide::run(async {
///     let outcomes = gather([Ok(1), Err("broken")].map(std::future::ready)).return_exceptions().await;
///     assert!(matches!(outcomes[..], [Ok(1), Err(TaskError::Failed("broken"))]));
/// }).unwrap();
/// ```
#[derive(Debug)]
pub enum TaskError<E = Infallible> {
    /// It returned an error.
    Failed(E),
    /// It was cancelled.
    Cancelled(Cancelled),
    /// It panicked.
    Panicked(Panic),
}

impl<E> TaskError<E> {
    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// The error that the task returned, if it did.
    pub fn failure(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Changes the type of the task's own error.
    pub fn map<F>(self, change: impl FnOnce(E) -> F) -> TaskError<F> {
        match self {
            Self::Failed(error) => TaskError::Failed(change(error)),
            Self::Cancelled(cancelled) => TaskError::Cancelled(cancelled),
            Self::Panicked(panic) => TaskError::Panicked(panic),
        }
    }
}

impl TaskError<Infallible> {
    /// The same end, where the task could have failed as well.
    pub fn widen<E>(self) -> TaskError<E> {
        self.map(|never| match never {})
    }
}

impl<E: fmt::Display> fmt::Display for TaskError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(formatter, "task failed: {error}"),
            Self::Cancelled(cancelled) => write!(formatter, "task {cancelled}"),
            Self::Panicked(panic) => write!(formatter, "task {panic}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for TaskError<E> {}

/// Why a result cannot be looked at.
///
/// asyncio: `InvalidStateError`, `CancelledError`, or what the coroutine raised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultError {
    /// There is none yet, or it was taken away already.
    InvalidState,
    /// The task or future was cancelled.
    Cancelled(Cancelled),
    /// The task panicked, with this text.
    Panicked(String),
}

impl fmt::Display for ResultError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidState => formatter.write_str("result is not set"),
            Self::Cancelled(cancelled) => cancelled.fmt(formatter),
            Self::Panicked(message) => write!(formatter, "panicked: {message}"),
        }
    }
}

impl std::error::Error for ResultError {}

/// The time allowed has passed.
///
/// asyncio: `TimeoutError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(pub(crate) ());

impl fmt::Display for Elapsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Why a loop could not be made, or a run has no result.
#[derive(Debug)]
pub struct Error(Box<Kind>);

#[derive(Debug)]
enum Kind {
    Io(io::Error),
    Cancelled(Cancelled),
    Stopped,
    Running,
    Closed,
}

impl Error {
    fn new(kind: Kind) -> Self {
        Self(Box::new(kind))
    }

    pub(crate) fn cancelled(cancelled: Cancelled) -> Self {
        Self::new(Kind::Cancelled(cancelled))
    }

    pub(crate) fn stopped() -> Self {
        Self::new(Kind::Stopped)
    }

    pub(crate) fn running() -> Self {
        Self::new(Kind::Running)
    }

    pub(crate) fn closed() -> Self {
        Self::new(Kind::Closed)
    }

    /// The main task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0, Kind::Cancelled(_))
    }

    /// The loop was stopped before the future was ready.
    pub fn is_stopped(&self) -> bool {
        matches!(*self.0, Kind::Stopped)
    }

    /// This thread runs a loop already.
    pub fn is_running(&self) -> bool {
        matches!(*self.0, Kind::Running)
    }

    /// The loop is closed.
    pub fn is_closed(&self) -> bool {
        matches!(*self.0, Kind::Closed)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(Kind::Io(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Io(_) => formatter.write_str("event loop failed"),
            Kind::Cancelled(cancelled) => write!(formatter, "main task {cancelled}"),
            Kind::Stopped => formatter.write_str("event loop stopped before the future completed"),
            Kind::Running => formatter.write_str("event loop is already running on this thread"),
            Kind::Closed => formatter.write_str("event loop is closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Kind::Io(error) => Some(error),
            _ => None,
        }
    }
}

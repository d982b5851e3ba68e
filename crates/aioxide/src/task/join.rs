//! The handle of a task: awaiting it, and looking at its result.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use aioxide_core::task::{JoinError, JoinHandle, with_current_meta};

use super::any::{AnyTask, Finished};
use super::waiting::{Awaited, Waiting};
use super::{Builder, Meta, raise, wait_for};
use crate::error::{Panic, ResultError, TaskError};

/// A spawned task whose future returns a `T`.
///
/// * `task.await` returns what the future returned. If it panicked, the panic goes on here; if it was cancelled, a task
///   that awaits it is cancelled too (asyncio: CancelledError comes out of the `await`).
/// * `task.join().await` returns the same as a [`Result`], however the task ended.
/// * `(&task).await` returns a reference, and any number of tasks may wait that way (share it in an `Rc`).
/// * [`result`](Self::result) looks without waiting. All else is asked of [`AnyTask`], to which it dereferences.
///
/// When a task that awaits this one is cancelled, the cancellation goes to this one, unless there is a
/// [`shield`](crate::shield) between. Dropping the handle otherwise detaches the task: the loop keeps it running, and
/// a panic, or the error of a [`try_spawn`](crate::try_spawn), is reported once, since nobody can look any more.
///
/// # Examples
/// ```
/// use aioxide::{ResultError, spawn};
/// aioxide::run(async {
///     let task = spawn(async { 42 });
///     assert_eq!(task.result(), Err(ResultError::InvalidState));
///     aioxide::yield_now().await;
///     assert_eq!(task.result(), Ok(&42));
/// }).unwrap();
/// ```
pub struct Task<T> {
    handle: JoinHandle<T>,
    any: AnyTask,
    awaited: Awaited,
    /// It was cancelled, and its awaiter is told so again if it goes on.
    passed_on: bool,
}

impl Task<()> {
    /// Sets a task's name or context before it starts.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<T> Task<T> {
    pub(crate) fn from_handle(handle: JoinHandle<T>) -> Self {
        let any = AnyTask::from_ref(handle.task().clone());
        Self { handle, any, awaited: Awaited::Never, passed_on: false }
    }

    /// The task without the type of its result.
    pub fn any(&self) -> &AnyTask {
        &self.any
    }

    /// What the task returned.
    ///
    /// # Errors
    /// [`ResultError::InvalidState`] before the end, or when the value was awaited away.
    ///
    /// asyncio: `Task.result`.
    pub fn result(&self) -> Result<&T, ResultError> {
        match self.handle.output() {
            None => Err(ResultError::InvalidState),
            Some(outcome) => {
                self.meta().mark_retrieved();
                outcome.as_ref().map_err(|error| self.result_error(error))
            }
        }
    }

    /// Takes what the task returned, without waiting; `None` before its end or when it was taken.
    pub fn take_result(&mut self) -> Option<Result<T, TaskError>> {
        let outcome = self.handle.take_output()?;
        self.meta().mark_retrieved();
        Some(outcome.map_err(|error| self.task_error(error)))
    }

    /// Waits for the end and tells what it was, also when the task panicked or was cancelled.
    ///
    /// # Cancel safety
    /// As for awaiting the task itself.
    ///
    /// # Examples
    /// ```
    /// aioxide::run(async {
    ///     let task = aioxide::spawn(async { panic!("oh") });
    ///     let error = task.join().await.unwrap_err();
    ///     assert_eq!(error.to_string(), "task panicked: oh");
    /// }).unwrap();
    /// ```
    pub fn join(self) -> Join<T> {
        Join { task: self }
    }

    /// Lets the task run on by itself.
    pub fn detach(self) {
        drop(self);
    }

    /// Says that the awaiter stands behind a shield: its cancellation does not go to this task.
    pub(crate) fn stand_apart(&mut self) {
        self.awaited = Awaited::Never;
        wait_for(Waiting::Shielded(self.any.task_ref().clone()));
    }

    fn result_error(&self, error: &JoinError) -> ResultError {
        if error.is_cancelled() {
            ResultError::Cancelled(self.meta().cancelled_error())
        } else {
            ResultError::Panicked(error.panic_message().unwrap_or_default().to_owned())
        }
    }

    fn task_error(&self, error: JoinError) -> TaskError {
        match error.into_panic() {
            Some(payload) => TaskError::Panicked(Panic::new(payload)),
            None => TaskError::Cancelled(self.meta().cancelled_error()),
        }
    }

    /// Dropped while it is, or was, awaited: cancelled if its awaiter is, else not to be handed anything any more.
    #[cold]
    fn leave_unfinished(&self) {
        let id = self.any.id();
        if self.awaited.leave(|waiting| matches!(waiting, Waiting::Task(task) if task.id() == id)) {
            let message = with_current_meta(|meta: &Meta| meta.cancelled_error().shared_message());
            self.any.cancel_shared(message.flatten());
        }
    }

    /// Ready at the end; the caller's cancellation goes to the task meanwhile.
    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        match self.handle.poll_output(cx) {
            Poll::Ready(outcome) => {
                self.awaited = Awaited::Never;
                let outcome = outcome.expect("a task's value is awaited once");
                if outcome.is_err() || self.meta().is_unretrieved() {
                    self.meta().mark_retrieved();
                }
                Poll::Ready(outcome.map_err(|error| self.task_error(error)))
            }
            Poll::Pending => {
                assert!(!self.any.task_ref().is_running(), "a task cannot await itself");
                super::assert_here(self.any.task_ref());
                self.awaited = Awaited::wait_for(Waiting::Task(self.any.task_ref().clone()), cx);
                Poll::Pending
            }
        }
    }
}

impl<T, E> Task<Result<T, E>> {
    /// The error that the task returned; `None` if it returned a value.
    ///
    /// # Errors
    /// As [`result`](Task::result).
    ///
    /// asyncio: `Task.exception`.
    pub fn exception(&self) -> Result<Option<&E>, ResultError> {
        self.result().map(|result| result.as_ref().err())
    }

    /// Waits for the end and tells what it was: value, error, cancellation or panic.
    pub async fn outcome(self) -> Result<T, TaskError<E>> {
        match self.join().await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(TaskError::Failed(error)),
            Err(error) => Err(error.widen()),
        }
    }
}

impl<T> Deref for Task<T> {
    type Target = AnyTask;

    fn deref(&self) -> &AnyTask {
        &self.any
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.any.fmt(formatter)
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if self.passed_on {
            // The cancellation was passed on before, and nothing gave way to it.
            return raise(self.meta().cancelled_error().shared_message());
        }
        match self.poll_outcome(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(value)) => Poll::Ready(value),
            Poll::Ready(Err(TaskError::Panicked(panic))) => panic.resume(),
            Poll::Ready(Err(TaskError::Failed(never))) => match never {},
            Poll::Ready(Err(TaskError::Cancelled(cancelled))) => {
                self.passed_on = true;
                raise(cancelled.shared_message())
            }
        }
    }
}

impl<T> Drop for Task<T> {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.awaited, Awaited::Never) && !self.done() {
            self.leave_unfinished();
        }
    }
}

/// Waits for the end of a shared task, and returns a reference to its value.
impl<'a, T> IntoFuture for &'a Task<T> {
    type Output = &'a T;
    type IntoFuture = JoinRef<'a, T>;

    fn into_future(self) -> JoinRef<'a, T> {
        JoinRef { task: self, finished: self.any.finished() }
    }
}

/// The future of `(&task).await`.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct JoinRef<'a, T> {
    task: &'a Task<T>,
    finished: Finished,
}

impl<'a, T> Future for JoinRef<'a, T> {
    type Output = &'a T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'a T> {
        if Pin::new(&mut self.finished).poll(cx).is_pending() {
            wait_for(Waiting::Task(self.task.any.task_ref().clone()));
            return Poll::Pending;
        }
        match self.task.result() {
            Ok(value) => Poll::Ready(value),
            Err(ResultError::Cancelled(cancelled)) => raise(cancelled.shared_message()),
            Err(error) => panic!("the task that was awaited has no value: {error}"),
        }
    }
}

/// The future of [`Task::join`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Join<T> {
    task: Task<T>,
}

impl<T> Join<T> {
    /// The task that is waited for.
    pub fn task(&self) -> &Task<T> {
        &self.task
    }
}

impl<T> Future for Join<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.poll_outcome(cx)
    }
}

//! Calls that block, on threads of a pool.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use aioxide_core::pool::{self, Pool};

use crate::error::{Cancelled, Panic, TaskError};
use crate::task::{Waiting, wait_for};

/// As many as asyncio's default executor has at most.
static POOL: Pool = Pool::new("aioxide-blocking", 32);

/// Runs `call` on another thread; await its result.
///
/// At most 32 such calls run at once in the process; more wait their turn. One that has begun runs to its end even if
/// nobody awaits it any more.
///
/// # Errors
/// [`TaskError::Panicked`] when the call panicked.
///
/// # Cancel safety
/// Dropping the future gives the result up; a call that has not begun is not begun then.
///
/// # Examples
/// ```
/// let text = aioxide::run(async {
///     aioxide::spawn_blocking(|| std::fs::read_to_string("Cargo.toml")).await
/// }).unwrap();
/// assert!(text.unwrap().unwrap().contains("[package]"));
/// ```
/// asyncio: `loop.run_in_executor(None, ...)`.
#[doc(alias = "run_in_executor")]
pub fn spawn_blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    Blocking { inner: POOL.run(call) }
}

/// Runs `call` on another thread: [`spawn_blocking`] by asyncio's name.
///
/// # Errors
/// As [`spawn_blocking`].
pub fn to_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    spawn_blocking(call)
}

/// The future of [`spawn_blocking`].
#[derive(Debug)]
#[must_use = "a call that nobody awaits may not be made at all"]
pub struct Blocking<T> {
    inner: pool::Blocking<T>,
}

impl<T> Future for Blocking<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.inner).poll(cx);
        if polled.is_pending() {
            wait_for(Waiting::alone("spawn_blocking"));
        }
        polled.map_err(|error| match error.into_panic() {
            Some(payload) => TaskError::Panicked(Panic::new(payload)),
            None => TaskError::Cancelled(Cancelled::new(None)),
        })
    }
}

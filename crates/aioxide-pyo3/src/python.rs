//! Python awaitables for Rust: `await_python`.

use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use pyo3::prelude::*;

use crate::{abi, api, waker};

/// Waits for a Python coroutine, future, task or other awaitable.
///
/// It is to be polled inside a future that runs on aioxide's loop: one of [`into_awaitable`] or [`spawn`]. The first poll
/// starts a coroutine at once, as a task of its own; one that never waits is over then. So it runs Python: nothing that
/// Python could ask for may be borrowed meanwhile. The coroutine runs in the very context of the awaiting task, as it
/// would after an `await` in Python: what it sets there, the caller sees.
///
/// Awaiting the same future again after it was ready is a RuntimeError.
///
/// # Errors
/// What the awaitable raises, CancelledError too; TypeError for what is no awaitable; RuntimeError when this thread runs no
/// loop of aioxide's; ImportError as for [`into_awaitable`].
///
/// # Cancel safety
/// Dropping it cancels what it waits for: a coroutine's task, or the future or task that was given. It does not wait for
/// the end of that.
///
/// # Examples
/// ```no_run,standalone_crate
/// use pyo3::prelude::*;
///
/// /// Awaits `callback()` until it returns something else than None.
/// #[pyfunction]
/// fn first_answer(py: Python<'_>, callback: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
///     aioxide_pyo3::into_awaitable(py, async move {
///         loop {
///             let call = Python::attach(|py| {
///                 let coroutine = callback.bind(py).call0()?;
///                 PyResult::Ok(aioxide_pyo3::await_python(coroutine))
///             })?;
///             let answer = call.await?;
///             if !Python::attach(|py| answer.is_none(py)) {
///                 return Ok(answer);
///             }
///         }
///     })
/// }
/// ```
/// [`into_awaitable`]: crate::into_awaitable
/// [`spawn`]: crate::spawn
pub fn await_python(awaitable: Bound<'_, PyAny>) -> AwaitPython {
    AwaitPython { state: State::New(awaitable.unbind()) }
}

/// The future of [`await_python`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct AwaitPython {
    state: State,
}

#[derive(Debug)]
enum State {
    New(Py<PyAny>),
    Waiting(Wait),
    Over,
}

/// aioxide's side of the wait. Neither `Send` nor `Sync`: it is polled and dropped where it was started.
#[derive(Debug)]
struct Wait(NonNull<c_void>);

impl Drop for Wait {
    fn drop(&mut self) {
        // Where the interpreter cannot be had any more, at its end, nothing is left to cancel.
        // SAFETY: from `python_start`, and used up; attached.
        Python::try_attach(|_| unsafe { (api::loaded().python_drop)(self.0.as_ptr()) });
    }
}

impl Future for AwaitPython {
    type Output = PyResult<Py<PyAny>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Python::attach(|py| {
            let this = &mut *self;
            if let State::New(awaitable) = &this.state {
                let api = match api::load(py) {
                    Ok(api) => api,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                // SAFETY: attached; a live object. Null comes with an exception.
                let started = unsafe { (api.python_start)(awaitable.as_ptr()) };
                this.state = NonNull::new(started).map_or(State::Over, |wait| State::Waiting(Wait(wait)));
                if matches!(this.state, State::Over) {
                    return Poll::Ready(Err(PyErr::fetch(py)));
                }
            }
            let State::Waiting(wait) = &this.state else {
                let message = "the wait for a Python awaitable is over";
                return Poll::Ready(Err(pyo3::exceptions::PyRuntimeError::new_err(message)));
            };
            let mut place = std::ptr::null_mut();
            // SAFETY: from `python_start`; attached; a place for a reference.
            let status =
                unsafe { (api::loaded().python_poll)(wait.0.as_ptr(), waker::lend(cx.waker()), &mut place) };
            let outcome = match status {
                abi::PENDING => return Poll::Pending,
                // SAFETY: a new reference was put there.
                abi::READY => Ok(unsafe { Bound::from_owned_ptr(py, place) }.unbind()),
                _ => Err(PyErr::fetch(py)),
            };
            this.state = State::Over;
            Poll::Ready(outcome)
        })
    }
}

//! The same futures twice: on aioxide's loop, and on tokio behind pyo3-async-runtimes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use pyo3::prelude::*;

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// On aioxide's loop.
#[pymodule]
mod on_loop {
    use super::*;
    use aioxide_pyo3::{await_python, into_awaitable};

    #[pyfunction]
    fn ready(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        into_awaitable(py, async { Ok(()) })
    }

    #[pyfunction]
    fn pending(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        into_awaitable(py, async {
            yield_once().await;
            Ok(())
        })
    }

    thread_local! {
        static PARKED: RefCell<Option<Waker>> = const { RefCell::new(None) };
    }

    /// Waits for `wake`.
    #[pyfunction]
    fn park(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let mut parked = false;
        into_awaitable(
            py,
            poll_fn(move |cx| {
                if std::mem::replace(&mut parked, true) {
                    return Poll::Ready(Ok(()));
                }
                PARKED.set(Some(cx.waker().clone()));
                Poll::Pending
            }),
        )
    }

    #[pyfunction]
    fn wake() {
        if let Some(waker) = PARKED.take() {
            waker.wake();
        }
    }

    /// Calls `function` and awaits what it gives, `count` times.
    #[pyfunction]
    fn python(py: Python<'_>, function: Py<PyAny>, count: usize) -> PyResult<Bound<'_, PyAny>> {
        into_awaitable(py, async move {
            for _ in 0..count {
                Python::attach(|py| PyResult::Ok(await_python(function.bind(py).call0()?)))?.await?;
            }
            Ok(())
        })
    }
}

/// On tokio.
#[pymodule]
mod on_tokio {
    use super::*;
    use pyo3_async_runtimes::tokio::{future_into_py, into_future};

    #[pyfunction]
    fn ready(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        future_into_py(py, async { Ok(()) })
    }

    #[pyfunction]
    fn pending(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        future_into_py(py, async {
            tokio::task::yield_now().await;
            Ok(())
        })
    }

    static PARKED: tokio::sync::Notify = tokio::sync::Notify::const_new();

    /// Waits for `wake`.
    #[pyfunction]
    fn park(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        future_into_py(py, async {
            PARKED.notified().await;
            Ok(())
        })
    }

    #[pyfunction]
    fn wake() {
        PARKED.notify_one();
    }

    /// Calls `function` and awaits what it gives, `count` times.
    #[pyfunction]
    fn python(py: Python<'_>, function: Py<PyAny>, count: usize) -> PyResult<Bound<'_, PyAny>> {
        future_into_py(py, async move {
            for _ in 0..count {
                Python::attach(|py| into_future(function.bind(py).call0()?))?.await?;
            }
            Ok(())
        })
    }
}

#[pymodule]
mod rust_futures_bench {
    #[pymodule_export]
    use super::{on_loop, on_tokio};
}

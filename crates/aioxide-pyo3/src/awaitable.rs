//! Rust futures for Python: `into_awaitable` and `spawn`.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use pyo3::IntoPyObjectExt;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::{abi, api, waker};

/// A Python awaitable that runs `future` inside whichever task awaits it.
///
/// Nothing runs before it is awaited. Each poll is part of a step of the awaiting task: with its context variables, on the
/// loop's thread, attached to the interpreter. A future that is ready at once never goes through the loop's queue; one
/// that is not gives the loop its turn, and its waker, which any thread may wake, queues that very task again.
///
/// The future stays on the thread that called this: it may be `!Send`. It is dropped, on that thread, when it is over; when
/// the task is cancelled, before CancelledError goes on; when the awaitable is closed or collected; and when its loop is
/// closed. It may hold Python objects, but the collector does not see them.
///
/// Python may use it as it uses a coroutine: `await` it once, or give it to `asyncio.create_task`, `gather`, `wait_for`,
/// `shield` and the like.
///
/// `Ok(())` becomes None. An `Err` is raised at the `await`. A panic becomes `aioxide.RustPanic`, a RuntimeError. Awaiting it on another loop
/// than aioxide's (asyncio's own, uvloop) is a RuntimeError.
///
/// # Errors
/// ImportError when aioxide is not installed, or is too old or too new for this crate.
///
/// # Examples
/// ```no_run,standalone_crate
/// use std::time::Duration;
/// use pyo3::prelude::*;
///
/// #[pyfunction]
/// fn double_later(py: Python<'_>, number: u64) -> PyResult<Bound<'_, PyAny>> {
///     aioxide_pyo3::into_awaitable(py, async move {
///         aioxide_pyo3::sleep(Duration::from_millis(10)).await;
///         Ok(number * 2)
///     })
/// }
/// ```
pub fn into_awaitable<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    let api = api::load(py)?;
    let future = Box::into_raw(Box::new(future)).cast();
    // SAFETY: attached; the future and the functions for its type. A new reference, or null with an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, (api.awaitable)(future, &Functions::<F, T>::TABLE)) }
}

/// Runs `future` as a task of the running loop; returns the task.
///
/// It is an `asyncio.Task` as any other: `all_tasks` lists it, it can be awaited, named and asked for its result, and
/// cancelling it drops the future. It starts in the loop's next iteration and runs whether it is awaited or not. Its
/// context is a copy of the caller's.
///
/// # Errors
/// RuntimeError when this thread does not run a loop of aioxide's; ImportError as for [`into_awaitable`].
///
/// # Examples
/// ```no_run,standalone_crate
/// use pyo3::prelude::*;
///
/// #[pyfunction]
/// fn warm_up(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
///     aioxide_pyo3::spawn(py, async { Ok("warm") })
/// }
/// ```
pub fn spawn<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    let api = api::load(py)?;
    let future = Box::into_raw(Box::new(future)).cast();
    // SAFETY: as above.
    unsafe { Bound::from_owned_ptr_or_err(py, (api.spawn)(future, &Functions::<F, T>::TABLE)) }
}

/// The functions for futures of the type `F`.
struct Functions<F, T>(PhantomData<(F, T)>);

impl<F, T> Functions<F, T>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    const TABLE: abi::FutureVtable =
        abi::FutureVtable { poll: poll::<F, T>, drop: drop_future::<F>, name: name::<F> };
}

unsafe extern "C" fn name<F>(length: *mut usize) -> *const u8 {
    // The body of an async function is a closure in it.
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    // SAFETY: the caller's place for the length.
    unsafe { *length = name.len() };
    name.as_ptr()
}

unsafe extern "C" fn poll<F, T>(data: *mut c_void, lent: abi::WakerRef, place: *mut *mut PyObject) -> c_int
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    let mut is_over = false;
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // Not `assume_attached`: PyO3 must know that what is dropped meanwhile may be released at once.
        Python::attach(|py| {
            // SAFETY: made by `into_awaitable` or `spawn`, nobody else is in it, and it is never moved.
            let future = unsafe { Pin::new_unchecked(&mut *data.cast::<F>()) };
            // SAFETY: what aioxide lends for this poll.
            let Poll::Ready(outcome) = (unsafe { waker::with_lent(lent, |cx| future.poll(cx)) }) else {
                return abi::PENDING;
            };
            is_over = true;
            // SAFETY: a future that is over is given up to us.
            drop(unsafe { Box::from_raw(data.cast::<F>()) });
            give(py, outcome, place)
        })
    }));
    polled.unwrap_or_else(|payload| {
        if !is_over {
            // SAFETY: as above.
            unsafe { drop_future::<F>(data) };
        }
        raise_panic(&*payload)
    })
}

fn give<T: for<'py> IntoPyObject<'py>>(
    py: Python<'_>,
    outcome: PyResult<T>,
    place: *mut *mut PyObject,
) -> c_int {
    match outcome.and_then(|value| value.into_py_any(py)) {
        Ok(value) => {
            // `()` is an empty tuple to PyO3, but nobody means that.
            let is_unit = size_of::<T>() == 0 && value.bind(py).is_exact_instance_of::<PyTuple>();
            let value = if is_unit { py.None() } else { value };
            // SAFETY: the caller's place for a new reference.
            unsafe { *place = value.into_ptr() };
            abi::READY
        }
        Err(error) => {
            error.restore(py);
            abi::RAISED
        }
    }
}

fn raise_panic(payload: &(dyn Any + Send)) -> c_int {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a Rust future panicked");
    // SAFETY: attached; pointer and length of one text.
    unsafe { (api::loaded().raise_panic)(text.as_ptr(), text.len()) };
    abi::RAISED
}

unsafe extern "C" fn drop_future<F>(data: *mut c_void) {
    let drop_it = || {
        // SAFETY: made by `into_awaitable` or `spawn`, and given up here.
        drop(unsafe { Box::from_raw(data.cast::<F>()) });
    };
    // Where the interpreter cannot be had any more, at its end, the future is given up with it.
    let dropped = catch_unwind(AssertUnwindSafe(|| Python::try_attach(|_| drop_it())));
    if let Err(payload) = dropped {
        Python::attach(|py| {
            raise_panic(&*payload);
            PyErr::fetch(py).write_unraisable(py, None);
        });
    }
}

//! What the tests of Rust futures in Python need on the Rust side: futures that wait, fail and are dropped on command.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aioxide_pyo3::{AsyncFd, await_python, into_awaitable, sleep, spawn};
use futures_util::future::{Either, join, join_all, select};
use pyo3::exceptions::PyLookupError;
use pyo3::prelude::*;

/// Calls a Python function when it is dropped.
struct OnDrop(Py<PyAny>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        Python::attach(|py| {
            if let Err(error) = self.0.call0(py) {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// Ready at the first poll.
#[pyfunction]
fn ready(py: Python<'_>, value: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    into_awaitable(py, async move { Ok(value) })
}

/// An error by `?`.
#[pyfunction]
fn fail(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    into_awaitable(py, async {
        let number: u32 = "seven".parse()?;
        Ok(number)
    })
}

/// A panic.
#[pyfunction]
fn panics(py: Python<'_>, dropped: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let guard = OnDrop(dropped);
    into_awaitable::<_, ()>(py, async move {
        let _guard = guard;
        yield_once().await;
        panic!("on purpose")
    })
}

/// Nothing.
#[pyfunction]
fn unit(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    into_awaitable(py, async { Ok(()) })
}

/// A panic while the future, which is over, is dropped.
#[pyfunction]
fn panics_in_drop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    struct Guard;

    impl Drop for Guard {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    let guard = Guard;
    into_awaitable(
        py,
        poll_fn(move |_| {
            let _held = &guard;
            Poll::Ready(Ok(1))
        }),
    )
}

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

/// Pending `times` times, woken during each poll.
#[pyfunction]
fn yields(py: Python<'_>, times: u32) -> PyResult<Bound<'_, PyAny>> {
    into_awaitable(py, async move {
        for _ in 0..times {
            yield_once().await;
        }
        Ok(times)
    })
}

/// Never ready; tells when it is polled and when it is dropped.
#[pyfunction]
fn forever(py: Python<'_>, polled: Py<PyAny>, dropped: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let guard = OnDrop(dropped);
    into_awaitable(py, async move {
        let _guard = guard;
        poll_fn::<(), _>(|_| {
            Python::attach(|py| polled.call0(py)).map_or_else(|_| Poll::Ready(()), |_| Poll::Pending)
        })
        .await;
        Ok(())
    })
}

/// Calls a function within the poll.
#[pyfunction]
fn calls(py: Python<'_>, polled: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    into_awaitable(py, async move { Python::attach(|py| polled.call0(py)) })
}

/// Two guards in one future: they go in the reverse order of their making.
#[pyfunction]
fn two_guards(py: Python<'_>, first: Py<PyAny>, second: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    into_awaitable(py, async move {
        let _first = OnDrop(first);
        let _second = OnDrop(second);
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// `asyncio.sleep` in Rust.
#[pyfunction]
#[pyo3(signature = (seconds, value = None))]
fn sleeps(py: Python<'_>, seconds: f64, value: Option<Py<PyAny>>) -> PyResult<Bound<'_, PyAny>> {
    into_awaitable(py, async move {
        sleep(Duration::from_secs_f64(seconds)).await;
        Ok(value)
    })
}

/// Begins to sleep so often, each time while other threads may run Python, and gives it up.
#[pyfunction]
fn sleeps_detached(py: Python<'_>, times: u32) -> PyResult<Bound<'_, PyAny>> {
    into_awaitable(py, async move {
        for _ in 0..times {
            let is_over = Python::attach(|py| {
                py.detach(|| {
                    let mut context = Context::from_waker(Waker::noop());
                    pin!(sleep(Duration::from_secs(1000))).poll(&mut context).is_ready()
                })
            });
            assert!(!is_over);
        }
        Ok(times)
    })
}

/// The same as a task.
#[pyfunction]
fn spawns_sleep(py: Python<'_>, seconds: f64, dropped: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let guard = OnDrop(dropped);
    spawn(py, async move {
        let _guard = guard;
        sleep(Duration::from_secs_f64(seconds)).await;
        Ok("slept")
    })
}

/// A cell that is `!Send`: one waits for it, another sets it, both on the loop's thread.
#[pyclass(unsendable)]
#[derive(Default)]
struct Slot {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    value: RefCell<Option<Py<PyAny>>>,
    waiters: RefCell<Vec<Waker>>,
    polls: Cell<u32>,
}

#[pymethods]
impl Slot {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn set(&self, value: Py<PyAny>) {
        *self.shared.value.borrow_mut() = Some(value);
        // Borrowed while they are woken: a waker must not run anything.
        for waker in self.shared.waiters.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Wakes without a value.
    fn disturb(&self) {
        for waker in self.shared.waiters.borrow().iter() {
            waker.wake_by_ref();
        }
    }

    /// Wakes while this thread has given the interpreter up.
    fn set_detached(&self, py: Python<'_>, value: Py<PyAny>) {
        *self.shared.value.borrow_mut() = Some(value);
        let wakers: Vec<Waker> = self.shared.waiters.borrow_mut().drain(..).collect();
        py.detach(|| wakers.into_iter().for_each(Waker::wake));
    }

    fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let shared = Rc::clone(&self.shared);
        into_awaitable(py, poll_fn(move |cx| shared.poll(cx)))
    }

    #[getter]
    fn polls(&self) -> u32 {
        self.shared.polls.get()
    }
}

impl Shared {
    fn poll(&self, cx: &Context<'_>) -> Poll<PyResult<Py<PyAny>>> {
        self.polls.set(self.polls.get() + 1);
        match &*self.value.borrow() {
            Some(value) => Poll::Ready(Ok(Python::attach(|py| value.clone_ref(py)))),
            None => {
                self.waiters.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Woken by a thread that never has the interpreter; `wakes` times, of which only the last is to any purpose.
#[pyfunction]
fn woken_by_thread(py: Python<'_>, wakes: u32) -> PyResult<Bound<'_, PyAny>> {
    let state = Arc::new(Mutex::new((0u32, None::<Waker>)));
    let shared = Arc::clone(&state);
    let thread = std::thread::spawn(move || {
        let mut done = 0;
        while done < wakes {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waker) = state.1.take() {
                done += 1;
                state.0 = done;
                drop(state);
                waker.wake();
            } else {
                drop(state);
                std::thread::yield_now();
            }
        }
    });
    into_awaitable(py, async move {
        poll_fn(|cx| {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 == wakes {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        thread.join().map_err(|_| PyLookupError::new_err("the thread panicked"))?;
        Ok(wakes)
    })
}

/// A thread that lends the waker to another while the poll is under way.
#[pyfunction]
fn woken_within_poll(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let mut polled = false;
    into_awaitable(
        py,
        poll_fn(move |cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(Ok(true));
            }
            let waker = cx.waker();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mine = waker.clone();
                    mine.wake_by_ref();
                    mine.wake_by_ref();
                });
                scope.spawn(|| waker.wake_by_ref());
            });
            Poll::Pending
        }),
    )
}

/// `await awaitable` from Rust.
#[pyfunction]
fn awaits<'py>(awaitable: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = awaitable.py();
    into_awaitable(py, await_python(awaitable))
}

/// Awaits two at once and gives both results.
#[pyfunction]
fn joins<'py>(one: Bound<'py, PyAny>, other: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = one.py();
    let both = join(await_python(one), await_python(other));
    into_awaitable(py, async move {
        let (one, other) = both.await;
        Ok((one?, other?))
    })
}

/// Awaits all at once, in a set with wakers of its own.
#[pyfunction]
fn joins_all<'py>(py: Python<'py>, awaitables: Vec<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    // More than thirty and `join_all` polls only those that were woken.
    let all = join_all(awaitables.into_iter().map(await_python));
    into_awaitable(py, async move { all.await.into_iter().collect::<PyResult<Vec<_>>>() })
}

/// Awaits one for so many seconds at most; dropping it, which cancels it, at the end of them.
#[pyfunction]
fn awaits_for<'py>(awaitable: Bound<'py, PyAny>, seconds: f64) -> PyResult<Bound<'py, PyAny>> {
    let py = awaitable.py();
    let waited: Pin<Box<dyn Future<Output = PyResult<Py<PyAny>>>>> = Box::pin(await_python(awaitable));
    into_awaitable(py, async move {
        let timer = Box::pin(sleep(Duration::from_secs_f64(seconds)));
        match select(waited, timer).await {
            Either::Left((outcome, _)) => outcome.map(Some),
            Either::Right(_) => Ok(None),
        }
    })
}

/// Watches a descriptor, and no more: it may be the first that the extension asks of aioxide.
#[pyfunction]
fn watches(fd: i32) -> PyResult<()> {
    AsyncFd::new(fd).map(drop).map_err(Into::into)
}

/// Polls a timer once, inside of nothing; the same.
#[pyfunction]
fn polls_timer() -> bool {
    let mut timer = Box::pin(sleep(Duration::from_millis(1)));
    timer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Reads `count` bytes from a socket and sends them back; meanwhile a timer is polled along, with other wakers.
#[pyfunction]
fn echo(py: Python<'_>, fd: i32, count: usize) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the test gives the descriptor away.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    into_awaitable(py, async move {
        stream.set_nonblocking(true)?;
        let stream = AsyncFd::new(stream)?;
        let mut data = vec![0; count];
        let mut filled = 0;
        let mut ticks = 0;
        while filled < count {
            let room = &mut data[filled..];
            let read = Box::pin(stream.read_with(|mut stream| stream.read(room)));
            let tick = Box::pin(sleep(Duration::from_millis(1)));
            let count = match select(tick, read).await {
                Either::Left(_) => None,
                Either::Right((read, _)) => Some(read?),
            };
            match count {
                None => ticks += 1,
                Some(0) => break,
                Some(count) => filled += count,
            }
        }
        let mut sent = 0;
        while sent < filled {
            sent += stream.write_with(|mut stream| stream.write(&data[sent..filled])).await?;
        }
        Ok((filled, ticks))
    })
}

/// Watches a socket; the first future that is returned waits by `readable`, the second one reads.
#[pyfunction]
fn waits_twice(py: Python<'_>, fd: i32) -> PyResult<(Bound<'_, PyAny>, Bound<'_, PyAny>)> {
    // SAFETY: the test gives the descriptor away.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    stream.set_nonblocking(true)?;
    let stream = Rc::new(AsyncFd::new(stream)?);
    let shared = Rc::clone(&stream);
    let waits = into_awaitable(py, async move {
        shared.readable().await;
        Ok(())
    })?;
    let reads = into_awaitable(py, async move {
        let mut byte = [0];
        Ok(stream.read_with(|mut stream| stream.read(&mut byte)).await?)
    })?;
    Ok((waits, reads))
}

#[pymodule]
mod probe {
    #[pymodule_export]
    use super::{
        Slot, awaits, awaits_for, calls, echo, fail, forever, joins, joins_all, panics, panics_in_drop,
        polls_timer, ready, sleeps, sleeps_detached, spawns_sleep, two_guards, unit, waits_twice, watches,
        woken_by_thread, woken_within_poll, yields,
    };
}

//! `call_soon`, `call_later`, `call_at`, `call_soon_threadsafe`, `time`.

use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::LoopCore;
use crate::entry::{Entry, Posted};
use crate::error;
use crate::ffi;
use crate::handle::{Handle, TimerHandle};

impl LoopCore {
    pub(crate) fn make_handle(
        &self,
        py: Python<'_>,
        callback: Py<PyAny>,
        arguments: &Bound<'_, PyTuple>,
        context: Option<Py<PyAny>>,
        when: f64,
    ) -> PyResult<Handle> {
        if self.state.core.is_closed() {
            return Err(error::loop_closed());
        }
        let context = match context {
            Some(context) if !context.is_none(py) => context,
            _ => ffi::copy_context(py)?,
        };
        let state = Rc::downgrade(&self.state);
        Ok(Handle::new(state, callback, arguments.clone().unbind(), context, when))
    }
}

#[pymethods]
impl LoopCore {
    /// The loop's clock: seconds of `time.monotonic()`.
    fn time(&self) -> f64 {
        self.state.core.clock().now_ns() as f64 / 1e9
    }

    /// Calls `callback(*args)` in the next iteration, after what is queued already.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon(
        &self,
        py: Python<'_>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyTuple>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Py<Handle>> {
        let handle = Py::new(py, self.make_handle(py, callback, args, context, 0.0)?)?;
        self.state.core.call_soon(Entry::Handle(handle.clone_ref(py)));
        Ok(handle)
    }

    /// `call_soon` from any thread: it ends the loop's wait.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon_threadsafe(
        &self,
        py: Python<'_>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyTuple>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Py<Handle>> {
        let handle = Py::new(py, self.make_handle(py, callback, args, context, 0.0)?)?;
        let posted = self.state.core.remote().post(Posted::Handle(handle.clone_ref(py)));
        posted.map_err(|_| error::loop_closed())?;
        Ok(handle)
    }

    /// Calls `callback(*args)` once, at least `delay` seconds from now.
    #[pyo3(signature = (delay, callback, *args, context=None))]
    fn call_later(
        &self,
        py: Python<'_>,
        delay: Option<f64>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyTuple>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Py<TimerHandle>> {
        let delay = delay.ok_or_else(error::delay_is_none)?;
        self.schedule(py, self.time() + delay, callback, args, context)
    }

    /// Calls `callback(*args)` once, at the loop's time `when` (seconds) or later.
    #[pyo3(signature = (when, callback, *args, context=None))]
    fn call_at(
        &self,
        py: Python<'_>,
        when: Option<f64>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyTuple>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Py<TimerHandle>> {
        let when = when.ok_or_else(error::delay_is_none)?;
        self.schedule(py, when, callback, args, context)
    }
}

impl LoopCore {
    fn schedule(
        &self,
        py: Python<'_>,
        when: f64,
        callback: Py<PyAny>,
        args: &Bound<'_, PyTuple>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Py<TimerHandle>> {
        let handle = self.make_handle(py, callback, args, context, when)?;
        let timer = Py::new(py, PyClassInitializer::from(handle).add_subclass(TimerHandle))?;
        let base = timer.bind(py).as_super().clone().unbind();
        // `as` saturates: before the clock's start means now, beyond its end means never.
        let deadline_ns = (when * 1e9).ceil() as u64;
        let key = self.state.core.call_at(deadline_ns, Entry::Handle(base.clone_ref(py)));
        base.get().set_timer(key);
        Ok(timer)
    }
}

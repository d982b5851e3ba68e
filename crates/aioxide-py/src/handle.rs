//! `Handle` and `TimerHandle`: a scheduled callback with its arguments and context.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Weak;

use aioxide_core::timers::TimerKey;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::event_loop::LoopState;
use crate::ffi::{self, Confined};

/// What is left after a cancel: nothing that could keep user objects alive.
struct Call {
    callback: Py<PyAny>,
    arguments: Py<PyTuple>,
}

/// A callback scheduled by `call_soon`, `add_reader` and the like.
#[pyclass(frozen, subclass, weakref, module = "aioxide")]
pub(crate) struct Handle {
    call: Confined<RefCell<Option<Call>>>,
    context: Py<PyAny>,
    cancelled: Confined<Cell<bool>>,
    timer: Confined<Cell<Option<TimerKey>>>,
    state: Confined<Weak<LoopState>>,
    when: f64,
}

impl Handle {
    pub(crate) fn new(
        state: Weak<LoopState>,
        callback: Py<PyAny>,
        arguments: Py<PyTuple>,
        context: Py<PyAny>,
        when: f64,
    ) -> Self {
        Self {
            call: Confined::new(RefCell::new(Some(Call { callback, arguments }))),
            context,
            cancelled: Confined::new(Cell::new(false)),
            timer: Confined::new(Cell::new(None)),
            state: Confined::new(state),
            when,
        }
    }

    pub(crate) fn set_timer(&self, key: TimerKey) {
        self.timer.set(Some(key));
    }

    /// Runs the callback; `Err` only for what must leave the loop (`KeyboardInterrupt`, `SystemExit`).
    pub(crate) fn run(&self, py: Python<'_>, this: &Py<Handle>, state: &LoopState) -> PyResult<()> {
        self.timer.set(None);
        let Some((callback, arguments)) = self
            .call
            .borrow()
            .as_ref()
            .map(|call| (call.callback.clone_ref(py), call.arguments.clone_ref(py)))
        else {
            return Ok(());
        };
        if let Err(error) = ffi::enter_context(py, &self.context) {
            return self.report(py, this, state, error);
        }
        let result = ffi::call_with_tuple(py, &callback, &arguments);
        let exited = ffi::exit_context(py, &self.context);
        match result.and(exited.map(|()| py.None().into_bound(py))) {
            Ok(_) => Ok(()),
            Err(error)
                if error.is_instance_of::<PyKeyboardInterrupt>(py)
                    || error.is_instance_of::<PySystemExit>(py) =>
            {
                Err(error)
            }
            Err(error) => self.report(py, this, state, error),
        }
    }

    fn report(&self, py: Python<'_>, this: &Py<Handle>, state: &LoopState, error: PyErr) -> PyResult<()> {
        let what = match &*self.call.borrow() {
            Some(call) => call.callback.bind(py).repr()?.to_string(),
            None => "a cancelled callback".to_owned(),
        };
        let context = PyDict::new(py);
        context.set_item("message", format!("Exception in callback {what}"))?;
        context.set_item("exception", error.into_value(py))?;
        context.set_item("handle", this)?;
        state.python_loop(py)?.call_method1("call_exception_handler", (context,))?;
        Ok(())
    }
}

#[pymethods]
impl Handle {
    /// Cancels the callback; cancelling it again, or after it ran, changes nothing.
    pub(crate) fn cancel(&self) {
        if self.cancelled.replace(true) {
            return;
        }
        let call = self.call.take();
        drop(call);
        if let (Some(key), Some(state)) = (self.timer.take(), self.state.upgrade()) {
            let entry = state.core.cancel_call(key);
            drop(entry);
        }
    }

    /// Whether `cancel` was called.
    fn cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// The context in which the callback runs.
    fn get_context(&self, py: Python<'_>) -> Py<PyAny> {
        self.context.clone_ref(py)
    }
}

/// A callback scheduled by `call_later` or `call_at`.
#[pyclass(frozen, extends = Handle, weakref, module = "aioxide")]
pub(crate) struct TimerHandle;

#[pymethods]
impl TimerHandle {
    /// The loop's time at which the callback is due, in seconds.
    fn when(slf: &Bound<'_, Self>) -> f64 {
        slf.as_super().get().when
    }
}

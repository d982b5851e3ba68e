//! `LoopCore`: what `aioxide.EventLoop` has in Rust. One file per topic.

mod connect;
mod io;
mod raw;
mod run;
mod schedule;
mod server;
mod sock;
mod state;
mod tasks;
mod views;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::ffi::Confined;

pub(crate) use raw::{Loop, add_methods, state_of};
pub(crate) use state::{LoopState, Watcher, running};
pub(crate) use tasks::{_learn_layout, _pending_tasks};

/// The Rust half of `aioxide.EventLoop`; the Python class derives from it and from asyncio's own loop.
#[pyclass(frozen, subclass, module = "aioxide._aioxide")]
pub(crate) struct LoopCore {
    pub(crate) state: Confined<std::rc::Rc<LoopState>>,
}

#[pymethods]
impl LoopCore {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Ok(Self { state: Confined::new(LoopState::new()?) })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.traverse(&visit)
    }

    fn __clear__(&self) {
        self.state.clear();
    }
}

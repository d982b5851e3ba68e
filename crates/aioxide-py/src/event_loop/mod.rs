//! `LoopCore`: what `aioxide.EventLoop` has in Rust. One file per topic.

mod connect;
mod io;
mod run;
mod schedule;
mod server;
mod sock;
mod state;
mod tasks;
mod views;

use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::ffi::Confined;

pub(crate) use state::{LoopState, Watcher, running};
pub(crate) use tasks::{_learn_layout, _pending_tasks, state_of};

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

/// Puts the methods that are not PyO3's into the class.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    let class = LoopCore::type_object(py);
    schedule::add_methods(&class)?;
    tasks::add_methods(py).map_err(|raised| crate::ffi::raised::to_pyerr(py, raised))?;
    io::add_methods(&class)
}

//! `loop._transports`: which descriptor is used by which transport, as asyncio's own code asks for it.

use std::os::fd::RawFd;
use std::rc::Rc;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

use crate::ffi::Confined;
use crate::kernel::LoopState;

/// The table as asyncio's own code uses it: `loop._transports`.
#[pyclass(frozen, module = "aioxide._aioxide", mapping)]
pub(crate) struct Transports(pub(crate) Confined<Rc<LoopState>>);

#[pymethods]
impl Transports {
    fn __getitem__<'py>(&self, py: Python<'py>, fd: RawFd) -> PyResult<Bound<'py, PyAny>> {
        self.0.transports.get(py, fd).ok_or_else(|| PyKeyError::new_err(fd))
    }

    fn __setitem__(&self, fd: RawFd, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.transports.insert(fd, transport)
    }

    fn __delitem__(&self, fd: RawFd) -> PyResult<()> {
        self.0.transports.take(fd).map(drop).ok_or_else(|| PyKeyError::new_err(fd))
    }

    fn __contains__(&self, py: Python<'_>, fd: RawFd) -> bool {
        self.0.transports.get(py, fd).is_some()
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.0.transports.alive(py).len()
    }

    /// The transport of the descriptor, or `default`.
    #[pyo3(signature = (fd, default=None))]
    fn get(&self, py: Python<'_>, fd: RawFd, default: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        self.0.transports.get(py, fd).map(Bound::unbind).or(default)
    }

    /// The transports that are alive.
    fn values<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        self.0.transports.alive(py)
    }
}

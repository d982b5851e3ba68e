//! Which descriptor is used by which transport: `add_reader` and the `sock_*` methods refuse those descriptors.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;

use aioxide_core::sys::is_open;
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::event_loop::LoopState;
use crate::ffi::Confined;

/// Transports by descriptor, weakly.
#[derive(Default)]
pub(crate) struct TransportTable(RefCell<Vec<Option<Py<PyWeakrefReference>>>>);

impl TransportTable {
    pub(crate) fn insert(&self, fd: RawFd, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(index) = usize::try_from(fd) else { return Ok(()) };
        let weak = PyWeakrefReference::new(transport)?.unbind();
        let mut table = self.0.borrow_mut();
        if index >= table.len() {
            if !is_open(fd) {
                // A number that somebody has made up: nobody will ask for it.
                return Ok(());
            }
            table.resize_with(index + 1, || None);
        }
        let before = table[index].replace(weak);
        drop(table);
        drop(before);
        Ok(())
    }

    /// Takes `transport` out, if the descriptor is still its own.
    pub(crate) fn remove(&self, fd: RawFd, transport: &Bound<'_, PyAny>) {
        if self.get(transport.py(), fd).is_some_and(|known| known.is(transport)) {
            drop(self.take(fd));
        }
    }

    fn take(&self, fd: RawFd) -> Option<Py<PyWeakrefReference>> {
        self.0.borrow_mut().get_mut(usize::try_from(fd).ok()?)?.take()
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>, fd: RawFd) -> Option<Bound<'py, PyAny>> {
        let index = usize::try_from(fd).ok()?;
        let table = self.0.borrow();
        table.get(index)?.as_ref()?.bind(py).upgrade()
    }

    /// # Errors
    /// RuntimeError when a transport that is not closing uses `fd`; `shown` is how the caller named it.
    pub(crate) fn ensure_unused(&self, py: Python<'_>, fd: RawFd, shown: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(transport) = self.get(py, fd) else { return Ok(()) };
        if transport.call_method0("is_closing")?.is_truthy()? {
            return Ok(());
        }
        let (shown, transport) = (shown.repr()?, transport.repr()?);
        Err(PyRuntimeError::new_err(format!("File descriptor {shown} is used by transport {transport}")))
    }
}

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
        let table = self.0.transports.0.borrow();
        table.iter().flatten().filter(|weak| weak.bind(py).upgrade().is_some()).count()
    }

    /// The transport of the descriptor, or `default`.
    #[pyo3(signature = (fd, default=None))]
    fn get(&self, py: Python<'_>, fd: RawFd, default: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        self.0.transports.get(py, fd).map(Bound::unbind).or(default)
    }

    /// The transports that are alive.
    fn values<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let table = self.0.transports.0.borrow();
        table.iter().flatten().filter_map(|weak| weak.bind(py).upgrade()).collect()
    }
}

//! `add_reader`, `add_writer` and their removal.

use std::os::fd::RawFd;

use aioxide_core::Token;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::LoopCore;
use super::state::Watcher;
use crate::handle::Handle;

/// The number behind an int or an object with `fileno()`.
fn descriptor(file: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    if let Ok(fd) = file.extract::<RawFd>() {
        return Ok(fd);
    }
    let invalid = || pyo3::exceptions::PyValueError::new_err(format!("Invalid file object: {file:?}"));
    let fd = file.call_method0("fileno").and_then(|fd| fd.extract::<RawFd>()).map_err(|_| invalid())?;
    if fd < 0 {
        return Err(pyo3::exceptions::PyValueError::new_err(format!("Invalid file descriptor: {fd}")));
    }
    Ok(fd)
}

impl LoopCore {
    fn watch(
        &self,
        py: Python<'_>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyTuple>,
        set: impl FnOnce(Token) -> std::io::Result<Option<Token>>,
    ) -> PyResult<Py<Handle>> {
        let handle = Py::new(py, self.make_handle(py, callback, args, None, 0.0)?)?;
        let token = self.state.add_watcher(Watcher::Callback(handle.clone_ref(py)));
        match set(token) {
            Ok(before) => {
                self.cancel_watcher(py, before);
                Ok(handle)
            }
            Err(error) => {
                self.state.remove_watcher(token);
                Err(error.into())
            }
        }
    }

    fn cancel_watcher(&self, py: Python<'_>, token: Option<Token>) -> bool {
        match token.and_then(|token| self.state.remove_watcher(token)) {
            Some(Watcher::Callback(handle)) => {
                handle.bind(py).get().cancel();
                true
            }
            None => false,
        }
    }
}

#[pymethods]
impl LoopCore {
    /// Calls `callback(*args)` whenever the descriptor is readable.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_reader(
        &self,
        py: Python<'_>,
        fd: &Bound<'_, PyAny>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyTuple>,
    ) -> PyResult<Py<Handle>> {
        let fd = descriptor(fd)?;
        self.watch(py, callback, args, |token| self.state.core.reactor().set_reader(fd, token))
    }

    /// Calls `callback(*args)` whenever the descriptor is writable.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_writer(
        &self,
        py: Python<'_>,
        fd: &Bound<'_, PyAny>,
        callback: Py<PyAny>,
        args: &Bound<'_, PyTuple>,
    ) -> PyResult<Py<Handle>> {
        let fd = descriptor(fd)?;
        self.watch(py, callback, args, |token| self.state.core.reactor().set_writer(fd, token))
    }

    /// Stops watching for reading; whether it was watched.
    fn _remove_reader(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        let before = self.state.core.reactor().remove_reader(descriptor(fd)?);
        Ok(self.cancel_watcher(py, before))
    }

    /// Stops watching for writing; whether it was watched.
    fn _remove_writer(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        let before = self.state.core.reactor().remove_writer(descriptor(fd)?);
        Ok(self.cancel_watcher(py, before))
    }
}

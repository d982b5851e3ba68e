//! What programs read of a loop's insides: `_ready`, `_scheduled` and what stands behind `_selector`.

use std::os::fd::RawFd;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::kernel::LoopCore;

#[pymethods]
impl LoopCore {
    /// What runs next, in order; a copy. asyncio: `_ready`, a deque.
    #[getter(_ready)]
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut entries = Vec::with_capacity(self.state.core.ready_len());
        self.state.core.for_each_ready(|entry| {
            entries
                .push(entry.object(py).map_or_else(|| py.None().into_bound(py), |object| object.to_owned()));
        });
        PyList::new(py, entries)
    }

    /// The pending timers, the earliest first; a copy. asyncio: `_scheduled`, a heap.
    #[getter(_scheduled)]
    fn scheduled<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut timers = Vec::with_capacity(self.state.core.timers_len());
        self.state.core.for_each_timer(|deadline_ns, entry| {
            if let Some(object) = entry.object(py) {
                timers.push((deadline_ns, object.to_owned()));
            }
        });
        timers.sort_by_key(|(deadline_ns, _)| *deadline_ns);
        PyList::new(py, timers.into_iter().map(|(_, handle)| handle))
    }

    /// The watched descriptors.
    fn _descriptors(&self) -> Vec<RawFd> {
        self.state.core.reactor().descriptors()
    }

    /// The handles that watch `fd` for reading and for writing, `True` for one that is not Python's, `None` for none.
    fn _watchers<'py>(&self, py: Python<'py>, fd: RawFd) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let (reader, writer) = self.state.core.reactor().tokens(fd);
        Ok((self.state.watchers.shown(py, reader), self.state.watchers.shown(py, writer)))
    }
}

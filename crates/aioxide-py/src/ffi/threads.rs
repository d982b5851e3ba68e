//! Giving the interpreter up around a call that may block.

use pyo3::ffi;
use pyo3::prelude::*;

struct Saved(*mut ffi::PyThreadState);

impl Drop for Saved {
    fn drop(&mut self) {
        // SAFETY: the state that this thread gave up, restored once.
        unsafe { ffi::PyEval_RestoreThread(self.0) };
    }
}

/// Runs `wait` without the interpreter; it must not touch any Python object.
pub(crate) fn detached<T>(_py: Python<'_>, wait: impl FnOnce() -> T) -> T {
    // SAFETY: the token shows that this thread is attached.
    let saved = Saved(unsafe { ffi::PyEval_SaveThread() });
    let result = wait();
    drop(saved);
    result
}

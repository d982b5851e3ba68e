//! What belongs to one thread, inside of Python objects that any thread may hold.

use std::mem::ManuallyDrop;
use std::thread::{self, ThreadId};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A value for the thread that made it: the loop's.
///
/// Python objects go where they like, and the collector frees them on any thread. Elsewhere the value cannot be reached;
/// dropped there, it is given up, with its sockets, and that is reported.
pub(crate) struct Local<T> {
    thread: ThreadId,
    value: ManuallyDrop<T>,
}

// SAFETY: the value is reached, and dropped, on its own thread alone.
unsafe impl<T> Send for Local<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Local<T> {}

impl<T> Local<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { thread: thread::current().id(), value: ManuallyDrop::new(value) }
    }

    /// The value.
    ///
    /// # Errors
    /// RuntimeError in another thread than the value's own.
    #[inline]
    pub(crate) fn get(&self) -> PyResult<&T> {
        if self.thread == thread::current().id() { Ok(&self.value) } else { Err(elsewhere()) }
    }
}

#[cold]
fn elsewhere() -> PyErr {
    PyRuntimeError::new_err(
        "an HTTP session and its responses belong to the thread and the loop that they were made on; \
         use loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe() to get there",
    )
}

impl<T> Drop for Local<T> {
    fn drop(&mut self) {
        if self.thread == thread::current().id() {
            // SAFETY: once, on its own thread.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

//! Handles of `call_soon_threadsafe`, from Python 3.14 on: another thread's `cancel` waits for a callback that runs.
//!
//! asyncio's have a lock for that, which each run and each cancellation takes. Here the interpreter's lock keeps the threads
//! apart already; what is left is to say who runs the callback, and to wait. `Turns` holds that in one word:
//!
//! ```text
//!   NOT_SHARED                          of call_soon, timers, readers: nobody waits
//!   NOBODY ──begin──> the thread's number ──end, of the outermost run──> NOBODY, and all who wait look again
//! ```

use std::cell::{Cell, RefCell};
use std::thread::{self, Thread};
use std::time::Duration;

use pyo3::prelude::*;

use crate::ffi::{Confined, detached, this_thread};

const NOT_SHARED: u64 = 0;
const NOBODY: u64 = u64::MAX;
/// A thread that waits looks for signals so often; only the main thread finds any.
const SIGNALS: Duration = Duration::from_millis(20);

/// The threads that wait for the callback of any handle to end: nearly always none.
static WAITING: Confined<RefCell<Vec<Thread>>> = Confined::new(RefCell::new(Vec::new()));

/// Who runs the callback of a handle.
pub(super) struct Turns(Cell<u64>);

impl Turns {
    pub(super) fn is_shared(&self) -> bool {
        self.0.get() != NOT_SHARED
    }

    pub(super) fn share(&self) {
        self.0.set(NOBODY);
    }

    /// Notes that this thread runs the callback.
    pub(super) fn begin(&self) {
        self.0.set(this_thread());
    }

    /// Notes that nobody does any more.
    pub(super) fn end(&self) {
        self.0.set(NOBODY);
        for thread in &*WAITING.borrow() {
            thread.unpark();
        }
    }

    /// Waits, without the interpreter, until no other thread runs the callback.
    ///
    /// # Errors
    /// What a signal handler raises meanwhile.
    #[inline]
    pub(super) fn wait(&self, py: Python<'_>) -> PyResult<()> {
        if self.0.get() == NOT_SHARED || self.0.get() == NOBODY { Ok(()) } else { self.wait_for_others(py) }
    }

    #[cold]
    fn wait_for_others(&self, py: Python<'_>) -> PyResult<()> {
        let (this, me) = (this_thread(), thread::current());
        while self.0.get() != NOBODY && self.0.get() != this {
            WAITING.borrow_mut().push(me.clone());
            detached(py, || thread::park_timeout(SIGNALS));
            WAITING.borrow_mut().retain(|waiting| waiting.id() != me.id());
            py.check_signals()?;
        }
        Ok(())
    }
}

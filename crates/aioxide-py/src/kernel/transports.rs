//! What a loop knows of its transports: which descriptor is used by which, and which hold writes.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;

use aioxide_core::sys::is_open;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::ffi::{Object, Owned};

/// Transports by descriptor, weakly: `add_reader` and the `sock_*` methods refuse those descriptors.
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

    pub(crate) fn take(&self, fd: RawFd) -> Option<Py<PyWeakrefReference>> {
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

    /// The transports that are alive.
    pub(crate) fn alive<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        self.0.borrow().iter().flatten().filter_map(|weak| weak.bind(py).upgrade()).collect()
    }
}

/// A write that has been held so long, in nanoseconds, is sent at the end of the entry that runs.
const LONGEST_NS: u64 = 2_000_000;

/// One that is made when the batch has been running so long is sent at the end of its own entry.
const LONG_BATCH_NS: u64 = 8_000_000;

/// The transports of a loop that hold writes of the batch that runs, in the order of their first ones.
#[derive(Default)]
pub(crate) struct HeldWrites {
    in_entry: Cell<bool>,
    /// A transport has begun to hold writes since the entry began.
    is_fresh: Cell<bool>,
    at_once: Cell<bool>,
    /// Until when they may be held.
    until_ns: Cell<u64>,
    pub(crate) transports: RefCell<Vec<Owned>>,
}

impl HeldWrites {
    /// Whether every write is sent at once, as asyncio does.
    pub(crate) fn at_once(&self) -> bool {
        self.at_once.get()
    }

    pub(crate) fn set_at_once(&self, at_once: bool) {
        self.at_once.set(at_once);
    }

    /// Whether writes may be held now.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.in_entry.get() && !self.at_once.get()
    }

    /// An entry begins.
    #[inline]
    pub(crate) fn begin(&self) {
        self.in_entry.set(true);
        self.is_fresh.set(false);
    }

    /// The entry has ended; whether what is held is to be sent now, `now_ns`. What is written when an event comes (`is_event`)
    /// took no time to make, and peers that are answered so are awake: theirs are sent at once.
    #[inline]
    pub(crate) fn end(&self, is_event: bool, now_ns: impl FnOnce() -> u64) -> bool {
        self.in_entry.set(false);
        self.is_waiting() && (is_event && self.is_fresh.get() || now_ns() >= self.until_ns.get())
    }

    /// A transport is about to send what it holds; it need not be listed any more, if it stands last.
    pub(crate) fn forget_last(&self, transport: &Object) {
        let last = self.transports.borrow_mut().pop_if(|last| last.is(transport));
        drop(last);
    }

    /// Whether something is held.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        !self.transports.borrow().is_empty()
    }

    /// A transport holds its first write; `now` tells the time, and for how long the batch has been running.
    pub(crate) fn add(&self, transport: Owned, now: impl FnOnce() -> (u64, u64)) {
        let mut transports = self.transports.borrow_mut();
        if transports.is_empty() {
            let (now_ns, age_ns) = now();
            let is_late = age_ns >= LONG_BATCH_NS;
            self.until_ns.set(if is_late { 0 } else { now_ns.saturating_add(LONGEST_NS) });
        }
        transports.push(transport);
        self.is_fresh.set(true);
    }
}

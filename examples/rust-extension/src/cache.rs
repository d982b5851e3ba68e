//! A cache that a Python coroutine function fills: each value is loaded once, however many ask for it meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use aioxide_pyo3::{await_python, into_awaitable};
use pyo3::prelude::*;

/// Keeps the `capacity` values that were asked for last.
#[pyclass(unsendable)]
pub(crate) struct Cache {
    shared: Rc<Shared>,
}

struct Shared {
    loader: Py<PyAny>,
    capacity: usize,
    entries: RefCell<HashMap<String, Entry>>,
    /// Goes up with each look: who has the smallest was not asked for the longest.
    clock: Cell<u64>,
}

enum Entry {
    /// Somebody loads it; these wait for that.
    Loading(Vec<Waker>),
    Loaded {
        value: Py<PyAny>,
        used: u64,
    },
}

#[pymethods]
impl Cache {
    #[new]
    #[pyo3(signature = (loader, capacity = 128))]
    fn new(loader: Py<PyAny>, capacity: usize) -> Self {
        let shared = Shared { loader, capacity, entries: RefCell::default(), clock: Cell::new(0) };
        Self { shared: Rc::new(shared) }
    }

    /// `await cache.get(key)` gives what `await loader(key)` gave.
    ///
    /// A loader that fails is the caller's failure, and the next in line tries again. If the caller that loads is
    /// cancelled, so is the loader, and the next in line takes over.
    fn get<'py>(&self, py: Python<'py>, key: String) -> PyResult<Bound<'py, PyAny>> {
        into_awaitable(py, get(Rc::clone(&self.shared), key))
    }

    fn __len__(&self) -> usize {
        self.shared.entries.borrow().len()
    }
}

async fn get(shared: Rc<Shared>, key: String) -> PyResult<Py<PyAny>> {
    loop {
        poll_fn(|cx| shared.poll_not_loading(&key, cx)).await;
        if let Some(value) = shared.look(&key) {
            return Ok(value);
        }
        // Nothing is awaited between the look and this, so nobody else has begun.
        let load = Load::begin(&shared, &key);
        let call = Python::attach(|py| PyResult::Ok(await_python(shared.loader.bind(py).call1((&key,))?)))?;
        let value = call.await?;
        load.finish(value);
    }
}

impl Shared {
    fn poll_not_loading(&self, key: &str, cx: &Context<'_>) -> Poll<()> {
        let mut entries = self.entries.borrow_mut();
        let Some(Entry::Loading(waiting)) = entries.get_mut(key) else { return Poll::Ready(()) };
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn look(&self, key: &str) -> Option<Py<PyAny>> {
        let mut entries = self.entries.borrow_mut();
        let Some(Entry::Loaded { value, used }) = entries.get_mut(key) else { return None };
        *used = self.tick();
        Some(Python::attach(|py| value.clone_ref(py)))
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// Lets go of the value that was not asked for the longest, if there are too many.
    fn shrink(&self) {
        let oldest = {
            let entries = self.entries.borrow();
            let loaded = entries.iter().filter_map(|(key, entry)| match entry {
                Entry::Loaded { used, .. } => Some((*used, key.clone())),
                Entry::Loading(_) => None,
            });
            if entries.len() > self.capacity { loaded.min() } else { None }
        };
        // Removed first, dropped when nothing is borrowed: dropping a Python object may run anything.
        let removed = oldest.and_then(|(_, key)| self.entries.borrow_mut().remove(&key));
        drop(removed);
    }
}

/// A load under way; dropped unfinished, by an error or a cancellation, it leaves the place to the next in line.
struct Load<'a> {
    shared: &'a Shared,
    key: &'a str,
}

impl<'a> Load<'a> {
    fn begin(shared: &'a Shared, key: &'a str) -> Self {
        shared.entries.borrow_mut().insert(key.to_owned(), Entry::Loading(Vec::new()));
        Self { shared, key }
    }

    fn finish(self, value: Py<PyAny>) {
        let entry = Entry::Loaded { value, used: self.shared.tick() };
        let before = self.shared.entries.borrow_mut().insert(self.key.to_owned(), entry);
        wake(before);
        self.shared.shrink();
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        let mut entries = self.shared.entries.borrow_mut();
        if matches!(entries.get(self.key), Some(Entry::Loading(_))) {
            let before = entries.remove(self.key);
            drop(entries);
            wake(before);
        }
    }
}

fn wake(entry: Option<Entry>) {
    if let Some(Entry::Loading(waiting)) = entry {
        waiting.into_iter().for_each(Waker::wake);
    }
}

//! What a loop runs, entry by entry, for a while: the material of a timeline. `aioxide.monitor` asks for it.
//!
//! **Invariant:** naming what runs runs none of the program's code: names are read where the interpreter keeps them.

use aioxide_core::Token;
use aioxide_core::observer::Label;
use aioxide_py_monitor::{RUN_BOUNDS_NS, Recorded};
use pyo3::intern;
use pyo3::prelude::*;

use crate::ffi::Object;
use crate::ffi::text::{own_type_name, qualified_name};
use crate::kernel::handle::Handle;
use crate::kernel::{self, Direction, Entry, LoopCore, Watcher};
use crate::task::queued;

#[pymethods]
impl LoopCore {
    /// Begins to record what the loop runs: at most `limit` runs, for at most `length_ns` nanoseconds. False when that is
    /// being done already.
    fn _record(&self, limit: usize, length_ns: u64) -> bool {
        let Some(recorder) = self.state.core.record(limit, length_ns, label) else { return false };
        drop(self.state.recorder.replace(Some(recorder)));
        true
    }

    /// How long entries ran since this was first called: how many, nanoseconds in all, the longest, and how many within each of the
    /// monitor's bounds. They are counted for `length_ns` more.
    fn _durations(&self, length_ns: u64) -> (u64, u64, u64, Vec<u64>) {
        let found = self.state.core.measure(&RUN_BOUNDS_NS, length_ns);
        (found.runs, found.total_ns, found.longest_ns, found.histogram)
    }

    /// Ends that, and returns what was recorded; `None` if nothing was begun.
    fn _recorded(&self) -> Option<Recorded> {
        let recorder = self.state.recorder.take()?;
        self.state.core.observe(None);
        Some(Recorded::new(recorder.take()))
    }
}

/// What an entry is, as far as a timeline tells.
fn label(entry: &Entry) -> Label {
    Python::attach(|py| match entry {
        Entry::Step(task) => of_task("step", task),
        Entry::Wake(task) => of_task("wake-up", task),
        Entry::Throw { task, .. } => of_task("throw", task),
        Entry::Task(woken) => aioxide::__label(woken),
        Entry::Handle(handle) => named("callback", of_handle(py, handle)),
        Entry::Foreign(handle) => named("callback", own_type_name(handle)),
        Entry::FutureCallback { callback, .. } => named("callback", qualified_name(callback)),
        Entry::Child { child_done, .. } => named("callback", child_done.name.to_owned()),
        Entry::Io(token) => named("event", of_watcher(py, *token)),
        Entry::Transport(transport) => named("transport", own_type_name(Object::of(transport.bind(py)))),
        Entry::Expire { owner, .. } => named("timeout", own_type_name(owner)),
        Entry::Woken(_) => named("rust", String::new()),
        Entry::Dropped(_) => named("drop", String::new()),
    })
}

fn named(kind: &'static str, name: String) -> Label {
    Label { kind, name, ..Label::default() }
}

fn of_task(kind: &'static str, task: &Object) -> Label {
    let (name, code) = queued::describe(task);
    Label { kind, name, code, task: task.as_ptr().addr() as u64 }
}

/// What a handle calls.
fn of_handle(py: Python<'_>, handle: &Handle) -> String {
    let callback = handle.bind(py).getattr(intern!(py, "_callback"));
    callback.map_or_else(|_| String::new(), |callback| qualified_name(Object::of(&callback)))
}

/// Whom an event is for.
fn of_watcher(py: Python<'_>, token: Token) -> String {
    match kernel::running().and_then(|state| state.watchers.get(token)) {
        Some(Watcher::Callback(handle)) => of_handle(py, &handle),
        Some(Watcher::Transport { transport, direction }) => {
            let way = if direction == Direction::Read { "read" } else { "write" };
            format!("{} {way}", own_type_name(&transport))
        }
        Some(Watcher::Other(_)) | None => String::new(),
    }
}

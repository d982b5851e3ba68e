//! `aioxide._aioxide`: the loop, its objects and its transports for Python. A table of contents: `export` names the rooms from
//! the ground up, each of which may use those before it.

mod awaitable;
mod bridge;
mod dispatch;
mod event_loop;
mod ffi;
mod future;
mod gc;
mod interp;
mod kernel;
mod queue;
mod streams;
mod sync;
mod task;
mod transports;

use pyo3::prelude::*;

use aioxide_py_monitor::Facts;
use ffi::Object;
use ffi::exports::Exports;

/// Each room puts its part into the module.
fn export(exports: &Exports<'_, '_>) -> ffi::Outcome<()> {
    interp::export(exports)?;
    ffi::function::export(exports)?;
    awaitable::export(exports)?;
    kernel::export(exports)?;
    future::export(exports, task::read_base)?;
    transports::export(exports)?;
    task::export(exports)?;
    streams::export(exports)?;
    sync::export(exports)?;
    queue::export(exports)?;
    bridge::export(exports)?;
    exports.python(aioxide_py_http::add)?;
    exports.python(|module| aioxide_py_monitor::add(module, FACTS))?;
    event_loop::export(exports)?;
    gc::export(exports)
}

/// What the monitor cannot read itself.
const FACTS: Facts = Facts {
    taker: |lock| {
        let task = sync::taker_of(Object::of(lock))?;
        Some(task.bind(lock.py()).to_owned())
    },
    steps: |task| task::steps_of(Object::of(task)),
};

#[pymodule(gil_used = true)]
fn _aioxide(module: &Bound<'_, PyModule>) -> PyResult<()> {
    export(&Exports(module)).map_err(|raised| ffi::raised::to_pyerr(module.py(), raised))
}

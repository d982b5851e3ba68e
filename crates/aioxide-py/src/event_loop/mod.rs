//! The methods of the loop that are in Rust, one file per topic; the struct is `kernel::LoopCore`.
//!
//! ```text
//!   schedule    call_soon, call_later, call_at, call_soon_threadsafe     debug       what they check in debug mode
//!   run         running, stopping, closing                               tasks       create_task, create_future
//!   readers     add_reader and its like       sock   the sock_* methods  server      accepting connections
//!   transports  which descriptor is whose     views  _ready, _scheduled, _selector
//!   connect     create_connection to an address      sock_connect   the same for a socket of the program's
//!   record      what the loop runs, for a timeline
//! ```

mod connect;
mod debug;
mod readers;
mod record;
mod run;
mod schedule;
mod server;
mod sock;
mod sock_connect;
mod tasks;
mod transports;
mod views;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::bridge;
use crate::ffi::exports::{Exports, export_functions};
use crate::ffi::method::add_method;
use crate::ffi::{Confined, Outcome, call, cast, function, outlive_interpreter, python};
use crate::kernel::{LoopCore, LoopState, alive};
use crate::task::list;

use connect::_prepare_connecting;
use tasks::_pending_tasks;

#[pymethods]
impl LoopCore {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let state = LoopState::new()?;
        alive::remember(&state);
        Ok(Self { state: Confined::new(state) })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.traverse(&visit)?;
        let mut result = Ok(());
        if let Some(this) = self.state.python_object() {
            list::for_each_held(this, |task| {
                if result.is_ok() {
                    result = task.traverse(&visit);
                }
            });
        }
        result
    }

    /// Drops all of that: the collector has found that nobody else can reach it.
    fn __clear__(&self) {
        outlive_interpreter();
        self.drop_queued();
        self.state.watchers.clear();
        self.state.task_factory.clear();
        self.release_tasks();
    }
}

impl LoopCore {
    /// Drops what is queued.
    fn drop_queued(&self) {
        self.state.show_shared_handles();
        bridge::drop_waiting(&self.state.rust_futures);
        self.state.core.close();
    }

    /// Lets go of the tasks that the loop holds: nobody will run them.
    fn release_tasks(&self) {
        if let Some(this) = self.state.python_object() {
            list::release_all(this);
        }
    }
}

/// Puts the hot methods into the class that PyO3 has finished, and makes what asyncio has as coroutine functions look like asyncio's.
///
/// PyO3 builds a tuple for `*args` and takes the slow protocol for `**kwargs`; `call_soon` and its like are called once per
/// callback.
fn add_methods(py: Python<'_>) -> Outcome<()> {
    let kind = <LoopCore as pyo3::PyTypeInfo>::type_object_raw(py);
    for method in schedule::methods().into_iter().chain(tasks::methods()).chain(readers::methods()) {
        // SAFETY: the class, and methods that take its instances.
        unsafe { add_method(kind, method)? };
    }
    let stock = call::get_attribute(&*call::import(c"asyncio")?, &*call::interned(c"SelectorEventLoop")?)?;
    // SAFETY: a type of PyO3's lives for ever.
    function::dress_coroutine_functions(unsafe { cast(kind.cast()) }, &stock)
}

/// What the room puts into the module.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    add_methods(python(exports.module()))?;
    export_functions!(exports, _pending_tasks, _prepare_connecting)
}

//! Before the collector looks at older objects, it is shown the handles that wait in a queue and that others hold as well.
//!
//! A handle in a queue is not tracked (see `handle`), and what a shared one holds counts as in use. That is right while its loop
//! lives, but a loop that is given up unclosed, with an object that keeps a handle of its own, would stay for ever.
//! Only a collection of everything is rare enough to walk through the queues for (3.14 has none by itself: there it is each
//! that goes beyond the youngest objects). Every collection beyond the youngest objects is also when the memory of
//! instances goes back that nobody needed since the last.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::exports::{Exports, export_functions};
use crate::ffi::{Outcome, coroutine, free_list};
use crate::kernel::alive;
use crate::queue;

/// Stands in `gc.callbacks`.
#[pyfunction]
fn _before_collection(phase: &str, info: &Bound<'_, PyDict>) -> PyResult<()> {
    if phase != "start" {
        coroutine::keep_stop_tracked();
        return Ok(());
    }
    let generation = match info.get_item("generation")? {
        Some(generation) => generation.extract::<u8>().unwrap_or(0),
        None => 0,
    };
    if generation >= if cfg!(Py_3_14) { 1 } else { 2 } {
        alive::show_shared_handles();
        queue::show_unseen();
    }
    if generation >= 1 {
        free_list::give_back_unused();
    }
    Ok(())
}

/// What the room puts into the module, and into the collector's list.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    export_functions!(exports, _before_collection)?;
    exports.python(|module| {
        let hook = module.getattr("_before_collection")?;
        module.py().import("gc")?.getattr("callbacks")?.call_method1("append", (hook,)).map(drop)
    })
}

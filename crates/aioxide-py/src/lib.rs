//! `aioxide._aioxide`: the loop, its objects and its transports for Python.

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

/// Adds the classes that are written against the C interface, and what they need.
fn raw_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let make = || {
        interp::load()?;
        interp::context_layout::learn()?;
        interp::descriptor::learn()?;
        let future = future::make_kind(task::read_base)?;
        crate::future::iter::make_kind()?;
        let task = task::make_kind()?;
        future::lead_to_ours(&future, &task)?;
        let gather = crate::task::gather::make_function(&future)?;
        let mut parts = vec![("sleep", crate::task::sleep::make_function()?), ffi::function::make_dresser()?];
        parts.push(awaitable::looks::make_tracker()?);
        parts.extend([task::shield::make_function()?, task::wait::make_function()?]);
        parts.extend([task::wait_for::make_function()?, task::completions::make_function()?]);
        parts.extend(task::start::make_functions()?);
        parts.extend(task::timeout::make_parts()?);
        parts.extend(task::group::make_parts()?);
        for (name, part) in parts {
            let part = ffi::function::named_like(name, part)?;
            module.add(name, part.into_py()).map_err(|error| ffi::raised::from_pyerr(error, py))?;
        }
        let errors = [("QueueShutDown", interp::names().queue_shut_down.clone())];
        for (name, kind) in queue::make_base()?.into_iter().chain(sync::make_kinds()?).chain(errors) {
            module.add(name, kind.into_py()).map_err(|error| ffi::raised::from_pyerr(error, py))?;
        }
        Ok((future, task, gather))
    };
    let (future, task, gather) = make().map_err(|raised| ffi::raised::to_pyerr(py, raised))?;
    module.add("Future", future.into_py())?;
    module.add("Task", task.into_py())?;
    module.add("gather", gather.into_py())
}

#[pymodule(gil_used = true)]
mod _aioxide {
    use super::{Bound, PyModule, PyResult};

    #[pymodule_export]
    use crate::event_loop::{_learn_layout, _pending_tasks};
    #[pymodule_export]
    use crate::gc::_before_collection;
    #[pymodule_export]
    use crate::kernel::LoopCore;
    #[pymodule_export]
    use crate::streams::equip_streams;
    #[pymodule_export]
    use crate::transports::{
        _send_held_writes, equip_datagram_transport, equip_read_pipe_transport, equip_stream_transport,
        equip_tls_transport, equip_write_pipe_transport, prepare_datagram_transport,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::kernel::handle::add_classes(module)?;
        crate::raw_classes(module)?;
        crate::bridge::add(module)?;
        aioxide_py_http::add(module)?;
        crate::gc::install(module)?;
        let py = module.py();
        crate::event_loop::add_methods(py).map_err(|raised| crate::ffi::raised::to_pyerr(py, raised))
    }
}

//! `aioxide._aioxide`: the loop, its objects and its transports for Python.

mod debug;
mod entry;
mod error;
mod event_loop;
mod ffi;
mod handle;
mod report;
mod transports;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _aioxide {
    use super::{Bound, PyModule, PyResult};

    #[pymodule_export]
    use crate::event_loop::LoopCore;
    #[pymodule_export]
    use crate::transports::{
        equip_datagram_transport, equip_read_pipe_transport, equip_stream_transport, equip_tls_transport,
        equip_write_pipe_transport,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::handle::add_classes(module)?;
        crate::event_loop::add_methods(module.py())
    }
}

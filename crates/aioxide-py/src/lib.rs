//! `aioxide._aioxide`: the loop, its objects and its transports for Python.

mod entry;
mod error;
mod event_loop;
mod ffi;
mod handle;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _aioxide {
    #[pymodule_export]
    use crate::event_loop::LoopCore;
    #[pymodule_export]
    use crate::handle::{Handle, TimerHandle};
}

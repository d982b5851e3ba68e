//! The only use of `pyo3::ffi`: raw calls that take typed references and give `PyResult`s.

mod call;
mod confined;
mod context;
mod threads;

pub(crate) use call::call_with_tuple;
pub(crate) use confined::Confined;
pub(crate) use context::{copy_context, enter_context, exit_context};
pub(crate) use threads::detached;

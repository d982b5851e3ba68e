//! The only use of `pyo3::ffi` but for `handle`: raw calls that take typed references and give `PyResult`s.

mod confined;
mod context;
mod memory;
mod owned;
pub(crate) mod slot;
mod threads;
pub(crate) mod vectorcall;

pub(crate) use confined::Confined;
pub(crate) use context::{copy_context, enter_context, exit_context};
pub(crate) use memory::{Buffer, Chunk, fill_bytes, raw_buffer};
pub(crate) use owned::Owned;
pub(crate) use slot::{slot_attribute, slot_method};
pub(crate) use threads::detached;
pub(crate) use vectorcall::{Arguments, add_method, method, tuple};

//! The only use of `pyo3::ffi` but for `handle`: raw calls that take typed references and give `PyResult`s.

mod confined;
mod owned;
mod threads;
pub(crate) mod vectorcall;

pub(crate) use confined::Confined;
pub(crate) use owned::Owned;
pub(crate) use threads::detached;
pub(crate) use vectorcall::{Arguments, add_method, method, tuple};

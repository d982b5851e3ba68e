//! The loop as the receiver of methods that take their arguments as CPython passes them.
//!
//! PyO3 builds a tuple for `*args` and takes the slow protocol for `**kwargs`; `call_soon` and its like are called once per
//! callback, so they are put into the class that PyO3 has finished.

use pyo3::prelude::*;

use super::{LoopCore, LoopState, io, schedule, tasks};
use crate::ffi::method::add_method;
use crate::ffi::{Class, Object, Outcome, call, cast, function, python};

/// An instance of `LoopCore`, seen from raw calls.
#[repr(transparent)]
pub(crate) struct Loop(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Loop {}

impl Loop {
    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.0
    }

    #[inline]
    pub(crate) fn state(&self) -> &LoopState {
        let py = python(&self.0);
        // SAFETY: an instance of the class, which lives as long as the reference.
        unsafe {
            let core = self.0.bind(py).cast_unchecked::<LoopCore>();
            &*std::rc::Rc::as_ptr(&core.get().state)
        }
    }
}

/// The Rust half of a loop, if it is one of ours.
#[inline]
pub(crate) fn state_of(event_loop: &Object) -> Option<&LoopState> {
    let kind = <LoopCore as pyo3::PyTypeInfo>::type_object_raw(python(event_loop));
    if !event_loop.is_instance(kind) {
        return None;
    }
    // SAFETY: an instance of the class.
    Some(unsafe { cast::<Loop>(event_loop.as_ptr()) }.state())
}

/// Puts the methods into the class, and makes all that asyncio has as well look like asyncio's.
pub(crate) fn add_methods(py: Python<'_>) -> Outcome<()> {
    let kind = <LoopCore as pyo3::PyTypeInfo>::type_object_raw(py);
    for method in schedule::methods().into_iter().chain(tasks::methods()).chain(io::methods()) {
        // SAFETY: the class, and methods that take its instances.
        unsafe { add_method(kind, method)? };
    }
    let stock = call::get_attribute(&*call::import(c"asyncio")?, &*call::interned(c"SelectorEventLoop")?)?;
    // SAFETY: a type of PyO3's lives for ever.
    function::dress_methods(unsafe { cast(kind.cast()) }, &stock)
}

//! `LoopCore`: the Rust half of `aioxide.EventLoop`. Its methods stand in `event_loop`, one file per topic.

use std::rc::Rc;

use pyo3::prelude::*;

use super::LoopState;
use crate::ffi::{Class, Confined, Object, cast, outlive_interpreter, python};

/// The Rust half of `aioxide.EventLoop`; the Python class derives from it and from asyncio's own loop.
#[pyclass(frozen, subclass, module = "aioxide._aioxide")]
pub(crate) struct LoopCore {
    pub(crate) state: Confined<Rc<LoopState>>,
}

impl Drop for LoopCore {
    /// What the loop still has is released by whichever thread lets go of it last.
    fn drop(&mut self) {
        outlive_interpreter();
    }
}

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
            &*Rc::as_ptr(&core.get().state)
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

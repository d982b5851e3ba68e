//! `add_reader`, `add_writer` and their removal.
//!
//! Database drivers and aiohttp's fast path arm and disarm a descriptor for every wait, so these are hot methods too. The names with
//! an underscore are what asyncio's own code calls: the same without the look at the transports.

use std::io;
use std::os::fd::RawFd;

use aioxide_core::Token;
use pyo3::ffi as raw;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyType};

use super::schedule::core_of;
use super::state::{LoopState, Watcher};
use crate::error;
use crate::ffi::{Arguments, Owned, add_method, method};
use crate::handle::{Callback, Handle};

/// Which of a descriptor's two watchers is meant.
#[derive(Clone, Copy)]
enum Side {
    Reader,
    Writer,
}

impl Side {
    fn set(self, state: &LoopState, fd: RawFd, token: Token) -> io::Result<Option<Token>> {
        match self {
            Self::Reader => state.core.reactor().set_reader(fd, token),
            Self::Writer => state.core.reactor().set_writer(fd, token),
        }
    }

    fn remove(self, state: &LoopState, fd: RawFd) -> Option<Token> {
        match self {
            Self::Reader => state.core.reactor().remove_reader(fd),
            Self::Writer => state.core.reactor().remove_writer(fd),
        }
    }
}

/// The number behind an int or an object with `fileno()`. asyncio: `selectors._fileobj_to_fd`.
fn descriptor(file: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let number = if file.is_instance_of::<PyInt>() {
        file.extract::<i64>()?
    } else {
        file.call_method0("fileno").and_then(|fd| fd.extract()).map_err(|_| error::invalid_file(file))?
    };
    RawFd::try_from(number).ok().filter(|fd| *fd >= 0).ok_or_else(|| error::invalid_descriptor(number))
}

/// The number under which a file object was watched, even when it has been closed since: asyncio's selector knows it by identity, and
/// AnyIO relies on that.
fn watched_descriptor(state: &LoopState, file: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    descriptor(file).or_else(|error| state.descriptor_of_file(file.as_ptr() as usize).ok_or(error))
}

pub(super) fn cancel_watcher(py: Python<'_>, state: &LoopState, token: Option<Token>) -> PyResult<bool> {
    match token.and_then(|token| state.remove_watcher(token)) {
        Some(Watcher::Callback(handle)) => {
            handle.cancel(py)?;
            Ok(true)
        }
        Some(Watcher::Transport(_) | Watcher::Listener(_) | Watcher::Socket(_)) => Ok(true),
        None => Ok(false),
    }
}

#[inline]
fn watch(
    event_loop: Borrowed<'_, '_, PyAny>,
    arguments: Arguments<'_>,
    method: &'static str,
    side: Side,
    public: bool,
) -> PyResult<Owned> {
    let py = event_loop.py();
    let state = &core_of(event_loop).get().state;
    let split = arguments.split(py, method, ["fd", "callback"])?;
    if state.core.is_closed() {
        return Err(error::loop_closed());
    }
    // SAFETY: an argument of the call that is under way.
    let file = unsafe { Borrowed::<PyAny>::from_ptr(py, split.leading[0]) };
    let fd = descriptor(&file)?;
    if public {
        state.transports.ensure_unused(py, fd, &file)?;
    }
    let call = Callback { callback: split.leading[1], arguments: split.rest, context: split.context };
    let handle = Handle::new(event_loop, &call)?;
    if state.debug.get() {
        crate::debug::remember_source(py, &handle)?;
    }
    handle.track();
    let token = state.add_watcher(Watcher::Callback(handle.clone_ref(py)));
    state.remember_file(fd, if file.is_instance_of::<PyInt>() { 0 } else { file.as_ptr() as usize });
    match side.set(state, fd, token) {
        Ok(before) => {
            cancel_watcher(py, state, before)?;
            Ok(if public { none(py) } else { handle.into_owned() })
        }
        Err(error) => {
            let watcher = state.remove_watcher(token);
            drop(watcher);
            Err(error::os_error(&error))
        }
    }
}

#[inline]
fn unwatch(
    event_loop: Borrowed<'_, '_, PyAny>,
    arguments: Arguments<'_>,
    method: &'static str,
    side: Side,
    public: bool,
) -> PyResult<Owned> {
    let py = event_loop.py();
    let state = &core_of(event_loop).get().state;
    let split = arguments.split(py, method, ["fd"])?;
    // SAFETY: an argument of the call that is under way.
    let file = unsafe { Borrowed::<PyAny>::from_ptr(py, split.leading[0]) };
    if !public && state.core.is_closed() {
        return Ok(truth(py, false));
    }
    let fd = watched_descriptor(state, &file)?;
    if public {
        state.transports.ensure_unused(py, fd, &file)?;
    }
    let before = side.remove(state, fd);
    cancel_watcher(py, state, before).map(|removed| truth(py, removed))
}

fn none(py: Python<'_>) -> Owned {
    py.None().into()
}

fn truth(py: Python<'_>, value: bool) -> Owned {
    // SAFETY: one of the two singletons.
    let object = unsafe { if value { raw::Py_True() } else { raw::Py_False() } };
    // SAFETY: never NULL; the new reference is the result's.
    unsafe { Borrowed::<PyAny>::from_ptr(py, object) }.to_owned().unbind().into()
}

/// Writes the bodies of the public and the private spelling of one method.
macro_rules! pair {
    ($public:ident, $private:ident, $work:ident, $side:expr) => {
        fn $public(event_loop: Borrowed<'_, '_, PyAny>, arguments: Arguments<'_>) -> PyResult<Owned> {
            $work(event_loop, arguments, stringify!($public), $side, true)
        }

        fn $private(event_loop: Borrowed<'_, '_, PyAny>, arguments: Arguments<'_>) -> PyResult<Owned> {
            $work(event_loop, arguments, stringify!($public), $side, false)
        }
    };
}

pair!(add_reader, add_reader_unchecked, watch, Side::Reader);
pair!(add_writer, add_writer_unchecked, watch, Side::Writer);
pair!(remove_reader, remove_reader_unchecked, unwatch, Side::Reader);
pair!(remove_writer, remove_writer_unchecked, unwatch, Side::Writer);

/// Puts the methods above into the class.
pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    const ADD_READER: &std::ffi::CStr =
        c"add_reader($self, fd, callback, /, *args)\n--\n\nCalls `callback(*args)` whenever the descriptor is readable.";
    const ADD_WRITER: &std::ffi::CStr =
        c"add_writer($self, fd, callback, /, *args)\n--\n\nCalls `callback(*args)` whenever the descriptor is writable.";
    const REMOVE_READER: &std::ffi::CStr =
        c"remove_reader($self, fd, /)\n--\n\nStops watching for reading; whether it was watched.";
    const REMOVE_WRITER: &std::ffi::CStr =
        c"remove_writer($self, fd, /)\n--\n\nStops watching for writing; whether it was watched.";
    add_method(class, c"add_reader", method!(add_reader), ADD_READER)?;
    add_method(class, c"_add_reader", method!(add_reader_unchecked), ADD_READER)?;
    add_method(class, c"add_writer", method!(add_writer), ADD_WRITER)?;
    add_method(class, c"_add_writer", method!(add_writer_unchecked), ADD_WRITER)?;
    add_method(class, c"remove_reader", method!(remove_reader), REMOVE_READER)?;
    add_method(class, c"_remove_reader", method!(remove_reader_unchecked), REMOVE_READER)?;
    add_method(class, c"remove_writer", method!(remove_writer), REMOVE_WRITER)?;
    add_method(class, c"_remove_writer", method!(remove_writer_unchecked), REMOVE_WRITER)
}

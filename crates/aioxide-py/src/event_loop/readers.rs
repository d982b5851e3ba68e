//! `add_reader`, `add_writer` and their removal.
//!
//! Database drivers and aiohttp's fast path arm and disarm a descriptor for every wait, so these are hot methods too. The names with
//! an underscore are what asyncio's own code calls: the same without the look at the transports.

use std::io;
use std::os::fd::RawFd;

use aioxide_core::Token;
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::ffi::PyMethodDef;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::ffi::arguments::{Arguments, Split};
use crate::ffi::method::method_fast;
use crate::ffi::{Outcome, Owned, python, raised};
use crate::kernel::handle::{Callback, Handle};
use crate::kernel::{Loop, LoopState, Watcher, error};

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
///
/// Nothing for a number that is more than any descriptor's.
fn descriptor(file: &Bound<'_, PyAny>) -> PyResult<Option<RawFd>> {
    let of_file;
    let number = if file.is_instance_of::<PyInt>() {
        file
    } else {
        of_file = number_of(file)?;
        &of_file
    };
    match number.extract::<RawFd>() {
        Ok(fd) if fd >= 0 => Ok(Some(fd)),
        _ if number.lt(0)? => Err(error::invalid_descriptor(number)),
        _ => Ok(None),
    }
}

/// `int(file.fileno())`.
fn number_of<'py>(file: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = file.py();
    let number = file.call_method0(intern!(py, "fileno")).and_then(|number| {
        if number.is_instance_of::<PyInt>() { Ok(number) } else { py.get_type::<PyInt>().call1((number,)) }
    });
    number.map_err(|error| {
        let is_no_file = error.is_instance_of::<PyAttributeError>(py)
            || error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyValueError>(py);
        if is_no_file { error::invalid_file(file) } else { error }
    })
}

/// The number under which a file object was watched, even when it has been closed since: asyncio's selector knows it by identity, and
/// AnyIO relies on that.
fn watched_descriptor(state: &LoopState, file: &Bound<'_, PyAny>) -> PyResult<Option<RawFd>> {
    descriptor(file).or_else(|error| {
        let file: Owned = file.clone().into();
        state.watchers.descriptor_of_file(&file).map(Some).ok_or(error)
    })
}

pub(super) fn cancel_watcher(py: Python<'_>, state: &LoopState, token: Option<Token>) -> PyResult<bool> {
    match token.and_then(|token| state.watchers.remove(token)) {
        Some(Watcher::Callback(handle)) => {
            handle.cancel(py)?;
            Ok(true)
        }
        Some(Watcher::Transport { .. } | Watcher::Other(_)) => Ok(true),
        None => Ok(false),
    }
}

#[inline]
fn watch(this: &Loop, arguments: &Arguments<'_>, method: &'static str, side: Side, public: bool) -> Outcome {
    let Split { leading: [file, callback], rest, context } = arguments.split(method, ["fd", "callback"])?;
    let (py, state) = (python(this.object()), this.state());
    state.refuse_when_closed()?;
    let failed = |error| raised::from_pyerr(error, py);
    let file = &*file.bind(py);
    let Some(fd) = descriptor(file).map_err(failed)? else {
        return Err(failed(error::descriptor_too_large()));
    };
    if public {
        state.transports.ensure_unused(py, fd, file).map_err(failed)?;
    }
    let handle = Handle::new(this.object(), &Callback { callback, arguments: rest, context })?;
    if state.debug.get() {
        super::debug::remember_source(&handle)?;
    }
    handle.track();
    let token = state.watchers.add(Watcher::Callback(handle.clone()));
    match side.set(state, fd, token) {
        Ok(before) => {
            if !file.is_instance_of::<PyInt>() {
                state.watchers.remember_file(fd, &Owned::from(file.clone()));
            }
            cancel_watcher(py, state, before).map_err(failed)?;
            Ok(if public { Owned::none() } else { handle.into_owned() })
        }
        Err(error) => {
            let watcher = state.watchers.remove(token);
            drop(watcher);
            Err(failed(error::os_error(&error)))
        }
    }
}

#[inline]
fn unwatch(
    this: &Loop,
    arguments: &Arguments<'_>,
    method: &'static str,
    side: Side,
    public: bool,
) -> Outcome {
    let Split { leading: [file], rest, .. } = arguments.split(method, ["fd"])?;
    if !rest.is_empty() {
        let given = rest.len() + 2;
        let message = format!("EventLoop.{method}() takes 2 positional arguments but {given} were given");
        return Err(raised::raise(raised::type_error(), &message));
    }
    let (py, state) = (python(this.object()), this.state());
    if !public && state.core.is_closed() {
        return Ok(Owned::boolean(false));
    }
    let failed = |error| raised::from_pyerr(error, py);
    let file = &*file.bind(py);
    let Some(fd) = watched_descriptor(state, file).map_err(failed)? else {
        return Ok(Owned::boolean(false));
    };
    if public {
        state.transports.ensure_unused(py, fd, file).map_err(failed)?;
    }
    let before = side.remove(state, fd);
    state.watchers.forget_file(fd, || state.core.reactor().tokens(fd) != (None, None));
    cancel_watcher(py, state, before).map(Owned::boolean).map_err(failed)
}

/// Writes the bodies of the public and the private spelling of one method.
macro_rules! pair {
    ($public:ident, $private:ident, $work:ident, $side:expr) => {
        fn $public(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
            $work(this, arguments, stringify!($public), $side, true)
        }

        fn $private(this: &Loop, arguments: &Arguments<'_>) -> Outcome {
            $work(this, arguments, stringify!($public), $side, false)
        }
    };
}

pair!(add_reader, add_reader_unchecked, watch, Side::Reader);
pair!(add_writer, add_writer_unchecked, watch, Side::Writer);
pair!(remove_reader, remove_reader_unchecked, unwatch, Side::Reader);
pair!(remove_writer, remove_writer_unchecked, unwatch, Side::Writer);

pub(super) fn methods() -> [PyMethodDef; 8] {
    const ADD_READER: &std::ffi::CStr =
        c"add_reader($self, fd, callback, *args)\n--\n\nCalls `callback(*args)` whenever the descriptor is readable.";
    const ADD_WRITER: &std::ffi::CStr =
        c"add_writer($self, fd, callback, *args)\n--\n\nCalls `callback(*args)` whenever the descriptor is writable.";
    const REMOVE_READER: &std::ffi::CStr =
        c"remove_reader($self, fd)\n--\n\nStops watching for reading; whether it was watched.";
    const REMOVE_WRITER: &std::ffi::CStr =
        c"remove_writer($self, fd)\n--\n\nStops watching for writing; whether it was watched.";
    [
        method_fast!(c"add_reader", add_reader, ADD_READER),
        method_fast!(c"_add_reader", add_reader_unchecked, ADD_READER),
        method_fast!(c"add_writer", add_writer, ADD_WRITER),
        method_fast!(c"_add_writer", add_writer_unchecked, ADD_WRITER),
        method_fast!(c"remove_reader", remove_reader, REMOVE_READER),
        method_fast!(c"_remove_reader", remove_reader_unchecked, REMOVE_READER),
        method_fast!(c"remove_writer", remove_writer, REMOVE_WRITER),
        method_fast!(c"_remove_writer", remove_writer_unchecked, REMOVE_WRITER),
    ]
}

//! What an awaitable without a frame shows of itself, where programs expect a coroutine: its names, its code, what it awaits.
//!
//! Names and code are those of asyncio's function whose coroutine it stands for. A frame is made when somebody asks for one:
//! that of asyncio's coroutine before its first step. One that is dropped before it was ever resumed is reported in the
//! interpreter's own words, with the place where it was made if such places are remembered, which is so while a loop runs
//! in debug mode.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::raw::c_void;

use pyo3::ffi as c;

use super::{Awaitable, Steps};
use crate::ffi::exports::Exports;
use crate::ffi::method::{guard_object, method_none};
use crate::ffi::{Confined, Object, Outcome, Owned, call, cast, function, raised};
use crate::interp::names;

/// How far an awaitable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Never resumed, nor given up.
    New,
    Suspended,
    Done,
}

#[derive(Clone, Copy)]
enum Shown {
    Name,
    QualifiedName,
    Class,
    Code,
    Frame,
    Running,
    Suspended,
    Awaited,
    Origin,
    State,
}

const ATTRIBUTES: [(&CStr, Shown); 10] = [
    (c"__name__", Shown::Name),
    (c"__qualname__", Shown::QualifiedName),
    (c"__class__", Shown::Class),
    (c"cr_code", Shown::Code),
    (c"cr_frame", Shown::Frame),
    (c"cr_running", Shown::Running),
    (c"cr_suspended", Shown::Suspended),
    (c"cr_await", Shown::Awaited),
    (c"cr_origin", Shown::Origin),
    (c"cr_state", Shown::State), // what `inspect` asks from Python 3.15 on, and no coroutine has before
];

/// The attributes of an awaitable that stands for a coroutine.
pub(super) fn attributes<S: Steps>() -> impl Iterator<Item = c::PyGetSetDef> {
    let known = ATTRIBUTES
        .iter()
        .enumerate()
        .filter(|(_, (_, shown))| cfg!(Py_3_15) || !matches!(shown, Shown::State));
    known.map(|(index, (name, _))| c::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get::<S>),
        set: None,
        doc: std::ptr::null(),
        closure: std::ptr::without_provenance_mut(index),
    })
}

unsafe extern "C" fn get<S: Steps>(this: *mut c::PyObject, shown: *mut c_void) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: an instance of ours.
        let this: &Awaitable<S> = unsafe { cast(this) };
        let (name, stage) = (this.name(), this.stage());
        match ATTRIBUTES[shown.addr()].1 {
            Shown::Name => call::text(name.rsplit_once('.').map_or(name, |(_, name)| name)),
            Shown::QualifiedName => call::text(name),
            // SAFETY: the type lives for ever.
            Shown::Class => Ok(unsafe { Object::from_ptr((&raw mut c::PyCoro_Type).cast()) }.own()),
            Shown::Code => match function_of(name)? {
                Some(function) => call::get_attribute(&function, &*call::interned(c"__code__")?),
                None => Ok(Owned::none()),
            },
            Shown::Frame if stage != Stage::Done => match function_of(name)? {
                Some(function) => function::frame_of(&function),
                None => Ok(Owned::none()),
            },
            Shown::Running => Ok(Owned::boolean(false)),
            Shown::Suspended => Ok(Owned::boolean(stage == Stage::Suspended)),
            Shown::Awaited if stage == Stage::Suspended => Ok(this.awaited().unwrap_or_else(Owned::none)),
            Shown::Origin => Ok(origin_of(this.object()).unwrap_or_else(Owned::none)),
            Shown::State => call::text(match stage {
                Stage::New => "CORO_CREATED",
                Stage::Suspended => "CORO_SUSPENDED",
                Stage::Done => "CORO_CLOSED",
            }),
            Shown::Frame | Shown::Awaited => Ok(Owned::none()),
        }
    })
}

/// `repr`.
pub(super) unsafe extern "C" fn repr<S: Steps>(this: *mut c::PyObject) -> *mut c::PyObject {
    guard_object(|| {
        // SAFETY: an instance of ours.
        let this: &Awaitable<S> = unsafe { cast(this) };
        call::text(&format!("<coroutine object {} at {:#x}>", this.name(), this.object().as_ptr() as usize))
    })
}

/// asyncio's function of a full name.
fn function_of(name: &str) -> Outcome<Option<Owned>> {
    let mut found =
        if name.starts_with('_') { names().locks_module.clone() } else { names().asyncio_module.clone() };
    for part in name.split('.') {
        match call::find_attribute(&found, &*call::text(part)?)? {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// Whether some loop has run in debug mode: then each awaitable asks the interpreter.
static TRACKED: Confined<Cell<bool>> = Confined::new(Cell::new(false));

/// Where awaitables were made that are alive, by their addresses.
static ORIGINS: Confined<RefCell<Option<HashMap<usize, Owned>>>> = Confined::new(RefCell::new(None));

/// `_track_origins()`: the interpreter may remember from now on where coroutines are made.
fn track_origins(_: &Object) -> Outcome {
    TRACKED.set(true);
    Ok(Owned::none())
}

/// Gives the function that a loop calls before it runs in debug mode.
pub(super) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    exports.function(method_none!(c"_track_origins", track_origins, c"Remember where coroutines are made."))
}

/// Whether it may.
#[inline(always)]
pub(super) fn tracks_origins() -> bool {
    TRACKED.get()
}

/// Remembers where an awaitable is made, as deep as the interpreter is asked to; says whether it did.
#[cold]
pub(super) fn note_origin(this: &Object) -> Outcome<bool> {
    let depth = call::to_integer(&*call::call(&names().get_origin_depth, &[])?)?;
    if depth <= 0 {
        return Ok(false);
    }
    let mut rows = Vec::new();
    // Without any frame of Python there is nothing to tell.
    let mut frame = call::call(&names().get_frame, &[]).unwrap_or_else(|raised| {
        raised::clear(raised);
        Owned::none()
    });
    while !frame.is_none() && (rows.len() as i64) < depth {
        let code = call::get_attribute(&frame, &*call::interned(c"f_code")?)?;
        rows.push(call::tuple(&[
            &*call::get_attribute(&code, &*call::interned(c"co_filename")?)?,
            &*call::get_attribute(&frame, &*call::interned(c"f_lineno")?)?,
            &*call::get_attribute(&code, &*call::interned(c"co_name")?)?,
        ])?);
        frame = call::get_attribute(&frame, &*call::interned(c"f_back")?)?;
    }
    let origin = call::tuple(&rows.iter().map(|row| &**row).collect::<Vec<_>>())?;
    ORIGINS.borrow_mut().get_or_insert_default().insert(this.as_ptr() as usize, origin);
    Ok(true)
}

fn origin_of(this: &Object) -> Option<Owned> {
    ORIGINS.borrow().as_ref()?.get(&(this.as_ptr() as usize)).cloned()
}

/// An awaitable comes to its end.
#[cold]
pub(super) fn forget_origin(this: &Object) {
    let origin = ORIGINS.borrow_mut().as_mut().and_then(|origins| origins.remove(&(this.as_ptr() as usize)));
    drop(origin);
}

/// Reports an awaitable that nobody has awaited.
#[cold]
pub(super) fn warn_never_awaited(this: &Object) {
    let pending = raised::pending();
    if let Err(raised) = call::call(&names().warn_unawaited, &[this]) {
        raised::unraisable(raised, this);
    }
    if let Some(pending) = pending {
        let crate::ffi::Raised = raised::put_back(pending);
    }
}

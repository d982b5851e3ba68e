//! What a task awaits, from its coroutine inwards: one link for each coroutine, generator or awaitable.
//!
//! Read by `cr_await` and its like, and by what the collector sees of an object; no frame is made for it, but one for the
//! link whose line is told.

use std::rc::Rc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyDict, PyString};

use crate::eyes::{Class, Code, Eyes, Seen};

/// Links of one chain; a longer one is not followed further.
const LONGEST: usize = 1_000;

/// One that is awaited and awaits the next.
pub(crate) struct Link<'py> {
    pub(crate) object: Bound<'py, PyAny>,
    pub(crate) class: Class,
    pub(crate) qualname: String,
    /// What it refers to: of a frame, its variables in order, then what lies on its stack.
    pub(crate) referents: Vec<Bound<'py, PyAny>>,
    /// Its code, where it is Python.
    pub(crate) code: Option<(Bound<'py, PyCode>, Rc<Code>)>,
    /// It is a part of asyncio or aioxide.
    pub(crate) own: bool,
}

impl<'py> Link<'py> {
    /// Its frame's file and line. Makes the frame object, which stays as long as the frame.
    pub(crate) fn frame(&self) -> Option<aioxide_monitor::schema::Frame> {
        let (_, code) = self.code.as_ref()?;
        let py = self.object.py();
        let attribute = match self.class {
            Class::Coroutine => intern!(py, "cr_frame"),
            Class::Generator => intern!(py, "gi_frame"),
            _ => intern!(py, "ag_frame"),
        };
        let frame = self.object.getattr(attribute).ok().filter(|frame| !frame.is_none());
        let line =
            frame.and_then(|frame| frame.getattr(intern!(py, "f_lineno")).ok()?.extract().ok()).unwrap_or(0);
        Some(aioxide_monitor::schema::Frame {
            file: code.file.clone(),
            line,
            function: self.qualname.clone(),
        })
    }

    /// Where the variables begin among the referents.
    pub(crate) fn variables(&self) -> &[Bound<'py, PyAny>] {
        let Some((code, _)) = &self.code else { return &[] };
        // Before them stand the object's own fields, the code last; from Python 3.14 on some of them come behind.
        let found = self.referents.iter().take(8).rposition(|one| one.is(code));
        // In Python 3.10's frames the builtin and the global names come between.
        let head = found.map_or(0, |place| place + 1);
        let between = if has_frame_object(code.py()) {
            2 + usize::from(self.referents.get(head + 2).is_some_and(|one| is_locals(one, code)))
        } else {
            0
        };
        let head = head + between;
        self.referents.get(head..).unwrap_or(&[])
    }
}

/// The chain of a coroutine, the outermost first.
pub(crate) fn chain<'py>(eyes: &Eyes, seen: &mut Seen, coroutine: Bound<'py, PyAny>) -> Vec<Link<'py>> {
    let py = coroutine.py();
    let mut links = Vec::new();
    let mut next = Some(coroutine);
    while let Some(object) = next.take().filter(|_| links.len() < LONGEST) {
        let class = seen.class(&object);
        let (await_, code) = match class {
            Class::Coroutine => (intern!(py, "cr_await"), intern!(py, "cr_code")),
            Class::Generator => (intern!(py, "gi_yieldfrom"), intern!(py, "gi_code")),
            Class::AsyncGenerator => (intern!(py, "ag_await"), intern!(py, "ag_code")),
            Class::Awaitable | Class::RustFuture => {
                let referents = eyes.referents(&object);
                let qualname = text(&object, intern!(py, "__qualname__"));
                // What is put into a queue, or given by `sleep`, may be a coroutine, and is not awaited.
                let gives = qualname == "sleep" || qualname.ends_with(".put");
                next = referents.iter().skip(1).find(|one| !gives && is_link(seen.class(one))).cloned();
                links.push(Link { object, class, qualname, referents, code: None, own: true });
                continue;
            }
            Class::Wrapper => {
                let inner = eyes.referents(&object).into_iter();
                next = inner.into_iter().find(|one| is_link(seen.class(one)) && !one.is(&object));
                continue;
            }
            _ => break,
        };
        let referents = within(eyes, &object, class);
        let code = object.getattr(code).ok().and_then(|code| code.cast_into::<PyCode>().ok());
        let code = code.map(|code| (code.clone(), seen.code(eyes, &code)));
        let own = code.as_ref().is_some_and(|(_, code)| code.own);
        next = object.getattr(await_).ok().filter(|next| !next.is_none());
        let qualname = text(&object, intern!(py, "__qualname__"));
        links.push(Link { object, class, qualname, referents, code, own });
    }
    links
}

/// What the frame of a coroutine or a generator refers to.
pub(crate) fn within<'py>(eyes: &Eyes, object: &Bound<'py, PyAny>, class: Class) -> Vec<Bound<'py, PyAny>> {
    let py = object.py();
    if !has_frame_object(py) {
        return eyes.referents(object);
    }
    let frame = match class {
        Class::Coroutine => object.getattr(intern!(py, "cr_frame")),
        Class::Generator => object.getattr(intern!(py, "gi_frame")),
        _ => object.getattr(intern!(py, "ag_frame")),
    };
    frame.map(|frame| eyes.referents(&frame)).unwrap_or_default()
}

/// Whether a suspended coroutine has a frame of its own, which has its variables: up to Python 3.10.
pub(crate) fn has_frame_object(py: Python<'_>) -> bool {
    py.version_info() < (3, 11)
}

/// Whether it is what `locals()` has made of a frame, which keeps it in Python 3.10: all its keys are names of variables.
fn is_locals(object: &Bound<'_, PyAny>, code: &Bound<'_, PyCode>) -> bool {
    let Ok(variables) = object.cast_exact::<PyDict>() else { return false };
    let py = code.py();
    let names: Vec<String> =
        [intern!(py, "co_varnames"), intern!(py, "co_cellvars"), intern!(py, "co_freevars")]
            .iter()
            .filter_map(|names| code.getattr(*names).ok()?.extract::<Vec<String>>().ok())
            .flatten()
            .collect();
    let is_name = |key: Bound<'_, PyAny>| key.extract::<String>().is_ok_and(|key| names.contains(&key));
    !variables.is_empty() && variables.keys().into_iter().all(is_name)
}

fn is_link(class: Class) -> bool {
    use Class::{AsyncGenerator, Awaitable, Coroutine, Generator, RustFuture, Wrapper};
    matches!(class, Coroutine | Generator | AsyncGenerator | Wrapper | Awaitable | RustFuture)
}

pub(crate) fn text(object: &Bound<'_, PyAny>, attribute: &Bound<'_, PyString>) -> String {
    object.getattr(attribute).map(|text| string(&text)).unwrap_or_default()
}

/// A string, with replacement characters for what is not Unicode; of another object, nothing.
pub(crate) fn string(object: &Bound<'_, PyAny>) -> String {
    object.cast::<PyString>().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

//! Python objects as text of Rust, for messages.

use std::cell::OnceCell;
use std::ffi::CStr;

use pyo3::ffi;

use super::object::{Object, Outcome, Owned, Raised};
use super::{Confined, call, raised};

/// `repr(object)` for messages; what cannot be shown is shown as its type.
pub(crate) fn show(object: &Object) -> String {
    match call::repr(object) {
        Ok(text) => to_string(&text),
        Err(raised) => {
            raised::clear(raised);
            type_name(object)
        }
    }
}

/// The text of a string object.
pub(crate) fn to_string(text: &Object) -> String {
    match utf8(text) {
        Ok(text) => text.to_owned(),
        Err(raised) => {
            raised::clear(raised);
            String::from("?")
        }
    }
}

/// The text of a string object, lent by it.
///
/// # Errors
/// It is not a string, or has lone surrogates.
pub(crate) fn utf8(text: &Object) -> Outcome<&str> {
    let mut length = 0;
    // SAFETY: attached; null with an exception.
    let start = unsafe { ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &mut length) };
    if start.is_null() {
        return Err(Raised);
    }
    // SAFETY: UTF-8 of that length, kept by the string object as long as it lives.
    Ok(unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(start.cast(), length as usize)) })
}

/// `type(object).__name__`.
pub(crate) fn type_name(object: &Object) -> String {
    // SAFETY: a type is alive while its instance is.
    let kind = unsafe { Object::from_ptr(object.kind().cast()) };
    static NAME: Word = Word::new(c"__name__");
    match NAME.get().and_then(|name| call::get_attribute(kind, name)) {
        Ok(name) => to_string(&name),
        Err(raised) => {
            raised::clear(raised);
            String::from("object")
        }
    }
}

/// How far a callable is looked through.
const WRAPPED: usize = 4;

/// `__qualname__` of a function, a method, a coroutine or the like, or of what `functools.partial` calls; of anything else the
/// name of its type. None of the program's code runs.
pub(crate) fn qualified_name(object: &Object) -> String {
    find_qualified_name(object).unwrap_or_else(|raised| {
        raised::clear(raised);
        own_type_name(object)
    })
}

fn find_qualified_name(object: &Object) -> Outcome<String> {
    static QUALIFIED: Word = Word::new(c"__qualname__");
    static NAME: Word = Word::new(c"__name__");
    let mut this = object.own();
    for _ in 0..WRAPPED {
        match wrapped(&this)? {
            Some(inner) => this = inner,
            None => break,
        }
    }
    let kind = own_type_name(&this);
    // SAFETY: a type is alive while its instance is.
    let is_of_heap = unsafe { ffi::PyType_GetFlags(this.kind()) } & ffi::Py_TPFLAGS_HEAPTYPE != 0;
    // Other types may answer by code of the program: those of the heap, and those that stand for another object.
    let name = match kind.as_str() {
        _ if is_of_heap => return Ok(kind),
        "function" | "coroutine" | "generator" | "async_generator" => &QUALIFIED,
        "builtin_function_or_method" => &NAME,
        _ => return Ok(kind),
    };
    Ok(to_string(&*call::get_attribute(&this, name.get()?)?))
}

/// The name that the object's type was made with: no attribute of it is asked for.
pub(crate) fn own_type_name(object: &Object) -> String {
    // SAFETY: a type is alive while its instance is, and has a name that ends with a zero.
    let name = unsafe { CStr::from_ptr((*object.kind()).tp_name) }.to_string_lossy();
    name.rsplit('.').next().unwrap_or_default().to_owned()
}

/// What a method or a `functools.partial` calls, if it is one and not of a class derived from that.
fn wrapped(object: &Object) -> Outcome<Option<Owned>> {
    static METHOD: Word = Word::new(c"MethodType");
    static PARTIAL: Word = Word::new(c"partial");
    static CALLED_BY_METHOD: Word = Word::new(c"__func__");
    static CALLED_BY_PARTIAL: Word = Word::new(c"func");
    for (module, class, called) in
        [(c"types", &METHOD, &CALLED_BY_METHOD), (c"functools", &PARTIAL, &CALLED_BY_PARTIAL)]
    {
        let class = call::get_attribute(&*call::import(module)?, class.get()?)?;
        if class.is(object.class()) {
            return call::get_attribute(object, called.get()?).map(Some);
        }
    }
    Ok(None)
}

/// A name of the interpreter's own, interned when it is first used.
pub(crate) struct Word {
    text: &'static CStr,
    interned: Confined<OnceCell<Owned>>,
}

impl Word {
    pub(crate) const fn new(text: &'static CStr) -> Self {
        Self { text, interned: Confined::new(OnceCell::new()) }
    }

    #[inline]
    pub(crate) fn get(&self) -> Outcome<&Object> {
        match self.interned.get() {
            Some(interned) => Ok(interned),
            None => {
                let interned = call::interned(self.text)?;
                Ok(self.interned.get_or_init(|| interned))
            }
        }
    }
}

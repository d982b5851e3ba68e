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

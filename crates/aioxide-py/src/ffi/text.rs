//! Python objects as text of Rust, for messages.

use pyo3::ffi;

use super::object::{Object, Raised};
use super::{call, raised};

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
    let mut length = 0;
    // SAFETY: attached; null with an exception when it is not a string or has lone surrogates.
    let start = unsafe { ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &mut length) };
    if start.is_null() {
        raised::clear(Raised);
        return String::from("?");
    }
    // SAFETY: UTF-8 of that length, kept by the string object.
    let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length as usize) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// `type(object).__name__`.
pub(crate) fn type_name(object: &Object) -> String {
    // SAFETY: a type is alive while its instance is.
    let kind = unsafe { Object::from_ptr(object.kind().cast()) };
    match call::get_attribute(kind, &super::names().name_dunder) {
        Ok(name) => to_string(&name),
        Err(raised) => {
            raised::clear(raised);
            String::from("object")
        }
    }
}

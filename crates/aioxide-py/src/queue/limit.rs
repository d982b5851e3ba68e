//! How many items a queue takes, from whatever object was given as `maxsize`.

use pyo3::ffi as c;

use crate::ffi::Object;

/// `maxsize`, understood once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// It is never full.
    None,
    /// It is full at so many items.
    At(usize),
    /// Neither an int nor a float: Python compares it each time.
    Unknown,
}

impl Limit {
    /// What `maxsize` means.
    pub(super) fn of(maxsize: &Object) -> Self {
        // SAFETY: macros of the interpreter over a live object; a number of these types is converted without Python code.
        let number = unsafe {
            if c::PyLong_CheckExact(maxsize.as_ptr()) != 0 {
                let mut overflow = 0;
                let value = c::PyLong_AsLongLongAndOverflow(maxsize.as_ptr(), &mut overflow);
                // More than fits is never reached, in either direction.
                if overflow != 0 {
                    return Self::None;
                }
                return usize::try_from(value).ok().filter(|value| *value > 0).map_or(Self::None, Self::At);
            }
            if c::PyFloat_CheckExact(maxsize.as_ptr()) == 0 {
                return Self::Unknown;
            }
            c::PyFloat_AsDouble(maxsize.as_ptr())
        };
        // `len >= 1.5` holds from 2 on, `len >= nan` never.
        if number > 0.0 && number < 9e15 { Self::At(number.ceil() as usize) } else { Self::None }
    }
}

//! Numbers that programs give, of whatever class.

use pyo3::ffi;

use super::call::{as_float, is_float};
use super::object::{Object, Outcome};
use super::raised;

/// The value of a float or an int, of no derived class, whose arithmetic is that of floats. An int may be too large for it.
#[inline]
pub(crate) fn plain(number: &Object) -> Option<f64> {
    // SAFETY: attached; a macro over a live object.
    if !is_float(number) && unsafe { ffi::PyLong_CheckExact(number.as_ptr()) } == 0 {
        return None;
    }
    as_float(number).map_err(raised::clear).ok()
}

/// The number as a float; nothing if it is too large for one.
///
/// # Errors
/// TypeError for what is no number, and what its `__float__` raises.
pub(crate) fn saturating(number: &Object) -> Outcome<Option<f64>> {
    match as_float(number) {
        Ok(value) => Ok(Some(value)),
        Err(error) if raised::matches(raised::overflow_error()) => {
            raised::clear(error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

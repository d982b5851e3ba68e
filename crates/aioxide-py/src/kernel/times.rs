//! Times as programs give them: delays, and deadlines of the loop's clock.
//!
//! asyncio adds them to a float and compares them with floats, and converts nothing. So a `Fraction` is a time, and an object
//! that only has `__float__` is none; what asyncio's arithmetic refuses is refused here by the same operation, in its words.

use std::os::raw::c_int;

use pyo3::ffi::{Py_GE, Py_LE};

use crate::ffi::{Object, Outcome, Owned, call, number};

/// A deadline in seconds. `operator` is how asyncio compares it with the time: `when >= now`, `when <= now`.
///
/// # Errors
/// What the comparison raises.
#[inline]
pub(crate) fn at(when: &Object, now: f64, operator: c_int) -> Outcome<f64> {
    match number::plain(when) {
        Some(seconds) => Ok(seconds),
        None => at_other(when, now, operator),
    }
}

#[cold]
fn at_other(when: &Object, now: f64, operator: c_int) -> Outcome<f64> {
    let holds = call::compare(when, &*call::float(now)?, operator)?;
    let is_late = holds == (operator == Py_GE);
    let endless = if is_late { f64::INFINITY } else { f64::NEG_INFINITY };
    Ok(number::saturating(when)?.unwrap_or(endless))
}

/// The deadline that comes `delay` after `now`, and the object that it is, unless that is a float.
///
/// # Errors
/// What `now + delay` raises, or the comparison of the sum with a float.
#[inline]
pub(crate) fn after(now: f64, delay: &Object) -> Outcome<(f64, Option<Owned>)> {
    match number::plain(delay) {
        Some(seconds) => Ok((now + seconds, None)),
        None => after_other(now, delay),
    }
}

#[cold]
fn after_other(now: f64, delay: &Object) -> Outcome<(f64, Option<Owned>)> {
    let sum = call::add(&*call::float(now)?, delay)?;
    let seconds = at(&sum, now, Py_GE)?;
    Ok((seconds, (!call::is_float(&sum)).then_some(sum)))
}

/// Whether it is no time at all: `delay <= 0`.
///
/// # Errors
/// What the comparison raises.
#[inline]
pub(crate) fn is_over(delay: &Object) -> Outcome<bool> {
    match number::plain(delay) {
        Some(seconds) => Ok(seconds <= 0.0),
        None => call::compare(delay, &*call::integer(0)?, Py_LE),
    }
}

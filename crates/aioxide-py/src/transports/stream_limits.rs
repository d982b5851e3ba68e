//! The limits of a transport's write buffer: any numbers that Python can compare, kept as they were given.

use aioxide_core::flow::Watermarks;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::stream::This;
use crate::ffi::slot::Arguments;
use crate::ffi::{Owned, number, raised};

/// `set_write_buffer_limits(high, low)`. Any numbers will do, which are shown as they were given.
pub(super) fn set_limits<'py>(
    transport: &Bound<'py, PyAny>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Py<PyAny>> {
    let py = transport.py();
    let [high, low] = [arguments[0], arguments[1]]
        .map(|argument| argument.filter(|value| !value.is_none()).map(|value| value.to_owned()));
    let high = match (high, &low) {
        (Some(high), _) => high,
        (None, Some(low)) => 4_u32.into_bound_py_any(py)?.mul(low)?,
        (None, None) => Watermarks::DEFAULT_HIGH_BYTES.into_bound_py_any(py)?,
    };
    let low = low.map_or_else(|| high.floor_div(4), Ok)?;
    if !(high.ge(&low)? && low.ge(0)?) {
        let message = format!("high ({}) must be >= low ({}) must be >= 0", high.repr()?, low.repr()?);
        return Err(PyValueError::new_err(message));
    }
    let (high_bytes, low_bytes) = (whole_bytes(&high)?, whole_bytes(&low)?);
    let this = This::of(transport)?;
    let mut marks = this.core.marks.get();
    marks
        .set_limits(Some(high_bytes.max(low_bytes)), Some(low_bytes))
        .map_err(|_| PyValueError::new_err("high must be >= low"))?;
    this.core.marks.set(marks);
    let is_plain = |limit: &Bound<'py, PyAny>, bytes: usize| {
        limit.is_exact_instance_of::<PyInt>() && limit.extract::<usize>().is_ok_and(|found| found == bytes)
    };
    let plain = is_plain(&low, low_bytes) && is_plain(&high, high_bytes);
    drop(this.core.limits.replace((!plain).then(|| (low.unbind(), high.unbind()))));
    this.maybe_pause_protocol()?;
    Ok(py.None())
}

/// The number of bytes that a limit, which is not below 0, comes to; what is beyond all sizes is the largest one.
fn whole_bytes(limit: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(bytes) = limit.extract::<usize>() {
        return Ok(bytes);
    }
    match number::saturating(&Owned::from(limit.clone())) {
        // `as` saturates.
        Ok(bytes) => Ok(bytes.map_or(usize::MAX, |bytes| bytes as usize)),
        Err(raised) => Err(raised::to_pyerr(limit.py(), raised)),
    }
}

/// The low and the high limit, as they were given.
pub(super) fn limits<'py>(transport: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let (py, core) = (transport.py(), This::holding(transport)?.core);
    if let Some((low, high)) = &*core.limits.borrow() {
        return Ok((low.bind(py).clone(), high.bind(py).clone()));
    }
    let (low, high) = core.marks.get().limits();
    Ok((low.into_bound_py_any(py)?, high.into_bound_py_any(py)?))
}

//! A whole body on its way: filled into the `bytes` object that Python gets, where its length is known.

use aioxide_http::Bytes;
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Bytes that come in pieces and end as one object.
///
/// A piece that is kept holds a buffer of its own, which the system has to make and clear: 100 MiB cost 25 000 page faults
/// for the pieces, and 25 000 for the object. Copied at once, all pieces come in the same buffer.
pub(crate) enum Whole {
    /// The length is not known, or too large to be believed.
    Pieces(Vec<Bytes>),
    Place(Place),
}

/// A length over that is believed only as it comes. The memory below it is taken from the system only as it is filled.
const BELIEVED: u64 = 256 * 1024 * 1024;

impl Whole {
    pub(crate) fn of_length(length: Option<u64>) -> Self {
        let place = length.filter(|length| (SMALL..=BELIEVED).contains(length)).and_then(Place::new);
        place.map_or_else(|| Self::Pieces(Vec::new()), Self::Place)
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        match self {
            Self::Pieces(pieces) => pieces.push(piece),
            Self::Place(place) => {
                if !place.push(&piece) {
                    let before = Python::attach(|py| Bytes::copy_from_slice(place.filled(py)));
                    *self = Self::Pieces(vec![before, piece]);
                }
            }
        }
    }

    pub(crate) fn finish(self, py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
        match self {
            Self::Pieces(pieces) => join(py, &pieces),
            Self::Place(place) if place.count == place.length => Ok(place.object.into_bound(py)),
            Self::Place(place) => Ok(PyBytes::new(py, place.filled(py))),
        }
    }
}

/// What fits into one piece is copied once in any case.
const SMALL: u64 = 8 * 1024;

/// A `bytes` object that nobody else has seen, of which a part is filled.
///
/// Invariant: the first `count` of its `length` bytes are written, and no others are read.
pub(crate) struct Place {
    object: Py<PyBytes>,
    length: usize,
    count: usize,
}

#[expect(
    unsafe_code,
    reason = "PyO3 makes no bytes object without clearing it, which costs as much as the copy into it"
)]
impl Place {
    /// `None` where there is no memory for it.
    fn new(length: u64) -> Option<Self> {
        let length = usize::try_from(length).ok()?;
        let size = ffi::Py_ssize_t::try_from(length).ok()?;
        Python::attach(|py| {
            // SAFETY: without a source the object is new, its content not written yet. NULL is an exception.
            let object = unsafe {
                Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))
            };
            match object {
                Ok(object) => {
                    let object = object.cast_into::<PyBytes>().ok()?.unbind();
                    Some(Self { object, length, count: 0 })
                }
                Err(error) => {
                    debug_assert!(error.is_instance_of::<PyMemoryError>(py));
                    None
                }
            }
        })
    }

    /// Appends; false when there is no room.
    fn push(&mut self, piece: &[u8]) -> bool {
        if piece.len() > self.length - self.count {
            return false;
        }
        Python::attach(|py| {
            // SAFETY: the object is of `length` bytes, of which `count` and the piece's are no more; it is shown to nobody
            // before it is whole, so nobody else reads or writes it.
            unsafe {
                let begin = ffi::PyBytes_AsString(self.object.bind(py).as_ptr()).cast::<u8>();
                std::ptr::copy_nonoverlapping(piece.as_ptr(), begin.add(self.count), piece.len());
            }
        });
        self.count += piece.len();
        true
    }

    fn filled<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        // SAFETY: the first `count` bytes are written, and stay so as long as the object is ours.
        unsafe {
            let begin = ffi::PyBytes_AsString(self.object.bind(py).as_ptr()).cast::<u8>();
            std::slice::from_raw_parts(begin, self.count)
        }
    }
}

fn join<'py>(py: Python<'py>, pieces: &[Bytes]) -> PyResult<Bound<'py, PyBytes>> {
    if let [piece] = pieces {
        return Ok(PyBytes::new(py, piece));
    }
    let length: usize = pieces.iter().map(Bytes::len).sum();
    if let Some(mut place) = Place::new(length as u64)
        && pieces.iter().all(|piece| place.push(piece))
    {
        return Ok(place.object.into_bound(py));
    }
    Err(PyMemoryError::new_err(format!("a body of {length} bytes")))
}

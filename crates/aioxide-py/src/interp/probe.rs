//! Looking for a field of the interpreter's: the one place in a sample that holds what is known to be there.
//!
//! A place that is not the only one is as good as none: then the public way is taken. What is found is only read.

use std::marker::PhantomData;
use std::ptr::NonNull;

use pyo3::ffi;

use crate::ffi::Object;

/// A number that any bytes make.
///
/// # Safety
/// Every pattern of bits is a value.
pub(super) unsafe trait Plain: Copy + PartialEq {}
// SAFETY: an integer.
unsafe impl Plain for usize {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for u8 {}

/// The memory of a sample, for reading.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    start: NonNull<u8>,
    size: usize,
    lives: PhantomData<&'a Object>,
}

impl<'a> Sample<'a> {
    /// An object, as large as instances of its type are.
    pub(super) fn of(object: &'a Object) -> Self {
        // SAFETY: a type is alive while its instance is; an object is not null.
        let (size, start) =
            unsafe { ((*object.kind()).tp_basicsize as usize, NonNull::new_unchecked(object.as_ptr())) };
        Self { start: start.cast(), size, lives: PhantomData }
    }

    /// The state of this thread, as far as `size` bytes, which the caller knows it to have.
    pub(super) fn of_thread(size: usize) -> Self {
        // SAFETY: attached, so the thread has a state.
        let start = unsafe { NonNull::new_unchecked(ffi::PyThreadState_Get()) };
        Self { start: start.cast(), size, lives: PhantomData }
    }

    #[cfg(Py_3_14)]
    pub(super) fn address(self) -> usize {
        self.start.as_ptr() as usize
    }

    pub(super) fn size(self) -> usize {
        self.size
    }

    /// What is at an offset; `None` outside of the sample.
    pub(super) fn read<T: Plain>(self, offset: usize) -> Option<T> {
        let is_inside = offset.is_multiple_of(align_of::<T>()) && offset + size_of::<T>() <= self.size;
        // SAFETY: inside of the sample, which is aligned as its fields are.
        is_inside.then(|| unsafe { self.start.as_ptr().add(offset).cast::<T>().read() })
    }

    /// The places behind the header where a `T` may stand.
    pub(super) fn places<T: Plain>(self) -> impl Iterator<Item = usize> {
        (size_of::<ffi::PyObject>()..self.size).step_by(size_of::<T>())
    }

    /// The places behind the header that hold `value`.
    pub(super) fn holding<T: Plain>(self, value: T) -> impl Iterator<Item = usize> {
        self.places::<T>().filter(move |offset| self.read::<T>(*offset) == Some(value))
    }
}

/// The only one, if there is exactly one.
pub(super) fn only(places: impl IntoIterator<Item = usize>) -> Option<usize> {
    let mut places = places.into_iter();
    places.next().filter(|_| places.next().is_none())
}

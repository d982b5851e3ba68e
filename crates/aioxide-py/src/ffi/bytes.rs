//! Contents of `bytes` and `bytearray`, looked at and changed in place.

use pyo3::ffi as c;

use super::call;
use super::object::{Object, Outcome, Owned};

/// Whether it is a `bytes` and of no derived class.
#[inline]
pub(crate) fn is_bytes(object: &Object) -> bool {
    // SAFETY: the type lives for ever.
    std::ptr::eq(object.kind(), &raw mut c::PyBytes_Type)
}

/// Whether it is a `bytearray` and of no derived class.
#[inline]
pub(crate) fn is_array(object: &Object) -> bool {
    // SAFETY: the type lives for ever.
    std::ptr::eq(object.kind(), &raw mut c::PyByteArray_Type)
}

/// A `bytes`.
pub(crate) fn bytes(content: &[u8]) -> Outcome {
    // SAFETY: attached; pointer and length of one slice.
    unsafe { Owned::from_new(c::PyBytes_FromStringAndSize(content.as_ptr().cast(), content.len() as isize)) }
}

/// A `bytes` with memory for `size` bytes, not filled yet: nobody else may see it before it is.
pub(crate) fn with_memory(size: usize) -> Outcome {
    // SAFETY: attached; NULL asks for memory that is not initialised.
    unsafe { Owned::from_new(c::PyBytes_FromStringAndSize(std::ptr::null(), size as c::Py_ssize_t)) }
}

/// Where the content of a `bytes` begins.
#[inline]
pub(crate) fn start(bytes: &Object) -> *mut u8 {
    debug_assert!(is_bytes(bytes), "only bytes have this layout");
    // SAFETY: a bytes object; the field is the start of its content.
    unsafe { (&raw mut (*bytes.as_ptr().cast::<c::PyBytesObject>()).ob_sval).cast() }
}

/// Makes it a `bytes` of `size` bytes, as if it were new.
///
/// # Safety
/// Nobody but the caller refers to it, and it has memory for `size` bytes and a zero.
#[inline]
pub(crate) unsafe fn set_length(bytes: &Object, size: usize) {
    let raw = bytes.as_ptr().cast::<c::PyBytesObject>();
    // SAFETY: the caller's promise.
    unsafe {
        (*raw).ob_base.ob_size = size as c::Py_ssize_t;
        // Somebody may have asked for the hash of what was in it before.
        #[allow(deprecated, reason = "CPython's own field, in every version")]
        {
            (*raw).ob_shash = -1;
        }
        start(bytes).add(size).write(0);
    }
}

/// An empty `bytearray`.
pub(crate) fn new_array() -> Outcome {
    // SAFETY: attached; nothing is copied.
    unsafe { Owned::from_new(c::PyByteArray_FromStringAndSize(std::ptr::null(), 0)) }
}

/// A `bytearray` of zeros.
pub(crate) fn array_of(size: usize) -> Outcome {
    let zeros = vec![0u8; size];
    // SAFETY: attached; pointer and length of one vector, which are copied.
    unsafe { Owned::from_new(c::PyByteArray_FromStringAndSize(zeros.as_ptr().cast(), size as isize)) }
}

/// What a `bytes` contains: it never changes nor moves.
#[inline]
pub(crate) fn content(bytes: &Object) -> &[u8] {
    debug_assert!(is_bytes(bytes), "only bytes may be lent");
    // SAFETY: a bytes object: its memory, and its length in the header.
    unsafe { std::slice::from_raw_parts(start(bytes), c::Py_SIZE(bytes.as_ptr()) as usize) }
}

/// Looks at what a `bytearray` contains; `look` runs no Python code.
#[inline]
pub(crate) fn look<T>(array: &Object, look: impl FnOnce(&[u8]) -> T) -> T {
    debug_assert!(is_array(array), "no bytearray");
    // SAFETY: a bytearray, which nobody changes meanwhile.
    look(unsafe {
        let start = c::PyByteArray_AsString(array.as_ptr());
        std::slice::from_raw_parts(start.cast(), c::PyByteArray_Size(array.as_ptr()) as usize)
    })
}

/// `len(bytearray)`.
#[inline]
pub(crate) fn length(array: &Object) -> usize {
    debug_assert!(is_array(array), "no bytearray");
    // SAFETY: a bytearray.
    unsafe { c::Py_SIZE(array.as_ptr()) as usize }
}

/// Appends to a `bytearray`.
///
/// # Errors
/// BufferError while somebody holds a view of it.
pub(crate) fn extend(array: &Object, data: &[u8]) -> Outcome<()> {
    let before = length(array);
    // SAFETY: a bytearray; nobody else sees what is between the resizing and the copying.
    unsafe {
        call::check(c::PyByteArray_Resize(array.as_ptr(), (before + data.len()) as isize))?;
        let end = c::PyByteArray_AsString(array.as_ptr()).cast::<u8>().add(before);
        end.copy_from_nonoverlapping(data.as_ptr(), data.len());
    }
    Ok(())
}

/// Removes the first bytes of a `bytearray`.
///
/// # Errors
/// BufferError while somebody holds a view of it.
pub(crate) fn remove_front(array: &Object, count: usize) -> Outcome<()> {
    // SAFETY: a bytearray; moving its start costs no copy, which only its own function can do.
    call::check(unsafe {
        if count >= length(array) {
            c::PyByteArray_Resize(array.as_ptr(), 0)
        } else {
            c::PySequence_DelSlice(array.as_ptr(), 0, count as isize)
        }
    })
}

/// Where `needle`, which is not empty, first stands in `content`, from `from` on.
pub(crate) fn find(content: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = content.get(from..)?;
    // SAFETY: pointer and length of one slice each; what is found lies within the first.
    let found = unsafe {
        match needle {
            [byte] => libc::memchr(rest.as_ptr().cast(), i32::from(*byte), rest.len()),
            _ => libc::memmem(rest.as_ptr().cast(), rest.len(), needle.as_ptr().cast(), needle.len()),
        }
    };
    (!found.is_null()).then(|| from + (found as usize - rest.as_ptr() as usize))
}

/// Whether nobody but the caller and one more refers to the object.
#[inline]
pub(crate) fn has_one_owner(object: &Object, references: isize) -> bool {
    // SAFETY: a live object.
    unsafe { c::Py_REFCNT(object.as_ptr()) <= references }
}

//! Bytes and buffers: new `bytes` filled by the kernel, the memory behind a bytes-like object.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use aioxide_core::sys::socket::{self, RawBuffer};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::object::{Object, Outcome, Owned};
use super::{bytes, call};

unsafe extern "C" {
    /// CPython's own: shrinks or grows a `bytes` object that nobody else refers to.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// A new `bytes` of at most `capacity` bytes, received from a socket straight into it.
///
/// Nothing is cleared beforehand and nothing copied afterwards, but for what shrinking in place costs.
///
/// # Errors
/// MemoryError outside; inside, those of `recv`.
pub(crate) fn receive_bytes(
    py: Python<'_>,
    fd: RawFd,
    capacity: usize,
) -> PyResult<io::Result<Bound<'_, PyBytes>>> {
    // SAFETY: attached; NULL asks for memory that is not initialised.
    let mut raw = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), capacity as ffi::Py_ssize_t) };
    if raw.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: a bytes object made just now.
    let start = unsafe { ffi::PyBytes_AsString(raw) };
    let buffer = RawBuffer { start: start.cast(), len: capacity };
    // SAFETY: the object's memory, `capacity` bytes that nobody else knows of.
    let size = match unsafe { socket::recv_raw(fd, buffer) } {
        Ok(size) => size,
        Err(error) => {
            // SAFETY: ours alone, and not needed.
            unsafe { ffi::Py_DECREF(raw) };
            return Ok(Err(error));
        }
    };
    // SAFETY: nobody else has seen the object; on failure it is released and the pointer set to NULL.
    if size != capacity && unsafe { _PyBytes_Resize(&raw mut raw, size as ffi::Py_ssize_t) } != 0 {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: an owned reference to a bytes object.
    Ok(Ok(unsafe { Bound::from_owned_ptr(py, raw).cast_into_unchecked() }))
}

/// The content of a `bytes` object; nothing for an object of any other type.
#[inline]
pub(crate) fn bytes_content(object: &Object) -> Option<&[u8]> {
    bytes::is_bytes(object).then(|| bytes::content(object))
}

/// Receives from a socket into the writable memory of `object`.
///
/// # Errors
/// The object's `BufferError` or `TypeError` outside; inside, those of `recv`.
pub(crate) fn receive_into(object: &Object, fd: RawFd) -> Outcome<io::Result<usize>> {
    let mut view = MaybeUninit::<ffi::Py_buffer>::uninit();
    // SAFETY: attached; the call fills the view, which does not move until it is released below, or raises.
    call::check(unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_WRITABLE) })?;
    // SAFETY: filled.
    let view = unsafe { view.assume_init_mut() };
    let buffer = RawBuffer { start: view.buf.cast(), len: view.len as usize };
    // SAFETY: the exporter keeps the memory until the view is released, and gave it as writable.
    let received = unsafe { socket::recv_raw(fd, buffer) };
    // SAFETY: a view that was filled, released once.
    unsafe { ffi::PyBuffer_Release(view) };
    Ok(received)
}

/// Calls `fill` with a writable view of `memory`, which belongs to `owner`.
///
/// Should anybody keep the view, `owner` stays alive for ever.
pub(crate) fn lent<T>(
    owner: &Object,
    memory: RawBuffer,
    fill: impl FnOnce(&Object) -> Outcome<T>,
) -> Outcome<T> {
    let (start, len) = (memory.start.cast(), memory.len as ffi::Py_ssize_t);
    // SAFETY: attached; memory that lives as long as `owner`, which outlives the view.
    let view = unsafe { Owned::from_new(ffi::PyMemoryView_FromMemory(start, len, ffi::PyBUF_WRITE))? };
    let filled = fill(&view);
    if !bytes::has_one_owner(&view, 1) {
        std::mem::forget(owner.own());
    }
    filled
}

/// The memory behind a bytes-like object, held until dropped.
pub(crate) struct Buffer(Box<ffi::Py_buffer>);

impl Buffer {
    /// Bytes to read.
    ///
    /// # Errors
    /// The object's `BufferError` or `TypeError`.
    pub(crate) fn readable(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::get(object, ffi::PyBUF_SIMPLE)
    }

    /// Bytes to write.
    ///
    /// # Errors
    /// As `readable`, also for what is read-only.
    pub(crate) fn writable(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::get(object, ffi::PyBUF_WRITABLE)
    }

    fn get(object: &Bound<'_, PyAny>, flags: std::ffi::c_int) -> PyResult<Self> {
        // Boxed: the exporter may keep the address.
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: attached; the call fills the view or raises.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags) } == 0 {
            Ok(Self(view))
        } else {
            Err(PyErr::fetch(object.py()))
        }
    }

    /// Receives from a socket into the memory, which `writable` gave.
    pub(crate) fn receive(&self, fd: RawFd) -> io::Result<usize> {
        debug_assert_eq!(self.0.readonly, 0, "received into what was not asked for as writable");
        let buffer = RawBuffer { start: self.0.buf.cast(), len: self.0.len as usize };
        // SAFETY: the exporter keeps the memory until the view is released, and said that it is writable.
        unsafe { socket::recv_raw(fd, buffer) }
    }

    /// The bytes as they are now; nothing may run Python code while they are looked at.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the exporter keeps the memory until the view is released.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: a view that was filled, released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
    }
}

/// Bytes that wait to be written. To let go of them runs no Python code.
pub(crate) enum Chunk {
    /// Exactly a `bytes` object, kept as it is.
    Bytes(Py<PyBytes>),
    /// A copy of something that may change, or of an instance of a derived class, whose destructor may do anything.
    Copy(Box<[u8]>),
}

impl Chunk {
    /// The content of bytes, which cannot change, is not copied; that of a derived class is: no destructor of the program's is
    /// put off.
    pub(crate) fn of(bytes: &Bound<'_, PyBytes>) -> Self {
        if bytes.is_exact_instance_of::<PyBytes>() {
            Self::Bytes(bytes.to_owned().unbind())
        } else {
            Self::Copy(bytes.as_bytes().into())
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => {
                let raw = bytes.as_ptr();
                // SAFETY: bytes never change nor move while referred to.
                unsafe {
                    let start = ffi::PyBytes_AsString(raw);
                    std::slice::from_raw_parts(start.cast(), ffi::PyBytes_Size(raw) as usize)
                }
            }
            Self::Copy(copy) => copy,
        }
    }
}

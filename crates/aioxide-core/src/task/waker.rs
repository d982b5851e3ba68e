//! The waker of a task: a counted pointer to its cell, usable on any thread.

use std::ptr::NonNull;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::raw::{self, Header};

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// A waker that takes over one reference of the cell.
///
/// # Safety
/// The caller owns that reference, or keeps one alive as long as the waker and never drops the waker.
pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Waker {
    // SAFETY: the table's functions expect exactly such a pointer.
    unsafe { Waker::new(header.as_ptr().cast_const().cast(), &VTABLE) }
}

/// Whether `waker` wakes the task with this header.
pub(crate) fn is_of(waker: &Waker, header: NonNull<Header>) -> bool {
    std::ptr::eq(waker.data(), header.as_ptr().cast_const().cast()) && std::ptr::eq(waker.vtable(), &VTABLE)
}

/// Whether `waker` is a task's that is complete, so that it wakes nobody.
pub(crate) fn is_of_ended(waker: &Waker) -> bool {
    // SAFETY: a pointer beside our table comes from `from_header`; alive by the waker's reference.
    std::ptr::eq(waker.vtable(), &VTABLE) && unsafe { header(waker.data()).as_ref() }.state.is_complete()
}

fn header(data: *const ()) -> NonNull<Header> {
    debug_assert!(!data.is_null());
    // SAFETY: `from_header` made it from a NonNull.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: alive by the waker's reference.
    unsafe { header(data).as_ref() }.state.add_reference();
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker's reference is given up.
    unsafe { raw::wake_by_value(header(data)) };
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker's reference is kept.
    unsafe { raw::wake_by_ref(header(data)) };
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the waker's reference is given up.
    unsafe { raw::drop_reference(header(data)) };
}

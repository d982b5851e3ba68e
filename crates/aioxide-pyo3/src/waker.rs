//! Wakers over the C interface: aioxide's as `std::task::Waker`, and the extension's own for aioxide.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use crate::{abi, api};

/// Calls `poll` with a context whose waker is the one that aioxide lends.
///
/// # Safety
/// `lent` is what aioxide gave for this poll.
pub(crate) unsafe fn with_lent<T>(lent: abi::WakerRef, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let vtable = if lent.kind == abi::LAZY { &LAZY } else { &ARMED };
    // SAFETY: the functions take what aioxide lends. It is not dropped: it stays aioxide's.
    let waker = ManuallyDrop::new(unsafe { Waker::new(lent.data.cast(), vtable) });
    poll(&mut Context::from_waker(&waker))
}

/// Lends a waker to aioxide: as its own if it is, else as a foreign one.
pub(crate) fn lend(waker: &Waker) -> abi::WakerRef {
    let (kind, data, vtable) = if std::ptr::eq(waker.vtable(), &LAZY) {
        (abi::LAZY, waker.data().cast(), std::ptr::null())
    } else if std::ptr::eq(waker.vtable(), &ARMED) {
        (abi::ARMED, waker.data().cast(), std::ptr::null())
    } else {
        (abi::FOREIGN, std::ptr::from_ref(waker).cast::<c_void>(), &raw const FOREIGN)
    };
    abi::WakerRef { kind, data, vtable }
}

static LAZY: RawWakerVTable = RawWakerVTable::new(arm, mark, mark, nothing);
static ARMED: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, end);

// SAFETY (of the eight functions below): `Waker` calls them with the data of a waker with their table.

unsafe fn arm(data: *const ()) -> RawWaker {
    // SAFETY: a lazy waker's data; the new one is an armed one.
    RawWaker::new(unsafe { (api::loaded().waker_arm)(data.cast()) }.cast(), &ARMED)
}

unsafe fn mark(data: *const ()) {
    // SAFETY: a lazy waker's data.
    unsafe { (api::loaded().waker_mark)(data.cast()) };
}

unsafe fn nothing(_: *const ()) {}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: an armed waker's data.
    RawWaker::new(unsafe { (api::loaded().waker_clone)(data.cast()) }.cast(), &ARMED)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: an armed waker's data, used up.
    unsafe {
        wake_by_ref(data);
        end(data);
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: an armed waker's data.
    unsafe { (api::loaded().waker_wake)(data.cast()) };
}

unsafe fn end(data: *const ()) {
    // SAFETY: an armed waker's data, used up.
    unsafe { (api::loaded().waker_drop)(data.cast()) };
}

/// What is lent is a `&Waker`, what is kept a `Box<Waker>`; both are a pointer to a waker.
static FOREIGN: abi::WakerVtable =
    abi::WakerVtable { clone: foreign_clone, wake: foreign_wake, drop: foreign_drop };

unsafe extern "C" fn foreign_clone(data: *const c_void) -> *const c_void {
    // SAFETY: a waker that is alive; a waker's functions do not panic.
    let waker = unsafe { &*data.cast::<Waker>() };
    Box::into_raw(Box::new(waker.clone())).cast_const().cast()
}

unsafe extern "C" fn foreign_wake(data: *const c_void) {
    // SAFETY: as above.
    unsafe { &*data.cast::<Waker>() }.wake_by_ref();
}

unsafe extern "C" fn foreign_drop(data: *const c_void) {
    // SAFETY: made by `foreign_clone`, and used up.
    drop(unsafe { Box::from_raw(data.cast::<Waker>().cast_mut()) });
}

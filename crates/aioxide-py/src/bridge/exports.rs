//! The table of C functions for other extensions; `aioxide_pyo3::abi` says what each does.

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::null_mut;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};

use aioxide_pyo3::abi;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi as c;
use pyo3::prelude::*;

use super::future::{Body, RustFuture};
use super::leaves::{Timer, Watch};
use super::parker::{Lazy, Parker, waker_of};
use super::waiting::Waiting;
use crate::ffi::method::{guard, guard_always, guard_object};
use crate::ffi::{Object, call, raised};
use crate::interp::names;
use crate::kernel::running;
use crate::task::{Start, Task};

pyo3::create_exception!(
    aioxide,
    RustPanic,
    PyRuntimeError,
    "A Rust future panicked: a bug in the extension that it came from."
);

static TABLE: abi::Api = abi::Api {
    version: abi::VERSION,
    size: size_of::<abi::Api>() as u32,
    awaitable,
    spawn,
    raise_panic,
    waker_arm,
    waker_mark,
    waker_clone,
    waker_wake,
    waker_drop,
    python_start,
    python_poll,
    python_drop,
    sleep_start,
    sleep_poll,
    sleep_drop,
    fd_watch,
    fd_poll,
    fd_clear,
    fd_drop,
};

/// The capsule that holds the table's address.
pub(super) fn capsule(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let table = (&raw const TABLE).cast_mut().cast();
    // SAFETY: attached; the table and its name live as long as the process.
    unsafe { Bound::from_owned_ptr_or_err(py, c::PyCapsule_New(table, abi::CAPSULE.as_ptr(), None)) }
}

// SAFETY (of every function below): `abi` says what the caller promises. No panic leaves one that can panic.

unsafe extern "C" fn awaitable(future: *mut c_void, vtable: &'static abi::FutureVtable) -> *mut c::PyObject {
    // SAFETY: the caller gives the future up.
    let body = unsafe { Body::new(future, vtable) };
    guard_object(|| RustFuture::make(body))
}

unsafe extern "C" fn spawn(future: *mut c_void, vtable: &'static abi::FutureVtable) -> *mut c::PyObject {
    // SAFETY: the caller gives the future up.
    let body = unsafe { Body::new(future, vtable) };
    guard_object(|| {
        let Some(state) = running() else {
            let message = "a Rust future is spawned in a thread that runs no loop of aioxide's";
            return Err(raised::raise(raised::runtime_error(), message));
        };
        let event_loop = state.object()?;
        let coro = RustFuture::make(body)?;
        if state.makes_tasks() {
            return Task::make(
                event_loop,
                state,
                &Start { coro: &coro, name: None, context: None, eager: false },
            );
        }
        call::call_method(&names().create_task, &[event_loop, &coro], None)
    })
}

unsafe extern "C" fn raise_panic(text: *const u8, length: usize) {
    // SAFETY: pointer and length of one text.
    let text = String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(text, length) });
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    RustPanic::new_err(text.into_owned()).restore(py);
}

unsafe extern "C" fn waker_arm(lazy: *const c_void) -> *const c_void {
    // SAFETY: the lazy waker of the poll under way.
    let lazy = unsafe { &*lazy.cast::<Lazy<'_>>() };
    Arc::into_raw(lazy.arm()).cast()
}

unsafe extern "C" fn waker_mark(lazy: *const c_void) {
    // SAFETY: the lazy waker of the poll under way.
    unsafe { &*lazy.cast::<Lazy<'_>>() }.mark();
}

unsafe extern "C" fn waker_clone(armed: *const c_void) -> *const c_void {
    // SAFETY: an armed waker is an `Arc`.
    unsafe { Arc::increment_strong_count(armed.cast::<Parker>()) };
    armed
}

unsafe extern "C" fn waker_wake(armed: *const c_void) {
    // SAFETY: an armed waker is an `Arc`, which stays the caller's.
    let parker = ManuallyDrop::new(unsafe { Arc::from_raw(armed.cast::<Parker>()) });
    parker.notify();
}

unsafe extern "C" fn waker_drop(armed: *const c_void) {
    // SAFETY: an armed waker is an `Arc`, given up.
    drop(unsafe { Arc::from_raw(armed.cast::<Parker>()) });
}

unsafe extern "C" fn python_start(awaitable: *mut c::PyObject) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: a live object.
        let waiting = Waiting::start(unsafe { Object::from_ptr(awaitable) })?;
        Ok(Box::into_raw(Box::new(waiting)).cast())
    })
}

unsafe extern "C" fn python_poll(
    waiting: *mut c_void,
    lent: abi::WakerRef,
    place: *mut *mut c::PyObject,
) -> c_int {
    guard(abi::RAISED, || {
        // SAFETY: from `python_start`, nobody else is in it.
        let waiting = unsafe { &mut *waiting.cast::<Waiting>() };
        // SAFETY: lent for this call.
        match unsafe { with_waker(&lent, |cx| waiting.poll(cx)) } {
            Poll::Pending => Ok(abi::PENDING),
            Poll::Ready(outcome) => {
                // SAFETY: the caller's place for a reference.
                unsafe { *place = outcome?.into_ptr() };
                Ok(abi::READY)
            }
        }
    })
}

unsafe extern "C" fn python_drop(waiting: *mut c_void) {
    guard_always((), || {
        // An exception that the caller has set stays set.
        let pending = raised::pending();
        // SAFETY: from `python_start`, given up.
        drop(unsafe { Box::from_raw(waiting.cast::<Waiting>()) });
        match pending {
            Some(exception) => Err(raised::put_back(exception)),
            None => Ok(()),
        }
    });
}

unsafe extern "C" fn sleep_start(delay_ns: u64) -> *mut c_void {
    Timer::start(delay_ns).map_or(null_mut(), |timer| Box::into_raw(Box::new(timer)).cast())
}

unsafe extern "C" fn sleep_poll(timer: *mut c_void, lent: abi::WakerRef) -> c_int {
    // SAFETY: from `sleep_start`, nobody else is in it.
    let timer = unsafe { &mut *timer.cast::<Timer>() };
    // SAFETY: lent for this call.
    status(unsafe { with_waker(&lent, |cx| timer.poll(cx)) })
}

unsafe extern "C" fn sleep_drop(timer: *mut c_void) {
    // SAFETY: from `sleep_start`, given up.
    drop(unsafe { Box::from_raw(timer.cast::<Timer>()) });
}

unsafe extern "C" fn fd_watch(fd: c_int, place: *mut c_int) -> *mut c_void {
    match Watch::start(fd) {
        Ok(watch) => Box::into_raw(Box::new(watch)).cast(),
        Err(errno) => {
            // SAFETY: the caller's place for the errno.
            unsafe { *place = errno };
            null_mut()
        }
    }
}

unsafe extern "C" fn fd_poll(watch: *mut c_void, writing: bool, lent: abi::WakerRef) -> c_int {
    // SAFETY: from `fd_watch`.
    let watch = unsafe { &*watch.cast::<Watch>() };
    let poll = |cx: &mut Context<'_>| {
        if lent.kind == abi::FOREIGN { watch.poll_relayed(writing, cx) } else { watch.poll(writing, cx) }
    };
    // SAFETY: lent for this call.
    let polled = unsafe { with_waker(&lent, poll) };
    if polled.is_pending() && watch.is_of_another_loop() { abi::ELSEWHERE } else { status(polled) }
}

unsafe extern "C" fn fd_clear(watch: *mut c_void, writing: bool) {
    // SAFETY: from `fd_watch`.
    unsafe { &*watch.cast::<Watch>() }.clear(writing);
}

unsafe extern "C" fn fd_drop(watch: *mut c_void) {
    // SAFETY: from `fd_watch`, given up.
    drop(unsafe { Box::from_raw(watch.cast::<Watch>()) });
}

fn status(polled: Poll<()>) -> c_int {
    if polled.is_pending() { abi::PENDING } else { abi::READY }
}

/// Calls `poll` with the waker that is lent.
///
/// # Safety
/// It is lent for the time of the call.
unsafe fn with_waker<T>(lent: &abi::WakerRef, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
    // What is made here is borrowed: it is not dropped.
    // SAFETY: each kind's functions are for its data.
    let waker = ManuallyDrop::new(unsafe {
        match lent.kind {
            abi::LAZY => Waker::new(lent.data.cast(), &LAZY),
            abi::ARMED => waker_of(Arc::from_raw(lent.data.cast::<Parker>())),
            _ => Waker::new(std::ptr::from_ref(lent).cast(), &LENT),
        }
    });
    poll(&mut Context::from_waker(&waker))
}

/// Over a [`Lazy`].
static LAZY: RawWakerVTable = RawWakerVTable::new(arm, mark, mark, nothing);
/// Over a [`abi::WakerRef`] of another extension's.
static LENT: RawWakerVTable = RawWakerVTable::new(keep, wake_lent, wake_lent, nothing);

unsafe fn nothing(_: *const ()) {}

unsafe fn arm(lazy: *const ()) -> RawWaker {
    // SAFETY: the data of a waker with the table LAZY.
    let waker = ManuallyDrop::new(waker_of(unsafe { &*lazy.cast::<Lazy<'_>>() }.arm()));
    RawWaker::new(waker.data(), waker.vtable())
}

unsafe fn mark(lazy: *const ()) {
    // SAFETY: as above.
    unsafe { &*lazy.cast::<Lazy<'_>>() }.mark();
}

unsafe fn keep(lent: *const ()) -> RawWaker {
    // SAFETY: the data of a waker with the table LENT.
    let lent = unsafe { &*lent.cast::<abi::WakerRef>() };
    // SAFETY: a foreign waker has its own functions.
    let vtable = unsafe { &*lent.vtable };
    // SAFETY: they take its data.
    let kept = Kept { data: unsafe { (vtable.clone)(lent.data) }, vtable };
    let waker = ManuallyDrop::new(Waker::from(Arc::new(kept)));
    RawWaker::new(waker.data(), waker.vtable())
}

unsafe fn wake_lent(lent: *const ()) {
    // SAFETY: as above.
    unsafe {
        let lent = &*lent.cast::<abi::WakerRef>();
        ((*lent.vtable).wake)(lent.data);
    }
}

/// Another extension's waker, to keep.
struct Kept {
    data: *const c_void,
    vtable: &'static abi::WakerVtable,
}

// SAFETY: wakers may be used and dropped on any thread.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Wake for Kept {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // SAFETY: the function is for the data.
        unsafe { (self.vtable.wake)(self.data) };
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the function is for the data, used up.
        unsafe { (self.vtable.drop)(self.data) };
    }
}

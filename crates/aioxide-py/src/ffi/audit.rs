//! Whether anybody listens to the interpreter's audit events.

use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};

use pyo3::ffi;

use super::object::Object;
use super::raised;

unsafe extern "C" {
    fn PySys_Audit(event: *const c_char, format: *const c_char, ...) -> c_int;
}

type Convert = unsafe extern "C" fn(*mut c_void) -> *mut ffi::PyObject;

/// Makes no argument, but an exception.
unsafe extern "C" fn refuse(_: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the interpreter, which calls this, is attached.
    unsafe { ffi::PyErr_SetNone(ffi::PyExc_RuntimeError) };
    std::ptr::null_mut()
}

/// Whether the program has an audit hook, which is to hear of everything with the objects that asyncio would show it.
///
/// The interpreter makes an event's arguments only for a hook, and calls no hook if one of them cannot be made: so asking
/// is not heard.
pub(crate) fn is_heard(_attached: &Object) -> bool {
    const EVENT: &CStr = c"socket.connect";
    let refuse: Convert = refuse;
    // SAFETY: `O&` takes a function of this type and a pointer for it.
    let heard =
        unsafe { PySys_Audit(EVENT.as_ptr(), c"O&".as_ptr(), refuse, std::ptr::null_mut::<c_void>()) != 0 };
    if heard {
        raised::clear_pending();
    }
    heard
}

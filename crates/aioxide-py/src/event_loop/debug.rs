//! Debug mode: checks before a callback is scheduled, where it was scheduled, how long it ran.

use crate::ffi::{Object, Outcome, call};
use crate::interp::names;
use crate::kernel::handle::Handle;

/// Checks the calling thread and the callback, as asyncio does in debug mode. `any_thread` for `call_soon_threadsafe`.
pub(crate) fn check_call(
    event_loop: &Object,
    callback: &Object,
    method: &str,
    any_thread: bool,
) -> Outcome<()> {
    if !any_thread {
        call::call_method(&*call::interned(c"_check_thread")?, &[event_loop], None)?;
    }
    let method = call::text(method)?;
    call::call_method(&*call::interned(c"_check_callback")?, &[event_loop, callback, &method], None)?;
    Ok(())
}

/// Remembers the stack of the caller in `handle`.
pub(crate) fn remember_source(handle: &Handle) -> Outcome<()> {
    // Called from a C function, `extract_stack` begins with that function's caller.
    let extract = call::get_attribute(&names().format_helpers_module, &*call::interned(c"extract_stack")?)?;
    handle.set_source_traceback(call::call(&extract, &[])?);
    Ok(())
}

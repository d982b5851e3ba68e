//! What asyncio expects of any future, asked of ours directly and of others by their methods.

use super::Future;
use crate::ffi::{Object, Outcome, Owned, call};
use crate::interp::names;
use crate::kernel::state_of;

/// Marks a future as yielded by an `await`, as `await` expects it.
#[inline]
pub(crate) fn mark_blocking(future: &Object) -> Outcome<()> {
    match Future::exact(future) {
        Some(ours) => {
            ours.blocking.set(true);
            Ok(())
        }
        None => call::set_attribute(future, &names().blocking, &Owned::boolean(true)),
    }
}

/// `future.done()`.
#[inline]
pub(crate) fn is_done(future: &Object) -> Outcome<bool> {
    match Future::exact(future) {
        Some(future) => Ok(future.is_done()),
        None => call::truth(&*call::call_method(&names().done, &[future], None)?),
    }
}

/// `event_loop.create_future()`.
#[inline]
pub(crate) fn create(event_loop: &Object) -> Outcome {
    match state_of(event_loop) {
        Some(state) if state.makes_futures() => Future::make(event_loop, state),
        _ => call::call_method(&names().create_future, &[event_loop], None),
    }
}

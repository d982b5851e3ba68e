//! What asyncio expects of any future, asked of ours directly and of others by their methods.

use super::Future;
use crate::ffi::{Object, Outcome, Owned, call};
use crate::interp::names;

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

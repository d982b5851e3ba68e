//! Destructors and wakers of the user that panic where nobody could catch it: on the loop itself, on a thread of a pool.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Drops `value`; a panic of its destructor ends here, told by the panic hook and by nobody else.
///
/// # Examples
/// ```
/// struct Bomb;
/// impl Drop for Bomb {
///     fn drop(&mut self) {
///         panic!("dropped");
///     }
/// }
/// aioxide_core::destroy(Bomb);
/// ```
pub fn destroy<T>(value: T) {
    contain(|| drop(value));
}

/// Wakes; a panic of the waker, which may be anybody's code, ends here as one of a destructor does: others are still to be
/// woken, and what belongs to the loop is still to be put in order.
///
/// # Examples
/// ```
/// aioxide_core::wake(std::task::Waker::noop().clone());
/// ```
#[inline]
pub fn wake(waker: Waker) {
    contain(|| waker.wake());
}

/// Calls `destructor`; a panic in it ends here, as in [`destroy`].
#[inline]
pub(crate) fn contain(destructor: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(destructor)) {
        destroy_payload(payload);
    }
}

#[cold]
fn destroy_payload(payload: Box<dyn Any + Send>) {
    // What it panicked with may panic as well when it is dropped. What *that* panics with is not tried any more.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(payload);
    }
}

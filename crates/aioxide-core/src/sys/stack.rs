//! The stack of the running thread.

use std::cell::Cell;

/// What is kept for whoever finds that the rest is too little, and for what it calls; less of a stack that is small itself.
#[cfg(any(target_os = "linux", target_os = "android"))]
const RESERVE: usize = 256 * 1024;

/// Whether the running thread's stack is all but used up.
#[inline]
pub fn is_nearly_used_up() -> bool {
    thread_local! {
        static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let here = 0_u8;
    LIMIT.with(|limit| {
        if limit.get() == usize::MAX {
            limit.set(find_limit());
        }
        (&raw const here as usize) < limit.get()
    })
}

/// The address below which the stack counts as used up; 0 where the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[cold]
fn find_limit() -> usize {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut start, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the running thread, and a place that the call fills in.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: filled in above; places for the answers.
    let found = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut size) };
    // SAFETY: filled in above, and used up.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    if found == 0 { start as usize + RESERVE.min(size / 4) } else { 0 }
}

/// Nothing is known elsewhere: the interpreter's own count is all there is.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[cold]
fn find_limit() -> usize {
    0
}

//! The stack of the running thread.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::thread::{UNKNOWN, this_thread};

/// What is kept for whoever finds that the rest is too little, and for what it calls; less of a stack that is small itself.
const RESERVE: usize = 256 * 1024;

/// The thread that asked last, the lowest address of its stack, and how much of it is kept. A question in the same thread costs a
/// few instructions.
static LAST: AtomicUsize = AtomicUsize::new(0);
static LOWEST: AtomicUsize = AtomicUsize::new(0);
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Whether the running thread's stack is all but used up. On another stack than the thread's own (that of a signal handler, of a
/// library that switches stacks) it never is.
///
/// Threads ask one after the other, as those do that hold an interpreter's lock: of two that ask at the same time, one whose stack
/// is nearly used up may be told that it is not.
#[inline]
pub fn is_nearly_used_up() -> bool {
    let here = 0_u8;
    if LAST.load(Ordering::Relaxed) != this_thread() {
        find_limits();
    }
    (&raw const here as usize).wrapping_sub(LOWEST.load(Ordering::Relaxed)) < KEPT.load(Ordering::Relaxed)
}

thread_local! {
    static MINE: Limits = Limits::find();
}

/// The lowest address of the running thread's stack; 0 where that is not known.
#[cfg(feature = "sample")]
#[must_use]
pub fn lowest() -> usize {
    MINE.try_with(|mine| mine.lowest).unwrap_or(0)
}

#[cold]
fn find_limits() {
    // Without a place for them the thread is at its end.
    let (lowest, kept, thread) = MINE
        .try_with(|mine| (mine.lowest, mine.kept, if this_thread() == UNKNOWN { 0 } else { this_thread() }))
        .unwrap_or((0, 0, 0));
    LOWEST.store(lowest, Ordering::Relaxed);
    KEPT.store(kept, Ordering::Relaxed);
    LAST.store(thread, Ordering::Relaxed);
}

struct Limits {
    lowest: usize,
    kept: usize,
}

impl Limits {
    /// Those of the running thread; none where the system does not say.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn find() -> Self {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        let (mut start, mut size) = (std::ptr::null_mut(), 0);
        // SAFETY: the running thread, and a place that the call fills in.
        if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
            return Self { lowest: 0, kept: 0 };
        }
        // SAFETY: filled in above; places for the answers.
        let found =
            unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut size) };
        // SAFETY: filled in above, and used up.
        unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
        let kept = if found == 0 { RESERVE.min(size / 4) } else { 0 };
        Self { lowest: start as usize, kept }
    }

    /// Nothing is known elsewhere: the interpreter's own count is all there is.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn find() -> Self {
        Self { lowest: 0, kept: 0 }
    }
}

impl Drop for Limits {
    /// The next thread may get the same address, and another stack.
    fn drop(&mut self) {
        let _another = LAST.compare_exchange(this_thread(), 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

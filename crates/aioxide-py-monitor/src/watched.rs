//! Whether somebody may look into this program: what only they want to know is then kept as it happens.

use std::sync::atomic::{AtomicBool, Ordering};

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Whether anybody asks who has which lock: one comparison.
#[inline]
pub fn is_watched() -> bool {
    WATCHED.load(Ordering::Relaxed)
}

/// Somebody may ask from now on.
pub(crate) fn begin() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// Nobody does, until the next one.
pub(crate) fn end() {
    WATCHED.store(false, Ordering::Relaxed);
}

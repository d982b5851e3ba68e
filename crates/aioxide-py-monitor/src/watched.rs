//! Whether somebody may look into this program: what only they want to know is then kept as it happens.

use std::sync::atomic::{AtomicBool, Ordering};

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Whether `aioxide.monitor` was used in this process: one comparison.
#[inline]
pub fn is_watched() -> bool {
    WATCHED.load(Ordering::Relaxed)
}

/// Somebody uses it: from now on, for good.
pub(crate) fn begin() {
    WATCHED.store(true, Ordering::Relaxed);
}

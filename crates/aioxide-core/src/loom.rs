//! `std::sync` or, under `--cfg loom`, loom's models of it: chosen here once, for the inbox and the task cell.

#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

/// Locks `mutex` whether or not a thread panicked while it held it.
///
/// The data behind our mutexes is a list that is valid between any two statements, so poison tells nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

//! A lock that is held for a few steps at a time, and that a fork may leave locked for ever.

use std::sync::{Mutex, MutexGuard, TryLockError};

/// How often a lock that somebody has is asked for.
const TRIES: u32 = 1_000;

/// Locks, also after a panic of who held it; `None` if somebody keeps it. In the child of a fork, whoever had it then has it for ever:
/// what stands behind it must be such that one can do without.
pub fn lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..TRIES {
        match mutex.try_lock() {
            Ok(value) => return Some(value),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_that_is_kept_is_given_up() {
        let mutex = Mutex::new(1);
        let kept = lock(&mutex);
        assert!(kept.is_some() && lock(&mutex).is_none());
        drop(kept);
        assert_eq!(lock(&mutex).map(|value| *value), Some(1));
    }
}

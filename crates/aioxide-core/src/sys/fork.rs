//! What a fork must not leave behind in the child: a lock whose holder, and a count whose threads, stayed in the parent.
//!
//! Both remember whose process they speak of. What another process has written means nothing: a lock that it holds
//! is free, and a count of its threads is 0. Both keep their numbers in atomics, so a signal handler may count.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many threads of this process are in a place.
#[derive(Debug)]
pub(super) struct Presence(AtomicU64);

/// The process and its count, in one number.
fn parts(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

fn whole(process: u32, count: u32) -> u64 {
    u64::from(process) << 32 | u64::from(count)
}

impl Presence {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more; the process, for [`leave`](Self::leave).
    pub(super) fn enter(&self) -> u32 {
        let process = std::process::id();
        let enter = |number| {
            let (of, count) = parts(number);
            Some(whole(process, if of == process { count + 1 } else { 1 }))
        };
        // It fails never: `enter` always has an answer.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter);
        process
    }

    /// One less, of the process that entered: the thread that forks is in the child, too, and counted there no more.
    pub(super) fn leave(&self, process: u32) {
        let leave = |number| {
            let (of, count) = parts(number);
            (of == process && count > 0).then(|| whole(of, count - 1))
        };
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, leave);
    }

    pub(super) fn is_empty(&self) -> bool {
        let (of, count) = parts(self.0.load(Ordering::SeqCst));
        count == 0 || of != std::process::id()
    }
}

/// A lock for a few steps at a time. Waiting for it is a loop, so nothing in those steps may wait.
#[derive(Debug)]
pub(super) struct Lock<T> {
    /// The process whose thread holds it; 0: nobody does.
    holder: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached by `Held` alone, of which there is one at a time in a process.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Self {
        Self { holder: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits until no thread of this process holds it.
    ///
    /// Never called from a signal handler: a thread that it interrupts may hold it.
    pub(super) fn hold(&self) -> Held<'_, T> {
        let process = std::process::id();
        let mut free = 0;
        while let Err(holder) =
            self.holder.compare_exchange(free, process, Ordering::Acquire, Ordering::Relaxed)
        {
            // A thread of the parent has not come along: what it has not finished stays so.
            free = if holder == process { 0 } else { holder };
            if free == 0 {
                std::thread::yield_now();
            }
        }
        Held(self)
    }
}

/// A lock that is held.
pub(super) struct Held<'a, T>(&'a Lock<T>);

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it is held by us alone.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: it is held by us alone, and we are borrowed.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        self.0.holder.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_of_another_process_is_none_here() {
        let presence = Presence::new();
        let me = presence.enter();
        presence.enter();
        presence.leave(me);
        assert!(!presence.is_empty());
        presence.0.store(whole(me + 1, 3), Ordering::SeqCst);
        assert!(presence.is_empty());
        // The thread that forked leaves what it had entered in the parent.
        presence.enter();
        presence.leave(me + 1);
        assert!(!presence.is_empty());
        presence.leave(me);
        presence.leave(me);
        assert!(presence.is_empty());
    }

    #[test]
    fn lock_that_another_process_held_is_free_and_one_at_a_time_holds_it() {
        static LOCK: Lock<u32> = Lock::new(0);
        LOCK.holder.store(std::process::id() + 1, Ordering::SeqCst);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..200 {
                        let mut held = LOCK.hold();
                        let seen = *held;
                        std::thread::yield_now();
                        *held = seen + 1;
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*LOCK.hold(), 800);
    }
}

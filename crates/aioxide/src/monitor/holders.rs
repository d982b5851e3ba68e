//! Who has a lock that others wait for.
//!
//! A lock keeps its holder's number itself; while somebody waits for it on a thread whose loop is watched, the number also stands
//! here, by the address that the waiting task tells. A lock for which nobody waits is in no snapshot, and not here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

thread_local! {
    /// Loops of this thread that are watched.
    static WATCHED: Cell<usize> = const { Cell::new(0) };
    static HOLDERS: RefCell<HashMap<usize, u64>> = RefCell::default();
}

/// One more loop of this thread is watched, or one less.
pub(super) fn count_watched(change: isize) {
    let left = WATCHED.try_with(|watched| {
        watched.set(watched.get().saturating_add_signed(change));
        watched.get()
    });
    if left == Ok(0) {
        let _ended = HOLDERS.try_with(|holders| holders.take());
    }
}

/// Notes the holder of the lock at `address`, a task's number or 0; `None`: nobody waits for it any more.
#[inline]
pub(crate) fn note(address: usize, holder: impl FnOnce() -> Option<u64>) {
    if WATCHED.try_with(Cell::get).unwrap_or(0) > 0 {
        note_now(address, holder());
    }
}

#[cold]
fn note_now(address: usize, holder: Option<u64>) {
    let _ended = HOLDERS.try_with(|holders| match holder {
        Some(holder) => holders.borrow_mut().insert(address, holder),
        None => holders.borrow_mut().remove(&address),
    });
}

/// The task that has the lock at `address`, as far as it is known.
pub(super) fn holder(address: usize) -> Option<u64> {
    HOLDERS.with_borrow(|holders| holders.get(&address).copied()).filter(|holder| *holder > 0)
}

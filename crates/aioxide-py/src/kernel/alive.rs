//! The loops that are alive.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::LoopState;
use crate::ffi::Confined;

/// The loops that are alive, and a few that were.
static LOOPS: Confined<RefCell<Vec<Weak<LoopState>>>> = Confined::new(RefCell::new(Vec::new()));

/// Remembers a new loop, and forgets those that are gone.
pub(crate) fn remember(state: &Rc<LoopState>) {
    let mut loops = LOOPS.borrow_mut();
    loops.retain(|known| known.strong_count() > 0);
    loops.push(Rc::downgrade(state));
}

/// The loop that a thread, known by its number, runs now.
pub(crate) fn loop_run_by(thread: u64) -> Option<Rc<LoopState>> {
    let loops = LOOPS.borrow();
    loops.iter().filter_map(Weak::upgrade).find(|state| state.running.get() && state.thread.get() == thread)
}

/// Lets the collector see the handles in the queues that others hold as well.
pub(crate) fn show_shared_handles() {
    for state in LOOPS.borrow().iter().filter_map(Weak::upgrade) {
        state.show_shared_handles();
    }
}

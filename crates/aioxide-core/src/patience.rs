//! How long a busy loop may go on before it asks the kernel again.

use std::cell::Cell;

/// After how many iterations in a row that neither waited nor found an event the loop is hot.
///
/// Until then the kernel is asked in every iteration, as asyncio does: what was written is read after one `sleep(0)`, and
/// programs that count iterations see asyncio's order. 1 000 questions take less than half a millisecond.
const QUIET_POLLS_UNTIL_HOT: u32 = 1000;

/// What the loop has learned from its last questions.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// How many entries may run before the kernel is asked again: 0 unless the loop is hot.
    entries: Cell<u32>,
    /// For how many questions in a row the kernel had nothing for a busy loop.
    quiet_polls: Cell<u32>,
}

impl Patience {
    #[inline]
    pub(crate) fn entries(&self) -> u32 {
        self.entries.get()
    }

    /// Something may happen: the kernel is asked in each of the next iterations.
    #[inline]
    pub(crate) fn lose(&self) {
        self.entries.set(0);
        self.quiet_polls.set(0);
    }

    /// The kernel was asked; `in_vain` if the loop was busy and there was nothing. `interval` is the patience of a hot loop.
    pub(crate) fn asked(&self, in_vain: bool, interval: u32) {
        let quiet = self.quiet_polls.get();
        if !in_vain {
            self.lose();
        } else if quiet < QUIET_POLLS_UNTIL_HOT {
            self.quiet_polls.set(quiet + 1);
        } else {
            self.entries.set(interval);
        }
    }
}

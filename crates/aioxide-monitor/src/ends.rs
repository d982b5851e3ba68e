//! How tasks end, noted by the faces from the first look into the program on, and read by the next look.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::schema::{Id, Why};

/// Ends that are kept until the next look; the oldest go first.
pub const LIMIT: usize = 1 << 16;

/// Somebody has looked.
static LOOKED: AtomicBool = AtomicBool::new(false);

static NOTED: Mutex<Ends> = Mutex::new(Ends::new());

/// How a task has ended.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// The task.
    pub id: Id,
    /// How.
    pub why: Why,
    /// The class of the exception, for `raised`.
    pub exception: String,
}

/// The ends of tasks between two looks.
#[derive(Debug, Default)]
pub struct Ends(VecDeque<End>);

/// Notes how a task has ended, if anybody has ever looked; it costs a comparison if not.
#[inline]
pub fn note(end: impl FnOnce() -> End) {
    if LOOKED.load(Ordering::Relaxed) {
        note_now(end());
    }
}

#[cold]
fn note_now(end: End) {
    noted().push(end);
}

/// What has ended since the last call; from the first call on it is noted.
#[must_use]
pub fn take() -> Ends {
    LOOKED.store(true, Ordering::Relaxed);
    std::mem::take(&mut *noted())
}

/// Nobody will look: nothing is noted any more.
pub fn stop() {
    LOOKED.store(false, Ordering::Relaxed);
    drop(std::mem::take(&mut *noted()));
}

fn noted() -> MutexGuard<'static, Ends> {
    NOTED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ends {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// One more.
    pub fn push(&mut self, end: End) {
        if self.0.len() >= LIMIT {
            self.0.pop_front();
        }
        self.0.push_back(end);
    }
}

impl IntoIterator for Ends {
    type Item = End;
    type IntoIter = std::collections::vec_deque::IntoIter<End>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_noted_once_somebody_looks_and_do_not_pile_up() {
        note(|| unreachable!("nobody has looked"));
        assert_eq!(take().into_iter().count(), 0);
        (0..LIMIT as u64 + 5).for_each(|id| note(|| End { id, ..End::default() }));
        let mut ends = take().into_iter();
        assert_eq!((ends.next().map(|end| end.id), ends.len()), (Some(5), LIMIT - 1));
        note(End::default);
        stop();
        note(|| unreachable!("nobody looks any more"));
        assert_eq!(take().into_iter().count(), 0);
        stop();
    }
}

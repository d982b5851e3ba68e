//! How tasks end: noted by the faces from the first question of the socket on, told by the next snapshot.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::schema::{Id, MEASURED, NAME_LIMIT, Why, cut};
use crate::{clock, moment};

/// Ends that are kept until the next look; the oldest go first.
pub const LIMIT: usize = 1 << 16;

/// The process in which somebody asks; 0: none.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// When the last question came, in milliseconds since 1970.
static LAST: AtomicU64 = AtomicU64::new(0);

static NOTED: Mutex<VecDeque<End>> = Mutex::new(VecDeque::new());

/// How a task has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The task.
    pub id: Id,
    /// Its name: another task may get the number.
    pub name: String,
    /// How.
    pub why: Why,
    /// The class of the exception, for `raised`.
    pub exception: String,
}

/// Whether anybody has asked, so that ends are to be noted: one comparison.
#[inline]
pub fn are_noted() -> bool {
    ASKED.load(Ordering::Relaxed) != 0
}

/// Notes how a task has ended, if anybody has asked. In the child of a fork nobody has: there it ends.
#[cold]
pub fn note(end: End) {
    match ASKED.load(Ordering::Relaxed) {
        0 => return,
        process if process != std::process::id() => return stop(),
        _ => {}
    }
    let end = End { name: cut(&end.name, NAME_LIMIT), ..end };
    let Some(mut noted) = noted() else { return };
    let oldest = if noted.len() >= LIMIT { noted.pop_front() } else { None };
    noted.push_back(end);
    drop(noted);
    drop(oldest);
}

/// For how long the loops still measure what they run: nobody may ask again.
#[must_use]
pub fn measured_for() -> Option<Duration> {
    let since = clock::unix_ms().saturating_sub(LAST.load(Ordering::Relaxed));
    MEASURED.checked_sub(Duration::from_millis(since)).filter(|left| are_noted() && !left.is_zero())
}

/// Somebody asks: from now on ends are noted.
pub(crate) fn begin() {
    LAST.store(clock::unix_ms(), Ordering::Relaxed);
    ASKED.store(std::process::id(), Ordering::Relaxed);
}

/// What was noted since the last call.
pub(crate) fn take() -> VecDeque<End> {
    noted().map(|mut noted| std::mem::take(&mut *noted)).unwrap_or_default()
}

/// Nobody can ask any more.
pub(crate) fn stop() {
    ASKED.store(0, Ordering::Relaxed);
    drop(take());
}

fn noted() -> Option<MutexGuard<'static, VecDeque<End>>> {
    moment::lock(&NOTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_noted_once_somebody_asks_and_do_not_pile_up() {
        note(End::default());
        assert_eq!(take().len(), 0);
        begin();
        (0..LIMIT as u64 + 5).for_each(|id| note(End { id, ..End::default() }));
        let ends = take();
        assert_eq!((ends.front().map(|end| end.id), ends.len()), (Some(5), LIMIT));
        note(End::default());
        stop();
        note(End::default());
        assert_eq!(take().len(), 0);
        // As in the child of a fork.
        begin();
        note(End::default());
        ASKED.store(u32::MAX, Ordering::Relaxed);
        note(End::default());
        assert!(!are_noted() && take().is_empty());
    }
}

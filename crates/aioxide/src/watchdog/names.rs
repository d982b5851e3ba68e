//! The names that tasks were given, for the watchdog's thread: a task itself can be asked on its own thread only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many watchdogs there are: without one, nothing is noted.
static WATCHDOGS: AtomicUsize = AtomicUsize::new(0);

static NAMES: Mutex<Option<HashMap<u64, Box<str>>>> = Mutex::new(None);

/// As long as it lives, names are noted.
pub(super) struct Noting;

impl Noting {
    pub(super) fn begin() -> Self {
        WATCHDOGS.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        let mut names = locked();
        if WATCHDOGS.fetch_sub(1, Ordering::SeqCst) == 1 {
            *names = None;
        }
    }
}

/// A task was given a name.
#[inline]
pub(crate) fn note(id: u64, name: &str) {
    if WATCHDOGS.load(Ordering::Relaxed) > 0 {
        locked().get_or_insert_default().insert(id, name.into());
    }
}

/// A task has ended.
#[inline]
pub(crate) fn forget(id: u64) {
    if WATCHDOGS.load(Ordering::Relaxed) > 0
        && let Some(names) = &mut *locked()
    {
        names.remove(&id);
    }
}

pub(super) fn name_of(id: u64) -> Option<String> {
    locked().as_ref().and_then(|names| names.get(&id)).map(|name| name.to_string())
}

fn locked() -> MutexGuard<'static, Option<HashMap<u64, Box<str>>>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

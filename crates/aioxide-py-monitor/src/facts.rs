//! What only the extension can read in its own objects; it gives the functions when it is loaded.

use std::sync::OnceLock;

use pyo3::prelude::*;

/// The functions. Each answers for objects of its own type, and runs nothing of the program.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The task that has taken a lock.
    pub taker: for<'py> fn(&Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>>,
    /// How many steps a task has run, and for how many nanoseconds since somebody asked.
    pub steps: fn(&Bound<'_, PyAny>) -> Option<(u64, u64)>,
}

static FACTS: OnceLock<Facts> = OnceLock::new();

pub(crate) fn give(facts: Facts) {
    let _the_same_again = FACTS.set(facts);
}

pub(crate) fn taker<'py>(lock: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    FACTS.get().and_then(|facts| (facts.taker)(lock))
}

pub(crate) fn steps(task: &Bound<'_, PyAny>) -> Option<(u64, u64)> {
    FACTS.get().and_then(|facts| (facts.steps)(task))
}

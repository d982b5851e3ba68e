//! How long entries run, as numbers: what a [`Recorder`](super::Recorder) tells run by run.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::Observer;
use crate::runnable::Runnable;
use crate::sys::monotonic_ns;

/// What the runs of a loop's entries came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many ran.
    pub runs: u64,
    /// All of them together, in nanoseconds.
    pub total_ns: u64,
    /// The longest.
    pub longest_ns: u64,
    /// How many took at most the bound of that place; at last, how many took longer.
    pub histogram: Vec<u64>,
}

/// Counts how long entries run, as long as somebody goes on asking.
#[derive(Debug)]
pub(crate) struct Meter {
    /// In nanoseconds, ascending.
    bounds: &'static [u64],
    /// Until when somebody wants to know.
    until_ns: Cell<u64>,
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    durations: Durations,
    /// When what runs began; several when one of them runs the loop.
    open: Vec<u64>,
}

impl Meter {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        let durations = Durations { histogram: vec![0; bounds.len() + 1], ..Durations::default() };
        let inner = RefCell::new(Inner { durations, open: Vec::new() });
        Self { bounds, until_ns: Cell::new(0), inner }
    }

    /// What was counted; it is counted for so many nanoseconds more.
    pub(crate) fn read(&self, length_ns: u64) -> Durations {
        self.until_ns.set(monotonic_ns().saturating_add(length_ns));
        self.inner.borrow().durations.clone()
    }

    /// What runs at the moment is not counted any more: somebody else has seen the end of it.
    pub(crate) fn begin(&self) {
        self.inner.borrow_mut().open.clear();
    }
}

impl<R: Runnable> Observer<R> for Meter {
    fn collected(&self, _: Range<u64>) {}

    fn begins(&self, _: u64, _: &R) {
        self.inner.borrow_mut().open.push(monotonic_ns());
    }

    fn ended(&self, _: u64, _: Range<u64>) {
        let now = monotonic_ns();
        let mut inner = self.inner.borrow_mut();
        let Some(began) = inner.open.pop() else { return };
        let took = now.saturating_sub(began);
        let durations = &mut inner.durations;
        durations.runs += 1;
        // What runs inside of another one is a part of it.
        durations.longest_ns = durations.longest_ns.max(took);
        durations.histogram[self.bounds.partition_point(|bound| *bound < took)] += 1;
        if inner.open.is_empty() {
            inner.durations.total_ns += took;
        }
    }

    fn is_over(&self) -> bool {
        monotonic_ns() >= self.until_ns.get()
    }

    fn gives_way(&self) -> bool {
        true
    }
}

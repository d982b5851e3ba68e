//! A loop that somebody observes: how that begins and ends, and how its batches run.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::{EventLoop, OBSERVED};
use crate::observer::{Durations, Label, Observer, Recorder};
use crate::runnable::Runnable;

impl<R: Runnable> EventLoop<R> {
    /// Lets `observer` see each entry that runs, from the next batch on, in place of the one before; `None`: nobody.
    ///
    /// Meanwhile the kernel is asked in each iteration. Entries that stand in the queue already have been queued by nobody.
    pub fn observe(&self, observer: Option<Rc<dyn Observer<R>>>) {
        let observed = if observer.is_some() { OBSERVED } else { 0 };
        self.attention.set(self.attention.get() & !OBSERVED | observed);
        self.observed.set(observer);
    }

    /// Whether somebody sees what runs.
    pub fn is_observed(&self) -> bool {
        self.attention.get() & OBSERVED != 0
    }

    /// Lets a new [`Recorder`] observe the loop; `None` when somebody does that already who is not over.
    pub fn record(&self, limit: usize, length_ns: u64, describe: fn(&R) -> Label) -> Option<Rc<Recorder<R>>> {
        if self.observed.get().is_some_and(|observer| !observer.is_over() && !observer.gives_way()) {
            return None;
        }
        let recorder = Recorder::new(limit, length_ns, describe);
        self.observe(Some(Rc::clone(&recorder) as Rc<_>));
        Some(recorder)
    }

    /// What the runs of entries came to since the first call of this, as far as nobody else observed the loop; they are counted for
    /// `length_ns` more. `bounds`, in nanoseconds and ascending, are those of the first call.
    pub fn measure(&self, bounds: &'static [u64], length_ns: u64) -> Durations {
        let meter = self.observed.meter(bounds);
        let durations = meter.read(length_ns);
        if self.observed.get().is_none_or(|observer| observer.is_over()) {
            meter.begin();
            self.observe(Some(meter));
        }
        durations
    }

    /// [`run_batch`](Self::run_batch) for a loop that is observed, which needs a poll in each iteration.
    #[cold]
    pub fn run_observed_batch(&self, context: &mut R::Context<'_>) -> ControlFlow<()> {
        let Some(observer) = self.observed.get().filter(|observer| !observer.is_over()) else {
            self.observe(None);
            return self.run_batch(context);
        };
        let batch = self.ready.len();
        self.observed.begin_batch(&*observer, batch);
        self.within_batch(batch, context, |context| self.run_left_observed(&*observer, context))
    }

    fn run_left_observed(&self, observer: &dyn Observer<R>, context: &mut R::Context<'_>) -> ControlFlow<()> {
        while let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            let Some(runnable) = self.ready.pop() else { break };
            let number = self.observed.next();
            if runnable.is_cancelled() {
                continue;
            }
            observer.begins(number, &runnable);
            let flow = runnable.run(context);
            observer.ended(number, self.observed.queued(self.ready.len()));
            flow?;
        }
        ControlFlow::Continue(())
    }
}

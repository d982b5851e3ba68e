//! A rate limiter: so many acquisitions a second, and so many at once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aioxide_pyo3::{into_awaitable, sleep};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Lets `per_second` acquisitions through, evenly, after `burst` that need not wait.
#[pyclass(unsendable)]
pub(crate) struct RateLimiter {
    schedule: Rc<Schedule>,
}

/// Each acquisition has a time of its own, one interval after that of the one before; some may come early.
struct Schedule {
    interval: Duration,
    early: Duration,
    next: Cell<Instant>,
}

#[pymethods]
impl RateLimiter {
    #[new]
    #[pyo3(signature = (per_second, burst = 1))]
    fn new(per_second: f64, burst: u32) -> PyResult<Self> {
        if !(per_second > 0.0 && per_second.is_finite()) || burst == 0 {
            return Err(PyValueError::new_err("per_second and burst must be positive"));
        }
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let schedule = Schedule { interval, early: interval * (burst - 1), next: Cell::new(now()) };
        Ok(Self { schedule: Rc::new(schedule) })
    }

    /// `await limiter.acquire()` waits for its turn. Who is cancelled meanwhile leaves its turn to who comes next.
    fn acquire<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let schedule = Rc::clone(&self.schedule);
        into_awaitable(py, async move {
            let turn = Turn::take(schedule);
            sleep(turn.wait).await;
            turn.keep();
            Ok(())
        })
    }
}

/// A place in the schedule, given back unless it is kept.
struct Turn {
    schedule: Rc<Schedule>,
    wait: Duration,
    kept: bool,
}

impl Turn {
    fn take(schedule: Rc<Schedule>) -> Self {
        let now = now();
        // Times that nobody wanted are gone.
        let due = schedule.next.get().max(now);
        schedule.next.set(due + schedule.interval);
        let wait = (due - now).saturating_sub(schedule.early);
        Self { schedule, wait, kept: false }
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.kept {
            // The task was cancelled: that is all there is to do about it.
            self.schedule.next.set(self.schedule.next.get() - self.schedule.interval);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an extension has no loop's clock, which is the same one")]
fn now() -> Instant {
    Instant::now()
}

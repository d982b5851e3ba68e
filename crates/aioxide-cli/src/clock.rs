//! The program's one look at the clock, for the times it tells people.

use std::time::{Duration, Instant};

/// Runs from its making.
///
/// It is not the loop's clock: the blocking varieties of the demo have no loop, and nothing waits by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    pub(crate) fn start() -> Self {
        Stopwatch(now())
    }

    /// The time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// What the clock says.
pub(crate) fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "times told to people, and when to look next; see `Stopwatch`"
    )]
    Instant::now()
}

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
        #[expect(clippy::disallowed_methods, reason = "times told to people; see the type")]
        let now = Instant::now();
        Stopwatch(now)
    }

    /// The time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

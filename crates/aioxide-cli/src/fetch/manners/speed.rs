//! Whether a body comes fast enough: `--min-speed`.

use std::time::Duration;

use aioxide::time::{Instant, timeout_at};

use super::retry::Retry;
use crate::fetch::report::{Failed, Outcome};

/// Watches that a body comes fast enough: by the time that it is waited for, and not by what the disk or --limit-rate take.
#[derive(Debug)]
pub(crate) struct Speed {
    least: u64,
    over: Duration,
    waited: Duration,
    bytes: u64,
}

impl Speed {
    /// Nothing has been waited for.
    pub(crate) fn new(least: u64, over: Duration) -> Self {
        Speed { least, over, waited: Duration::ZERO, bytes: 0 }
    }

    /// Waits for a piece; `None` when it is time to look at what came.
    pub(crate) async fn watch<T>(&mut self, piece: impl Future<Output = T>) -> Option<T> {
        let since = Instant::now();
        let result = timeout_at(Some(since + self.over.saturating_sub(self.waited)), piece).await;
        self.waited += since.elapsed();
        result.ok()
    }

    /// Counts bytes that came; says if they were too few.
    pub(crate) fn too_slow(&mut self, bytes: usize) -> Option<Failed> {
        self.bytes += bytes as u64;
        if self.waited < self.over {
            return None;
        }
        let rate = (self.bytes as f64 / self.waited.as_secs_f64()) as u64;
        let told = (rate < self.least).then(|| self.told(rate));
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        told
    }

    fn told(&self, rate: u64) -> Failed {
        let told = format!(
            "{rate} bytes per second for {:.0} s, fewer than {}",
            self.waited.as_secs_f64(),
            self.least
        );
        Failed::new(Outcome::Timeout, told).worth(Retry::Worthwhile)
    }
}

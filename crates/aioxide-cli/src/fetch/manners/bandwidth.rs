//! How many bytes per second a run receives at most.

use std::cell::Cell;
use std::time::Duration;

use aioxide::time::{Instant, sleep_until};

/// A limit that all downloads share: who has received more than its share waits before it receives on.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    bytes_per_second: u64,
    /// When what has come so far would have come at the limit.
    paid_until: Cell<Option<Instant>>,
}

/// A pause that was not used is made up for, but not more than this.
const BURST: Duration = Duration::from_millis(100);

impl Bandwidth {
    /// Nothing has come.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Bandwidth { bytes_per_second: bytes_per_second.max(1), paid_until: Cell::new(None) }
    }

    /// Waits until bytes that have come are within the limit.
    ///
    /// # Cancel safety
    /// They are counted when it is called first.
    pub(crate) async fn received(&self, bytes: usize) {
        let now = Instant::now();
        let time = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let until = self.paid_until.get().map_or(now, |until| until.max(now)) + time;
        self.paid_until.set(Some(until));
        if until.duration_since(now) > BURST {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_together_stay_within_the_limit() {
        let runtime = aioxide::Runtime::builder().virtual_clock(true).build().unwrap();
        let took = runtime.block_on(async {
            let bandwidth = std::rc::Rc::new(Bandwidth::new(1000));
            let begin = Instant::now();
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let bandwidth = std::rc::Rc::clone(&bandwidth);
                    aioxide::spawn(async move {
                        for _ in 0..50 {
                            bandwidth.received(100).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            begin.elapsed()
        });
        assert_eq!(took.unwrap(), Duration::from_secs(20));
    }
}

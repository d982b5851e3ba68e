//! How fast a run goes, and how long it will still take.

use std::collections::VecDeque;
use std::time::Duration;

/// Looks at the last seconds: what was long ago says little about what comes, and a run that stands still shows it.
#[derive(Debug)]
pub(crate) struct Meter(VecDeque<Sample>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    bytes: u64,
    share: f64,
}

/// How far back it looks.
const WINDOW: Duration = Duration::from_secs(10);

impl Meter {
    /// At the start nothing has come.
    pub(crate) fn new() -> Self {
        Meter(VecDeque::from([Sample { at: Duration::ZERO, bytes: 0, share: 0.0 }]))
    }

    /// Takes note of how far the run has come; `share` is between 0 and 1.
    pub(crate) fn note(&mut self, at: Duration, bytes: u64, share: f64) {
        self.0.push_back(Sample { at, bytes, share });
        while self.0.len() > 2 && self.0[1].at + WINDOW < at {
            self.0.pop_front();
        }
    }

    /// Bytes per second.
    pub(crate) fn rate(&self) -> u64 {
        let (first, last) = self.ends();
        ((last.bytes - first.bytes) as f64 / (last.at - first.at).as_secs_f64().max(1e-3)) as u64
    }

    /// The time until all is done, in whole seconds and at least one; `None` while nothing gets on.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let (first, last) = self.ends();
        let pace = (last.share - first.share) / (last.at - first.at).as_secs_f64();
        let seconds = ((1.0 - last.share) / pace).ceil();
        (pace > 0.0 && seconds < 1e9).then(|| Duration::from_secs(seconds.max(1.0) as u64))
    }

    fn ends(&self) -> (Sample, Sample) {
        let nothing = Sample { at: Duration::ZERO, bytes: 0, share: 0.0 };
        (self.0.front().copied().unwrap_or(nothing), self.0.back().copied().unwrap_or(nothing))
    }
}

/// `9s`, `3m 09s`, `2h 03m`.
pub(crate) fn spoken(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn steady_run_ends_when_it_says() {
        let mut meter = Meter::new();
        assert_eq!(meter.time_left(), None);
        for second in 1..=15 {
            meter.note(at(f64::from(second)), second as u64 * 1000, f64::from(second) / 20.0);
        }
        assert_eq!(meter.rate(), 1000);
        assert_eq!(meter.time_left(), Some(at(5.0)));
    }

    #[test]
    fn run_that_stands_still_has_no_rate_and_no_end() {
        let mut meter = Meter::new();
        for tenth in 1..=200 {
            meter.note(at(f64::from(tenth) / 10.0), 5000, 0.5);
        }
        assert_eq!((meter.rate(), meter.time_left()), (0, None));
        assert!(meter.0.len() < 110, "it forgets");
    }

    #[test]
    fn last_moment_is_a_second_and_never_none() {
        let mut meter = Meter::new();
        meter.note(at(2.0), 999, 0.999);
        assert_eq!(meter.time_left(), Some(at(1.0)));
    }

    #[test]
    fn durations_are_short_to_read() {
        let all = [1, 59, 60, 189, 3600, 7380].map(|seconds| spoken(Duration::from_secs(seconds)));
        assert_eq!(all, ["1s", "59s", "1m 00s", "3m 09s", "1h 00m", "2h 03m"]);
    }
}

//! How far one download has come, and its account at the end.

use std::cell::Cell;

use super::failure::Failed;
use super::record::{Outcome, Record};
use crate::clock::Stopwatch;
use crate::fetch::input::Entry;

/// A whole download in the unit in which shares of it are counted.
pub(crate) const WHOLE: u64 = 1_000_000;

/// How far a download has come; readable after it was cancelled.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// `None`: it never started.
    started: Cell<Option<Stopwatch>>,
    pub(crate) status: Cell<Option<u16>>,
    /// The announced length of the body.
    pub(crate) length: Cell<Option<u64>>,
    bytes: Cell<u64>,
}

impl Progress {
    /// The download starts now.
    pub(crate) fn begin(&self) {
        self.started.set(Some(Stopwatch::start()));
    }

    /// Bytes of the body came; returns by how much its share has grown.
    pub(crate) fn add(&self, bytes: usize) -> u64 {
        let before = self.share();
        self.bytes.set(self.bytes.get() + bytes as u64);
        self.share() - before
    }

    /// Which share of the body has come, of [`WHOLE`]; 0 while the length is unknown.
    pub(crate) fn share(&self) -> u64 {
        let (bytes, length) = (u128::from(self.bytes.get()), self.length.get().unwrap_or(0));
        let share = (bytes * u128::from(WHOLE)).checked_div(u128::from(length)).unwrap_or(0);
        u64::try_from(share).map_or(WHOLE, |share| share.min(WHOLE))
    }

    /// The account of a download that has come to its end.
    pub(crate) fn record(&self, entry: Entry, result: Result<(Outcome, Option<String>), Failed>) -> Record {
        let (outcome, path, error) = match result {
            Ok((outcome, path)) => (outcome, path, None),
            Err(failed) => (failed.outcome, None, Some(failed.error)),
        };
        Record {
            line: entry.line,
            url: entry.text,
            outcome,
            status: self.status.get(),
            bytes: self.bytes.get(),
            path,
            seconds: self.started.get().map_or(0.0, |started| started.elapsed().as_secs_f64()),
            attempts: u32::from(self.started.get().is_some()),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_grows_to_the_whole_and_no_further() {
        let progress = Progress::default();
        assert_eq!(progress.add(100), 0);
        progress.length.set(Some(400));
        assert_eq!(progress.share(), WHOLE / 4);
        assert_eq!(progress.add(100), WHOLE / 4);
        assert_eq!(progress.add(1000), WHOLE / 2);
        progress.length.set(Some(0));
        assert_eq!(progress.share(), 0);
    }
}

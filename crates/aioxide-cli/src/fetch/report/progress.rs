//! How far one download has come, and its account at the end.

use std::cell::{Cell, RefCell};
use std::time::Duration;

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
    /// How much of it came, the last time that it was of no use.
    lost: Cell<u64>,
    pub(crate) attempts: Cell<u32>,
    /// Attempts since one that got on well: those count against the number of retries.
    pub(crate) in_a_row: Cell<u32>,
    /// How far the attempts that counted have come.
    pub(crate) best: Cell<u64>,
    /// Bytes that were there when an attempt went on from an earlier one.
    pub(crate) resumed: Cell<u64>,
    /// How often nothing, or too little, came for too long.
    pub(crate) stalls: Cell<u32>,
    /// The server does not keep its word about parts: the whole is asked for.
    pub(crate) whole_only: Cell<bool>,
    /// It is put together from several answers.
    pub(crate) in_ranges: Cell<bool>,
    /// How long the server took to begin its last answer.
    pub(crate) first_byte: Cell<Option<Duration>>,
    /// What the last answer said about itself.
    pub(crate) answer: RefCell<Told>,
}

/// What an answer says about itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Told {
    /// Where redirects led, if they led anywhere.
    pub(crate) final_url: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) encoding: Option<String>,
}

impl Progress {
    /// An attempt starts now.
    pub(crate) fn begin(&self) {
        if self.started.get().is_none() {
            self.started.set(Some(Stopwatch::start()));
        }
        self.attempts.set(self.attempts.get() + 1);
        self.in_a_row.set(self.in_a_row.get() + 1);
    }

    /// How long ago the first attempt started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.get().map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// How many bytes of the body came.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Only so many bytes of those that came count; returns by how much the share has shrunk.
    pub(crate) fn go_back_to(&self, bytes: u64) -> u64 {
        let before = self.share();
        let came = self.bytes.replace(bytes);
        if came > bytes {
            self.lost.set(came);
        }
        before.saturating_sub(self.share())
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

    /// The account of a download as it is now.
    pub(crate) fn record(&self, entry: &Entry, result: Result<(Outcome, Option<String>), Failed>) -> Record {
        let told = self.answer.borrow().clone();
        self.record_of(entry, entry.text.clone(), told, result)
    }

    /// The account of a download that has come to its end; it takes what it tells.
    pub(crate) fn last_record(
        &self,
        mut entry: Entry,
        result: Result<(Outcome, Option<String>), Failed>,
    ) -> Record {
        let text = std::mem::take(&mut entry.text);
        self.record_of(&entry, text, self.answer.take(), result)
    }

    fn record_of(
        &self,
        entry: &Entry,
        url: String,
        told: Told,
        result: Result<(Outcome, Option<String>), Failed>,
    ) -> Record {
        let (outcome, path, error) = match result {
            Ok((outcome, path)) => (outcome, path, None),
            Err(failed) => (failed.outcome, None, Some(failed.error)),
        };
        // Of what broke off it is told how far it came.
        let lost = if outcome.is_good() { 0 } else { self.lost.get() };
        Record {
            line: entry.line,
            url,
            outcome,
            status: self.status.get(),
            bytes: self.bytes.get().max(lost),
            path,
            seconds: self.elapsed().as_secs_f64(),
            attempts: self.attempts.get(),
            error,
            resumed: self.resumed.get(),
            stalls: self.stalls.get(),
            final_url: told.final_url,
            content_type: told.content_type,
            encoding: told.encoding,
            list: (!outcome.is_good()).then(|| entry.listed()).flatten(),
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

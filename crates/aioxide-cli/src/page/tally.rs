//! What a report tells in all, collected line by line; memory does not depend on its length.

use std::collections::{BTreeMap, HashMap};

use url::Url;

use crate::fetch::{Outcome, Record};

/// Sums over a report.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) good: u64,
    pub(crate) bytes: u64,
    pub(crate) resumed: u64,
    pub(crate) stalls: u64,
    pub(crate) retried: u64,
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    pub(crate) times: Times,
    hosts: HashMap<String, Host>,
    /// URLs whose host came when there was no room for another.
    pub(crate) of_other_hosts: u64,
    errors: HashMap<String, u64>,
    /// Lines that are no records.
    pub(crate) unreadable: u64,
}

/// One host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) count: u64,
    pub(crate) good: u64,
    pub(crate) bytes: u64,
    pub(crate) times: Times,
}

/// How many hosts are told apart.
const HOSTS: usize = 10_000;
/// How many errors are told apart, and how much of each.
const ERRORS: usize = 1000;
const ERROR_CHARACTERS: usize = 160;

impl Tally {
    /// Takes one line of a report.
    pub(crate) fn add(&mut self, line: &[u8]) {
        let Ok(record) = serde_json::from_slice::<Record>(line) else {
            self.unreadable += 1;
            return;
        };
        self.add_record(&record);
    }

    /// Takes what became of a URL.
    pub(crate) fn add_record(&mut self, record: &Record) {
        let good = u64::from(record.outcome.is_good());
        self.count += 1;
        self.good += good;
        self.bytes = self.bytes.saturating_add(record.bytes);
        self.resumed = self.resumed.saturating_add(record.resumed);
        self.stalls += u64::from(record.stalls);
        self.retried += u64::from(record.attempts > 1);
        *self.outcomes.entry(record.outcome).or_default() += 1;
        // What never started took no time.
        let seconds = (record.attempts > 0).then_some(record.seconds);
        self.times.add(seconds);
        let host = Url::parse(&record.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let host = host.unwrap_or_else(|| "(no host)".to_owned());
        if self.hosts.len() < HOSTS || self.hosts.contains_key(&host) {
            let host = self.hosts.entry(host).or_default();
            host.count += 1;
            host.good += good;
            host.bytes = host.bytes.saturating_add(record.bytes);
            host.times.add(seconds);
        } else {
            self.of_other_hosts += 1;
        }
        if let Some(error) = &record.error {
            let error: String = error.chars().take(ERROR_CHARACTERS).collect();
            if self.errors.len() < ERRORS || self.errors.contains_key(&error) {
                *self.errors.entry(error).or_default() += 1;
            }
        }
    }

    /// The hosts, those with the most failures first, and of those with none the slowest.
    pub(crate) fn hosts(&self) -> Vec<(&str, &Host)> {
        let mut hosts: Vec<_> = self.hosts.iter().map(|(name, host)| (name.as_str(), host)).collect();
        hosts.sort_by(|(one, a), (other, b)| {
            let worse = |host: &Host| (host.count - host.good, host.times.slot_at(0.5));
            worse(b).cmp(&worse(a)).then(one.cmp(other))
        });
        hosts
    }

    /// The errors, the most frequent first.
    pub(crate) fn errors(&self) -> Vec<(&str, u64)> {
        let mut errors: Vec<_> = self.errors.iter().map(|(error, count)| (error.as_str(), *count)).collect();
        errors.sort_by(|(one, a), (other, b)| b.cmp(a).then(one.cmp(other)));
        errors
    }
}

/// How long downloads took: counts by length, in slots that are a quarter of a doubling wide.
#[derive(Debug, Default)]
pub(crate) struct Times {
    slots: Vec<u64>,
    count: u64,
}

/// Slots to a doubling, and where the first one ends.
const PER_DOUBLING: f64 = 4.0;
const FIRST_SECONDS: f64 = 0.001;
const SLOTS: usize = 100;

impl Times {
    fn add(&mut self, seconds: Option<f64>) {
        let Some(seconds) = seconds else { return };
        let slot = ((seconds / FIRST_SECONDS).max(1.0).log2() * PER_DOUBLING) as usize;
        let slot = slot.min(SLOTS - 1);
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += 1;
        self.count += 1;
    }

    fn slot_at(&self, share: f64) -> usize {
        let mut left = (self.count as f64 * share).ceil().max(1.0) as u64;
        for (slot, count) in self.slots.iter().enumerate() {
            if left <= *count {
                return slot;
            }
            left -= count;
        }
        0
    }

    /// The time that this share of the downloads stayed within, to a fifth; `None` without any.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        (self.count > 0).then(|| end_of(self.slot_at(share)))
    }

    /// Counts by doublings: where each ends, in seconds, and how many there are.
    pub(crate) fn doublings(&self) -> Vec<(f64, u64)> {
        let chunks = self.slots.chunks(PER_DOUBLING as usize).enumerate();
        chunks
            .map(|(place, slots)| (end_of((place + 1) * PER_DOUBLING as usize - 1), slots.iter().sum()))
            .skip_while(|(_, count)| *count == 0)
            .collect()
    }
}

fn end_of(slot: usize) -> f64 {
    FIRST_SECONDS * ((slot + 1) as f64 / PER_DOUBLING).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_the_truth() {
        let mut times = Times::default();
        assert_eq!(times.quantile(0.5), None);
        (1..=1000).for_each(|number| times.add(Some(f64::from(number) / 100.0)));
        for (share, truth) in [(0.5, 5.0), (0.95, 9.5), (1.0, 10.0)] {
            let quantile = times.quantile(share).unwrap();
            assert!((truth..truth * 1.2).contains(&quantile), "{share}: {quantile}");
        }
        assert_eq!(times.doublings().iter().map(|(_, count)| count).sum::<u64>(), 1000);
    }

    #[test]
    fn what_never_started_and_what_is_no_record_is_told_apart() {
        let mut tally = Tally::default();
        for line in [
            r#"{"line":1,"url":"http://a/","outcome":"ok","status":200,"bytes":5,"path":null,"seconds":1,"attempts":1,"error":null}"#,
            r#"{"line":2,"url":"http://b/","outcome":"cancelled","status":null,"bytes":0,"path":null,"seconds":0,"attempts":0,"error":"x"}"#,
            "nonsense",
        ] {
            tally.add(line.as_bytes());
        }
        assert_eq!((tally.count, tally.good, tally.unreadable, tally.times.count), (2, 1, 1, 1));
        assert_eq!(tally.hosts()[0].0, "b", "failures first");
        assert_eq!(tally.errors(), [("x", 1)]);
    }
}

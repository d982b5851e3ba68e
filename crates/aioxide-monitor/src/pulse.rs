//! A watchdog's heartbeats of one loop, and how often it may tell of a place.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;
use crate::schema::{Collector, Id, LAG_BOUNDS_US, Lag};

/// Places of which it is remembered when they were told.
pub const PLACES: usize = 256;

/// The heartbeats of one loop: who asks and the loop that answers are on two threads.
#[derive(Debug)]
pub struct Pulse {
    loop_id: Id,
    began: Instant,
    /// When the one under way was sent, in nanoseconds after `began`; 0: none is.
    sent: AtomicU64,
    last_us: AtomicU64,
    longest_us: AtomicU64,
    beats: AtomicU64,
    blocked: AtomicU64,
    histogram: [AtomicU64; LAG_BOUNDS_US.len() + 1],
}

impl Pulse {
    /// A loop of which no heartbeat is known.
    #[must_use]
    pub fn new(loop_id: Id) -> Self {
        Self {
            loop_id,
            began: clock::now(),
            sent: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            histogram: Default::default(),
        }
    }

    /// Whose heartbeats these are.
    #[must_use]
    pub fn loop_id(&self) -> Id {
        self.loop_id
    }

    /// One goes out.
    pub fn send(&self) {
        self.sent.store((self.began.elapsed().as_nanos() as u64).max(1), Ordering::SeqCst);
    }

    /// The one under way will not be answered: the loop does not run any more.
    pub fn give_up(&self) {
        self.sent.store(0, Ordering::SeqCst);
    }

    /// How long the one under way has been waiting.
    #[must_use]
    pub fn waits(&self) -> Option<Duration> {
        match self.sent.load(Ordering::SeqCst) {
            0 => None,
            sent => Some(self.began.elapsed().saturating_sub(Duration::from_nanos(sent))),
        }
    }

    /// The loop answers.
    pub fn answer(&self) {
        let Some(waited) = self.waits() else { return };
        let us = waited.as_micros() as u64;
        self.sent.store(0, Ordering::SeqCst);
        self.last_us.store(us, Ordering::Relaxed);
        self.longest_us.fetch_max(us, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
        let place = LAG_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(LAG_BOUNDS_US.len());
        self.histogram[place].fetch_add(1, Ordering::Relaxed);
    }

    /// A step was longer than the watchdog's limit.
    pub fn count_blocked(&self) {
        self.blocked.fetch_add(1, Ordering::Relaxed);
    }

    /// How long the last one that was answered has waited.
    #[must_use]
    pub fn last(&self) -> Duration {
        Duration::from_micros(self.last_us.load(Ordering::Relaxed))
    }

    /// All that is known.
    #[must_use]
    pub fn lag(&self) -> Lag {
        Lag {
            loop_id: self.loop_id,
            last_us: self.last_us.load(Ordering::Relaxed),
            longest_us: self.longest_us.load(Ordering::Relaxed),
            waiting_us: self.waits().map_or(0, |waited| waited.as_micros() as u64),
            beats: self.beats.load(Ordering::Relaxed),
            histogram: self.histogram.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            blocked: self.blocked.load(Ordering::Relaxed),
            collector: None,
        }
    }
}

/// What a garbage collector takes: told by who collects, read by any thread.
#[derive(Debug)]
pub struct Collections {
    began: Instant,
    /// When it began to collect, in nanoseconds after `began`; 0: it does not.
    since: AtomicU64,
    total: AtomicU64,
    longest: AtomicU64,
    count: AtomicU64,
}

impl Default for Collections {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { began: clock::now(), since: zero(), total: zero(), longest: zero(), count: zero() }
    }
}

impl Collections {
    fn now(&self) -> u64 {
        (self.began.elapsed().as_nanos() as u64).max(1)
    }

    /// A collection begins.
    pub fn begin(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// It has ended.
    pub fn end(&self) {
        let since = self.since.swap(0, Ordering::Relaxed);
        if since > 0 {
            let took = self.now().saturating_sub(since);
            self.total.fetch_add(took, Ordering::Relaxed);
            self.longest.fetch_max(took, Ordering::Relaxed);
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn running(&self) -> u64 {
        match self.since.load(Ordering::Relaxed) {
            0 => 0,
            since => self.now().saturating_sub(since).max(1_000),
        }
    }

    /// All the time that it took so far.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total.load(Ordering::Relaxed) + self.running())
    }

    /// The same in numbers.
    #[must_use]
    pub fn collector(&self) -> Collector {
        Collector {
            collections: self.count.load(Ordering::Relaxed),
            total_us: self.total.load(Ordering::Relaxed) / 1_000,
            longest_us: self.longest.load(Ordering::Relaxed) / 1_000,
            running_us: self.running() / 1_000,
        }
    }
}

/// Lets each place be told of once in a while.
#[derive(Debug)]
pub struct Places<P> {
    every: Duration,
    /// When a place was told of last, and how often it was not since.
    told: HashMap<P, (Instant, u64)>,
}

impl<P: Eq + Hash> Places<P> {
    /// Each place once in `every`.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self { every, told: HashMap::new() }
    }

    /// Whether a place may be told of again; with how often it was not.
    pub fn admit(&mut self, place: P) -> Option<u64> {
        let now = clock::now();
        if let Some((last, suppressed)) = self.told.get_mut(&place) {
            if now - *last < self.every {
                *suppressed += 1;
                return None;
            }
            *last = now;
            return Some(std::mem::take(suppressed));
        }
        if self.told.len() >= PLACES {
            self.told.clear();
        }
        self.told.insert(place, (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_counts_once_and_in_its_class() {
        let pulse = Pulse::new(7);
        pulse.answer();
        assert_eq!((pulse.lag().beats, pulse.waits()), (0, None));
        pulse.send();
        assert!(pulse.waits().is_some());
        pulse.answer();
        pulse.answer();
        pulse.send();
        pulse.give_up();
        pulse.count_blocked();
        let lag = pulse.lag();
        assert_eq!((lag.loop_id, lag.beats, lag.waiting_us, lag.blocked), (7, 1, 0, 1));
        assert_eq!(lag.histogram.iter().sum::<u64>(), 1);
        assert_eq!(pulse.last().as_micros() as u64, lag.longest_us);
    }

    #[test]
    fn collections_are_counted_and_one_under_way_is_known() {
        let collections = Collections::default();
        collections.end();
        assert_eq!(collections.collector(), Collector::default());
        collections.begin();
        assert!(collections.collector().running_us > 0 && collections.total() > Duration::ZERO);
        collections.end();
        let told = collections.collector();
        assert_eq!((told.collections, told.running_us, told.longest_us), (1, 0, told.total_us));
    }

    #[test]
    fn place_is_told_once_in_a_while_and_places_do_not_pile_up() {
        let mut places = Places::new(Duration::from_secs(1000));
        assert_eq!((places.admit(0), places.admit(0), places.admit(1)), (Some(0), None, Some(0)));
        for place in 2..PLACES + 10 {
            assert_eq!(places.admit(place), Some(0));
        }
        assert!(places.told.len() <= PLACES);
        let mut always = Places::new(Duration::ZERO);
        assert_eq!((always.admit("a"), always.admit("a")), (Some(0), Some(0)));
    }
}

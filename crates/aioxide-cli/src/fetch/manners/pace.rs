//! How many downloads at a time are good for a host, found out as they go (`-j auto`).
//!
//! More at a time is better as long as more comes of it: more answers per second. From a server that works on all of them at once
//! it does, from one that lets them stand in a row it does not. So rounds are compared, each of a few more answers than may be
//! under way:
//!
//! ```text
//!   growing:  half as many more in each round ──> no more came of it: back to the round before, steady
//!   steady:   answers take twice as long as they did ──> a quarter fewer
//!             ten rounds without ──> growing, to see whether there is more room now
//!   refused (429, 503, no connection, a stall) ──> half, steady
//! ```

use std::time::Duration;

/// What is known of one host.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: u32,
    most: u32,
    /// Attempts that started under another limit tell nothing of this one.
    epoch: u32,
    /// How long answers took in this round, and when the first one came.
    times: Vec<Duration>,
    began: Duration,
    /// Something had to wait for this host in this round, so the limit was felt.
    is_felt: bool,
    state: State,
    /// How long answers took when they did not take too long.
    usual: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// With the limit of the last round, and what came of it.
    Growing(Option<(u32, f64)>),
    /// For so many rounds.
    Steady(u32),
}

/// What an attempt tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The head of the answer came after so long.
    Answer(Duration),
    /// The host had enough.
    Refusal,
    Nothing,
}

/// A host that nothing is known of.
const FIRST: u32 = 4;
/// No host is asked for more at a time, unless `--per-host` says so.
const MOST: u32 = 256;
/// A round has so many answers more than the limit.
const MORE: usize = 8;
/// So much more must come of half as many more.
const GAIN: f64 = 1.15;
/// Answers that take this many times what is usual.
const SLOW: f64 = 2.0;
/// Less than that is no slowness, whatever is usual.
const NOTICED: Duration = Duration::from_millis(20);
/// After so many rounds it is tried whether there is more room.
const PATIENCE: u32 = 10;

impl Pace {
    /// Nothing is known.
    pub(crate) fn new(most: Option<u32>) -> Self {
        let most = most.unwrap_or(MOST);
        Pace {
            limit: FIRST.min(most),
            most,
            epoch: 0,
            times: Vec::new(),
            began: Duration::ZERO,
            is_felt: false,
            state: State::Growing(None),
            usual: None,
        }
    }

    /// How many may be under way now.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Tells which limit an attempt starts under.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Something has to wait.
    pub(crate) fn is_felt(&mut self) {
        self.is_felt = true;
    }

    /// An attempt has ended `now` that started in that epoch.
    pub(crate) fn seen(&mut self, epoch: u32, seen: Seen, now: Duration) {
        match seen {
            _ if epoch != self.epoch => {}
            Seen::Nothing => {}
            Seen::Refusal => {
                self.state = State::Steady(0);
                self.set(self.limit / 2);
            }
            Seen::Answer(time) => {
                if self.times.is_empty() {
                    self.began = now;
                }
                self.times.push(time);
                if self.times.len() > self.limit as usize + MORE {
                    self.end_round(now);
                }
            }
        }
    }

    fn end_round(&mut self, now: Duration) {
        let answers = self.times.len() - 1;
        self.times.sort_unstable();
        let middle = self.times[self.times.len() / 2];
        let is_felt = std::mem::take(&mut self.is_felt);
        self.times.clear();
        if !is_felt {
            // Nothing can be told of a limit that nobody has met.
            return;
        }
        let outcome = answers as f64 / now.saturating_sub(self.began).as_secs_f64().max(1e-6);
        match self.state {
            State::Growing(Some((before, less))) if outcome < less * GAIN => {
                self.state = State::Steady(0);
                self.set(before);
            }
            State::Growing(_) if self.limit == self.most => self.state = State::Steady(0),
            State::Growing(_) => {
                self.usual = Some(middle);
                self.state = State::Growing(Some((self.limit, outcome)));
                self.set(self.limit + self.limit / 2 + 1);
            }
            State::Steady(rounds) => {
                let usual = *self.usual.get_or_insert(middle);
                if middle > usual.mul_f64(SLOW).max(usual + NOTICED) {
                    self.state = State::Steady(0);
                    // One at a time cannot be less: then this is what is usual now.
                    self.usual = if self.limit == 1 { Some(middle) } else { self.usual };
                    self.set(self.limit - self.limit.div_ceil(4));
                } else if rounds + 1 >= PATIENCE {
                    self.usual = Some(middle);
                    self.state = State::Growing(Some((self.limit, outcome)));
                    self.set(self.limit + self.limit / 2 + 1);
                } else {
                    self.state = State::Steady(rounds + 1);
                }
            }
        }
    }

    fn set(&mut self, limit: u32) {
        self.limit = limit.clamp(1, self.most);
        self.epoch += 1;
        self.times.clear();
        self.is_felt = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds with a server whose answers take that long when so many are under way; returns the last limits.
    fn run(pace: &mut Pace, rounds: usize, takes: impl Fn(u32) -> Seen) -> Vec<u32> {
        let (mut limits, mut now) = (Vec::new(), Duration::ZERO);
        for _ in 0..rounds {
            let (limit, epoch) = (pace.limit(), pace.epoch());
            for _ in 0..=limit as usize + MORE {
                pace.is_felt();
                let seen = takes(limit);
                if let Seen::Answer(time) = seen {
                    now += time / limit;
                }
                pace.seen(epoch, seen, now);
            }
            limits.push(pace.limit());
        }
        limits
    }

    fn answer(milliseconds: f64) -> Seen {
        Seen::Answer(Duration::from_secs_f64(milliseconds / 1000.0))
    }

    #[test]
    fn server_that_has_room_is_given_more_and_more() {
        let mut pace = Pace::new(None);
        let limits = run(&mut pace, 12, |_| answer(50.0));
        assert_eq!(limits[..4], [7, 11, 17, 26]);
        assert_eq!(*limits.last().unwrap(), MOST);
        let mut bounded = Pace::new(Some(10));
        assert!(run(&mut bounded, 50, |_| answer(50.0)).iter().all(|limit| *limit <= 10));
        assert_eq!(bounded.limit(), 10);
    }

    #[test]
    fn row_in_which_all_wait_is_not_made_longer() {
        // It works on ten at a time.
        let mut pace = Pace::new(None);
        let limits = run(&mut pace, 100, |limit| answer(50.0 * f64::from(limit.max(10)) / 10.0));
        assert!(limits[10..].iter().all(|limit| (7..=27).contains(limit)), "{limits:?}");
    }

    #[test]
    fn host_that_refuses_is_asked_for_half_and_only_once_for_each_round() {
        let mut pace = Pace::new(None);
        run(&mut pace, 5, |_| answer(50.0));
        let (limit, epoch) = (pace.limit(), pace.epoch());
        for _ in 0..20 {
            pace.seen(epoch, Seen::Refusal, Duration::ZERO);
        }
        assert_eq!(pace.limit(), limit / 2);
        for _ in 0..10 {
            pace.seen(pace.epoch(), Seen::Refusal, Duration::ZERO);
        }
        assert_eq!(pace.limit(), 1);
        assert!(*run(&mut pace, 200, |_| answer(50.0)).last().unwrap() > 20, "it is forgiven");
    }

    #[test]
    fn host_that_becomes_slow_is_asked_for_less() {
        let mut pace = Pace::new(Some(20));
        run(&mut pace, 12, |_| answer(50.0));
        assert_eq!(pace.limit(), 20);
        run(&mut pace, 3, |_| answer(500.0));
        assert!(pace.limit() < 10, "{}", pace.limit());
        // Of the same slowness however little is asked: it is how it is now.
        assert!(*run(&mut pace, 200, |_| answer(500.0)).last().unwrap() > 10);
    }

    #[test]
    fn limit_that_is_not_felt_stays() {
        let mut pace = Pace::new(None);
        for _ in 0..1000 {
            pace.seen(pace.epoch(), answer(1.0), Duration::ZERO);
        }
        assert_eq!(pace.limit(), FIRST);
    }
}

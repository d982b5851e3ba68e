//! What is measured of a loop: how late it answers, how long its entries run, what the garbage collector takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Id;

/// How late a loop answers a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lag {
    /// The loop.
    pub loop_id: Id,
    /// Of the last heartbeat that was answered.
    pub last_us: u64,
    /// The longest since the monitor was started.
    pub longest_us: u64,
    /// How long the heartbeat that is under way has been waiting; 0 when none is.
    pub waiting_us: u64,
    /// Heartbeats that were answered.
    pub beats: u64,
    /// How many of them took at most `LAG_BOUNDS_US[i]`; the last one counts those above.
    pub histogram: Vec<u64>,
    /// Steps that were longer than the watchdog's limit.
    pub blocked: u64,
    /// What the garbage collector took of the program, all loops together; where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector: Option<Collector>,
}

/// How long the entries of a loop ran: callbacks, steps, events. They are counted from the first question over the socket on, until
/// [`MEASURED`] after the last, and not while a timeline is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Durations {
    /// Entries that ran.
    pub runs: u64,
    /// All of them together.
    pub total_us: u64,
    /// The longest.
    pub longest_us: u64,
    /// How many of them took at most `RUN_BOUNDS_US[i]`; the last one counts those above.
    pub histogram: Vec<u64>,
}

impl From<aioxide_core::observer::Durations> for Durations {
    fn from(found: aioxide_core::observer::Durations) -> Self {
        let (total_us, longest_us) = (found.total_ns / 1_000, found.longest_ns / 1_000);
        Self { runs: found.runs, total_us, longest_us, histogram: found.histogram }
    }
}

/// So long after the last question the [`Durations`] are counted.
pub const MEASURED: Duration = Duration::from_secs(120);

/// The upper bounds of how long entries run, in microseconds; the last count is of what took longer.
pub const RUN_BOUNDS_US: [u64; 11] =
    [1, 10, 100, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// The same in nanoseconds.
pub const RUN_BOUNDS_NS: [u64; RUN_BOUNDS_US.len()] = {
    let mut bounds = RUN_BOUNDS_US;
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] *= 1_000;
        place += 1;
    }
    bounds
};

/// What the garbage collector took, since the watchdog was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Collector {
    /// Collections that have ended.
    pub collections: u64,
    /// All of them together.
    pub total_us: u64,
    /// The longest.
    pub longest_us: u64,
    /// How long the one that is under way has been; 0 when none is.
    pub running_us: u64,
}

/// The upper bounds of [`Lag::histogram`], in microseconds.
pub const LAG_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000];

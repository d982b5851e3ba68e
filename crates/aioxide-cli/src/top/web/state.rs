//! What the page is answered from: the latest sample, and figures of the last minutes.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aioxide_monitor::schema::Id;
use aioxide_monitor::timeline::Timeline;
use serde::Serialize;

use crate::top::poller::News;
use crate::top::sample::{Blocked, Sample, WasBlocked, worst_us};

/// Looks whose figures are kept: a quarter of an hour at one a second.
const POINTS: usize = 900;

/// What the poller tells and the page asks for.
pub(super) struct Shared {
    /// The program's socket.
    pub(super) path: PathBuf,
    known: Mutex<Known>,
}

/// What is known now.
#[derive(Default)]
pub(super) struct Known {
    pub(super) sample: Option<Arc<Sample>>,
    pub(super) blocked: Vec<Blocked>,
    pub(super) was_blocked: Option<WasBlocked>,
    /// Since the last look.
    worst_lag_us: Option<u64>,
    pub(super) trouble: Option<String>,
    pub(super) points: VecDeque<Point>,
    /// What was recorded last.
    pub(super) timeline: Option<Arc<Timeline>>,
    /// Steps of each task at the last look.
    steps: HashMap<Id, u64>,
}

/// Figures of one look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Point {
    /// In milliseconds since 1970.
    pub(super) at: u64,
    lag_us: Option<u64>,
    ready: Option<u64>,
    tasks: u64,
    /// Of the tasks that were there at this look and the one before, where they count them.
    steps_per_s: Option<f64>,
}

impl Shared {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the poller tells.
    pub(super) fn hear(&self, news: News) {
        let mut known = self.known();
        match news {
            News::Sample(sample) => known.add(sample),
            News::Pulse { lag, blocked } => {
                known.worst_lag_us = known.worst_lag_us.max(worst_us(&lag));
                WasBlocked::remember(&mut known.was_blocked, &blocked);
                known.blocked = blocked;
            }
            News::Trouble(trouble) => known.trouble = Some(trouble),
            News::Detail(_) | News::History(_) | News::Said(_) | News::Ended => {}
        }
    }
}

impl Known {
    fn add(&mut self, sample: Arc<Sample>) {
        let at = sample.snapshot.taken.at_unix_ms;
        let steps: HashMap<Id, u64> =
            sample.snapshot.tasks().filter_map(|(node, task)| Some((node.id, task.steps?))).collect();
        let run: u64 =
            steps.iter().filter_map(|(id, steps)| Some(steps.saturating_sub(*self.steps.get(id)?))).sum();
        let before =
            self.points.back().map(|point| point.at).filter(|before| at > *before && !steps.is_empty());
        let point = Point {
            at,
            lag_us: self.worst_lag_us.take().max(worst_us(&sample.lag)),
            ready: sample.sum(|one| one.ready),
            tasks: sample.count() as u64 + sample.snapshot.left_out,
            steps_per_s: before.map(|before| run as f64 * 1e3 / (at - before) as f64),
        };
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        self.points.push_back(point);
        self.steps = steps;
        self.trouble = None;
        self.sample = Some(sample);
    }
}

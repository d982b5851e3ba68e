//! What loops have run in a stretch of time, entry by entry; and what that comes to.
//!
//! ```json
//! {"program": {"pid": 4711, …}, "began_unix_ms": 1764470000000,
//!  "loops": [{"loop_id": 1, "length_ns": 1000000000, "left_out": 0, "spans": [
//!    {"number": 7, "queued_by": 3, "queued_ns": 500, "began_ns": 900, "ended_ns": 4200,
//!     "kind": "step", "name": "Task-7", "code": "handle_request", "task": 139872}]}]}
//! ```
//!
//! Times are nanoseconds after the recording began. `queued_by` is the number of the entry that queued this one while it
//! ran; it is left out for what came from elsewhere: a timer, a descriptor, another thread, or from before.

use std::collections::HashMap;

use aioxide_core::observer::{Recording, Span as Recorded};
use serde::{Deserialize, Serialize};

use crate::schema::{Id, Program, RUN_BOUNDS_US};

/// Runs of one recording.
pub const RUNS_LIMIT: usize = 200_000;

/// The longest recording, in milliseconds: one that nobody comes back for ends by itself.
pub const LENGTH_LIMIT_MS: u64 = 60_000;

/// A recording of all loops that were running.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeline {
    /// Whose it is.
    pub program: Program,
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// The loops.
    pub loops: Vec<LoopTimeline>,
}

/// What one loop has run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoopTimeline {
    /// The loop, as in a snapshot.
    pub loop_id: Id,
    /// How long it was recorded.
    pub length_ns: u64,
    /// Runs beyond [`RUNS_LIMIT`].
    pub left_out: u64,
    /// In the order in which they ended.
    pub spans: Vec<Span>,
}

/// One run of an entry of the ready queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Span {
    /// Its number; entries are counted in the order of the queue.
    pub number: u64,
    /// The number of who queued it, which may not be among the spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_by: Option<u64>,
    /// When it was queued.
    pub queued_ns: u64,
    /// When it began to run.
    pub began_ns: u64,
    /// When it had run.
    pub ended_ns: u64,
    /// `step`, `wake-up`, `throw`: of a task; `callback`, `event`, `timeout`, `transport`, `rust`, `drop`.
    pub kind: String,
    /// The task's name, or what was called.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The task's coroutine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The task, as in a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
}

impl Span {
    /// How long it ran.
    #[must_use]
    pub fn took_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.began_ns)
    }

    /// What it ran, for people: the coroutine, or what was called.
    #[must_use]
    pub fn what(&self) -> &str {
        [&self.code, &self.name, &self.kind]
            .into_iter()
            .find(|text| !text.is_empty())
            .map_or("", String::as_str)
    }
}

impl LoopTimeline {
    /// The timeline of a recording.
    #[must_use]
    pub fn new(loop_id: Id, recording: Recording) -> Self {
        let Recording { spans, left_out, began_ns, ended_ns } = recording;
        let since = |ns: u64| ns.saturating_sub(began_ns);
        let span = |span: Recorded| Span {
            number: span.number,
            queued_by: span.queued_by,
            queued_ns: since(span.queued_ns),
            began_ns: since(span.began_ns),
            ended_ns: since(span.ended_ns),
            kind: span.label.kind.to_owned(),
            name: span.label.name,
            code: span.label.code,
            task: (span.label.task != 0).then_some(span.label.task),
        };
        Self { loop_id, length_ns: since(ended_ns), left_out, spans: spans.into_iter().map(span).collect() }
    }

    /// How long the loop was busy with what was recorded.
    #[must_use]
    pub fn busy_ns(&self) -> u64 {
        // A loop that runs inside of an entry is part of that entry, which ends after it.
        let (mut busy, mut covered_from) = (0, u64::MAX);
        for span in self.spans.iter().rev() {
            busy += span.ended_ns.min(covered_from).saturating_sub(span.began_ns);
            covered_from = covered_from.min(span.began_ns);
        }
        busy
    }

    /// What each kind of run came to, by what was run; the one that took longest in all first.
    #[must_use]
    pub fn totals(&self) -> Vec<Totals> {
        let mut places: HashMap<(&str, &str), usize> = HashMap::new();
        let mut totals: Vec<Totals> = Vec::new();
        for span in &self.spans {
            let place = *places.entry((&span.kind, span.what())).or_insert_with(|| {
                let (kind, what) = (span.kind.clone(), span.what().to_owned());
                totals.push(Totals { kind, what, ..Totals::default() });
                totals.len() - 1
            });
            totals[place].add(span);
        }
        totals
            .sort_by(|one, other| other.total_ns.cmp(&one.total_ns).then_with(|| one.what.cmp(&other.what)));
        totals
    }
}

/// What the runs of one thing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The kind of run.
    pub kind: String,
    /// What was run.
    pub what: String,
    /// How often.
    pub count: u64,
    /// How long in all.
    pub total_ns: u64,
    /// How long at most.
    pub longest_ns: u64,
    /// How long they waited in the queue, in all.
    pub queued_ns: u64,
    /// How many took at most [`RUN_BOUNDS_US`], and at last how many longer.
    pub histogram: [u64; RUN_BOUNDS_US.len() + 1],
}

impl Totals {
    fn add(&mut self, span: &Span) {
        let took = span.took_ns();
        self.count += 1;
        self.total_ns += took;
        self.longest_ns = self.longest_ns.max(took);
        self.queued_ns += span.began_ns.saturating_sub(span.queued_ns);
        let place =
            RUN_BOUNDS_US.iter().position(|bound| took <= bound * 1_000).unwrap_or(RUN_BOUNDS_US.len());
        self.histogram[place] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(number: u64, began_ns: u64, ended_ns: u64, code: &str) -> Span {
        Span { number, began_ns, ended_ns, kind: "step".to_owned(), code: code.to_owned(), ..Span::default() }
    }

    #[test]
    fn what_runs_inside_is_not_busy_twice() {
        // 2 and 3 ran inside of 1.
        let spans =
            vec![span(0, 0, 10, "a"), span(2, 25, 30, "b"), span(3, 30, 34, "b"), span(1, 20, 40, "c")];
        let timeline = LoopTimeline { spans, ..LoopTimeline::default() };
        assert_eq!(timeline.busy_ns(), 30);
    }

    #[test]
    fn totals_are_by_what_was_run() {
        let spans =
            vec![span(0, 0, 1_000, "a"), span(1, 2_000, 2_000_000, "b"), span(2, 2_000_000, 2_003_000, "a")];
        let totals = LoopTimeline { spans, ..LoopTimeline::default() }.totals();
        let found: Vec<_> =
            totals.iter().map(|one| (one.what.as_str(), one.count, one.total_ns, one.longest_ns)).collect();
        assert_eq!(found, [("b", 1, 1_998_000, 1_998_000), ("a", 2, 4_000, 3_000)]);
        assert_eq!(totals[0].histogram[4], 1);
        assert_eq!(totals[1].histogram[..2], [1, 1]);
    }
}

//! The page's timeline: what the loops have run in a short time, and the same for Perfetto.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aioxide_monitor::chrome;
use aioxide_monitor::client::Client;
use aioxide_monitor::timeline::{LoopTimeline, Span, Timeline, Totals};
use serde_json::{Value, json};

use super::state::Shared;
use crate::top::trace;

/// Runs of a loop that the page draws; of more, the longest.
const RUNS: usize = 20_000;

/// The longest time that a page may ask for, in milliseconds.
const LONGEST_MS: u64 = 10_000;

/// Records, keeps that, and returns it for the page.
pub(super) fn record(ms: u64, shared: &Shared) -> Value {
    let length = Duration::from_millis(ms.clamp(1, LONGEST_MS));
    // A connection of its own: the poller's is busy.
    let recorded = Client::connect(&shared.path).and_then(|mut client| trace::record(&mut client, length));
    match recorded {
        Ok(timeline) => {
            let timeline: Arc<Timeline> = Arc::from(timeline);
            shared.known().timeline = Some(Arc::clone(&timeline));
            json!({ "loops": timeline.loops.iter().map(told).collect::<Vec<_>>() })
        }
        Err(error) => json!({ "trouble": error.to_string() }),
    }
}

/// What was recorded last, in Chrome's format.
pub(super) fn trace(shared: &Shared) -> Option<String> {
    let timeline = shared.known().timeline.clone()?;
    let mut text = Vec::new();
    chrome::write(&timeline, &mut text).ok()?;
    String::from_utf8(text).ok()
}

fn told(one: &LoopTimeline) -> Value {
    let mut places: Vec<usize> = (0..one.spans.len()).collect();
    if places.len() > RUNS {
        places.sort_by_key(|place| std::cmp::Reverse(one.spans[*place].took_ns()));
        places.truncate(RUNS);
        places.sort_unstable();
    }
    let (mut tracks, mut texts) = (Numbers::default(), Numbers::default());
    let spans: Vec<Value> = places
        .into_iter()
        .map(|place| {
            let span = &one.spans[place];
            let track = tracks.of(track(span));
            let text = texts.of(span.what().to_owned());
            json!([
                track,
                span.began_ns / 1_000,
                span.took_ns() as f64 / 1e3,
                text,
                span.number,
                span.queued_by,
                span.began_ns.saturating_sub(span.queued_ns) / 1_000,
            ])
        })
        .collect();
    let total = |one: &Totals| {
        json!({
            "kind": one.kind, "what": one.what, "count": one.count, "total_us": one.total_ns / 1_000,
            "longest_us": one.longest_ns / 1_000, "queued_us": one.queued_ns / one.count.max(1) / 1_000,
        })
    };
    let totals = one.totals();
    json!({
        "line": trace::line(one),
        "length_us": one.length_ns / 1_000,
        "tracks": tracks.names,
        "texts": texts.names,
        "spans": spans,
        "totals": totals.iter().take(super::answers::ROWS).map(total).collect::<Vec<_>>(),
    })
}

/// What a run stands in a row with.
fn track(span: &Span) -> String {
    match span.task {
        Some(_) => format!("{} {}", span.name, span.code),
        None => span.kind.clone(),
    }
}

/// Names by their number, in the order of their first use.
#[derive(Default)]
struct Numbers {
    names: Vec<String>,
    known: HashMap<String, usize>,
}

impl Numbers {
    fn of(&mut self, name: String) -> usize {
        if let Some(number) = self.known.get(&name) {
            return *number;
        }
        self.names.push(name.clone());
        self.known.insert(name, self.names.len() - 1);
        self.names.len() - 1
    }
}

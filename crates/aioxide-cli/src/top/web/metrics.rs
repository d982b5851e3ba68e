//! The figures in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aioxide_monitor::schema::{LAG_BOUNDS_US, Loop, RUN_BOUNDS_US, TaskState};

use crate::top::sample::Sample;
use crate::top::text::lag_of;
use crate::top::words;

/// Groups that get a line each; the others are one line together, so that a program cannot make endless series.
const GROUPS: usize = 50;

/// All of it; only that there is nothing yet, when there is no sample.
pub(super) fn text(sample: Option<&Sample>) -> String {
    let mut text = Text(String::new());
    text.head("aioxide_up", "gauge", "Whether the program has given a snapshot.");
    text.line("aioxide_up", &[], u8::from(sample.is_some()));
    let Some(sample) = sample else { return text.0 };
    text.head("aioxide_tasks", "gauge", "Tasks that are not done, by what they do.");
    let mut states: BTreeMap<&str, u64> = [TaskState::Running, TaskState::Ready, TaskState::Waiting]
        .map(|state| (words::state(state), 0))
        .into();
    for (_, task) in sample.snapshot.tasks() {
        *states.entry(words::state(task.state)).or_default() += 1;
    }
    for (state, count) in states {
        text.line("aioxide_tasks", &[("state", state)], count);
    }
    text.head(
        "aioxide_group_tasks",
        "gauge",
        "Tasks by coroutine and by what they wait on, the largest groups.",
    );
    for group in sample.groups.iter().take(GROUPS) {
        let labels = [("coroutine", group.coroutine.as_str()), ("waits", group.waits.as_str())];
        text.line("aioxide_group_tasks", &labels, group.tasks.len());
    }
    if sample.groups.len() > GROUPS {
        let others: usize = sample.groups[GROUPS..].iter().map(|group| group.tasks.len()).sum();
        text.line("aioxide_group_tasks", &[("coroutine", "(others)"), ("waits", "(others)")], others);
    }
    text.loops(sample);
    text.head("aioxide_deadlocked_tasks", "gauge", "Tasks that nobody can wake any more.");
    text.line("aioxide_deadlocked_tasks", &[], sample.deadlocks.iter().map(|one| one.tasks).sum::<u64>());
    let taken = &sample.snapshot.taken;
    text.head("aioxide_snapshot_seconds", "gauge", "Time for which the last snapshot was taken.");
    text.line("aioxide_snapshot_seconds", &[], seconds(taken.took_us));
    text.head(
        "aioxide_snapshot_pause_seconds",
        "gauge",
        "The longest time for which the program stood still for it.",
    );
    text.line("aioxide_snapshot_pause_seconds", &[], seconds(taken.longest_pause_us));
    text.0
}

/// A figure of a loop, where it is known.
type OfLoop = fn(&Loop) -> Option<u64>;

/// The text so far.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if place == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A loop's histogram, but for the sum.
    fn buckets(&mut self, name: &str, number: &str, histogram: &[u64], bounds_us: &[u64]) {
        let mut whole = 0;
        for (place, count) in histogram.iter().enumerate() {
            whole += count;
            let bound = bounds_us.get(place).map_or("+Inf".to_owned(), |us| seconds(*us).to_string());
            self.line(&format!("{name}_bucket"), &[("loop", number), ("le", &bound)], whole);
        }
        self.line(&format!("{name}_count"), &[("loop", number)], whole);
    }

    fn loops(&mut self, sample: &Sample) {
        let loops: Vec<(String, &Loop)> =
            sample.snapshot.loops.iter().enumerate().map(|(place, one)| (place.to_string(), one)).collect();
        let gauges: [(&str, &str, OfLoop); 4] = [
            ("aioxide_loop_ready", "Entries that are ready.", |one| one.ready),
            ("aioxide_loop_timers", "Timers that are set.", |one| one.timers),
            ("aioxide_loop_descriptors", "Descriptors that are watched.", |one| one.descriptors),
            ("aioxide_loop_thread_jobs", "Calls in threads that are waited for.", |one| one.jobs),
        ];
        for (name, help, of) in gauges {
            self.head(name, "gauge", help);
            for (number, one) in &loops {
                if let Some(value) = of(one) {
                    self.line(name, &[("loop", number)], value);
                }
            }
        }
        let lags: Vec<_> =
            loops.iter().filter_map(|(number, one)| Some((number, lag_of(one, sample)?))).collect();
        // Of the heartbeats only the counts in each bucket are kept, so there is no sum.
        self.head(
            "aioxide_loop_lag_seconds",
            "histogram",
            "How late a loop answered the watchdog's heartbeats.",
        );
        for (number, lag) in &lags {
            self.buckets("aioxide_loop_lag_seconds", number, &lag.histogram, &LAG_BOUNDS_US);
        }
        let name = "aioxide_loop_entry_seconds";
        self.head(name, "histogram", "How long entries ran: callbacks, steps, events.");
        for (number, durations) in
            loops.iter().filter_map(|(number, one)| Some((number, one.durations.as_ref()?)))
        {
            self.buckets(name, number, &durations.histogram, &RUN_BOUNDS_US);
            self.line(&format!("{name}_sum"), &[("loop", number)], seconds(durations.total_us));
        }
        self.head(
            "aioxide_loop_unanswered_seconds",
            "gauge",
            "How long the heartbeat that is under way has waited.",
        );
        for (number, lag) in &lags {
            self.line("aioxide_loop_unanswered_seconds", &[("loop", number)], seconds(lag.waiting_us));
        }
        self.head(
            "aioxide_loop_blocked_steps_total",
            "counter",
            "Steps that were longer than the watchdog's limit.",
        );
        for (number, lag) in &lags {
            self.line("aioxide_loop_blocked_steps_total", &[("loop", number)], lag.blocked);
        }
        // It is the program's: each loop tells the same.
        if let Some(collector) = lags.first().and_then(|(_, lag)| lag.collector.as_ref()) {
            let name = "aioxide_collector_seconds_total";
            self.head(name, "counter", "Time that the garbage collector took.");
            self.line(name, &[], seconds(collector.total_us));
            let name = "aioxide_collections_total";
            self.head(name, "counter", "Collections of the garbage collector.");
            self.line(name, &[], collector.collections);
        }
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

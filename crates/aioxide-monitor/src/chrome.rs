//! A timeline in the format of Chrome's tracer, which Perfetto (ui.perfetto.dev) and `chrome://tracing` open.
//!
//! A track for each task, and one for each kind of run that is of no task; an arrow from each run to those that it queued.
//! The format: "Trace Event Format", JSON object form, complete events (`X`), flow events (`s`, `f`), metadata (`M`).

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::schema::Id;
use crate::timeline::{LoopTimeline, Span, Timeline};

/// Writes a timeline.
///
/// # Errors
/// The writer's.
pub fn write(timeline: &Timeline, mut out: impl Write) -> io::Result<()> {
    let pid = timeline.program.pid;
    let program = &timeline.program;
    let about = json!({
        "began_unix_ms": timeline.began_unix_ms,
        "program": program.name,
        "runtime": program.runtime,
        "left_out": timeline.loops.iter().map(|one| one.left_out).sum::<u64>(),
    });
    write!(out, "{{\"displayTimeUnit\":\"ns\",\"otherData\":{about},\"traceEvents\":[")?;
    let name = format!("{} ({})", program.name, program.runtime);
    // The first one stands without a comma before it.
    write!(out, "{}", metadata("process_name", pid, 0, json!({ "name": name })))?;
    let mut first_track = 1;
    for (place, one) in timeline.loops.iter().enumerate() {
        let of_loop = if timeline.loops.len() > 1 { format!("loop {}: ", place + 1) } else { String::new() };
        first_track = write_loop(one, pid, first_track, &of_loop, &mut out)?;
    }
    out.write_all(b"]}\n")?;
    out.flush()
}

/// What has a track of its own.
#[derive(PartialEq, Eq, Hash)]
enum Track<'a> {
    Task(Id, &'a str),
    Kind(&'a str),
}

fn track(span: &Span) -> Track<'_> {
    // A number may be another task's later on; that has another name.
    span.task.map_or(Track::Kind(&span.kind), |task| Track::Task(task, &span.name))
}

/// Writes a loop's runs; the number of the next one's first track.
fn write_loop(
    timeline: &LoopTimeline,
    pid: u32,
    first_track: u64,
    of_loop: &str,
    out: &mut impl Write,
) -> io::Result<u64> {
    let mut tracks: HashMap<Track<'_>, u64> = HashMap::new();
    let mut next_track = first_track;
    for span in &timeline.spans {
        if let std::collections::hash_map::Entry::Vacant(place) = tracks.entry(track(span)) {
            let name = match place.key() {
                Track::Task(_, name) if span.code.is_empty() => format!("{of_loop}{name}"),
                Track::Task(_, name) => format!("{of_loop}{name} {}", span.code),
                Track::Kind(kind) => format!("{of_loop}{kind}"),
            };
            write!(out, ",\n{}", metadata("thread_name", pid, next_track, json!({ "name": name })))?;
            let order = json!({ "sort_index": next_track });
            write!(out, ",\n{}", metadata("thread_sort_index", pid, next_track, order))?;
            place.insert(next_track);
            next_track += 1;
        }
    }
    let by_number: HashMap<u64, &Span> = timeline.spans.iter().map(|span| (span.number, span)).collect();
    for span in &timeline.spans {
        let track_of = |span: &Span| tracks.get(&track(span)).copied().unwrap_or(0);
        let waited = span.began_ns.saturating_sub(span.queued_ns);
        let event = json!({
            "ph": "X", "cat": span.kind, "name": span.what(), "pid": pid, "tid": track_of(span),
            "ts": micros(span.began_ns), "dur": micros(span.took_ns()),
            "args": { "task": span.name, "number": span.number, "waited_us": micros(waited) },
        });
        write!(out, ",\n{event}")?;
        let Some(by) = span.queued_by.and_then(|number| by_number.get(&number)) else { continue };
        // An arrow begins inside of the run that it comes from.
        let from = by.ended_ns.saturating_sub(1).max(by.began_ns);
        let id = first_track << 32 | span.number;
        let begin = json!({
            "ph": "s", "cat": "queued", "name": "queued", "id": id, "pid": pid, "tid": track_of(by),
            "ts": micros(from),
        });
        let end = json!({
            "ph": "f", "bp": "e", "cat": "queued", "name": "queued", "id": id, "pid": pid,
            "tid": track_of(span), "ts": micros(span.began_ns),
        });
        write!(out, ",\n{begin},\n{end}")?;
    }
    Ok(next_track)
}

fn metadata(name: &str, pid: u32, tid: u64, args: Value) -> Value {
    json!({ "ph": "M", "name": name, "pid": pid, "tid": tid, "args": args })
}

/// The format's unit, with nanoseconds behind the point.
fn micros(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Program;

    fn span(number: u64, queued_by: Option<u64>, task: Option<Id>, name: &str) -> Span {
        let began_ns = number * 1_000;
        let (kind, name) = ("step".to_owned(), name.to_owned());
        let code = if task.is_some() { "work".to_owned() } else { String::new() };
        Span { number, queued_by, queued_ns: 0, began_ns, ended_ns: began_ns + 500, kind, name, code, task }
    }

    #[test]
    fn each_task_has_a_track_and_each_wake_up_an_arrow() {
        let spans = vec![
            span(0, None, Some(10), "Task-1"),
            span(1, Some(0), Some(11), "Task-2"),
            span(2, Some(1), Some(10), "Task-1"),
            span(3, Some(77), None, "tick"),
        ];
        let one = LoopTimeline { spans, ..LoopTimeline::default() };
        let program = Program { pid: 7, name: "a \"b\"".to_owned(), ..Program::default() };
        let timeline = Timeline { program, began_unix_ms: 1, loops: vec![one.clone(), one] };
        let mut text = Vec::new();
        write(&timeline, &mut text).expect("it is written to memory");
        let trace: Value = serde_json::from_slice(&text).expect("it is JSON");
        let events = trace["traceEvents"].as_array().expect("a list");
        let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
        let names: Vec<_> = of("M").iter().filter_map(|event| event["args"]["name"].as_str()).collect();
        assert_eq!(
            names,
            [
                "a \"b\" ()",
                "loop 1: Task-1 work",
                "loop 1: Task-2 work",
                "loop 1: step",
                "loop 2: Task-1 work",
                "loop 2: Task-2 work",
                "loop 2: step"
            ]
        );
        let runs = of("X");
        assert_eq!(runs.len(), 8);
        assert_eq!((runs[0]["tid"].as_u64(), runs[2]["tid"].as_u64()), (Some(1), Some(1)));
        assert_eq!((runs[1]["ts"].as_f64(), runs[1]["dur"].as_f64()), (Some(1.0), Some(0.5)));
        // Each arrow has both its ends, inside of what it connects; who is not there has none.
        let (starts, ends) = (of("s"), of("f"));
        assert_eq!((starts.len(), ends.len()), (4, 4));
        for (start, end) in starts.iter().zip(&ends) {
            assert_eq!(start["id"], end["id"]);
            assert!(start["ts"].as_f64() <= end["ts"].as_f64());
        }
        assert_ne!(starts[0]["id"], starts[2]["id"]);
    }
}

//! What is known of the loops: whether they run, on which thread, and what could still happen on them.

use std::collections::HashMap;

use aioxide_core::observer::Durations as Measured;
use aioxide_monitor::ends;
use aioxide_monitor::schema::{Durations, Frame, Id, Kind, Loop, STACK_LIMIT};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::chain::string;
use crate::eyes::{Eyes, list_type};
use crate::walk::{Walk, id_of};

/// From so many waiting timers on, those that nobody waits for are not counted: making the list of them takes too long.
const TIMERS_COUNTED: u64 = 5_000;

/// Frames of a thread below which its loop is looked for: a program may allow itself deep recursion.
const DEEPEST: usize = 20_000;

/// The loops that threads run now, found by their frames: the thread's number and the loop.
pub(crate) fn running<'py>(eyes: &Eyes, py: Python<'py>) -> Vec<(u64, Bound<'py, PyAny>)> {
    let mut found = Vec::new();
    for (thread, frame) in eyes.frames(py).unwrap_or_default() {
        let mut next = Some(frame);
        let mut depth = 0;
        while let Some(frame) = next.take().filter(|frame| !frame.is_none() && depth < DEEPEST) {
            depth += 1;
            if let Some(event_loop) = loop_of_frame(&frame) {
                found.push((thread, event_loop));
                break;
            }
            next = frame.getattr(intern!(py, "f_back")).ok();
        }
    }
    found
}

fn loop_of_frame<'py>(frame: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = frame.py();
    let code = frame.getattr(intern!(py, "f_code")).ok()?;
    let name: String = code.getattr(intern!(py, "co_name")).ok()?.extract().ok()?;
    (name == "run_forever").then_some(())?;
    let variables = frame.getattr(intern!(py, "f_locals")).ok()?;
    let event_loop = variables.get_item("self").ok()?;
    // Its class has to say that it is one: an object may answer to any name.
    event_loop.get_type().hasattr("call_soon_threadsafe").ok()?.then_some(event_loop)
}

/// What is counted of the nodes, not attached.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    tasks: HashMap<Id, u64>,
    timers: u64,
    jobs: u64,
}

impl Counts {
    pub(crate) fn add_task(&mut self, event_loop: Id) {
        *self.tasks.entry(event_loop).or_default() += 1;
    }

    pub(crate) fn of(walk: &Walk<'_>) -> Self {
        let mut counts = Self::default();
        for node in &walk.nodes {
            match node.kind {
                Kind::Task => counts.add_task(node.loop_id.unwrap_or(0)),
                Kind::Timer => counts.timers += 1,
                Kind::Job => counts.jobs += 1,
                _ => {}
            }
        }
        counts
    }
}

/// The loops of a walk, with what could wake their tasks.
pub(crate) fn describe(walk: &mut Walk<'_>, counts: &Counts, py: Python<'_>) -> Vec<Loop> {
    let running = running(walk.eyes, py);
    for (_, event_loop) in &running {
        walk.loops.entry(id_of(event_loop)).or_insert_with(|| event_loop.clone().unbind());
    }
    let (timers, jobs) = (counts.timers, counts.jobs);
    let threads = other_threads(walk.eyes, py, &running);
    let frames = walk.eyes.frames(py).unwrap_or_default();
    let mut found: Vec<Loop> = Vec::new();
    for (id, event_loop) in &walk.loops {
        let event_loop = event_loop.bind(py);
        let thread = running.iter().find(|(_, one)| one.is(event_loop)).map(|(thread, _)| *thread);
        let told = event_loop.getattr("_thread_id").ok().and_then(|thread| thread.extract::<u64>().ok());
        let thread = thread.or(told);
        let frame = thread.and_then(|thread| frames.iter().find(|(one, _)| *one == thread));
        found.push(Loop {
            id: *id,
            class: class_of(event_loop),
            running: thread.is_some(),
            thread: thread.and_then(|thread| walk.eyes.thread(py, thread).0),
            busy: frame.is_some_and(|(_, frame)| !is_waiting(frame)),
            ready: length(event_loop, "_ready"),
            timers: if timers < TIMERS_COUNTED { count_timers(event_loop) } else { Some(timers) },
            descriptors: count_descriptors(event_loop),
            jobs: Some(jobs),
            signals: length(event_loop, "_signal_handlers"),
            threads: Some(threads),
            tasks: counts.tasks.get(id).copied().unwrap_or(0),
            durations: durations(event_loop),
            debug: event_loop.getattr("_debug").is_ok_and(|debug| debug.is_truthy().unwrap_or(false)),
            ..Loop::default()
        });
    }
    found.sort_by_key(|event_loop| event_loop.id);
    found
}

/// How long its entries ran, where somebody asks over the socket.
fn durations(event_loop: &Bound<'_, PyAny>) -> Option<Durations> {
    let length_ns = ends::measured_for()?.as_nanos() as u64;
    let found = event_loop.call_method1(intern!(event_loop.py(), "_durations"), (length_ns,));
    let (runs, total_ns, longest_ns, histogram): (u64, u64, u64, Vec<u64>) = found.ok()?.extract().ok()?;
    Some(Measured { runs, total_ns, longest_ns, histogram }.into())
}

fn class_of(event_loop: &Bound<'_, PyAny>) -> String {
    let type_ = event_loop.get_type();
    let text = |name: &str| type_.getattr(name).and_then(|text| text.extract::<String>()).unwrap_or_default();
    format!("{}.{}", text("__module__"), text("__qualname__"))
}

fn length(event_loop: &Bound<'_, PyAny>, attribute: &str) -> Option<u64> {
    event_loop.getattr(attribute).ok()?.len().ok().map(|length| length as u64)
}

/// The timers of a loop; none when too many are known already.
pub(crate) fn timers<'py>(counts: &Counts, event_loop: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
    if counts.timers >= TIMERS_COUNTED {
        return Vec::new();
    }
    let list =
        event_loop.getattr("_scheduled").and_then(|timers| list_type(event_loop.py()).call1((timers,)));
    let list = list.ok().and_then(|list| list.cast_into::<PyList>().ok());
    list.map_or_else(Vec::new, |list| list.iter().collect())
}

fn count_timers(event_loop: &Bound<'_, PyAny>) -> Option<u64> {
    let all = length(event_loop, "_scheduled")?;
    let cancelled = event_loop.getattr("_timer_cancelled_count").and_then(|count| count.extract::<u64>());
    // aioxide's list has none that is cancelled.
    let has_own_list = event_loop.hasattr("_descriptors").unwrap_or(false);
    Some(if has_own_list { all } else { all.saturating_sub(cancelled.unwrap_or(0)) })
}

fn count_descriptors(event_loop: &Bound<'_, PyAny>) -> Option<u64> {
    if let Ok(descriptors) = event_loop.call_method0("_descriptors") {
        return descriptors.len().ok().map(|count| count as u64);
    }
    let watched = event_loop.getattr("_selector").ok()?.call_method0("get_map").ok()?.len().ok()? as u64;
    // The pipe by which it wakes itself.
    let own = event_loop.getattr("_ssock").is_ok_and(|socket| !socket.is_none());
    Some(watched.saturating_sub(u64::from(own)))
}

/// Threads that run Python beside the loops', the caller's and idle ones of pools.
fn other_threads(eyes: &Eyes, py: Python<'_>, running: &[(u64, Bound<'_, PyAny>)]) -> u64 {
    let this = py.import("threading").and_then(|threading| threading.call_method0("get_ident"));
    let this: u64 = this.and_then(|this| this.extract()).unwrap_or(0);
    let frames = eyes.frames(py).unwrap_or_default();
    let others = frames.into_iter().filter(|(thread, frame)| {
        *thread != this && !running.iter().any(|(one, _)| one == thread) && !is_idle_worker(frame)
    });
    others.count() as u64
}

/// Whether a thread that runs a loop, and stands in this frame, waits for something to happen: ours in Rust, asyncio's in its
/// selector. Anywhere else it runs an entry.
fn is_waiting(frame: &Bound<'_, PyAny>) -> bool {
    is_in(frame, "select", "selectors.py") || is_in(frame, "run_forever", "aioxide/event_loop.py")
}

fn is_in(frame: &Bound<'_, PyAny>, function: &str, file: &str) -> bool {
    let Ok(code) = frame.getattr("f_code") else { return false };
    let text = |name: &str| code.getattr(name).and_then(|text| text.extract::<String>()).unwrap_or_default();
    text("co_name") == function && text("co_filename").ends_with(file)
}

fn is_idle_worker(frame: &Bound<'_, PyAny>) -> bool {
    is_in(frame, "_worker", "concurrent/futures/thread.py")
}

/// The frames of a running thread, the innermost last.
pub(crate) fn frames(frame: &Bound<'_, PyAny>) -> Vec<Frame> {
    let mut found = Vec::new();
    let mut next = Some(frame.clone());
    while let Some(frame) = next.take().filter(|frame| !frame.is_none() && found.len() < STACK_LIMIT) {
        let Ok(code) = frame.getattr("f_code") else { break };
        let text = |name: &str| code.getattr(name).map(|text| string(&text)).ok();
        found.push(Frame {
            file: text("co_filename").unwrap_or_default(),
            line: frame.getattr("f_lineno").and_then(|line| line.extract()).unwrap_or(0),
            function: text("co_qualname").or_else(|| text("co_name")).unwrap_or_default(),
        });
        next = frame.getattr("f_back").ok();
    }
    found.reverse();
    found
}

/// Whether nothing is set on a loop that could happen by itself.
pub(crate) fn is_quiet(event_loop: &Bound<'_, PyAny>) -> bool {
    let ready = || length(event_loop, "_ready");
    let signals = || length(event_loop, "_signal_handlers");
    count_descriptors(event_loop) == Some(0)
        && count_timers(event_loop) == Some(0)
        && ready() == Some(0)
        && signals() == Some(0)
}

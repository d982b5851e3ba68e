//! Which tasks nobody can wake any more.
//!
//! A node is *alive* when something outside of the graph can happen to it, or when anything that it waits on is alive: one
//! member of a `wait` that comes is enough, a timeout is enough, so a report is never made of a wait that can end. What is
//! not alive is dead, and stays so: that is the report. What a timeout cancels passes that on to what it awaits, so this is alive, too.
//!
//! ```text
//! alive by themselves       tasks that run or are ready; timers, descriptors, child processes, jobs, futures of Rust, what
//!                           is of an unknown kind, and an edge that leads out of the snapshot
//! alive while the loop is   a future, lock, queue, event … that waits on nothing known, and a lock that was taken without
//!                           `async with`: any code of a live loop may finish, release, fill or set it
//! ```
//!
//! A loop is dead when nothing runs or is ready on it and no timer, descriptor, job, signal handler or other thread could make it
//! so. As another loop may call `call_soon_threadsafe`, a loop counts as dead only when every loop is.
//!
//! Not known, and so a report can be wrong where a program waits for it alone: a handler set by `signal.signal`, a thread that
//! C code made and Python does not know, and the end of an object (`__del__`, a weak reference's callback). A loop that is
//! not aioxide's or asyncio's and does not tell what it watches counts as alive.

use crate::graph::Graph;
use crate::schema::{Deadlock, Edge, How, Id, Kind, Language, Loop, Node, Snapshot, TaskState, clean};

/// Nodes that a report's text names; of the others, the number is told.
const NAMED: usize = 20;

/// Whether nothing can happen on a loop any more.
///
/// A number that is not known counts as one.
#[must_use]
pub fn is_dead(event_loop: &Loop) -> bool {
    let counts = [event_loop.ready, event_loop.timers, event_loop.descriptors, event_loop.jobs];
    let outside = [event_loop.signals, event_loop.threads];
    event_loop.running && !event_loop.busy && counts.iter().chain(&outside).all(|count| *count == Some(0))
}

/// The deadlocks of a snapshot: one for each cycle, and one for each dead loop whose chains end without one.
#[must_use]
pub fn find(snapshot: &Snapshot) -> Vec<Deadlock> {
    // What was left out may be what wakes the others.
    if snapshot.left_out > 0 {
        return Vec::new();
    }
    let graph = Graph::new(snapshot);
    let running = || snapshot.loops.iter().filter(|event_loop| event_loop.running);
    let all_dead = running().next().is_some() && running().all(is_dead);
    let dead = dead(&graph, all_dead);
    let place_of = |id: &Id| snapshot.nodes.iter().position(|node| node.id == *id);
    let mut told = vec![false; snapshot.nodes.len()];
    let mut found = Vec::new();
    for cycle in graph.cycles() {
        let places: Vec<usize> = cycle.iter().filter_map(place_of).collect();
        if places.iter().any(|place| !dead[*place]) {
            continue;
        }
        let tasks = spread(&graph, &places, &mut told);
        let loop_id = places.iter().find_map(|place| snapshot.nodes[*place].loop_id).unwrap_or_default();
        let text = cycle_text(&graph, &cycle, tasks);
        found.push(Deadlock { loop_id, cycle, ends: Vec::new(), tasks, text });
    }
    if all_dead {
        for event_loop in running() {
            let is_end = |place: &usize| {
                dead[*place]
                    && !told[*place]
                    && graph.edges(*place).is_empty()
                    && is_of(&graph, *place, event_loop)
            };
            let places: Vec<usize> = (0..told.len()).filter(is_end).collect();
            let tasks = spread(&graph, &places, &mut told);
            if tasks > 0 {
                let ends: Vec<Id> = places.iter().map(|place| snapshot.nodes[*place].id).collect();
                let text = ends_text(&graph, &ends, tasks);
                found.push(Deadlock { loop_id: event_loop.id, cycle: Vec::new(), ends, tasks, text });
            }
        }
    }
    found
}

/// Whether a node belongs to a loop: itself, or one who waits on it. Without either it belongs to none.
fn is_of(graph: &Graph<'_>, place: usize, event_loop: &Loop) -> bool {
    let nodes = &graph.snapshot().nodes;
    let mut of = std::iter::once(&place).chain(graph.before(place));
    of.any(|place| nodes[*place].loop_id == Some(event_loop.id))
}

/// Which nodes are dead, by place.
fn dead(graph: &Graph<'_>, all_loops_dead: bool) -> Vec<bool> {
    let nodes = &graph.snapshot().nodes;
    let mut dead = vec![true; nodes.len()];
    let lives = |(place, node): (usize, &Node)| {
        lives_by_itself(node, graph.edges(place).len(), all_loops_dead).then_some(place)
    };
    let mut open: Vec<usize> = nodes.iter().enumerate().filter_map(lives).collect();
    // A task that a timeout cancels cancels what it awaits.
    let timed = (0..nodes.len()).filter(|place| has_timeout(graph, *place));
    let mut cancelled: Vec<usize> = timed.flat_map(|place| awaited(graph, place)).collect();
    let mut reached = vec![false; nodes.len()];
    while let Some(place) = cancelled.pop() {
        if !std::mem::replace(&mut reached[place], true) {
            cancelled.extend(awaited(graph, place));
            open.push(place);
        }
    }
    while let Some(place) = open.pop() {
        if std::mem::replace(&mut dead[place], false) {
            open.extend(graph.before(place).iter().copied().filter(|before| dead[*before]));
        }
    }
    dead
}

/// Whether a timer may cancel a task that waits on something else.
fn has_timeout(graph: &Graph<'_>, place: usize) -> bool {
    let nodes = &graph.snapshot().nodes;
    let is_timer = |edge: &Edge| graph.node(edge.to).is_some_and(|node| node.kind == Kind::Timer);
    let node = &nodes[place];
    node.kind == Kind::Task && node.waits_on.len() > 1 && node.waits_on.iter().any(is_timer)
}

/// Whom a cancellation of this one is passed on to: a shield keeps it, and `wait` leaves its members alone.
fn awaited<'g>(graph: &'g Graph<'_>, place: usize) -> impl Iterator<Item = usize> + 'g {
    let passes = |how: How| matches!(how, How::Await | How::Gather | How::TaskGroup);
    graph.edges(place).iter().filter(move |(_, how)| passes(*how)).map(|(to, _)| *to)
}

fn lives_by_itself(node: &Node, edges: usize, all_loops_dead: bool) -> bool {
    let outside = node.waits_on.len() > edges;
    match node.kind {
        _ if outside => true,
        Kind::Timer | Kind::Descriptor | Kind::Child | Kind::Job | Kind::RustFuture | Kind::Other => true,
        Kind::Task => {
            // In Python one that was caught is counted for ever; where nothing can happen, none is under way.
            let waiting = node.task.as_ref().is_some_and(|task| {
                let is_over = all_loops_dead && task.language == Language::Python;
                task.state == TaskState::Waiting && (task.cancelling == 0 || is_over)
            });
            !waiting || (edges == 0 && !all_loops_dead)
        }
        // Who has a place without `async with` is not seen, and may give it back.
        Kind::Semaphore => {
            let holders = node.waits_on.iter().filter(|edge| edge.how == How::HeldBy).count();
            let all_known = node.detail.limit.is_some_and(|limit| holders as i64 >= limit);
            !all_known && !all_loops_dead
        }
        // A lock whose holder is known may still be released by any code, but that is not how locks are used; without `async with`
        // it is: as a gate, as a signal.
        _ => node.waits_on.iter().all(|edge| edge.how == How::TakenBy) && !all_loops_dead,
    }
}

/// Marks what waits on the given nodes, and returns the number of tasks among all that were not marked.
fn spread(graph: &Graph<'_>, places: &[usize], told: &mut [bool]) -> u64 {
    let mut open = places.to_vec();
    let mut tasks = 0;
    while let Some(place) = open.pop() {
        if !std::mem::replace(&mut told[place], true) {
            tasks += u64::from(graph.snapshot().nodes[place].kind == Kind::Task);
            open.extend_from_slice(graph.before(place));
        }
    }
    tasks
}

fn cycle_text(graph: &Graph<'_>, cycle: &[Id], tasks: u64) -> String {
    let mut text = format!("deadlock: {} wait on each other in a circle\n", count(tasks, "task"));
    for id in cycle.iter().take(NAMED) {
        push_line(&mut text, graph, *id);
    }
    if cycle.len() > NAMED {
        text.push_str(&format!("  … and {} more\n", cycle.len() - NAMED));
    }
    if let Some(first) = cycle.first().and_then(|id| graph.node(*id)) {
        text.push_str(&format!("  which is back at {}\n", describe(first)));
    }
    text
}

fn ends_text(graph: &Graph<'_>, ends: &[Id], tasks: u64) -> String {
    let mut text = format!(
        "deadlock: {} wait on what nobody is left to finish; no loop has anything to do\n",
        count(tasks, "task")
    );
    for id in ends.iter().take(NAMED) {
        push_line(&mut text, graph, *id);
        let waiting: Vec<&Node> = graph.waited_by(*id).collect();
        for node in waiting.iter().take(3) {
            text.push_str(&format!("    waited on by {}\n", describe(node)));
        }
        if waiting.len() > 3 {
            text.push_str(&format!("    … and by {} more\n", waiting.len() - 3));
        }
    }
    if ends.len() > NAMED {
        text.push_str(&format!("  … and {} more\n", ends.len() - NAMED));
    }
    text
}

fn push_line(text: &mut String, graph: &Graph<'_>, id: Id) {
    if let Some(node) = graph.node(id) {
        text.push_str(&format!("  {}\n", describe(node)));
    }
}

/// A node in a line: `Task-7, main at server.py:31`, or its class. No name in it can move a terminal's cursor.
#[must_use]
pub fn describe(node: &Node) -> String {
    let text = match &node.task {
        None if node.label.is_empty() => node.name.clone(),
        None => format!("{} {}", node.name, node.label),
        Some(task) => match &task.at {
            Some(at) => format!("{}, {} at {}:{}", node.name, task.coroutine, at.file, at.line),
            None => format!("{}, {}", node.name, task.coroutine),
        },
    };
    clean(&text).into_owned()
}

fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

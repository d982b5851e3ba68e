//! The answers of the page's server, as JSON.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aioxide_monitor::client::Client;
use aioxide_monitor::graph::{Direction, Graph};
use aioxide_monitor::schema::{Frame, Id, Node};
use serde_json::{Value, json};

use super::state::Shared;
use super::{metrics, timeline};
use crate::args::Sort;
use crate::top::sample::{Blocked, Chosen, Sample};
use crate::top::{text, unix_ms, words};

/// Rows of one answer.
pub(super) const ROWS: usize = 1_000;

/// Nodes of a graph, each way.
const GRAPH: usize = 30;

/// A kind of content and a text; `None` when there is no such thing.
pub(super) fn answer(path: &str, query: &str, shared: &Arc<Shared>) -> Option<(&'static str, String)> {
    let json = |value: Value| Some(("application/json", value.to_string()));
    match path {
        "state" => json(state(&Query::new(query), shared)),
        "ended" => json(ended(shared)),
        "timeline" => json(timeline::record(Query::new(query).number("ms").unwrap_or(1_000), shared)),
        "trace.json" => Some(("application/json", timeline::trace(shared)?)),
        "metrics" => {
            let sample = shared.known().sample.clone();
            Some(("text/plain; version=0.0.4; charset=utf-8", metrics::text(sample.as_deref())))
        }
        _ => json(node(path.strip_prefix("node/")?.parse().ok()?, shared)?),
    }
}

/// What stands behind the `?`.
struct Query(HashMap<String, String>);

impl Query {
    fn new(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }
}

/// The program, its loops, what is wrong, the figures since the last answer, and the rows of a view.
fn state(query: &Query, shared: &Shared) -> Value {
    let (sample, blocked, was_blocked, trouble, points) = {
        let known = shared.known();
        let since = query.number("since").unwrap_or(0);
        let points: Vec<_> = known.points.iter().filter(|point| point.at > since).copied().collect();
        let (blocked, was_blocked) = (known.blocked.clone(), known.was_blocked.clone());
        (known.sample.clone(), blocked, was_blocked, known.trouble.clone(), points)
    };
    let Some(sample) = sample else { return json!({ "trouble": trouble }) };
    let told = |one: &Blocked, text: String| {
        let frames = one.thread.iter().flat_map(|thread| &thread.frames).map(text::frame_line);
        json!({
            "text": text,
            "task": one.thread.as_ref().and_then(|thread| thread.task),
            "frames": frames.collect::<Vec<_>>(),
        })
    };
    let was_blocked = was_blocked.filter(|_| blocked.is_empty()).and_then(|was| {
        let mut value = told(&was.blocked, text::was_blocked(&was.blocked, &sample));
        value["ago_ms"] = json!(was.ago()?.as_millis() as u64);
        Some(value)
    });
    let blocked: Vec<Value> = blocked.iter().map(|one| told(one, text::blocked(one, &sample))).collect();
    let deadlocks: Vec<Value> = sample
        .deadlocks
        .iter()
        .map(|deadlock| {
            let cycle = sample.cycle(deadlock);
            let nodes = cycle.iter().chain(&deadlock.ends).filter_map(|id| sample.node(*id));
            json!({
                "tasks": deadlock.tasks,
                "cycle": !deadlock.cycle.is_empty(),
                "nodes": nodes.take(ROWS).map(short).collect::<Vec<_>>(),
            })
        })
        .collect();
    let loops: Vec<Value> = sample
        .snapshot
        .loops
        .iter()
        .map(|one| {
            let mut value = json!(one);
            value["lag"] = json!(text::lag_of(one, &sample));
            value
        })
        .collect();
    let (rows, shown) =
        if query.text("view") == "tasks" { tasks(query, &sample) } else { groups(query, &sample) };
    json!({
        "program": sample.snapshot.program,
        "taken": sample.snapshot.taken,
        "tasks": sample.count(),
        "left_out": sample.snapshot.left_out,
        "trouble": trouble,
        "blocked": blocked,
        "was_blocked": was_blocked,
        "deadlocks": deadlocks,
        "loops": loops,
        "points": points,
        "rows": rows,
        "shown": shown,
    })
}

/// A page of the rows, and how many there are.
fn page<'a, T>(query: &Query, places: &'a [T]) -> &'a [T] {
    let offset = (query.number("offset").unwrap_or(0) as usize).min(places.len());
    let limit = (query.number("limit").unwrap_or(100) as usize).min(ROWS);
    &places[offset..(offset + limit).min(places.len())]
}

fn groups(query: &Query, sample: &Sample) -> (Vec<Value>, usize) {
    let places = sample.select_groups(query.text("filter"));
    let row = |place: &usize| {
        let group = &sample.groups[*place];
        json!({
            "count": group.tasks.len(),
            "coroutine": group.coroutine,
            "waits": group.waits,
            "longest_ms": sample.longest[*place],
        })
    };
    (page(query, &places).iter().map(row).collect(), places.len())
}

fn tasks(query: &Query, sample: &Sample) -> (Vec<Value>, usize) {
    let sort = Sort::ALL.into_iter().find(|sort| sort.name() == query.text("sort")).unwrap_or(Sort::Waiting);
    let places = sample.select(&Chosen {
        filter: query.text("filter"),
        group: query.0.contains_key("coroutine").then(|| (query.text("coroutine"), query.text("waits"))),
        sort,
        reverse: query.text("reverse") == "1",
    });
    let row = |place: &u32| {
        let (node, task) = sample.task_at(*place)?;
        Some(json!({
            "id": node.id,
            "name": node.name,
            "coroutine": task.coroutine,
            "state": task.state,
            "waits": sample.waits(node.id),
            "waiting_ms": task.waiting_ms,
            "age_ms": task.age_ms,
            "ran_us": task.ran_us,
            "steps": task.steps,
            "at": task.at.as_ref().map(words::place),
        }))
    };
    (page(query, &places).iter().filter_map(row).collect(), places.len())
}

fn short(node: &Node) -> Value {
    json!({ "id": node.id, "name": node.name, "kind": node.kind, "text": words::node(node) })
}

/// A node with its neighbourhood as a graph: layers to the right are what it waits on, to the left who waits for it.
fn node(id: Id, shared: &Shared) -> Option<Value> {
    let sample = shared.known().sample.clone()?;
    let stack = stack(id, &sample, shared);
    let detail = sample.detail(id, stack)?;
    let graph = Graph::new(&sample.snapshot);
    let mut layers: HashMap<Id, i64> = HashMap::from([(id, 0)]);
    let below = spread(&graph, id, Direction::WaitsOn, &mut layers);
    let above = spread(&graph, id, Direction::WaitedBy, &mut layers);
    let mut nodes: Vec<Value> = Vec::new();
    let mut edges: Vec<Value> = Vec::new();
    let mut ids: Vec<(i64, Id)> = layers.iter().map(|(id, layer)| (*layer, *id)).collect();
    ids.sort_unstable();
    for (layer, id) in ids {
        let Some(node) = sample.node(id) else { continue };
        let mut value = short(node);
        value["layer"] = json!(layer);
        nodes.push(value);
        let inside = node.waits_on.iter().filter(|edge| layers.contains_key(&edge.to));
        edges.extend(inside.map(|edge| json!({ "from": id, "to": edge.to, "how": words::how(edge.how) })));
    }
    let tree = |lines: &[aioxide_monitor::graph::Line], upwards: bool| -> Vec<Value> {
        let lines = lines.iter().skip(1).take(200);
        lines.map(|line| json!({ "id": line.id, "text": text::tree_line(line, &sample, upwards) })).collect()
    };
    Some(json!({
        "node": short(&detail.node),
        "facts": text::facts(&detail, &sample),
        "nodes": nodes,
        "edges": edges,
        "more_below": below,
        "more_above": above,
        "below": tree(&detail.below, false),
        "above": tree(&detail.above, true),
        "stack": detail.stack.iter().map(text::frame_line).collect::<Vec<_>>(),
    }))
}

/// The nearest nodes one way, with how far they are; gives whether there are more.
fn spread(graph: &Graph<'_>, id: Id, direction: Direction, layers: &mut HashMap<Id, i64>) -> bool {
    let step = if direction == Direction::WaitsOn { 1 } else { -1 };
    let mut open = std::collections::VecDeque::from([id]);
    let mut seen = HashSet::from([id]);
    while let Some(id) = open.pop_front() {
        let layer = layers.get(&id).copied().unwrap_or(0);
        let next: &mut dyn Iterator<Item = &Node> = match direction {
            Direction::WaitsOn => &mut graph.waits_on(id).map(|(node, _)| node),
            Direction::WaitedBy => &mut graph.waited_by(id),
        };
        for node in next {
            if seen.contains(&node.id) {
                continue;
            }
            if seen.len() > GRAPH {
                return true;
            }
            seen.insert(node.id);
            // On a cycle, a node is reached both ways; it has one place.
            layers.entry(node.id).or_insert(layer + step);
            open.push_back(node.id);
        }
    }
    false
}

/// A task's stack, asked for over a connection of its own: the poller's may be busy.
fn stack(id: Id, sample: &Sample, shared: &Shared) -> Vec<Frame> {
    if sample.node(id).is_none_or(|node| node.task.is_none()) {
        return Vec::new();
    }
    let stacks = Client::connect(&shared.path).and_then(|mut client| client.stacks(vec![id]));
    let stack = stacks.ok().and_then(|stacks| stacks.tasks.into_iter().find(|stack| stack.id == id));
    stack.map_or_else(Vec::new, |stack| stack.frames)
}

fn ended(shared: &Shared) -> Value {
    match Client::connect(&shared.path).and_then(|mut client| client.history(None)) {
        Ok(history) => json!({ "now": unix_ms(), "ended": history }),
        Err(error) => json!({ "trouble": error.to_string() }),
    }
}

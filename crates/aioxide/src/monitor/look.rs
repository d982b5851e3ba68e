//! What a loop has, read on its own thread.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use aioxide_monitor::schema::{
    self, Edge, Frame, How, Id, Kind, Language, Loop, NAME_LIMIT, Node, RUN_BOUNDS_NS, TaskStack, cut,
};
use aioxide_monitor::{clock, ends};

use super::{WatchedLoop, holders};
use crate::label::short;
use crate::task::{AnyTask, Operation, TaskState, Waiting, list_tasks};

/// What a loop is called.
pub(super) const CLASS: &str = "aioxide::Runtime";

/// How long the loop may wait for a piece of a look. The list of its tasks is one piece, whatever their number.
const PIECE: Duration = Duration::from_millis(1);

/// Tasks that are looked at between two looks at the clock.
const TASKS: usize = 32;

/// What one loop has.
pub(super) struct Looked {
    pub(super) facts: Loop,
    pub(super) nodes: Vec<Node>,
    pub(super) left_out: u64,
}

/// A look that goes on, piece by piece; the loop runs between two of them.
pub(super) struct Look {
    tasks: std::vec::IntoIter<AnyTask>,
    left_out: u64,
    walk: Walk,
}

/// A number for what a task waits for alone; others have their address, and tasks their own number.
const ALONE: Id = 1 << 51;

/// The same for what it waits for besides.
const BESIDE: Id = 1 << 50;

impl Look {
    pub(super) fn begin(event_loop: &WatchedLoop, id: Id, limit: u32, stacks: bool) -> Self {
        let mut tasks = list_tasks(event_loop).into_iter();
        let left_out = tasks.len().saturating_sub(limit as usize);
        let walk = Walk { loop_id: id, stacks, nodes: Vec::new(), known: HashSet::new(), tasks: 0 };
        // The newest are left out last.
        drop(tasks.by_ref().take(left_out));
        Self { tasks, left_out: left_out as u64, walk }
    }

    /// Looks at some more tasks; whether these were the last.
    pub(super) fn go_on(&mut self) -> bool {
        let began = clock::now();
        while began.elapsed() < PIECE {
            for _ in 0..TASKS {
                let Some(task) = self.tasks.next() else { return true };
                self.walk.task(&task);
            }
        }
        false
    }

    pub(super) fn end(self, event_loop: &WatchedLoop) -> Looked {
        let Walk { loop_id, nodes, tasks, .. } = self.walk;
        let jobs = nodes.iter().filter(|node| node.kind == Kind::Job).count();
        let facts = Loop {
            id: loop_id,
            class: CLASS.to_owned(),
            running: true,
            ready: Some(event_loop.ready_len() as u64),
            timers: Some(event_loop.timers_len() as u64),
            descriptors: Some(event_loop.reactor().watched() as u64),
            jobs: Some(jobs as u64),
            // A listener of signals is a descriptor.
            signals: Some(0),
            tasks: tasks + self.left_out,
            durations: ends::measured_for()
                .map(|length| event_loop.measure(&RUN_BOUNDS_NS, length.as_nanos() as u64).into()),
            ..Loop::default()
        };
        Looked { facts, nodes, left_out: self.left_out }
    }
}

struct Walk {
    loop_id: Id,
    stacks: bool,
    nodes: Vec<Node>,
    /// What has a node beside the tasks.
    known: HashSet<Id>,
    /// How many tasks have one.
    tasks: u64,
}

impl Walk {
    fn task(&mut self, task: &AnyTask) {
        let place = frame(task);
        let state = match task.state() {
            TaskState::Ready => schema::TaskState::Ready,
            TaskState::Running => schema::TaskState::Running,
            TaskState::Waiting => schema::TaskState::Waiting,
            _ => return,
        };
        self.tasks += 1;
        let (steps, ran) = task.meta().steps();
        let waits_on = if state == schema::TaskState::Waiting { self.edges(task) } else { Vec::new() };
        self.nodes.push(Node {
            id: task.id(),
            kind: Kind::Task,
            name: cut(&task.name(), NAME_LIMIT),
            loop_id: Some(self.loop_id),
            waits_on,
            task: Some(schema::Task {
                coroutine: coroutine(task.meta().kind(), &place),
                state,
                language: Language::Rust,
                age_ms: Some(task.age().as_millis() as u64),
                cancelling: task.cancelling(),
                steps: Some(steps),
                ran_us: ends::are_noted().then_some(ran.as_micros() as u64),
                stack: if self.stacks { vec![place.clone()] } else { Vec::new() },
                created: Some(place),
                ..schema::Task::default()
            }),
            ..Node::default()
        });
    }

    fn edges(&mut self, task: &AnyTask) -> Vec<Edge> {
        let mut edges = self.said(task);
        if task.meta().waits_for_several() {
            edges.push(self.thing(BESIDE + task.id(), Kind::Other, "something else", How::Other));
        }
        edges
    }

    /// What the task says that it waits for.
    fn said(&mut self, task: &AnyTask) -> Vec<Edge> {
        let to = |task: &AnyTask, how| Edge { to: task.stood_for().id(), how };
        // What is waited for is told first, then looked at: a group's list of tasks may be asked of it.
        enum On {
            Edges(Vec<Edge>),
            Group(&'static str, Vec<AnyTask>),
            Operation(Operation),
        }
        let on = task.meta().look_waiting(|waiting| match waiting {
            Waiting::Nothing => On::Edges(Vec::new()),
            Waiting::Task(task) => On::Edges(vec![to(&AnyTask::from_ref(task.clone()), How::Await)]),
            Waiting::Shielded(task) => On::Edges(vec![to(&AnyTask::from_ref(task.clone()), How::Shield)]),
            Waiting::Group(name, group) => On::Group(name, group.tasks()),
            Waiting::Other(operation) => On::Operation(*operation),
        });
        match on {
            // It does not say: a socket, a future of another crate. Anything may happen to it.
            On::Edges(edges) if edges.is_empty() => {
                vec![self.thing(ALONE + task.id(), Kind::Other, "unknown", How::Other)]
            }
            On::Edges(edges) => edges,
            On::Group(name, tasks) => {
                let (kind, how) = match name {
                    "gather" => (Kind::Gather, How::Gather),
                    _ => (Kind::TaskGroup, How::TaskGroup),
                };
                let edge = self.thing(ALONE + task.id(), kind, name, How::Await);
                let members: Vec<Edge> = tasks.iter().map(|task| to(task, how)).collect();
                if let Some(node) = self.nodes.last_mut() {
                    node.waits_on = members;
                }
                vec![edge]
            }
            On::Operation(operation) => {
                let (kind, how) = kind_of(operation.name);
                let id = if operation.of == 0 { ALONE + task.id() } else { operation.of as Id };
                let (known, edge) = (self.nodes.len(), self.thing(id, kind, operation.name, how));
                if kind == Kind::Lock
                    && let Some(lock) = self.nodes.get_mut(known)
                {
                    let holder = holders::holder(operation.of);
                    lock.waits_on = holder.map(|to| Edge { to, how: How::HeldBy }).into_iter().collect();
                    lock.detail.set = Some(true);
                }
                vec![edge]
            }
        }
    }

    /// A node for something that is no task, unless there is one; and the edge to it.
    fn thing(&mut self, id: Id, kind: Kind, operation: &str, how: How) -> Edge {
        if self.known.insert(id) {
            let name = operation.split("::").next().unwrap_or(operation).to_owned();
            self.nodes.push(Node { id, kind, name, loop_id: Some(self.loop_id), ..Node::default() });
        }
        Edge { to: id, how }
    }
}

/// What a task runs, by the type of its future and where it was spawned: the name of an `async fn`, or of the type of a future
/// written by hand; a block inside of one, which has no name, is told from others by the place.
fn coroutine(kind: &str, place: &Frame) -> String {
    const BLOCK: &str = "::{{closure}}";
    let kind = inner(kind);
    let at = || format!("{}:{}", short(&place.file), place.line);
    let path = kind.trim_end_matches(BLOCK);
    let blocks = (kind.len() - path.len()) / BLOCK.len();
    // `Map<Fut, F>`, `<T as Trait>::method`.
    let path = path.split('<').next().unwrap_or_default().trim_end_matches("::");
    let mut parts = path.rsplit("::");
    let name = match (parts.next().unwrap_or_default(), parts.next()) {
        ("" | "{{closure}}", _) => return at(),
        (method, Some(of)) if blocks > 0 && of.starts_with(char::is_uppercase) => format!("{of}::{method}"),
        (name, _) => name.to_owned(),
    };
    if blocks > 1 { format!("{name}, {}", at()) } else { name }
}

/// The type that a type of this crate is wrapped around: `try_spawn`'s, a group's.
fn inner(kind: &str) -> &str {
    let Some((outer, rest)) = kind.split_once('<') else { return kind };
    if !outer.starts_with("aioxide::") || !kind.ends_with('>') {
        return kind;
    }
    let mut depth = 0;
    let end = rest.find(|character| {
        depth += i32::from(character == '<') - i32::from(character == '>');
        depth < 0 || (depth == 0 && character == ',')
    });
    inner(&rest[..end.unwrap_or(rest.len())])
}

/// What an operation waits for, and how.
fn kind_of(operation: &str) -> (Kind, How) {
    match operation {
        "Mutex::lock" => (Kind::Lock, How::Acquire),
        "Semaphore::acquire" => (Kind::Semaphore, How::Acquire),
        "Condition::wait" => (Kind::Condition, How::Wait),
        "Event::wait" => (Kind::Event, How::Wait),
        "Barrier::wait" => (Kind::Barrier, How::Wait),
        "Queue::get" => (Kind::Queue, How::Get),
        "Queue::put" => (Kind::Queue, How::Put),
        "Queue::join" => (Kind::Queue, How::Join),
        "Future" => (Kind::Future, How::Await),
        "sleep" | "Interval::tick" => (Kind::Timer, How::FinishedBy),
        "spawn_blocking" => (Kind::Job, How::FinishedBy),
        _ => (Kind::Other, How::Other),
    }
}

fn frame(task: &AnyTask) -> Frame {
    let place = task.place();
    Frame { file: place.file().to_owned(), line: place.line(), function: String::new() }
}

pub(super) fn stacks(event_loop: &WatchedLoop, wanted: &[Id]) -> Vec<TaskStack> {
    let tasks = list_tasks(event_loop).into_iter().filter(|task| wanted.contains(&task.id()));
    tasks.map(|task| TaskStack { id: task.id(), name: task.name(), frames: vec![frame(&task)] }).collect()
}

/// Whether the task could be cancelled; `None` when it is not here, or has another name.
pub(super) fn cancel(event_loop: &WatchedLoop, id: Id, name: &str) -> Option<bool> {
    let task = list_tasks(event_loop).into_iter().find(|task| task.id() == id)?;
    (task.name() == name).then(|| task.cancel())
}

/// The native number of this thread, as `ps -L` shows it.
pub(super) fn this_thread() -> u64 {
    let link = std::fs::read_link("/proc/thread-self").ok();
    let number = link.as_deref().and_then(Path::file_name).and_then(|number| number.to_str()?.parse().ok());
    number.unwrap_or(0)
}

/// Threads beside the loops' and this crate's own: each may wake anybody. `None` where they cannot be counted.
pub(super) fn other_threads(of_loops: &[u64]) -> Option<u64> {
    let mut count = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let thread = thread.ok()?;
        let number: u64 = thread.file_name().to_str()?.parse().ok()?;
        // A thread that has ended meanwhile has no name.
        let name =
            std::fs::read_to_string(thread.path().join("comm")).unwrap_or_else(|_| "aioxide".to_owned());
        count += u64::from(!of_loops.contains(&number) && !name.starts_with("aioxide"));
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_is_called_by_what_it_runs() {
        let place = Frame { file: "/srv/service/src/main.rs".to_owned(), line: 31, ..Frame::default() };
        for (kind, expected) in [
            ("service::handle_request::{{closure}}", "handle_request"),
            ("service::http::Server::serve::{{closure}}", "Server::serve"),
            ("service::http::serve::{{closure}}::{{closure}}", "serve, src/main.rs:31"),
            ("aioxide::time::sleep::Sleep", "Sleep"),
            ("futures_util::future::Map<service::work::{{closure}}, service::main::{{closure}}>", "Map"),
            ("aioxide::task::Noting<service::work::{{closure}}>", "work"),
            ("aioxide::task::group::Member<aioxide::task::Noting<service::go::{{closure}}>, u8>", "go"),
            ("aioxide::task::Odd<alloc::vec::Vec<u8>, u8>", "Vec"),
            ("service::work<alloc::string::String>::{{closure}}", "work"),
            ("<service::Job as service::Run>::run::{{closure}}", "src/main.rs:31"),
            ("", "src/main.rs:31"),
        ] {
            assert_eq!(coroutine(kind, &place), expected, "{kind}");
        }
    }
}

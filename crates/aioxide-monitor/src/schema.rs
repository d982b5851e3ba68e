//! What one snapshot holds: the loops of a program, and everything that waits or is waited for as nodes with edges.
//!
//! The same shape for the Python face and the Rust face, as JSON. A field whose value is not known is left out. Fields and
//! kinds may be added under the same [`VERSION`]; a reader ignores fields that it does not know and takes an unknown kind
//! as `other`. The version changes when a field changes its meaning or goes away.
//!
//! ```json
//! {"version": 1,
//!  "program": {"pid": 4711, "name": "server.py", "language": "python", "runtime": "CPython 3.11.7"},
//!  "taken": {"at_unix_ms": 1764470000000, "took_us": 5100, "longest_pause_us": 480, "chunks": 12},
//!  "loops": [{"id": 1, "class": "aioxide.event_loop.EventLoop", "running": true, "ready": 0, "timers": 3, "descriptors": 2}],
//!  "nodes": [
//!    {"id": 10, "kind": "task", "name": "Task-7", "loop_id": 1, "waits_on": [{"to": 11, "how": "acquire"}],
//!     "task": {"coroutine": "handle_request", "state": "waiting", "language": "python",
//!              "at": {"file": "server.py", "line": 31, "function": "handle_request"}}},
//!    {"id": 11, "kind": "lock", "name": "Lock", "waits_on": [{"to": 12, "how": "held_by"}], "waited_by": [10]}]}
//! ```
//!
//! **Edges.** `a.waits_on` has an edge to `b` when `a` cannot go on before `b` does something: a task waits on a future, a
//! lock, a queue, another task; a lock that is taken waits on its holder (`held_by`); a gather waits on its children; a
//! future that a timer, a descriptor, a child process or a thread will finish waits on that. `waited_by` holds the same
//! edges backwards, so that a tree can be shown from either end; [`Snapshot::link`] makes it.
//!
//! **Secrets.** There are names, places in source files, numbers and addresses of peers. There are no values of variables,
//! no arguments, no items of queues and no results. A `label` is a program's own `repr`, and is empty unless the program
//! asked for labels; it is cut to [`LABEL_LIMIT`] bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

mod figures;

pub use figures::{Collector, Durations, LAG_BOUNDS_US, Lag, MEASURED, RUN_BOUNDS_NS, RUN_BOUNDS_US};

/// The version of the schema.
pub const VERSION: u32 = 1;

/// Bytes of a label; what is longer is cut, and ends in `…`.
pub const LABEL_LIMIT: usize = 120;

/// Bytes of a name; what is longer is cut, and ends in `…`.
pub const NAME_LIMIT: usize = 200;

/// Frames of one stack; the outer ones are left out first.
pub const STACK_LIMIT: usize = 64;

/// The identity of a node: unique in a snapshot, and the same in the next one as long as the thing lives. At most 2^53.
pub type Id = u64;

/// Everything that was seen at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// [`VERSION`] of the program that took it.
    pub version: u32,
    /// Whose snapshot it is.
    pub program: Program,
    /// When it was taken, and what it cost.
    pub taken: Taken,
    /// The loops that have tasks, or are known otherwise.
    pub loops: Vec<Loop>,
    /// Tasks and all that they wait on.
    pub nodes: Vec<Node>,
    /// Tasks that were left out because of the request's limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// The program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    /// Process id.
    pub pid: u32,
    /// The script's or the program's name, without its folder and arguments.
    pub name: String,
    /// The face that answers.
    pub language: Language,
    /// `CPython 3.11.7`, say.
    pub runtime: String,
    /// The version of aioxide.
    pub aioxide: String,
    /// When the monitor was started, in milliseconds since 1970.
    pub monitored_since_unix_ms: u64,
}

/// What a snapshot cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Taken {
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// From the first look to the last.
    pub took_us: u64,
    /// The longest time that the program could not run its own code because of it.
    pub longest_pause_us: u64,
    /// Into how many pieces the work was cut. The program ran between them, so that what belongs to different chunks may
    /// not fit together: a node that an edge leads to may be missing.
    pub chunks: u32,
}

/// A language that a task can be written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Python.
    #[default]
    Python,
    /// Rust.
    Rust,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// An event loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Loop {
    /// Its identity.
    pub id: Id,
    /// Its class.
    pub class: String,
    /// The native id of the thread that runs it, as `ps -L` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<u64>,
    /// Whether it runs.
    pub running: bool,
    /// An entry runs now: a callback or a step, which may do anything.
    #[serde(skip_serializing_if = "is_false")]
    pub busy: bool,
    /// Entries that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<u64>,
    /// Timers that are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timers: Option<u64>,
    /// Milliseconds until the next timer; negative when it is late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_timer_ms: Option<f64>,
    /// Descriptors that it watches, without its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<u64>,
    /// Calls in threads that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u64>,
    /// Handlers of signals that it has: a signal may wake anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<u64>,
    /// Threads beside the loops' and idle ones of pools: each may wake anybody by `call_soon_threadsafe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    /// Tasks that are not done.
    pub tasks: u64,
    /// Since the monitor first saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_ms: Option<u64>,
    /// How late it answers; only when the watchdog runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// How long its entries ran, since somebody first asked over the socket; a loop of aioxide's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durations: Option<Durations>,
    /// Whether asyncio's debug mode is on (then tasks tell where they were created).
    pub debug: bool,
}

/// Something that waits or is waited for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its identity.
    pub id: Id,
    /// What it is.
    pub kind: Kind,
    /// A task's name; the class of anything else, with the name that the program gave it where there is one.
    pub name: String,
    /// The program's own text for it, where it was asked for; cut.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The loop it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_id: Option<Id>,
    /// What it cannot go on without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_on: Vec<Edge>,
    /// Who cannot go on without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waited_by: Vec<Id>,
    /// What only tasks have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// What other kinds have.
    #[serde(skip_serializing_if = "Detail::is_empty")]
    pub detail: Detail,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A task; `Node::task` is there.
    Task,
    /// A future that nobody could be named for.
    Future,
    /// The future of a `gather`.
    Gather,
    /// A `wait`, `wait_for` or `as_completed` that has no future of its own.
    Wait,
    /// A task group.
    TaskGroup,
    /// A lock.
    Lock,
    /// A condition.
    Condition,
    /// A semaphore.
    Semaphore,
    /// An event.
    Event,
    /// A barrier.
    Barrier,
    /// A queue.
    Queue,
    /// A timer: `sleep`, `call_later`, a timeout.
    Timer,
    /// A descriptor: a socket, a pipe.
    Descriptor,
    /// A child process.
    Child,
    /// A call in a thread or a process of an executor.
    Job,
    /// A future of Rust that a task of Python awaits.
    RustFuture,
    /// Something else.
    #[default]
    #[serde(other)]
    Other,
}

/// From one that waits to what it waits on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Edge {
    /// The node that has to do something. It may be missing from the snapshot, see [`Taken::chunks`].
    pub to: Id,
    /// By what.
    pub how: How,
}

/// By what one waits on another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is awaited.
    #[default]
    Await,
    /// `acquire`, or the head of an `async with`.
    Acquire,
    /// The taken lock waits for who has it.
    HeldBy,
    /// The taken lock waits for who has taken it by a plain `acquire`: as likely as not, somebody else gives it back.
    TakenBy,
    /// `Queue.get`.
    Get,
    /// `Queue.put`.
    Put,
    /// `Queue.join`.
    Join,
    /// `wait` of a condition, an event or a barrier.
    Wait,
    /// A child of a `gather`.
    Gather,
    /// A task of a task group.
    TaskGroup,
    /// The inner one of a `shield`.
    Shield,
    /// A member of `wait` or `as_completed`: one may be enough, and nothing is passed on to it.
    Member,
    /// A timer, a descriptor, a child process or a job will finish it.
    FinishedBy,
    /// Another way.
    #[serde(other)]
    Other,
}

/// What only a task has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// The qualified name of its coroutine, or the type of its future.
    pub coroutine: String,
    /// What it is doing.
    pub state: TaskState,
    /// Its language.
    pub language: Language,
    /// Since it was made; where that is not recorded, since the monitor first saw it (`age_is_least`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// It may be older than `age_ms`.
    #[serde(skip_serializing_if = "is_false")]
    pub age_is_least: bool,
    /// Since when it has been waiting where it is, as far as the monitor has seen it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_ms: Option<u64>,
    /// Steps that it has run; counted by tasks of aioxide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Time for which its steps have run, since somebody first asked over the socket; without the time of tasks that were started eagerly
    /// inside of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ran_us: Option<u64>,
    /// Cancellations that were asked for.
    #[serde(skip_serializing_if = "is_zero_32")]
    pub cancelling: u32,
    /// The innermost frame: where it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Frame>,
    /// Where it was created, when that is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Frame>,
    /// The task that created it, or whose task group it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// Its frames, the innermost last; only when stacks were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Frame>,
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Its step runs now.
    Running,
    /// It will run in this iteration or the next.
    Ready,
    /// It waits on something.
    #[default]
    Waiting,
    /// It is done; nobody has let go of it.
    Done,
    /// Another one.
    #[serde(other)]
    Other,
}

/// A place in a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// The file as the program names it.
    pub file: String,
    /// The line; 0 when it is not known.
    pub line: u32,
    /// The function's qualified name.
    pub function: String,
}

/// Facts about a node that is not a task. Each is there only where it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// Items in a queue; free places of a semaphore; members of a barrier that have come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// The limit of a queue (0: none) or a barrier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Whether a lock is taken; whether an event is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<bool>,
    /// Milliseconds until a timer is due; negative when it is late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<f64>,
    /// A descriptor's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd: Option<i32>,
    /// What a descriptor waits for: `read`, `write` or `read,write`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub direction: String,
    /// The other end of a descriptor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
    /// A child process's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

impl Detail {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The stacks of tasks and of the threads that run loops.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stacks {
    /// One for each task that was asked for and found.
    pub tasks: Vec<TaskStack>,
    /// One for each thread of the program that runs code of its language.
    pub threads: Vec<ThreadStack>,
}

/// A task's frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskStack {
    /// The task.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The innermost last.
    pub frames: Vec<Frame>,
}

/// A thread's frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadStack {
    /// The thread's native id.
    pub thread: u64,
    /// Its name.
    pub name: String,
    /// The loop that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_id: Option<Id>,
    /// The task whose step it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The innermost last.
    pub frames: Vec<Frame>,
}

/// A task that has ended, among those that a snapshot had shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// What its id was; another thing may have it now.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Its coroutine.
    pub coroutine: String,
    /// How it ended.
    pub why: Why,
    /// The class of the exception, for `raised`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub exception: String,
    /// When that was noticed, in milliseconds since 1970.
    pub noticed_unix_ms: u64,
    /// From when the monitor first saw it.
    pub lived_ms: u64,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It returned.
    Returned,
    /// It raised an exception, or panicked.
    Raised,
    /// It was cancelled.
    Cancelled,
    /// It is gone, and nothing kept its outcome.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Tasks that nobody can wake any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadlock {
    /// The loop.
    pub loop_id: Id,
    /// The ids on a cycle in the order of their edges; empty when there is none.
    pub cycle: Vec<Id>,
    /// Otherwise: what the chains end in, and nobody will do anything about.
    pub ends: Vec<Id>,
    /// How many tasks cannot go on because of it.
    pub tasks: u64,
    /// The same for people: a line per node.
    pub text: String,
}

impl Snapshot {
    /// The node with this id.
    ///
    /// It looks at all of them; [`crate::graph::Graph`] has an index.
    #[must_use]
    pub fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The nodes that are tasks.
    pub fn tasks(&self) -> impl Iterator<Item = (&Node, &Task)> {
        self.nodes.iter().filter_map(|node| Some((node, node.task.as_ref()?)))
    }

    /// Makes `waited_by` of all nodes anew from their `waits_on`, in linear time.
    pub fn link(&mut self) {
        let places: std::collections::HashMap<Id, usize> =
            self.nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
        let mut waited_by = vec![Vec::new(); self.nodes.len()];
        for node in &self.nodes {
            for edge in &node.waits_on {
                if let Some(place) = places.get(&edge.to)
                    && waited_by[*place].last() != Some(&node.id)
                {
                    waited_by[*place].push(node.id);
                }
            }
        }
        for (node, waited_by) in self.nodes.iter_mut().zip(waited_by) {
            node.waited_by = waited_by;
        }
    }
}

/// Cuts a text to at most `limit` bytes, at a character's end; what was cut ends in `…`.
#[must_use]
pub fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Whether a character would move a terminal's cursor, or turn the direction of writing.
#[must_use]
pub fn is_unsafe_to_show(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text with replacement characters for what is not safe to show.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe_to_show) {
        return Cow::Borrowed(text);
    }
    let shown = |character| if is_unsafe_to_show(character) { '\u{fffd}' } else { character };
    Cow::Owned(text.chars().map(shown).collect())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero_32(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

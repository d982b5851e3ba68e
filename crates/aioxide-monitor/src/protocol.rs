//! What goes over the socket: one JSON object a line, each request answered by one line, in order.
//!
//! ```text
//! -> {"id": 1, "ask": "hello"}
//! <- {"id": 1, "answer": "hello", "hello": {"protocol": 1, "program": {"pid": 4711, …}}}
//! -> {"id": 2, "ask": "snapshot", "stacks": false, "limit": 100000}
//! <- {"id": 2, "answer": "snapshot", "snapshot": {…}}
//! -> {"id": 3, "ask": "cancel", "task": 139872, "name": "Task-7"}
//! <- {"id": 3, "answer": "cancelled", "cancelled": true}
//! -> {"id": 4, "ask": "record", "ms": 1000}          … and a second later {"ask": "recorded"}
//! <- {"id": 4, "answer": "recording"}
//! -> {"id": 5, "ask": "dance"}
//! <- {"id": 5, "answer": "error", "kind": "bad_request", "text": "unknown variant `dance` …"}
//! ```
//!
//! The socket is `PID.sock` in the user's folder ([`crate::place`]). A request line is at most [`REQUEST_LIMIT`] bytes;
//! after a longer one the server ends the connection. The `id` is the client's own and comes back as it is.

use serde::{Deserialize, Serialize};

use crate::schema::{Deadlock, Ended, Id, Lag, Program, Snapshot, Stacks};
use crate::timeline::Timeline;

/// The version of the protocol; requests and answers may be added under the same.
pub const PROTOCOL: u32 = 1;

/// The longest request, in bytes.
pub const REQUEST_LIMIT: usize = 64 * 1024;

/// The longest answer that a client reads, in bytes: 200 000 tasks with stacks stay below.
pub const ANSWER_LIMIT: u64 = 1 << 30;

/// Tasks of one snapshot, when the request does not say.
pub const DEFAULT_LIMIT: u32 = 200_000;

/// Tasks whose stacks one request may ask for.
pub const STACKS_LIMIT: usize = 1_000;

/// Ended tasks that are remembered.
pub const HISTORY_LIMIT: usize = 1_000;

/// A question, with the number that the answer brings back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The client's own number.
    #[serde(default)]
    pub id: u64,
    /// The question.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Who are you?
    Hello,
    /// Everything, at one time.
    Snapshot(SnapshotOptions),
    /// The stacks of these tasks, and of the threads that run loops; also while a loop is blocked.
    Stacks {
        /// At most [`STACKS_LIMIT`]; may be empty.
        #[serde(default)]
        tasks: Vec<Id>,
    },
    /// Cancel a task.
    Cancel {
        /// Its id in a snapshot.
        task: Id,
        /// Its name there. It has to be the same still: an id may belong to another task by now.
        name: String,
    },
    /// Tasks that have ended, the newest first.
    History {
        /// At most so many.
        #[serde(default)]
        limit: Option<u32>,
    },
    /// How late the loops answer. Answered from numbers that are kept, also while the interpreter is held.
    Lag,
    /// Tasks that nobody can wake any more.
    Deadlocks,
    /// Record what the loops run from now on.
    Record {
        /// For at most so many milliseconds ([`crate::timeline::LENGTH_LIMIT_MS`]).
        ms: u64,
    },
    /// End that, and tell what was recorded.
    Recorded,
}

/// What a snapshot is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotOptions {
    /// Every task's whole stack.
    pub stacks: bool,
    /// At most so many tasks; [`DEFAULT_LIMIT`] if not given.
    pub limit: Option<u32>,
}

/// An answer, with the number of its question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The request's; 0 when it could not be read.
    #[serde(default)]
    pub id: u64,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What can be answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Ask::Hello`].
    Hello {
        /// Who answers.
        hello: Hello,
    },
    /// To [`Ask::Snapshot`].
    Snapshot {
        /// Linked already: `waited_by` is there.
        snapshot: Box<Snapshot>,
    },
    /// To [`Ask::Stacks`].
    Stacks {
        /// Those that were found.
        stacks: Stacks,
    },
    /// To [`Ask::Cancel`].
    Cancelled {
        /// False when the task was done already.
        cancelled: bool,
    },
    /// To [`Ask::History`].
    History {
        /// The newest first.
        history: Vec<Ended>,
    },
    /// To [`Ask::Lag`].
    Lag {
        /// One for each loop that the watchdog beats.
        lag: Vec<Lag>,
    },
    /// To [`Ask::Deadlocks`].
    Deadlocks {
        /// One for each cycle, or each loop whose chains end.
        deadlocks: Vec<Deadlock>,
    },
    /// To [`Ask::Record`].
    Recording,
    /// To [`Ask::Recorded`].
    Timeline {
        /// Of the loops that were running.
        timeline: Box<Timeline>,
    },
    /// To anything that could not be answered.
    Error(Refusal),
}

/// Who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// [`PROTOCOL`] of the program.
    pub protocol: u32,
    /// [`crate::schema::VERSION`] of the program.
    pub schema: u32,
    /// The program.
    pub program: Program,
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of reason.
    pub kind: RefusalKind,
    /// The reason for people.
    #[serde(default)]
    pub text: String,
}

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The line is no request.
    BadRequest,
    /// There is no such task, or it has another name.
    UnknownTask,
    /// The interpreter does not let anybody in: something keeps its lock.
    Held,
    /// Too many questions at a time.
    Busy,
    /// This program does not answer such questions.
    Unsupported,
    /// Anything else.
    #[serde(other)]
    Failed,
}

impl Refusal {
    /// A refusal with its text.
    pub fn new(kind: RefusalKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

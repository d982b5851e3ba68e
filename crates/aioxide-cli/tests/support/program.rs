//! A program that can be looked into: the monitor's real server over tasks that a test makes up.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use aioxide_monitor::protocol::{Refusal, RefusalKind, SnapshotOptions};
use aioxide_monitor::schema::*;
use aioxide_monitor::server::Server;
use aioxide_monitor::source::Source;
use aioxide_monitor::timeline::{LoopTimeline, Span};
use tempfile::TempDir;

/// A running monitor with its folder.
pub struct Program {
    pub folder: TempDir,
    pub source: Arc<Made>,
    server: Option<Server>,
}

/// What the monitor answers from.
#[derive(Default)]
pub struct Made {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub struct State {
    pub snapshot: Snapshot,
    pub lag: Vec<Lag>,
    pub stacks: Stacks,
    pub history: Vec<Ended>,
    pub cancelled: Vec<(Id, String)>,
    /// For how long it was asked to record, and what it says it has run.
    pub recorded: Option<Duration>,
    pub timelines: Vec<LoopTimeline>,
    /// How many snapshots were taken.
    pub looks: usize,
    /// A refusal in place of every snapshot and recording.
    pub refuses: Option<String>,
}

impl Program {
    /// Starts a monitor where `aioxide top` finds it with [`Program::environment`].
    pub fn start(snapshot: Snapshot) -> Self {
        let folder = tempfile::tempdir().unwrap();
        aioxide_monitor::place::make_private(&folder.path().join("aioxide")).unwrap();
        let source = Arc::new(Made::default());
        source.lock().snapshot = snapshot;
        let mut program = Self { folder, source, server: None };
        program.open();
        program
    }

    /// Opens the socket.
    pub fn open(&mut self) {
        self.server = Some(Server::start(Some(&self.socket()), Arc::clone(&self.source) as _).unwrap());
    }

    /// Ends the monitor, as the program's end does.
    pub fn end(&mut self) {
        self.server = None;
    }

    /// The socket that belongs to this process.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("aioxide").join(format!("{}.sock", std::process::id()))
    }

    /// The value of `XDG_RUNTIME_DIR` with which the program is found.
    pub fn environment(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> String {
        std::process::id().to_string()
    }
}

impl Made {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until the state is so.
    #[track_caller]
    pub fn wait(&self, until: impl Fn(&State) -> bool) {
        let (_state, result) = self
            .changed
            .wait_timeout_while(self.lock(), Duration::from_secs(60), |state| !until(state))
            .unwrap();
        assert!(!result.timed_out(), "the monitor was not asked for what the test waits for");
    }
}

impl Source for Made {
    fn program(&self) -> aioxide_monitor::schema::Program {
        aioxide_monitor::schema::Program {
            pid: std::process::id(),
            name: "server.py".into(),
            runtime: "CPython 3.13.1".into(),
            aioxide: "0.1.0".into(),
            ..Default::default()
        }
    }

    fn snapshot(&self, _options: &SnapshotOptions) -> Result<Snapshot, Refusal> {
        let mut state = self.lock();
        state.looks += 1;
        self.changed.notify_all();
        match &state.refuses {
            Some(text) => Err(Refusal::new(RefusalKind::Held, text.clone())),
            None => Ok(state.snapshot.clone()),
        }
    }

    fn stacks(&self, tasks: &[Id]) -> Result<Stacks, Refusal> {
        let mut stacks = self.lock().stacks.clone();
        stacks.tasks.retain(|stack| tasks.contains(&stack.id));
        Ok(stacks)
    }

    fn cancel(&self, task: Id, name: &str) -> Result<bool, Refusal> {
        let mut state = self.lock();
        state.cancelled.push((task, name.to_owned()));
        state.snapshot.nodes.retain(|node| node.id != task);
        self.changed.notify_all();
        Ok(true)
    }

    fn history(&self, limit: usize) -> Result<Vec<Ended>, Refusal> {
        Ok(self.lock().history.iter().take(limit).cloned().collect())
    }

    fn record(&self, length: Duration) -> Result<(), Refusal> {
        let mut state = self.lock();
        if let Some(told) = &state.refuses {
            return Err(Refusal::new(RefusalKind::Busy, told.clone()));
        }
        state.recorded = Some(length);
        Ok(())
    }

    fn recorded(&self) -> Result<Vec<LoopTimeline>, Refusal> {
        Ok(self.lock().timelines.clone())
    }

    fn lag(&self) -> Vec<Lag> {
        self.lock().lag.clone()
    }
}

/// A task that waits on something.
pub fn task(id: Id, name: &str, coroutine: &str, waits_on: &[(Id, How)]) -> Node {
    let at = Frame { file: "/srv/server.py".into(), line: 10 + (id % 50) as u32, function: coroutine.into() };
    Node {
        id,
        kind: Kind::Task,
        name: name.into(),
        loop_id: Some(1),
        waits_on: waits_on.iter().map(|(to, how)| Edge { to: *to, how: *how }).collect(),
        task: Some(Task {
            coroutine: coroutine.into(),
            age_ms: Some(1_000 + id),
            waiting_ms: Some(id),
            steps: Some(id % 7),
            ran_us: Some(id * 3),
            at: Some(at),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Something that is waited on.
pub fn thing(id: Id, kind: Kind, name: &str, waits_on: &[(Id, How)]) -> Node {
    Node { kind, task: None, ..task(id, name, "", waits_on) }
}

/// A server: `requests` tasks wait on a semaphore, two more on each other's locks, one runs, one sleeps.
pub fn server(requests: u64) -> Snapshot {
    let mut nodes = vec![
        thing(2, Kind::Semaphore, "Semaphore db", &[]),
        thing(3, Kind::Lock, "Lock accounts", &[(11, How::HeldBy)]),
        thing(4, Kind::Lock, "Lock orders", &[(10, How::HeldBy)]),
        thing(5, Kind::Timer, "timer", &[]),
        thing(6, Kind::Descriptor, "socket", &[]),
        task(10, "transfer", "move_money", &[(3, How::Acquire)]),
        task(11, "audit", "check_orders", &[(4, How::Acquire)]),
        task(12, "ticker", "tick", &[(5, How::FinishedBy)]),
        task(13, "main", "serve_forever", &[(6, How::FinishedBy)]),
        task(14, "waiter", "wait_for_audit", &[(11, How::Await)]),
    ];
    nodes[0].detail = Detail { size: Some(0), ..Default::default() };
    nodes[3].detail = Detail { left_ms: Some(750.0), ..Default::default() };
    nodes[4].detail =
        Detail { fd: Some(7), direction: "read".into(), peer: "10.0.0.9:443".into(), ..Default::default() };
    nodes.extend((0..requests).map(|number| {
        task(1_000 + number, &format!("Task-{number}"), "handle_request", &[(2, How::Acquire)])
    }));
    let tasks = nodes.iter().filter(|node| node.task.is_some()).count() as u64;
    Snapshot {
        loops: vec![Loop {
            id: 1,
            class: "aioxide.EventLoop".into(),
            running: true,
            ready: Some(3),
            timers: Some(1),
            descriptors: Some(2),
            jobs: Some(0),
            tasks,
            durations: Some(Durations {
                runs: 1_500,
                total_us: 90_000,
                longest_us: 7_000,
                histogram: vec![0, 1_000, 400, 90, 9, 1, 0, 0, 0, 0, 0, 0],
            }),
            ..Default::default()
        }],
        nodes,
        ..Default::default()
    }
}

/// A loop's lag.
pub fn lag(last_us: u64, waiting_us: u64) -> Lag {
    Lag {
        loop_id: 1,
        last_us,
        longest_us: 48_000,
        waiting_us,
        beats: 110,
        histogram: vec![60, 30, 10, 5, 3, 1, 1, 0, 0, 0, 0, 0, 0],
        blocked: 2,
        collector: None,
    }
}

/// The stack of a thread that sleeps in a handler.
pub fn blocked_stacks() -> Stacks {
    let frame =
        |line, function: &str| Frame { file: "/srv/server.py".into(), line, function: function.into() };
    Stacks {
        tasks: vec![TaskStack {
            id: 10,
            name: "transfer".into(),
            frames: vec![frame(88, "main"), frame(31, "move_money")],
        }],
        threads: vec![ThreadStack {
            thread: 77,
            name: "MainThread".into(),
            loop_id: Some(1),
            task: Some(1_000),
            frames: vec![frame(20, "handle_request"), frame(99, "slow_hash")],
        }],
    }
}

/// What a loop says that it has run: a task that wakes another over and over, and one long step.
pub fn timeline() -> LoopTimeline {
    let mut spans = Vec::new();
    for number in 0..200 {
        let (name, code, task) =
            if number % 2 == 0 { ("reader", "read_all", 20) } else { ("writer", "write_all", 21) };
        let began_ns = number * 1_000_000;
        spans.push(Span {
            number,
            queued_by: number.checked_sub(1),
            queued_ns: began_ns.saturating_sub(500_000),
            began_ns,
            ended_ns: began_ns + 300_000,
            kind: "step".into(),
            name: name.into(),
            code: code.into(),
            task: Some(task),
        });
    }
    let (began_ns, ended_ns) = (300_000_000, 900_000_000);
    let long = Span {
        number: 200,
        began_ns,
        ended_ns,
        kind: "callback".into(),
        name: "slow<b>".into(),
        ..Span::default()
    };
    spans.push(long);
    LoopTimeline { loop_id: 1, length_ns: 1_000_000_000, left_out: 0, spans }
}

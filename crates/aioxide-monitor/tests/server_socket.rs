//! The server over its real socket: who may come, what is answered, what is refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use aioxide_monitor::client::{self, Client};
use aioxide_monitor::protocol::{Ask, REQUEST_LIMIT, Refusal, RefusalKind, SnapshotOptions};
use aioxide_monitor::schema::{
    Edge, Ended, How, Id, Kind, Lag, Node, Program, Snapshot, Stacks, Task, VERSION,
};
use aioxide_monitor::server::CONNECTIONS;
use aioxide_monitor::timeline::{LENGTH_LIMIT_MS, LoopTimeline, Span};
use aioxide_monitor::{Server, Source};

/// A program of `tasks` tasks that wait on one semaphore; the looks wait while the gate is closed.
#[derive(Default)]
struct Fake {
    tasks: u64,
    closed: Mutex<bool>,
    opened: Condvar,
    held: AtomicBool,
    recording: AtomicBool,
}

impl Source for Fake {
    fn program(&self) -> Program {
        Program { pid: std::process::id(), name: "fake".into(), ..Program::default() }
    }

    fn snapshot(&self, options: &SnapshotOptions) -> Result<Snapshot, Refusal> {
        let mut closed = self.closed.lock().expect("works");
        while *closed {
            closed = self.opened.wait(closed).expect("works");
        }
        let task = |id| Node {
            id,
            kind: Kind::Task,
            name: format!("Task-{id}"),
            waits_on: vec![Edge { to: 1 << 40, how: How::Acquire }],
            task: Some(Task { coroutine: "work".into(), ..Task::default() }),
            ..Node::default()
        };
        let shown = self.tasks.min(u64::from(options.limit.expect("works")));
        let mut nodes: Vec<Node> = (0..shown).map(task).collect();
        nodes.push(Node { id: 1 << 40, kind: Kind::Semaphore, ..Node::default() });
        Ok(Snapshot { nodes, left_out: self.tasks - shown, ..Snapshot::default() })
    }

    fn stacks(&self, _: &[Id]) -> Result<Stacks, Refusal> {
        panic!("a source with a fault")
    }

    fn cancel(&self, task: Id, name: &str) -> Result<bool, Refusal> {
        if name == format!("Task-{task}") {
            return Ok(true);
        }
        Err(Refusal::new(RefusalKind::UnknownTask, "it has another name"))
    }

    fn history(&self, limit: usize) -> Result<Vec<Ended>, Refusal> {
        Ok(vec![Ended::default(); limit.min(3)])
    }

    fn record(&self, _: Duration) -> Result<(), Refusal> {
        match self.recording.swap(true, Ordering::SeqCst) {
            true => Err(Refusal::new(RefusalKind::Busy, "somebody records already")),
            false => Ok(()),
        }
    }

    fn recorded(&self) -> Result<Vec<LoopTimeline>, Refusal> {
        self.recording.store(false, Ordering::SeqCst);
        let span = Span { number: 1, queued_by: Some(0), task: Some(7), ..Span::default() };
        Ok(vec![LoopTimeline { loop_id: 5, spans: vec![span], ..LoopTimeline::default() }])
    }

    fn lag(&self) -> Vec<Lag> {
        vec![Lag { beats: 7, ..Lag::default() }]
    }

    fn held_for(&self) -> Duration {
        if self.held.load(Ordering::SeqCst) { Duration::from_secs(3) } else { Duration::ZERO }
    }
}

struct Running {
    folder: tempfile::TempDir,
    source: Arc<Fake>,
    server: Server,
}

fn start(tasks: u64) -> Running {
    let folder = tempfile::tempdir().expect("works");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("works");
    let source = Arc::new(Fake { tasks, ..Fake::default() });
    let path = folder.path().join("1.sock");
    let server = Server::start(Some(&path), Arc::clone(&source) as Arc<dyn Source>).expect("works");
    Running { folder, source, server }
}

impl Running {
    fn client(&self) -> Client {
        Client::connect(self.server.path()).expect("works")
    }
}

#[test]
fn questions_are_answered() {
    let running = start(3);
    let mut client = running.client();
    assert_eq!(client.hello().unwrap().program.name, "fake");
    let snapshot = client.snapshot(SnapshotOptions::default()).unwrap();
    assert_eq!((snapshot.version, snapshot.nodes.len()), (VERSION, 4));
    assert_eq!(snapshot.nodes[3].waited_by, [0, 1, 2]);
    assert!(client.cancel(2, "Task-2").unwrap());
    let refused = client.cancel(2, "Task-9").unwrap_err();
    assert_eq!(refused.refusal().unwrap().kind, RefusalKind::UnknownTask);
    assert_eq!(client.history(Some(2)).unwrap().len(), 2);
    assert_eq!(client.lag().unwrap()[0].beats, 7);
    assert_eq!(client.deadlocks().unwrap(), []);
    let refused = client.stacks(vec![1; 1_001]).unwrap_err();
    assert_eq!(refused.refusal().unwrap().kind, RefusalKind::BadRequest);
}

#[test]
fn limit_leaves_tasks_out_and_says_so() {
    let running = start(10);
    let snapshot =
        running.client().snapshot(SnapshotOptions { limit: Some(4), ..SnapshotOptions::default() }).unwrap();
    assert_eq!((snapshot.tasks().count(), snapshot.left_out), (4, 6));
}

#[test]
fn hundred_thousand_tasks_come_through() {
    let running = start(100_000);
    let snapshot = running.client().snapshot(SnapshotOptions::default()).unwrap();
    assert_eq!(snapshot.tasks().count(), 100_000);
}

#[test]
fn source_that_panics_loses_its_answer_only() {
    let running = start(1);
    let mut client = running.client();
    assert_eq!(client.stacks(Vec::new()).unwrap_err().refusal().unwrap().kind, RefusalKind::Failed);
    assert_eq!(client.snapshot(SnapshotOptions::default()).unwrap().nodes.len(), 2);
}

#[test]
fn socket_and_folder_are_closed_to_others() {
    let running = start(0);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(running.server.path()), 0o600);
    let open = tempfile::tempdir().unwrap();
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let source = Arc::clone(&running.source) as Arc<dyn Source>;
    let refused = Server::start(Some(&open.path().join("1.sock")), source).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(client::find_in(open.path()).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn folder_that_is_a_link_is_refused() {
    let running = start(0);
    let link = running.folder.path().join("link");
    std::os::unix::fs::symlink(running.folder.path(), &link).unwrap();
    let refused = aioxide_monitor::place::make_private(&link).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let made = running.folder.path().join("made");
    aioxide_monitor::place::make_private(&made).unwrap();
    assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    aioxide_monitor::place::make_private(&made).unwrap();
}

#[test]
fn programs_are_found_and_dead_sockets_removed() {
    let running = start(0);
    let dead = running.folder.path().join("77.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    std::fs::write(running.folder.path().join("notes.txt"), "").unwrap();
    let found = client::find_in(running.folder.path()).unwrap();
    assert_eq!(found.iter().map(|one| one.pid).collect::<Vec<_>>(), [1]);
    assert!(!dead.exists());
    assert_eq!(client::find_in(&running.folder.path().join("nowhere")).unwrap(), []);
}

#[test]
fn second_server_at_a_path_is_refused_and_a_dead_socket_replaced() {
    let mut running = start(0);
    let path: PathBuf = running.server.path().to_owned();
    let source = Arc::clone(&running.source) as Arc<dyn Source>;
    let refused = Server::start(Some(&path), Arc::clone(&source)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    running.server.stop();
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(Server::start(Some(&path), source).is_ok());
    let file = running.folder.path().join("file.sock");
    std::fs::write(&file, "mine").unwrap();
    let source = Arc::clone(&running.source) as Arc<dyn Source>;
    assert!(Server::start(Some(&file), source).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn line_that_is_no_request_is_answered_and_the_next_one_too() {
    let running = start(0);
    let mut stream = BufReader::new(UnixStream::connect(running.server.path()).unwrap());
    stream.get_mut().write_all(b"{\"id\": 4, \"ask\": \"dance\"}\nrubbish\n{\"ask\": \"lag\"}\n").unwrap();
    let mut lines = Vec::new();
    for _ in 0..3 {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        lines.push(line);
    }
    assert!(lines[0].starts_with(r#"{"id":4,"answer":"error","kind":"bad_request","text":"#), "{}", lines[0]);
    assert!(lines[1].starts_with(r#"{"id":0,"answer":"error","kind":"bad_request""#), "{}", lines[1]);
    assert!(lines[2].starts_with(r#"{"id":0,"answer":"lag""#), "{}", lines[2]);
}

#[test]
fn request_without_end_is_refused() {
    let running = start(0);
    let mut stream = UnixStream::connect(running.server.path()).unwrap();
    // The server may end the connection before all is written.
    let _ = stream.write_all(&vec![b' '; REQUEST_LIMIT + 1]);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.contains("longer than"), "{answer}");
}

#[test]
fn connection_beyond_the_limit_is_told_so() {
    let running = start(0);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| running.client()).collect();
    for client in &mut clients {
        client.hello().unwrap();
    }
    let refused = running.client().ask(Ask::Hello).unwrap_err();
    let busy = refused.refusal().is_some_and(|refusal| refusal.kind == RefusalKind::Busy);
    assert!(busy || refused.io().is_some(), "{refused:?}");
    drop(clients);
}

#[test]
fn program_that_lets_nobody_in_is_answered_for_all_the_same() {
    let running = start(1);
    *running.source.closed.lock().unwrap() = true;
    running.source.held.store(true, Ordering::SeqCst);
    let mut client = running.client();
    let refused = client.snapshot(SnapshotOptions::default()).unwrap_err();
    assert_eq!(refused.refusal().unwrap().kind, RefusalKind::Held);
    assert_eq!(client.lag().unwrap()[0].beats, 7);
    running.source.held.store(false, Ordering::SeqCst);
    *running.source.closed.lock().unwrap() = false;
    running.source.opened.notify_all();
    assert_eq!(client.snapshot(SnapshotOptions::default()).unwrap().nodes.len(), 2);
}

#[test]
fn stopping_ends_the_connections_also_while_a_look_is_under_way() {
    let mut running = start(1);
    *running.source.closed.lock().unwrap() = true;
    let mut client = running.client();
    let mut idle = running.client();
    idle.hello().unwrap();
    let waiting = std::thread::spawn(move || client.snapshot(SnapshotOptions::default()).is_err());
    running.server.stop();
    assert!(idle.hello().is_err());
    *running.source.closed.lock().unwrap() = false;
    running.source.opened.notify_all();
    waiting.join().unwrap();
    assert!(!running.server.path().exists());
}

#[test]
fn recording_is_begun_once_and_told() {
    let running = start(0);
    let mut client = Client::connect(running.server.path()).unwrap();
    client.record(Duration::from_millis(LENGTH_LIMIT_MS)).unwrap();
    let again = client.record(Duration::from_millis(1)).unwrap_err();
    assert_eq!(again.refusal().unwrap().kind, RefusalKind::Busy);
    let too_long = client.record(Duration::from_millis(LENGTH_LIMIT_MS + 1)).unwrap_err();
    assert_eq!(too_long.refusal().unwrap().kind, RefusalKind::BadRequest);
    let timeline = client.recorded().unwrap();
    assert_eq!(timeline.program.name, "fake");
    assert_eq!((timeline.loops[0].loop_id, timeline.loops[0].spans[0].task), (5, Some(7)));
}

//! What `aioxide top` sees of a Rust program: a process of its own, asked over its real socket.

#![cfg(feature = "monitor")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use aioxide::sync::{Mutex, Queue};
use aioxide::time::sleep;
use aioxide::{Runtime, spawn, task_group};
use aioxide_monitor::client::{self, Client};
use aioxide_monitor::protocol::{RefusalKind, SnapshotOptions};
use aioxide_monitor::schema::{How, Kind, Language, Node, Snapshot, TaskState, Why};

const ROLE: &str = "AIOXIDE_TEST_MONITORED";

/// Waits for standard input to end, without keeping the loop.
async fn told_to_end() {
    aioxide::to_thread(|| std::io::stdin().read_line(&mut String::new()).unwrap()).await.unwrap();
}

fn say_ready() {
    let mut output = std::io::stdout();
    output.write_all(b"ready\n").unwrap();
}

async fn many_kinds() {
    let lock = Rc::new(Mutex::new(()));
    let queue = Rc::new(Queue::<u32>::new(0));
    let guard = lock.lock().await;
    let mut tasks = Vec::new();
    for _ in 0..5 {
        let lock = Rc::clone(&lock);
        tasks.push(spawn(async move { drop(lock.lock().await) }));
    }
    for _ in 0..2 {
        let queue = Rc::clone(&queue);
        tasks.push(spawn(async move { queue.get().await.map(drop).unwrap() }));
    }
    let sleeper = spawn(sleep(Duration::from_secs(1000)));
    sleeper.set_name("the sleeper");
    let child = spawn(async {
        let never = task_group(async |group| {
            drop(group.spawn(async {
                sleep(Duration::from_secs(1000)).await;
                Ok::<(), ()>(())
            }));
            Ok(())
        });
        drop(never.await);
    });
    let parent = spawn(child);
    parent.set_name("the parent");
    aioxide::yield_now().await;
    say_ready();
    told_to_end().await;
    drop((guard, sleeper));
}

async fn circle() {
    // Each waits for the other's end.
    let other: Rc<std::cell::RefCell<Option<aioxide::Task<()>>>> = Rc::default();
    let taken = Rc::clone(&other);
    let one = spawn(async move {
        aioxide::yield_now().await;
        let two = taken.borrow_mut().take().unwrap();
        two.await;
    });
    let finished = one.any().clone();
    *other.borrow_mut() = Some(spawn(async move { finished.finished().await }));
    sleep(Duration::from_millis(1)).await;
    say_ready();
    told_to_end().await;
    drop(one);
}

/// Two tasks that take two locks, each in its own order.
async fn two_locks() {
    let (first, second) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
    let take = |one: &Rc<Mutex<()>>, two: &Rc<Mutex<()>>, name: &'static str| {
        let (one, two) = (Rc::clone(one), Rc::clone(two));
        let transfer = async move {
            let _one = one.lock().await;
            aioxide::yield_now().await;
            let _two = two.lock().await;
        };
        aioxide::Task::builder().name(name).spawn(transfer)
    };
    let tasks = [take(&first, &second, "there"), take(&second, &first, "back")];
    // One that waits behind them, and one that has given up.
    let third = spawn(async move { drop(first.lock().await) });
    sleep(Duration::from_millis(1)).await;
    let gave_up = aioxide::timeout(Duration::from_millis(1), async { drop(second.lock().await) }).await;
    assert!(gave_up.is_err());
    say_ready();
    told_to_end().await;
    drop((tasks, third));
}

/// The same two tasks, each with another way out: a deadline, another branch.
async fn two_locks_and_ways_out(way: &'static str) {
    let (first, second) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
    let take = |one: &Rc<Mutex<()>>, two: &Rc<Mutex<()>>| {
        let (one, two) = (Rc::clone(one), Rc::clone(two));
        spawn(async move {
            let _one = one.lock().await;
            aioxide::yield_now().await;
            if way == "deadline" {
                let _late = aioxide::timeout(Duration::from_secs(1000), two.lock()).await;
            } else {
                let stop = aioxide::sync::Event::new();
                aioxide::race! {
                    () = stop.wait() => {},
                    _ = two.lock() => {},
                }
            }
        })
    };
    let tasks = [take(&first, &second), take(&second, &first)];
    sleep(Duration::from_millis(1)).await;
    say_ready();
    told_to_end().await;
    drop(tasks);
}

/// A lock goes from one to the next, and the holder with it.
async fn lock_that_goes_on() {
    let lock = Rc::new(Mutex::new(()));
    let take = |name: &'static str| {
        let lock = Rc::clone(&lock);
        let hold = async move {
            let _guard = lock.lock().await;
            if name == "second" {
                told_to_end().await;
            }
        };
        aioxide::Task::builder().name(name).spawn(hold)
    };
    let tasks = ["first", "second", "third"].map(take);
    sleep(Duration::from_millis(1)).await;
    say_ready();
    for task in tasks {
        task.await;
    }
}

/// Two tasks that wake each other.
async fn ping_pong() {
    let (there, back) = (Rc::new(Queue::<u32>::new(1)), Rc::new(Queue::<u32>::new(1)));
    let (taken, given) = (Rc::clone(&there), Rc::clone(&back));
    let ping = spawn(async move {
        loop {
            taken.put(1).await.unwrap();
            given.get().await.unwrap();
        }
    });
    ping.set_name("ping");
    let pong = spawn(async move {
        loop {
            there.get().await.unwrap();
            back.put(1).await.unwrap();
        }
    });
    pong.set_name("pong");
    say_ready();
    told_to_end().await;
    drop((ping, pong));
}

async fn blocked() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        std::io::stdin().read_line(&mut String::new()).unwrap();
        release.send(()).unwrap();
    });
    spawn(async move {
        say_ready();
        held.recv().unwrap();
    })
    .await;
}

/// The program: runs only in a process that was started for it.
#[test]
fn program_that_is_looked_into() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = match role.as_str() {
        // By the variable.
        "many kinds" => Runtime::new().unwrap(),
        _ => Runtime::builder().monitor(true).build().unwrap(),
    };
    match role.as_str() {
        "many kinds" => runtime.block_on(many_kinds()).unwrap(),
        "ping-pong" => runtime.block_on(ping_pong()).unwrap(),
        "two locks" => runtime.block_on(two_locks()).unwrap(),
        "two locks, deadline" => runtime.block_on(two_locks_and_ways_out("deadline")).unwrap(),
        "two locks, branch" => runtime.block_on(two_locks_and_ways_out("branch")).unwrap(),
        "a lock" => runtime.block_on(lock_that_goes_on()).unwrap(),
        "circle" => runtime.block_on(circle()).unwrap(),
        "blocked" => runtime.block_on(blocked()).unwrap(),
        other => panic!("no role {other}"),
    }
    runtime.close();
    drop(runtime);
    assert!(client::find().unwrap().is_empty(), "the socket is closed with the last loop");
}

struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Program {
    fn start(role: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "program_that_is_looked_into", "--nocapture"]);
        command.env(ROLE, role).env("XDG_RUNTIME_DIR", folder.path());
        if role == "many kinds" {
            command.env("AIOXIDE_MONITOR", "1");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.by_ref().lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("ready")), "it ended before it was ready");
        Self { child, output, folder }
    }

    fn client(&self) -> Client {
        let found = client::find_in(&self.folder.path().join("aioxide")).unwrap().remove(0);
        assert_eq!(found.pid, self.child.id());
        Client::connect(&found.path).unwrap()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.output.read_to_end(&mut Vec::new()).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

fn snapshot(client: &mut Client) -> Snapshot {
    *client.snapshot(SnapshotOptions::default()).unwrap()
}

fn of_kind(snapshot: &Snapshot, kind: Kind) -> Vec<&Node> {
    snapshot.nodes.iter().filter(|node| node.kind == kind).collect()
}

#[test]
fn tasks_and_what_they_wait_for_are_told() {
    let program = Program::start("many kinds");
    let mut client = program.client();
    let snapshot = snapshot(&mut client);
    assert_eq!(snapshot.program.language, Language::Rust);
    let locks = of_kind(&snapshot, Kind::Lock);
    assert_eq!((locks.len(), locks[0].name.as_str(), locks[0].waited_by.len()), (1, "Mutex", 5));
    let queues = of_kind(&snapshot, Kind::Queue);
    assert_eq!((queues.len(), queues[0].waited_by.len()), (1, 2));
    let sleeper = snapshot.tasks().find(|(node, _)| node.name == "the sleeper").unwrap();
    assert_eq!(snapshot.node(sleeper.0.waits_on[0].to).unwrap().kind, Kind::Timer);
    assert_eq!(sleeper.1.coroutine, "Sleep");
    let created = sleeper.1.created.as_ref().unwrap();
    assert!(created.file.ends_with("tests/monitor.rs") && created.line > 0, "{created:?}");
    let names: Vec<&str> = snapshot.tasks().map(|(_, task)| task.coroutine.as_str()).collect();
    assert!(names.contains(&"many_kinds"), "{names:?}");
    // A block has no name but that of the function, and the place where it was spawned.
    assert!(names.iter().any(|name| name.starts_with("many_kinds, tests/monitor.rs:")), "{names:?}");
    // From the parent to the child, its group, and the group's task.
    let (parent, facts) = snapshot.tasks().find(|(node, _)| node.name == "the parent").unwrap();
    assert_eq!(facts.state, TaskState::Waiting);
    let child = snapshot.node(parent.waits_on[0].to).unwrap();
    let group = snapshot.node(child.waits_on[0].to).unwrap();
    assert_eq!((group.kind, group.waits_on[0].how), (Kind::TaskGroup, How::TaskGroup));
    assert_eq!(snapshot.node(group.waits_on[0].to).unwrap().kind, Kind::Task);
    let jobs = of_kind(&snapshot, Kind::Job);
    assert_eq!((jobs.len(), jobs[0].waited_by.len()), (1, 1));
    let event_loop = &snapshot.loops[0];
    assert!(event_loop.running && event_loop.thread.is_some());
    assert_eq!(
        (snapshot.loops.len(), event_loop.tasks, event_loop.jobs),
        (1, snapshot.tasks().count() as u64, Some(1))
    );
    assert!(client.deadlocks().unwrap().is_empty());
    program.end();
}

#[test]
fn task_is_cancelled_by_its_number_and_name() {
    let program = Program::start("many kinds");
    let mut client = program.client();
    let id = snapshot(&mut client).nodes.iter().find(|node| node.name == "the sleeper").unwrap().id;
    assert!(client.cancel(id, "another name").is_err());
    assert!(client.cancel(id, "the sleeper").unwrap());
    let again = snapshot(&mut client);
    assert!(again.node(id).is_none());
    let history = client.history(None).unwrap();
    let ended: Vec<_> = history.iter().map(|ended| (ended.name.as_str(), ended.why)).collect();
    assert_eq!(ended, [("the sleeper", Why::Cancelled)]);
    program.end();
}

#[test]
fn circle_is_found() {
    let program = Program::start("circle");
    let mut client = program.client();
    let found = client.deadlocks().unwrap();
    assert_eq!((found.len(), found[0].cycle.len(), found[0].tasks), (1, 2, 2));
    program.end();
}

#[test]
fn circle_of_locks_is_found() {
    let program = Program::start("two locks");
    let mut client = program.client();
    let found = client.deadlocks().unwrap();
    // Both tasks and both locks; the one behind them cannot go on either.
    assert_eq!((found.len(), found[0].cycle.len(), found[0].tasks), (1, 4, 3), "{found:?}");
    assert!(found[0].text.contains("there") && found[0].text.contains("back"), "{}", found[0].text);
    program.end();
}

#[test]
fn who_has_another_way_out_is_in_no_deadlock() {
    for role in ["two locks, deadline", "two locks, branch"] {
        let program = Program::start(role);
        let mut client = program.client();
        let snapshot = snapshot(&mut client);
        let locks = of_kind(&snapshot, Kind::Lock);
        assert!(locks.iter().all(|lock| lock.waits_on[0].how == How::HeldBy), "{role}: {locks:?}");
        assert_eq!(client.deadlocks().unwrap(), [], "{role}");
        program.end();
    }
}

#[test]
fn lock_tells_who_has_it_now() {
    let program = Program::start("a lock");
    let mut client = program.client();
    let snapshot = snapshot(&mut client);
    let locks = of_kind(&snapshot, Kind::Lock);
    assert_eq!((locks.len(), locks[0].waits_on.len(), locks[0].waits_on[0].how), (1, 1, How::HeldBy));
    assert_eq!(snapshot.node(locks[0].waits_on[0].to).unwrap().name, "second");
    assert_eq!(locks[0].detail.set, Some(true));
    assert!(client.deadlocks().unwrap().is_empty());
    program.end();
}

#[test]
fn loop_that_is_blocked_is_told() {
    let program = Program::start("blocked");
    let mut client = program.client();
    let refused = client.snapshot(SnapshotOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("has let nobody in"), "{refused}");
    program.end();
}

#[test]
fn steps_are_counted_and_timed_from_the_first_question_on() {
    let program = Program::start("ping-pong");
    let mut client = program.client();
    let mut ping = || {
        let nodes = snapshot(&mut client).nodes;
        let task = nodes.into_iter().find(|node| node.name == "ping").and_then(|node| node.task).unwrap();
        (task.steps.unwrap(), task.ran_us.unwrap())
    };
    let first = ping();
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(Duration::from_millis(20)).is_err());
    let second = ping();
    let durations = snapshot(&mut client).loops[0].durations.clone().unwrap();
    assert!(
        durations.runs > second.0 - first.0 && durations.total_us >= second.1,
        "{durations:?} {second:?}"
    );
    assert_eq!(durations.histogram.iter().sum::<u64>(), durations.runs);
    assert!(first.0 > 0 && second.0 > first.0 && second.1 > first.1, "{first:?} {second:?}");
    program.end();
}

#[test]
fn what_runs_is_recorded_with_who_woke_whom() {
    let program = Program::start("ping-pong");
    let mut client = program.client();
    client.record(Duration::from_secs(10)).unwrap();
    let again = client.record(Duration::from_secs(10)).unwrap_err();
    assert_eq!(again.refusal().unwrap().kind, RefusalKind::Busy);
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(Duration::from_millis(20)).is_err());
    let timeline = client.recorded().unwrap();
    let spans = &timeline.loops[0].spans;
    let of = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (ping, pong) = (of("ping"), of("pong"));
    assert!(ping.len() > 10 && pong.len() > 10, "{} {}", ping.len(), pong.len());
    assert!(ping[0].code.starts_with("tests/monitor.rs:") && ping[0].task.is_some(), "{:?}", ping[0]);
    // Each was woken by the other.
    let numbers: Vec<u64> = ping.iter().map(|span| span.number).collect();
    let woken = pong.iter().filter(|span| span.queued_by.is_some_and(|by| numbers.contains(&by))).count();
    assert!(woken * 10 > pong.len() * 9, "{woken} of {}", pong.len());
    assert!(client.recorded().is_err());
    program.end();
}

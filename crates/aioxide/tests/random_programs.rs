//! Random programs (tasks, scopes, groups, deadlines, locks, queues, moved futures, races) leave the log of stock asyncio.
//!
//! `tests/differential/timed.py` draws them and runs them on asyncio; `RANDOM_PROGRAMS` says how many, `RANDOM_SEED` from
//! which on.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::async_yields_async, reason = "futures that move from task to task")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env::var;
use std::future::{Future, poll_fn};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use aioxide::sync::{Event, Mutex, Queue, Semaphore};
use aioxide::time::{Instant, sleep, timeout};
use aioxide::{
    AnyTask, Task, TaskError, TaskGroup, all_tasks, catch_cancel, current_task, gather, shield, spawn,
    task_group, testing,
};
use futures_util::future::{Either, select};
use serde_json::Value;

/// As in the Python file.
const MOST_TASKS: usize = 12;
const END: u64 = 10_000_000;
const ROUNDS: u64 = 8;

type Line = (u64, String, String);
type Ended = Result<(), Failure>;
type Run = Pin<Box<dyn Future<Output = Ended>>>;

/// What a script fails with.
#[derive(Clone, Copy, Debug)]
struct Failure;

/// A task that others may look for.
#[derive(Clone)]
enum Kept {
    Script(Rc<Task<Ended>>),
    /// Of a group, which takes the failure: for whoever awaits the task it was cancelled.
    Member(Rc<Task<()>>),
}

impl Kept {
    fn any(&self) -> &AnyTask {
        match self {
            Self::Script(task) => task.any(),
            Self::Member(task) => task.any(),
        }
    }

    fn end(&self) -> &'static str {
        match self {
            Self::Script(task) if matches!(task.result(), Ok(Err(Failure))) => "failed",
            _ if !self.any().done() => "pending",
            _ if self.any().cancelled() => "cancelled",
            _ => "ok",
        }
    }
}

/// One run of one program.
struct World {
    scripts: Vec<Value>,
    begin: Instant,
    log: RefCell<Vec<Line>>,
    tasks: RefCell<BTreeMap<String, Kept>>,
    counts: RefCell<BTreeMap<String, u32>>,
    over: Cell<bool>,
    lock: Mutex<()>,
    semaphore: Semaphore,
    event: Event,
    queue: Queue<String>,
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// A length of time, a little different for each task: no two that run the same script act at the same time.
fn length(name: &str, value: &Value) -> Duration {
    let own = name.bytes().fold(7, |sum, byte| (sum * 31 + u64::from(byte)) % 9973);
    Duration::from_nanos(number(value) + own)
}

impl World {
    fn note(&self, name: &str, text: impl Into<String>) {
        if !self.over.get() {
            let now = self.begin.elapsed().as_nanos() as u64;
            self.log.borrow_mut().push((now, name.to_owned(), text.into()));
        }
    }

    fn child_of(&self, name: &str) -> String {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(name.to_owned()).or_insert(0);
        *count += 1;
        format!("{name}.{}", *count - 1)
    }

    fn has_room(&self) -> bool {
        self.tasks.borrow().len() < MOST_TASKS
    }

    fn spawn(self: &Rc<Self>, name: String, script: &Value) {
        if self.has_room() {
            let task = spawn(self.script(name.clone(), script));
            self.tasks.borrow_mut().insert(name, Kept::Script(Rc::new(task)));
        }
    }

    fn script(self: &Rc<Self>, name: String, script: &Value) -> Run {
        let world = Rc::clone(self);
        let script = world.scripts[number(script) as usize].clone();
        Box::pin(async move {
            world.note(&name, "starts");
            let ended = world.body(&name, &script).await;
            if ended.is_ok() {
                // In asyncio a task that cancels itself and returns without a wait is cancelled; here it keeps its value.
                sleep(length(&name, &Value::from(1))).await;
            }
            world.note(&name, if ended.is_ok() { "ends" } else { "fails" });
            ended
        })
    }

    fn body(self: &Rc<Self>, name: &str, body: &Value) -> Run {
        let (world, name, body) = (Rc::clone(self), name.to_owned(), body.clone());
        Box::pin(async move {
            for op in body.as_array().unwrap() {
                world.op(&name, op).await?;
            }
            Ok(())
        })
    }

    async fn op(self: &Rc<Self>, name: &str, op: &Value) -> Ended {
        match op[0].as_str().unwrap() {
            "sleep" => sleep(length(name, &op[1])).await,
            "log" => self.note(name, "log"),
            "spawn" => self.spawn(self.child_of(name), &op[1]),
            "fail" => return Err(Failure),
            "await" => return self.wait_for_greater(name, number(&op[1]) as usize).await,
            "cancel" => {
                let tasks = self.tasks.borrow().clone();
                let (chosen, task) = tasks.iter().nth(number(&op[1]) as usize % tasks.len()).unwrap();
                let told = if task.any().cancel() { "True" } else { "False" };
                self.note(name, format!("cancel {chosen} {told}"));
                sleep(length(name, &Value::from(1))).await;
            }
            "cancel_self" => {
                assert!(current_task().unwrap().cancel());
                self.note(name, "cancels itself");
                self.body(name, &Value::from(vec![op[1].clone()])).await?;
                sleep(length(name, &Value::from(1))).await;
            }
            "try" => match catch_cancel(self.body(name, &op[1])).await {
                Ok(ended) => return ended,
                Err(_) => self.note(name, "caught"),
            },
            "reraise" => match catch_cancel(self.body(name, &op[1])).await {
                Ok(ended) => return ended,
                Err(cancelled) => {
                    self.note(name, "passes on");
                    match cancelled.propagate().await {}
                }
            },
            "timeout" => match timeout(length(name, &op[1]), self.body(name, &op[2])).await {
                Ok(ended) => return ended,
                Err(_) => self.note(name, "elapsed"),
            },
            "group" => self.group(name, &op[1], &op[2]).await,
            "lock" => {
                let _held = self.lock.lock().await;
                self.body(name, &op[1]).await?;
                self.note(name, "had the lock");
            }
            "semaphore" => {
                let _permit = self.semaphore.acquire().await;
                self.body(name, &op[1]).await?;
                self.note(name, "had a permit");
            }
            "moved" => {
                let mut begun = self.body(name, &op[1]);
                // A task polls it first, and is gone when this one awaits it.
                let begun = spawn(async move {
                    assert!(poll_fn(|cx| Poll::Ready(begun.as_mut().poll(cx))).await.is_pending());
                    begun
                });
                return begun.await.await;
            }
            "select" => return self.select(name, &op[1], &op[2]).await,
            "gather" => self.gather(name, op).await,
            "shield" => {
                let child = self.script(self.child_of(name), &op[1]);
                let ended = shield(spawn(child)).await;
                self.note(name, if ended.is_ok() { "shielded" } else { "shielded failed" });
            }
            "put" => {
                self.queue.put(name.to_owned()).await.unwrap();
                self.note(name, "put");
            }
            "get" => {
                let got = self.queue.get().await.unwrap();
                self.note(name, format!("got {got}"));
            }
            "event_wait" => {
                self.event.wait().await;
                self.note(name, "event");
            }
            "event_set" => {
                self.event.set();
                self.event.clear();
            }
            other => panic!("no operation {other}"),
        }
        Ok(())
    }

    async fn wait_for_greater(&self, name: &str, index: usize) -> Ended {
        let greater: Vec<_> = {
            let tasks = self.tasks.borrow();
            tasks.iter().filter(|(other, _)| other.as_str() > name).map(|(_, task)| task.clone()).collect()
        };
        if !greater.is_empty() {
            match &greater[index % greater.len()] {
                Kept::Script(task) => (*(&**task).await)?,
                Kept::Member(task) => *(&**task).await,
            }
            self.note(name, "awaited");
        }
        Ok(())
    }

    async fn group(self: &Rc<Self>, name: &str, children: &Value, body: &Value) {
        let ended = task_group(async |group: TaskGroup<Failure>| {
            for script in children.as_array().unwrap() {
                let child = self.child_of(name);
                if self.has_room() {
                    let task = group.spawn(self.script(child.clone(), script));
                    self.tasks.borrow_mut().insert(child, Kept::Member(Rc::new(task)));
                }
            }
            self.body(name, body).await
        });
        if let Err(error) = ended.await {
            self.note(name, format!("group: {} failed", error.errors().len()));
            sleep(length(name, &Value::from(1))).await;
        }
    }

    async fn gather(self: &Rc<Self>, name: &str, op: &Value) {
        let children: Vec<_> =
            op[1].as_array().unwrap().iter().map(|script| self.script(self.child_of(name), script)).collect();
        if op[2].as_bool().unwrap() {
            let found = gather(children).return_exceptions().await;
            let words: Vec<_> = found
                .iter()
                .map(|outcome| match outcome {
                    Ok(()) => "ok",
                    Err(TaskError::Cancelled(_)) => "cancelled",
                    Err(_) => "failed",
                })
                .collect();
            self.note(name, format!("gathered {words:?}"));
        } else {
            match gather(children).await {
                Ok(all) => self.note(name, format!("gathered {:?}", vec!["ok"; all.len()])),
                // asyncio raises it where it gathers; here it is told first.
                Err(TaskError::Cancelled(cancelled)) => match cancelled.propagate().await {},
                Err(_) => self.note(name, "gather failed"),
            }
        }
    }

    /// Looks after a sleep in a scope until a time; then does other things, and then looks after it again.
    async fn select(self: &Rc<Self>, name: &str, work: &Value, body: &Value) -> Ended {
        let (long, until, deadline) =
            (length(name, &work[1]), length(name, &work[2]), length(name, &work[3]));
        let mut work: Pin<Box<dyn Future<Output = &str>>> = match work[0].as_str().unwrap() {
            "try" => Box::pin(async move {
                if catch_cancel(sleep(long)).await.is_ok() { "selected" } else { "caught" }
            }),
            "timeout" => Box::pin(async move {
                if timeout(deadline, sleep(long)).await.is_ok() { "selected" } else { "elapsed" }
            }),
            _ => Box::pin(async move {
                let ended = task_group(async |_: TaskGroup<Failure>| {
                    sleep(long).await;
                    Ok(())
                });
                ended.await.unwrap();
                "selected"
            }),
        };
        let ended = match select(&mut work, Box::pin(sleep(until))).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => {
                self.body(name, body).await?;
                work.await
            }
        };
        self.note(name, ended);
        Ok(())
    }

    async fn main(self: Rc<Self>) -> Vec<Line> {
        self.spawn("t".to_owned(), &Value::from(0));
        for round in 1..ROUNDS {
            sleep(Duration::from_nanos(round * END) - self.begin.elapsed()).await;
            let tasks = self.tasks.borrow().clone();
            for task in tasks.values() {
                task.any().cancel();
            }
        }
        sleep(Duration::from_nanos(END)).await;
        let tasks = self.tasks.borrow().clone();
        for (name, task) in tasks {
            self.note(&name, format!("end: {}", task.end()));
        }
        self.over.set(true);
        // Whoever catches a cancellation gets another one.
        while all_tasks().len() > 1 {
            for task in all_tasks() {
                if Some(&task) != current_task().as_ref() {
                    task.cancel();
                }
            }
            sleep(Duration::from_nanos(END)).await;
        }
        let mut log = self.log.take();
        log.sort();
        log
    }
}

fn run(scripts: Vec<Value>) -> Vec<Line> {
    testing::run(async {
        let world = World {
            scripts,
            begin: Instant::now(),
            log: RefCell::default(),
            tasks: RefCell::default(),
            counts: RefCell::default(),
            over: Cell::new(false),
            lock: Mutex::new(()),
            semaphore: Semaphore::new(2),
            event: Event::new(),
            queue: Queue::new(1),
        };
        Rc::new(world).main().await
    })
}

/// Fails with the first place at which the logs part.
#[track_caller]
fn compare(seed: u64, scripts: &Value, theirs: &[Line], ours: &[Line]) {
    let at = theirs.iter().zip(ours).take_while(|(theirs, ours)| theirs == ours).count();
    if at < theirs.len().max(ours.len()) {
        let around = |log: &[Line]| {
            let lines = log.iter().enumerate().skip(at.saturating_sub(24)).take(32);
            lines.map(|(number, line)| format!("{number} {line:?}\n")).collect::<String>()
        };
        let (theirs, ours) = (around(theirs), around(ours));
        panic!("seed {seed}, from line {at} on:\n{scripts}\nasyncio\n{theirs}ours\n{ours}");
    }
}

fn python(root: &Path) -> PathBuf {
    let installed = root.join(".venv/bin/python");
    var("PYTHON")
        .map_or_else(|_| if installed.exists() { installed } else { "python3".into() }, PathBuf::from)
}

#[test]
fn random_programs_leave_the_log_of_asyncio() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let count = var("RANDOM_PROGRAMS").unwrap_or_else(|_| "1000".to_owned());
    let seed = var("RANDOM_SEED").unwrap_or_else(|_| "0".to_owned());
    let mut oracle = Command::new(python(&root))
        .arg(root.join("tests/differential/timed.py"))
        .args(["--count", &count, "--seed", &seed])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut compared, mut ties) = (0, 0);
    for line in BufReader::new(oracle.stdout.take().unwrap()).lines() {
        let program: Value = serde_json::from_str(&line.unwrap()).unwrap();
        compared += 1;
        if program["log"].is_null() {
            ties += 1;
            continue;
        }
        let theirs: Vec<Line> = serde_json::from_value(program["log"].clone()).unwrap();
        let ours = run(program["scripts"].as_array().unwrap().clone());
        compare(number(&program["seed"]), &program["scripts"], &theirs, &ours);
    }
    assert!(
        ties <= 1 + compared / 1000,
        "{ties} of {compared} programs have a deadline at the time of something else"
    );
    assert!(oracle.wait().unwrap().success());
    assert_eq!(compared.to_string(), count);
}

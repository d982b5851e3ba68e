//! The Python face's [`Source`]: attaches to the interpreter and looks, in pieces, so that the program runs in between.
//!
//! **Pauses.** A piece ends at the first task after [`PIECE`]; then the interpreter's lock is given up, and not asked for
//! during [`REST`]. Two pieces are not cut: the list of all tasks at the beginning, and the loops at the end. What they all
//! took is in the snapshot (`longest_pause_us`).
//!
//! **Lives.** The list holds the tasks until their piece. A task that has ended meanwhile, and that nobody else holds, is
//! handed to its loop, so that its end comes on the loop's thread.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aioxide_monitor::memory::Memory;
use aioxide_monitor::protocol::{DEFAULT_LIMIT, Refusal, RefusalKind, SnapshotOptions};
use aioxide_monitor::schema::{
    Ended, Id, Lag, Loop, Program, Snapshot, Stacks, Taken, TaskStack, TaskState, ThreadStack,
};
use aioxide_monitor::timeline::{LoopTimeline, RUNS_LIMIT};
use aioxide_monitor::{Source, clock};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyWeakrefMethods, PyWeakrefReference};

use crate::chain::{Link, chain, string};
use crate::eyes::{Class, Eyes, Seen};
use crate::locked;
use crate::loops::{self, Counts};
use crate::recorded::Recorded;
use crate::walk::{Walk, id_of};
use crate::watch::Beats;
use crate::watched;

/// How long the program may wait for a piece of a snapshot, but for the task at its end.
pub(crate) const PIECE: Duration = Duration::from_millis(1);

/// How long it is left alone then.
const REST: Duration = Duration::from_micros(500);

/// A Python program that can be looked into.
#[derive(Debug)]
pub(crate) struct PythonSource {
    pub(crate) eyes: Eyes,
    program: Program,
    began: Instant,
    /// Since when a look waits for the interpreter, in nanoseconds after `began`; 0: none does.
    held_since: AtomicU64,
    memory: Mutex<Memory>,
    /// The loops that are being recorded, weakly.
    recording: Mutex<Vec<Py<PyWeakrefReference>>>,
    pub(crate) beats: Arc<Beats>,
}

/// What the pieces of a snapshot took.
#[derive(Debug, Default)]
struct Pauses {
    longest: Duration,
    count: u32,
}

impl PythonSource {
    pub(crate) fn new(py: Python<'_>, program: Program) -> PyResult<Self> {
        Ok(Self {
            eyes: Eyes::open(py)?,
            program,
            began: clock::now(),
            held_since: AtomicU64::new(0),
            memory: Mutex::default(),
            recording: Mutex::default(),
            beats: Arc::default(),
        })
    }

    /// Attaches to the interpreter, for a piece.
    fn enter<T>(&self, pauses: &mut Pauses, look: impl FnOnce(Python<'_>) -> T) -> Result<T, Refusal> {
        let now = self.began.elapsed().as_nanos() as u64;
        self.held_since.store(now.max(1), Ordering::SeqCst);
        let looked = Python::try_attach(|py| {
            self.held_since.store(0, Ordering::SeqCst);
            let began = clock::now();
            let found = look(py);
            pauses.longest = pauses.longest.max(began.elapsed());
            pauses.count += 1;
            found
        });
        self.held_since.store(0, Ordering::SeqCst);
        looked.ok_or_else(|| Refusal::new(RefusalKind::Failed, "the interpreter is ending"))
    }

    /// All tasks, in one piece.
    fn list(&self, pauses: &mut Pauses) -> Result<Vec<Py<PyAny>>, Refusal> {
        self.enter(pauses, |py| {
            let loops: Vec<_> = loops::running(&self.eyes, py).into_iter().map(|(_, one)| one).collect();
            self.eyes.tasks(py, &loops)
        })?
        .map_err(|error| failed(&error))
    }

    /// Goes through the tasks piece by piece; `look` returns whether to go on.
    fn each(
        &self,
        pauses: &mut Pauses,
        mut look: impl FnMut(&Bound<'_, PyAny>) -> bool,
    ) -> Result<(), Refusal> {
        let mut tasks = self.list(pauses)?;
        // The newest come first, from the end of the list.
        tasks.reverse();
        let mut goes_on = true;
        // A task may be in two lists.
        let mut seen = HashSet::new();
        while !tasks.is_empty() && goes_on {
            std::thread::park_timeout(REST);
            self.enter(pauses, |py| {
                let began = clock::now();
                let mut dead = Vec::new();
                while let Some(entry) = tasks.pop().filter(|_| goes_on) {
                    if let Some(task) = task_of(entry.into_bound(py)) {
                        if seen.insert(id_of(&task)) {
                            goes_on = look(&task);
                        }
                        if self.eyes.is_alone(&task) {
                            dead.push(task);
                        }
                    }
                    if began.elapsed() >= PIECE {
                        break;
                    }
                }
                bury(py, dead);
            })?;
        }
        // What is left, after a limit, is let go of in the same way.
        self.enter(pauses, |py| {
            let left = tasks.drain(..).map(|task| task.into_bound(py));
            bury(py, left.filter(|task| self.eyes.is_alone(task)).collect());
        })
    }

    /// Looks at the timers of the loops, as far as they are few.
    fn timers(&self, pauses: &mut Pauses, counts: &Counts, walk: &mut Walk<'_>) -> Result<(), Refusal> {
        let mut handles = self.enter(pauses, |py| {
            let loops: Vec<_> = walk.loops.values().map(|event_loop| event_loop.clone_ref(py)).collect();
            let mut handles: Vec<Py<PyAny>> = Vec::new();
            for event_loop in loops {
                let event_loop = event_loop.bind(py);
                handles.extend(loops::timers(counts, event_loop).into_iter().map(Bound::unbind));
            }
            handles
        })?;
        while !handles.is_empty() {
            std::thread::park_timeout(REST);
            self.enter(pauses, |py| {
                let began = clock::now();
                while let Some(handle) = handles.pop() {
                    walk.scheduled(handle.bind(py));
                    if began.elapsed() >= PIECE {
                        break;
                    }
                }
            })?;
        }
        Ok(())
    }

    /// The running loops, without their nodes: what is counted there is not told.
    pub(crate) fn loops(&self) -> Result<Vec<Loop>, Refusal> {
        let mut pauses = Pauses::default();
        let mut walk = Walk::new(&self.eyes, false);
        let mut counts = Counts::default();
        self.each(&mut pauses, |task| {
            if let Some(event_loop) = walk.loop_of_unfinished(task) {
                counts.add_task(event_loop);
            }
            true
        })?;
        let mut loops = self.enter(&mut pauses, |py| {
            let loops = loops::describe(&mut walk, &counts, py);
            // As for a snapshot: let go of here, attached.
            walk.loops.clear();
            walk.seen = Seen::default();
            loops
        })?;
        loops.retain(|event_loop| event_loop.running);
        for event_loop in &mut loops {
            event_loop.jobs = None;
            event_loop.lag = self.beats.lag(event_loop.id);
        }
        Ok(loops)
    }

    fn find(&self, pauses: &mut Pauses, id: Id) -> Result<Option<Py<PyAny>>, Refusal> {
        let tasks = self.list(pauses)?;
        self.enter(pauses, |py| {
            let mut tasks = tasks.into_iter().filter_map(|entry| task_of(entry.into_bound(py)));
            tasks.find(|task| id_of(task) == id).map(Bound::unbind)
        })
    }
}

/// The task of an entry of the list, which may be a weak reference to it.
fn task_of(entry: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    match entry.cast::<PyWeakrefReference>() {
        Ok(reference) => reference.upgrade(),
        Err(_) => Some(entry),
    }
}

/// Has the loops let go of tasks that nobody else holds.
fn bury(py: Python<'_>, dead: Vec<Bound<'_, PyAny>>) {
    for task in dead {
        let Ok(event_loop) = task.getattr("_loop") else { continue };
        let _ = PyList::new(py, [task]).and_then(|list| {
            // A loop that is closed raises; then the task ends here, as it would by the collector.
            event_loop.call_method1("call_soon_threadsafe", (list.getattr("clear")?,))
        });
    }
}

pub(crate) fn failed(error: &PyErr) -> Refusal {
    Refusal::new(RefusalKind::Failed, error.to_string())
}

impl Source for PythonSource {
    fn program(&self) -> Program {
        self.program.clone()
    }

    fn snapshot(&self, options: &SnapshotOptions) -> Result<Snapshot, Refusal> {
        watched::begin();
        let mut pauses = Pauses::default();
        let mut walk = Walk::new(&self.eyes, options.stacks);
        let limit = options.limit.unwrap_or(DEFAULT_LIMIT);
        let (mut shown, mut left_out) = (0, 0);
        self.each(&mut pauses, |task| {
            if shown < limit {
                shown += u32::from(walk.task(task));
            } else {
                left_out += 1;
            }
            true
        })?;
        walk.finish();
        self.timers(&mut pauses, &Counts::of(&walk), &mut walk)?;
        let counts = Counts::of(&walk);
        let loops = self.enter(&mut pauses, |py| {
            let loops = loops::describe(&mut walk, &counts, py);
            let current: Vec<Id> = walk
                .loops
                .values()
                .filter_map(|event_loop| self.eyes.current_task(event_loop.bind(py)))
                .map(|task| id_of(&task))
                .collect();
            // What the walk has kept of the program is let go of here, attached.
            walk.loops.clear();
            walk.seen = Seen::default();
            (loops, current)
        });
        let (loops, current) = loops?;
        for id in current {
            if let Some(task) = walk.node(id).and_then(|node| node.task.as_mut()) {
                task.state = TaskState::Running;
            }
        }
        let mut snapshot = Snapshot {
            loops,
            nodes: std::mem::take(&mut walk.nodes),
            left_out,
            taken: Taken {
                longest_pause_us: pauses.longest.as_micros() as u64,
                chunks: pauses.count,
                ..Taken::default()
            },
            ..Snapshot::default()
        };
        for event_loop in &mut snapshot.loops {
            event_loop.lag = self.beats.lag(event_loop.id);
        }
        locked(&self.memory).remember(&mut snapshot, left_out == 0);
        Ok(snapshot)
    }

    fn stacks(&self, tasks: &[Id]) -> Result<Stacks, Refusal> {
        let mut pauses = Pauses::default();
        let mut stacks = Stacks::default();
        if !tasks.is_empty() {
            self.each(&mut pauses, |task| {
                if tasks.contains(&id_of(task)) {
                    stacks.tasks.push(stack_of(&self.eyes, task));
                }
                stacks.tasks.len() < tasks.len()
            })?;
        }
        self.enter(&mut pauses, |py| {
            let running = loops::running(&self.eyes, py);
            for (thread, frame) in self.eyes.frames(py).unwrap_or_default() {
                let event_loop = running.iter().find(|(one, _)| *one == thread).map(|(_, one)| one);
                let (native, name) = self.eyes.thread(py, thread);
                stacks.threads.push(ThreadStack {
                    thread: native.unwrap_or(thread),
                    name,
                    loop_id: event_loop.map(id_of),
                    task: event_loop.and_then(|one| self.eyes.current_task(one)).map(|task| id_of(&task)),
                    frames: loops::frames(&frame),
                });
            }
        })?;
        Ok(stacks)
    }

    fn cancel(&self, task: Id, name: &str) -> Result<bool, Refusal> {
        let mut pauses = Pauses::default();
        let unknown = || Refusal::new(RefusalKind::UnknownTask, "there is no such task any more");
        let found = self.find(&mut pauses, task)?.ok_or_else(unknown)?;
        self.enter(&mut pauses, |py| -> PyResult<Option<bool>> {
            let task = found.into_bound(py);
            if string(&task.call_method0("get_name")?) != name {
                return Ok(None);
            }
            if task.call_method0("done")?.is_truthy()? {
                return Ok(Some(false));
            }
            // Nothing of a loop may be touched on another thread.
            let event_loop = task.getattr("_loop")?;
            event_loop.call_method1("call_soon_threadsafe", (task.getattr("cancel")?,))?;
            Ok(Some(true))
        })?
        .map_err(|error| failed(&error))?
        .ok_or_else(|| Refusal::new(RefusalKind::UnknownTask, "the task has another name"))
    }

    fn history(&self, limit: usize) -> Result<Vec<Ended>, Refusal> {
        Ok(locked(&self.memory).history(limit))
    }

    fn record(&self, length: Duration) -> Result<(), Refusal> {
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        self.enter(&mut Pauses::default(), |py| {
            let begin = |event_loop: &Bound<'_, PyAny>| {
                // asyncio's own loop has no such method.
                event_loop.call_method1(intern!(py, "_record"), (RUNS_LIMIT, length_ns))?.extract::<bool>()
            };
            let (mut begun, mut is_busy) = (Vec::new(), false);
            for (_, event_loop) in loops::running(&self.eyes, py) {
                match begin(&event_loop) {
                    Ok(true) => begun.push(event_loop),
                    Ok(false) => is_busy = true,
                    Err(_) => {}
                }
            }
            if is_busy || begun.is_empty() {
                for event_loop in begun {
                    let _ended = event_loop.call_method0(intern!(py, "_recorded"));
                }
                return Err(match is_busy {
                    true => Refusal::new(RefusalKind::Busy, "the loop is being recorded already"),
                    false => Refusal::new(RefusalKind::Unsupported, "no loop of aioxide is running"),
                });
            }
            let begun: PyResult<Vec<_>> =
                begun.iter().map(|one| PyWeakrefReference::new(one).map(Bound::unbind)).collect();
            *locked(&self.recording) = begun.map_err(|error| failed(&error))?;
            Ok(())
        })?
    }

    fn recorded(&self) -> Result<Vec<LoopTimeline>, Refusal> {
        let recorded = self.enter(&mut Pauses::default(), |py| {
            let end = |event_loop: &Bound<'_, PyAny>| {
                let found = event_loop.call_method0(intern!(py, "_recorded")).ok()?;
                Some((id_of(event_loop), found.cast::<Recorded>().ok()?.get().take()))
            };
            // Also those that have stopped meanwhile.
            let begun = std::mem::take(&mut *locked(&self.recording));
            let alive = begun.iter().filter_map(|one| one.bind(py).upgrade());
            (begun.is_empty(), alive.filter_map(|one| end(&one)).collect::<Vec<_>>())
        })?;
        let (none_begun, recorded) = recorded;
        if none_begun {
            return Err(Refusal::new(RefusalKind::Failed, "nothing is being recorded"));
        }
        Ok(recorded.into_iter().map(|(id, recording)| LoopTimeline::new(id, recording)).collect())
    }

    fn lag(&self) -> Vec<Lag> {
        self.beats.all()
    }

    fn held_for(&self) -> Duration {
        match self.held_since.load(Ordering::SeqCst) {
            0 => Duration::ZERO,
            since => self.began.elapsed().saturating_sub(Duration::from_nanos(since)),
        }
    }
}

fn stack_of(eyes: &Eyes, task: &Bound<'_, PyAny>) -> TaskStack {
    let mut seen = Seen::default();
    let known = seen.known(task);
    let base = known.base.bind(task.py());
    let call = |method: &str| base.call_method1(method, (task,)).ok();
    let frames = call("get_coro")
        .filter(|_| known.class == Class::Task)
        .map(|coroutine| chain(eyes, &mut seen, coroutine).iter().filter_map(Link::frame).collect());
    TaskStack {
        id: id_of(task),
        name: call("get_name").map(|name| string(&name)).unwrap_or_default(),
        frames: frames.unwrap_or_default(),
    }
}

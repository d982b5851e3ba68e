//! The watchdog: a thread that asks each running loop to answer, and looks at what it does while it does not.
//!
//! ```text
//! every limit / 2   a heartbeat by `call_soon_threadsafe`, if the one before was answered
//! unanswered for the limit   the stack of the loop's thread is taken, once; the cause is told:
//!     gc     the collector ran for most of that time
//!     held   nobody was let into the interpreter for most of it: C code keeps its lock. The stack is that after it
//!     call   otherwise: what stands in the stack does not return
//! ```
//!
//! A step that takes one and a half times the limit is always seen, one that takes less than it never. Many short steps in
//! one batch are seen as one that is long.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aioxide_monitor::pulse::{Collections, PLACES, Places, Pulse};
use aioxide_monitor::schema::{Deadlock, Id, Lag};
use aioxide_monitor::{clock, server};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::locked;
use crate::loops;
use crate::source::PythonSource;
use crate::walk::id_of;
use crate::watched;

/// How often running loops are looked for at least: once within the limit, but not so often that it costs.
const LOOK: Duration = Duration::from_secs(1);
const OFTEN: Duration = Duration::from_millis(250);

/// The heartbeats of all loops that were watched.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    loops: Mutex<HashMap<Id, Arc<Pulse>>>,
    /// What the collector takes meanwhile.
    collections: Mutex<Option<Arc<Collections>>>,
}

impl Beats {
    fn pulse(&self, loop_id: Id) -> Arc<Pulse> {
        Arc::clone(locked(&self.loops).entry(loop_id).or_insert_with(|| Arc::new(Pulse::new(loop_id))))
    }

    fn clear(&self) {
        locked(&self.loops).clear();
    }

    fn forget(&self, loop_id: Id) {
        locked(&self.loops).remove(&loop_id);
    }

    pub(crate) fn lag(&self, loop_id: Id) -> Option<Lag> {
        let lag = locked(&self.loops).get(&loop_id).map(|pulse| pulse.lag())?;
        let collector = locked(&self.collections).as_ref().map(|collections| collections.collector());
        Some(Lag { collector, ..lag })
    }

    pub(crate) fn all(&self) -> Vec<Lag> {
        let mut loops: Vec<Id> = locked(&self.loops).keys().copied().collect();
        loops.sort_unstable();
        loops.into_iter().filter_map(|loop_id| self.lag(loop_id)).collect()
    }
}

/// What a loop calls to answer.
#[pyclass(frozen, module = "aioxide._aioxide", name = "_Heartbeat")]
struct Heartbeat(Arc<Pulse>);

#[pymethods]
impl Heartbeat {
    fn __call__(&self) {
        self.0.answer();
    }
}

/// What the collector calls when it begins and ends.
#[pyclass(frozen, module = "aioxide._aioxide", name = "_CollectorWatch")]
#[derive(Debug)]
pub(crate) struct CollectorWatch(Arc<Collections>);

#[pymethods]
impl CollectorWatch {
    fn __call__(&self, phase: &str, _info: &Bound<'_, PyAny>) {
        if phase == "start" {
            self.0.begin();
        } else {
            self.0.end();
        }
    }
}

impl CollectorWatch {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }
}

/// What the watchdog is to do.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limit: Duration,
    /// A place is reported no more often than that.
    pub(crate) every: Duration,
    pub(crate) deadlocks: bool,
    /// Called with each report, a dictionary.
    pub(crate) report: Py<PyAny>,
    pub(crate) collector: Py<CollectorWatch>,
    /// Called when a heartbeat was answered: the loop's id, the seconds that took, the seconds since it was sent, and
    /// whether that was reported.
    pub(crate) beaten: Option<Py<PyAny>>,
    /// What a loop is to call after a deadlock on it was reported.
    pub(crate) leave: Option<Py<PyAny>>,
}

/// A running watchdog.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pid: u32,
}

impl Watchdog {
    pub(crate) fn start(source: Arc<PythonSource>, settings: Settings) -> std::io::Result<Self> {
        if settings.deadlocks {
            watched::begin();
        }
        *locked(&source.beats.collections) = Some(Arc::clone(&settings.collector.get().0));
        let stopping = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopping);
        let thread = std::thread::Builder::new().name("aioxide-watchdog".to_owned()).spawn(move || {
            let places = Places::new(settings.every);
            let mut watch =
                Watch { source, settings, watched: Vec::new(), looked: None, places, told: HashSet::new() };
            while !told.load(Ordering::SeqCst) {
                if watch.let_in(|watch, py| watch.beat(py)).is_none() {
                    return;
                }
                watch.wait(&told);
            }
            watch.source.beats.clear();
            Python::try_attach(|_| drop(watch));
        })?;
        Ok(Self { stopping, thread: Some(thread), pid: std::process::id() })
    }

    /// Ends the thread; the caller is not attached.
    pub(crate) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.stopping.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        // A report may stop the watchdog; and in the child of a fork there is no such thread.
        if thread.thread().id() != std::thread::current().id() && self.pid == std::process::id() {
            let _ = thread.join();
        }
    }
}

/// A loop that is watched.
struct Watched {
    event_loop: Py<PyAny>,
    thread: u64,
    pulse: Arc<Pulse>,
    heartbeat: Py<Heartbeat>,
    /// The collector's time when the heartbeat was sent.
    collected: Duration,
    sent: Option<Instant>,
    reported: bool,
    /// Its answer was told to `beaten`.
    told: bool,
}

struct Watch {
    source: Arc<PythonSource>,
    settings: Settings,
    watched: Vec<Watched>,
    looked: Option<Instant>,
    places: Places<(String, u32)>,
    /// The deadlocks that were reported, by their nodes.
    told: HashSet<Vec<Id>>,
}

impl Watch {
    /// Does something attached to the interpreter, and tells if it took too long to be let in.
    fn let_in<T>(&mut self, work: impl FnOnce(&mut Self, Python<'_>) -> T) -> Option<T> {
        let asked = clock::now();
        Python::try_attach(|py| {
            let held = asked.elapsed();
            if held >= self.settings.limit {
                self.report_held(py, held);
            }
            work(self, py)
        })
    }

    /// Sends the heartbeats that are due.
    fn beat(&mut self, py: Python<'_>) {
        let now = clock::now();
        if self.looked.is_none_or(|looked| now - looked >= self.settings.limit.clamp(OFTEN, LOOK)) {
            self.looked = Some(now);
            self.look_for_loops(py);
        }
        self.tell_answers(py);
        let collected = self.settings.collector.get().0.total();
        let interval = self.settings.limit / 2;
        let beats = &self.source.beats;
        self.watched.retain_mut(|watched| {
            let due = watched.sent.is_none_or(|sent| now - sent >= interval);
            if watched.pulse.waits().is_some() || !due {
                return true;
            }
            watched.reported = false;
            watched.told = false;
            watched.collected = collected;
            watched.sent = Some(now);
            watched.pulse.send();
            let event_loop = watched.event_loop.bind(py);
            let sent = event_loop.call_method1("call_soon_threadsafe", (&watched.heartbeat,));
            if sent.is_err() {
                beats.forget(watched.pulse.loop_id());
            }
            sent.is_ok()
        });
    }

    /// Tells of the heartbeats that were answered.
    fn tell_answers(&mut self, py: Python<'_>) {
        let Some(beaten) = &self.settings.beaten else { return };
        for watched in &mut self.watched {
            let Some(sent) = watched.sent.filter(|_| watched.pulse.waits().is_none()) else { continue };
            if std::mem::replace(&mut watched.told, true) {
                continue;
            }
            let lag = watched.pulse.last();
            let ago = clock::now() - sent;
            let told = (watched.pulse.loop_id(), lag.as_secs_f64(), ago.as_secs_f64(), watched.reported);
            if let Err(error) = beaten.bind(py).call1(told) {
                error.write_unraisable(py, None);
            }
        }
    }

    fn look_for_loops(&mut self, py: Python<'_>) {
        let running = loops::running(&self.source.eyes, py);
        let beats = &self.source.beats;
        // A loop that stopped does not answer, and need not.
        self.watched.retain(|watched| {
            let runs =
                running.iter().any(|(thread, one)| one.is(&watched.event_loop) && *thread == watched.thread);
            if !runs {
                beats.forget(watched.pulse.loop_id());
            }
            runs
        });
        for (thread, event_loop) in running {
            if self.watched.iter().any(|watched| event_loop.is(&watched.event_loop)) {
                continue;
            }
            let pulse = beats.pulse(id_of(&event_loop));
            let Ok(heartbeat) = Py::new(py, Heartbeat(Arc::clone(&pulse))) else { continue };
            self.watched.push(Watched {
                event_loop: event_loop.unbind(),
                thread,
                pulse,
                heartbeat,
                collected: Duration::ZERO,
                sent: None,
                reported: false,
                told: true,
            });
        }
    }

    /// Waits until the next heartbeat is due, and looks at loops that do not answer; not attached.
    fn wait(&mut self, stopping: &AtomicBool) {
        std::thread::park_timeout(self.settings.limit / 2);
        let late = |watched: &Watched| {
            !watched.reported && watched.pulse.waits().is_some_and(|waited| waited >= self.settings.limit)
        };
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        if self.watched.iter().any(late) {
            let asked = clock::now();
            Python::try_attach(|py| self.look(py, asked.elapsed()));
        } else if self.settings.deadlocks
            && self.watched.iter().all(|watched| watched.pulse.waits().is_none())
        {
            self.look_for_deadlocks();
        }
    }

    /// Looks at the loops that do not answer. `held`: how long it took to be let in.
    fn look(&mut self, py: Python<'_>, held: Duration) {
        for place in 0..self.watched.len() {
            let watched = &mut self.watched[place];
            let Some(since) = watched.sent.filter(|_| !watched.reported) else { continue };
            let waited = clock::now() - since;
            // It may have answered while this thread was not let in; then it was late all the same.
            if waited >= self.settings.limit
                && (watched.pulse.waits().is_some() || held >= self.settings.limit / 2)
            {
                let is_held = held >= waited / 2 || held >= self.settings.limit / 2;
                self.report(py, place, waited, is_held);
            }
        }
    }

    /// Nobody was let in for so long, after the last heartbeats had been answered: no loop could have run meanwhile.
    fn report_held(&mut self, py: Python<'_>, held: Duration) {
        for place in 0..self.watched.len() {
            if !self.watched[place].reported || self.watched[place].pulse.waits().is_none() {
                self.report(py, place, held, true);
            }
        }
    }

    /// Tells that a loop did not answer for so long.
    fn report(&mut self, py: Python<'_>, place: usize, waited: Duration, is_held: bool) {
        let frames = self.source.eyes.frames(py).unwrap_or_default();
        let collected = self.settings.collector.get().0.total();
        let watched = &mut self.watched[place];
        watched.reported = true;
        watched.pulse.count_blocked();
        let cause = match collected.saturating_sub(watched.collected) >= waited / 2 {
            true => "gc",
            false if is_held => "held",
            false => "call",
        };
        let event_loop = watched.event_loop.clone_ref(py);
        let frame = frames.iter().find(|(thread, _)| *thread == watched.thread);
        let stack = frame.map(|(_, frame)| loops::frames(frame)).unwrap_or_default();
        let key = stack.last().map_or_else(Default::default, |frame| (frame.file.clone(), frame.line));
        let Some(suppressed) = self.places.admit(key) else { return };
        let report = PyDict::new(py);
        let task = self.source.eyes.current_task(event_loop.bind(py));
        let name = task.as_ref().and_then(|task| task.call_method0("get_name").ok());
        let told = (|| -> PyResult<()> {
            report.set_item("kind", "blocked")?;
            report.set_item("loop", id_of(event_loop.bind(py)))?;
            report.set_item("cause", cause)?;
            report.set_item("seconds", waited.as_secs_f64())?;
            report.set_item("task", name)?;
            report.set_item("suppressed", suppressed)?;
            let stack: Vec<_> = stack.iter().map(|one| (&one.file, one.line, &one.function)).collect();
            report.set_item("stack", stack)
        })();
        self.tell(py, told.map(|()| report));
    }

    fn tell(&self, py: Python<'_>, report: PyResult<Bound<'_, PyDict>>) {
        let told = report.and_then(|report| self.settings.report.bind(py).call1((report,)));
        if let Err(error) = told {
            error.write_unraisable(py, None);
        }
    }

    /// Has a loop end, if the program wants that after a deadlock.
    fn have_left(&self, py: Python<'_>, loop_id: Id) {
        let Some(leave) = &self.settings.leave else { return };
        for watched in self.watched.iter().filter(|watched| watched.pulse.loop_id() == loop_id) {
            if let Err(error) = watched.event_loop.call_method1(py, "call_soon_threadsafe", (leave,)) {
                error.write_unraisable(py, None);
            }
        }
    }

    fn look_for_deadlocks(&mut self) {
        // The whole graph is only looked at when nothing can happen by itself.
        let quiet = self.let_in(|watch, py| {
            !watch.watched.is_empty()
                && watch.watched.iter().all(|one| loops::is_quiet(one.event_loop.bind(py)))
        });
        if quiet != Some(true) {
            return;
        }
        let Ok(found) = server::deadlocks(&*self.source) else { return };
        for deadlock in found {
            let key = [&deadlock.cycle[..], &deadlock.ends[..]].concat();
            if self.told.len() >= PLACES {
                self.told.clear();
            }
            if self.told.insert(key) {
                Python::try_attach(|py| {
                    self.tell(py, describe(py, &deadlock));
                    self.have_left(py, deadlock.loop_id);
                });
            }
        }
    }
}

fn describe<'py>(py: Python<'py>, deadlock: &Deadlock) -> PyResult<Bound<'py, PyDict>> {
    let report = PyDict::new(py);
    report.set_item("kind", "deadlock")?;
    report.set_item("tasks", deadlock.tasks)?;
    report.set_item("cycle", &deadlock.cycle)?;
    report.set_item("ends", &deadlock.ends)?;
    report.set_item("text", &deadlock.text)?;
    Ok(report)
}

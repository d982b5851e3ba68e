//! What `aioxide top` sees of a Rust program: the loops that are watched, and the socket on which they answer.
//!
//! ```text
//! a loop's thread                         the monitor's thread (aioxide-monitor's looker)
//!   Watched: one per loop  ──registers──>   Loops: a Source
//!   look: reads the loop   <──posts a call──   asks each loop that runs, and waits for its answer
//! ```
//!
//! Nothing of a loop is touched on another thread: a question is a call on the loop, made between two iterations. A loop that
//! does not run has no answer, and one that is blocked lets nobody in, which the answer says.

#[cfg(feature = "watchdog")]
mod beaten;
pub(crate) mod holders;
mod look;

#[cfg(feature = "watchdog")]
pub(crate) use beaten::Beaten;

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aioxide_core::EventLoop;
use aioxide_core::observer::{Recorder, Recording};
use aioxide_monitor::memory::Memory;
use aioxide_monitor::protocol::{DEFAULT_LIMIT, Refusal, RefusalKind, SnapshotOptions};
use aioxide_monitor::schema::{
    Ended, Id, Lag, Language, Loop, Program, Snapshot, Stacks, TaskStack, ThreadStack,
};
use aioxide_monitor::timeline::{LoopTimeline, RUNS_LIMIT};
use aioxide_monitor::{Server, Source, clock};

use crate::handle::{Handle, RemoteHandle};
use crate::runtime::Runnable;

type WatchedLoop = EventLoop<Runnable>;

/// How often it is looked whether a loop that was asked still runs.
const LOOK: Duration = Duration::from_millis(50);

/// How long the loops are left alone between two pieces of a look.
const REST: Duration = Duration::from_micros(500);

/// The variable that turns it on for every loop.
const VARIABLE: &str = "AIOXIDE_MONITOR";

/// A loop that is watched, until it is dropped.
pub(crate) struct Watched {
    id: Id,
    state: Arc<State>,
    #[cfg(feature = "watchdog")]
    watchdog: std::cell::OnceCell<crate::watchdog::Beating>,
}

/// What the monitor's thread knows of a loop.
#[derive(Default)]
struct State {
    running: AtomicBool,
    thread: AtomicU64,
    #[cfg(feature = "watchdog")]
    beats: beaten::Beats,
}

struct Registered {
    id: Id,
    remote: RemoteHandle,
    state: Arc<State>,
}

/// The loops of this process that are watched.
struct Loops {
    began: Instant,
    began_unix_ms: u64,
    loops: Mutex<Vec<Registered>>,
    /// Since when a loop has been asked, in nanoseconds after `began`; 0: none is.
    asked: AtomicU64,
    memory: Mutex<Memory>,
    /// Held while a snapshot is taken: each loop has one look at a time.
    looking: Mutex<()>,
}

/// What there is while a loop is watched.
static MONITOR: Mutex<Option<Monitor>> = Mutex::new(None);

struct Monitor {
    /// The socket, if a loop was to have it: not for a watchdog alone.
    server: Option<Server>,
    loops: Arc<Loops>,
}

/// A watched loop of this thread.
struct Here {
    id: Id,
    event_loop: Weak<WatchedLoop>,
    recorder: Option<Rc<Recorder<Runnable>>>,
    /// The look that goes on.
    look: Option<look::Look>,
}

thread_local! {
    /// The watched loops of this thread.
    static HERE: RefCell<Vec<Here>> = const { RefCell::new(Vec::new()) };
}

/// Watches a loop; the first one that `serves` opens the socket.
pub(crate) fn watch(event_loop: &Rc<WatchedLoop>, serves: bool) -> io::Result<Watched> {
    let mut monitor = locked(&MONITOR);
    let loops = monitor.as_ref().map_or_else(Loops::new, |monitor| Arc::clone(&monitor.loops));
    let has_server = monitor.as_ref().is_some_and(|monitor| monitor.server.is_some());
    if serves && !has_server {
        let server = Server::start(None, Arc::clone(&loops) as Arc<dyn Source>)?;
        *monitor = Some(Monitor { server: Some(server), loops: Arc::clone(&loops) });
    } else {
        monitor.get_or_insert_with(|| Monitor { server: None, loops: Arc::clone(&loops) });
    }
    let id = Rc::as_ptr(event_loop).addr() as Id;
    let state = Arc::<State>::default();
    let remote = Handle::new(Rc::clone(event_loop) as Rc<_>).remote();
    let here = Here { id, event_loop: Rc::downgrade(event_loop), recorder: None, look: None };
    HERE.with_borrow_mut(|all| all.push(here));
    holders::count_watched(1);
    // Still under the lock: who is the last to go looks at this list.
    locked(&loops.loops).push(Registered { id, remote, state: Arc::clone(&state) });
    drop(monitor);
    Ok(Watched {
        id,
        state,
        #[cfg(feature = "watchdog")]
        watchdog: std::cell::OnceCell::new(),
    })
}

/// Watches a loop if the environment says so; what stands in the way is told, and is no reason not to run.
pub(crate) fn watch_if_wanted(event_loop: &Rc<WatchedLoop>) -> Option<Watched> {
    if std::env::var_os(VARIABLE).is_none_or(|value| value != "1") {
        return None;
    }
    match watch(event_loop, true) {
        Ok(watched) => Some(watched),
        Err(error) => {
            crate::report::tell(&format!("{VARIABLE}: the monitor cannot be opened: {error}"));
            None
        }
    }
}

impl Watched {
    pub(crate) fn set_running(&self, running: bool) {
        // A look that was under way will not be gone on with: it keeps tasks.
        drop(with_here(self.id, |here| here.look.take()));
        self.state.thread.store(look::this_thread(), Ordering::SeqCst);
        #[cfg(feature = "watchdog")]
        self.state.beats.begin();
        self.state.running.store(running, Ordering::SeqCst);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // First: it asks the loop.
        #[cfg(feature = "watchdog")]
        drop(self.watchdog.take());
        let _ended = HERE.try_with(|here| here.borrow_mut().retain(|one| one.id != self.id));
        holders::count_watched(-1);
        let mut monitor = locked(&MONITOR);
        let Some(Monitor { loops, .. }) = &*monitor else { return };
        let (gone, is_last) = {
            let mut left = locked(&loops.loops);
            let gone: Vec<Registered> = left.extract_if(.., |one| one.id == self.id).collect();
            (gone, left.is_empty())
        };
        let server = if is_last { monitor.take() } else { None };
        drop(monitor);
        // Its end waits for connections: nothing is locked meanwhile. The mailbox's end wakes a task of the loop.
        drop((server, gone));
    }
}

impl Loops {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            began: clock::now(),
            began_unix_ms: clock::unix_ms(),
            loops: Mutex::default(),
            asked: AtomicU64::new(0),
            memory: Mutex::default(),
            looking: Mutex::default(),
        })
    }

    /// What `ask` finds on each loop that runs.
    fn each<T: Send + 'static>(
        &self,
        ask: impl Fn(&WatchedLoop, Id) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        self.each_within(Duration::MAX, ask).unwrap_or_default()
    }

    /// The same; `None` if one of them does not answer in time.
    fn each_within<T: Send + 'static>(
        &self,
        patience: Duration,
        ask: impl Fn(&WatchedLoop, Id) -> T + Clone + Send + 'static,
    ) -> Option<Vec<T>> {
        let began = clock::now();
        let asked = self.ask(ask);
        let now = self.began.elapsed().as_nanos() as u64;
        self.asked.store(now.max(1), Ordering::SeqCst);
        let mut found = Some(Vec::with_capacity(asked.len()));
        for (state, answer) in asked {
            let answer = loop {
                match answer.recv_timeout(LOOK) {
                    Err(RecvTimeoutError::Timeout) if began.elapsed() >= patience => {
                        found = None;
                        break None;
                    }
                    Err(RecvTimeoutError::Timeout) if state.running.load(Ordering::SeqCst) => {}
                    // Without one it has stopped, or was closed.
                    answer => break answer.ok(),
                }
            };
            if let (Some(found), Some(answer)) = (&mut found, answer) {
                found.push(answer);
            }
        }
        self.asked.store(0, Ordering::SeqCst);
        found
    }

    /// Asks each loop that runs; where the answers will be.
    fn ask<T: Send + 'static>(
        &self,
        ask: impl Fn(&WatchedLoop, Id) -> T + Clone + Send + 'static,
    ) -> Vec<(Arc<State>, Receiver<T>)> {
        locked(&self.loops)
            .iter()
            .filter(|one| one.state.running.load(Ordering::SeqCst))
            .filter_map(|one| {
                let (sender, answer) = sync_channel(1);
                let (id, ask) = (one.id, ask.clone());
                let call = move || {
                    if let Some(event_loop) = here(id) {
                        // Nobody waits any more, if the question was given up.
                        let _given_up = sender.send(ask(&event_loop, id));
                    }
                };
                one.remote.call_soon(call).ok().map(|()| (Arc::clone(&one.state), answer))
            })
            .collect()
    }

    /// Takes a snapshot, and tells whether no loop is missing from it; `None` if one does not answer in time. The caller holds
    /// `looking`.
    fn take(&self, options: &SnapshotOptions, patience: Duration) -> Option<(Snapshot, bool)> {
        let (limit, stacks) = (options.limit.unwrap_or(DEFAULT_LIMIT), options.stacks);
        let mut snapshot = Snapshot::default();
        let mut found = Vec::new();
        let mut is_first = true;
        loop {
            let begins = std::mem::replace(&mut is_first, false);
            let pieces = self.each_within(patience, move |event_loop, id| {
                let began = clock::now();
                let looked = match begins {
                    true => begin_look(event_loop, id, limit, stacks),
                    false => go_on_looking(event_loop, id),
                };
                // What it took is not what a task took.
                aioxide_core::clock::mark();
                (looked, began.elapsed().as_micros() as u64)
            })?;
            let mut is_over = true;
            for (looked, took_us) in pieces {
                snapshot.taken.longest_pause_us = snapshot.taken.longest_pause_us.max(took_us);
                snapshot.taken.chunks += 1;
                match looked {
                    Piece::More => is_over = false,
                    Piece::Last(looked) => found.push(*looked),
                    Piece::None => {}
                }
            }
            if is_over {
                break;
            }
            std::thread::park_timeout(REST);
        }
        let known: Vec<(Id, Arc<State>)> =
            locked(&self.loops).iter().map(|one| (one.id, Arc::clone(&one.state))).collect();
        let of_loops: Vec<u64> = known.iter().map(|(_, state)| state.thread()).collect();
        let threads = look::other_threads(&of_loops);
        for one in found {
            snapshot.left_out += one.left_out;
            snapshot.nodes.extend(one.nodes);
            snapshot.loops.push(Loop { threads, ..one.facts });
        }
        let is_whole = snapshot.left_out == 0 && snapshot.loops.len() == known.len();
        for (id, state) in known {
            match snapshot.loops.iter_mut().find(|one| one.id == id) {
                Some(one) => {
                    one.thread = Some(state.thread());
                    one.lag = state.lag();
                }
                None => snapshot.loops.push(Loop { id, class: look::CLASS.to_owned(), ..Loop::default() }),
            }
        }
        snapshot.loops.sort_by_key(|one| one.id);
        Some((snapshot, is_whole))
    }
}

impl Source for Loops {
    fn program(&self) -> Program {
        let name = std::env::args_os().next().map(std::path::PathBuf::from);
        let name = name.as_deref().and_then(std::path::Path::file_name).map(|name| name.to_string_lossy());
        Program {
            pid: std::process::id(),
            name: name.map(Into::into).unwrap_or_default(),
            language: Language::Rust,
            runtime: "Rust".to_owned(),
            aioxide: env!("CARGO_PKG_VERSION").to_owned(),
            monitored_since_unix_ms: self.began_unix_ms,
        }
    }

    fn snapshot(&self, options: &SnapshotOptions) -> Result<Snapshot, Refusal> {
        let _one_at_a_time = locked(&self.looking);
        let Some((mut snapshot, is_whole)) = self.take(options, Duration::MAX) else {
            return Err(Refusal::new(RefusalKind::Failed, "a loop does not answer"));
        };
        locked(&self.memory).remember(&mut snapshot, is_whole);
        Ok(snapshot)
    }

    fn stacks(&self, tasks: &[Id]) -> Result<Stacks, Refusal> {
        let tasks = tasks.to_vec();
        let found: Vec<Vec<TaskStack>> = self.each(move |event_loop, _| look::stacks(event_loop, &tasks));
        Ok(Stacks { tasks: found.into_iter().flatten().collect(), threads: Vec::new() })
    }

    fn threads(&self) -> Option<Vec<ThreadStack>> {
        #[cfg(feature = "watchdog")]
        return Some(beaten::threads(self));
        #[cfg(not(feature = "watchdog"))]
        Some(Vec::new())
    }

    fn cancel(&self, task: Id, name: &str) -> Result<bool, Refusal> {
        let name = name.to_owned();
        let found = self.each(move |event_loop, _| look::cancel(event_loop, task, &name));
        found.into_iter().flatten().next().ok_or_else(|| {
            Refusal::new(RefusalKind::UnknownTask, "there is no such task any more, or it has another name")
        })
    }

    fn history(&self, limit: usize) -> Result<Vec<Ended>, Refusal> {
        Ok(locked(&self.memory).history(limit))
    }

    fn record(&self, length: Duration) -> Result<(), Refusal> {
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let asked = self.each(move |event_loop, id| (id, begin_recording(event_loop, id, length_ns)));
        let begun: Vec<Id> = asked.iter().filter(|(_, begun)| *begun).map(|(id, _)| *id).collect();
        match (asked.len(), begun.len()) {
            (0, _) => Err(Refusal::new(RefusalKind::Unsupported, "no loop is running")),
            (asked, begun) if asked == begun => Ok(()),
            _ => {
                // All or none.
                self.each(move |event_loop, id| begun.contains(&id).then(|| end_recording(event_loop, id)));
                Err(Refusal::new(RefusalKind::Busy, "the loop is being recorded already"))
            }
        }
    }

    fn recorded(&self) -> Result<Vec<LoopTimeline>, Refusal> {
        let found = self.each(|event_loop, id| Some((id, end_recording(event_loop, id)?)));
        let found: Vec<LoopTimeline> =
            found.into_iter().flatten().map(|(id, recording)| LoopTimeline::new(id, recording)).collect();
        if found.is_empty() {
            return Err(Refusal::new(RefusalKind::Failed, "nothing is being recorded"));
        }
        Ok(found)
    }

    fn lag(&self) -> Vec<Lag> {
        locked(&self.loops).iter().filter_map(|one| one.state.lag()).collect()
    }

    fn held_for(&self) -> Duration {
        match self.asked.load(Ordering::SeqCst) {
            0 => Duration::ZERO,
            since => self.began.elapsed().saturating_sub(Duration::from_nanos(since)),
        }
    }
}

/// The watched loop of this thread with that number.
fn here(id: Id) -> Option<Rc<WatchedLoop>> {
    let find =
        |here: &RefCell<Vec<Here>>| here.borrow().iter().find(|one| one.id == id)?.event_loop.upgrade();
    HERE.try_with(find).ok().flatten()
}

/// Changes what is kept of a watched loop of this thread.
fn with_here<T>(id: Id, change: impl FnOnce(&mut Here) -> T) -> Option<T> {
    // A thread at its end may run a loop in the destructor of another value.
    HERE.try_with(|all| all.borrow_mut().iter_mut().find(|one| one.id == id).map(change)).ok().flatten()
}

/// What came of a piece of a look.
enum Piece {
    /// No look goes on: it has ended, or the loop was stopped meanwhile.
    None,
    More,
    Last(Box<look::Looked>),
}

fn begin_look(event_loop: &WatchedLoop, id: Id, limit: u32, stacks: bool) -> Piece {
    let look = look::Look::begin(event_loop, id, limit, stacks);
    let before = with_here(id, |here| here.look.replace(look));
    drop(before);
    Piece::More
}

fn go_on_looking(event_loop: &WatchedLoop, id: Id) -> Piece {
    // Nothing is borrowed meanwhile: a task that has ended is let go of here, with its output.
    let Some(mut look) = with_here(id, |here| here.look.take()).flatten() else { return Piece::None };
    if look.go_on() {
        return Piece::Last(Box::new(look.end(event_loop)));
    }
    drop(with_here(id, |here| here.look.replace(look)));
    Piece::More
}

/// Whether nobody recorded the loop until now.
fn begin_recording(event_loop: &WatchedLoop, id: Id, length_ns: u64) -> bool {
    let Some(recorder) = event_loop.record(RUNS_LIMIT, length_ns, Runnable::label) else { return false };
    with_here(id, |here| here.recorder = Some(recorder));
    true
}

fn end_recording(event_loop: &WatchedLoop, id: Id) -> Option<Recording> {
    let recorder = with_here(id, |here| here.recorder.take()).flatten()?;
    event_loop.observe(None);
    Some(recorder.take())
}

impl State {
    fn thread(&self) -> u64 {
        self.thread.load(Ordering::SeqCst)
    }

    /// How late the loop answers, if a watchdog asks it.
    fn lag(&self) -> Option<Lag> {
        #[cfg(feature = "watchdog")]
        return self.beats.lag();
        #[cfg(not(feature = "watchdog"))]
        None
    }
}

/// Locks, also after a panic of who held it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

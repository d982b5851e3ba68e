//! A watched loop, as its watchdog's thread sees it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use std::time::Duration;

use aioxide_core::sys::sample::{self, Pace, Sample};
use aioxide_core::sys::stack::lowest;
use aioxide_monitor::protocol::{Refusal, RefusalKind, SnapshotOptions};
use aioxide_monitor::pulse::Pulse;
use aioxide_monitor::schema::{Deadlock, Frame, Id, Lag, STACK_LIMIT, ThreadStack};
use aioxide_monitor::server;

use super::{LOOK, Loops, MONITOR, Registered, State, Watched, here, locked};
use crate::handle::RemoteHandle;
use crate::watchdog::{self, Watchdog};

/// What a watchdog knows of a loop.
#[derive(Debug, Default)]
pub(super) struct Beats {
    pulse: OnceLock<Arc<Pulse>>,
    /// There was nothing to do when the loop answered last.
    quiet: AtomicBool,
    /// What its thread does while it does not answer.
    doing: Mutex<Doing>,
    /// The lowest address of its thread's stack.
    lowest: AtomicUsize,
}

/// What a loop's thread does that does not answer: asked ever more seldom while it goes on.
#[derive(Debug, Default)]
struct Doing {
    /// The heartbeat that is not answered.
    beat: u64,
    pace: Pace,
    sample: Option<Sample>,
}

impl Beats {
    /// The loop begins or ends to run, on this thread.
    pub(super) fn begin(&self) {
        self.lowest.store(lowest(), Ordering::SeqCst);
    }

    pub(super) fn lag(&self) -> Option<Lag> {
        self.pulse.get().map(|pulse| pulse.lag())
    }

    /// What the thread does, if the heartbeat under way has been waiting for `least`; the same for a while.
    fn doing(&self, thread: u64, least: Duration) -> Option<Sample> {
        let pulse = self.pulse.get()?;
        let waited = pulse.waits().filter(|waited| *waited >= least)?;
        let beat = pulse.lag().beats;
        let mut doing = locked(&self.doing);
        if doing.beat != beat {
            *doing = Doing { beat, ..Doing::default() };
        }
        if doing.pace.admit(waited) {
            let sample = sample::sample(thread as i32, self.lowest.load(Ordering::SeqCst));
            // It may have answered meanwhile: what it does now is not what blocked it.
            if sample.is_some() && pulse.waits().is_some() {
                doing.sample = sample;
            }
        }
        doing.sample.clone()
    }
}

/// A loop that answers heartbeats.
pub(crate) struct Beaten {
    id: Id,
    state: Arc<State>,
    pulse: Arc<Pulse>,
    remote: RemoteHandle,
    loops: Arc<Loops>,
}

impl Watched {
    /// Starts the loop's watchdog.
    pub(crate) fn set_watchdog(&self, watchdog: Watchdog) -> io::Result<()> {
        let pulse = Arc::clone(self.state.beats.pulse.get_or_init(|| Arc::new(Pulse::new(self.id))));
        let monitor = locked(&MONITOR);
        let gone = || io::Error::other("the loop is watched no more");
        let loops = Arc::clone(&monitor.as_ref().ok_or_else(gone)?.loops);
        let registered = locked(&loops.loops);
        let remote = registered.iter().find(|one| one.id == self.id).map(|one| one.remote.clone());
        drop(registered);
        drop(monitor);
        let (state, remote) = (Arc::clone(&self.state), remote.ok_or_else(gone)?);
        let beating = watchdog::start(watchdog, Beaten { id: self.id, state, pulse, remote, loops })?;
        let _only_one = self.watchdog.set(beating);
        Ok(())
    }
}

/// A loop is late in its answer from here on.
const LATE: Duration = Duration::from_millis(100);

/// What the threads of loops that do not answer are doing; nothing, where that cannot be learned.
pub(super) fn threads(loops: &Loops) -> Vec<ThreadStack> {
    let running = |one: &&Registered| one.state.running.load(Ordering::SeqCst);
    let running: Vec<(Id, Arc<State>)> =
        locked(&loops.loops).iter().filter(running).map(|one| (one.id, Arc::clone(&one.state))).collect();
    running
        .into_iter()
        .filter_map(|(id, state)| {
            let sample = state.beats.doing(state.thread(), LATE)?;
            let frame = |frame: watchdog::StackFrame| {
                let (file, line) = frame.place.unwrap_or_default();
                Frame { file, line, function: frame.function }
            };
            let stack = watchdog::of_program(&sample);
            let frames: Vec<Frame> = stack.into_iter().take(STACK_LIMIT).map(frame).collect();
            let task = Some(sample.polled.id).filter(|id| *id > 0);
            let frames = frames.into_iter().rev().collect();
            Some(ThreadStack { thread: state.thread(), name: String::new(), loop_id: Some(id), task, frames })
        })
        .collect()
}

impl Beaten {
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state.running.load(Ordering::SeqCst)
    }

    /// What its thread is doing while it does not answer.
    pub(crate) fn doing(&self) -> Option<Sample> {
        self.state.beats.doing(self.state.thread(), Duration::ZERO)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.state.beats.quiet.load(Ordering::SeqCst)
    }

    /// Has the loop answer.
    pub(crate) fn send(&self) {
        let (id, state, pulse) = (self.id, Arc::clone(&self.state), Arc::clone(&self.pulse));
        self.pulse.send();
        let sent = self.remote.call_soon(move || {
            let is_quiet = here(id).is_some_and(|event_loop| {
                event_loop.ready_len() + event_loop.timers_len() + event_loop.reactor().watched() == 0
            });
            state.beats.quiet.store(is_quiet, Ordering::SeqCst);
            pulse.answer();
        });
        if sent.is_err() {
            self.pulse.give_up();
        }
    }

    /// Who can never go on; nobody, where that cannot be learned: while another loop does not answer, it may yet do anything, and
    /// while somebody else looks, it will be learned later.
    pub(crate) fn deadlocks(&self) -> Vec<Deadlock> {
        let _one_at_a_time = match self.loops.looking.try_lock() {
            Ok(looking) => looking,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        let take = || {
            let taken = self.loops.take(&SnapshotOptions::default(), LOOK);
            let (mut snapshot, _) =
                taken.ok_or_else(|| Refusal::new(RefusalKind::Busy, "a loop does not answer"))?;
            snapshot.link();
            Ok(Box::new(snapshot))
        };
        server::in_both(take).unwrap_or_default()
    }
}

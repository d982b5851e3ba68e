//! A watched loop, as its watchdog's thread sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use aioxide_monitor::pulse::Pulse;
use aioxide_monitor::schema::{Deadlock, Frame, Id, Lag, STACK_LIMIT, ThreadStack};
use aioxide_monitor::server;

use super::{Loops, MONITOR, Monitor, Registered, State, Watched, here, locked};
use crate::handle::RemoteHandle;
use crate::watchdog::{self, Watchdog};

/// What a watchdog knows of a loop.
#[derive(Debug, Default)]
pub(super) struct Beats {
    pulse: OnceLock<Arc<Pulse>>,
    /// There was nothing to do when the loop answered last.
    quiet: AtomicBool,
}

impl Beats {
    pub(super) fn lag(&self) -> Option<Lag> {
        self.pulse.get().map(|pulse| pulse.lag())
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
    pub(crate) fn set_watchdog(&self, watchdog: Watchdog) -> std::io::Result<()> {
        let pulse = Arc::clone(self.state.beats.pulse.get_or_init(|| Arc::new(Pulse::new(self.id))));
        let monitor = locked(&MONITOR);
        let Some(Monitor { loops, .. }) = &*monitor else { return Ok(()) };
        let registered = locked(&loops.loops);
        let Some(Registered { remote, .. }) = registered.iter().find(|one| one.id == self.id) else {
            return Ok(());
        };
        let (state, remote, loops) = (Arc::clone(&self.state), remote.clone(), Arc::clone(loops));
        drop(registered);
        drop(monitor);
        let beating = watchdog::start(watchdog, Beaten { id: self.id, state, pulse, remote, loops })?;
        let _only_one = self.watchdog.set(beating);
        Ok(())
    }
}

/// What the threads that run loops are doing; nothing, where that cannot be learned.
pub(super) fn threads(loops: &Loops) -> Vec<ThreadStack> {
    let running = |one: &&Registered| one.state.running.load(Ordering::SeqCst);
    let running: Vec<(Id, u64)> =
        locked(&loops.loops).iter().filter(running).map(|one| (one.id, one.state.thread())).collect();
    running
        .into_iter()
        .filter_map(|(id, thread)| {
            let (task, stack) = watchdog::stack_of(thread as i32)?;
            let frame = |frame: watchdog::StackFrame| {
                let (file, line) = frame.place.unwrap_or_default();
                Frame { file, line, function: frame.function }
            };
            let frames: Vec<Frame> = stack.into_iter().take(STACK_LIMIT).map(frame).rev().collect();
            Some(ThreadStack { thread, name: String::new(), loop_id: Some(id), task, frames })
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

    /// The thread that runs it.
    #[cfg(target_os = "linux")]
    pub(crate) fn thread(&self) -> i32 {
        self.state.thread() as i32
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

    /// Who can never go on; nobody, where that cannot be learned: while another loop does not answer, it may yet do anything.
    pub(crate) fn deadlocks(&self) -> Vec<Deadlock> {
        if !self.loops.all_answer() {
            return Vec::new();
        }
        server::deadlocks(&*self.loops).unwrap_or_default()
    }
}

//! The watchdog's thread.
//!
//! Nothing of the loop is touched here: a heartbeat is a call on it, which answers and tells whether the loop has anything to do.

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aioxide_monitor::pulse::{PLACES, Places, Pulse};
use aioxide_monitor::schema::Id;

use super::names::{self, Noting};
use super::{Blocked, Deadlock, Finding, Watchdog};
use crate::monitor::Beaten;
use crate::task::default_name;

type SpawnedAt = Option<&'static Location<'static>>;

/// How often it is looked for deadlocks, at most.
const DEADLOCKS: Duration = Duration::from_secs(1);

/// A running watchdog; it ends when this is dropped.
pub(crate) struct Beating {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    process: u32,
    _noting: Noting,
}

/// Starts the thread.
pub(crate) fn start(watchdog: Watchdog, beaten: Beaten) -> io::Result<Beating> {
    // Where the program handles the signal itself there are no stacks, which the type's text says.
    let _without_stacks = super::stack::prepare();
    let stopping = Arc::<AtomicBool>::default();
    let told = Arc::clone(&stopping);
    let noting = Noting::begin();
    let thread = std::thread::Builder::new().name("aioxide-watchdog".to_owned()).spawn(move || {
        let places = Places::new(watchdog.every);
        let mut watch = Watch { watchdog, beaten, places, seen: None, looked: None, told: HashSet::new() };
        loop {
            std::thread::park_timeout(watch.watchdog.limit / 2);
            if told.load(Ordering::SeqCst) {
                return;
            }
            watch.beat();
        }
    })?;
    Ok(Beating { stopping, thread: Some(thread), process: std::process::id(), _noting: noting })
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else { return };
        if self.process != std::process::id() {
            // In the child of a fork there is no such thread.
            std::mem::forget(thread);
            return;
        }
        thread.thread().unpark();
        // A report under way is waited for: it may be what ends the program.
        if thread.thread().id() != std::thread::current().id() {
            let _panicked = thread.join();
        }
    }
}

struct Watch {
    watchdog: Watchdog,
    beaten: Beaten,
    places: Places<(SpawnedAt, String)>,
    /// What the loop was doing when it was looked at during this heartbeat: a task's number, and where it was spawned.
    seen: Option<(Option<u64>, SpawnedAt)>,
    looked: Option<std::time::Instant>,
    /// The deadlocks that were told, by their nodes.
    told: HashSet<Vec<Id>>,
}

impl Watch {
    fn pulse(&self) -> &Pulse {
        self.beaten.pulse()
    }

    fn beat(&mut self) {
        if !self.beaten.is_running() {
            // A loop that stopped does not answer, and need not.
            self.pulse().give_up();
            return;
        }
        match self.pulse().waits() {
            None => {
                if self.watchdog.deadlocks && self.beaten.is_quiet() {
                    self.look_for_deadlocks();
                }
                self.seen = None;
                self.beaten.send();
            }
            Some(waited) if waited >= self.watchdog.limit => self.look(waited),
            Some(_) => {}
        }
    }

    /// Tells of the loop that has not answered for so long; of each task once that it was doing meanwhile.
    fn look(&mut self, duration: Duration) {
        let mut blocked = Blocked { duration, ..Blocked::default() };
        let sample = self.beaten.doing();
        if let Some(sample) = &sample {
            blocked.task_id = Some(sample.polled.id).filter(|id| *id > 0);
            blocked.place = sample.polled.place;
        }
        let doing = (blocked.task_id, blocked.place);
        // The same, or it could not be learned this time.
        if self.seen.is_some() && (sample.is_none() || self.seen == Some(doing)) {
            return;
        }
        if self.seen.replace(doing).is_none() {
            self.pulse().count_blocked();
        }
        if let Some(sample) = &sample {
            blocked.stack = super::stack::resolve(sample);
        }
        blocked.task_name = blocked.task_id.map(|id| names::name_of(id).unwrap_or_else(|| default_name(id)));
        let Some(suppressed) = self.places.admit((blocked.place, super::stack::place(&blocked.stack))) else {
            return;
        };
        blocked.suppressed = suppressed;
        self.tell(&Finding::Blocked(blocked));
    }

    fn look_for_deadlocks(&mut self) {
        let now = aioxide_monitor::clock::now();
        if self.looked.is_some_and(|looked| now - looked < DEADLOCKS) {
            return;
        }
        self.looked = Some(now);
        for found in self.beaten.deadlocks() {
            if self.told.len() >= PLACES {
                self.told.clear();
            }
            if self.told.insert([&found.cycle[..], &found.ends[..]].concat()) {
                self.tell(&Finding::Deadlock(Deadlock { tasks: found.tasks, text: found.text }));
            }
        }
    }

    fn tell(&self, finding: &Finding) {
        let told = self.watchdog.report.as_ref().is_some_and(|report| {
            // A function that panics must not end the watchdog: what it was to be told goes to standard error.
            let called = catch_unwind(AssertUnwindSafe(|| report(finding)));
            called.map_err(aioxide_core::destroy).is_ok()
        });
        if !told {
            crate::report::tell(finding);
        }
    }
}

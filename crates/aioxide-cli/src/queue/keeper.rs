//! A worker's thread for its queue: it tells all the time that the worker still has its shard, and asks for what the worker wants.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Lease, Progress, Queue, Settings, Summary, Taken};
use crate::clock::Stopwatch;

/// Keeps the shard that a worker has.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    settings: Settings,
}

struct Shared {
    queue: Mutex<Box<dyn Queue>>,
    /// The shard that the worker has.
    held: Mutex<Option<(Lease, Arc<Hold>)>>,
    changed: Condvar,
}

/// A shard that is being worked on, as the worker and the thread see it.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    is_lost: AtomicBool,
    ended: AtomicU64,
    good: AtomicU64,
    bytes: AtomicU64,
}

impl Hold {
    /// Whether the worker has lost it: others may have it.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Tells how far the worker has come.
    pub(crate) fn tell(&self, progress: Progress) {
        self.ended.store(progress.ended, Ordering::Relaxed);
        self.good.store(progress.good, Ordering::Relaxed);
        self.bytes.store(progress.bytes, Ordering::Relaxed);
    }

    fn progress(&self) -> Progress {
        let [ended, good, bytes] =
            [&self.ended, &self.good, &self.bytes].map(|sum| sum.load(Ordering::Relaxed));
        Progress { ended, good, bytes }
    }
}

/// How often it is told in the time after which the shard is lost.
const TOLD_PER_LEASE: u32 = 4;

impl Keeper {
    /// Starts the thread, which ends with the process.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(queue: Box<dyn Queue>) -> io::Result<Self> {
        let settings = queue.settings().clone();
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), held: Mutex::new(None), changed: Condvar::new() });
        let (kept, lease) = (Arc::clone(&shared), settings.lease());
        std::thread::Builder::new().name("queue".to_owned()).spawn(move || kept.keep(lease))?;
        Ok(Keeper { shared, settings })
    }

    /// What holds for all workers.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes a shard, which is kept from now on.
    ///
    /// # Errors
    /// The queue could not be asked for as long as it may be silent.
    pub(crate) fn take(&self) -> io::Result<(Taken, Arc<Hold>)> {
        let hold = Arc::<Hold>::default();
        let taken = self.patiently(|queue| queue.take())?;
        if let Taken::Shard(lease) = &taken {
            *lock(&self.shared.held) = Some((lease.clone(), Arc::clone(&hold)));
            self.shared.changed.notify_all();
        }
        Ok((taken, hold))
    }

    /// Ends the keeping of the shard with what is done about it in the queue.
    ///
    /// # Errors
    /// The queue could not be asked for as long as it may be silent.
    fn end<T>(&self, ask: impl FnMut(&mut dyn Queue) -> io::Result<T>) -> io::Result<T> {
        // Kept as long as it is tried.
        let ended = self.patiently(ask);
        *lock(&self.shared.held) = None;
        ended
    }

    /// See [`Queue::copy_list`].
    ///
    /// # Errors
    /// There is no list, or it cannot be written.
    pub(crate) fn copy_list(&self, lease: &Lease, to: &Path) -> io::Result<()> {
        // Nothing is gained by waiting for a list that is not there.
        self.patiently(|queue| match queue.copy_list(lease, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Err(error)),
            copied => copied.map(Ok),
        })?
    }

    /// See [`Queue::done`].
    ///
    /// # Errors
    /// The queue could not be asked for as long as it may be silent.
    pub(crate) fn done(&self, lease: &Lease, result: &Summary) -> io::Result<bool> {
        self.end(|queue| queue.done(lease, result))
    }

    /// See [`Queue::give_back`].
    ///
    /// # Errors
    /// The queue could not be asked for as long as it may be silent.
    pub(crate) fn give_back(&self, lease: &Lease, why: Option<&str>) -> io::Result<bool> {
        self.end(|queue| queue.give_back(lease, why))
    }

    /// The shard is another worker's.
    pub(crate) fn forget(&self) {
        *lock(&self.shared.held) = None;
    }

    /// The worker takes no more.
    pub(crate) fn leave(&self) {
        // What it leaves there otherwise is small.
        let _ = lock(&self.shared.queue).leave();
    }

    /// A server that starts anew, or a disk that is away for a moment, ends no worker.
    fn patiently<T>(&self, mut ask: impl FnMut(&mut dyn Queue) -> io::Result<T>) -> io::Result<T> {
        let since = Stopwatch::start();
        loop {
            let asked = ask(lock(&self.shared.queue).as_mut());
            if asked.is_ok() || since.elapsed() >= self.settings.lease() {
                return asked;
            }
            let held = lock(&self.shared.held);
            drop(self.shared.changed.wait_timeout(held, PAUSE).map_err(PoisonError::into_inner));
        }
    }
}

const PAUSE: Duration = Duration::from_millis(500);

impl Shared {
    fn keep(&self, lease: Duration) {
        let (mut told, mut last) = (Stopwatch::start(), None);
        loop {
            let held = lock(&self.held);
            let waited = self.changed.wait_timeout(held, lease / TOLD_PER_LEASE);
            let Some((held, hold)) = waited.unwrap_or_else(PoisonError::into_inner).0.clone() else {
                last = None;
                continue;
            };
            if last.as_ref() != Some(&held.key) {
                (told, last) = (Stopwatch::start(), Some(held.key.clone()));
            }
            match lock(&self.queue).renew(&held, hold.progress()) {
                Ok(true) => told = Stopwatch::start(),
                Ok(false) => hold.is_lost.store(true, Ordering::Relaxed),
                // Nobody has heard of the worker for so long that another one may have it.
                Err(_) if told.elapsed() >= lease => hold.is_lost.store(true, Ordering::Relaxed),
                Err(_) => {}
            }
        }
    }
}

/// No one leaves something half done when it panics: what is guarded is asked, or replaced as a whole.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

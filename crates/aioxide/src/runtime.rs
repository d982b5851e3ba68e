//! A loop of this face: made, run, stopped, closed.

use std::future::IntoFuture;
use std::ops::ControlFlow;
use std::panic::Location;
use std::rc::Rc;

use aioxide_core::clock::Clock;
use aioxide_core::{EventLoop, LoopHandle, Notified, Token};

use crate::error::{Error, TaskError};
use crate::task::{AnyTask, Task, cancel_each, list_tasks, spawn_on};
use crate::wake::HeldPanic;

/// What this face's ready queue holds: woken tasks, and nothing else.
///
/// Callbacks are tasks as well (see [`Handle`](crate::Handle)), so that they can be queued on any face's loop.
pub(crate) struct Runnable(Notified);

impl From<Notified> for Runnable {
    #[inline]
    fn from(task: Notified) -> Self {
        Self(task)
    }
}

impl Runnable {
    /// What it is called in a timeline.
    #[cfg(feature = "monitor")]
    pub(crate) fn label(&self) -> aioxide_core::observer::Label {
        crate::label::label(&self.0)
    }
}

impl aioxide_core::Runnable for Runnable {
    type Posted = Notified;
    type Context<'a> = ();
    // Every task of this face takes the time of its polls; a foreign one is followed by one of ours at some time.
    const MARKS_TIME: bool = true;

    fn from_io(_: Token) -> Self {
        unreachable!("this face watches no descriptor by callback")
    }

    #[inline]
    fn run(self, _: &mut ()) -> ControlFlow<()> {
        self.0.run();
        ControlFlow::Continue(())
    }
}

/// Runs `future` to its end on a new loop, cancels what is still running then, waits for that, and closes the loop.
///
/// # Errors
/// No loop could be had (descriptors, memory), the thread runs one already, or the main task was cancelled.
///
/// # Panics
/// With the panic of `future`, after the other tasks have been cancelled.
///
/// # Examples
/// ```
/// let answer = aioxide::run(async {
///     aioxide::yield_now().await;
///     42
/// })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), aioxide::Error>(())
/// ```
/// asyncio: `asyncio.run`.
#[track_caller]
pub fn run<F: IntoFuture>(future: F) -> Result<F::Output, Error>
where
    F::IntoFuture: 'static,
{
    let runtime = Runtime::new()?;
    runtime.run_and_close(future.into_future(), Location::caller())
}

/// A loop that this thread may run; cloning it is one count.
///
/// # Examples
/// ```
/// use aioxide::Runtime;
/// let runtime = Runtime::new()?;
/// let task = runtime.spawn(async { 1 });
/// assert_eq!(runtime.block_on(task)?, 1);
/// runtime.close();
/// assert!(runtime.block_on(async {}).unwrap_err().is_closed());
/// # Ok::<(), aioxide::Error>(())
/// ```
/// asyncio: the event loop object.
#[derive(Clone)]
pub struct Runtime {
    event_loop: Rc<EventLoop<Runnable>>,
    running: Rc<std::cell::Cell<bool>>,
    #[cfg(feature = "monitor")]
    watched: Option<Rc<crate::monitor::Watched>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.event_loop.fmt(formatter)
    }
}

/// What a [`Runtime`] is made from.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder makes nothing by itself"]
pub struct RuntimeBuilder {
    virtual_clock: bool,
    poll_interval: Option<u32>,
    #[cfg(feature = "monitor")]
    monitor: bool,
    #[cfg(feature = "watchdog")]
    watchdog: Option<crate::watchdog::Watchdog>,
}

impl RuntimeBuilder {
    /// A clock that jumps to the next deadline when the loop is idle, for tests.
    pub fn virtual_clock(mut self, on: bool) -> Self {
        self.virtual_clock = on;
        self
    }

    /// How many entries of a loop that has long been busy may run before the kernel is asked for events again; 0 always asks
    /// in each iteration.
    pub fn poll_interval(mut self, entries: u32) -> Self {
        self.poll_interval = Some(entries);
        self
    }

    /// Lets `aioxide top`, and whoever else asks as the crate `aioxide-monitor` does, look into the loop: which tasks there are,
    /// what each waits for, who can never go on; tasks can be cancelled. (Feature `monitor`.)
    ///
    /// The first loop opens the socket, `$XDG_RUNTIME_DIR/aioxide/PID.sock` or `/tmp/aioxide-UID/PID.sock`, which only this user
    /// may ask; the last one that is dropped closes it. With `AIOXIDE_MONITOR=1` in the environment it is on for every loop
    /// on the system's clock. A thread answers; the loop is asked between two of its iterations.
    ///
    /// # Examples
    /// ```no_run
    /// let runtime = aioxide::Runtime::builder().monitor(true).build()?;
    /// runtime.block_on(async { /* a service */ })?;
    /// # Ok::<(), aioxide::Error>(())
    /// ```
    #[cfg(feature = "monitor")]
    pub fn monitor(mut self, on: bool) -> Self {
        self.monitor = on;
        self
    }

    /// Tells what keeps the loop from running, while it does so. (Feature `watchdog`.)
    #[cfg(feature = "watchdog")]
    pub fn watchdog(mut self, watchdog: crate::watchdog::Watchdog) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// Makes the loop.
    ///
    /// # Errors
    /// As [`Runtime::new`]; those of the monitor's socket, if the monitor is on, and of a thread, if it has a watchdog.
    pub fn build(self) -> Result<Runtime, Error> {
        let clock = if self.virtual_clock { Clock::virtual_from(0) } else { Clock::Monotonic };
        let event_loop = EventLoop::with_clock(clock)?;
        if let Some(entries) = self.poll_interval {
            event_loop.set_poll_interval(entries);
        }
        #[cfg(feature = "monitor")]
        let watched = if self.monitor {
            Some(crate::monitor::watch(&event_loop, true)?)
        } else if self.virtual_clock {
            None
        } else {
            crate::monitor::watch_if_wanted(&event_loop)
        };
        #[cfg(feature = "watchdog")]
        let watched = match self.watchdog {
            Some(watchdog) => {
                let watched = watched.map_or_else(|| crate::monitor::watch(&event_loop, false), Ok)?;
                watched.set_watchdog(watchdog)?;
                Some(watched)
            }
            None => watched,
        };
        Ok(Runtime {
            event_loop,
            running: Rc::default(),
            #[cfg(feature = "monitor")]
            watched: watched.map(Rc::new),
        })
    }
}

impl Runtime {
    /// A loop on the system's clock.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM: it needs two descriptors.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Chooses the clock first.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Runs the loop until `future` is ready.
    ///
    /// Other tasks run meanwhile, and stay where they are afterwards.
    ///
    /// # Errors
    /// The loop is closed or running, was stopped before the end, or the future's task was cancelled; the thread is at its
    /// end, so that its thread-local values are being dropped.
    ///
    /// # Panics
    /// With the panic of `future`.
    ///
    /// asyncio: `run_until_complete`.
    #[track_caller]
    pub fn block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, Error>
    where
        F::IntoFuture: 'static,
    {
        let mut task = self.spawn_at(future.into_future(), Location::caller())?;
        self.run_until_done(&mut task)?;
        Self::outcome(task)
    }

    /// Runs the loop until [`stop`](Self::stop) is called.
    ///
    /// # Errors
    /// The loop is closed or running.
    pub fn run_forever(&self) -> Result<(), Error> {
        let _running = self.start()?;
        // `Break` does not come: no entry of this face breaks off.
        let _ = self.event_loop.run_forever(&mut ())?;
        Ok(())
    }

    /// Lets the iteration under way be the last, or the next one if none is.
    pub fn stop(&self) {
        self.event_loop.stop();
    }

    /// Starts a task on this loop, whether or not it runs.
    #[track_caller]
    pub fn spawn<F: IntoFuture>(&self, future: F) -> Task<F::Output>
    where
        F::IntoFuture: 'static,
    {
        spawn_on(&*self.event_loop, future.into_future(), Location::caller(), 0, None, None)
    }

    /// Its unfinished tasks, oldest first.
    pub fn all_tasks(&self) -> Vec<AnyTask> {
        list_tasks(&*self.event_loop)
    }

    /// Its calls, as [`Handle::current`](crate::Handle::current) returns them inside.
    pub fn handle(&self) -> crate::Handle {
        crate::Handle::new(Rc::clone(&self.event_loop) as Rc<dyn LoopHandle>)
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.running.get()
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.event_loop.is_closed()
    }

    /// Drops all tasks, timers and callbacks. Calling it again is fine; dropping the last clone does it too.
    ///
    /// # Panics
    /// While the loop runs.
    pub fn close(&self) {
        assert!(!self.is_running(), "a running event loop cannot be closed");
        self.event_loop.close();
    }

    pub(crate) fn run_and_close<F: std::future::Future + 'static>(
        &self,
        future: F,
        place: &'static Location<'static>,
    ) -> Result<F::Output, Error> {
        let mut task = self.spawn_at(future, place)?;
        let ended = self.run_until_done(&mut task);
        self.cancel_all()?;
        self.close();
        ended?;
        Self::outcome(task)
    }

    fn spawn_at<F: std::future::Future + 'static>(
        &self,
        future: F,
        place: &'static Location<'static>,
    ) -> Result<Task<F::Output>, Error> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        if aioxide_core::current::try_with(|_| ()).is_some() {
            return Err(Error::running());
        }
        self.try_thread()?;
        Ok(spawn_on(&*self.event_loop, future, place, 0, None, None))
    }

    fn run_until_done<T>(&self, task: &mut Task<T>) -> Result<(), Error> {
        let _running = self.start()?;
        let _entered = self.event_loop.enter();
        while !task.done() {
            // `Break` does not come: no entry of this face breaks off.
            let _ = self.event_loop.run_once(&mut ())?;
            if self.event_loop.is_stopping() {
                self.event_loop.clear_stop();
                if !task.done() {
                    return Err(Error::stopped());
                }
            }
        }
        Ok(())
    }

    /// Cancels all tasks and runs until they have ended.
    fn cancel_all(&self) -> Result<(), Error> {
        let left = self.all_tasks();
        if left.is_empty() {
            return Ok(());
        }
        let mut waiting = spawn_on(
            &*self.event_loop,
            async move {
                let mut held = HeldPanic::default();
                held.run(|| cancel_each(left.iter().cloned(), None));
                for task in &left {
                    task.finished().await;
                }
                held.resume();
            },
            Location::caller(),
            crate::task::HIDDEN,
            None,
            None,
        );
        self.run_until_done(&mut waiting)
    }

    fn outcome<T>(mut task: Task<T>) -> Result<T, Error> {
        match task.take_result() {
            Some(Ok(value)) => Ok(value),
            Some(Err(TaskError::Cancelled(cancelled))) => Err(Error::cancelled(cancelled)),
            Some(Err(TaskError::Panicked(panic))) => panic.resume(),
            Some(Err(TaskError::Failed(never))) => match never {},
            None => unreachable!("the main task is complete, and nobody else has its handle"),
        }
    }

    fn start(&self) -> Result<Running<'_>, Error> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        if self.running.get() || aioxide_core::current::try_with(|_| ()).is_some() {
            return Err(Error::running());
        }
        self.try_thread()?;
        self.set_running(true);
        Ok(Running(self))
    }

    fn set_running(&self, running: bool) {
        self.running.set(running);
        #[cfg(feature = "monitor")]
        if let Some(watched) = &self.watched {
            watched.set_running(running);
        }
    }

    /// Whether the thread can have a current loop: not once its thread-local values are being dropped.
    fn try_thread(&self) -> Result<(), Error> {
        let _entered = self.event_loop.enter();
        match aioxide_core::current::try_with(|_| ()) {
            Some(()) => Ok(()),
            None => Err(std::io::Error::other("the thread is at its end, and runs no loop any more").into()),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // The last clone closes it, on a thread where that is allowed: it is `!Send`.
        if Rc::strong_count(&self.running) == 1 && !self.running.get() {
            self.event_loop.close();
        }
    }
}

struct Running<'a>(&'a Runtime);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set_running(false);
    }
}

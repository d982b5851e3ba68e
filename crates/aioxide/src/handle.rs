//! Calls on a loop: soon, later, and from other threads.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use aioxide_core::LoopHandle;
use aioxide_core::current::current;
use aioxide_core::timers::TimerKey;

use crate::error::NO_LOOP;
use crate::task::{AnyTask, HIDDEN, spawn_idle, spawn_on};
use crate::time::Instant;

/// A loop, seen from its own thread: whichever face it belongs to.
///
/// # Examples
/// ```
/// use aioxide::{Future, Handle, testing};
/// use std::time::Duration;
/// testing::run(async {
///     let done = Future::new();
///     let setter = done.clone();
///     Handle::current().call_later(Duration::from_secs(5), move || setter.set_result("rung").unwrap());
///     assert_eq!(done.await, "rung");
/// });
/// ```
#[derive(Clone)]
pub struct Handle {
    event_loop: Rc<dyn LoopHandle>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Handle").field(&self.event_loop.id()).finish()
    }
}

impl Handle {
    pub(crate) fn new(event_loop: Rc<dyn LoopHandle>) -> Self {
        Self { event_loop }
    }

    /// The loop that this thread runs.
    ///
    /// # Panics
    /// When it runs none.
    ///
    /// asyncio: `get_running_loop`.
    pub fn current() -> Self {
        Self::try_current().expect(NO_LOOP)
    }

    /// The loop that this thread runs, if it does.
    pub fn try_current() -> Option<Self> {
        current().map(Self::new)
    }

    /// The loop's time.
    pub fn time(&self) -> Instant {
        Instant::from_ns(self.event_loop.now_ns())
    }

    /// Calls `call` in the next iteration, after what is ready already.
    ///
    /// A panic in it is reported, and the loop goes on.
    #[track_caller]
    pub fn call_soon(&self, call: impl FnOnce() + 'static) -> CallHandle {
        let place = std::panic::Location::caller();
        let task = spawn_on(&*self.event_loop, async move { call() }, place, HIDDEN, None, None);
        CallHandle { task: task.any().clone(), timer: Cell::new(None) }
    }

    /// Calls `call` once, at least `delay` from now; calls due at the same instant run in the order made.
    #[track_caller]
    pub fn call_later(&self, delay: Duration, call: impl FnOnce() + 'static) -> CallHandle {
        self.call_at(self.time() + delay, call)
    }

    /// Calls `call` once, at `deadline` or later; calls due at the same instant run in the order made.
    #[track_caller]
    pub fn call_at(&self, deadline: Instant, call: impl FnOnce() + 'static) -> CallHandle {
        let (task, waker) = spawn_idle(&*self.event_loop, async move { call() });
        let key = self.event_loop.add_timer(deadline.as_ns(), waker);
        let timer = Cell::new(Some((Rc::clone(&self.event_loop), key)));
        CallHandle { task: task.any().clone(), timer }
    }

    /// What other threads reach this loop through.
    pub fn remote(&self) -> RemoteHandle {
        let mailbox = Arc::new(Mailbox::default());
        // Made here, so that it closes the mailbox even if the task is dropped before its first poll.
        let serving = Serving(Arc::clone(&mailbox));
        let (task, waker) = spawn_idle(&*self.event_loop, serve(serving));
        {
            let mut letters = mailbox.lock();
            if !letters.closed {
                letters.waker = Some(waker);
            }
        }
        task.detach();
        RemoteHandle { sender: Arc::new(Sender(mailbox)) }
    }
}

/// A call that is to come; dropping it changes nothing.
///
/// asyncio: `Handle` and `TimerHandle`.
pub struct CallHandle {
    task: AnyTask,
    timer: Cell<Option<(Rc<dyn LoopHandle>, TimerKey)>>,
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CallHandle").field("over", &self.task.done()).finish_non_exhaustive()
    }
}

impl CallHandle {
    /// Takes the call back: it is dropped now. Nothing happens if it was made already.
    pub fn cancel(&self) {
        if let Some((event_loop, key)) = self.timer.take() {
            event_loop.cancel_timer(key);
        }
        self.task.task_ref().shut_down();
    }

    /// Whether it was taken back.
    pub fn cancelled(&self) -> bool {
        self.task.cancelled()
    }
}

type RemoteCall = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Mailbox {
    inner: Mutex<Letters>,
}

#[derive(Default)]
struct Letters {
    /// It has no limit: asyncio's `call_soon_threadsafe` has none.
    calls: VecDeque<RemoteCall>,
    waker: Option<Waker>,
    /// No more calls can come.
    no_sender: bool,
    closed: bool,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Letters> {
        // No call runs under the lock, so it is never poisoned half-way.
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Reaches a loop from any thread.
///
/// # Examples
/// ```
/// use aioxide::{Future, Handle};
/// aioxide::run(async {
///     let remote = Handle::current().remote();
///     let sum = remote.clone();
///     let (answer, thread) = aioxide::to_thread(move || {
///         // ... work ...
///         sum.call_soon(|| println!("on the loop's thread again")).unwrap();
///         6 * 7
///     }).await.map(|answer| (answer, remote)).unwrap();
///     assert_eq!(answer, 42);
///     drop(thread);
/// }).unwrap();
/// ```
#[doc(alias = "call_soon_threadsafe")]
#[doc(alias = "run_coroutine_threadsafe")]
#[derive(Clone)]
pub struct RemoteHandle {
    sender: Arc<Sender>,
}

/// What all clones of a handle share: with the last of them the task that serves the mailbox ends.
struct Sender(Arc<Mailbox>);

impl Drop for Sender {
    fn drop(&mut self) {
        let waker = {
            let mut letters = self.0.lock();
            letters.no_sender = true;
            letters.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RemoteHandle").field("closed", &self.sender.0.lock().closed).finish()
    }
}

/// The loop is closed, and so the call will never be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown;

impl fmt::Display for Shutdown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("event loop is closed")
    }
}

impl std::error::Error for Shutdown {}

impl RemoteHandle {
    /// Calls `call` on the loop's thread in its next iteration; the calls of one thread keep their order.
    ///
    /// # Errors
    /// [`Shutdown`] when the loop is closed; `call` is dropped.
    ///
    /// asyncio: `call_soon_threadsafe`.
    pub fn call_soon(&self, call: impl FnOnce() + Send + 'static) -> Result<(), Shutdown> {
        let waker = {
            let mut letters = self.sender.0.lock();
            if letters.closed {
                return Err(Shutdown);
            }
            letters.calls.push_back(Box::new(call));
            letters.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Starts a task on the loop that `make` makes the future of.
    ///
    /// # Errors
    /// As [`call_soon`](Self::call_soon).
    ///
    /// asyncio: `run_coroutine_threadsafe`.
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<(), Shutdown>
    where
        F: Future<Output = ()> + 'static,
    {
        self.call_soon(move || crate::task::spawn(make()).detach())
    }
}

/// Closes the mailbox when the loop drops the task that serves it.
struct Serving(Arc<Mailbox>);

impl Drop for Serving {
    fn drop(&mut self) {
        let left = {
            let mut letters = self.0.lock();
            letters.closed = true;
            (std::mem::take(&mut letters.calls), letters.waker.take())
        };
        let (calls, waker) = left;
        calls.into_iter().for_each(aioxide_core::destroy);
        drop(waker);
    }
}

/// Makes the calls of a mailbox until nobody can write to it any more.
async fn serve(serving: Serving) {
    poll_fn(|_| {
        let (calls, no_sender) = {
            let mut letters = serving.0.lock();
            (std::mem::take(&mut letters.calls), letters.no_sender)
        };
        for call in calls {
            // Each in a task of its own: a panic is reported as that of any callback.
            crate::task::spawn_hidden(async move { call() }).detach();
        }
        if no_sender { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

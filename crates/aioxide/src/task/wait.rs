//! Waiting for some of many: `wait`, `as_completed`; and `shield`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::children::{Children, Outcome, WakeWhen, stands_for_task};
use super::meta::Meta;
use super::second_turn::SecondTurn;
use super::waiting::{Tally, Waiter, Waiting};
use super::{BegunOn, Task, is_unwinding, raise, wait_for};
use crate::error::TaskError;
use crate::time::{Instant, Timer};

/// When a [`wait`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnWhen {
    /// One has ended.
    FirstCompleted,
    /// One has panicked, or returned an error (those of [`try_spawn`](crate::try_spawn) are known); or all have ended.
    FirstException,
    /// All have ended.
    AllCompleted,
}

/// Waits for tasks without touching them: nothing is cancelled, nothing is raised, nothing is taken.
///
/// The tasks come back, sorted into those that are done and those that are not, each in the order given.
///
/// # Cancel safety
/// Dropping it, or cancelling the task that awaits it, drops the handles: the tasks run on.
///
/// # Examples
/// ```
/// use aioxide::{ReturnWhen, spawn, testing, time::sleep, wait};
/// use std::time::Duration;
/// testing::run(async {
///     let tasks = [3, 1, 2].map(|seconds| spawn(sleep(Duration::from_secs(seconds))));
///     let sorted = wait(tasks, ReturnWhen::FirstCompleted).await;
///     assert_eq!((sorted.done.len(), sorted.pending.len()), (1, 2));
///     let sorted = wait(sorted.pending, ReturnWhen::AllCompleted).timeout(Duration::from_millis(1500)).await;
///     assert_eq!((sorted.done.len(), sorted.pending.len()), (1, 1));
/// });
/// ```
/// asyncio: `wait`; no tasks at all is no error here.
pub fn wait<T>(tasks: impl IntoIterator<Item = Task<T>>, return_when: ReturnWhen) -> Wait<T> {
    let tasks: Vec<_> = tasks.into_iter().collect();
    Wait {
        keys: Vec::new(),
        tasks,
        count: Rc::new(Count {
            return_when,
            left: Cell::new(0),
            over: Cell::new(false),
            waker: RefCell::default(),
        }),
        timeout: None,
        deadline: None,
        timer: Timer::default(),
        second_turn: SecondTurn::default(),
        begun_on: BegunOn::default(),
    }
}

/// The future of [`wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct Wait<T> {
    tasks: Vec<Task<T>>,
    /// Our places among those that are told of each task's end; 0 where there is none.
    keys: Vec<u64>,
    count: Rc<Count>,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    timer: Timer,
    second_turn: SecondTurn,
    begun_on: BegunOn,
}

/// What a [`wait`] returns.
#[derive(Debug)]
pub struct Waited<T> {
    /// The tasks that have ended.
    pub done: Vec<Task<T>>,
    /// The tasks that have not.
    pub pending: Vec<Task<T>>,
}

impl<T> fmt::Debug for Wait<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Wait").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

// Tasks are not pinned by being waited for.
impl<T> Unpin for Wait<T> {}

impl<T> Wait<T> {
    /// Waits for at most `timeout`, counted from the first poll.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Asks each task to tell its end; those that have ended already count at once.
    fn begin(&mut self) {
        self.begun_on = BegunOn::here();
        self.count.left.set(self.tasks.len());
        for task in &self.tasks {
            let key = if task.done() {
                self.count.ended(task.meta());
                0
            } else {
                super::assert_here(task.task_ref());
                task.meta().add_waiter(Waiter::Tally(Rc::clone(&self.count) as Rc<dyn Tally>))
            };
            self.keys.push(key);
        }
    }

    fn forget(&mut self) {
        for (task, key) in self.tasks.iter().zip(self.keys.drain(..)) {
            task.meta().remove_waiter(key);
        }
    }
}

/// Counts the ends of the tasks that are waited for, so that each costs the same however many there are.
#[derive(Debug)]
struct Count {
    return_when: ReturnWhen,
    left: Cell<usize>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Tally for Count {
    fn ended(&self, meta: &Meta) {
        self.left.set(self.left.get() - 1);
        let over = match self.return_when {
            ReturnWhen::FirstCompleted => true,
            ReturnWhen::FirstException => meta.failure().is_some() || self.left.get() == 0,
            ReturnWhen::AllCompleted => self.left.get() == 0,
        };
        if over {
            self.over.set(true);
            let waker = self.waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Future for Wait<T> {
    type Output = Waited<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited<T>> {
        let this = &mut *self;
        if let Some(timeout) = this.timeout.take() {
            this.deadline = Some(Instant::now() + timeout);
        }
        if this.keys.len() < this.tasks.len() {
            this.begin();
        }
        let over = this.count.over.get() || this.tasks.is_empty();
        // Also a deadline that has passed gives up a turn, as in asyncio.
        let late = || this.deadline.is_some_and(|deadline| this.timer.poll(deadline, cx).is_ready());
        if !over && !{ late }() {
            this.begun_on.assert_here();
            let old = this.count.waker.replace(Some(cx.waker().clone()));
            drop(old);
            this.second_turn.note_wait(true);
            wait_for(Waiting::alone("wait"));
            return Poll::Pending;
        }
        if over && this.second_turn.poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.forget();
        this.timer.clear();
        let (done, pending) = std::mem::take(&mut this.tasks).into_iter().partition(|task| task.done());
        Poll::Ready(Waited { done, pending })
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Runs all `futures` at the same time, each as a task, and returns what became of them in the order of their ends.
///
/// With [`limit`](AsCompleted::limit) only so many run at a time, the iterator is consumed no faster than that, and
/// memory is bounded however long it is.
///
/// # Examples
/// ```
/// use aioxide::{as_completed, testing, time::sleep};
/// use std::time::Duration;
/// testing::run(async {
///     let mut ends = as_completed([3, 1, 2].map(|seconds| async move {
///         sleep(Duration::from_secs(seconds)).await;
///         Ok::<_, ()>(seconds)
///     }));
///     let mut order = Vec::new();
///     while let Some(outcome) = ends.next().await { order.push(outcome.unwrap()); }
///     assert_eq!(order, [1, 2, 3]);
/// });
/// ```
/// asyncio: `as_completed`; there all start at the call, here when first awaited.
#[track_caller]
pub fn as_completed<I, T, E>(futures: I) -> AsCompleted<I::IntoIter, T, E>
where
    I: IntoIterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
    T: 'static,
    E: 'static,
{
    AsCompleted {
        source: futures.into_iter(),
        limit: usize::MAX,
        next_index: 0,
        children: Children::new(WakeWhen::Each, Location::caller()),
        ended: Vec::new(),
        raised: false,
        second_turn: SecondTurn::default(),
    }
}

/// The ends of many, in the order in which they come; see [`as_completed`]. It is a `Stream` as well.
pub struct AsCompleted<I, T: 'static, E: 'static> {
    source: I,
    limit: usize,
    next_index: usize,
    children: Rc<Children<T, E>>,
    /// Taken from the children, the next one last.
    ended: Vec<(usize, Outcome<T, E>)>,
    raised: bool,
    second_turn: SecondTurn,
}

// Nothing in it is pinned: the futures stand in their tasks.
impl<I, T: 'static, E: 'static> Unpin for AsCompleted<I, T, E> {}

impl<I, T: 'static, E: 'static> fmt::Debug for AsCompleted<I, T, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AsCompleted")
            .field("running", &self.children.in_flight())
            .finish_non_exhaustive()
    }
}

impl<I, T: 'static, E: 'static> AsCompleted<I, T, E> {
    /// Lets at most `limit` run at a time.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn limit(mut self, limit: usize) -> Self {
        assert!(limit > 0, "a limit of 0 would never end");
        self.limit = limit;
        self
    }
}

impl<I, T, E> AsCompleted<I, T, E>
where
    I: Iterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
{
    /// Waits for the next end; `None` when there are no more.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn next(&mut self) -> Option<Result<T, TaskError<E>>> {
        poll_fn(|cx| self.poll_end(cx)).await.map(|(_, outcome)| outcome)
    }

    /// Like [`next`](Self::next), with the place of the future in the input.
    pub async fn next_indexed(&mut self) -> Option<(usize, Result<T, TaskError<E>>)> {
        poll_fn(|cx| self.poll_end(cx)).await
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Outcome<T, E>)>> {
        if self.raised {
            return raise(self.children.message());
        }
        loop {
            if !self.ended.is_empty() && self.second_turn.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(end) = self.ended.pop() {
                return Poll::Ready(Some(end));
            }
            self.children.fill(&mut self.source, &mut self.next_index, self.limit);
            self.ended = self.children.take_ended();
            self.ended.reverse();
            if !self.ended.is_empty() {
                continue;
            }
            if self.children.in_flight() > 0 {
                self.children.assert_here();
                self.children.keep_waker(cx);
                self.second_turn.note_wait(!stands_for_task::<I::Item, T, E>());
                wait_for(Waiting::alone("as_completed"));
                return Poll::Pending;
            }
            return Poll::Ready(None);
        }
    }
}

impl<I, T, E> futures_core::Stream for AsCompleted<I, T, E>
where
    I: Iterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
{
    type Item = Result<T, TaskError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_end(cx).map(|end| end.map(|(_, outcome)| outcome))
    }
}

impl<I, T: 'static, E: 'static> Drop for AsCompleted<I, T, E> {
    fn drop(&mut self) {
        if is_unwinding() {
            self.children.cancel_running(None);
        }
    }
}

/// Awaits a task without handing a cancellation of the awaiter to it.
///
/// When the awaiter is cancelled, the task runs on by itself. When the task is cancelled, so is the awaiter.
///
/// # Examples
/// ```
/// use aioxide::{shield, spawn, testing, time::{sleep, timeout}};
/// use std::time::Duration;
/// testing::run(async {
///     let task = spawn(sleep(Duration::from_secs(2)));
///     let watched = task.any().clone();
///     assert!(timeout(Duration::from_secs(1), shield(task)).await.is_err());
///     assert!(!watched.done());
///     watched.finished().await;
///     assert!(!watched.cancelled());
/// });
/// ```
/// asyncio: `shield`, which also makes a task of a coroutine; here `shield(spawn(..))`.
pub fn shield<T>(task: Task<T>) -> Shield<T> {
    Shield { task, second_turn: SecondTurn::default() }
}

/// The future of [`shield`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Shield<T> {
    task: Task<T>,
    second_turn: SecondTurn,
}

impl<T> Future for Shield<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if self.task.done() && self.second_turn.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.task).poll(cx);
        if polled.is_pending() && !self.task.done() {
            self.second_turn.note_wait(true);
            self.task.stand_apart();
        }
        polled
    }
}

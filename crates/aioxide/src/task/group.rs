//! Structured concurrency: tasks that end before the block that started them does.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use aioxide_core::current::try_with;
use aioxide_core::task::TaskRef;
use pin_project_lite::pin_project;

use super::meta::Meta;
use super::scope::Scope;
use super::second_turn::SecondTurn;
use super::waiting::{Delegate, Waiting};
use super::{AnyTask, Task, cancel_each, catch_cancel, raise, spawn_hidden, spawn_with, wait_for};
use crate::error::{Cancelled, Panic, TaskError};
use crate::line::Line;

/// Runs `body` with a group in which it may spawn; returns when the body and all tasks of the group have ended.
///
/// When a task or the body fails, all others are cancelled, and what failed is returned together. When the task that
/// awaits this is cancelled, so are the body and the group; the cancellation goes on once all have ended, unless
/// something failed.
///
/// # Errors
/// [`GroupError`] with everything that failed, or an empty one after [`TaskGroup::cancel`].
///
/// # Panics
/// With the panic of `body`, once all tasks have ended. A panic of a task is a failure like others.
///
/// # Cancel safety
/// Dropped for another reason than a cancellation, it cancels the tasks without waiting for them.
///
/// # Examples
/// ```
/// use aioxide::{task_group, testing, time::sleep};
/// use std::time::Duration;
/// testing::run(async {
///     let sum = task_group(async |group| {
///         let one = group.spawn(async { Ok::<_, String>(1) });
///         let two = group.spawn(async { Ok(2) });
///         Ok(one.await + two.await)
///     }).await;
///     assert_eq!(sum.unwrap(), 3);
///
///     let failed = task_group(async |group| {
///         group.spawn(async { Err::<(), _>("broken") });
///         sleep(Duration::from_secs(3600)).await;
///         Ok(())
///     }).await;
///     assert_eq!(failed.unwrap_err().to_string(), "1 task of the group failed: task failed: broken");
/// });
/// ```
/// asyncio: `async with TaskGroup()`.
pub fn task_group<R, E, B>(body: B) -> impl Future<Output = Result<R, GroupError<E>>>
where
    B: AsyncFnOnce(TaskGroup<E>) -> Result<R, E>,
    E: 'static,
{
    run(body)
}

async fn run<R, E, B>(body: B) -> Result<R, GroupError<E>>
where
    B: AsyncFnOnce(TaskGroup<E>) -> Result<R, E>,
    E: 'static,
{
    let shared = Rc::new(Shared { state: RefCell::new(State::new()), scope: Scope::new(true) });
    let aborts = AbortOnDrop(Rc::clone(&shared));
    shared.scope.arrive();
    let body = body(TaskGroup { shared: Rc::clone(&shared) });
    let (ended, mut passing_on) = run_body(body, &shared.scope).await;
    shared.state.borrow_mut().body_runs = false;
    let left = shared.scope.take_back();
    shared.scope.close();

    let mut value = None;
    let mut panicked = None;
    match ended {
        Body::Returned(Ok(returned)) => value = Some(returned),
        Body::Returned(Err(error)) => shared.fail(TaskError::Failed(error)),
        Body::Panicked(payload) => {
            panicked = Some(payload);
            shared.abort();
        }
        Body::Cancelled(cancelled) => {
            passing_on = Some(cancelled);
            shared.abort();
        }
    }
    if left == Some(0) {
        // It was our own cancellation of the body that came through.
        passing_on = None;
    }
    while let Err(cancelled) = catch_cancel(shared.drained()).await {
        shared.abort();
        passing_on = Some(cancelled);
    }
    drop(aborts);
    if let Some(payload) = panicked {
        resume_unwind(payload);
    }
    let (errors, was_cancelled) = {
        let mut state = shared.state.borrow_mut();
        (std::mem::take(&mut state.errors), state.was_cancelled)
    };
    match (value, passing_on) {
        (_, Some(cancelled)) if errors.is_empty() => match cancelled.propagate().await {},
        (Some(value), None) if errors.is_empty() && !was_cancelled => Ok(value),
        (_, passing_on) => {
            // The failures are returned, and a cancellation from outside waits at the next await.
            let parent = TaskRef::current().filter(|task| task.meta::<Meta>().is_some());
            if let Some(parent) = parent
                .map(AnyTask::from_ref)
                .filter(|parent| !errors.is_empty() && parent.meta().open_requests_here() > 0)
            {
                parent.meta().uncancel_quietly();
                parent.cancel_shared(passing_on.and_then(|cancelled| cancelled.shared_message()));
            }
            Err(GroupError { errors })
        }
    }
}

enum Body<R, E> {
    Returned(Result<R, E>),
    Panicked(Box<dyn std::any::Any + Send>),
    Cancelled(Cancelled),
}

/// Runs the body in its scope; the second value is a cancellation that the body ended before it was delivered.
async fn run_body<F, R, E>(body: F, scope: &Scope) -> (Body<R, E>, Option<Cancelled>)
where
    F: Future<Output = Result<R, E>>,
{
    let mut slot = pin!(Some(body));
    let ended = poll_fn(|cx| {
        scope.arrive();
        if !scope.take_delivery() {
            let body = slot.as_mut().as_pin_mut().expect("not polled after it was ready");
            match catch_unwind(AssertUnwindSafe(|| scope.poll(body, cx))) {
                Ok(Poll::Ready(result)) => return Poll::Ready(Body::Returned(result)),
                Err(payload) => return Poll::Ready(Body::Panicked(payload)),
                Ok(Poll::Pending) if !scope.take_delivery() => {
                    scope.keep_waker(cx);
                    return Poll::Pending;
                }
                Ok(Poll::Pending) => {}
            }
        }
        let cancelled = scope.cancelled_error();
        let dropped = catch_unwind(AssertUnwindSafe(|| scope.unwind(|| slot.set(None))));
        Poll::Ready(dropped.map_or_else(Body::Panicked, |()| Body::Cancelled(cancelled)))
    })
    .await;
    // What the body holds is dropped before the group waits for its tasks.
    let ended = match catch_unwind(AssertUnwindSafe(|| slot.set(None))) {
        Ok(()) => ended,
        Err(payload) => Body::Panicked(payload),
    };
    let undelivered = scope.take_delivery().then(|| scope.cancelled_error());
    (ended, undelivered)
}

/// A group of tasks that belong together; see [`task_group`]. Clones are the same group.
pub struct TaskGroup<E: 'static> {
    shared: Rc<Shared<E>>,
}

impl<E: 'static> Clone for TaskGroup<E> {
    fn clone(&self) -> Self {
        Self { shared: Rc::clone(&self.shared) }
    }
}

impl<E: 'static> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.borrow();
        formatter.debug_struct("TaskGroup").field("running", &state.running.len()).finish_non_exhaustive()
    }
}

impl<E: 'static> TaskGroup<E> {
    /// Starts a task in the group.
    ///
    /// Its error goes to the group; whoever awaits the task is cancelled then, as the whole group is. In a group that
    /// is being cancelled, or is over, the future is not run.
    #[track_caller]
    pub fn spawn<F, T>(&self, future: F) -> Task<T>
    where
        F: IntoFuture<Output = Result<T, E>>,
        F::IntoFuture: 'static,
        T: 'static,
    {
        // The place is there before the task, which takes itself out of it at its end.
        let key = self.shared.state.borrow_mut().running.push(None);
        let member = Member { inner: future.into_future(), shared: Rc::clone(&self.shared), key };
        let task = spawn_with(member, Location::caller(), 0, None, None);
        let refuse = {
            let mut state = self.shared.state.borrow_mut();
            if let Some(place) = state.running.get_mut(key) {
                *place = Some(task.any().clone());
            }
            state.aborting || state.over
        };
        if refuse {
            task.cancel();
        }
        task
    }

    /// Ends the group early: cancels the body and all tasks.
    ///
    /// asyncio: `TaskGroup.cancel` of 3.15.
    pub fn cancel(&self) {
        self.shared.state.borrow_mut().was_cancelled = true;
        self.shared.abort_with_body();
    }
}

struct Shared<E> {
    state: RefCell<State<E>>,
    /// That of the body.
    scope: Scope,
}

struct State<E> {
    /// In the order of the spawns; `None` is one that is being spawned.
    running: Line<Option<AnyTask>>,
    errors: Vec<TaskError<E>>,
    aborting: bool,
    over: bool,
    was_cancelled: bool,
    /// The body runs and was not cancelled by the group yet.
    body_runs: bool,
    waker: Option<Waker>,
    /// The task that runs the body, or waits for the others.
    parent: Option<TaskRef>,
    /// All tasks have ended, the last one when the parent had been woken already, so that the end does not count yet.
    is_behind: bool,
}

impl<E> State<E> {
    fn new() -> Self {
        Self {
            running: Line::default(),
            errors: Vec::new(),
            aborting: false,
            over: false,
            was_cancelled: false,
            body_runs: true,
            waker: None,
            parent: TaskRef::current(),
            is_behind: false,
        }
    }
}

impl<E: 'static> Shared<E> {
    fn abort(&self) {
        let running: Vec<AnyTask> = {
            let mut state = self.state.borrow_mut();
            if std::mem::replace(&mut state.aborting, true) {
                return;
            }
            state.running.iter().flatten().cloned().collect()
        };
        cancel_each(running, None);
    }

    fn abort_with_body(&self) {
        self.abort();
        let body_runs = std::mem::take(&mut self.state.borrow_mut().body_runs);
        if body_runs {
            self.scope.cancel();
        }
    }

    fn fail(&self, error: TaskError<E>) {
        self.state.borrow_mut().errors.push(error);
        self.abort_with_body();
    }

    /// A task of the group fails. As in asyncio, what its end has woken goes first, and then the others are cancelled.
    fn fail_later(self: &Rc<Self>, error: TaskError<E>) {
        self.state.borrow_mut().errors.push(error);
        let shared = Rc::clone(self);
        spawn_hidden(async move { shared.abort_with_body() });
    }

    fn member_ended(self: &Rc<Self>, key: u64) {
        let (task, waker) = {
            let mut state = self.state.borrow_mut();
            let task = state.running.remove(key);
            let is_last = state.running.len() == 0;
            state.is_behind =
                is_last && state.parent.as_ref().is_some_and(TaskRef::is_scheduled) && has_loop();
            if state.is_behind {
                let shared = Rc::clone(self);
                drop(state);
                spawn_hidden(async move { shared.catch_up() });
                (task, None)
            } else {
                (task, if is_last { state.waker.take() } else { None })
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        drop(task);
    }

    /// In asyncio an end counts from a callback on, which runs after what was woken before.
    fn catch_up(&self) {
        let waker = {
            let mut state = self.state.borrow_mut();
            state.is_behind = false;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn drained(self: &Rc<Self>) {
        let before = std::mem::replace(&mut self.state.borrow_mut().parent, TaskRef::current());
        drop(before);
        let mut second_turn = SecondTurn::default();
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.running.len() == 0 && !state.is_behind {
                state.over = true;
                drop(state);
                return second_turn.poll(cx);
            }
            if let Some(task) = state.running.iter().flatten().next() {
                super::assert_here(task.task_ref());
            }
            second_turn.note_wait(!state.is_behind);
            drop(state);
            // Cloned and dropped while nothing is borrowed: the waker may be anybody's code.
            let waker = Some(cx.waker().clone());
            let old = std::mem::replace(&mut self.state.borrow_mut().waker, waker);
            drop(old);
            wait_for(Waiting::Group("TaskGroup", Rc::clone(self) as Rc<dyn Delegate>));
            Poll::Pending
        })
        .await;
    }
}

/// Only looked at: a cancellation is caught by the group itself.
impl<E: 'static> Delegate for Shared<E> {
    fn cancel(&self, _: Option<Rc<str>>) -> Vec<AnyTask> {
        Vec::new()
    }

    fn tasks(&self) -> Vec<AnyTask> {
        self.state.borrow().running.iter().flatten().cloned().collect()
    }
}

fn has_loop() -> bool {
    try_with(|_| ()).is_some()
}

struct AbortOnDrop<E: 'static>(Rc<Shared<E>>);

impl<E: 'static> Drop for AbortOnDrop<E> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().over = true;
        self.0.scope.close();
        self.0.abort();
    }
}

pin_project! {
    /// The future of a task in a group.
    struct Member<F, E>
    where
        E: 'static,
    {
        #[pin]
        inner: F,
        shared: Rc<Shared<E>>,
        key: u64,
    }

    impl<F, E> PinnedDrop for Member<F, E>
    where
        E: 'static,
    {
        fn drop(this: Pin<&mut Self>) {
            this.shared.member_ended(this.key);
        }
    }
}

impl<F: Future<Output = Result<T, E>>, T, E: 'static> Future for Member<F, E> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.project();
        let error = match catch_unwind(AssertUnwindSafe(|| this.inner.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(value))) => return Poll::Ready(value),
            Ok(Poll::Ready(Err(error))) => TaskError::Failed(error),
            Err(payload) => TaskError::Panicked(Panic::new(payload)),
        };
        this.shared.fail_later(error);
        raise(Some("a task of the group failed".into()))
    }
}

/// What failed in a group.
///
/// asyncio: `ExceptionGroup`.
#[doc(alias = "ExceptionGroup")]
#[derive(Debug)]
pub struct GroupError<E> {
    errors: Vec<TaskError<E>>,
}

impl<E> GroupError<E> {
    /// The failures, in the order in which they came.
    pub fn errors(&self) -> &[TaskError<E>] {
        &self.errors
    }

    /// The failures themselves.
    pub fn into_errors(self) -> Vec<TaskError<E>> {
        self.errors
    }

    /// Nothing failed: the group was ended by [`TaskGroup::cancel`].
    pub fn is_cancelled(&self) -> bool {
        self.errors.is_empty()
    }
}

impl<E: fmt::Display> fmt::Display for GroupError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.len() {
            0 => return formatter.write_str("group was cancelled"),
            1 => formatter.write_str("1 task of the group failed")?,
            many => write!(formatter, "{many} tasks of the group failed")?,
        }
        for (at, error) in self.errors.iter().enumerate() {
            write!(formatter, "{} {error}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for GroupError<E> {}

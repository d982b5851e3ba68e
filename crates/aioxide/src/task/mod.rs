//! Tasks: spawning them, looking at them while they run, cancelling them, awaiting them.

mod any;
mod children;
mod gather;
mod group;
mod join;
mod local;
mod meta;
mod scope;
mod scopes;
mod second_turn;
mod wait;
mod waiting;

use std::any::type_name;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use aioxide_core::current::{current, try_with};
use aioxide_core::task::{TaskRef, with_current_meta};
use aioxide_core::{LoopHandle, LoopId};
use pin_project_lite::pin_project;

use crate::error::{NO_LOOP, OTHER_LOOP};

pub use any::{AnyTask, CallbackKey, Finished, TaskState, WaitingOn};
pub use gather::{AllOutcomes, FirstFailure, Gather, GatherAll, Gathering, Mode, gather, ok};
pub use group::{GroupError, TaskGroup, task_group};
pub use join::{Join, JoinRef, Task};
pub use local::{Context, ContextVar, ResetToken};
pub use scope::{CatchCancel, catch_cancel};
pub use wait::{AsCompleted, ReturnWhen, Shield, Wait, Waited, as_completed, shield, wait};

pub(crate) use any::{cancel_each, run_callbacks};
#[cfg(feature = "watchdog")]
pub(crate) use meta::default_name;
pub(crate) use meta::{HIDDEN, Meta};
pub(crate) use scope::{Scope, raise};
pub(crate) use waiting::{Awaited, Operation, Waiting};

/// Starts a task on the thread's running loop, which polls it from its next iteration on.
///
/// The loop keeps it alive: dropping the handle lets it run on by itself.
///
/// # Panics
/// When the thread runs no loop.
///
/// # Examples
/// ```
/// aioxide::run(async {
///     let task = aioxide::spawn(async { 6 * 7 });
///     assert!(!task.done());
///     assert_eq!(task.await, 42);
/// }).unwrap();
/// ```
/// asyncio: `create_task`; the loop's reference is a strong one.
#[doc(alias = "create_task")]
#[doc(alias = "ensure_future")]
#[track_caller]
pub fn spawn<F: IntoFuture>(future: F) -> Task<F::Output>
where
    F::IntoFuture: 'static,
{
    spawn_with(future.into_future(), Location::caller(), 0, None, None)
}

/// Starts a task like [`spawn`], whose error is reported if nobody ever looks at its result.
///
/// # Panics
/// When the thread runs no loop.
///
/// # Examples
/// ```
/// aioxide::run(async {
///     let task = aioxide::try_spawn(async { "12".parse::<u8>() });
///     assert_eq!(task.await, Ok(12));
/// }).unwrap();
/// ```
/// asyncio: "Task exception was never retrieved".
#[track_caller]
pub fn try_spawn<F, T, E>(future: F) -> Task<Result<T, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    F::IntoFuture: 'static,
    E: std::fmt::Debug,
{
    spawn_with(Noting { inner: future.into_future() }, Location::caller(), 0, None, None)
}

/// What a task starts with, when it is not to be asyncio's defaults.
///
/// # Examples
/// ```
/// use aioxide::Task;
/// aioxide::run(async {
///     let task = Task::builder().name("ticker").spawn(async { aioxide::current_task().map(|task| task.name()) });
///     assert_eq!(task.await.as_deref(), Some("ticker"));
/// }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder spawns nothing by itself"]
pub struct Builder {
    name: Option<Rc<str>>,
    context: Option<Context>,
}

impl Builder {
    /// The task's name.
    pub fn name(mut self, name: impl Into<Rc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The values of [`ContextVar`]s it starts with, instead of the spawner's.
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// Starts the task; see [`spawn`].
    ///
    /// # Panics
    /// When the thread runs no loop.
    #[track_caller]
    pub fn spawn<F: IntoFuture>(self, future: F) -> Task<F::Output>
    where
        F::IntoFuture: 'static,
    {
        spawn_with(future.into_future(), Location::caller(), 0, self.name, self.context)
    }

    /// Starts the task; see [`try_spawn`].
    ///
    /// # Panics
    /// When the thread runs no loop.
    #[track_caller]
    pub fn try_spawn<F, T, E>(self, future: F) -> Task<Result<T, E>>
    where
        F: IntoFuture<Output = Result<T, E>>,
        F::IntoFuture: 'static,
        E: std::fmt::Debug,
    {
        let future = Noting { inner: future.into_future() };
        spawn_with(future, Location::caller(), 0, self.name, self.context)
    }
}

pub(crate) fn spawn_with<F: Future + 'static>(
    future: F,
    place: &'static Location<'static>,
    flags: u16,
    name: Option<Rc<str>>,
    context: Option<Context>,
) -> Task<F::Output> {
    // Not from inside of `try_with`: a loop that is closed drops the future now, and its destructor may enter another loop.
    let event_loop = current().unwrap_or_else(|| panic!("{NO_LOOP} ({place})"));
    spawn_on(&*event_loop, future, place, flags, name, context)
}

pub(crate) fn spawn_on<F: Future + 'static>(
    event_loop: &dyn LoopHandle,
    future: F,
    place: &'static Location<'static>,
    flags: u16,
    name: Option<Rc<str>>,
    context: Option<Context>,
) -> Task<F::Output> {
    let context = context.unwrap_or_else(Context::current);
    #[cfg(feature = "watchdog")]
    let noted = name.clone();
    let meta = Meta::new(place, type_name::<F>(), event_loop.recent_ns(), flags, context, name);
    let task = Task::from_handle(aioxide_core::spawn(event_loop, future, meta));
    #[cfg(feature = "watchdog")]
    if let Some(name) = noted.filter(|_| !task.done()) {
        crate::watchdog::note(task.id(), &name);
    }
    task
}

/// Starts a task of the crate's own machinery: not listed, not named.
#[track_caller]
pub(crate) fn spawn_hidden<F: Future + 'static>(future: F) -> Task<F::Output> {
    spawn_with(future, Location::caller(), HIDDEN, None, None)
}

/// A hidden task whose first poll comes when the waker is woken.
#[track_caller]
pub(crate) fn spawn_idle<F: Future + 'static>(
    event_loop: &dyn LoopHandle,
    future: F,
) -> (Task<F::Output>, Waker) {
    let (kind, now) = (type_name::<F>(), event_loop.recent_ns());
    let meta = Meta::new(Location::caller(), kind, now, HIDDEN, Context::current(), None);
    let (handle, waker) = aioxide_core::task::spawn_idle(event_loop, future, meta);
    (Task::from_handle(handle), waker)
}

/// The task that is being polled, if any.
///
/// asyncio: `current_task`.
pub fn current_task() -> Option<AnyTask> {
    with_current_meta::<Meta, _>(|meta| meta.is_hidden()).filter(|hidden| !hidden)?;
    TaskRef::current().map(AnyTask::from_ref)
}

/// The unfinished tasks of the thread's running loop, oldest first; none when it runs no loop.
///
/// asyncio: `all_tasks`.
pub fn all_tasks() -> Vec<AnyTask> {
    try_with(|event_loop| list_tasks(event_loop)).unwrap_or_default()
}

pub(crate) fn list_tasks(event_loop: &dyn LoopHandle) -> Vec<AnyTask> {
    let listed = |task: &TaskRef| is_listed(task) == Some(true);
    event_loop.tasks().snapshot().into_iter().filter(listed).map(AnyTask::from_ref).collect()
}

/// Whether a task is shown to whoever looks; `None` for one of another face.
pub(crate) fn is_listed(task: &TaskRef) -> Option<bool> {
    task.meta::<Meta>().map(|meta| !meta.is_hidden())
}

/// Refuses to wait for a task of another loop, whose end would not come while this one runs.
#[inline]
pub(crate) fn assert_here(task: &TaskRef) {
    assert!(!task.is_of_another_loop(), "{OTHER_LOOP}");
}

/// The loop on which many were begun to be waited for together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BegunOn(Option<LoopId>);

impl BegunOn {
    pub(crate) fn here() -> Self {
        Self(try_with(|event_loop| event_loop.id()))
    }

    /// Refuses to wait on another loop, on which their ends would not come.
    #[inline]
    pub(crate) fn assert_here(self) {
        let is_elsewhere = self.0.is_some_and(|id| try_with(|here| here.id() != id).unwrap_or(false));
        assert!(!is_elsewhere, "{OTHER_LOOP}");
    }
}

/// Says what the current task waits for, until its next poll.
#[inline]
pub(crate) fn wait_for(what: Waiting) {
    with_current_meta::<Meta, _>(|meta| meta.wait_for(what));
}

/// Says that the current task does not wait for what it says alone.
#[inline]
pub(crate) fn wait_also() {
    #[cfg(feature = "monitor")]
    with_current_meta::<Meta, _>(Meta::wait_also);
}

/// Whether what is being dropped is dropped because its task is cancelled.
#[inline]
pub(crate) fn is_unwinding() -> bool {
    with_current_meta::<Meta, _>(Meta::is_unwinding).unwrap_or(false)
}

/// Lets the other ready tasks run before going on.
///
/// asyncio: `sleep(0)`.
#[doc(alias = "sleep(0)")]
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

pin_project! {
    /// Notes the error that a task's future ends with.
    struct Noting<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future<Output = Result<T, E>>, T, E: std::fmt::Debug> Future for Noting<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let polled = self.project().inner.poll(cx);
        if let Poll::Ready(Err(error)) = &polled {
            let text = format!("{error:?}");
            with_current_meta::<Meta, _>(|meta| meta.note_failure(text));
        }
        polled
    }
}

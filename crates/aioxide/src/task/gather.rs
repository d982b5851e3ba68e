//! Waiting for many at once, results in the order given.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::children::{Children, Outcome, WakeWhen, stands_for_task};
use super::raise;
use super::second_turn::SecondTurn;
use super::waiting::{Awaited, Waiting};
use crate::error::TaskError;
use crate::wake::Taken;

/// Runs all `futures` at the same time, each as a task, and returns their values in the order of the futures.
///
/// The first failure (error, cancellation or panic of one) is returned at once; the others keep running. With
/// [`return_exceptions`](Gather::return_exceptions) all run to their ends and failures stand at their places. With
/// [`limit`](Gather::limit) only so many run at a time, and the iterator is consumed no faster than that. Tasks may be
/// given as well as futures.
///
/// All is started when it is first polled. A task that is cancelled while it gathers cancels the children and ends when
/// the first of them has (with `return_exceptions`: when all have).
///
/// # Errors
/// [`TaskError`] of the first that failed.
///
/// # Cancel safety
/// Dropped for another reason than a cancellation, it leaves the children that were started running.
///
/// # Examples
/// ```
/// use aioxide::{gather, testing, time::sleep};
/// use std::time::Duration;
/// testing::run(async {
///     let doubled = gather((0..3).map(|n| async move {
///         sleep(Duration::from_secs(10 - n)).await;
///         Ok::<_, String>(2 * n)
///     })).await;
///     assert_eq!(doubled.unwrap(), [0, 2, 4]);
///
///     let failed = gather((0..3).map(|n| async move { if n == 1 { Err("one") } else { Ok(n) } })).await;
///     assert_eq!(failed.unwrap_err().failure(), Some("one"));
/// });
/// ```
/// asyncio: `gather`; there the children start at the call.
#[track_caller]
pub fn gather<I, T, E>(futures: I) -> Gather<I::IntoIter>
where
    I: IntoIterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
{
    Gather { source: futures.into_iter(), limit: usize::MAX, place: Location::caller() }
}

/// Makes a future that cannot fail fit for [`gather`] and its like.
///
/// # Examples
/// ```
/// use aioxide::{gather, ok};
/// aioxide::run(async {
///     assert_eq!(gather([1, 2].map(|n| ok(async move { n }))).await.unwrap(), [1, 2]);
/// }).unwrap();
/// ```
pub async fn ok<F: IntoFuture>(future: F) -> Result<F::Output, std::convert::Infallible> {
    Ok(future.await)
}

/// A gathering to be; see [`gather`].
#[must_use = "nothing is started before it is awaited"]
pub struct Gather<I> {
    source: I,
    limit: usize,
    place: &'static Location<'static>,
}

impl<I> fmt::Debug for Gather<I> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gather").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<I> Gather<I> {
    /// Lets at most `limit` run at a time.
    ///
    /// The next item is asked of the iterator only when there is room, so an input of any length needs memory for
    /// `limit` tasks and for the results. After the first failure, without `return_exceptions`, no more are started.
    ///
    /// ```
    /// use aioxide::{gather, ok, testing, time::{Instant, sleep}};
    /// use std::time::Duration;
    /// testing::run(async {
    ///     let start = Instant::now();
    ///     let sleeps = (0..6).map(|_| ok(sleep(Duration::from_secs(1))));
    ///     assert_eq!(gather(sleeps).limit(2).await.unwrap().len(), 6);
    ///     assert_eq!(start.elapsed(), Duration::from_secs(3));
    /// });
    /// ```
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn limit(mut self, limit: usize) -> Self {
        assert!(limit > 0, "a limit of 0 would never end");
        self.limit = limit;
        self
    }

    /// Lets all run to their ends: failures stand in the list at their places.
    ///
    /// ```
    /// use aioxide::{TaskError, gather, testing};
    /// testing::run(async {
    ///     let parsed = gather(["1", "x"].map(|text| async move { text.parse::<u8>() })).return_exceptions().await;
    ///     assert!(matches!(parsed[..], [Ok(1), Err(TaskError::Failed(_))]));
    /// });
    /// ```
    pub fn return_exceptions(self) -> GatherAll<I> {
        GatherAll { gather: self }
    }
}

/// A gathering to be that keeps failures as results; see [`Gather::return_exceptions`].
#[must_use = "nothing is started before it is awaited"]
#[derive(Debug)]
pub struct GatherAll<I> {
    gather: Gather<I>,
}

impl<I> GatherAll<I> {
    /// As [`Gather::limit`].
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn limit(self, limit: usize) -> Self {
        Self { gather: self.gather.limit(limit) }
    }
}

impl<I, T, E> IntoFuture for Gather<I>
where
    I: Iterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
    T: 'static,
    E: 'static,
{
    type Output = Result<Vec<T>, TaskError<E>>;
    type IntoFuture = Gathering<I, T, E, FirstFailure>;

    fn into_future(self) -> Self::IntoFuture {
        Gathering::new(self)
    }
}

impl<I, T, E> IntoFuture for GatherAll<I>
where
    I: Iterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
    T: 'static,
    E: 'static,
{
    type Output = Vec<Result<T, TaskError<E>>>;
    type IntoFuture = Gathering<I, T, E, AllOutcomes>;

    fn into_future(self) -> Self::IntoFuture {
        Gathering::new(self.gather)
    }
}

/// What a gathering makes of the outcomes.
pub trait Mode<T, E>: private::Sealed {
    /// What the gathering returns.
    type Output;
    #[doc(hidden)]
    const RETURN_EXCEPTIONS: bool;
    #[doc(hidden)]
    fn finish(outcomes: Vec<Option<Result<T, TaskError<E>>>>) -> Self::Output;
    #[doc(hidden)]
    fn fail(error: TaskError<E>) -> Self::Output;
}

mod private {
    pub trait Sealed {}
}

/// The first failure ends the gathering.
#[derive(Debug)]
pub struct FirstFailure;

/// Failures are results.
#[derive(Debug)]
pub struct AllOutcomes;

impl private::Sealed for FirstFailure {}
impl private::Sealed for AllOutcomes {}

impl<T, E> Mode<T, E> for FirstFailure {
    type Output = Result<Vec<T>, TaskError<E>>;
    const RETURN_EXCEPTIONS: bool = false;

    fn finish(outcomes: Vec<Option<Outcome<T, E>>>) -> Self::Output {
        outcomes.into_iter().map(|outcome| outcome.expect("all have ended")).collect()
    }

    fn fail(error: TaskError<E>) -> Self::Output {
        Err(error)
    }
}

impl<T, E> Mode<T, E> for AllOutcomes {
    type Output = Vec<Result<T, TaskError<E>>>;
    const RETURN_EXCEPTIONS: bool = true;

    fn finish(outcomes: Vec<Option<Outcome<T, E>>>) -> Self::Output {
        outcomes.into_iter().map(|outcome| outcome.expect("all have ended")).collect()
    }

    fn fail(_: TaskError<E>) -> Self::Output {
        unreachable!("failures are results")
    }
}

/// The future of [`gather`].
#[must_use = "futures do nothing unless awaited"]
pub struct Gathering<I, T: 'static, E: 'static, M> {
    source: I,
    limit: usize,
    next_index: usize,
    children: Rc<Children<T, E>>,
    outcomes: Vec<Option<Outcome<T, E>>>,
    failure: Option<TaskError<E>>,
    second_turn: SecondTurn,
    awaited: Awaited,
    /// All have ended, or one has failed.
    over: bool,
    raised: bool,
    given: bool,
    _mode: PhantomData<fn() -> M>,
}

// Nothing in it is pinned: the futures stand in their tasks.
impl<I, T: 'static, E: 'static, M> Unpin for Gathering<I, T, E, M> {}

impl<I, T: 'static, E: 'static, M> fmt::Debug for Gathering<I, T, E, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gathering")
            .field("running", &self.children.in_flight())
            .finish_non_exhaustive()
    }
}

impl<I, T: 'static, E: 'static, M: Mode<T, E>> Gathering<I, T, E, M> {
    fn new(gather: Gather<I>) -> Self {
        let wake_when = if M::RETURN_EXCEPTIONS { WakeWhen::All } else { WakeWhen::AllOrFailure };
        Self {
            source: gather.source,
            limit: gather.limit,
            next_index: 0,
            children: Children::new(wake_when, gather.place),
            outcomes: Vec::new(),
            failure: None,
            second_turn: SecondTurn::default(),
            awaited: Awaited::Never,
            over: false,
            raised: false,
            given: false,
            _mode: PhantomData,
        }
    }
}

impl<I, T, E, M> Future for Gathering<I, T, E, M>
where
    I: Iterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
    T: 'static,
    E: 'static,
    M: Mode<T, E>,
{
    type Output = M::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<M::Output> {
        let this = &mut *self;
        if this.raised {
            return raise(this.children.message());
        }
        if !this.over {
            if this.poll_children(cx).is_pending() {
                this.second_turn.note_wait(!stands_for_task::<I::Item, T, E>());
                return Poll::Pending;
            }
            this.over = true;
        }
        if this.second_turn.poll(cx).is_pending() {
            return Poll::Pending;
        }
        // Also when every child has dealt with its cancellation: ours goes on, as asyncio's does.
        let cancelled = this.failure.as_ref().is_none_or(TaskError::is_cancelled);
        if cancelled && this.children.is_cancel_requested() {
            this.raised = true;
            return raise(this.children.message());
        }
        assert!(!std::mem::replace(&mut this.given, true), "a gathering is not polled after it was ready");
        Poll::Ready(match this.failure.take() {
            Some(error) => M::fail(error),
            None => M::finish(std::mem::take(&mut this.outcomes)),
        })
    }
}

impl<I, T, E, M> Gathering<I, T, E, M>
where
    I: Iterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
    T: 'static,
    E: 'static,
    M: Mode<T, E>,
{
    /// Ready when all have ended, or one has failed.
    fn poll_children(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.children.keep_waker(cx);
        loop {
            for (index, outcome) in self.children.take_ended() {
                match outcome {
                    Err(error) if !M::RETURN_EXCEPTIONS => {
                        self.failure = Some(error);
                        return Poll::Ready(());
                    }
                    outcome => {
                        if self.outcomes.len() <= index {
                            self.outcomes.resize_with(index + 1, || None);
                        }
                        self.outcomes[index] = Some(outcome);
                    }
                }
            }
            let Self { source, next_index, limit, children, .. } = self;
            children.fill(source, next_index, *limit);
            if children.in_flight() > 0 {
                children.assert_here();
                self.awaited = Awaited::wait_for(Waiting::Group("gather", Rc::clone(children) as Rc<_>), cx);
                return Poll::Pending;
            }
            // Some may have ended while they were being started: the loop is closed.
            if self.outcomes.iter().flatten().count() == self.next_index {
                return Poll::Ready(());
            }
        }
    }
}

impl<I, T: 'static, E: 'static, M> Drop for Gathering<I, T, E, M> {
    fn drop(&mut self) {
        if !self.over && !matches!(self.awaited, Awaited::Never) {
            let ours = Rc::as_ptr(&self.children).cast::<()>();
            let is_ours = |waiting: &Waiting| match waiting {
                Waiting::Group(_, group) => std::ptr::eq(Rc::as_ptr(group).cast::<()>(), ours),
                _ => false,
            };
            if self.awaited.leave(is_ours) {
                self.children.cancel_running(None);
            }
        }
        drop(Taken::new(std::mem::take(&mut self.outcomes)));
    }
}

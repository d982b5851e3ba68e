//! Futures that run as tasks for somebody who collects what becomes of them: under `gather` and `as_completed`.

use std::any::TypeId;
use std::cell::RefCell;
use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use aioxide_core::task::with_current_meta;
use pin_project_lite::pin_project;

use super::meta::{HIDDEN, Meta};
use super::waiting::Delegate;
use super::{AnyTask, BegunOn, Task, cancel_each, spawn_with};
use crate::error::{Cancelled, Panic, TaskError};

/// What became of a child.
pub(crate) type Outcome<T, E> = Result<T, TaskError<E>>;

/// When the collector is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeWhen {
    /// A child has ended.
    Each,
    /// All have ended, or one has failed.
    AllOrFailure,
    /// All have ended.
    All,
}

/// The children of one collector; at most `limit` of them have been started and not ended.
pub(crate) struct Children<T, E> {
    inner: RefCell<Inner<T, E>>,
    place: &'static Location<'static>,
}

struct Inner<T, E> {
    ended: Vec<(usize, Outcome<T, E>)>,
    failed: bool,
    running: Vec<Option<AnyTask>>,
    free: Vec<usize>,
    in_flight: usize,
    /// More can be started when one has ended.
    more_to_come: bool,
    cancel_requested: bool,
    message: Option<Rc<str>>,
    started_on: BegunOn,
    wake_when: WakeWhen,
    waker: Option<Waker>,
}

impl<T: 'static, E: 'static> Children<T, E> {
    pub(crate) fn new(wake_when: WakeWhen, place: &'static Location<'static>) -> Rc<Self> {
        let inner = Inner {
            ended: Vec::new(),
            failed: false,
            running: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            more_to_come: true,
            cancel_requested: false,
            message: None,
            started_on: BegunOn::default(),
            wake_when,
            waker: None,
        };
        Rc::new(Self { inner: RefCell::new(inner), place })
    }

    /// Starts a child as a task.
    pub(crate) fn start<F>(self: &Rc<Self>, index: usize, future: F)
    where
        F: IntoFuture<Output = Result<T, E>>,
        F::IntoFuture: 'static,
    {
        // A task that stands for another one is not listed beside it.
        let flags = if stands_for_task::<F, T, E>() { HIDDEN } else { 0 };
        let slot = {
            let mut inner = self.inner.borrow_mut();
            if inner.in_flight == 0 {
                inner.started_on = BegunOn::here();
            }
            inner.in_flight += 1;
            inner.free.pop().unwrap_or_else(|| {
                inner.running.push(None);
                inner.running.len() - 1
            })
        };
        let child =
            Child { inner: future.into_future(), children: Rc::clone(self), index, slot, ended: false };
        let task = spawn_with(child, self.place, flags, None, None);
        // On a closed loop it has ended already.
        if !task.done() {
            self.inner.borrow_mut().running[slot] = Some(task.any().clone());
        }
    }

    /// Starts children while there are any and the limit allows.
    pub(crate) fn fill<I>(self: &Rc<Self>, source: &mut I, next_index: &mut usize, limit: usize)
    where
        I: Iterator,
        I::Item: IntoFuture<Output = Result<T, E>>,
        <I::Item as IntoFuture>::IntoFuture: 'static,
    {
        while self.more_to_come() && self.in_flight() < limit && !self.is_cancel_requested() {
            // No borrow is alive while the iterator, which is the user's, runs.
            match source.next() {
                Some(future) => {
                    self.start(*next_index, future);
                    *next_index += 1;
                }
                None => self.inner.borrow_mut().more_to_come = false,
            }
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.inner.borrow().in_flight
    }

    pub(crate) fn more_to_come(&self) -> bool {
        self.inner.borrow().more_to_come
    }

    pub(crate) fn is_cancel_requested(&self) -> bool {
        self.inner.borrow().cancel_requested
    }

    pub(crate) fn message(&self) -> Option<Rc<str>> {
        self.inner.borrow().message.clone()
    }

    /// Refuses to wait for those that were started on another loop.
    pub(crate) fn assert_here(&self) {
        self.inner.borrow().started_on.assert_here();
    }

    pub(crate) fn keep_waker(&self, cx: &Context<'_>) {
        let known = self.inner.borrow().waker.as_ref().is_some_and(|held| held.will_wake(cx.waker()));
        if !known {
            // Cloned and dropped while nothing is borrowed: the waker may be anybody's code.
            let waker = Some(cx.waker().clone());
            let old = std::mem::replace(&mut self.inner.borrow_mut().waker, waker);
            drop(old);
        }
    }

    /// Takes what has ended since the last call, in the order of the ends.
    pub(crate) fn take_ended(&self) -> Vec<(usize, Outcome<T, E>)> {
        std::mem::take(&mut self.inner.borrow_mut().ended)
    }

    /// Cancels every child that runs.
    pub(crate) fn cancel_running(&self, message: Option<Rc<str>>) {
        cancel_each(self.running(), message);
    }

    fn running(&self) -> Vec<AnyTask> {
        self.inner.borrow().running.iter().flatten().filter(|task| !task.done()).cloned().collect()
    }

    fn end(&self, index: usize, slot: usize, outcome: Outcome<T, E>) {
        let (task, waker) = {
            let mut inner = self.inner.borrow_mut();
            let first_failure = outcome.is_err() && !inner.failed;
            inner.failed |= first_failure;
            inner.ended.push((index, outcome));
            inner.in_flight -= 1;
            inner.free.push(slot);
            let wake = inner.in_flight == 0
                || inner.more_to_come
                || match inner.wake_when {
                    WakeWhen::Each => true,
                    WakeWhen::AllOrFailure => first_failure,
                    WakeWhen::All => false,
                };
            (inner.running[slot].take(), if wake { inner.waker.take() } else { None })
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        drop(task);
    }
}

impl<T: 'static, E: 'static> Delegate for Children<T, E> {
    fn cancel(&self, message: Option<Rc<str>>) -> Vec<AnyTask> {
        let running = self.running();
        if !running.is_empty() {
            let mut inner = self.inner.borrow_mut();
            inner.cancel_requested = true;
            inner.message = message;
        }
        running
    }

    fn tasks(&self) -> Vec<AnyTask> {
        self.inner.borrow().running.iter().flatten().map(AnyTask::stood_for).collect()
    }
}

/// Whether a child of this type only waits for a task. Its collector hears of that one's end an iteration late anyway.
pub(crate) fn stands_for_task<F, T: 'static, E: 'static>() -> bool
where
    F: IntoFuture,
    F::IntoFuture: 'static,
{
    TypeId::of::<F::IntoFuture>() == TypeId::of::<Task<Result<T, E>>>()
}

pin_project! {
    /// The future of a child's task.
    struct Child<F, T, E>
    where
        T: 'static,
        E: 'static,
    {
        #[pin]
        inner: F,
        children: Rc<Children<T, E>>,
        index: usize,
        slot: usize,
        ended: bool,
    }

    impl<F, T, E> PinnedDrop for Child<F, T, E>
    where
        T: 'static,
        E: 'static,
    {
        fn drop(this: Pin<&mut Self>) {
            if !this.ended {
                let cancelled = with_current_meta::<Meta, _>(Meta::cancelled_error);
                let error = TaskError::Cancelled(cancelled.unwrap_or_else(|| Cancelled::new(None)));
                this.children.end(this.index, this.slot, Err(error));
            }
        }
    }
}

impl<F: Future<Output = Result<T, E>>, T: 'static, E: 'static> Future for Child<F, T, E> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let outcome = match catch_unwind(AssertUnwindSafe(|| this.inner.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result.map_err(TaskError::Failed),
            Err(payload) => Err(TaskError::Panicked(Panic::new(payload))),
        };
        *this.ended = true;
        this.children.end(*this.index, *this.slot, outcome);
        Poll::Ready(())
    }
}

//! Where a cancellation is caught: `catch_cancel`, and the scope that it and the deadlines are built on.

use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use aioxide_core::task::{TaskOf, TaskRef, with_current_meta};
use pin_project_lite::pin_project;

use super::AnyTask;
use super::meta::Meta;
use crate::error::Cancelled;

/// A scope of whichever task polled it last; dropping it closes it.
///
/// Its owner calls [`arrive`](Self::arrive) at the begin of each poll. Outside tasks of this face it has no home: nothing can
/// be cancelled there.
#[derive(Debug)]
pub(crate) struct Scope {
    home: RefCell<Option<Home>>,
    catches: Cell<bool>,
    /// The owner has asked what is inside to end, and has not [taken it back](Self::settle).
    requested: Cell<bool>,
}

#[derive(Debug)]
struct Home {
    task: TaskOf<Meta>,
    id: u32,
    /// How many requests to cancel the task were open when the scope came, and those that came while it was left out.
    count_before: Cell<u32>,
    /// How many were open at the end of its last poll, and which poll of the task that was.
    left: Cell<(u32, u16)>,
}

impl Home {
    #[inline]
    fn meta(&self) -> &Meta {
        self.task.meta()
    }

    /// A request that came while the task was busy elsewhere was dealt with there: it does not count here.
    #[inline]
    fn catch_up(&self) {
        let (meta, (left, poll)) = (self.meta(), self.left.get());
        let open = meta.open_requests(self.id);
        if open > left && !meta.is_latest_but_one(poll) {
            self.count_before.set(self.count_before.get() + (open - left));
        }
    }

    #[inline]
    fn leave(&self, around: u32) {
        let meta = self.meta();
        meta.leave_scope(around);
        self.left.set((meta.open_requests(self.id), meta.poll_number()));
    }
}

impl Scope {
    pub(crate) fn new(catches: bool) -> Self {
        Self { home: RefCell::default(), catches: Cell::new(catches), requested: Cell::new(false) }
    }

    /// Moves the scope to the task that is being polled, unless it is there.
    #[inline]
    pub(crate) fn arrive(&self) {
        match &*self.home.borrow() {
            Some(home) if home.task.is_current() => return home.catch_up(),
            _ => {}
        }
        self.move_here();
    }

    fn move_here(&self) {
        let requested = self.requested.get();
        self.close();
        let Some(task) = TaskOf::<Meta>::current() else { return };
        let meta = task.meta();
        let id = meta.open_scope(self.catches.get());
        let count = meta.open_requests(id);
        let (count_before, left) = (Cell::new(count), Cell::new((count, meta.poll_number())));
        *self.home.borrow_mut() = Some(Home { task, id, count_before, left });
        if requested {
            self.cancel_now();
        }
    }

    #[inline]
    fn look<T>(&self, look: impl FnOnce(&Home) -> T) -> Option<T> {
        self.home.borrow().as_ref().map(look)
    }

    /// Whether it is in a task.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.home.borrow().is_some()
    }

    /// Whether the scope is to be unwound now; the cancellation counts as delivered then.
    #[inline]
    pub(crate) fn take_delivery(&self) -> bool {
        self.look(|home| home.meta().take_delivery(home.id)).unwrap_or(false)
    }

    /// Polls `inner` inside the scope.
    #[inline]
    pub(crate) fn poll<F: Future>(&self, inner: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        struct Leave<'a>(&'a Home, u32);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.leave(self.1);
            }
        }
        // Only `arrive` and `close` change the home, and both are the owner's, who is here.
        let home = self.home.borrow();
        let Some(home) = &*home else { return inner.poll(cx) };
        let _leave = Leave(home, home.meta().enter_scope(home.id));
        inner.poll(cx)
    }

    /// Lets a cancellation find the scope between polls.
    pub(crate) fn keep_waker(&self, cx: &Context<'_>) {
        self.look(|home| home.meta().keep_waker(&home.task, home.id, cx.waker()));
    }

    /// Asks what is inside to end, on behalf of the scope's owner. The scope catches from now on.
    pub(crate) fn cancel(&self) {
        if let Some((task, id)) = self.make_catching() {
            task.cancel_within(id, None);
        }
    }

    /// The same, for an owner who is being polled and goes on to poll what is inside.
    pub(crate) fn cancel_now(&self) {
        if let Some((task, id)) = self.make_catching() {
            task.meta().count_cancel();
            task.cancel_now(id, None);
        }
    }

    fn make_catching(&self) -> Option<(AnyTask, u32)> {
        self.catches.set(true);
        self.requested.set(true);
        let (task, id) = self.look(|home| (TaskRef::clone(&home.task), home.id))?;
        let task = AnyTask::from_ref(task);
        task.meta().note_request(id);
        Some((task, id))
    }

    /// Takes the owner's request back, if there was one; how many others are open for it then.
    pub(crate) fn take_back(&self) -> Option<u32> {
        let requested = self.requested.take();
        requested
            .then(|| self.look(|home| home.meta().take_request_back(home.id)))
            .map(Option::unwrap_or_default)
    }

    /// Takes the owner's request back; whether there was one, and no other has come since the scope did.
    pub(crate) fn settle(&self) -> bool {
        let count_before = self.look(|home| home.count_before.get()).unwrap_or_default();
        self.take_back().is_some_and(|left| left <= count_before)
    }

    /// Drops what was inside, by `unwind`, as a cancellation does.
    pub(crate) fn unwind(&self, unwind: impl FnOnce()) {
        let home = self.home.borrow();
        match &*home {
            Some(home) => home.meta().while_unwinding(unwind),
            None => unwind(),
        }
    }

    pub(crate) fn cancelled_error(&self) -> Cancelled {
        self.look(|home| home.meta().cancelled_error()).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn close(&self) {
        if self.is_open() {
            self.leave_home();
        }
    }

    fn leave_home(&self) {
        self.take_back();
        if let Some(home) = self.home.take() {
            home.meta().close_scope(&home.task, home.id);
        }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        self.close();
    }
}

/// Unwinds what is being polled up to the next scope that catches, and the task if there is none.
///
/// It never returns a value: whoever polls it is dropped.
///
/// # Panics
/// Outside a task of this face.
pub(crate) fn raise<T>(message: Option<Rc<str>>) -> Poll<T> {
    let raised = with_current_meta::<Meta, _>(|meta| meta.raise(message));
    assert!(raised.is_some(), "what was awaited was cancelled, and there is no task here to pass that on to");
    Poll::Pending
}

pin_project! {
    /// The future of [`catch_cancel`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct CatchCancel<F> {
        scope: Scope,
        #[pin]
        inner: Option<F>,
    }
}

/// Runs `future` and catches a cancellation of the task that reaches it.
///
/// A cancellation is delivered to the innermost such scope that the task is inside: its future is dropped where it
/// waits, and the task goes on here, free to clean up (with awaits), to carry on regardless, or to pass the
/// cancellation on with [`Cancelled::propagate`]. Whoever carries on for good calls [`AnyTask::uncancel`].
///
/// # Cancel safety
/// As that of `future`.
///
/// # Examples
/// ```
/// use aioxide::{catch_cancel, spawn, yield_now};
/// use std::future::pending;
///
/// aioxide::run(async {
///     let task = spawn(async {
///         match catch_cancel(pending::<()>()).await {
///             Ok(()) => unreachable!(),
///             Err(cancelled) => cancelled.message().map(str::to_owned),
///         }
///     });
///     yield_now().await;
///     task.cancel_with("enough");
///     assert_eq!(task.await.as_deref(), Some("enough"));
/// }).unwrap();
/// ```
/// asyncio: `try: ... except CancelledError:`.
///
/// [`AnyTask::uncancel`]: crate::AnyTask::uncancel
#[doc(alias = "CancelledError")]
pub fn catch_cancel<F: IntoFuture>(future: F) -> CatchCancel<F::IntoFuture> {
    CatchCancel { scope: Scope::new(true), inner: Some(future.into_future()) }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let scope = &*this.scope;
        scope.arrive();
        let mut inner = this.inner.as_mut().as_pin_mut().expect("not polled after it was ready");
        if !scope.take_delivery() {
            if let Poll::Ready(output) = scope.poll(inner.as_mut(), cx) {
                scope.close();
                return Poll::Ready(Ok(output));
            }
            if !scope.take_delivery() {
                scope.keep_waker(cx);
                return Poll::Pending;
            }
        }
        let cancelled = scope.cancelled_error();
        scope.unwind(|| this.inner.set(None));
        scope.close();
        Poll::Ready(Err(cancelled))
    }
}

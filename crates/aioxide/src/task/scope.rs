//! Where a cancellation is caught: `catch_cancel`, and the scope that it and the deadlines are built on.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use aioxide_core::task::{TaskRef, with_current_meta};
use pin_project_lite::pin_project;

use super::meta::Meta;
use crate::error::Cancelled;

/// A scope of the current task; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Scope {
    task: TaskRef,
    id: u32,
}

impl Scope {
    /// Opens a scope in the task being polled; `None` outside tasks of this face, where nothing can be cancelled.
    pub(crate) fn open(catches: bool) -> Option<Self> {
        let id = with_current_meta::<Meta, _>(|meta| meta.open_scope(catches))?;
        Some(Self { task: TaskRef::current()?, id })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn task(&self) -> &TaskRef {
        &self.task
    }

    pub(crate) fn meta(&self) -> &Meta {
        self.task.meta().expect("a scope is opened in a task of this face")
    }

    /// Whether the scope is to be unwound now; the cancellation counts as delivered then.
    pub(crate) fn take_delivery(&self) -> bool {
        self.meta().take_delivery(self.id)
    }

    /// Polls `inner` inside the scope.
    pub(crate) fn poll<F: Future>(&self, inner: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        struct Leave<'a>(&'a Meta, u32);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.enter_scope(self.1);
            }
        }
        let meta = self.meta();
        let _leave = Leave(meta, meta.enter_scope(self.id));
        inner.poll(cx)
    }

    /// Lets a cancellation find the scope between polls.
    pub(crate) fn keep_waker(&self, cx: &Context<'_>) {
        self.meta().keep_waker(self.id, cx.waker());
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.meta().close_scope(self.id);
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
        scope: Option<Scope>,
        opened: bool,
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
pub fn catch_cancel<F: IntoFuture>(future: F) -> CatchCancel<F::IntoFuture> {
    CatchCancel { scope: None, opened: false, inner: Some(future.into_future()) }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if !*this.opened {
            *this.opened = true;
            *this.scope = Scope::open(true);
        }
        let mut inner = this.inner.as_mut().as_pin_mut().expect("not polled after it was ready");
        let Some(scope) = this.scope.as_ref() else { return inner.poll(cx).map(Ok) };
        if !scope.take_delivery() {
            if let Poll::Ready(output) = scope.poll(inner.as_mut(), cx) {
                *this.scope = None;
                return Poll::Ready(Ok(output));
            }
            if !scope.take_delivery() {
                scope.keep_waker(cx);
                return Poll::Pending;
            }
        }
        let cancelled = scope.meta().cancelled_error();
        scope.meta().while_unwinding(|| this.inner.set(None));
        *this.scope = None;
        Poll::Ready(Err(cancelled))
    }
}

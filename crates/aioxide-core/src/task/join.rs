//! The handles of a task: the one that awaits its output, and the one that only looks.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::raw::{self, Header};

/// Why a task has no output.
pub struct JoinError {
    panic: Option<Box<dyn Any + Send>>,
}

impl JoinError {
    pub(crate) fn cancelled() -> Self {
        Self { panic: None }
    }

    pub(crate) fn panic(payload: Box<dyn Any + Send>) -> Self {
        Self { panic: Some(payload) }
    }

    /// The task's future was dropped before its end.
    pub fn is_cancelled(&self) -> bool {
        self.panic.is_none()
    }

    /// The same kind of end, without the payload: for whoever is only told about it.
    pub(crate) fn kind(&self) -> End {
        match &self.panic {
            None => End::Cancelled,
            Some(_) => End::Panicked(self.panic_message().map(str::to_owned)),
        }
    }

    /// What the task's future panicked with.
    pub fn into_panic(self) -> Option<Box<dyn Any + Send>> {
        self.panic
    }

    /// The text of the panic, if there was one and it has a text.
    pub fn panic_message(&self) -> Option<&str> {
        let payload = self.panic.as_ref()?;
        payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

/// How a task ended that has no output, as its [`Meta`](super::Meta) is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its future was dropped before its end.
    Cancelled,
    /// Its future panicked, with this text if there was one.
    Panicked(Option<String>),
}

impl fmt::Debug for JoinError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "JoinError({self})")
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            None => formatter.write_str("task was cancelled"),
            Some(_) => write!(formatter, "task panicked: {}", self.panic_message().unwrap_or("(no text)")),
        }
    }
}

impl std::error::Error for JoinError {}

/// A handle that looks at a task of the loop's thread; it keeps the face's data alive, not the future.
pub struct TaskRef {
    header: NonNull<Header>,
    _not_send: PhantomData<Rc<()>>,
}

impl TaskRef {
    /// # Safety
    /// On the loop's thread; the caller's handle becomes the reference's.
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        Self { header, _not_send: PhantomData }
    }

    /// The task whose future this thread is polling (or dropping) at the moment, the innermost if several.
    pub fn current() -> Option<Self> {
        let header = raw::polled()?;
        // SAFETY: the list's handle keeps a task that is being polled or dropped; the new handle is the reference's.
        unsafe {
            raw::add_handle(header);
            Some(Self::from_header(header))
        }
    }

    /// A number that no other task of the process has.
    pub fn id(&self) -> u64 {
        // SAFETY: alive by our handle.
        unsafe { self.header.as_ref() }.id
    }

    /// Whether the future has ended or was dropped.
    #[inline]
    pub fn is_complete(&self) -> bool {
        // SAFETY: alive by our handle.
        unsafe { self.header.as_ref() }.state.is_complete()
    }

    /// Whether the task is in a ready queue.
    #[inline]
    pub fn is_scheduled(&self) -> bool {
        // SAFETY: alive by our handle.
        unsafe { self.header.as_ref() }.state.is_scheduled()
    }

    /// Whether the task is being polled, further up this stack.
    #[inline]
    pub fn is_running(&self) -> bool {
        // SAFETY: alive by our handle.
        unsafe { self.header.as_ref() }.state.is_running()
    }

    /// The face's data, if it is of type `M`.
    #[inline]
    pub fn meta<M: 'static>(&self) -> Option<&M> {
        // SAFETY: the loop's thread (`!Send`), and our handle outlives the borrow.
        unsafe { raw::meta_of(self.header) }
    }

    /// Whether the task is the one that this thread is polling (or dropping) at the moment.
    #[inline]
    pub fn is_current(&self) -> bool {
        raw::polled() == Some(self.header)
    }

    /// Whether the loop that this thread runs is another one than the task's, so that its end would not come meanwhile.
    #[inline]
    pub fn is_of_another_loop(&self) -> bool {
        // SAFETY: alive by our handle.
        let here = unsafe { self.header.as_ref() }.is_here();
        !here && crate::current::try_with(|_| ()).is_some()
    }

    /// Queues the task for another poll.
    pub fn wake(&self) {
        // SAFETY: the handles' shared reference is held as long as ours is.
        unsafe { raw::wake_by_ref(self.header) };
    }

    /// Whether the waker is the task's own, through which its polls wait.
    pub fn is_woken_by(&self, waker: &Waker) -> bool {
        super::waker::is_of(waker, self.header)
    }

    /// Drops the future now (at the end of the poll if it is being polled) and ends the task as cancelled.
    pub fn shut_down(&self) {
        // SAFETY: the loop's thread, with our handle.
        unsafe { raw::shut_down(self.header) };
    }
}

/// Whether the waker is that of the task which this thread is polling, and not of a combinator between.
#[inline]
pub fn is_own_waker(waker: &Waker) -> bool {
    raw::polled().is_some_and(|header| super::waker::is_of(waker, header))
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        // SAFETY: the loop's thread, with our handle.
        unsafe { raw::add_handle(self.header) };
        Self { header: self.header, _not_send: PhantomData }
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // SAFETY: our own handle, not used again.
        unsafe { raw::drop_handle(self.header) };
    }
}

impl PartialEq for TaskRef {
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header
    }
}

impl Eq for TaskRef {}

impl fmt::Debug for TaskRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TaskRef")
            .field("id", &self.id())
            .field("complete", &self.is_complete())
            .finish()
    }
}

/// A [`TaskRef`] of a task whose data is known to be of type `M`, so that no look at it compares types.
pub struct TaskOf<M> {
    task: TaskRef,
    _meta: PhantomData<M>,
}

impl<M: 'static> TaskOf<M> {
    /// The task that this thread is polling (or dropping) at the moment, if its data is of type `M`.
    pub fn current() -> Option<Self> {
        let task = TaskRef::current()?;
        task.meta::<M>()?;
        Some(Self { task, _meta: PhantomData })
    }

    /// The face's data.
    #[inline]
    pub fn meta(&self) -> &M {
        // SAFETY: the loop's thread (`!Send`), our handle outlives the borrow, and the type was compared by `current`.
        unsafe { raw::known_meta_of(self.task.header) }
    }
}

impl<M> Deref for TaskOf<M> {
    type Target = TaskRef;

    #[inline]
    fn deref(&self) -> &TaskRef {
        &self.task
    }
}

impl<M> fmt::Debug for TaskOf<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task.fmt(formatter)
    }
}

/// Awaits the output of a task; dropping it detaches the task, which runs on.
pub struct JoinHandle<T> {
    task: TaskRef,
    /// `fn() -> T`: the handle is `Unpin` whatever `T` is.
    _output: PhantomData<fn() -> T>,
}

/// Calls `look` with the data of the task that this thread is polling, if it is of type `M`.
///
/// Cheaper than [`TaskRef::current`]: no count is touched.
#[inline]
pub fn with_current_meta<M: 'static, R>(look: impl FnOnce(&M) -> R) -> Option<R> {
    let header = raw::polled()?;
    // SAFETY: the list's handle keeps the task for the whole poll, and so for the call of `look`, which is part of it.
    unsafe { raw::meta_of::<M>(header) }.map(look)
}

/// The number of the task that this thread is polling (or dropping) at the moment, the innermost if several.
#[inline]
pub fn current_id() -> Option<u64> {
    // SAFETY: the list's handle keeps a task that is being polled or dropped.
    raw::polled().map(|header| unsafe { header.as_ref() }.id)
}

impl<T> JoinHandle<T> {
    /// # Safety
    /// As [`TaskRef::from_header`]; `T` is the output of the task's future.
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        // SAFETY: the caller's contract.
        Self { task: unsafe { TaskRef::from_header(header) }, _output: PhantomData }
    }

    /// The handle without the output.
    pub fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Takes the output of a complete task; `None` before its end, or when it was taken already.
    pub fn take_output(&mut self) -> Option<Result<T, JoinError>> {
        if !self.task.is_complete() {
            return None;
        }
        // SAFETY: the loop's thread, complete, and `T` is the output's type.
        unsafe { raw::output(self.task.header) }
    }

    /// Looks at the output of a complete task; `None` before its end, or when it was taken.
    pub fn output(&self) -> Option<&Result<T, JoinError>> {
        if !self.task.is_complete() {
            return None;
        }
        // SAFETY: the loop's thread, complete, `T` is the output's type; taking it out needs `&mut self`, and the only
        // other place that ends it (`drop_local`) waits for our handle.
        unsafe { raw::output_ref(self.task.header) }
    }

    /// Ready with the output, once; the last waker given is woken at the end.
    pub fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        if self.task.is_complete() {
            return Poll::Ready(self.take_output());
        }
        // SAFETY: the loop's thread, with our handle.
        unsafe { raw::set_join_waker(self.task.header, cx.waker()) };
        Poll::Pending
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("JoinHandle").field(&self.task).finish()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_output(cx).map(|output| output.expect("a JoinHandle is not polled after it was ready"))
    }
}

//! The cell of a Rust future's task: one allocation that holds the future, then its output.
//!
//! [`spawn`] makes it; [`Notified`] is its entry in a ready queue; [`JoinHandle`] awaits it; [`TaskRef`] looks at it; the
//! waker (any thread) queues it again. `state.rs` draws the states, `raw.rs` says who may touch which field when.
//!
//! The output and the face's data may be `!Send`: both are dropped on the loop's thread, even if the last waker is
//! dropped on another one.

mod join;
mod list;
mod raw;
mod state;
mod waker;

use std::fmt;
use std::future::Future;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

pub use join::{End, JoinError, JoinHandle, TaskOf, TaskRef, current_id, is_own_waker, with_current_meta};
pub use list::TaskList;
pub(crate) use waker::is_of_ended;

use state::State;

use crate::LoopId;
use crate::current::LoopHandle;

/// How a waker on another thread reaches the loop of its task.
pub trait Schedule: Send + Sync {
    /// The loop that the tasks belong to.
    fn loop_id(&self) -> LoopId;
    /// Hands a woken task to the loop; a closed one drops it.
    fn schedule_remote(&self, task: Notified);
}

/// What becomes of a task whose future is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It waits to be woken.
    Wait,
    /// It is polled again before anything else runs; once in a run, and if nothing has woken it: else it is queued.
    PollAgain,
    /// The future is dropped, and the task ends as cancelled.
    Cancel,
}

/// What a face keeps with each task, and what it is told about it; `()` keeps nothing.
///
/// The calls come on the loop's thread, and none of them may panic.
pub trait Meta: 'static {
    /// Before a poll; `false` drops the future instead, and the task ends as cancelled.
    #[inline]
    fn before_poll(&self) -> bool {
        true
    }

    /// After a poll, or after one that [`before_poll`](Self::before_poll) refused; what is to become of a task whose future
    /// is `pending`.
    #[inline]
    fn after_poll(&self, pending: bool) -> Then {
        let _ = pending;
        Then::Wait
    }

    /// The task has ended, its output stands; `end` is `None` when it has one. Nobody who awaits it is woken yet.
    #[inline]
    fn completed(&self, task: &TaskRef, end: Option<&End>) {
        let _ = (task, end);
    }

    /// The last handle of the task `id` has gone: nobody will look at its output.
    #[inline]
    fn abandoned(&self, id: u64) {
        let _ = id;
    }
}

impl Meta for () {}

/// A task that is to be polled: its one entry in a ready queue.
pub struct Notified {
    header: NonNull<raw::Header>,
}

// SAFETY: elsewhere than on its loop's thread it can only be moved and dropped, which touch nothing but the shared part.
unsafe impl Send for Notified {}

impl Notified {
    /// # Safety
    /// The caller's reference, counted for a `Notified`, becomes this one's.
    unsafe fn from_header(header: NonNull<raw::Header>) -> Self {
        Self { header }
    }

    /// Polls the task's future once.
    ///
    /// # Safety
    /// On the thread of the task's loop.
    #[inline]
    pub unsafe fn run_unchecked(self) {
        let header = self.header;
        std::mem::forget(self);
        // SAFETY: the caller vouches for the thread; our reference is given up.
        unsafe { raw::run(header) };
    }

    /// Polls the task's future once.
    ///
    /// # Panics
    /// When this thread does not run the task's loop at the moment.
    #[inline]
    pub fn run(self) {
        // SAFETY: alive by our reference.
        let here = unsafe { self.header.as_ref() }.is_here();
        assert!(here, "a task is run by its own loop only");
        // SAFETY: that loop is this thread's current one.
        unsafe { self.run_unchecked() };
    }

    /// A number that no other task of the process has.
    pub fn id(&self) -> u64 {
        // SAFETY: alive by our reference.
        unsafe { self.header.as_ref() }.id
    }

    /// The task, where this thread runs its loop and it has not ended.
    pub fn task(&self) -> Option<TaskRef> {
        // SAFETY: alive by our reference.
        let header = unsafe { self.header.as_ref() };
        if !header.is_here() || header.state.is_complete() {
            return None;
        }
        // SAFETY: the loop's thread, and the list's handle keeps a task that is not complete; the new one is the reference's.
        unsafe {
            raw::add_handle(self.header);
            Some(TaskRef::from_header(self.header))
        }
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        // SAFETY: our own reference, not used again.
        unsafe { raw::drop_reference(self.header) };
    }
}

impl fmt::Debug for Notified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Notified").field(&self.id()).finish()
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Makes a task of `future` on `event_loop` and queues its first poll; `meta` is the face's data about it.
///
/// On a closed loop the future is dropped at once and the task ends as cancelled.
pub fn spawn<F: Future + 'static, M: Meta>(
    event_loop: &dyn LoopHandle,
    future: F,
    meta: M,
) -> JoinHandle<F::Output> {
    let (header, handle) = make(event_loop, future, meta, State::new());
    // SAFETY: the state counts one reference for the first `Notified`.
    let first = unsafe { Notified::from_header(header) };
    if handle.task().is_complete() {
        drop(first);
    } else {
        event_loop.push_task(first);
    }
    handle
}

/// Makes a task like [`spawn`], but its first poll comes only when the waker is woken.
pub fn spawn_idle<F: Future + 'static, M: Meta>(
    event_loop: &dyn LoopHandle,
    future: F,
    meta: M,
) -> (JoinHandle<F::Output>, Waker) {
    let (header, handle) = make(event_loop, future, meta, State::idle());
    // SAFETY: the state counts one reference for the waker.
    (handle, unsafe { waker::from_header(header) })
}

fn make<F: Future + 'static, M: Meta>(
    event_loop: &dyn LoopHandle,
    future: F,
    meta: M,
    state: State,
) -> (NonNull<raw::Header>, JoinHandle<F::Output>) {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let list = event_loop.tasks();
    let header = raw::allocate(future, meta, state, id, Arc::clone(event_loop.scheduler()), Rc::clone(list));
    list.push(header);
    // SAFETY: `allocate` counted a handle for the caller.
    let handle: JoinHandle<F::Output> = unsafe { JoinHandle::from_header(header) };
    if list.is_closed() {
        handle.task().shut_down();
    }
    (header, handle)
}

/// A task without a loop: what the loom models need of [`spawn`].
#[cfg(all(test, loom))]
pub(crate) fn spawn_for_model<F: Future + 'static>(
    future: F,
    scheduler: Arc<dyn Schedule>,
    list: &Rc<TaskList>,
) -> (Notified, JoinHandle<F::Output>) {
    let header = raw::allocate(future, (), State::new(), 1, scheduler, Rc::clone(list));
    list.push(header);
    // SAFETY: the state counts a reference for the `Notified`, and `allocate` a handle for the caller.
    unsafe { (Notified::from_header(header), JoinHandle::from_header(header)) }
}

//! How a Rust future finds the loop it runs on: a thread-local, object-safe view of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::LoopId;
use crate::event_loop::EventLoop;
use crate::reactor::Reactor;
use crate::runnable::Runnable;
use crate::task::{Notified, Schedule, TaskList};
use crate::timers::TimerKey;

mod private {
    /// Keeps [`LoopHandle`](super::LoopHandle) to this crate: what it answers decides on which thread a `!Send` future is
    /// polled, so an implementation in safe code elsewhere could not be believed.
    pub trait Sealed {}
}

impl<R: Runnable> private::Sealed for EventLoop<R> {}

/// The running loop as Rust futures see it: without the type of its ready queue. [`EventLoop`] alone implements it.
///
/// Nothing that uses it may assume that the loop is its own: on the Python face the same queue holds Python callbacks.
pub trait LoopHandle: private::Sealed {
    /// Names the loop; never reused within a process.
    fn id(&self) -> LoopId;
    /// Appends a woken task to the ready queue.
    fn push_task(&self, task: Notified);
    /// The loop's time in nanoseconds.
    fn now_ns(&self) -> u64;
    /// The loop's time at the start of this iteration, or a little before: costs no clock reading.
    fn recent_ns(&self) -> u64;
    /// Wakes `waker` once, at `deadline_ns` or later.
    fn add_timer(&self, deadline_ns: u64, waker: Waker) -> TimerKey;
    /// Forgets a timer; one that fired already is ignored.
    fn cancel_timer(&self, key: TimerKey);
    /// Whether a timer has neither fired nor been forgotten.
    fn has_timer(&self, key: TimerKey) -> bool;
    /// The descriptors that the loop watches.
    fn reactor(&self) -> &Rc<Reactor>;
    /// The tasks that the loop keeps alive.
    fn tasks(&self) -> &Rc<TaskList>;
    /// What wakers on other threads hold.
    fn scheduler(&self) -> &Arc<dyn Schedule>;
    /// Says that work goes on in another thread (`+1`) or has ended (`-1`): a virtual clock stands still meanwhile.
    fn count_outside_work(&self, change: i32);
}

thread_local! {
    /// The name of the current loop: tells in one comparison whether a task is of that loop.
    static CURRENT_ID: Cell<Option<LoopId>> = const { Cell::new(None) };
    static CURRENT: RefCell<Option<Rc<dyn LoopHandle>>> = const { RefCell::new(None) };
}

/// Calls `look` with the loop that this thread runs, if any.
#[inline]
pub fn try_with<T>(look: impl FnOnce(&dyn LoopHandle) -> T) -> Option<T> {
    CURRENT.try_with(|current| current.borrow().as_deref().map(look)).ok().flatten()
}

/// The loop that this thread runs, if any.
pub fn current() -> Option<Rc<dyn LoopHandle>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Whether the thread's current loop is the one with this name.
#[inline]
pub(crate) fn is_current(id: LoopId) -> bool {
    CURRENT_ID.try_with(|current| current.get() == Some(id)).unwrap_or(false)
}

/// Whether the thread has a current loop, and it is another than the one with this name.
#[inline]
pub(crate) fn is_another(id: Option<LoopId>) -> bool {
    CURRENT_ID.try_with(|current| current.get().is_some_and(|current| id != Some(current))).unwrap_or(false)
}

/// Makes `event_loop` the thread's current one until the guard is dropped; the one before comes back then.
///
/// On a thread that is going away (a loop that is closed by the destructor of a thread-local) there is no current loop any
/// more: its destructors find none.
pub fn enter(event_loop: Rc<dyn LoopHandle>) -> Entered {
    crate::clock::mark();
    let id = event_loop.id();
    let entered = CURRENT.try_with(|current| current.replace(Some(event_loop)));
    if entered.is_ok() {
        let _ = CURRENT_ID.try_with(|current| current.set(Some(id)));
    }
    Entered { before: entered.ok().flatten() }
}

/// Ends what [`enter`] began.
pub struct Entered {
    before: Option<Rc<dyn LoopHandle>>,
}

impl std::fmt::Debug for Entered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Entered")
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let id = before.as_ref().map(|event_loop| event_loop.id());
        let _ = CURRENT_ID.try_with(|current| current.set(id));
        // A thread that is going away has no current loop left to put back.
        let left = CURRENT.try_with(|current| current.replace(before));
        drop(left);
    }
}

//! The allocation of a task: header, face's data, then the future or its output.
//!
//! Who may touch what:
//! 1. `state`, `scheduler`, `loop_id`, `vtable`, `id` are shared: any thread that holds a reference.
//! 2. Everything else belongs to the loop's thread (the one that spawned it). Handles, the list and `Notified::run`
//!    are confined to it by `!Send` types, or, for `Notified`, by the contract of `run`.
//! 3. `local` counts the handles on the loop's thread, the task list's included. When it reaches 0 (the task is
//!    complete then, since the list lets go only at completion) the output, the meta and the list's `Rc` are dropped:
//!    on the loop's thread. What is left is plain memory, which whichever thread drops the last reference frees.
//! 4. The future is dropped in place, never moved; exactly once, by the poll that ended it or by `shutdown`.

use std::any::{Any, TypeId};
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::join::{JoinError, TaskRef};
use super::list::{Links, TaskList};
use super::state::{AfterPoll, State, Wake};
use super::waker;
use super::{Meta, Notified, Schedule, Then};
use crate::LoopId;
use crate::destroy::{contain, destroy};

/// The functions that know the types behind a header.
pub(crate) struct Vtable {
    poll: unsafe fn(NonNull<Header>),
    shutdown: unsafe fn(NonNull<Header>),
    take_output: unsafe fn(NonNull<Header>, *mut ()),
    output_ref: unsafe fn(NonNull<Header>) -> *const (),
    drop_local: unsafe fn(NonNull<Header>),
    free: unsafe fn(NonNull<Header>),
    /// How far behind the header the meta stands.
    meta_offset: usize,
    meta_type: fn() -> TypeId,
}

/// What every task begins with, whatever its types.
pub(crate) struct Header {
    pub(crate) state: State,
    vtable: &'static Vtable,
    scheduler: ManuallyDrop<Arc<dyn Schedule>>,
    loop_id: LoopId,
    pub(crate) id: u64,
    pub(crate) links: Links,
    local: Cell<u32>,
    /// `shutdown` was asked for while the task was being polled.
    shut: Cell<bool>,
    join_waker: UnsafeCell<Option<Waker>>,
    list: UnsafeCell<Option<Rc<TaskList>>>,
}

impl Header {
    /// Whether this thread runs the task's loop at the moment.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        crate::current::is_current(self.loop_id)
    }
}

#[repr(C)]
struct TaskCell<F: Future, M> {
    header: Header,
    meta: UnsafeCell<ManuallyDrop<M>>,
    stage: UnsafeCell<Stage<F>>,
}

enum Stage<F: Future> {
    Future(F),
    Output(Result<F::Output, JoinError>),
    Empty,
}

struct Types<F, M>(std::marker::PhantomData<(F, M)>);

impl<F: Future + 'static, M: Meta> Types<F, M> {
    const VTABLE: Vtable = Vtable {
        poll: poll::<F, M>,
        shutdown: shutdown::<F, M>,
        take_output: take_output::<F, M>,
        output_ref: stage_output::<F, M>,
        drop_local: drop_local::<F, M>,
        free: free::<F, M>,
        meta_offset: std::mem::offset_of!(TaskCell<F, M>, meta),
        meta_type: TypeId::of::<M>,
    };
}

/// Allocates a task with two local handles (the list's and the caller's), which share one of the references that
/// `state` counts; the other is its first `Notified`'s, or its first waker's.
pub(crate) fn allocate<F: Future + 'static, M: Meta>(
    future: F,
    meta: M,
    state: State,
    id: u64,
    scheduler: Arc<dyn Schedule>,
    list: Rc<TaskList>,
) -> NonNull<Header> {
    let cell = Box::new(TaskCell {
        header: Header {
            state,
            vtable: &Types::<F, M>::VTABLE,
            loop_id: scheduler.loop_id(),
            scheduler: ManuallyDrop::new(scheduler),
            id,
            links: Links::default(),
            local: Cell::new(2),
            shut: Cell::new(false),
            join_waker: UnsafeCell::new(None),
            list: UnsafeCell::new(Some(list)),
        },
        meta: UnsafeCell::new(ManuallyDrop::new(meta)),
        stage: UnsafeCell::new(Stage::Future(future)),
    });
    NonNull::from(Box::leak(cell)).cast()
}

/// Views a header as the whole cell.
///
/// # Safety
/// `header` was made by `allocate::<F, M>` and is not freed.
unsafe fn cell<'a, F: Future, M>(header: NonNull<Header>) -> &'a TaskCell<F, M> {
    // SAFETY: `repr(C)` puts the header first; the caller vouches for the types and the life.
    unsafe { header.cast::<TaskCell<F, M>>().as_ref() }
}

/// Polls the future once, or twice where the face asks for it, with the reference of a `Notified`, which it uses up.
///
/// # Safety
/// On the loop's thread; `header` is alive and of these types; the caller owns a `Notified`'s reference.
unsafe fn poll<F: Future + 'static, M: Meta>(header: NonNull<Header>) {
    // SAFETY: the caller's contract.
    let cell = unsafe { cell::<F, M>(header) };
    // With `shut` set before the poll, `shutdown` stands further up this stack: the future's destructor runs the loop.
    if cell.header.shut.get() || !cell.header.state.start_poll() {
        // SAFETY: the reference of the `Notified` is ours to give up.
        unsafe { drop_reference(header) };
        return;
    }
    // A waker that borrows the reference of the `Notified`: no count changes unless the future clones it.
    // SAFETY: the reference outlives the waker, which is never dropped.
    let waker = ManuallyDrop::new(unsafe { waker::from_header(header) });
    let mut cx = Context::from_waker(&waker);
    // SAFETY: the list's handle keeps the meta of a task that is not complete.
    let meta: &M = unsafe { &*cell.meta.get() };
    let mark = Polled::begin(header);
    let mut polls = 0;
    let (polled, goes_on) = loop {
        polls += 1;
        let polled = meta.before_poll().then(|| {
            catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: RUNNING is ours (rule 2), so nobody else touches the stage; the future is never moved (rule 4).
                match unsafe { &mut *cell.stage.get() } {
                    // SAFETY: as above: pinned in its allocation until it is dropped in place.
                    Stage::Future(future) => unsafe { Pin::new_unchecked(future) }.poll(&mut cx),
                    _ => unreachable!("a task that is not complete has a future"),
                }
            }))
        });
        let is_pending = matches!(polled, Some(Ok(Poll::Pending)));
        let then = meta.after_poll(is_pending);
        if is_pending && then == Then::PollAgain && !cell.header.shut.get() {
            if polls == 1 && !cell.header.state.is_scheduled() {
                continue;
            }
            // It is RUNNING, so that this only marks it.
            let _marked = cell.header.state.wake_by_ref();
        }
        break (polled, is_pending && then != Then::Cancel);
    };
    let outcome = match polled.unwrap_or(Ok(Poll::Pending)) {
        Ok(Poll::Pending) if !goes_on || cell.header.shut.get() => Err(JoinError::cancelled()),
        Ok(Poll::Pending) => {
            // The face may poll the task again from inside of `schedule`, and let its last handle go: then nobody may find it here.
            drop(mark);
            match cell.header.state.end_poll() {
                AfterPoll::Idle => {}
                // SAFETY: the reference that the `Notified` had is the new one's.
                AfterPoll::Reschedule => unsafe { schedule(header) },
                // SAFETY: it was the last reference.
                AfterPoll::Free => unsafe { (cell.header.vtable.free)(header) },
            }
            return;
        }
        Ok(Poll::Ready(output)) => Ok(output),
        Err(payload) => Err(JoinError::panic(payload)),
    };
    // SAFETY: still RUNNING, so the stage is ours; the reference is given up last.
    unsafe {
        finish::<F, M>(header, outcome, mark);
        drop_reference(header);
    }
}

thread_local! {
    /// The task whose future is being polled or dropped by this thread, innermost.
    static POLLED: Cell<Option<NonNull<Header>>> = const { Cell::new(None) };
}

/// Marks a task as the one being polled, until dropped; its header outlives the mark.
struct Polled(Option<NonNull<Header>>);

impl Polled {
    #[inline]
    fn begin(header: NonNull<Header>) -> Self {
        Self(POLLED.try_with(|polled| polled.replace(Some(header))).ok().flatten())
    }
}

impl Drop for Polled {
    #[inline]
    fn drop(&mut self) {
        // A thread that is going away has nothing left to restore.
        let _ = POLLED.try_with(|polled| polled.set(self.0));
    }
}

/// The task that this thread is polling.
#[inline]
pub(crate) fn polled() -> Option<NonNull<Header>> {
    POLLED.try_with(Cell::get).ok().flatten()
}

/// Replaces the future by `outcome` and lets the list and the joiner know; `mark` is this task's.
///
/// # Safety
/// On the loop's thread, not complete, and nobody is inside the future; the caller holds a reference of its own.
unsafe fn finish<F: Future + 'static, M: Meta>(
    header: NonNull<Header>,
    outcome: Result<F::Output, JoinError>,
    mark: Polled,
) {
    // SAFETY: the caller's contract.
    let cell = unsafe { cell::<F, M>(header) };
    // The future may run any code when it is dropped, also code that panics: the task is completed all the same.
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: dropped in place (rule 4); `Empty` has nothing to drop, whatever happens.
        unsafe { *cell.stage.get() = Stage::Empty };
    }));
    let outcome = match dropped {
        Ok(()) => outcome,
        Err(payload) => {
            destroy(outcome);
            Err(JoinError::panic(payload))
        }
    };
    let failure = outcome.as_ref().err().map(JoinError::kind);
    // SAFETY: the stage is `Empty` and ours.
    unsafe { *cell.stage.get() = Stage::Output(outcome) };
    cell.header.state.complete();
    // SAFETY: the list's handle is let go below; the reference is not dropped, so that handle is not given up twice.
    let (meta, task) = unsafe { (&*cell.meta.get(), ManuallyDrop::new(TaskRef::from_header(header))) };
    meta.completed(&task, failure.as_ref());
    // SAFETY: the loop's thread; no reference into the option is alive.
    let (waker, list) =
        unsafe { ((*cell.header.join_waker.get()).take(), (*cell.header.list.get()).clone()) };
    if let Some(waker) = waker {
        crate::destroy::wake(waker);
    }
    // The list's handle may be the last: what it drops must no longer find this task as the one being polled, or it
    // could make a new handle of it.
    drop(mark);
    if let Some(list) = list
        && list.remove(header)
    {
        // SAFETY: the list's handle, which it has just let go.
        unsafe { drop_handle(header) };
    }
}

/// Drops the future of a task that is not complete and ends it as cancelled; at the end of its poll if it is in one.
///
/// # Safety
/// On the loop's thread; the caller holds a handle.
unsafe fn shutdown<F: Future + 'static, M: Meta>(header: NonNull<Header>) {
    // SAFETY: the caller's contract.
    let cell = unsafe { cell::<F, M>(header) };
    if cell.header.state.is_complete() {
        return;
    }
    if cell.header.state.is_running() || cell.header.shut.get() {
        cell.header.shut.set(true);
        return;
    }
    cell.header.shut.set(true);
    let mark = Polled::begin(header);
    // SAFETY: not running, so nobody is inside the future; the handle keeps the memory.
    unsafe { finish::<F, M>(header, Err(JoinError::cancelled()), mark) };
}

unsafe fn take_output<F: Future + 'static, M: Meta>(header: NonNull<Header>, into: *mut ()) {
    // SAFETY: the caller holds a handle of a complete task on the loop's thread, so the stage is its own; `into`
    // points to an `Option<Result<F::Output, JoinError>>`.
    unsafe {
        let cell = cell::<F, M>(header);
        if let Stage::Output(output) = std::mem::replace(&mut *cell.stage.get(), Stage::Empty) {
            *into.cast::<Option<Result<F::Output, JoinError>>>() = Some(output);
        }
    }
}

unsafe fn stage_output<F: Future + 'static, M: Meta>(header: NonNull<Header>) -> *const () {
    // SAFETY: the caller holds a handle of a complete task on the loop's thread, so the stage is its own.
    match unsafe { &*cell::<F, M>(header).stage.get() } {
        Stage::Output(output) => (&raw const *output).cast(),
        _ => std::ptr::null(),
    }
}

unsafe fn drop_local<F: Future + 'static, M: Meta>(header: NonNull<Header>) {
    // SAFETY: the last handle is gone and the task complete (rule 3): nobody else can reach these fields. A destructor that
    // panics leaves its field empty (the meta is not touched again), and the others are dropped all the same.
    unsafe {
        let cell = cell::<F, M>(header);
        (&*cell.meta.get()).abandoned(cell.header.id);
        contain(|| *cell.stage.get() = Stage::Empty);
        contain(|| *cell.header.join_waker.get() = None);
        *cell.header.list.get() = None;
        contain(|| ManuallyDrop::drop(&mut *cell.meta.get()));
    }
}

unsafe fn free<F: Future + 'static, M: Meta>(header: NonNull<Header>) {
    // SAFETY: no reference is left; what belonged to the loop's thread was dropped there (rule 3).
    unsafe {
        let mut cell = Box::from_raw(header.cast::<TaskCell<F, M>>().as_ptr());
        ManuallyDrop::drop(&mut cell.header.scheduler);
    }
}

/// Queues the task; the reference of its `Notified` was counted by the state.
///
/// # Safety
/// The state said so; `header` is alive.
pub(crate) unsafe fn schedule(header: NonNull<Header>) {
    // SAFETY: alive.
    let this = unsafe { header.as_ref() };
    // SAFETY: the reference is the new `Notified`'s.
    let mut task = Some(unsafe { Notified::from_header(header) });
    if this.is_here() {
        crate::current::try_with(|current| {
            if let Some(task) = task.take() {
                current.push_task(task);
            }
        });
    }
    if let Some(task) = task {
        // The clone keeps the scheduler alive while the task may be freed by the loop's thread.
        Arc::clone(&this.scheduler).schedule_remote(task);
    }
}

/// Wakes with a reference that the caller keeps.
///
/// # Safety
/// The caller holds a reference.
pub(crate) unsafe fn wake_by_ref(header: NonNull<Header>) {
    // SAFETY: alive by the caller's reference.
    if unsafe { header.as_ref() }.state.wake_by_ref() == Wake::Schedule {
        // SAFETY: the state has counted the new reference.
        unsafe { schedule(header) };
    }
}

/// Wakes with a reference that the caller gives up.
///
/// # Safety
/// The caller owns a reference and does not use it again.
pub(crate) unsafe fn wake_by_value(header: NonNull<Header>) {
    // SAFETY: alive by the caller's reference.
    match unsafe { header.as_ref() }.state.wake_by_value() {
        // SAFETY: the caller's reference is the `Notified`'s now.
        Wake::Schedule => unsafe { schedule(header) },
        Wake::Nothing => {}
        // SAFETY: it was the last one.
        Wake::Free => unsafe { (header.as_ref().vtable.free)(header) },
    }
}

/// Runs a `Notified`'s poll.
///
/// # Safety
/// On the loop's thread; the caller owns the `Notified`'s reference and gives it up.
pub(crate) unsafe fn run(header: NonNull<Header>) {
    // SAFETY: the caller's contract.
    unsafe { (header.as_ref().vtable.poll)(header) };
}

/// See `shutdown` above.
///
/// # Safety
/// On the loop's thread, with a handle.
pub(crate) unsafe fn shut_down(header: NonNull<Header>) {
    // SAFETY: the caller's contract.
    unsafe { (header.as_ref().vtable.shutdown)(header) };
}

/// Takes the output of a complete task; `None` if it was taken before.
///
/// # Safety
/// On the loop's thread, with a handle; the task is complete; `T` is its output's type.
pub(crate) unsafe fn output<T>(header: NonNull<Header>) -> Option<Result<T, JoinError>> {
    let mut output = None;
    // SAFETY: the caller's contract; `output` is of the type that `take_output` writes.
    unsafe { (header.as_ref().vtable.take_output)(header, (&raw mut output).cast()) };
    output
}

/// Looks at the output of a complete task; `None` if it was taken before.
///
/// # Safety
/// As [`output`]; the output is not taken, and the handle is not dropped, during `'a`.
pub(crate) unsafe fn output_ref<'a, T>(header: NonNull<Header>) -> Option<&'a Result<T, JoinError>> {
    // SAFETY: the caller's contract; the pointer is null or of the type that the caller vouches for.
    unsafe { (header.as_ref().vtable.output_ref)(header).cast::<Result<T, JoinError>>().as_ref() }
}

/// The face's data, if it is of type `M`.
///
/// # Safety
/// On the loop's thread; the handle behind `header` outlives `'a`.
pub(crate) unsafe fn meta_of<'a, M: Any>(header: NonNull<Header>) -> Option<&'a M> {
    // SAFETY: alive by the handle.
    let vtable = unsafe { header.as_ref() }.vtable;
    if (vtable.meta_type)() != TypeId::of::<M>() {
        return None;
    }
    // SAFETY: the caller's contract, and the type was compared.
    Some(unsafe { known_meta_of(header) })
}

/// The face's data.
///
/// # Safety
/// As [`meta_of`], and it is of type `M`.
#[inline]
pub(crate) unsafe fn known_meta_of<'a, M>(header: NonNull<Header>) -> &'a M {
    // SAFETY: the cell, alive by the handle, holds an `M` at that offset (in cells that are transparent).
    unsafe { header.byte_add(header.as_ref().vtable.meta_offset).cast::<M>().as_ref() }
}

/// Replaces the waker of whoever awaits the task.
///
/// # Safety
/// On the loop's thread, with a handle.
pub(crate) unsafe fn set_join_waker(header: NonNull<Header>, waker: &Waker) {
    // SAFETY: alive by the caller's handle.
    let place = unsafe { header.as_ref() }.join_waker.get();
    // SAFETY: the loop's thread; the reference ends before any code of the waker's runs that could come back here.
    if unsafe { &*place }.as_ref().is_some_and(|held| held.will_wake(waker)) {
        return;
    }
    let new = waker.clone();
    // SAFETY: as above; the old waker is dropped when no reference is alive.
    let old = unsafe { (*place).replace(new) };
    drop(old);
}

/// One more handle on the loop's thread.
///
/// # Safety
/// On the loop's thread, with a handle.
pub(crate) unsafe fn add_handle(header: NonNull<Header>) {
    // SAFETY: alive by the caller's handle.
    let local = unsafe { &header.as_ref().local };
    local.set(local.get().checked_add(1).expect("fewer than 2^32 handles of one task"));
}

/// One handle less; the last one drops what belongs to the loop's thread.
///
/// # Safety
/// On the loop's thread; the caller owns a handle and does not use it again.
pub(crate) unsafe fn drop_handle(header: NonNull<Header>) {
    // SAFETY: alive by the caller's handle.
    let this = unsafe { header.as_ref() };
    let left = this.local.get() - 1;
    this.local.set(left);
    if left == 0 {
        debug_assert!(this.state.is_complete(), "the list keeps a task that is not complete");
        // SAFETY: the last handle (rule 3); then the reference that all handles share is given up.
        unsafe {
            (this.vtable.drop_local)(header);
            drop_reference(header);
        }
    }
}

/// One reference less; the last one frees the memory.
///
/// # Safety
/// The caller owns a reference and does not use it again.
pub(crate) unsafe fn drop_reference(header: NonNull<Header>) {
    // SAFETY: alive by the caller's reference.
    let this = unsafe { header.as_ref() };
    if this.state.drop_reference() {
        // SAFETY: it was the last one.
        unsafe { (this.vtable.free)(header) };
    }
}

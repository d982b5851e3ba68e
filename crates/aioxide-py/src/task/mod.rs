//! `aioxide.Task`: a coroutine that the loop runs, and the future of its end.
//!
//! A task that is not done is in one of three
//! states, asyncio's own:
//! 1. waiting: `fut_waiter` holds a future that is not done, and the task is one of its waiters;
//! 2. scheduled: a step or a wake-up of it is in the ready queue; `fut_waiter` is empty or done;
//! 3. running: inside `step`; `fut_waiter` is empty.
//!
//! From its creation to its end it is in the list of `list`. A task that the loop made is held by that list; one that was
//! made by calling the type is held by its waiters alone, as in asyncio.
//!
//! ```text
//!   create_task ──> start ──> Entry::Step ──> queued ──> step ──yields a future──> its waiter ──the future ends──> Entry::Wake ──> step
//!                                                         └─returns, raises──> the task's own end, which wakes its waiters
//!   class, introspect   what Python sees of it; names, stacks        list   all tasks that are not done
//!   gather, wait, completions, shield, group    parents (`future::parent`)
//!   deadline, timeout, wait_for, sleep          what has a time
//! ```

mod class;
pub(crate) mod completions;
pub(crate) mod deadline;
pub(crate) mod gather;
pub(crate) mod group;
mod group_exit;
mod introspect;
pub(crate) mod list;
pub(crate) mod queued;
pub(crate) mod shield;
pub(crate) mod sleep;
pub(crate) mod start;
pub(crate) mod step;
pub(crate) mod timeout;
pub(crate) mod wait;
pub(crate) mod wait_for;

pub(crate) use class::read_base;
pub(crate) use introspect::steps_of;

use std::cell::Cell;

use pyo3::ffi as c;

use crate::awaitable;
use crate::ffi::exports::Exports;
use crate::ffi::text::show;
use crate::ffi::{self, Class, Confined, Object, Outcome, Owned, Slot, call, cast, context, raised};
use crate::future::family::{self, Home, Member};
use crate::future::{self, Future, FutureData, KINDS};
use crate::interp::{Captured, interop, names};
use crate::kernel::{LoopState, state_of};

/// What a task has; the future's part first, where a future has it.
#[repr(C)]
pub(crate) struct TaskData {
    pub(crate) future: FutureData,
    pub(crate) fut_waiter: Slot,
    pub(crate) coro: Slot,
    /// The name, or nothing for `Task-<number>`, which is seldom asked for.
    pub(crate) name: Slot,
    pub(crate) context: Captured,
    pub(crate) number: Cell<u64>,
    pub(crate) previous: Cell<*mut c::PyObject>,
    pub(crate) next: Cell<*mut c::PyObject>,
    pub(crate) cancels: Cell<u32>,
    pub(crate) steps: Cell<u32>,
    /// Nanoseconds that its steps took, since somebody asked; less the clock at its beginning while one `is_timed`.
    pub(crate) ran_ns: Cell<u64>,
    pub(crate) is_timed: Cell<bool>,
    pub(crate) must_cancel: Cell<bool>,
    pub(crate) log_destroy_pending: Cell<bool>,
    pub(crate) listed: Cell<bool>,
    /// Whether the list owns a reference to the task.
    pub(crate) held: Cell<bool>,
}

impl TaskData {
    const fn new() -> Self {
        Self {
            future: FutureData::new(),
            fut_waiter: Slot::new(),
            coro: Slot::new(),
            name: Slot::new(),
            context: Captured::new(),
            number: Cell::new(0),
            previous: Cell::new(std::ptr::null_mut()),
            next: Cell::new(std::ptr::null_mut()),
            cancels: Cell::new(0),
            steps: Cell::new(0),
            ran_ns: Cell::new(0),
            is_timed: Cell::new(false),
            must_cancel: Cell::new(false),
            log_destroy_pending: Cell::new(true),
            listed: Cell::new(false),
            held: Cell::new(false),
        }
    }

    fn slots(&self) -> [&Slot; 3] {
        [&self.fut_waiter, &self.coro, &self.name]
    }
}

/// An instance of `aioxide.Task` or of a type derived from it.
#[repr(transparent)]
pub(crate) struct Task(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Task {}

static HOME: Home = Home::new();
static NUMBERS: Confined<Cell<u64>> = Confined::new(Cell::new(0));

impl std::ops::Deref for Task {
    type Target = TaskData;

    #[inline]
    fn deref(&self) -> &TaskData {
        // SAFETY: written by `family`, before anybody could see the instance.
        unsafe { &*self.0.as_ptr().byte_add(KINDS.offset.get()).cast::<TaskData>() }
    }
}

/// What a task starts with.
pub(crate) struct Start<'a> {
    pub(crate) coro: &'a Object,
    pub(crate) name: Option<&'a Object>,
    pub(crate) context: Option<&'a Object>,
    pub(crate) eager: bool,
}

impl Task {
    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.0
    }

    #[inline]
    pub(crate) fn own(&self) -> Owned {
        self.0.own()
    }

    /// The task as the future that it is.
    #[inline]
    pub(crate) fn as_future(&self) -> &Future {
        // SAFETY: a task's data begins with a future's, at the same offset.
        unsafe { cast(self.0.as_ptr()) }
    }

    /// Whether the object is a task of ours, of a derived type too.
    #[inline]
    pub(crate) fn is(object: &Object) -> bool {
        object.is_instance(KINDS.task.get())
    }

    /// The object as a task of ours.
    #[inline]
    pub(crate) fn from_object(object: &Object) -> Option<&Self> {
        // SAFETY: an instance of the type.
        Self::is(object).then(|| unsafe { cast(object.as_ptr()) })
    }

    /// A task of one of our loops, held by it until it is done.
    pub(crate) fn make(event_loop: &Object, state: &LoopState, start: &Start<'_>) -> Outcome {
        check_coroutine(start.coro)?;
        let made = family::make::<Self>(event_loop, state)?;
        // SAFETY: just made.
        let task: &Self = unsafe { cast(made.as_ptr()) };
        task.begin(start, true, start.eager && state.running.get())?;
        Ok(made)
    }

    /// A task that starts now, as a part of the running step of `awaiter`: in the same context, which is entered.
    pub(crate) fn make_inside(
        event_loop: &Object,
        state: &LoopState,
        coro: &Object,
        awaiter: &Self,
    ) -> Outcome {
        check_coroutine(coro)?;
        let made = family::make::<Self>(event_loop, state)?;
        // SAFETY: just made.
        let task: &Self = unsafe { cast(made.as_ptr()) };
        task.prepare(&Start { coro, name: None, context: awaiter.context.get()?.as_deref(), eager: true })?;
        step::start_eagerly(task, true, step::Inside::Context)?;
        Ok(made)
    }

    /// `Task.__init__`.
    fn initialize(&self, event_loop: Option<&Object>, start: &Start<'_>) -> Outcome<()> {
        self.as_future().refuse_second_init()?;
        // Until it is complete, its end is nothing to report.
        self.log_destroy_pending.set(false);
        self.as_future().initialize(event_loop)?;
        check_coroutine(start.coro)?;
        list::unlist(self);
        self.let_go();
        self.cancels.set(0);
        self.must_cancel.set(false);
        self.steps.set(0);
        let event_loop = self.as_future().loop_or_raise()?;
        let eager = start.eager
            && match state_of(&event_loop) {
                Some(state) => state.running.get(),
                None => call::truth(&*call::call_method(&names().is_running, &[&event_loop], None)?)?,
            };
        self.begin(start, false, eager)
    }

    fn begin(&self, start: &Start<'_>, held: bool, eager: bool) -> Outcome<()> {
        self.prepare(start)?;
        if eager {
            return step::start_eagerly(self, held, step::Inside::Nothing);
        }
        step::schedule(self)?;
        list::list(self, held)
    }

    /// Gives it what it starts with.
    fn prepare(&self, start: &Start<'_>) -> Outcome<()> {
        self.context.set(match start.context {
            Some(context) if !context.is_none() => {
                // Without one it never becomes a task whose end somebody misses.
                check_context(context).inspect_err(|_| self.log_destroy_pending.set(false))?;
                Captured::given(context.own())
            }
            _ => Captured::current()?,
        });
        // From here on somebody counts on it to end.
        self.log_destroy_pending.set(true);
        self.coro.set(start.coro.own());
        match start.name {
            Some(name) if !name.is_none() => self.name.set(call::to_text(name)?),
            _ => {
                let number = NUMBERS.get() + 1;
                NUMBERS.set(number);
                self.number.set(number);
            }
        }
        interop::describe(&self.0, start.coro, self.name.get().as_deref(), self.number.get())
    }

    /// `Task.cancel`.
    ///
    /// A task passes the request on to what it awaits. Tasks that await each other may be in a row longer than the stack, so
    /// it goes down the row by a loop. asyncio comes to no end in a ring of them, and gives up by a RecursionError: so it is here.
    pub(crate) fn cancel(&self, message: Option<Owned>) -> Outcome<bool> {
        if !self.count_cancel() {
            return Ok(false);
        }
        let mut ring = Ring::new(self.object());
        let mut last = self.own();
        loop {
            // SAFETY: each is an instance of the type.
            let task: &Self = unsafe { cast(last.as_ptr()) };
            if let Some(awaited) = task.fut_waiter.get() {
                if awaited.kind() == KINDS.task.get() {
                    // SAFETY: as above.
                    if unsafe { cast::<Self>(awaited.as_ptr()) }.count_cancel() {
                        if ring.is_closed_by(&awaited) {
                            return Err(raised::recursion_error());
                        }
                        last = awaited;
                        continue;
                    }
                } else if cancel(&awaited, message.as_deref())? {
                    // It stays in `fut_waiter`: a task may swallow the cancellation, and is then to be cancelled again.
                    return Ok(true);
                }
            }
            task.must_cancel.set(true);
            task.as_future().cancel_message.put(message);
            return Ok(true);
        }
    }

    /// Counts a request to cancel; `false` if the task is done.
    fn count_cancel(&self) -> bool {
        let future = self.as_future();
        future.log_traceback.set(false);
        if !future.is_done() {
            self.cancels.set(self.cancels.get().saturating_add(1));
        }
        !future.is_done()
    }
}

/// Notices that a walk from object to object has come back to where it was (Brent's way: no memory, no marks in the objects).
struct Ring {
    seen: *mut c::PyObject,
    steps: usize,
    limit: usize,
}

impl Ring {
    fn new(start: &Object) -> Self {
        Self { seen: start.as_ptr(), steps: 0, limit: 1 }
    }

    /// Whether `next` was seen before; any ring is found out before it was gone through four times.
    fn is_closed_by(&mut self, next: &Object) -> bool {
        if self.seen == next.as_ptr() {
            return true;
        }
        self.steps += 1;
        if self.steps == self.limit {
            *self = Self { seen: next.as_ptr(), steps: 0, limit: self.limit * 2 };
        }
        false
    }
}

impl Task {
    /// `Task.uncancel`: returns how many requests are left.
    pub(crate) fn uncancel(&self) -> u32 {
        if let Some(left) = self.cancels.get().checked_sub(1) {
            self.cancels.set(left);
            if left == 0 {
                self.must_cancel.set(false);
            }
        }
        self.cancels.get()
    }

    /// The current task of a loop, if it is exactly of our type.
    #[inline]
    pub(crate) fn current(event_loop: &Object) -> Option<Owned> {
        crate::interp::current::get(event_loop).filter(|task| task.kind() == KINDS.task.get())
    }
}

/// `awaited.cancel(msg=message)`, without a call where the type is one of ours.
pub(crate) fn cancel(awaited: &Object, message: Option<&Object>) -> Outcome<bool> {
    let kind = awaited.kind();
    if kind == KINDS.task.get() {
        // SAFETY: an instance of the type.
        return unsafe { cast::<Task>(awaited.as_ptr()) }.cancel(message.map(Object::own));
    }
    if kind == KINDS.future.get() {
        // SAFETY: as above.
        return unsafe { cast::<Future>(awaited.as_ptr()) }.finish_cancelled(message.map(Object::own));
    }
    let names = names();
    let message = message.unwrap_or_else(|| ffi::none());
    let accepted = call::call_method(&names.cancel, &[awaited, message], Some(&names.msg_names))?;
    call::truth(&accepted)
}

/// Runs `body` in a copy of a task's context, as asyncio's callbacks do that the task has left behind.
pub(crate) fn in_copy_of_context<T>(task: &Object, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let context = match Task::from_object(task) {
        Some(task) => task.context.get()?,
        None => None,
    };
    let Some(context) = context.filter(|context| context::is_context(context)) else { return body() };
    let copy = Captured::given(context::copy_of(&context)?);
    let entered = copy.enter()?;
    let result = body();
    let pending = if result.is_err() { raised::pending() } else { None };
    entered.exit(&copy)?;
    if let Some(exception) = pending {
        return Err(raised::put_back(exception));
    }
    result
}

/// The callback, and its context, by which a loop of others wakes a task.
fn wakeup(task: &Object) -> Outcome<(Owned, Owned)> {
    // SAFETY: only tasks are waiters of this kind.
    let task: &Task = unsafe { cast(task.as_ptr()) };
    Ok((step::wakeup_callback(task)?, task.context.get_or_none()?))
}

fn check_coroutine(coro: &Object) -> Outcome<()> {
    if awaitable::is_coroutine(coro) || call::truth(&*call::call(&names().is_coroutine, &[coro])?)? {
        return Ok(());
    }
    Err(raised::raise(raised::type_error(), &format!("a coroutine was expected, got {}", show(coro))))
}

/// From Python 3.15 on, anything else is refused here, and not when the first step is run.
fn check_context(context: &Object) -> Outcome<()> {
    if !cfg!(Py_3_15) || context::is_context(context) {
        return Ok(());
    }
    let message = format!("a contextvars.Context was expected, got {}", ffi::text::type_name(context));
    Err(raised::raise(raised::type_error(), &message))
}

/// What the room puts into the module.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    let task = class::make_kind()?;
    future::lead_to_ours(KINDS.future_class(), &task)?;
    exports.add("Task", task)?;
    for export in [
        gather::export,
        sleep::export,
        shield::export,
        wait::export,
        wait_for::export,
        completions::export,
        start::export,
        timeout::export,
        group::export,
    ] {
        export(exports)?;
    }
    Ok(())
}

//! `aioxide.Future`: asyncio's future, whose waiters are tasks, parents and callbacks (`waiter`).
//!
//! The type derives from CPython's own `_asyncio.Future` and overrides everything, so that `isinstance` and the
//! interpreter's tools keep working; the base's fields stay zero, and its methods lead here (`ffi/unbound.rs`). What is ours lies behind them, at an offset read from
//! the base type at start-up, the same for futures and tasks: [`FutureData`] is the beginning of a task's data.
//!
//! States: PENDING, then once either FINISHED (`result` or `exception` is set) or CANCELLED. Only `finish` changes them.
//! Waiters exist only while PENDING; in leaving it all of them are queued, in the order in which they came.
//!
//! ```text
//!   set_result, cancel, the end of a task ──> finish ──> each Waiter (waiter) ──Task──────> Entry::Wake
//!                                                                             ├─Parent────> asked (parent), then perhaps Entry::Child
//!                                                                             └─Callback──> Entry::FutureCallback
//!   class, methods, show   the type as Python sees it        family   what futures and tasks have in common as types
//!   protocol, iter         what asyncio and `await` expect   report   what the exception handler is told of one that goes away
//! ```

mod class;
pub(crate) mod family;
mod iter;
mod methods;
pub(crate) mod parent;
mod protocol;
mod report;
pub(crate) mod show;
mod waiter;

use std::cell::Cell;
use std::os::raw::c_int;

use pyo3::ffi as c;

use class::make_kind;
pub(crate) use class::{await_slots, lead_to_ours};
pub(crate) use methods::{cancel_message, common_attributes, common_methods};
pub(crate) use protocol::{create, is_done, mark_blocking};
pub(crate) use report::{report, report_never_retrieved};
pub(crate) use waiter::Waiter;

use crate::ffi::exports::Exports;
use crate::ffi::text::show;
use crate::ffi::{self, Class, Confined, Object, Outcome, Owned, Raised, Slot, Visit, call, cast, raised};
use crate::interp::names;
use crate::kernel::{LoopState, state_of};

/// What the room puts into the module; `read_task_base` is the task room's part in where our data lies.
pub(crate) fn export(exports: &Exports<'_, '_>, read_task_base: fn(&Object) -> usize) -> Outcome<()> {
    exports.add("Future", make_kind(read_task_base)?)?;
    iter::make_kind()
}

/// How a future stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Cancelled,
    Finished,
}

/// What a future and a task have.
pub(crate) struct FutureData {
    pub(crate) event_loop: Slot,
    /// The loop's Rust half, alive because `event_loop` is; null for a loop that is not ours.
    loop_state: Cell<*const LoopState>,
    first: Cell<Option<Waiter>>,
    more: Cell<Vec<Waiter>>,
    pub(crate) result: Slot,
    pub(crate) exception: Slot,
    /// The exception's traceback when it was set: raising it makes it longer, and each reader shall find it as it was.
    exception_traceback: Slot,
    /// The CancelledError that ended a task: the first reader raises this very one.
    pub(crate) cancelled_error: Slot,
    pub(crate) cancel_message: Slot,
    pub(crate) source_traceback: Slot,
    pub(crate) state: Cell<State>,
    pub(crate) blocking: Cell<bool>,
    pub(crate) log_traceback: Cell<bool>,
}

impl FutureData {
    pub(crate) const fn new() -> Self {
        Self {
            event_loop: Slot::new(),
            loop_state: Cell::new(std::ptr::null()),
            first: Cell::new(None),
            more: Cell::new(Vec::new()),
            result: Slot::new(),
            exception: Slot::new(),
            exception_traceback: Slot::new(),
            cancelled_error: Slot::new(),
            cancel_message: Slot::new(),
            source_traceback: Slot::new(),
            state: Cell::new(State::Pending),
            blocking: Cell::new(false),
            log_traceback: Cell::new(false),
        }
    }

    pub(crate) fn traverse(&self, visit: Visit) -> c_int {
        // SAFETY: the collector only looks; nothing else runs while these cells are read in place.
        let waiters = unsafe { (*self.first.as_ptr()).iter().chain((*self.more.as_ptr()).iter()) };
        for waiter in waiters {
            let status = waiter.visit(visit);
            if status != 0 {
                return status;
            }
        }
        for slot in self.slots() {
            let status = slot.visit(visit);
            if status != 0 {
                return status;
            }
        }
        0
    }

    pub(crate) fn clear(&self) {
        drop(self.first.take());
        drop(self.more.take());
        self.loop_state.set(std::ptr::null());
        for slot in self.slots() {
            slot.clear();
        }
    }

    fn slots(&self) -> [&Slot; 7] {
        [
            &self.event_loop,
            &self.result,
            &self.exception,
            &self.exception_traceback,
            &self.cancelled_error,
            &self.cancel_message,
            &self.source_traceback,
        ]
    }
}

/// An instance of `aioxide.Future`, of `aioxide.Task`, or of a type derived from them.
#[repr(transparent)]
pub(crate) struct Future(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Future {}

/// Makes a callback and its context.
type Wakeup = fn(&Object) -> Outcome<(Owned, Owned)>;

/// The types and where in their instances our data begins.
pub(crate) struct Kinds {
    pub(crate) offset: Cell<usize>,
    pub(crate) future: Cell<*mut c::PyTypeObject>,
    pub(crate) task: Cell<*mut c::PyTypeObject>,
    pub(crate) gathering: Cell<*mut c::PyTypeObject>,
    /// Makes the callback, and its context, by which a loop of others wakes a task.
    pub(crate) wakeup: Cell<Option<Wakeup>>,
}

impl Kinds {
    /// The class `aioxide.Future`, once it is made.
    pub(crate) fn future_class(&self) -> &'static Object {
        // SAFETY: made by `export`, and kept for ever.
        unsafe { Object::from_ptr(self.future.get().cast()) }
    }

    fn wakeup(&self, task: &Object) -> Outcome<(Owned, Owned)> {
        match self.wakeup.get() {
            Some(wakeup) => wakeup(task),
            None => Err(raised::raise(raised::runtime_error(), "the class of tasks is not made yet")),
        }
    }
}

pub(crate) static KINDS: Confined<Kinds> = Confined::new(Kinds {
    offset: Cell::new(0),
    future: Cell::new(std::ptr::null_mut()),
    task: Cell::new(std::ptr::null_mut()),
    gathering: Cell::new(std::ptr::null_mut()),
    wakeup: Cell::new(None),
});

impl std::ops::Deref for Future {
    type Target = FutureData;

    #[inline]
    fn deref(&self) -> &FutureData {
        // SAFETY: written by `family`, before anybody could see the instance.
        unsafe { &*self.0.as_ptr().byte_add(KINDS.offset.get()).cast::<FutureData>() }
    }
}

impl Future {
    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.0
    }

    #[inline]
    pub(crate) fn own(&self) -> Owned {
        self.0.own()
    }

    /// The object as a future, if its type is one of ours, not derived from one in Python: such a one may override anything.
    #[inline]
    pub(crate) fn exact(object: &Object) -> Option<&Self> {
        let kind = object.kind();
        let ours = kind == KINDS.future.get() || kind == KINDS.task.get() || kind == KINDS.gathering.get();
        // SAFETY: an instance of one of the types.
        ours.then(|| unsafe { cast(object.as_ptr()) })
    }

    /// A pending future of one of our loops.
    pub(crate) fn make(event_loop: &Object, state: &LoopState) -> Outcome {
        family::make::<Self>(event_loop, state)
    }

    /// From Python 3.15 on, `__init__` may be called once.
    pub(crate) fn refuse_second_init(&self) -> Outcome<()> {
        if cfg!(Py_3_15) && !self.event_loop.is_empty() {
            let message = format!("{} object is already initialized", ffi::text::type_name(self.object()));
            return Err(raised::raise(raised::runtime_error(), &message));
        }
        Ok(())
    }

    /// What `__init__` does for futures and tasks alike; calling it again starts anew, up to Python 3.14.
    pub(crate) fn initialize(&self, event_loop: Option<&Object>) -> Outcome<()> {
        self.refuse_second_init()?;
        FutureData::clear(self);
        self.state.set(State::Pending);
        self.blocking.set(false);
        self.log_traceback.set(false);
        let event_loop = match event_loop {
            Some(event_loop) if !event_loop.is_none() => event_loop.own(),
            _ => call::call(&names().get_event_loop, &[])?,
        };
        let state = state_of(&event_loop);
        let debug = match state {
            Some(state) => state.debug.get(),
            None => call::truth(&*call::call_method(&names().get_debug, &[&event_loop], None)?)?,
        };
        self.loop_state.set(state.map_or(std::ptr::null(), std::ptr::from_ref));
        self.event_loop.set(event_loop);
        if debug && !ffi::is_finalizing() {
            self.remember_source()?;
        }
        Ok(())
    }

    /// Sets the loop of a task or a gather that Rust makes.
    pub(crate) fn adopt(&self, event_loop: &Object, state: Option<&LoopState>) {
        self.loop_state.set(state.map_or(std::ptr::null(), std::ptr::from_ref));
        self.event_loop.set(event_loop.own());
    }

    pub(crate) fn remember_source(&self) -> Outcome<()> {
        let helpers = &names().format_helpers_module;
        let extract = call::get_attribute(helpers, &*call::interned(c"extract_stack")?)?;
        match call::call(&names().get_frame, &[]) {
            Ok(frame) => self.source_traceback.set(call::call(&extract, &[&frame])?),
            // No Python frame: a call straight from the embedding program.
            Err(raised) => raised::clear(raised),
        }
        Ok(())
    }

    /// The loop if it takes queue entries in place of `call_soon` now.
    #[inline]
    pub(crate) fn direct(&self) -> Option<&LoopState> {
        let state = self.loop_state.get();
        if state.is_null() {
            return None;
        }
        // SAFETY: the state lives in the loop, which `event_loop` keeps alive.
        let state = unsafe { &*state };
        state.takes_entries().then_some(state)
    }

    /// The Rust half of the loop, if it is one of ours.
    #[inline]
    pub(crate) fn loop_state(&self) -> Option<&LoopState> {
        // SAFETY: null, or the state that lives in the loop, which `event_loop` keeps alive.
        unsafe { self.loop_state.get().as_ref() }
    }

    /// The loop, or RuntimeError when `__init__` was never called.
    pub(crate) fn loop_or_raise(&self) -> Outcome {
        self.event_loop
            .get()
            .ok_or_else(|| raised::raise(raised::runtime_error(), "Future object is not initialized."))
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.state.get() != State::Pending
    }

    /// Tells `waiter` when the future is done; at once if it is.
    pub(crate) fn add_waiter(&self, waiter: Waiter) -> Outcome<()> {
        if self.is_done() {
            return self.schedule(waiter);
        }
        let first = self.first.take();
        if first.is_none() {
            let more = self.more.take();
            if more.is_empty() {
                self.more.set(more);
                self.first.set(Some(waiter));
                return Ok(());
            }
            self.more.set(more);
        }
        self.first.set(first);
        let mut more = self.more.take();
        more.push(waiter);
        self.more.set(more);
        Ok(())
    }

    /// Whether it ended with a result.
    #[inline]
    pub(crate) fn has_result(&self) -> bool {
        self.state.get() == State::Finished && self.exception.is_empty()
    }

    /// Whether it ended with an exception that is no cancellation.
    #[inline]
    pub(crate) fn has_exception(&self) -> bool {
        self.state.get() == State::Finished && !self.exception.is_empty()
    }

    /// Takes out a parent; it may be gone already.
    pub(crate) fn remove_parent(&self, parent: &Object) {
        let is_it = |waiter: &Waiter| waiter.is_parent(parent);
        let first = self.first.take();
        if first.as_ref().is_some_and(is_it) {
            return;
        }
        self.first.set(first);
        let mut more = self.more.take();
        let removed = more.iter().position(is_it).map(|place| more.remove(place));
        self.more.set(more);
        drop(removed);
    }

    fn take_waiters(&self) -> Vec<Waiter> {
        let mut all = self.more.take();
        if let Some(first) = self.first.take() {
            all.insert(0, first);
        }
        all
    }

    fn put_waiters(&self, waiters: impl Iterator<Item = Waiter>) {
        let mut waiters = waiters;
        self.first.set(waiters.next());
        self.more.set(waiters.collect());
    }

    fn schedule_waiters(&self) -> Outcome<()> {
        let first = self.first.take();
        let more = self.more.take();
        if let Some(first) = first {
            self.schedule(first)?;
        }
        for waiter in more {
            self.schedule(waiter)?;
        }
        Ok(())
    }

    #[inline]
    fn schedule(&self, waiter: Waiter) -> Outcome<()> {
        let Some(state) = self.direct() else { return self.schedule_by_protocol(&waiter) };
        if let Some(entry) = waiter.into_entry(self) {
            state.core.call_soon(entry);
        }
        Ok(())
    }

    /// For loops of others, and for ours in debug mode or with a `call_soon` of its own.
    #[cold]
    fn schedule_by_protocol(&self, waiter: &Waiter) -> Outcome<()> {
        let event_loop = self.loop_or_raise()?;
        let (callback, context) = waiter.as_callback()?;
        call_soon(&event_loop, &callback, Some(self.object()), &context)
    }

    /// Leaves the pending state with a result.
    ///
    /// # Errors
    /// InvalidStateError when it has left it already: whatever ran since the caller has looked may have seen to that.
    pub(crate) fn finish_with_result(&self, result: Owned) -> Outcome<()> {
        if self.is_done() {
            return Err(self.invalid_state());
        }
        self.result.set(result);
        self.state.set(State::Finished);
        self.schedule_waiters()
    }

    /// Leaves the pending state with an exception instance.
    ///
    /// # Errors
    /// As `finish_with_result`.
    pub(crate) fn finish_with_exception(&self, exception: Owned) -> Outcome<()> {
        if self.is_done() {
            return Err(self.invalid_state());
        }
        self.exception_traceback.put(raised::traceback(&exception));
        self.exception.set(exception);
        self.state.set(State::Finished);
        self.log_traceback.set(true);
        self.schedule_waiters()
    }

    /// What `Future.cancel` does, tasks included when their coroutine has ended; `false` if done already.
    pub(crate) fn finish_cancelled(&self, message: Option<Owned>) -> Outcome<bool> {
        self.log_traceback.set(false);
        if self.is_done() {
            return Ok(false);
        }
        self.state.set(State::Cancelled);
        self.cancel_message.put(message);
        self.schedule_waiters()?;
        Ok(true)
    }

    /// The CancelledError to raise: the one that ended the task for the first who asks, else a new one.
    ///
    /// On 3.10, as there, the first who asks gets a new one too, whose context is the one that ended the task.
    pub(crate) fn make_cancelled_error(&self) -> Outcome {
        if let Some(exception) = self.cancelled_error.take() {
            return if cfg!(Py_3_11) {
                Ok(exception)
            } else {
                raised::again(&names().cancelled_error, exception)
            };
        }
        match self.cancel_message.get() {
            Some(message) if !message.is_none() => call::call(&names().cancelled_error, &[&message]),
            _ => call::call(&names().cancelled_error, &[]),
        }
    }

    /// What awaiting a future that is done returns: `Err` holds the exception, not raised.
    pub(crate) fn outcome(&self) -> Outcome<Result<Owned, Owned>> {
        match self.state.get() {
            State::Finished => {
                self.log_traceback.set(false);
                let Some(exception) = self.exception.get() else { return Ok(Ok(self.result.get_or_none())) };
                let traceback = self.exception_traceback.take();
                raised::set_traceback(&exception, traceback.as_deref())?;
                Ok(Err(exception))
            }
            State::Cancelled => self.make_cancelled_error().map(Err),
            State::Pending => Err(raised::raise(&names().invalid_state_error, "Result is not set.")),
        }
    }

    /// `result()`.
    pub(crate) fn result_or_raise(&self) -> Outcome {
        match self.outcome()? {
            Ok(result) => Ok(result),
            Err(exception) => Err(self.raise(exception)),
        }
    }

    /// Raises the exception that the future ended with.
    pub(crate) fn raise(&self, exception: Owned) -> Raised {
        if cfg!(not(Py_3_11)) && self.state.get() == State::Cancelled && raised::has_context(&exception) {
            // It has the one that ended the task, and keeps it.
            return raised::put_back(exception);
        }
        raised::raise_object(exception)
    }

    fn refuse_when_done(&self) -> Outcome<()> {
        self.loop_or_raise()?;
        if self.is_done() { Err(self.invalid_state()) } else { Ok(()) }
    }

    #[cold]
    fn invalid_state(&self) -> Raised {
        let message = format!("{}: {}", state_name(self.state.get()), show(self.object()));
        raised::raise(&names().invalid_state_error, message.as_str())
    }
}

/// `event_loop.call_soon(callback, argument, context=context)`.
pub(crate) fn call_soon(
    event_loop: &Object,
    callback: &Object,
    argument: Option<&Object>,
    context: &Object,
) -> Outcome<()> {
    let names = names();
    match argument {
        Some(argument) => call::call_method(
            &names.call_soon,
            &[event_loop, callback, argument, context],
            Some(&names.context_names),
        ),
        None => {
            call::call_method(&names.call_soon, &[event_loop, callback, context], Some(&names.context_names))
        }
    }
    .map(drop)
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Pending => "PENDING",
        State::Cancelled => "CANCELLED",
        State::Finished => "FINISHED",
    }
}

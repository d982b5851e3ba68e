//! `aioxide.Future`: asyncio's future, with a first waiter that may be a task instead of a callback.
//!
//! The type derives from CPython's own `_asyncio.Future` and overrides everything, so that `isinstance` and the
//! interpreter's tools keep working; the base's fields stay zero. What is ours lies behind them, at an offset read from
//! the base type at start-up, the same for futures and tasks: [`FutureData`] is the beginning of a task's data.
//!
//! States: PENDING, then once either FINISHED (`result` or `exception` is set) or CANCELLED. Only `finish` changes them.
//! Waiters exist only while PENDING; in leaving it all of them are queued, in the order in which they came. A waiter
//! without a context is one of ours (a task, a gather): it is queued as it is. With one it is a Python callback.
//!
//! Over 600 lines: the states' data, which tasks share, and the class's slots over it still stand together. The slots are
//! what is to move to a file of its own.

use std::cell::Cell;
use std::os::raw::{c_int, c_void};

use pyo3::ffi as c;

use crate::entry::Entry;
use crate::event_loop::{self, LoopState};
use crate::ffi::instance::{self, Base, FreeList};
use crate::ffi::kind::{
    Arguments, KindBuilder, attribute, guard, method_fast, method_none, method_one, show,
};
use crate::ffi::{
    self, Class, Confined, Object, Outcome, Owned, Raised, Slot, Visit, call, cast, context, names, raised,
};
use crate::future_iter;
use crate::task::{self, Task};

/// How a future stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Cancelled,
    Finished,
}

/// Who is told that a future is done.
pub(crate) struct Waiter {
    /// A task or a gather if `context` is nothing, else a callback.
    pub(crate) what: Owned,
    pub(crate) context: Option<Owned>,
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
            let status = visit.object(&waiter.what);
            if status != 0 {
                return status;
            }
            if let Some(context) = &waiter.context {
                let status = visit.object(context);
                if status != 0 {
                    return status;
                }
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

/// The types and where in their instances our data begins.
pub(crate) struct Kinds {
    pub(crate) offset: Cell<usize>,
    pub(crate) future: Cell<*mut c::PyTypeObject>,
    pub(crate) task: Cell<*mut c::PyTypeObject>,
    pub(crate) gathering: Cell<*mut c::PyTypeObject>,
}

pub(crate) static KINDS: Confined<Kinds> = Confined::new(Kinds {
    offset: Cell::new(0),
    future: Cell::new(std::ptr::null_mut()),
    task: Cell::new(std::ptr::null_mut()),
    gathering: Cell::new(std::ptr::null_mut()),
});

static BASE: Confined<Base> = Confined::new(Base::new());
static FREE: FreeList = FreeList::new();

impl std::ops::Deref for Future {
    type Target = FutureData;

    #[inline]
    fn deref(&self) -> &FutureData {
        // SAFETY: written by `make`, before anybody could see the instance.
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
        let kind = KINDS.future.get();
        // SAFETY: the type that the list is for.
        let made = unsafe { FREE.make(kind, true, fill)? };
        // SAFETY: just made.
        let future: &Self = unsafe { cast(made.as_ptr()) };
        future.event_loop.set(event_loop.own());
        future.loop_state.set(state);
        if state.debug.get() {
            future.remember_source()?;
        }
        Ok(made)
    }

    /// What `__init__` does for futures and tasks alike; calling it again starts anew.
    pub(crate) fn initialize(&self, event_loop: Option<&Object>) -> Outcome<()> {
        FutureData::clear(self);
        self.state.set(State::Pending);
        self.blocking.set(false);
        self.log_traceback.set(false);
        let event_loop = match event_loop {
            Some(event_loop) if !event_loop.is_none() => event_loop.own(),
            _ => call::call(&names().get_event_loop, &[])?,
        };
        let state = event_loop::state_of(&event_loop);
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
        let helpers = call::import(c"asyncio.format_helpers")?;
        let extract = call::get_attribute(&helpers, &*call::interned(c"extract_stack")?)?;
        let sys = call::import(c"sys")?;
        let frame = call::call_method(&*call::interned(c"_getframe")?, &[&sys], None);
        match frame {
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
        state.core.call_soon(match waiter.context {
            Some(context) => Entry::FutureCallback { callback: waiter.what, future: self.own(), context },
            None if Task::is(&waiter.what) => Entry::Wake(waiter.what),
            None => Entry::Child { parent: waiter.what, child: self.own() },
        });
        Ok(())
    }

    /// For loops of others, and for ours in debug mode or with a `call_soon` of its own.
    #[cold]
    fn schedule_by_protocol(&self, waiter: &Waiter) -> Outcome<()> {
        let event_loop = self.loop_or_raise()?;
        match &waiter.context {
            Some(context) => call_soon(&event_loop, &waiter.what, Some(self.object()), context),
            None => {
                let (callback, context) = task::as_callback(&waiter.what)?;
                call_soon(&event_loop, &callback, Some(self.object()), &context)
            }
        }
    }

    /// Leaves the pending state with a result.
    pub(crate) fn finish_with_result(&self, result: Owned) -> Outcome<()> {
        self.result.set(result);
        self.state.set(State::Finished);
        self.schedule_waiters()
    }

    /// Leaves the pending state with an exception instance.
    pub(crate) fn finish_with_exception(&self, exception: Owned) -> Outcome<()> {
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

    /// What awaiting a future that is done gives: `Err` holds the exception, not raised.
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
            Err(exception) => Err(raised::put_back(exception)),
        }
    }

    fn refuse_when_done(&self) -> Outcome<()> {
        self.loop_or_raise()?;
        if self.is_done() {
            let message = format!("{}: {}", state_name(self.state.get()), show(self.object()));
            return Err(raised::raise(&names().invalid_state_error, message.as_str()));
        }
        Ok(())
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

// The methods that Python sees, shared with tasks.

fn result(this: &Future) -> Outcome {
    this.result_or_raise()
}

fn exception(this: &Future) -> Outcome {
    match this.state.get() {
        State::Pending => Err(raised::raise(&names().invalid_state_error, "Exception is not set.")),
        State::Cancelled => Err(raised::put_back(this.make_cancelled_error()?)),
        State::Finished => {
            this.log_traceback.set(false);
            Ok(this.exception.get_or_none())
        }
    }
}

fn set_result(this: &Future, result: &Object) -> Outcome {
    this.refuse_when_done()?;
    this.finish_with_result(result.own())?;
    Ok(Owned::none())
}

fn set_exception(this: &Future, exception: &Object) -> Outcome {
    this.refuse_when_done()?;
    let Some(exception) = raised::instance(exception)? else {
        return Err(raised::raise(raised::type_error(), "invalid exception object"));
    };
    let exception = if raised::is_kind(&exception, raised::stop_iteration()) {
        const TEXT: &str = "StopIteration interacts badly with generators and cannot be raised into a Future";
        if !names().wraps_stop_iteration {
            return Err(raised::raise(raised::type_error(), TEXT));
        }
        let wrapped = raised::take(raised::raise(raised::runtime_error(), TEXT));
        raised::set_cause(&wrapped, &exception);
        wrapped
    } else {
        exception
    };
    this.finish_with_exception(exception)?;
    Ok(Owned::none())
}

fn add_done_callback(this: &Future, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    this.loop_or_raise()?;
    let [callback, given] = arguments.parse("add_done_callback", &[&names.value, &names.context], 1)?;
    let Some(callback) = callback else {
        return Err(raised::raise(
            raised::type_error(),
            "add_done_callback() takes exactly 1 positional argument (0 given)",
        ));
    };
    let context = match given {
        Some(given) if !given.is_none() => given.own(),
        _ => context::copy()?,
    };
    this.add_waiter(Waiter { what: callback.own(), context: Some(context) })?;
    Ok(Owned::none())
}

fn remove_done_callback(this: &Future, callback: &Object) -> Outcome {
    this.loop_or_raise()?;
    let mut removed = 0;
    let mut kept = Vec::new();
    let mut failure = None;
    // Comparing runs user code, which may add and remove others: it sees an empty list, and what it adds comes last.
    for waiter in this.take_waiters() {
        let same = failure.is_none()
            && match call::equal(&waiter.what, callback) {
                Ok(same) => same,
                Err(raised) => {
                    failure = Some(raised);
                    false
                }
            };
        if same && waiter.context.is_some() {
            removed += 1;
        } else {
            kept.push(waiter);
        }
    }
    let added = this.take_waiters();
    if this.is_done() {
        // It became done meanwhile: those that were out of the list are due too.
        for waiter in kept {
            this.schedule(waiter)?;
        }
    } else {
        this.put_waiters(kept.into_iter().chain(added));
    }
    match failure {
        Some(raised) => Err(raised),
        None => call::integer(removed),
    }
}

/// The argument `msg` of `cancel(msg=None)`.
pub(crate) fn cancel_message(arguments: &Arguments<'_>) -> Outcome<Option<Owned>> {
    let [message] = arguments.parse("cancel", &[&names().msg], 1)?;
    Ok(message.filter(|message| !message.is_none()).map(Object::own))
}

fn cancel(this: &Future, arguments: &Arguments<'_>) -> Outcome {
    this.loop_or_raise()?;
    let message = cancel_message(arguments)?;
    this.finish_cancelled(message).map(Owned::boolean)
}

fn cancelled(this: &Future) -> Outcome {
    Ok(Owned::boolean(this.state.get() == State::Cancelled))
}

fn done(this: &Future) -> Outcome {
    Ok(Owned::boolean(this.is_done()))
}

fn get_loop(this: &Future) -> Outcome {
    this.loop_or_raise()
}

fn make_cancelled_error(this: &Future) -> Outcome {
    this.make_cancelled_error()
}

/// The methods of the future that tasks have as they are.
pub(crate) fn common_methods() -> Vec<c::PyMethodDef> {
    vec![
        method_none!(c"result", result, c"Return the result this future represents."),
        method_none!(c"exception", exception, c"Return the exception that was set on this future."),
        method_fast!(
            c"add_done_callback",
            add_done_callback,
            c"Add a callback to be run when the future becomes done."
        ),
        method_one!(
            c"remove_done_callback",
            remove_done_callback,
            c"Remove all instances of a callback; return how many."
        ),
        method_none!(c"cancelled", cancelled, c"Return True if the future was cancelled."),
        method_none!(c"done", done, c"Return True if the future is done."),
        method_none!(c"get_loop", get_loop, c"Return the event loop the future is bound to."),
        method_none!(
            c"_make_cancelled_error",
            make_cancelled_error,
            c"Create the CancelledError to raise if cancelled."
        ),
        method_none!(c"_repr_info", task::repr_info, c"Return the parts of the repr."),
    ]
}

// Attributes.

fn get_state(this: &Future) -> Outcome {
    call::interned(match this.state.get() {
        State::Pending => c"PENDING",
        State::Cancelled => c"CANCELLED",
        State::Finished => c"FINISHED",
    })
}

fn get_blocking(this: &Future) -> Outcome {
    Ok(Owned::boolean(this.blocking.get()))
}

fn cannot_delete() -> Raised {
    raised::raise(raised::attribute_error(), "cannot delete attribute")
}

fn set_blocking(this: &Future, value: Option<&Object>) -> Outcome<()> {
    let Some(value) = value else { return Err(cannot_delete()) };
    this.loop_or_raise()?;
    this.blocking.set(call::truth(value)?);
    Ok(())
}

fn get_loop_attribute(this: &Future) -> Outcome {
    Ok(this.event_loop.get_or_none())
}

fn get_callbacks(this: &Future) -> Outcome {
    this.loop_or_raise()?;
    let all = this.take_waiters();
    let shown: Outcome<Vec<Owned>> = all
        .iter()
        .map(|waiter| match &waiter.context {
            Some(context) => call::tuple(&[&waiter.what, context]),
            None => {
                let (callback, context) = task::as_callback(&waiter.what)?;
                call::tuple(&[&callback, &context])
            }
        })
        .collect();
    this.put_waiters(all.into_iter());
    let shown = shown?;
    if shown.is_empty() { Ok(Owned::none()) } else { call::list(shown.into_iter()) }
}

fn get_result_attribute(this: &Future) -> Outcome {
    Ok(this.result.get_or_none())
}

fn get_exception_attribute(this: &Future) -> Outcome {
    Ok(this.exception.get_or_none())
}

fn get_log_traceback(this: &Future) -> Outcome {
    Ok(Owned::boolean(this.log_traceback.get()))
}

fn set_log_traceback(this: &Future, value: Option<&Object>) -> Outcome<()> {
    let Some(value) = value else { return Err(cannot_delete()) };
    if call::truth(value)? {
        return Err(raised::raise(raised::value_error(), "_log_traceback can only be set to False"));
    }
    this.log_traceback.set(false);
    Ok(())
}

fn get_source_traceback(this: &Future) -> Outcome {
    Ok(this.source_traceback.get_or_none())
}

fn get_cancel_message(this: &Future) -> Outcome {
    Ok(this.cancel_message.get_or_none())
}

fn set_cancel_message(this: &Future, value: Option<&Object>) -> Outcome<()> {
    let Some(value) = value else { return Err(cannot_delete()) };
    this.cancel_message.set(value.own());
    Ok(())
}

/// The attributes of the future that tasks have as they are.
pub(crate) fn common_attributes() -> Vec<c::PyGetSetDef> {
    vec![
        attribute!(c"_state", get_state),
        attribute!(c"_asyncio_future_blocking", get_blocking, set_blocking),
        attribute!(c"_loop", get_loop_attribute),
        attribute!(c"_callbacks", get_callbacks),
        attribute!(c"_result", get_result_attribute),
        attribute!(c"_exception", get_exception_attribute),
        attribute!(c"_log_traceback", get_log_traceback, set_log_traceback),
        attribute!(c"_source_traceback", get_source_traceback),
        attribute!(c"_cancel_message", get_cancel_message, set_cancel_message),
    ]
}

/// Reports an exception that nobody asked for.
pub(crate) fn report_never_retrieved(this: &Future) -> Outcome<()> {
    if !this.log_traceback.get() {
        return Ok(());
    }
    let Some(exception) = this.exception.get() else { return Ok(()) };
    this.log_traceback.set(false);
    let message = format!("{} exception was never retrieved", ffi::kind::type_name(this.object()));
    report(this, &message, Some(&exception), &names().future)
}

/// Calls the loop's exception handler about this future.
pub(crate) fn report(this: &Future, message: &str, exception: Option<&Object>, key: &Object) -> Outcome<()> {
    let Some(event_loop) = this.event_loop.get() else { return Ok(()) };
    let names = names();
    let details = call::dict()?;
    call::set_item(&details, &names.message, &*call::text(message)?)?;
    if let Some(exception) = exception {
        call::set_item(&details, &names.exception, exception)?;
    }
    call::set_item(&details, key, this.object())?;
    if let Some(source) = this.source_traceback.get() {
        call::set_item(&details, &names.source_traceback, &source)?;
    }
    call::call_method(&names.call_exception_handler, &[&event_loop, &details], None).map(drop)
}

/// Runs a report from a finalizer: whatever is raised already stays, and what the handler raises is written out.
pub(crate) fn report_from_finalizer(this: &Object, report: impl FnOnce() -> Outcome<()>) {
    let pending = raised::pending();
    if let Err(raised) = report() {
        raised::unraisable(raised, this);
    }
    if let Some(pending) = pending {
        let Raised = raised::put_back(pending);
    }
}

fn fill(instance: *mut c::PyObject) {
    // SAFETY: memory of an instance of ours; nothing is there that would have to be dropped.
    unsafe { instance.byte_add(KINDS.offset.get()).cast::<FutureData>().write(FutureData::new()) };
}

unsafe extern "C" fn new(
    kind: *mut c::PyTypeObject,
    _: *mut c::PyObject,
    _: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: the interpreter passes our type or one derived from it.
    ffi::kind::guard_object(|| unsafe { FREE.make(kind, kind == KINDS.future.get(), fill) })
}

unsafe extern "C" fn init(
    this: *mut c::PyObject,
    arguments: *mut c::PyObject,
    named: *mut c::PyObject,
) -> c_int {
    guard(-1, || {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        // SAFETY: the arguments of a call, as the interpreter passes them.
        let [event_loop] =
            unsafe { ffi::kind::parse_init("Future", arguments, named, &[&names().loop_], 0) }?;
        this.initialize(event_loop).map(|()| 0)
    })
}

unsafe extern "C" fn traverse(
    this: *mut c::PyObject,
    function: c::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: an instance of ours.
    let this: &Future = unsafe { cast(this) };
    let visit = Visit { function, argument };
    let status = BASE.traverse(this.object(), visit);
    if status != 0 { status } else { FutureData::traverse(this, visit) }
}

unsafe extern "C" fn clear(this: *mut c::PyObject) -> c_int {
    guard(0, || {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        FutureData::clear(this);
        BASE.clear(this.object());
        Ok(0)
    })
}

unsafe extern "C" fn finalize(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        report_from_finalizer(this.object(), || report_never_retrieved(this));
        Ok(())
    });
}

unsafe extern "C" fn dealloc(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: the last reference to an instance of ours is gone.
        unsafe {
            let future: &Future = cast(this);
            if future.log_traceback.get() && !instance::finalize(this) {
                return Ok(());
            }
            instance::untrack(this);
            instance::clear_weak_references(this);
            FutureData::clear(cast::<Future>(this));
            BASE.clear(cast(this));
            FREE.release(this, c::Py_TYPE(this) == KINDS.future.get());
        }
        Ok(())
    });
}

unsafe extern "C" fn iterate(this: *mut c::PyObject) -> *mut c::PyObject {
    ffi::kind::guard_object(|| {
        // SAFETY: an instance of ours.
        let this: &Future = unsafe { cast(this) };
        future_iter::make(this)
    })
}

/// `__iter__` and `__await__`.
pub(crate) fn await_slots(builder: KindBuilder) -> KindBuilder {
    builder
        .slot(c::Py_tp_iter, iterate as *mut c_void)
        .slot(c::Py_am_await, iterate as *mut c_void)
        .slot(c::Py_tp_repr, repr as *mut c_void)
}

unsafe extern "C" fn repr(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: an instance of ours.
    ffi::kind::guard_object(|| task::repr(unsafe { cast(this) }))
}

/// Makes the type `aioxide.Future`.
pub(crate) fn make_kind() -> Outcome {
    let asyncio = call::import(c"_asyncio")?;
    let base = call::get_attribute(&asyncio, &*call::interned(c"Future")?)?;
    let task_base = call::get_attribute(&asyncio, &*call::interned(c"Task")?)?;
    let offset = BASE.read(&base).max(task::read_base(&task_base));
    KINDS.offset.set(offset);
    let mut methods = common_methods();
    methods.extend([
        method_one!(c"set_result", set_result, c"Mark the future done and set its result."),
        method_one!(c"set_exception", set_exception, c"Mark the future done and set an exception."),
        method_fast!(c"cancel", cancel, c"Cancel the future and schedule callbacks."),
    ]);
    let builder = KindBuilder::new()
        .slot(c::Py_tp_new, new as *mut c_void)
        .slot(c::Py_tp_init, init as *mut c_void)
        .slot(c::Py_tp_traverse, traverse as *mut c_void)
        .slot(c::Py_tp_clear, clear as *mut c_void)
        .slot(c::Py_tp_finalize, finalize as *mut c_void)
        .slot(c::Py_tp_dealloc, dealloc as *mut c_void)
        .methods(methods)
        .attributes(common_attributes());
    // SAFETY: every slot is of its type, and our data fits behind the larger of the two bases.
    let kind = unsafe {
        await_slots(builder).build(c"aioxide.Future", offset + size_of::<FutureData>(), Some(&base))?
    };
    KINDS.future.set(kind.as_ptr().cast());
    Ok(kind)
}

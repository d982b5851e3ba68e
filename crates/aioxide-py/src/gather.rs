//! `gather`: the future of many, told by its children as they end, with neither callback nor handle for each.
//!
//! The gathering future derives from `aioxide.Future`. Each child that is of our classes holds it as a waiter without a
//! context, so that the ready queue gets one entry per child; others get a Python callback. Results are read from the
//! children when the last one is done, in the order of the arguments.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::raw::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi as c;

use crate::event_loop;
use crate::ffi::arguments::Arguments;
use crate::ffi::instance::{self, Base};
use crate::ffi::kind::KindBuilder;
use crate::ffi::method::{Definition, guard, method_fast};
use crate::ffi::{
    self, Captured, Class, Confined, Object, Outcome, Owned, Slot, Visit, awaitable, call, cast, interop,
    names,
};
use crate::future::{self, Future, FutureData, KINDS, State, Waiter};
use crate::task::{self, Start, Task, parent};

struct GatherData {
    future: FutureData,
    children: Cell<Vec<Owned>>,
    unfinished: Cell<usize>,
    /// Children whose entries are in the ready queue.
    queued: Cell<usize>,
    return_exceptions: Cell<bool>,
    cancel_requested: Cell<bool>,
    /// From 3.14 on, the task that made it: the interpreter is told that it awaits the children.
    awaiter: Slot,
}

/// An instance of the gathering future.
#[repr(transparent)]
struct Gather(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Gather {}

impl std::ops::Deref for Gather {
    type Target = GatherData;

    fn deref(&self) -> &GatherData {
        // SAFETY: written by `make`.
        unsafe { &*self.0.as_ptr().byte_add(KINDS.offset.get()).cast::<GatherData>() }
    }
}

impl Gather {
    fn as_future(&self) -> &Future {
        // SAFETY: the data begins with a future's, at the same offset.
        unsafe { cast(self.0.as_ptr()) }
    }
}

static BASE: Confined<Base> = Confined::new(Base::new());

/// Addresses are hashed by mixing them: they are no user's input.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64((value >> 4) as u64);
    }
}

type Places = HashMap<usize, usize, BuildHasherDefault<AddressHasher>>;

/// `gather(*coros_or_futures, return_exceptions=False)`.
fn gather(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let running = call::call(&names.get_running_loop_or_none, &[])?;
    let state = if running.is_none() { None } else { event_loop::state_of(&running) };
    let (Some(state), 1..) = (state, arguments.positional().len()) else {
        // Nothing to wait for, or the loop of somebody else: asyncio's own does it.
        return arguments.forward_all(&names.asyncio_gather);
    };
    let return_exceptions = match arguments.only_named("gather", &names.return_exceptions)? {
        Some(value) => call::truth(value)?,
        None => false,
    };
    let makes_tasks = state.makes_tasks();
    let count = arguments.positional().len();
    let mut children: Vec<Owned> = Vec::with_capacity(count);
    let mut places = Places::with_capacity_and_hasher(count, BuildHasherDefault::default());
    let mut unique = Vec::with_capacity(count);
    for argument in arguments.positional() {
        let place = places.entry(argument.as_ptr() as usize).or_insert(usize::MAX);
        if *place != usize::MAX {
            let again = children[*place].clone();
            children.push(again);
            continue;
        }
        *place = children.len();
        unique.push(children.len());
        let child = if makes_tasks && awaitable::is_coroutine(argument) {
            Task::make(&running, state, &Start { coro: argument, name: None, context: None, eager: false })?
        } else if Future::exact(argument).is_some_and(|future| future.event_loop.holds(&running)) {
            argument.own()
        } else {
            let names_of = call::tuple(&[&names.loop_])?;
            call::call_with_names(&names.ensure_future, &[argument, &running], Some(&names_of))?
        };
        if !child.is(argument) {
            match Task::from_object(&child) {
                Some(task) => task.log_destroy_pending.set(false),
                None => call::set_attribute(&child, &names.log_destroy_pending, &Owned::boolean(false))?,
            }
        }
        children.push(child);
    }
    let made = make(return_exceptions, unique.len())?;
    // SAFETY: just made.
    let gather: &Gather = unsafe { cast(made.as_ptr()) };
    let watched: Vec<Owned> = unique.into_iter().map(|place| children[place].clone()).collect();
    gather.children.set(children);
    gather.as_future().adopt(&running, Some(state));
    if state.debug.get() {
        gather.as_future().remember_source()?;
    }
    if interop::KNOWS_AWAITERS {
        gather.awaiter.put(ffi::current::get(&running));
    }
    let mut done = Vec::new();
    for child in watched {
        if interop::GATHERS_AT_ONCE && is_done(&child)? {
            done.push(child);
            continue;
        }
        if let Some(awaiter) = gather.awaiter.get() {
            interop::add_awaited_by(&child, &awaiter)?;
        }
        watch(gather, &child)?;
    }
    for child in done {
        child_done(&made, &child)?;
    }
    Ok(made)
}

fn watch(gather: &Gather, child: &Object) -> Outcome<()> {
    if let Some(future) = Future::exact(child) {
        return future.add_waiter(Waiter { what: gather.0.own(), context: Captured::new() });
    }
    parent::watch_foreign(&gather.0, child)
}

fn is_done(child: &Object) -> Outcome<bool> {
    match Future::exact(child) {
        Some(future) => Ok(future.is_done()),
        None => call::truth(&*call::call_method(&names().done, &[child], None)?),
    }
}

/// How a child ended.
enum End {
    Result(Owned),
    Exception(Owned),
    Cancelled,
}

fn end_of(child: &Object) -> Outcome<End> {
    let names = names();
    if let Some(future) = Future::exact(child) {
        return Ok(match future.state.get() {
            State::Cancelled => End::Cancelled,
            _ => {
                future.log_traceback.set(false);
                match future.exception.get() {
                    Some(exception) => End::Exception(exception),
                    None => End::Result(future.result.get_or_none()),
                }
            }
        });
    }
    if call::truth(&*call::call_method(&names.cancelled, &[child], None)?)? {
        return Ok(End::Cancelled);
    }
    let exception = call::call_method(&names.exception, &[child], None)?;
    if !exception.is_none() {
        return Ok(End::Exception(exception));
    }
    call::call_method(&names.result, &[child], None).map(End::Result)
}

fn cancelled_error_of(child: &Object) -> Outcome {
    match Future::exact(child) {
        Some(future) => future.make_cancelled_error(),
        None => call::call_method(&names().make_cancelled_error, &[child], None),
    }
}

/// A child is done and has its turn.
pub(crate) fn child_done(parent: &Object, child: &Object) -> Outcome<()> {
    // SAFETY: only gathers are waiters of this kind.
    let gather: &Gather = unsafe { cast(parent.as_ptr()) };
    let future = gather.as_future();
    if let Some(awaiter) = gather.awaiter.get() {
        interop::discard_awaited_by(child, &awaiter)?;
    }
    gather.queued.set(gather.queued.get().saturating_sub(1));
    let unfinished = gather.unfinished.get().saturating_sub(1);
    gather.unfinished.set(unfinished);
    if future.is_done() {
        // Looked at, so that it is not reported as never retrieved.
        return end_of(child).map(drop);
    }
    if !gather.return_exceptions.get() {
        match end_of(child)? {
            End::Cancelled => return fail(gather, cancelled_error_of(child)?),
            End::Exception(exception) => return fail(gather, exception),
            End::Result(_) => {}
        }
    }
    if unfinished > 0 {
        return Ok(());
    }
    let children = gather.children.take();
    let results = children.iter().map(|child| result_of(child)).collect::<Outcome<Vec<_>>>();
    let last = children.last().cloned();
    gather.children.set(children);
    let results = call::list(results?.into_iter())?;
    if gather.cancel_requested.get() {
        // Every child has ended, but asyncio tells a cancellation by it; the error is that of the last argument.
        return future.finish_with_exception(cancelled_error_of(last.as_deref().unwrap_or(child))?);
    }
    future.finish_with_result(results)
}

/// Whether the gather has anything to do when `child`, which is done now, has its turn in the ready queue.
///
/// The last child has, and one whose failure ends the gather. The others are only counted, which is done here and now,
/// unless one that came before is still to have its turn.
pub(crate) fn needs_entry(parent: &Object, child: &Future) -> bool {
    // SAFETY: the caller's promise.
    let gather: &Gather = unsafe { cast(parent.as_ptr()) };
    let left = gather.unfinished.get();
    let waits = left > 1 && gather.queued.get() == 0 && !gather.as_future().is_done();
    if waits && gather.awaiter.is_empty() && (gather.return_exceptions.get() || child.has_result()) {
        gather.unfinished.set(left - 1);
        return false;
    }
    gather.queued.set(gather.queued.get() + 1);
    true
}

/// Ends the gather while children of it may go on, which nobody awaits any more.
fn fail(gather: &Gather, exception: Owned) -> Outcome<()> {
    if let Some(awaiter) = gather.awaiter.take() {
        let children = gather.children.take();
        let discarded = children.iter().try_for_each(|child| interop::discard_awaited_by(child, &awaiter));
        gather.children.set(children);
        discarded?;
    }
    gather.as_future().finish_with_exception(exception)
}

/// What stands for a child in the list of results.
fn result_of(child: &Object) -> Outcome {
    match end_of(child)? {
        End::Result(result) => Ok(result),
        End::Exception(exception) => Ok(exception),
        End::Cancelled => {
            let names = names();
            let message = call::get_attribute(child, &names.cancel_message)?;
            let message = if message.is_none() { call::text("")? } else { message };
            call::call(&names.cancelled_error, &[&message])
        }
    }
}

fn cancel(this: &Gather, arguments: &Arguments<'_>) -> Outcome {
    let message = future::cancel_message(arguments)?;
    if this.as_future().is_done() {
        return Ok(Owned::boolean(false));
    }
    let mut accepted = false;
    let children = this.children.take();
    let all: Vec<Owned> = children.clone();
    this.children.set(children);
    for child in all {
        accepted |= task::cancel(&child, message.as_deref())?;
    }
    if accepted {
        this.cancel_requested.set(true);
    }
    Ok(Owned::boolean(accepted))
}

static KIND: Confined<Cell<*mut c::PyTypeObject>> = Confined::new(Cell::new(std::ptr::null_mut()));

fn make(return_exceptions: bool, unfinished: usize) -> Outcome {
    let data = GatherData {
        future: FutureData::new(),
        children: Cell::new(Vec::new()),
        unfinished: Cell::new(unfinished),
        queued: Cell::new(0),
        return_exceptions: Cell::new(return_exceptions),
        cancel_requested: Cell::new(false),
        awaiter: Slot::new(),
    };
    // SAFETY: the type is ready, and the data lies where its functions look for it.
    unsafe {
        instance::make_plain(KIND.get(), |instance| {
            instance.byte_add(KINDS.offset.get()).cast::<GatherData>().write(data);
        })
    }
}

unsafe extern "C" fn traverse(
    this: *mut c::PyObject,
    function: c::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: an instance of ours.
    let this: &Gather = unsafe { cast(this) };
    let visit = Visit { function, argument };
    let mut status = BASE.traverse(&this.0, visit);
    if status == 0 {
        status = this.future.traverse(visit);
    }
    if status == 0 {
        status = this.awaiter.visit(visit);
    }
    // SAFETY: the collector only looks; nothing else runs while the cell is read in place.
    for child in unsafe { &*this.children.as_ptr() } {
        if status == 0 {
            status = visit.object(child);
        }
    }
    status
}

fn take_apart(this: &Gather) {
    this.future.clear();
    drop(this.children.take());
    this.awaiter.clear();
    BASE.clear(&this.0);
}

unsafe extern "C" fn clear(this: *mut c::PyObject) -> c_int {
    guard(0, || {
        // SAFETY: an instance of ours.
        take_apart(unsafe { cast(this) });
        Ok(0)
    })
}

unsafe extern "C" fn dealloc(this: *mut c::PyObject) {
    guard((), || {
        // SAFETY: the last reference to an instance of ours is gone.
        unsafe {
            if cast::<Future>(this).log_traceback.get() && !instance::finalize(this) {
                return Ok(());
            }
            instance::untrack(this);
            instance::clear_weak_references(this);
            take_apart(cast(this));
            instance::release_plain(this);
        }
        Ok(())
    });
}

/// Makes the type, after that of futures, and gives the function `gather`.
pub(crate) fn make_function(future_kind: &Object) -> Outcome {
    let base = call::get_attribute(&*call::import(c"_asyncio")?, &*call::interned(c"Future")?)?;
    BASE.read(&base);
    let builder = KindBuilder::new()
        .final_type()
        .slot(c::Py_tp_traverse, traverse as *mut c_void)
        .slot(c::Py_tp_clear, clear as *mut c_void)
        .slot(c::Py_tp_dealloc, dealloc as *mut c_void)
        .methods([method_fast!(c"cancel", cancel, c"Cancel every child.")]);
    let size = KINDS.offset.get() + size_of::<GatherData>();
    // SAFETY: every slot is of its type, and the data begins as the base's does.
    let kind = unsafe { builder.build(c"aioxide._GatheringFuture", size, Some(future_kind))? };
    KIND.set(kind.as_ptr().cast());
    KINDS.gathering.set(kind.as_ptr().cast());
    let _ = kind.into_ptr();
    static GATHER: OnceLock<Definition> = OnceLock::new();
    let definition = GATHER.get_or_init(|| {
        Definition(method_fast!(
            c"gather",
            gather,
            c"gather(*coros_or_futures, return_exceptions=False)\n--\n\nWait for all; results in the order given."
        ))
    });
    definition.bind(ffi::none())
}

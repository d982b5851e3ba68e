//! `gather`: the future of many, told by its children as they end, with neither callback nor handle for each.
//!
//! The gathering future derives from `aioxide.Future`. Each child that is of our classes holds it as a waiter without a
//! context, so that the ready queue gets one entry per child; others get a Python callback. Results are read from the
//! children when the last one is done, in the order of the arguments.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::os::raw::c_int;

use crate::awaitable;
use crate::ffi::address_hasher::AddressHasher;
use crate::ffi::ancestor::Ancestor;
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::holder::{Contents, Holder, Kind};
use crate::ffi::method::method_fast;
use crate::ffi::{Object, Outcome, Owned, Slot, Visit, call, cast, raised, recursion};
use crate::future::parent::{self, Parent, ParentKind, Watched};
use crate::future::{self, Future, KINDS, State, is_done};
use crate::interp::{Captured, interop, names};
use crate::kernel::{LoopState, state_of};
use crate::task::start::create;
use crate::task::{self, Start, Task};

/// What it has beside a future's.
pub(crate) struct GatherData {
    children: Cell<Vec<Owned>>,
    unfinished: Cell<usize>,
    /// Children whose entries are in the ready queue.
    queued: Cell<usize>,
    /// Whether there are children that are not exactly of our classes: nobody knows when their callbacks are queued.
    has_foreign: Cell<bool>,
    /// Whether children are still being added; what such a one tells meanwhile is only counted.
    making: Cell<bool>,
    /// Where their methods are called, if there are such children.
    context: Captured,
    return_exceptions: Cell<bool>,
    cancel_requested: Cell<bool>,
    /// From 3.14 on, the task that made it: the interpreter is told that it awaits the children.
    awaiter: Slot,
}

/// An instance of the gathering future.
pub(crate) type Gather = Holder<GatherData>;

static KIND: Kind = Kind::new();
static PARENT: ParentKind = ParentKind::of::<Gather>("gather.<locals>._done_callback");
static FUTURE: Ancestor = Ancestor::new();

impl Contents for GatherData {
    fn home() -> &'static Kind {
        &KIND
    }

    fn ancestor() -> Option<&'static Ancestor> {
        Some(&FUTURE)
    }

    fn wants_finalizer(this: &Gather) -> bool {
        this.as_future().log_traceback.get()
    }

    fn traverse(&self, visit: Visit) -> c_int {
        // SAFETY: the collector only looks; nothing else runs while the cell is read in place.
        for child in unsafe { &*self.children.as_ptr() } {
            let status = visit.object(child);
            if status != 0 {
                return status;
            }
        }
        let status = self.awaiter.visit(visit);
        if status != 0 { status } else { self.context.visit(visit) }
    }

    fn clear(&self) {
        drop(self.children.take());
        self.context.clear();
        self.awaiter.clear();
    }
}

impl Gather {
    fn as_future(&self) -> &Future {
        // SAFETY: its class derives from that of futures.
        unsafe { cast(self.object().as_ptr()) }
    }

    /// Counts a child that is done, and ends with the last one.
    fn count(&self, child: &Object) -> Outcome<()> {
        let future = self.as_future();
        if let Some(awaiter) = self.awaiter.get() {
            interop::discard_awaited_by(child, &awaiter)?;
        }
        self.queued.set(self.queued.get().saturating_sub(1));
        let unfinished = self.unfinished.get().saturating_sub(1);
        self.unfinished.set(unfinished);
        if self.making.get() || future.is_done() {
            // Looked at, so that it is not reported as never retrieved.
            return end_of(child).map(drop);
        }
        if !self.return_exceptions.get() {
            match end_of(child)? {
                End::Cancelled => return self.fail(cancelled_error_of(child)?),
                End::Exception(exception) => return self.fail(raised::settable(&exception)?),
                End::Well => {}
            }
        }
        if unfinished > 0 {
            return Ok(());
        }
        let children = self.children.take();
        let results = children.iter().map(|child| result_of(child)).collect::<Outcome<Vec<_>>>();
        let last = children.last().cloned();
        self.children.set(children);
        let results = call::list(results?.into_iter())?;
        if self.cancel_requested.get() {
            // Every child has ended, but asyncio tells a cancellation by it; the error is that of the last argument.
            return future.finish_with_exception(cancelled_error_of(last.as_deref().unwrap_or(child))?);
        }
        future.finish_with_result(results)
    }

    /// Ends the gather while children of it may go on, which nobody awaits any more.
    fn fail(&self, exception: Owned) -> Outcome<()> {
        if let Some(awaiter) = self.awaiter.take() {
            let children = self.children.take();
            let discarded =
                children.iter().try_for_each(|child| interop::discard_awaited_by(child, &awaiter));
            self.children.set(children);
            discarded?;
        }
        self.as_future().finish_with_exception(exception)
    }

    /// Watches a child; false if it is done already and to be counted once all are there.
    fn add(&self, child: &Object) -> Outcome<bool> {
        if interop::GATHERS_AT_ONCE && is_done(child)? {
            return Ok(false);
        }
        if let Some(awaiter) = self.awaiter.get() {
            interop::add_awaited_by(child, &awaiter)?;
        }
        if parent::watch(self, child)? == Watched::Foreign && !self.has_foreign.replace(true) {
            self.context.set(Captured::current()?);
        }
        Ok(true)
    }

    /// Watches `children`, and takes those that are done already to `done`.
    #[inline]
    fn add_all(&self, children: &mut Vec<Owned>, done: &mut Vec<Owned>) -> Outcome<()> {
        for child in children.drain(..) {
            if !self.add(&child)? {
                done.push(child);
            }
        }
        Ok(())
    }

    /// Adds the children that `arguments` give, in their order; gives those that are done already.
    fn add_children(
        &self,
        arguments: &Arguments<'_>,
        running: &Object,
        state: &LoopState,
    ) -> Outcome<Vec<Owned>> {
        let names = names();
        let count = arguments.positional().len();
        let mut children: Vec<Owned> = Vec::with_capacity(count);
        let mut places = Places::with_capacity_and_hasher(count, BuildHasherDefault::default());
        // Each child once, though it may be given again.
        let mut later: Vec<Owned> = Vec::with_capacity(count);
        let mut done = Vec::new();
        // Objects of other classes say themselves which are equal.
        let mut equals = None;
        for argument in arguments.positional() {
            let place = if Future::exact(argument).is_some() || awaitable::is_coroutine(argument) {
                *places.entry(argument.as_ptr() as usize).or_insert(children.len())
            } else {
                place_among(&mut equals, argument, children.len())?
            };
            if let Some(again) = children.get(place).cloned() {
                children.push(again);
                continue;
            }
            // Asked for each: an eager one runs here, and may change how the next ones are made.
            let making = if awaitable::is_coroutine(argument) { state.making() } else { None };
            let child = if let Some(making) = making {
                let first = Start { coro: argument, name: None, context: None, eager: false };
                create(making, running, state, &first)?
            } else if Future::exact(argument).is_some_and(|future| future.event_loop.holds(running)) {
                argument.own()
            } else {
                let names_of = call::tuple(&[&names.loop_])?;
                call::call_with_names(&names.ensure_future, &[argument, running], Some(&names_of))?
            };
            if !interop::KNOWS_AWAITERS
                && children.is_empty()
                && !child.is(argument)
                && Future::exact(&child).is_none()
            {
                // asyncio asks the first one for its loop, up to Python 3.13; one that was given has been asked.
                match call::find_attribute(&child, &names.get_loop)? {
                    Some(get_loop) => call::call(&get_loop, &[])?,
                    None => call::get_attribute(&child, &names.loop_attribute)?,
                };
            }
            if !child.is(argument) {
                match Task::from_object(&child) {
                    Some(task) => task.log_destroy_pending.set(false),
                    None => {
                        call::set_attribute(&child, &names.log_destroy_pending, &Owned::boolean(false))?;
                    }
                }
            }
            children.push(child.clone());
            self.unfinished.set(self.unfinished.get() + 1);
            let is_ours = Future::exact(&child).is_some();
            later.push(child);
            // The methods of other classes are called where asyncio calls them, before the next one is looked at; what is done
            // already has its turn in the order of the arguments.
            if !is_ours {
                self.add_all(&mut later, &mut done)?;
            }
        }
        self.children.set(children);
        self.add_all(&mut later, &mut done)?;
        Ok(done)
    }
}

impl Parent for Gather {
    fn kind() -> &'static ParentKind {
        &PARENT
    }

    /// Whether the gather has anything to do when `child`, which is done now, has its turn in the ready queue.
    ///
    /// The last child has, and one whose failure ends the gather. The others are only counted, which is done here and now,
    /// unless one that came before is, or may be, still to have its turn.
    #[inline]
    fn needs_entry(&self, child: &Future) -> bool {
        let left = self.unfinished.get();
        let waits =
            left > 1 && self.queued.get() == 0 && !self.has_foreign.get() && !self.as_future().is_done();
        if waits && self.awaiter.is_empty() && (self.return_exceptions.get() || child.has_result()) {
            self.unfinished.set(left - 1);
            return false;
        }
        self.queued.set(self.queued.get() + 1);
        true
    }

    /// A child is done and has its turn in the ready queue.
    fn child_done(&self, child: &Object) -> Outcome<()> {
        if !self.has_foreign.get() {
            return self.count(child);
        }
        let entered = self.context.enter()?;
        let told = self.count(child);
        let pending = if told.is_err() { raised::pending() } else { None };
        entered.exit(&self.context)?;
        pending.map_or(told, |exception| Err(raised::put_back(exception)))
    }
}

/// The place of the argument that equals this one, or the next one, which is noted as its own.
#[cold]
fn place_among(equals: &mut Option<Owned>, argument: &Object, next: usize) -> Outcome<usize> {
    let noted = match equals {
        Some(noted) => noted.clone(),
        None => equals.insert(call::dict()?).clone(),
    };
    if let Some(place) = call::find_item(&noted, argument)? {
        return Ok(usize::try_from(call::to_integer(&place)?).unwrap_or(next));
    }
    call::set_item(&noted, argument, &*call::integer(i64::try_from(next).unwrap_or(i64::MAX))?)?;
    Ok(next)
}

type Places = HashMap<usize, usize, BuildHasherDefault<AddressHasher>>;

/// `gather(*coros_or_futures, return_exceptions=False)`.
fn gather(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let running = call::call(&names.get_running_loop_or_none, &[])?;
    let state = if running.is_none() { None } else { state_of(&running) };
    let (Some(state), 1..) = (state, arguments.positional().len()) else {
        // Nothing to wait for, or the loop of somebody else: asyncio's own does it.
        return arguments.forward_all(&names.asyncio_gather);
    };
    let first = arguments.positional().next().and_then(Future::exact);
    if first.is_some_and(|future| !future.event_loop.holds(&running)) {
        // It says which loop all the others are to belong to.
        return arguments.forward_all(&names.asyncio_gather);
    }
    let return_exceptions = match arguments.only_named("gather", &names.return_exceptions)? {
        Some(value) => call::truth(value)?,
        None => false,
    };
    let gather = Gather::make(|| GatherData {
        children: Cell::new(Vec::new()),
        unfinished: Cell::new(0),
        queued: Cell::new(0),
        has_foreign: Cell::new(false),
        making: Cell::new(true),
        context: Captured::new(),
        return_exceptions: Cell::new(return_exceptions),
        cancel_requested: Cell::new(false),
        awaiter: Slot::new(),
    })?;
    if interop::KNOWS_AWAITERS {
        gather.awaiter.put(crate::interp::current::get(&running));
    }
    let done = gather.add_children(arguments, &running, state)?;
    gather.as_future().adopt(&running, Some(state));
    if state.debug.get() {
        gather.as_future().remember_source()?;
    }
    gather.making.set(false);
    for child in done {
        gather.count(&child)?;
    }
    Ok(gather.into_object())
}

/// How a child ended.
enum End {
    Well,
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
                future.exception.get().map_or(End::Well, End::Exception)
            }
        });
    }
    if call::truth(&*call::call_method(&names.cancelled, &[child], None)?)? {
        return Ok(End::Cancelled);
    }
    let exception = call::call_method(&names.exception, &[child], None)?;
    Ok(if exception.is_none() { End::Well } else { End::Exception(exception) })
}

fn cancelled_error_of(child: &Object) -> Outcome {
    match Future::exact(child) {
        Some(future) => future.make_cancelled_error(),
        None => raised::settable(&*call::call_method(&names().make_cancelled_error, &[child], None)?),
    }
}

/// What stands for a child in the list of results.
fn result_of(child: &Object) -> Outcome {
    if let Some(future) = Future::exact(child).filter(|future| future.has_result()) {
        return Ok(future.result.get_or_none());
    }
    let names = names();
    match end_of(child)? {
        End::Well => call::call_method(&names.result, &[child], None),
        End::Exception(exception) => Ok(exception),
        End::Cancelled => {
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
    recursion::nested(|| {
        for child in all {
            accepted |= task::cancel(&child, message.as_deref())?;
        }
        Ok(())
    })?;
    if accepted {
        this.cancel_requested.set(true);
    }
    Ok(Owned::boolean(accepted))
}

/// Makes the type, after that of futures, and the function `gather`.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    let builder = Gather::builder().final_type().methods([method_fast!(
        c"cancel",
        cancel,
        c"cancel($self, /, msg=None)\n--\n\nCancel every child."
    )]);
    let kind = Gather::make_kind_over(builder, c"aioxide._GatheringFuture", KINDS.future_class())?;
    KINDS.gathering.set(kind.as_ptr().cast());
    exports.plain_function(method_fast!(
        c"gather",
        gather,
        c"gather(*coros_or_futures, return_exceptions=False)\n--\n\nWait for all; results in the order given."
    ))
}

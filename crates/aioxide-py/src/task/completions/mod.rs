//! `as_completed`: an iterator over futures in the order in which they end, also for `async for` on every version.
//!
//! It is the parent of its futures. Those that are done wait in `done` until somebody asks; who asks too early waits in `askers`,
//! first come, first served. When the time is up, `None` stands in `done` for each that is not done. From 3.13 on the
//! futures are started by the call, before by the first `next`, as in asyncio.

mod completion;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::raw::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi as c;

use super::start;
use crate::awaitable::Awaitable;
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::holder::{Contents, Holder, Kind};
use crate::ffi::method::{Definition, guard, guard_object, method_fast, method_none};
use crate::ffi::text::type_name;
use crate::ffi::{self, Object, Outcome, Owned, Slot, Visit, call, cast, raised};
use crate::future::parent::{self, Parent, ParentKind};
use crate::future::{self, Future, is_done, mark_blocking};
use crate::interp::{interop, names};
use completion::{Completion, ask};

/// What an iterator has.
pub(crate) struct CompletionsData {
    started: Cell<bool>,
    source: Slot,
    timeout: Slot,
    event_loop: Slot,
    /// The set of futures that have not had their turn.
    todo: Slot,
    timer: Slot,
    /// From Python 3.14 on: the task that began.
    awaiter: Slot,
    /// How many may still be asked for.
    left: Cell<usize>,
    done: RefCell<VecDeque<Option<Owned>>>,
    askers: RefCell<VecDeque<Owned>>,
}

/// An instance of the iterator.
pub(crate) type Completions = Holder<CompletionsData>;

static KIND: Kind = Kind::new();

impl CompletionsData {
    fn slots(&self) -> [&Slot; 6] {
        [&self.source, &self.timeout, &self.event_loop, &self.todo, &self.timer, &self.awaiter]
    }
}

impl Contents for CompletionsData {
    fn home() -> &'static Kind {
        &KIND
    }

    fn traverse(&self, visit: Visit) -> c_int {
        let mut status = visit.slots(self.slots());
        // Neither is borrowed while anything runs that could start a collection.
        if let (Ok(done), Ok(askers)) = (self.done.try_borrow(), self.askers.try_borrow()) {
            for held in done.iter().flatten().chain(askers.iter()) {
                if status == 0 {
                    status = visit.object(held);
                }
            }
        }
        status
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
        drop(self.done.take());
        drop(self.askers.take());
    }
}

static PARENT: ParentKind = ParentKind::of::<Completions>("as_completed.<locals>._on_completion");

impl Parent for Completions {
    fn kind() -> &'static ParentKind {
        &PARENT
    }

    /// A future is done and has its turn.
    fn child_done(&self, child: &Object) -> Outcome<()> {
        let Some(todo) = self.todo.get() else { return Ok(()) };
        if call::length(&todo)? == 0 {
            return Ok(());
        }
        call::set_discard(&todo, child)?;
        if let Some(awaiter) = self.awaiter.get() {
            interop::discard_awaited_by(child, &awaiter)?;
        }
        self.put(Some(child.own()))?;
        if call::length(&todo)? == 0
            && let Some(timer) = self.timer.take()
        {
            call::call_method(&names().cancel, &[&timer], None)?;
        }
        Ok(())
    }
}

impl Completions {
    /// Makes futures of what was given, each of which will tell of its end.
    fn start(&self) -> Outcome<()> {
        if self.started.replace(true) {
            return Ok(());
        }
        let names = names();
        let source = self.source.take().unwrap_or_else(Owned::none);
        refuse_single(&source)?;
        let mut event_loop = start::running_loop()?;
        if event_loop.is_none() {
            event_loop = call::call(&names.get_event_loop, &[])?;
        }
        let (given, todo) = (call::set(None)?, call::set(None)?);
        let mut futures = Vec::new();
        call::any_item(&source, |item| {
            if call::set_grows(&given, item)? {
                let future = start::ensure_on(item, &event_loop)?;
                if call::set_grows(&todo, &future)? {
                    futures.push(future);
                }
            }
            Ok(false)
        })?;
        self.left.set(futures.len());
        self.todo.set(todo);
        let awaiter = interop::awaiter(&event_loop);
        for future in &futures {
            parent::watch(self, future)?;
            if let Some(awaiter) = &awaiter {
                interop::add_awaited_by(future, awaiter)?;
            }
        }
        self.awaiter.put(awaiter);
        if let Some(timeout) = self.timeout.get().filter(|_| !futures.is_empty()) {
            static TIME_IS_UP: OnceLock<Definition> = OnceLock::new();
            let definition = TIME_IS_UP
                .get_or_init(|| Definition(method_none!(c"_handle_timeout", time_is_up, c"The time is up.")));
            let callback = definition.bind(self.object())?;
            let timer = call::call_method(&names.call_later, &[&event_loop, &timeout, &callback], None)?;
            self.timer.set(timer);
        }
        self.event_loop.set(event_loop);
        Ok(())
    }

    fn put(&self, done: Option<Owned>) -> Outcome<()> {
        self.done.borrow_mut().push_back(done);
        self.wake_next()
    }

    /// Tells the first who waits.
    fn wake_next(&self) -> Outcome<()> {
        loop {
            let Some(asker) = self.askers.borrow_mut().pop_front() else { return Ok(()) };
            if is_done(&asker)? {
                continue;
            }
            return match Future::exact(&asker) {
                Some(asker) => asker.finish_with_result(Owned::none()),
                None => call::call_method(&names().set_result, &[&asker, ffi::none()], None).map(drop),
            };
        }
    }

    /// One more is asked for; `false` when all have been.
    fn count(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }

    /// A future for somebody who waits.
    fn make_asker(&self) -> Outcome {
        let asker = future::create(&self.event_loop.get_or_none())?;
        self.askers.borrow_mut().push_back(asker.clone());
        mark_blocking(&asker)?;
        Ok(asker)
    }
}

fn time_is_up(this: &Completions) -> Outcome {
    let todo = this.todo.get_or_none();
    let mut futures = Vec::new();
    call::any_item(&todo, |future| {
        futures.push(future.own());
        Ok(false)
    })?;
    for future in futures {
        parent::unwatch(this, &future)?;
        if let Some(awaiter) = this.awaiter.get() {
            interop::discard_awaited_by(&future, &awaiter)?;
        }
        this.put(None)?;
    }
    this.todo.set(call::set(None)?);
    Ok(Owned::none())
}

unsafe extern "C" fn next(this: *mut c::PyObject) -> *mut c::PyObject {
    guard(std::ptr::null_mut(), || {
        // SAFETY: an instance of ours.
        let this: &Completions = unsafe { cast(this) };
        this.start()?;
        if !this.count() {
            return Ok(std::ptr::null_mut());
        }
        ask(this, true).map(Owned::into_ptr)
    })
}

unsafe extern "C" fn next_later(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: an instance of ours.
    guard_object(|| ask(unsafe { cast(this) }, false))
}

unsafe extern "C" fn iterate(this: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: a live object.
    guard_object(|| Ok(unsafe { cast::<Object>(this) }.own()))
}

/// `as_completed(fs, *, timeout=None)`.
fn as_completed(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [source, timeout] = arguments.parse("as_completed", &[&names.futures, &names.timeout], 1)?;
    let Some(source) = source else {
        let message = "as_completed() missing 1 required positional argument: 'fs'";
        return Err(raised::raise(raised::type_error(), message));
    };
    let made = Completions::make(|| CompletionsData {
        started: Cell::new(false),
        source: Slot::new(),
        timeout: Slot::new(),
        event_loop: Slot::new(),
        todo: Slot::new(),
        timer: Slot::new(),
        awaiter: Slot::new(),
        left: Cell::new(0),
        done: RefCell::default(),
        askers: RefCell::default(),
    })?;
    made.source.set(source.own());
    made.timeout.put(timeout.filter(|timeout| !timeout.is_none()).map(Object::own));
    if cfg!(Py_3_13) {
        made.start()?;
    }
    Ok(made.into_object())
}

/// Raises TypeError for one awaitable where an iterable of them is wanted.
fn refuse_single(source: &Object) -> Outcome<()> {
    if call::is_plain_collection(source) {
        return Ok(());
    }
    let names = names();
    let (is_single, wanted) = if cfg!(Py_3_13) {
        (call::truth(&*call::call(&names.is_awaitable, &[source])?)?, "expects an iterable of awaitables")
    } else {
        let is_single = call::truth(&*call::call(&names.is_future, &[source])?)?
            || call::truth(&*call::call(&names.is_coroutine, &[source])?)?;
        (is_single, "expect an iterable of futures")
    };
    if is_single {
        let message = format!("{wanted}, not {}", type_name(source));
        return Err(raised::raise(raised::type_error(), &message));
    }
    Ok(())
}

/// Makes the type and the function.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    Awaitable::<Completion>::make_kind(c"aioxide._Completion")?;
    let builder = Completions::builder()
        .final_type()
        .slot(c::Py_tp_iter, iterate as *mut c_void)
        .slot(c::Py_tp_iternext, next as *mut c_void)
        .slot(c::Py_am_aiter, iterate as *mut c_void)
        .slot(c::Py_am_anext, next_later as *mut c_void);
    Completions::make_kind(builder, c"aioxide._AsCompletedIterator")?;
    exports.function(method_fast!(
        c"as_completed",
        as_completed,
        c"as_completed(fs, *, timeout=None)\n--\n\nIterate over awaitables in the order in which they end."
    ))
}

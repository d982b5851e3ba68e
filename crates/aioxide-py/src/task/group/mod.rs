//! The base of `aioxide.TaskGroup`: asyncio's class, with its usual way in Rust.
//!
//! `aioxide.TaskGroup` is a Python class that derives from the base made here and from asyncio's own. A group that is entered by a
//! task of ours on a loop of ours is *ours*: its tasks have it as their parent (`parent`), so that their end costs no callback.
//! Any other is asyncio's: the inherited methods do all, on the same attributes, which read and write the fields here.
//! They do the rest for one of ours too: what becomes of a failure, of a cancellation and of wrong calls is what the
//! interpreter's version makes of it. Read `class` for what Python sees of it.

mod class;

use std::cell::Cell;
use std::os::raw::c_int;

pub(crate) use class::export;

use super::{Start, Task, group_exit, in_copy_of_context, start};
use crate::awaitable::Home;
use crate::awaitable::entering::Entered;
use crate::ffi::arguments::Arguments;
use crate::ffi::holder::{Constructed, Contents, Holder, InitArguments, Kind};
use crate::ffi::{self, Confined, Object, Outcome, Owned, Slot, Visit, call};
use crate::future::Future;
use crate::future::parent::{self, Parent, ParentKind};
use crate::interp::{interop, names};
use crate::kernel::state_of;

/// What a group has.
pub(crate) struct GroupData {
    /// Whether it was entered by a task of ours on a loop of ours.
    pub(super) ours: Cell<bool>,
    entered: Cell<bool>,
    pub(super) exiting: Cell<bool>,
    aborting: Cell<bool>,
    /// From Python 3.15 on: `cancel` was called before it was entered.
    cancel_on_enter: Cell<bool>,
    pub(super) parent_cancel_requested: Cell<bool>,
    /// Tasks whose entries are in the ready queue.
    queued: Cell<usize>,
    /// Whether there are tasks that asyncio's own method made, which tell of their ends by callbacks.
    has_foreign: Cell<bool>,
    pub(super) event_loop: Slot,
    pub(super) parent_task: Slot,
    /// A set: asyncio's own methods work on it.
    pub(super) tasks: Slot,
    pub(super) errors: Slot,
    base_error: Slot,
    /// What the exit waits for.
    pub(super) on_completed: Slot,
}

/// An instance of `aioxide.TaskGroup` or of a class derived from its base.
pub(crate) type Group = Holder<GroupData>;

static KIND: Kind = Kind::new();
static ENTERING: Home = Home::new();

impl GroupData {
    fn slots(&self) -> [&Slot; 6] {
        [&self.event_loop, &self.parent_task, &self.tasks, &self.errors, &self.base_error, &self.on_completed]
    }
}

impl Contents for GroupData {
    fn home() -> &'static Kind {
        &KIND
    }

    fn traverse(&self, visit: Visit) -> c_int {
        visit.slots(self.slots())
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }
}

impl Constructed for GroupData {
    fn new() -> Self {
        Self {
            ours: Cell::new(false),
            entered: Cell::new(false),
            exiting: Cell::new(false),
            aborting: Cell::new(false),
            cancel_on_enter: Cell::new(false),
            parent_cancel_requested: Cell::new(false),
            queued: Cell::new(0),
            has_foreign: Cell::new(false),
            event_loop: Slot::new(),
            parent_task: Slot::new(),
            tasks: Slot::new(),
            errors: Slot::new(),
            base_error: Slot::new(),
            on_completed: Slot::new(),
        }
    }

    fn init(this: &Group, arguments: &InitArguments) -> Outcome<()> {
        arguments.parse::<0>("TaskGroup", &[], 0)?;
        this.start_anew()
    }
}

impl Entered for GroupData {
    const ENTER: &'static str = "TaskGroup.__aenter__";

    fn entering() -> &'static Home {
        &ENTERING
    }

    fn enter(this: &Group) -> Outcome<bool> {
        if this.entered.get() || !this.event_loop.is_empty() {
            return Ok(false);
        }
        let running = start::running_loop()?;
        if running.is_none() || state_of(&running).is_none() {
            return Ok(false);
        }
        let Some(task) = Task::current(&running) else { return Ok(false) };
        if this.overrides_internals()? {
            return Ok(false);
        }
        this.event_loop.set(running);
        this.parent_task.set(task);
        this.ours.set(true);
        this.entered.set(true);
        if this.cancel_on_enter.get() {
            call::call_method(&names().cancel, &[this.object()], None)?;
        }
        Ok(true)
    }

    fn stock_enter() -> Owned {
        CLASSES.enter.get_or_none()
    }
}

/// The class, and what the inherited one has.
struct Classes {
    /// `aioxide.TaskGroup`.
    group: Slot,
    /// The one that asyncio has.
    stock: Slot,
    enter: Slot,
    exit: Slot,
    create_task: Slot,
    on_task_done: Slot,
    /// Whether a group lets go of its task and its errors at its end, as from some 3.13 on.
    lets_go: Cell<bool>,
}

static CLASSES: Confined<Classes> = Confined::new(Classes {
    group: Slot::new(),
    stock: Slot::new(),
    enter: Slot::new(),
    exit: Slot::new(),
    create_task: Slot::new(),
    on_task_done: Slot::new(),
    lets_go: Cell::new(false),
});

static PARENT: ParentKind = ParentKind::of::<Group>("TaskGroup._on_task_done");

impl Parent for Group {
    fn kind() -> &'static ParentKind {
        &PARENT
    }

    /// Whether a task that is done now has anything to do when its turn comes.
    ///
    /// One that failed has, and the last one. The others are only taken out, at once, unless one that came before is still to
    /// have its turn.
    #[inline]
    fn needs_entry(&self, task: &Future) -> bool {
        if self.queued.get() == 0
            && !self.has_foreign.get()
            && !task.has_exception()
            && !interop::KNOWS_AWAITERS
            && let Some(tasks) = self.tasks.get()
            && let Ok(2..) = call::length(&tasks)
            && call::set_discard(&tasks, task.object()).is_ok()
        {
            return false;
        }
        self.queued.set(self.queued.get() + 1);
        true
    }

    /// A task is done and has its turn.
    fn child_done(&self, task: &Object) -> Outcome<()> {
        self.queued.set(self.queued.get().saturating_sub(1));
        if Future::exact(task).is_none_or(Future::has_exception) {
            // It may cancel the others, in whose class `cancel` may be a method of Python's.
            let tell = || call::call(&CLASSES.on_task_done.get_or_none(), &[self.object(), task]).map(drop);
            return match self.parent_task.get().filter(|_| self.has_foreign.get()) {
                Some(parent) => in_copy_of_context(&parent, tell),
                None => tell(),
            };
        }
        if let Some(tasks) = self.tasks.get() {
            call::set_discard(&tasks, task)?;
        }
        if let Some(parent) = self.parent_task.get() {
            interop::discard_awaited_by(task, &parent)?;
        }
        let Some(future) = self.on_completed.get() else { return Ok(()) };
        if self.pending()? == 0
            && let Some(future) = Future::exact(&future)
            && !future.is_done()
        {
            return future.finish_with_result(Owned::boolean(true));
        }
        Ok(())
    }
}

impl Group {
    fn start_anew(&self) -> Outcome<()> {
        for flag in [
            &self.ours,
            &self.entered,
            &self.exiting,
            &self.aborting,
            &self.cancel_on_enter,
            &self.parent_cancel_requested,
            &self.has_foreign,
        ] {
            flag.set(false);
        }
        for slot in self.slots() {
            slot.clear();
        }
        self.tasks.set(call::set(None)?);
        self.errors.set(call::list([].into_iter())?);
        Ok(())
    }

    /// How many tasks have not had their end noted.
    pub(super) fn pending(&self) -> Outcome<usize> {
        self.tasks.get().map_or(Ok(0), |tasks| call::length(&tasks))
    }

    /// Whether nothing has gone wrong, so that the group can end without asyncio's own code.
    pub(super) fn is_clean(&self) -> Outcome<bool> {
        let errors = self.errors.get().map_or(Ok(0), |errors| call::length(&errors))?;
        Ok(errors == 0
            && self.base_error.is_empty()
            && !self.aborting.get()
            && !self.parent_cancel_requested.get())
    }

    /// The end of a group where nothing went wrong.
    pub(super) fn end(&self) {
        if CLASSES.lets_go.get() {
            self.parent_task.clear();
            self.errors.clear();
        }
    }

    /// asyncio's own `__aexit__`, as a coroutine.
    pub(super) fn stock_exit(&self) -> Outcome {
        let none = ffi::none();
        call::call(&CLASSES.exit.get_or_none(), &[self.object(), none, none, none])
    }

    /// Whether it is of a class that has one of the private methods of its own, which are then to be called.
    fn overrides_internals(&self) -> Outcome<bool> {
        if CLASSES.group.holds(self.object().class()) {
            return Ok(false);
        }
        let stock = CLASSES.stock.get_or_none();
        for name in [c"_abort", c"_is_base_error", c"_on_task_done"] {
            let name = call::interned(name)?;
            let own = call::find_attribute(self.object().class(), &name)?;
            let inherited = call::find_attribute(&stock, &name)?;
            if own.as_ref().map(|own| own.as_ptr()) != inherited.as_ref().map(|inherited| inherited.as_ptr())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes a task of ours; nothing where asyncio's own method is to do it.
    #[inline]
    fn make_task(&self, arguments: &Arguments<'_>) -> Outcome<Option<Owned>> {
        let names = names();
        if !self.ours.get() || self.aborting.get() || (self.exiting.get() && self.pending()? == 0) {
            return Ok(None);
        }
        let Some([name, context]) = arguments.one_and_named([&names.name, &names.context]) else {
            return Ok(None);
        };
        let (Some(coro), Some(event_loop)) = (arguments.positional().next(), self.event_loop.get()) else {
            return Ok(None);
        };
        let state = state_of(&event_loop);
        let Some(state) = state.filter(|state| state.running.get() && state.makes_tasks()) else {
            return Ok(None);
        };
        let task = Task::make(&event_loop, state, &Start { coro, name, context, eager: false })?;
        if let Some(parent) = self.parent_task.get() {
            interop::add_awaited_by(&task, &parent)?;
        }
        if let Some(tasks) = self.tasks.get() {
            call::set_add(&tasks, &task)?;
        }
        parent::watch(self, &task)?;
        Ok(Some(task))
    }
}

fn aexit(this: &Group, arguments: &Arguments<'_>) -> Outcome {
    let failed = arguments.positional().next().is_some_and(|kind| !kind.is_none());
    if failed || !this.ours.get() {
        return arguments.forward(&CLASSES.exit.get_or_none(), this.object());
    }
    group_exit::make(this)
}

fn create_task(this: &Group, arguments: &Arguments<'_>) -> Outcome {
    match this.make_task(arguments)? {
        Some(task) => Ok(task),
        None => {
            this.has_foreign.set(true);
            arguments.forward(&CLASSES.create_task.get_or_none(), this.object())
        }
    }
}

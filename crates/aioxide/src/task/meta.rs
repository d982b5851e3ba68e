//! What this face keeps with each task: name, place, counts of cancellation, open scopes, who waits.
//!
//! Cancellation. `pending` names the scope that is to be unwound at the next occasion; 0 is none, [`ROOT`] the task.
//!
//! ```text
//!   cancel() ──► pending = innermost catching scope ──► its next poll: inner future dropped, Err(Cancelled)
//!                        │ none open                     raise() inside its poll: the same, at once
//!                        └──► pending = ROOT ──────────► next poll: the whole future dropped, task cancelled
//! ```
//!
//! * A scope is open from its first poll until it is ready or dropped. It knows the scope around it, so that a deadline
//!   reaches what is inside it and never a scope beside it.
//! * A scope that closes with `pending` on it hands it to the one around it; one that opens takes it over from there.
//! * What stands in `waiting` was said in the last poll; a cancellation goes there first when it is a task.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use aioxide_core::clock::lap_ns;
use aioxide_core::task::{End, Meta as CoreMeta, TaskRef};

use super::AnyTask;
use super::local::Context;
use crate::error::Cancelled;
use crate::report::{Report, ReportKind, ReportedTask, report, slow_ns};

/// The scope that is the task itself.
pub(crate) const ROOT: u32 = 1;
const NONE: u32 = 0;

/// The task belongs to the crate's own machinery: not listed.
pub(crate) const HIDDEN: u8 = 0b0001;
/// A future of the task is being dropped because of a cancellation.
const UNWINDING: u8 = 0b0010;
/// The task failed and nobody has looked.
const UNRETRIEVED: u8 = 0b0100;
/// The task ended as cancelled.
const CANCELLED: u8 = 0b1000;
/// The task ended by a panic.
const PANICKED: u8 = 0b1_0000;
/// `waiting` holds something.
const WAITING: u8 = 0b10_0000;

/// Something that a cancellation of the waiting task is handed to.
pub(crate) trait Delegate {
    /// `false` if there was nothing left to cancel.
    fn cancel(&self, message: Option<Rc<str>>) -> bool;
    /// The tasks that are waited for.
    fn tasks(&self) -> Vec<AnyTask>;
}

/// What a task waits for, as far as it was said.
#[derive(Default)]
pub(crate) enum Waiting {
    #[default]
    Nothing,
    /// A task that is awaited: a cancellation goes to it.
    Task(TaskRef),
    /// A task behind a shield: a cancellation does not reach it.
    Shielded(TaskRef),
    /// Several tasks, by name of the operation.
    Group(&'static str, Rc<dyn Delegate>),
    /// Anything else, by name.
    Other(&'static str),
}

/// The data of a task of this face.
pub(crate) struct Meta {
    place: &'static Location<'static>,
    spawned_ns: u64,
    cancelling: Cell<u32>,
    pending: Cell<u32>,
    /// The scope that is being polled.
    scope: Cell<u32>,
    /// The scope in which `waiting` was said.
    waiting_scope: Cell<u32>,
    flags: Cell<u8>,
    /// The operation waited for, by name; tasks and groups stand in `waiting`, with a flag, since most polls have none.
    waiting_name: Cell<Option<&'static str>>,
    waiting: Cell<Waiting>,
    context: RefCell<Context>,
    extra: RefCell<Option<Box<Extra>>>,
}

pub(crate) type Callback = Box<dyn FnOnce(&AnyTask)>;

/// What most tasks never need.
#[derive(Default)]
struct Extra {
    name: Option<Rc<str>>,
    message: Option<Rc<str>>,
    failure: Option<String>,
    callbacks: Vec<(u64, Callback)>,
    waiters: Vec<(u64, Waker)>,
    next_key: u64,
    scopes: Vec<OpenScope>,
    next_scope: u32,
}

struct OpenScope {
    id: u32,
    around: u32,
    catches: bool,
    waker: Option<Waker>,
}

impl Meta {
    #[inline]
    pub(crate) fn new(
        place: &'static Location<'static>,
        spawned_ns: u64,
        flags: u8,
        context: Context,
        name: Option<Rc<str>>,
    ) -> Self {
        let extra = name.map(|name| Box::new(Extra { name: Some(name), ..Extra::default() }));
        Self {
            place,
            spawned_ns,
            cancelling: Cell::new(0),
            pending: Cell::new(NONE),
            scope: Cell::new(ROOT),
            waiting_scope: Cell::new(ROOT),
            flags: Cell::new(flags),
            waiting_name: Cell::new(None),
            waiting: Cell::new(Waiting::Nothing),
            context: RefCell::new(context),
            extra: RefCell::new(extra),
        }
    }

    fn with_extra<T>(&self, change: impl FnOnce(&mut Extra) -> T) -> T {
        change(self.extra.borrow_mut().get_or_insert_default())
    }

    #[inline]
    fn look_extra<T>(&self, look: impl FnOnce(&mut Extra) -> T) -> Option<T> {
        self.extra.borrow_mut().as_deref_mut().map(look)
    }

    #[inline]
    fn flag(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    #[inline]
    fn set_flag(&self, flag: u8, on: bool) {
        let others = self.flags.get() & !flag;
        self.flags.set(if on { others | flag } else { others });
    }

    pub(crate) fn place(&self) -> &'static Location<'static> {
        self.place
    }

    pub(crate) fn spawned_ns(&self) -> u64 {
        self.spawned_ns
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.flag(HIDDEN)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.flag(CANCELLED)
    }

    pub(crate) fn is_panicked(&self) -> bool {
        self.flag(PANICKED)
    }

    #[inline]
    pub(crate) fn is_unretrieved(&self) -> bool {
        self.flag(UNRETRIEVED)
    }

    pub(crate) fn context(&self) -> &RefCell<Context> {
        &self.context
    }

    pub(crate) fn name(&self) -> Option<Rc<str>> {
        self.look_extra(|extra| extra.name.clone()).flatten()
    }

    pub(crate) fn set_name(&self, name: Rc<str>) {
        self.with_extra(|extra| extra.name = Some(name));
    }

    fn reported(&self, id: u64) -> ReportedTask {
        let name = self.name().map_or_else(|| default_name(id), |name| name.to_string());
        ReportedTask { id, name, place: self.place }
    }

    // -- waiting --------------------------------------------------------------------------------------------------

    /// Says what the task waits for, until its next poll.
    #[inline]
    pub(crate) fn wait_for(&self, what: Waiting) {
        if let Waiting::Other(name) = what {
            self.waiting_name.set(Some(name));
            return;
        }
        self.waiting_scope.set(self.scope.get());
        self.set_flag(WAITING, true);
        drop(self.waiting.replace(what));
    }

    #[inline]
    fn forget_waiting(&self) {
        self.waiting_name.set(None);
        if self.flag(WAITING) {
            self.set_flag(WAITING, false);
            drop(self.waiting.take());
        }
    }

    pub(crate) fn look_waiting<T>(&self, look: impl FnOnce(&Waiting) -> T) -> T {
        if !self.flag(WAITING) {
            return look(&self.waiting_name.get().map_or(Waiting::Nothing, Waiting::Other));
        }
        let waiting = self.waiting.take();
        let seen = look(&waiting);
        self.waiting.set(waiting);
        seen
    }

    // -- the end --------------------------------------------------------------------------------------------------

    /// Adds a waker for the end; the key takes it back.
    pub(crate) fn add_waiter(&self, key: Option<u64>, waker: &Waker) -> u64 {
        self.with_extra(|extra| {
            if let Some((key, held)) = extra.waiters.iter_mut().find(|(held, _)| Some(*held) == key) {
                held.clone_from(waker);
                return *key;
            }
            extra.next_key += 1;
            extra.waiters.push((extra.next_key, waker.clone()));
            extra.next_key
        })
    }

    pub(crate) fn remove_waiter(&self, key: u64) {
        let removed = self.look_extra(|extra| {
            let at = extra.waiters.iter().position(|(held, _)| *held == key)?;
            Some(extra.waiters.swap_remove(at))
        });
        drop(removed);
    }

    pub(crate) fn add_callback(&self, callback: Callback) -> u64 {
        self.with_extra(|extra| {
            extra.next_key += 1;
            extra.callbacks.push((extra.next_key, callback));
            extra.next_key
        })
    }

    pub(crate) fn remove_callback(&self, key: u64) -> bool {
        let removed = self.look_extra(|extra| {
            let at = extra.callbacks.iter().position(|(held, _)| *held == key)?;
            Some(extra.callbacks.remove(at))
        });
        removed.flatten().is_some()
    }

    /// Notes a failure that is to be reported if nobody looks.
    pub(crate) fn note_failure(&self, text: String) {
        self.set_flag(UNRETRIEVED, true);
        self.with_extra(|extra| extra.failure = Some(text));
    }

    #[inline]
    pub(crate) fn mark_retrieved(&self) {
        self.set_flag(UNRETRIEVED, false);
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.look_extra(|extra| extra.failure.clone()).flatten()
    }

    pub(crate) fn cancelled_error(&self) -> Cancelled {
        Cancelled::new(self.look_extra(|extra| extra.message.clone()).flatten())
    }

    // -- cancellation ---------------------------------------------------------------------------------------------

    pub(crate) fn cancelling(&self) -> u32 {
        self.cancelling.get()
    }

    pub(crate) fn count_cancel(&self) {
        self.cancelling.set(self.cancelling.get().saturating_add(1));
    }

    /// One request less; at 0 a cancellation that was not delivered yet is forgotten.
    pub(crate) fn uncancel(&self) -> u32 {
        let left = self.cancelling.get().saturating_sub(1);
        self.cancelling.set(left);
        if left == 0 {
            self.pending.set(NONE);
        }
        left
    }

    /// One request less, without forgetting one that is on its way to another scope.
    pub(crate) fn uncancel_quietly(&self) -> u32 {
        let left = self.cancelling.get().saturating_sub(1);
        self.cancelling.set(left);
        left
    }

    /// Whether a future of this task is being dropped because of a cancellation.
    pub(crate) fn is_unwinding(&self) -> bool {
        self.flag(UNWINDING)
    }

    /// Runs `unwind`, which drops a future because of a cancellation.
    pub(crate) fn while_unwinding(&self, unwind: impl FnOnce()) {
        let before = self.flag(UNWINDING);
        self.set_flag(UNWINDING, true);
        unwind();
        self.set_flag(UNWINDING, before);
    }

    /// The innermost catching scope within `within`, or `within` itself.
    fn innermost(&self, within: u32) -> u32 {
        self.look_extra(|extra| {
            let inside = |open: &&OpenScope| open.catches && extra.is_within(open.id, within);
            extra.scopes.iter().rev().find(inside).map(|open| open.id)
        })
        .flatten()
        .unwrap_or(within)
    }

    /// Whom a cancellation of the scope `within` is handed to, if what the task waits for lies inside.
    pub(crate) fn delegate(&self, within: u32) -> Option<Waiting> {
        let target = self.innermost(within);
        let scope = self.waiting_scope.get();
        let inside = target == ROOT
            || scope == target
            || self.look_extra(|extra| extra.is_within(scope, target)).unwrap_or(false);
        if !inside {
            return None;
        }
        self.look_waiting(|waiting| match waiting {
            Waiting::Task(task) => Some(Waiting::Task(task.clone())),
            Waiting::Group(name, group) => Some(Waiting::Group(name, Rc::clone(group))),
            _ => None,
        })
    }

    /// Asks the innermost scope within `within` to unwind, and wakes it.
    pub(crate) fn request_cancel(&self, task: &TaskRef, within: u32, message: Option<Rc<str>>) {
        let target = self.innermost(within);
        if self.pending.get() == NONE {
            self.pending.set(target);
        }
        self.set_message(message);
        let waker = self
            .look_extra(|extra| extra.scopes.iter().find(|open| open.id == target)?.waker.clone())
            .flatten();
        match waker {
            Some(waker) => waker.wake(),
            None => task.wake(),
        }
    }

    fn set_message(&self, message: Option<Rc<str>>) {
        if message.is_some() || self.extra.borrow().is_some() {
            self.with_extra(|extra| extra.message = message);
        }
    }

    /// Unwinds the scope that is being polled, as a cancellation that was met there.
    pub(crate) fn raise(&self, message: Option<Rc<str>>) {
        self.pending.set(self.catching(self.scope.get()));
        self.set_message(message);
    }

    // -- scopes ---------------------------------------------------------------------------------------------------

    /// Opens a scope inside the one that is being polled.
    pub(crate) fn open_scope(&self, catches: bool) -> u32 {
        let around = self.scope.get();
        let id = self.with_extra(|extra| {
            extra.next_scope += 1;
            let id = extra.next_scope + ROOT;
            extra.scopes.push(OpenScope { id, around, catches, waker: None });
            id
        });
        let pending = self.pending.get();
        if catches && pending != NONE {
            let inside = self.look_extra(|extra| extra.is_within(id, pending)).unwrap_or(false);
            if inside {
                self.pending.set(id);
            }
        }
        id
    }

    pub(crate) fn close_scope(&self, id: u32) {
        let closed = self.look_extra(|extra| {
            let at = extra.scopes.iter().rposition(|open| open.id == id)?;
            Some(extra.scopes.remove(at))
        });
        if let Some(open) = closed.flatten()
            && self.pending.get() == id
        {
            self.pending.set(self.catching(open.around));
        }
    }

    /// The innermost catching scope that is `scope` or around it.
    fn catching(&self, scope: u32) -> u32 {
        self.look_extra(|extra| {
            let mut at = scope;
            while let Some(open) = extra.scopes.iter().find(|open| open.id == at) {
                if open.catches {
                    return at;
                }
                at = open.around;
            }
            ROOT
        })
        .unwrap_or(ROOT)
    }

    /// Lets an open scope catch from now on.
    pub(crate) fn make_catching(&self, id: u32) {
        self.look_extra(|extra| {
            if let Some(open) = extra.scopes.iter_mut().find(|open| open.id == id) {
                open.catches = true;
            }
        });
    }

    /// Makes `id` the scope that is being polled; gives back which one was.
    pub(crate) fn enter_scope(&self, id: u32) -> u32 {
        self.scope.replace(id)
    }

    /// Whether the scope `id` is to be unwound now; if so, that is done with.
    pub(crate) fn take_delivery(&self, id: u32) -> bool {
        let due = self.pending.get() == id;
        if due {
            self.pending.set(NONE);
        }
        due
    }

    /// Keeps the waker of a scope, through which a cancellation reaches it.
    pub(crate) fn keep_waker(&self, id: u32, waker: &Waker) {
        self.look_extra(|extra| {
            if let Some(open) = extra.scopes.iter_mut().rfind(|open| open.id == id) {
                match &mut open.waker {
                    Some(held) => held.clone_from(waker),
                    None => open.waker = Some(waker.clone()),
                }
            }
        });
    }
}

impl Extra {
    /// Whether the scope `id` is `around` or lies inside it.
    fn is_within(&self, id: u32, around: u32) -> bool {
        let mut at = id;
        loop {
            if at == around || around == ROOT {
                return true;
            }
            match self.scopes.iter().find(|open| open.id == at) {
                Some(open) => at = open.around,
                None => return false,
            }
        }
    }
}

impl CoreMeta for Meta {
    #[inline]
    fn before_poll(&self) -> bool {
        self.forget_waiting();
        self.scope.set(ROOT);
        let goes_on = self.pending.get() != ROOT;
        if !goes_on {
            self.set_flag(UNWINDING, true);
        }
        goes_on
    }

    #[inline]
    fn after_poll(&self, pending: bool) -> bool {
        let took_ns = lap_ns();
        if took_ns >= slow_ns() {
            self.report_slow(took_ns);
        }
        let goes_on = pending && self.pending.get() != ROOT;
        if pending && !goes_on {
            self.set_flag(UNWINDING, true);
        }
        goes_on
    }

    #[inline]
    fn abandoned(&self, id: u64) {
        if self.flag(UNRETRIEVED) {
            self.report_unretrieved(id);
        }
    }

    #[inline]
    fn completed(&self, task: &TaskRef, end: Option<&End>) {
        self.forget_waiting();
        if let Some(end) = end {
            self.ended_without_value(end);
        }
        if self.extra.borrow().is_some() {
            self.tell_the_end(task);
        }
    }
}

impl Meta {
    #[cold]
    fn report_slow(&self, took_ns: u64) {
        let task = TaskRef::current().map(|task| self.reported(task.id()));
        let kind = ReportKind::SlowCallback(Duration::from_nanos(took_ns));
        report(&Report { kind, task, detail: None });
        // The time the handler took is nobody's.
        aioxide_core::clock::mark();
    }

    #[cold]
    fn ended_without_value(&self, end: &End) {
        self.set_flag(UNWINDING, false);
        match end {
            End::Cancelled => self.set_flag(CANCELLED, true),
            End::Panicked(text) => {
                self.set_flag(PANICKED, true);
                self.note_failure(text.clone().unwrap_or_else(|| "panic without a text".to_owned()));
            }
        }
    }

    fn tell_the_end(&self, task: &TaskRef) {
        let (waiters, callbacks) = self
            .with_extra(|extra| (std::mem::take(&mut extra.waiters), std::mem::take(&mut extra.callbacks)));
        for (_, waker) in waiters {
            waker.wake();
        }
        if !callbacks.is_empty() {
            super::run_callbacks(AnyTask::from_ref(task.clone()), callbacks);
        }
    }

    /// Reports a failure that nobody has looked at.
    #[cold]
    fn report_unretrieved(&self, id: u64) {
        let (task, detail) = (Some(self.reported(id)), self.failure());
        report(&Report { kind: ReportKind::NeverRetrieved, task, detail });
    }

    /// Reports a callback that panicked.
    pub(crate) fn report_callback(&self, id: u64, detail: Option<String>) {
        report(&Report { kind: ReportKind::CallbackPanicked, task: Some(self.reported(id)), detail });
    }
}

/// asyncio's numbering.
pub(crate) fn default_name(id: u64) -> String {
    format!("Task-{id}")
}

//! What this face keeps with each task: name, place, counts of cancellation, open scopes, who waits.

mod cancel;
mod waits;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::Location;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use aioxide_core::clock::lap_ns;
use aioxide_core::task::{End, Meta as CoreMeta, TaskRef, Then};

use super::AnyTask;
use super::local::Context;
use super::scopes::{Effects, Latest, Scopes};
use super::waiting::{Operation, Waiter, Waiting};
use crate::error::Cancelled;
use crate::line::Line;
use crate::report::{Report, ReportKind, ReportedTask, report, slow_ns};
use crate::wake::HeldPanic;

/// The task belongs to the crate's own machinery: not listed.
pub(crate) const HIDDEN: u16 = 1;
/// A future of the task is being dropped because of a cancellation.
const UNWINDING: u16 = 1 << 1;
/// The task failed and nobody has looked.
const UNRETRIEVED: u16 = 1 << 2;
/// The task ended as cancelled.
const CANCELLED: u16 = 1 << 3;
/// The task ended by a panic.
const PANICKED: u16 = 1 << 4;
/// `waiting` holds something.
const WAITING: u16 = 1 << 5;
/// The whole future is to be dropped at the next occasion.
const ROOT_DUE: u16 = 1 << 6;
/// No scope was polled since `waiting` was said: it is what the task does, and open scopes beside it are not looked after.
const WAITING_LAST: u16 = 1 << 10;
/// Some scope was offered a cancellation that it has not taken.
const OFFERED: u16 = 1 << 7;
/// A cancellation that is being handed on has come by, and those behind it are under way.
const UNDER_WAY: u16 = 1 << 8;
/// The same, and all behind it have been asked.
const ASKED: u16 = 1 << 9;
/// Something stands in `asked`.
const MUST_CANCEL: u16 = 1 << 11;
/// It waits for more than what it says.
#[cfg(feature = "monitor")]
const SEVERAL: u16 = 1 << 13;
/// The poll is over, but for what is done at its end.
const POLL_OVER: u16 = 1 << 12;
/// What stands in `waiting` is not what the task waits for any more, or not that alone: a cancellation is not handed to it.
const SUPERSEDED: u16 = 1 << 14;

/// The data of a task of this face.
pub(crate) struct Meta {
    place: &'static Location<'static>,
    /// The type of its future.
    #[cfg(feature = "monitor")]
    kind: &'static str,
    #[cfg(feature = "monitor")]
    steps: Steps,
    spawned_ns: u64,
    cancelling: Cell<u32>,
    /// The scope that is being polled.
    scope: Cell<u32>,
    /// The scope in which `waiting` was said.
    waiting_scope: Cell<u32>,
    flags: Cell<u16>,
    /// The number of the last poll; it may begin again at 0.
    poll: Cell<u16>,
    /// How many races have been decided; it may begin again at 0.
    races: Cell<u16>,
    /// The operation waited for; tasks and groups stand in `waiting`, with a flag, since most polls have none.
    waiting_operation: Cell<Option<Operation>>,
    waiting: Cell<Waiting>,
    context: RefCell<Context>,
    extra: RefCell<Option<Box<Extra>>>,
}

pub(crate) use super::scopes::ROOT;

pub(crate) type Callback = Box<dyn FnOnce(&AnyTask)>;

/// The polls of a task.
#[cfg(feature = "monitor")]
#[derive(Default)]
struct Steps {
    count: Cell<u64>,
    /// When the one under way began; 0 when that is not measured.
    began_ns: Cell<u64>,
    ran_ns: Cell<u64>,
}

#[cfg(feature = "monitor")]
impl Steps {
    #[inline]
    fn begin(&self) {
        self.count.set(self.count.get() + 1);
        if aioxide_monitor::ends::are_noted() {
            self.began_ns.set(aioxide_core::clock::Clock::Monotonic.now_ns());
        }
    }

    #[inline]
    fn end(&self) {
        let began = self.began_ns.replace(0);
        if began > 0 {
            let took = aioxide_core::clock::Clock::Monotonic.now_ns().saturating_sub(began);
            self.ran_ns.set(self.ran_ns.get() + took);
        }
    }
}

/// What most tasks never need.
#[derive(Default)]
struct Extra {
    name: Option<Rc<str>>,
    message: Option<Rc<str>>,
    failure: Option<String>,
    callbacks: Line<Callback>,
    waiters: Line<Waiter>,
    scopes: Option<Scopes>,
    /// The scopes that were asked to end during the poll that goes on, in order, and those of them that are open yet.
    asked: Vec<u32>,
    is_asked: HashSet<u32>,
}

impl Meta {
    #[inline]
    pub(crate) fn new(
        place: &'static Location<'static>,
        kind: &'static str,
        spawned_ns: u64,
        flags: u16,
        context: Context,
        name: Option<Rc<str>>,
    ) -> Self {
        #[cfg(not(feature = "monitor"))]
        let _told_to_nobody = kind;
        let extra = name.map(|name| Box::new(Extra { name: Some(name), ..Extra::default() }));
        Self {
            place,
            #[cfg(feature = "monitor")]
            kind,
            #[cfg(feature = "monitor")]
            steps: Steps::default(),
            spawned_ns,
            cancelling: Cell::new(0),
            scope: Cell::new(ROOT),
            waiting_scope: Cell::new(ROOT),
            flags: Cell::new(flags),
            poll: Cell::new(0),
            waiting_operation: Cell::new(None),
            waiting: Cell::new(Waiting::Nothing),
            races: Cell::new(0),
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
    fn flag(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    #[inline]
    fn set_flag(&self, flag: u16, on: bool) {
        let others = self.flags.get() & !flag;
        self.flags.set(if on { others | flag } else { others });
    }

    pub(crate) fn place(&self) -> &'static Location<'static> {
        self.place
    }

    #[cfg(feature = "monitor")]
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// How many steps the task has run, and for how long, since somebody asked.
    #[cfg(feature = "monitor")]
    pub(crate) fn steps(&self) -> (u64, Duration) {
        (self.steps.count.get(), Duration::from_nanos(self.steps.ran_ns.get()))
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

    // -- the end --------------------------------------------------------------------------------------------------

    /// Adds somebody to be told of the end; the key takes it back.
    pub(crate) fn add_waiter(&self, waiter: Waiter) -> u64 {
        self.with_extra(|extra| extra.waiters.push(waiter))
    }

    /// Adds a waker for the end, or renews that of the key.
    pub(crate) fn keep_waiter(&self, key: Option<u64>, waker: &Waker) -> u64 {
        let Some(key) = key else { return self.add_waiter(Waiter::Task(waker.clone())) };
        let known = self.look_extra(|extra| match extra.waiters.get(key) {
            Some(Waiter::Task(held)) => held.will_wake(waker),
            _ => true,
        });
        if known == Some(false) {
            let waker = waker.clone();
            let old = self.look_extra(|extra| {
                extra.waiters.get_mut(key).map(|held| std::mem::replace(held, Waiter::Task(waker)))
            });
            drop(old);
        }
        key
    }

    pub(crate) fn remove_waiter(&self, key: u64) {
        let removed = self.look_extra(|extra| extra.waiters.remove(key));
        drop(removed);
    }

    pub(crate) fn add_callback(&self, callback: Callback) -> u64 {
        self.with_extra(|extra| extra.callbacks.push(callback))
    }

    pub(crate) fn remove_callback(&self, key: u64) -> bool {
        self.look_extra(|extra| extra.callbacks.remove(key)).flatten().is_some()
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

    // -- scopes ---------------------------------------------------------------------------------------------------

    #[inline]
    pub(crate) fn poll_number(&self) -> u16 {
        self.poll.get()
    }

    /// Whether the poll with this number is the one that goes on, or the one before.
    #[inline]
    pub(crate) fn is_latest_but_one(&self, poll: u16) -> bool {
        self.poll.get().wrapping_sub(poll) <= 1
    }

    fn latest(&self, task: &TaskRef) -> Latest {
        Latest { poll: self.poll.get(), goes_on: task.is_running() && !self.flag(POLL_OVER) }
    }

    fn look_scopes<T>(&self, look: impl FnOnce(&mut Scopes) -> T) -> Option<T> {
        self.look_extra(|extra| extra.scopes.as_mut().map(look)).flatten()
    }

    /// Opens a scope inside the one that is being polled.
    pub(crate) fn open_scope(&self, catches: bool) -> u32 {
        let around = self.scope.get();
        let takes_over = catches && self.flag(ROOT_DUE);
        let poll = self.poll.get();
        let id = self.with_extra(|extra| extra.scopes.get_or_insert_default().open(around, catches, poll));
        if takes_over {
            self.set_flag(ROOT_DUE, false);
            let _not_polled_yet = self.make_due(id, ROOT);
        }
        id
    }

    pub(crate) fn close_scope(&self, task: &TaskRef, id: u32) {
        if self.waiting_scope.get() == id {
            // What waited inside is ready or dropped.
            self.waiting_scope.set(ROOT);
            self.set_flag(SUPERSEDED, self.flag(WAITING));
        }
        self.forget_asked(id);
        if !self.flag(OFFERED) {
            let waker = self.look_scopes(|scopes| scopes.remove(id));
            drop(waker);
        } else if let Some(effects) = self.look_scopes(|scopes| scopes.close(id)) {
            let (poll_again, held) = self.apply(effects, task);
            if poll_again {
                task.wake();
            }
            held.resume();
        }
    }

    /// Wakes and drops what a change of the scopes leaves behind; whether the task is to be polled again at once, and what panicked.
    fn apply(&self, effects: Effects, task: &TaskRef) -> (bool, HeldPanic) {
        let Effects { root_due, poll_in_turn, poll_again, wake, old } = effects;
        let offered = self.look_scopes(|scopes| scopes.has_offers()).unwrap_or(false);
        self.set_flag(OFFERED, offered);
        if root_due {
            self.set_flag(ROOT_DUE, true);
        }
        let mut held = HeldPanic::default();
        wake.into_iter().for_each(|waker| held.run(|| waker.wake()));
        if root_due || poll_in_turn {
            task.wake();
        }
        old.into_iter().for_each(|waker| held.run(|| drop(waker)));
        (poll_again, held)
    }

    /// The owner of a scope asks what is inside to end: it catches from now on.
    pub(crate) fn note_request(&self, id: u32) {
        self.look_scopes(|scopes| {
            scopes.make_catching(id);
            scopes.set_requested(id, true);
        });
    }

    /// The owner of a scope takes its request back; how many others are open for it then.
    pub(crate) fn take_request_back(&self, id: u32) -> u32 {
        self.look_scopes(|scopes| scopes.set_requested(id, false));
        self.uncancel_quietly();
        self.open_requests(id)
    }

    /// Makes `id` the scope that is being polled; gives back which one was.
    pub(crate) fn enter_scope(&self, id: u32) -> u32 {
        self.set_flag(WAITING_LAST, false);
        let around = self.scope.replace(id);
        self.look_scopes(|scopes| scopes.enter(id, around, self.poll.get()));
        around
    }

    /// Ends what [`enter_scope`](Self::enter_scope) began.
    #[inline]
    pub(crate) fn leave_scope(&self, around: u32) {
        self.scope.set(around);
    }

    /// Whether the scope `id` is to be unwound now; if so, that is done with.
    #[inline]
    pub(crate) fn take_delivery(&self, id: u32) -> bool {
        self.flag(OFFERED) && self.look_scopes(|scopes| scopes.take_delivery(id)).unwrap_or(false)
    }

    /// Keeps the waker of a scope, through which a cancellation reaches it.
    pub(crate) fn keep_waker(&self, task: &TaskRef, id: u32, waker: &Waker) {
        let known = self.look_scopes(|scopes| scopes.waker(id).is_some_and(|held| held.will_wake(waker)));
        if known == Some(false) {
            let (waker, is_direct) = (waker.clone(), task.is_woken_by(waker));
            let old = self.look_scopes(|scopes| scopes.set_waker(id, waker, is_direct));
            drop(old);
        }
    }
}

impl CoreMeta for Meta {
    #[inline]
    fn before_poll(&self) -> bool {
        self.forget_waiting();
        self.scope.set(ROOT);
        self.poll.set(self.poll.get().wrapping_add(1));
        #[cfg(feature = "monitor")]
        self.steps.begin();
        !self.flag(ROOT_DUE | OFFERED) || self.begin_poll_of_cancelled()
    }

    #[inline]
    fn after_poll(&self, pending: bool) -> Then {
        #[cfg(feature = "monitor")]
        self.steps.end();
        let took_ns = lap_ns();
        if took_ns >= slow_ns() {
            self.report_slow(took_ns);
        }
        if pending && self.flag(ROOT_DUE | OFFERED | MUST_CANCEL) {
            return self.end_poll_of_cancelled();
        }
        Then::Wait
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
        #[cfg(feature = "monitor")]
        if aioxide_monitor::ends::are_noted() {
            self.note_end(task.id());
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

    #[cfg(feature = "monitor")]
    #[cold]
    fn note_end(&self, id: u64) {
        use aioxide_monitor::schema::Why;
        let (why, exception) = match (self.is_cancelled(), self.is_panicked(), self.failure().is_some()) {
            (true, ..) => (Why::Cancelled, ""),
            (_, true, _) => (Why::Raised, "panic"),
            (_, _, true) => (Why::Raised, "error"),
            _ => (Why::Returned, ""),
        };
        let name = self.name().map_or_else(|| default_name(id), |name| name.to_string());
        let exception = exception.to_owned();
        aioxide_monitor::ends::note(aioxide_monitor::ends::End { id, name, why, exception });
    }

    fn tell_the_end(&self, task: &TaskRef) {
        #[cfg(feature = "watchdog")]
        crate::watchdog::forget(task.id());
        let waiters = self.with_extra(|extra| extra.waiters.take_all());
        let mut held = HeldPanic::default();
        for waiter in waiters {
            held.run(|| match waiter {
                Waiter::Task(waker) => waker.wake(),
                Waiter::Tally(tally) => tally.ended(self),
            });
        }
        let callbacks: Vec<_> = self.with_extra(|extra| extra.callbacks.take_all()).collect();
        if !callbacks.is_empty() {
            super::run_callbacks(AnyTask::from_ref(task.clone()), callbacks);
        }
        // Nobody called this who could be told, and the core has not done yet with the task: the panic hook has told it.
        held.end();
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

//! The event loop: one ready queue, timers, reactor and inbox, and the order of an iteration's phases.

mod observed;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::LoopId;
use crate::clock::{Clock, coarse_ns, mark, marked};
use crate::current::{Entered, LoopHandle, enter};
use crate::destroy;
use crate::observer::Observed;
use crate::reactor::Reactor;
use crate::ready::Ready;
use crate::remote::{Inbox, Remote};
use crate::runnable::Runnable;
use crate::sys::{Event, Events, Interest, Selector};
use crate::task::{Notified, Schedule, TaskList};
use crate::timers::{TimerKey, Timers};

/// How many entries of a hot loop may run before the kernel is asked again, where the face does not say otherwise.
///
/// Asking with a zero timeout costs as much as a dozen short polls; tokio's figure, 61, measured well here too.
pub const DEFAULT_POLL_INTERVAL: u32 = 61;

/// A wait that ends so much after the deadline was not late by itself: something stopped the process.
const JUMP_NS: u64 = 20_000_000;

/// A stop was asked for.
const STOPPING: u8 = 1;
/// Somebody sees what runs.
const OBSERVED: u8 = 1 << 1;

/// What a timer does when it is due.
enum Due<R> {
    Run(R),
    Wake(Waker),
}

/// An event loop over entries of type `R`.
///
/// One thread owns it. All methods take `&self`: an entry that runs may call any of them.
///
/// # Examples
/// See the crate's documentation for a whole loop in twenty lines.
pub struct EventLoop<R: Runnable> {
    id: LoopId,
    ready: Ready<R>,
    timers: RefCell<Timers<Due<R>>>,
    reactor: Rc<Reactor>,
    inbox: Arc<Inbox<R::Posted>>,
    scheduler: Arc<dyn Schedule>,
    tasks: Rc<TaskList>,
    clock: Clock,
    told_ns: Cell<Option<u64>>,
    events: Cell<Option<Events>>,
    posted: Cell<Vec<R::Posted>>,
    /// [`STOPPING`], [`OBSERVED`]: what an iteration must not pass over.
    attention: Cell<u8>,
    observed: Observed<R>,
    closed: Cell<bool>,
    outside_work: Cell<i32>,
    poll_interval: Cell<u32>,
    run_since_poll: Cell<u32>,
    /// How many entries of the batch under way are still to run.
    left: Cell<usize>,
    last_poll_ns: Cell<u64>,
}

impl<R: Runnable> std::fmt::Debug for EventLoop<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EventLoop")
            .field("id", &self.id)
            .field("ready", &self.ready.len())
            .field("timers", &self.timers.borrow().len())
            .field("tasks", &self.tasks.len())
            .field("closed", &self.closed.get())
            .finish_non_exhaustive()
    }
}

impl<R: Runnable> EventLoop<R> {
    /// A loop on the system's clock.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM: it needs two descriptors.
    pub fn new() -> io::Result<Rc<Self>> {
        Self::with_clock(Clock::Monotonic)
    }

    /// A loop on a clock of the caller's choice.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock(clock: Clock) -> io::Result<Rc<Self>> {
        let id = LoopId::next();
        let inbox = Arc::new(Inbox::new(id)?);
        let reactor = Rc::new(Reactor::of_loop(Some(id))?);
        reactor.watch_wakeup(inbox.wakeup_fd())?;
        Ok(Rc::new(Self {
            id,
            ready: Ready::new(),
            timers: RefCell::new(Timers::new()),
            reactor,
            scheduler: Arc::clone(&inbox) as Arc<dyn Schedule>,
            inbox,
            tasks: Rc::new(TaskList::new()),
            clock,
            told_ns: Cell::new(None),
            events: Cell::new(Some(Events::new())),
            posted: Cell::new(Vec::new()),
            attention: Cell::new(0),
            observed: Observed::default(),
            closed: Cell::new(false),
            outside_work: Cell::new(0),
            poll_interval: Cell::new(DEFAULT_POLL_INTERVAL),
            run_since_poll: Cell::new(0),
            left: Cell::new(0),
            last_poll_ns: Cell::new(coarse_ns()),
        }))
    }

    /// Queues `runnable` behind what is ready.
    #[inline]
    pub fn call_soon(&self, runnable: R) {
        self.ready.push(runnable);
    }

    /// Queues `runnable` where `call_soon` would have put it when `place` entries were ready.
    ///
    /// For what is found out later than it happened, within the entry that runs: nothing has left the queue meanwhile.
    pub fn call_soon_at(&self, place: usize, runnable: R) {
        self.ready.insert(place, runnable);
    }

    /// Queues `runnable` at `deadline_ns` of the loop's clock, never earlier.
    pub fn call_at(&self, deadline_ns: u64, runnable: R) -> TimerKey {
        self.timers.borrow_mut().insert(deadline_ns, Due::Run(runnable))
    }

    /// Takes back a timer that has not fired.
    pub fn cancel_call(&self, key: TimerKey) -> Option<R> {
        match self.timers.borrow_mut().cancel(key)? {
            Due::Run(runnable) => Some(runnable),
            Due::Wake(_) => None,
        }
    }

    /// What other threads post through.
    pub fn remote(&self) -> Remote<R::Posted> {
        Remote::new(Arc::clone(&self.inbox))
    }

    /// Ends the loop's wait if it is in one.
    ///
    /// For a face whose own lock lets other threads touch the queue (Python's): they push first, then call this.
    #[inline]
    pub fn interrupt(&self) {
        self.inbox.interrupt();
    }

    /// Lets the next iteration ask the kernel and look at the timers, however few entries have run since the last time.
    #[inline]
    pub fn poll_soon(&self) {
        self.run_since_poll.set(u32::MAX);
    }

    /// Says what the time is, for timers and waits: a program has put a clock of its own in the place of the loop's.
    ///
    /// It stays until the next call; `None` lets the loop look at its clock again.
    pub fn tell_time(&self, now_ns: Option<u64>) {
        self.told_ns.set(now_ns);
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The watched descriptors.
    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    /// How many entries are ready.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Looks at the ready entries in order.
    pub fn for_each_ready(&self, look: impl FnMut(&R)) {
        self.ready.for_each(look);
    }

    /// How many timers are pending, wakers of Rust futures included.
    pub fn timers_len(&self) -> usize {
        self.timers.borrow().len()
    }

    /// How many keys the timer heap holds, those of cancelled timers included.
    pub fn timer_heap_len(&self) -> usize {
        self.timers.borrow().heap_len()
    }

    /// Looks at the pending timers that hold an entry, with their deadlines, in no order.
    pub fn for_each_timer(&self, mut look: impl FnMut(u64, &R)) {
        for (deadline_ns, due) in self.timers.borrow().iter() {
            if let Due::Run(runnable) = due {
                look(deadline_ns, runnable);
            }
        }
    }

    /// How many entries may run before the kernel is asked for events again, once the loop is hot.
    ///
    /// It is hot when it has been busy for 1 000 iterations in which the kernel had nothing, no descriptor was added and
    /// nothing was written ([`Reactor::expect_events`]). Iterations that have something to run then skip the question until
    /// that many entries have run, or a tick of the coarse clock (a few milliseconds) has passed. 0 never skips it.
    pub fn set_poll_interval(&self, entries: u32) {
        self.poll_interval.set(entries);
        self.reactor.expect_events();
    }

    /// See [`set_poll_interval`](Self::set_poll_interval).
    pub fn poll_interval(&self) -> u32 {
        self.poll_interval.get()
    }

    /// Makes this the thread's current loop until the guard is dropped.
    pub fn enter(self: &Rc<Self>) -> Entered {
        enter(Rc::clone(self) as Rc<dyn LoopHandle>)
    }

    /// Runs iterations until [`stop`](Self::stop) is called or an entry breaks off.
    ///
    /// # Errors
    /// An error of the selector that is none of a descriptor's; `Interrupted` is not one.
    pub fn run_forever(self: &Rc<Self>, context: &mut R::Context<'_>) -> io::Result<ControlFlow<()>> {
        let _entered = self.enter();
        loop {
            if self.run_once(context)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if self.is_stopping() {
                self.clear_stop();
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    /// Lets the iteration under way be the last; if none is, the next one.
    pub fn stop(&self) {
        self.attention.set(self.attention.get() | STOPPING);
    }

    /// Whether a stop was asked for that has not happened yet.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.attention.get() & STOPPING != 0
    }

    /// Forgets a stop that was asked for.
    pub fn clear_stop(&self) {
        self.attention.set(self.attention.get() & !STOPPING);
    }

    /// One iteration: [`poll`](Self::poll), then [`run_batch`](Self::run_batch). The loop must be entered.
    ///
    /// # Errors
    /// As [`poll`](Self::poll), but an interrupted wait counts as one without events.
    pub fn run_once(&self, context: &mut R::Context<'_>) -> io::Result<ControlFlow<()>> {
        if self.needs_poll() {
            match self.poll(context) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            if self.is_observed() {
                return Ok(self.run_observed_batch(context));
            }
        }
        Ok(self.run_batch(context))
    }

    /// Whether the kernel, the inbox and the timers are to be asked before the next batch.
    #[inline]
    pub fn needs_poll(&self) -> bool {
        self.run_since_poll.get() >= self.entries_between_polls()
            || self.ready.is_empty()
            || self.inbox.is_pending()
            || self.attention.get() != 0
            || (if R::MARKS_TIME { marked() } else { coarse_ns() }) != self.last_poll_ns.get()
    }

    /// Where nothing is watched and no timer is set, there is nothing to be early or late for: such a loop is as good as hot.
    #[inline]
    fn entries_between_polls(&self) -> u32 {
        if self.reactor.watched() == 0 && self.timers.borrow().is_empty() {
            self.poll_interval.get()
        } else {
            self.reactor.patience().entries()
        }
    }

    /// Collects what has become ready: events of the selector, then the inbox, then due timers.
    ///
    /// It waits when nothing is ready, until the next deadline at most; the wait is wrapped in [`Runnable::block`].
    ///
    /// # Errors
    /// `Interrupted` when a signal handler ran during the wait (inbox and timers are still collected); else an error
    /// of the selector itself.
    pub fn poll(&self, context: &mut R::Context<'_>) -> io::Result<()> {
        self.run_since_poll.set(0);
        let mut timeout = self.wait_limit();
        if timeout != Some(Duration::ZERO) && !self.inbox.fall_asleep() {
            timeout = Some(Duration::ZERO);
        }
        let is_busy = timeout == Some(Duration::ZERO);
        // A busy loop that watches nothing has no question.
        let asks = !is_busy || self.reactor.watched() > 0;
        let mut waited = if asks { self.select(context, timeout) } else { Ok(false) };
        self.reactor.patience().asked(is_busy && !matches!(waited, Ok(true)), self.poll_interval.get());
        let mut now_ns = self.time_of_timers();
        if asks && self.may_have_missed(&waited, now_ns) {
            waited = waited.and(self.look_again());
            now_ns = self.time_of_timers();
        }
        self.collect_inbox();
        if self.clock.is_virtual() {
            self.advance_virtual_clock();
            now_ns = self.time_of_timers();
        }
        self.collect_timers(now_ns);
        self.last_poll_ns.set(mark());
        waited.map(|_| ())
    }

    /// Runs what is ready now, in order; what that adds waits for the next batch.
    ///
    /// `Break` when an entry broke off; what was behind it stays.
    #[inline]
    pub fn run_batch(&self, context: &mut R::Context<'_>) -> ControlFlow<()> {
        let batch = self.ready.len();
        self.run_since_poll.set(self.run_since_poll.get().saturating_add(batch as u32));
        self.within_batch(batch, context, |context| {
            while let Some(left) = self.left.get().checked_sub(1) {
                self.left.set(left);
                // An entry may have cleared the queue by closing the loop.
                let Some(runnable) = self.ready.pop() else { break };
                if !runnable.is_cancelled() {
                    runnable.run(context)?;
                }
            }
            ControlFlow::Continue(())
        })
    }

    /// Runs `run`, which runs the `batch` entries that stand first.
    #[inline]
    fn within_batch(
        &self,
        batch: usize,
        context: &mut R::Context<'_>,
        run: impl FnOnce(&mut R::Context<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // An entry may run the loop.
        let around = self.left.replace(batch);
        let flow = run(context);
        let ended = R::end_batch(context);
        self.left.set(around);
        if flow.is_break() { flow } else { ended }
    }

    /// How many entries of the batch under way are still to run: those stand first in the queue.
    #[inline]
    pub fn batch_left(&self) -> usize {
        self.left.get()
    }

    /// For how long the batch under way has been running, or the last one ran, to a tick of the coarse clock.
    #[inline]
    pub fn batch_age_ns(&self) -> u64 {
        coarse_ns().saturating_sub(self.last_poll_ns.get())
    }

    /// Drops everything: ready entries, timers, unfinished tasks, the loop's own descriptors; refuses posts from now on.
    /// Calling it again is fine.
    ///
    /// Not while the loop runs: a face refuses that first. Destructors run with the loop entered, and may still call it.
    pub fn close(self: &Rc<Self>) {
        if self.closed.replace(true) {
            return;
        }
        let _entered = self.enter();
        self.tasks.shut_down();
        destroy(self.inbox.close());
        destroy(self.posted.take());
        // Destructors may queue again: until nothing is left, which ends because spawning is over.
        while !self.ready.is_empty() {
            destroy(self.ready.take());
        }
        let due = self.timers.borrow_mut().drain();
        destroy(due);
        self.reactor.close();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// One question to the kernel; what it tells is queued. Whether it told anything.
    fn select(&self, context: &mut R::Context<'_>, timeout: Option<Duration>) -> io::Result<bool> {
        let mut events = self.events.take().unwrap_or_default();
        let waited = {
            let selector = self.reactor.selector();
            let mut wait = || ask(selector.as_ref(), &mut events, timeout);
            if timeout == Some(Duration::ZERO) { wait() } else { R::block(context, wait) }
        };
        let told = waited.is_ok() && !events.is_empty();
        if told {
            self.reactor.dispatch(events.iter(), |token| self.ready.push(R::from_io(token)));
        }
        self.events.set(Some(events));
        waited.map(|()| told)
    }

    /// Whether deadlines have passed while events may have come that the question to the kernel was too early for.
    ///
    /// So it is when the process was stopped (Ctrl-Z, a frozen container) or the machine slept, of which an interrupted
    /// wait or the clock tells. A deadline must not win against bytes that came before the process could look.
    fn may_have_missed(&self, waited: &io::Result<bool>, now_ns: u64) -> bool {
        if now_ns == 0 || self.clock.is_virtual() || self.told_ns.get().is_some() {
            return false;
        }
        let deadline_ns = self.timers.borrow_mut().next_deadline_ns();
        let late_ns = deadline_ns.map_or(0, |deadline_ns| now_ns.saturating_sub(deadline_ns));
        let interrupted = matches!(waited, Err(error) if error.kind() == io::ErrorKind::Interrupted);
        late_ns > if interrupted { 0 } else { JUMP_NS }
    }

    /// Asks the kernel again without waiting, until it has told all. A callback is queued once, however often it is told of.
    #[cold]
    fn look_again(&self) -> io::Result<bool> {
        let mut events = self.events.take().unwrap_or_default();
        let mut told: HashMap<u64, Interest> = HashMap::new();
        let mut waited = Ok(());
        // Each question but the last fills the buffer, so there are no more than descriptors.
        for _ in 0..=self.reactor.watched() {
            for event in events.iter() {
                let ready = told.entry(event.key).or_insert(Interest::NONE);
                *ready = ready.union(event.ready);
            }
            waited = ask(self.reactor.selector().as_ref(), &mut events, Some(Duration::ZERO));
            let news = events.iter().map(|event| {
                let known = told.get(&event.key).copied().unwrap_or(Interest::NONE);
                Event { ready: event.ready.without(known), ..event }
            });
            self.reactor.dispatch(news, |token| self.ready.push(R::from_io(token)));
            if waited.is_err() || !events.is_full() {
                break;
            }
        }
        self.events.set(Some(events));
        waited.map(|()| !told.is_empty())
    }

    fn wait_limit(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.is_stopping() {
            return Some(Duration::ZERO);
        }
        let deadline_ns = self.timers.borrow_mut().next_deadline_ns()?;
        let now_ns = self.timers_now_ns();
        if self.clock.is_virtual() && self.outside_work.get() > 0 && deadline_ns > now_ns {
            // Another thread is at work for us: time stands still until it answers.
            return None;
        }
        if self.clock.is_virtual() {
            return Some(Duration::ZERO);
        }
        Some(Duration::from_nanos(deadline_ns.saturating_sub(now_ns)))
    }

    /// A virtual clock jumps to the next deadline when neither the kernel nor another thread had anything.
    fn advance_virtual_clock(&self) {
        if self.clock.is_virtual()
            && self.ready.is_empty()
            && self.outside_work.get() == 0
            && !self.is_stopping()
        {
            let next = self.timers.borrow_mut().next_deadline_ns();
            if let Some(deadline_ns) = next {
                self.clock.advance_to(deadline_ns);
            }
        }
    }

    fn collect_inbox(&self) {
        let mut posted = self.posted.take();
        self.inbox.take_into(&mut posted);
        for item in posted.drain(..) {
            self.ready.push(R::from(item));
        }
        self.posted.set(posted);
    }

    /// The time against which timers are measured; 0, without a look at the clock, when there is none.
    fn time_of_timers(&self) -> u64 {
        if self.timers.borrow().is_empty() { 0 } else { self.timers_now_ns() }
    }

    fn timers_now_ns(&self) -> u64 {
        self.told_ns.get().unwrap_or_else(|| self.clock.now_ns())
    }

    fn collect_timers(&self, now_ns: u64) {
        loop {
            // The borrow ends with this statement: a waker may set timers.
            let due = self.timers.borrow_mut().pop_due(now_ns);
            match due {
                Some(Due::Run(runnable)) => self.ready.push(runnable),
                Some(Due::Wake(waker)) => crate::destroy::wake(waker),
                None => break,
            }
        }
    }
}

fn ask(selector: Option<&Selector>, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match selector {
        Some(selector) => selector.select(events, timeout),
        None => Err(io::Error::from_raw_os_error(libc::EBADF)),
    }
}

impl<R: Runnable> Drop for EventLoop<R> {
    fn drop(&mut self) {
        // Without a close the tasks' futures must still be dropped here, on the loop's thread.
        self.tasks.shut_down();
        drop(self.inbox.close());
    }
}

impl<R: Runnable> LoopHandle for EventLoop<R> {
    #[inline]
    fn id(&self) -> LoopId {
        self.id
    }

    #[inline]
    fn push_task(&self, task: Notified) {
        self.ready.push(R::from(task));
    }

    fn now_ns(&self) -> u64 {
        self.timers_now_ns()
    }

    #[inline]
    fn recent_ns(&self) -> u64 {
        if self.clock.is_virtual() { self.clock.now_ns() } else { self.last_poll_ns.get() }
    }

    fn add_timer(&self, deadline_ns: u64, waker: Waker) -> TimerKey {
        self.timers.borrow_mut().insert(deadline_ns, Due::Wake(waker))
    }

    fn cancel_timer(&self, key: TimerKey) {
        // Bound first: the waker's destructor must not run under the borrow.
        let cancelled = self.timers.borrow_mut().cancel(key);
        drop(cancelled);
    }

    fn has_timer(&self, key: TimerKey) -> bool {
        self.timers.borrow().contains(key)
    }

    fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    fn tasks(&self) -> &Rc<TaskList> {
        &self.tasks
    }

    fn scheduler(&self) -> &Arc<dyn Schedule> {
        &self.scheduler
    }

    fn count_outside_work(&self, change: i32) {
        self.outside_work.set(self.outside_work.get() + change);
    }
}

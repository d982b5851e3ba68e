//! What `get()` and `put(item)` give to `await`: an operation that ends at once if it can.
//!
//! NEW until it is first resumed, WAITING while its future is among the queue's waiters or was taken out of them to be
//! woken, then DONE. A wake-up grants nothing but a second look: somebody else may have been faster, and then it waits
//! again. Leaving WAITING by an exception wakes the next waiter if this one was woken.

use std::cell::Cell;
use std::ffi::CStr;

use super::limit::Limit;
use super::nowait::{self, Side, wake_next};
use super::traits::Traits;
use super::{Queue, QueueData, store, traits};
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early, reused};
use crate::ffi::holder::{Held, Link};
use crate::ffi::{Object, Outcome, Owned, Slot, call, raised};
use crate::future::{Future, State as FutureState, is_done, mark_blocking};
use crate::interp::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Waiting,
    Done,
}

/// What both operations have.
struct Wait {
    state: Cell<State>,
    queue: Link<QueueData>,
    future: Slot,
}

impl Wait {
    fn new(queue: &Queue) -> Self {
        Self { state: Cell::new(State::New), queue: Link::new(queue), future: Slot::new() }
    }

    /// The queue of an operation that was not resumed before, if no method of it is overridden.
    ///
    /// # Safety
    /// No Python code runs while the result is used, no object is released.
    #[inline(always)]
    unsafe fn plain_queue(&self) -> Option<&Queue> {
        if self.state.get() != State::New {
            return None;
        }
        // SAFETY: the caller's promise.
        let queue = unsafe { self.queue.peek()? };
        queue.seen.is_surely_plain(queue.object()).then_some(queue)
    }

    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Waiting => Stage::Suspended,
            State::Done => Stage::Done,
        }
    }

    /// Ends an operation that had not to wait.
    #[inline(always)]
    fn finish(&self) {
        self.state.set(State::Done);
        drop(self.queue.take());
    }

    /// Whether nothing is held any more.
    #[inline(always)]
    fn is_spent(&self) -> bool {
        self.state.get() == State::Done
    }

    /// Goes on after NEW or WAITING; returns the queue, and leaves the state at DONE until it waits again.
    #[inline(always)]
    fn resume(&self, side: Side) -> Outcome<Held<QueueData>> {
        match self.state.get() {
            State::New => {}
            State::Waiting => self.finish_wait(side)?,
            State::Done => return Err(reused()),
        }
        self.state.set(State::Done);
        self.queue.take().ok_or_else(reused)
    }

    fn finish_wait(&self, side: Side) -> Outcome<()> {
        let Some(future) = self.future.get() else { return Err(reused()) };
        if let Some(ours) = Future::exact(&future)
            && ours.state.get() == FutureState::Finished
            && ours.exception.is_empty()
        {
            self.future.clear();
            return Ok(());
        }
        let ended = match is_done(&future) {
            Ok(true) => call::call_method(&names().result, &[&future], None),
            Ok(false) => Err(resumed_too_early()),
            Err(raised) => Err(raised),
        };
        if let Err(raised) = ended {
            let exception = raised::take(raised);
            self.give_up(side)?;
            return Err(raised::put_back(exception));
        }
        self.future.clear();
        Ok(())
    }

    /// Waits in the queue's row.
    fn wait(&self, side: Side, queue: Held<QueueData>, traits: Traits) -> Outcome<Next> {
        let future = make_future(&queue, traits)?;
        side.line(&queue).push(future.clone())?;
        mark_blocking(&future)?;
        self.queue.put(queue);
        self.future.set(future.clone());
        self.state.set(State::Waiting);
        Ok(Next::Yield(future))
    }

    /// Ends by an exception: passes a wake-up on that came meanwhile.
    fn give_up(&self, side: Side) -> Outcome<()> {
        self.state.set(State::Done);
        let (Some(queue), future) = (self.queue.take(), self.future.take()) else { return Ok(()) };
        let Some(future) = future else { return Ok(()) };
        crate::task::cancel(&future, None)?;
        let queue = &*queue;
        side.line(queue).remove(&future)?;
        let traits = traits(queue)?;
        let useless = match side {
            Side::Getters => store::is_empty(queue, traits)?,
            Side::Putters => store::is_full(queue, traits)?,
        };
        if !useless && !is_cancelled(&future)? {
            wake_next(queue, traits, side)?;
        }
        Ok(())
    }

    /// An operation that is dropped while it waits gives up, as a coroutine does.
    #[inline]
    fn abandon(&self, side: Side) {
        if self.state.get() == State::Waiting {
            self.abandon_wait(side);
        }
    }

    #[cold]
    fn abandon_wait(&self, side: Side) {
        let queue = self.queue.slot().get_or_none();
        raised::shielded(&queue, || self.give_up(side));
    }
}

fn is_cancelled(future: &Object) -> Outcome<bool> {
    match Future::exact(future) {
        Some(future) => Ok(future.state.get() == FutureState::Cancelled),
        None => call::truth(&*call::call_method(&names().cancelled, &[future], None)?),
    }
}

/// A future of the loop that runs, to which the queue belongs from its first wait on.
#[inline]
fn make_future(queue: &Queue, traits: Traits) -> Outcome {
    if !traits.has(Traits::LOOP) {
        return queue.bound.future(queue.object());
    }
    let event_loop = call::call_method(&names().bound_loop, &[queue.object()], None)?;
    call::call_method(&names().create_future, &[&event_loop], None)
}

/// `get_nowait()` at the end of a `get` that has found an item.
#[inline(always)]
fn finish_get(queue: &Queue, traits: Traits) -> Outcome {
    if traits.is_plain() {
        return nowait::get_what_is_there(queue, traits);
    }
    if traits.has(Traits::GET_NOWAIT) {
        return call::call_method(&names().get_nowait, &[queue.object()], None);
    }
    nowait::get(queue, traits)
}

/// `put_nowait(item)` at the end of a `put` that has found room.
#[inline(always)]
fn finish_put(queue: &Queue, traits: Traits, item: Owned) -> Outcome {
    if traits.has(Traits::PUT_NOWAIT) {
        return call::call_method(&names().put_nowait, &[queue.object(), &item], None);
    }
    if traits.is_plain() && !queue.is_shutdown.get() {
        nowait::put_with_room(queue, traits, item)?;
    } else {
        nowait::put(queue, traits, item)?;
    }
    Ok(Owned::none())
}

/// `get()`.
struct Get {
    wait: Wait,
}

static GET: Home = Home::new();

impl Steps for Get {
    fn name(&self) -> &'static str {
        "Queue.get"
    }

    fn stage(&self) -> Stage {
        self.wait.stage()
    }

    fn awaited(&self) -> Option<Owned> {
        self.wait.future.get()
    }

    fn home() -> &'static Home {
        &GET
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [self.wait.queue.slot(), &self.wait.future].into_iter()
    }

    #[inline(always)]
    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        match this.get_at_once() {
            Some(item) => Ok(Next::Return(item)),
            None => this.get(this),
        }
    }

    #[inline(always)]
    fn is_spent(&self) -> bool {
        self.wait.is_spent()
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        this.wait.give_up(Side::Getters)
    }
}

impl Get {
    /// The item of a queue that has one and nobody who waits for room: most operations end here.
    #[inline(always)]
    fn get_at_once(&self) -> Option<Owned> {
        // SAFETY: nothing but fields of the queue's are looked at and changed.
        let queue = unsafe { self.wait.plain_queue()? };
        if !queue.putters.is_surely_empty() {
            return None;
        }
        let item = queue.items.pop_own()?;
        self.wait.finish();
        Some(item)
    }

    #[inline(never)]
    fn get(&self, this: &Awaitable<Self>) -> Outcome<Next> {
        let owner = self.wait.resume(Side::Getters)?;
        let queue = &*owner;
        let traits = traits(queue)?;
        if !store::is_empty(queue, traits)? {
            return finish_get(queue, traits).map(Next::Return);
        }
        if queue.is_shutdown.get() {
            return Err(nowait::shut_down());
        }
        this.show();
        self.wait.wait(Side::Getters, owner, traits)
    }
}

impl Drop for Get {
    fn drop(&mut self) {
        self.wait.abandon(Side::Getters);
    }
}

/// `put(item)`.
struct Put {
    wait: Wait,
    item: Slot,
}

static PUT: Home = Home::new();

impl Steps for Put {
    fn name(&self) -> &'static str {
        "Queue.put"
    }

    fn stage(&self) -> Stage {
        self.wait.stage()
    }

    fn awaited(&self) -> Option<Owned> {
        self.wait.future.get()
    }

    fn home() -> &'static Home {
        &PUT
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [self.wait.queue.slot(), &self.wait.future, &self.item].into_iter()
    }

    #[inline(always)]
    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        match this.put_at_once() {
            Some(()) => Ok(Next::Return(Owned::none())),
            None => this.put(this),
        }
    }

    #[inline(always)]
    fn is_spent(&self) -> bool {
        self.wait.is_spent() && self.item.is_empty()
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        let ended = this.wait.give_up(Side::Putters);
        this.item.clear();
        ended
    }
}

impl Put {
    /// Puts the item into a queue that has room and nobody who waits for an item or for the end: most end here.
    #[inline(always)]
    fn put_at_once(&self) -> Option<()> {
        // SAFETY: nothing but fields of the queue's are looked at and changed.
        let queue = unsafe { self.wait.plain_queue()? };
        let has_room = match (queue.items.own_len()?, queue.limit.get()) {
            (_, Limit::None) => true,
            (length, Limit::At(limit)) => length < limit,
            (_, Limit::Unknown) => false,
        };
        let nobody = queue.getters.is_surely_empty() && queue.finished.is_empty();
        if !has_room || !nobody || queue.is_shutdown.get() {
            return None;
        }
        queue.items.push_own(self.item.take()?);
        queue.unfinished.set(queue.unfinished.get() + 1);
        queue.is_finished.set(false);
        self.wait.finish();
        Some(())
    }

    #[inline(never)]
    fn put(&self, this: &Awaitable<Self>) -> Outcome<Next> {
        let owner = self.wait.resume(Side::Putters)?;
        let queue = &*owner;
        let traits = traits(queue)?;
        if !store::is_full(queue, traits)? {
            let item = self.item.take().unwrap_or_else(Owned::none);
            return finish_put(queue, traits, item).map(Next::Return);
        }
        if queue.is_shutdown.get() {
            return Err(nowait::shut_down());
        }
        this.show();
        self.wait.wait(Side::Putters, owner, traits)
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        self.wait.abandon(Side::Putters);
    }
}

/// Lets the collector see what it does not see of the operations that were not begun.
pub(crate) fn show_unseen() {
    Awaitable::<Get>::show_unseen();
    Awaitable::<Put>::show_unseen();
}

/// `get()`, not begun.
#[inline]
pub(super) fn get(queue: &Queue) -> Outcome {
    Awaitable::make_unseen(Get { wait: Wait::new(queue) })
}

/// `put(item)`, not begun.
#[inline]
pub(super) fn put(queue: &Queue, item: &Object) -> Outcome {
    let put = Put { wait: Wait::new(queue), item: Slot::new() };
    put.item.set(item.own());
    Awaitable::make_unseen(put)
}

/// Makes the types of both.
pub(super) fn make_kinds() -> Outcome<()> {
    const GET_NAME: &CStr = c"aioxide.QueueGet";
    const PUT_NAME: &CStr = c"aioxide.QueuePut";
    Awaitable::<Get>::make_kind(GET_NAME)?;
    Awaitable::<Put>::make_kind(PUT_NAME)
}

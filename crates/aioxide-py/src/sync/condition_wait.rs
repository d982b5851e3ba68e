//! What `Condition.wait` and `wait_for` give to `await`.
//!
//! States: NEW until it is first resumed; NOTIFIABLE while its future is among the condition's waiters and the lock is not
//! held; ACQUIRING while a future is among the lock's waiters; then DONE, with the lock held. `wait_for` goes from
//! ACQUIRING back to NOTIFIABLE until its predicate holds.
//!
//! An exception that comes while NOTIFIABLE waits for the lock before it is raised; a cancellation that comes while
//! ACQUIRING takes the place of one that came before, and the lock is waited for again. Whoever leaves by an exception may
//! have been notified, so another is.

use std::cell::Cell;

use super::condition::Condition;
use super::wait;
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, reused};
use crate::ffi::holder::{Holder, Link};
use crate::ffi::{Object, Outcome, Owned, Raised, Slot, call, raised};
use crate::future::mark_blocking;
use crate::interp::names;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Notifiable,
    Acquiring,
    Done,
}

pub(super) struct ConditionWait {
    state: Cell<State>,
    condition: Link<Condition>,
    /// That of `wait_for`.
    predicate: Slot,
    /// Among the condition's waiters or the lock's.
    future: Slot,
    /// What is to be raised once the lock is held.
    pending: Slot,
    /// What ended the wait for a notification: it is being handled while the lock is waited for.
    handled: Slot,
}

static HOME: Home = Home::new();

/// An awaitable that waits for a notification, or until `predicate()` is true.
pub(super) fn make(condition: &Holder<Condition>, predicate: Option<&Object>) -> Outcome {
    let wait = ConditionWait {
        state: Cell::new(State::New),
        condition: Link::new(condition),
        predicate: Slot::new(),
        future: Slot::new(),
        pending: Slot::new(),
        handled: Slot::new(),
    };
    wait.predicate.put(predicate.map(Object::own));
    Awaitable::make(wait)
}

/// Makes the type.
pub(super) fn make_kind() -> Outcome<()> {
    Awaitable::<ConditionWait>::make_kind(c"aioxide.ConditionWait")
}

impl ConditionWait {
    /// Tests the predicate; without one, `otherwise` counts.
    fn test(&self, otherwise: bool) -> Outcome<Option<Owned>> {
        let Some(predicate) = self.predicate.get() else {
            return Ok(otherwise.then(|| Owned::boolean(true)));
        };
        let result = call::call(&predicate, &[])?;
        Ok(call::truth(&result)?.then_some(result))
    }

    /// Releases the lock and waits for a notification.
    fn start(&self, condition: &Holder<Condition>) -> Outcome<Next> {
        let lock = condition.lock_or_raise()?;
        if !lock.is_locked() {
            return Err(raised::raise(raised::runtime_error(), "cannot wait on un-acquired lock"));
        }
        let future = condition.bound.future(condition.object())?;
        lock.unlock()?;
        condition.waiters.push(future.clone())?;
        mark_blocking(&future)?;
        self.future.set(future.clone());
        self.state.set(State::Notifiable);
        Ok(Next::Yield(future))
    }

    /// Takes the lock back, or waits for it.
    fn acquire(&self, condition: &Holder<Condition>) -> Outcome<Next> {
        match condition.lock_or_raise().and_then(|lock| wait::begin(&lock)) {
            Ok(None) => self.finish(condition),
            Ok(Some(future)) => {
                self.future.set(future.clone());
                self.state.set(State::Acquiring);
                Ok(Next::Yield(future))
            }
            Err(raised) => Err(self.fail(condition, raised)),
        }
    }

    /// The lock is held.
    fn finish(&self, condition: &Holder<Condition>) -> Outcome<Next> {
        self.state.set(State::Done);
        if let Some(exception) = self.pending.take() {
            let raised = match self.handled.take() {
                Some(handled) if handled.is(&exception) => raised::put_back(exception),
                Some(handled) => raised::handling(&handled, || raised::raise_object(exception)),
                // asyncio raises it again, so that its context is what the program handles around the wait.
                None => raised::raise_object(exception),
            };
            return Err(self.fail(condition, raised));
        }
        match self.test(true)? {
            Some(result) => Ok(Next::Return(result)),
            None => self.start(condition),
        }
    }

    /// Passes a notification on that may have been ours, and ends.
    fn fail(&self, condition: &Holder<Condition>, raised: Raised) -> Raised {
        let exception = raised::take(raised);
        self.state.set(State::Done);
        self.pending.clear();
        self.handled.clear();
        match condition.notify_some(1) {
            Ok(()) => raised::put_back(exception),
            Err(raised) => raised,
        }
    }

    /// The wait for a notification ended by an exception.
    fn interrupted(&self, exception: Owned) {
        self.handled.set(exception.clone());
        self.pending.set(exception);
    }

    /// The wait for the lock ended by an exception; its future is out of the row.
    fn acquiring_failed(&self, condition: &Holder<Condition>, exception: Owned) -> Outcome<Next> {
        if raised::is_kind(&exception, &names().cancelled_error) {
            self.pending.set(exception);
            return self.acquire(condition);
        }
        Err(self.fail(condition, raised::put_back(exception)))
    }
}

impl Steps for ConditionWait {
    fn name(&self) -> &'static str {
        if self.predicate.is_empty() { "Condition.wait" } else { "Condition.wait_for" }
    }

    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Done => Stage::Done,
            _ => Stage::Suspended,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.future.get()
    }

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [self.condition.slot(), &self.predicate, &self.future, &self.pending, &self.handled].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        let Some(condition) = this.condition.get() else { return Err(reused()) };
        match this.state.replace(State::Done) {
            State::New => match this.test(false)? {
                Some(result) => Ok(Next::Return(result)),
                None => this.start(&condition),
            },
            State::Notifiable => {
                let Some(future) = this.future.take() else { return Err(reused()) };
                if let Err(raised) = wait::settled(&future) {
                    this.interrupted(raised::take(raised));
                }
                condition.waiters.remove(&future)?;
                this.acquire(&condition)
            }
            State::Acquiring => {
                let Some(future) = this.future.take() else { return Err(reused()) };
                match condition.lock_or_raise().and_then(|lock| wait::go_on(&lock, &future)) {
                    Ok(()) => this.finish(&condition),
                    Err(raised) => this.acquiring_failed(&condition, raised::take(raised)),
                }
            }
            State::Done => Err(reused()),
        }
    }

    fn thrown(this: &Awaitable<Self>, exception: Owned) -> Outcome<Next> {
        let state = this.state.replace(State::Done);
        let (Some(condition), Some(future)) = (this.condition.get(), this.future.take()) else {
            return Err(raised::put_back(exception));
        };
        if state == State::Notifiable {
            condition.waiters.remove(&future)?;
            this.interrupted(exception);
            return this.acquire(&condition);
        }
        wait::go_away(&*condition.lock_or_raise()?, &future)?;
        this.acquiring_failed(&condition, exception)
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        let state = this.state.replace(State::Done);
        let (Some(condition), Some(future)) = (this.condition.get(), this.future.take()) else {
            return Ok(());
        };
        let lock = condition.lock_or_raise()?;
        if state == State::Acquiring {
            wait::go_away(&*lock, &future)?;
            return condition.notify_some(1);
        }
        condition.waiters.remove(&future)?;
        // The `async with` around it is about to release the lock.
        let held = wait::try_pass(&lock)?;
        condition.notify_some(1)?;
        if held {
            return Ok(());
        }
        Err(raised::raise(raised::runtime_error(), "coroutine ignored GeneratorExit"))
    }
}

//! What locks and events give to `await`: operations that end at once where they can, with no coroutine frame.
//!
//! The objects themselves are asyncio's, in Python, and keep their state in asyncio's attributes; what runs once per
//! acquisition is here: `Lock.acquire`, `async with lock`, `Event.wait`. An operation is
//! NEW until it is first resumed, WAITING while its future is among the object's waiters, then DONE. Leaving WAITING by an
//! exception gives what the future may have been granted to the next waiter: nothing is lost by a cancellation.

use std::cell::Cell;

use pyo3::ffi as c;

use crate::event_loop;
use crate::ffi::awaitable::{
    Awaitable, Home, Next, Steps, is_done, mark_blocking, resumed_too_early, reused,
};
use crate::ffi::kind::{Arguments, KindBuilder, method_fast, method_none};
use crate::ffi::{Object, Outcome, Owned, Slot, call, names, raised};
use crate::future::{Future, State as FutureState};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Acquire,
    /// `Acquire` that gives None, for `async with`.
    Enter,
    Wait,
    /// Done before it is awaited: `__aexit__`.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Waiting,
    Done,
}

struct Waiting {
    operation: Operation,
    state: Cell<State>,
    owner: Slot,
    future: Slot,
}

static HOME: Home = Home::new();

impl Steps for Waiting {
    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.owner, &self.future].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        advance(this)
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        if let (Some(owner), Some(future)) = (this.owner.get(), this.future.get()) {
            give_up(this, &owner, &future)?;
        }
        this.state.set(State::Done);
        Ok(())
    }
}

fn make(operation: Operation, owner: &Object) -> Outcome {
    let waiting =
        Waiting { operation, state: Cell::new(State::New), owner: Slot::new(), future: Slot::new() };
    waiting.owner.set(owner.own());
    Awaitable::make(waiting)
}

fn advance(this: &Waiting) -> Outcome<Next> {
    let Some(owner) = this.owner.get() else { return Err(reused()) };
    match this.state.get() {
        State::New if this.operation == Operation::Nothing => return finish(this, Owned::none()),
        State::New => {}
        State::Waiting => {
            let Some(future) = this.future.get() else { return Err(reused()) };
            if !is_done(&future)? {
                return Err(resumed_too_early());
            }
            if let Err(raised) = call::call_method(&names().result, &[&future], None) {
                let exception = raised::take(raised);
                give_up(this, &owner, &future)?;
                return Err(raised::put_back(exception));
            }
            this.future.clear();
            remove(&owner, &names().waiters, &future)?;
            if this.operation != Operation::Wait {
                // The lock was handed to us: nobody who comes later may take it first.
                call::set_attribute(&owner, &names().locked, &Owned::boolean(true))?;
            }
            return finish(this, value_of(this.operation));
        }
        State::Done => return Err(reused()),
    }
    this.state.set(State::Done);
    if let Some(value) = attempt(this, &owner)? {
        return finish(this, value);
    }
    let names = names();
    let future = make_future(&owner)?;
    call::call_method(&names.append, &[&*waiters_of(&owner)?, &future], None)?;
    mark_blocking(&future)?;
    this.future.set(future.clone());
    this.state.set(State::Waiting);
    Ok(Next::Yield(future))
}

/// A future of the loop that runs, to which the object belongs from its first wait on.
fn make_future(owner: &Object) -> Outcome {
    let names = names();
    let running = call::call(&names.get_running_loop_or_none, &[])?;
    if call::get_attribute(owner, &names.loop_attribute)?.is(&running)
        && let Some(state) = event_loop::state_of(&running)
        && state.own_classes.get()
    {
        return Future::make(&running, state);
    }
    let event_loop = call::call_method(&names.bound_loop, &[owner], None)?;
    call::call_method(&names.create_future, &[&event_loop], None)
}

fn finish(this: &Waiting, value: Owned) -> Outcome<Next> {
    this.state.set(State::Done);
    this.owner.clear();
    Ok(Next::Return(value))
}

fn value_of(operation: Operation) -> Owned {
    match operation {
        Operation::Acquire | Operation::Wait => Owned::boolean(true),
        _ => Owned::none(),
    }
}

/// Does the operation if it can be done now.
fn attempt(this: &Waiting, owner: &Object) -> Outcome<Option<Owned>> {
    let names = names();
    match this.operation {
        Operation::Acquire | Operation::Enter => {
            if call::truth(&*call::get_attribute(owner, &names.locked)?)? || any_waits(owner)? {
                return Ok(None);
            }
            call::set_attribute(owner, &names.locked, &Owned::boolean(true))?;
            Ok(Some(value_of(this.operation)))
        }
        Operation::Wait => {
            let is_set = call::truth(&*call::get_attribute(owner, &names.event_value)?)?;
            Ok(is_set.then(|| Owned::boolean(true)))
        }
        Operation::Nothing => Ok(Some(Owned::none())),
    }
}

/// Whether somebody waits for the lock who was not cancelled.
fn any_waits(owner: &Object) -> Outcome<bool> {
    let waiters = call::get_attribute(owner, &names().waiters)?;
    if waiters.is_none() || call::length(&waiters)? == 0 {
        return Ok(false);
    }
    call::any_item(&waiters, |waiter| {
        let cancelled = match Future::exact(waiter) {
            Some(future) => future.state.get() == FutureState::Cancelled,
            None => call::truth(&*call::call_method(&names().cancelled, &[waiter], None)?)?,
        };
        Ok(!cancelled)
    })
}

fn waiters_of(owner: &Object) -> Outcome {
    let names = names();
    let found = call::get_attribute(owner, &names.waiters)?;
    if !found.is_none() {
        return Ok(found);
    }
    // A lock makes its queue of waiters when the first one comes.
    let made = call::call(&names.deque, &[])?;
    call::set_attribute(owner, &names.waiters, &made)?;
    Ok(made)
}

/// `owner.name.remove(future)`, which may have been taken out already.
fn remove(owner: &Object, name: &Object, future: &Object) -> Outcome<()> {
    let waiters = call::get_attribute(owner, name)?;
    match call::call_method(&names().remove, &[&waiters, future], None) {
        Ok(_) => Ok(()),
        Err(raised) if raised::matches(raised::value_error()) => {
            raised::clear(raised);
            Ok(())
        }
        Err(raised) => Err(raised),
    }
}

/// The wait ends by an exception: passes on what was granted meanwhile.
fn give_up(this: &Waiting, owner: &Object, future: &Object) -> Outcome<()> {
    let names = names();
    this.state.set(State::Done);
    this.future.clear();
    this.owner.clear();
    match this.operation {
        Operation::Acquire | Operation::Enter => {
            remove(owner, &names.waiters, future)?;
            if !call::truth(&*call::get_attribute(owner, &names.locked)?)? {
                call::call_method(&names.wake_up_first, &[owner], None)?;
            }
        }
        Operation::Wait => remove(owner, &names.waiters, future)?,
        Operation::Nothing => {}
    }
    Ok(())
}

fn acquire(this: &Object) -> Outcome {
    make(Operation::Acquire, this)
}

fn enter(this: &Object) -> Outcome {
    make(Operation::Enter, this)
}

fn exit(this: &Object, _: &Arguments<'_>) -> Outcome {
    call::call_method(&names().release, &[this], None)?;
    make(Operation::Nothing, this)
}

fn wait(this: &Object) -> Outcome {
    make(Operation::Wait, this)
}

/// Makes the awaitable's type, and gives the bases of `aioxide.Lock` and `Event`.
pub(crate) fn make_kinds() -> Outcome<[(&'static str, Owned); 2]> {
    Awaitable::<Waiting>::make_kind(c"aioxide.Waiting")?;
    let empty = size_of::<c::PyObject>();
    let lock = KindBuilder::new().without_collector().methods([
        method_none!(c"acquire", acquire, c"Acquire the lock; wait until it is free."),
        method_none!(c"__aenter__", enter, c"Acquire the lock."),
        method_fast!(c"__aexit__", exit, c"Release the lock."),
    ]);
    let event = KindBuilder::new().without_collector().methods([method_none!(
        c"wait",
        wait,
        c"Wait until the event is set."
    )]);
    // SAFETY: instances of these have no data.
    unsafe {
        Ok([
            ("_LockCore", lock.build(c"aioxide._LockCore", empty, None)?),
            ("_EventCore", event.build(c"aioxide._EventCore", empty, None)?),
        ])
    }
}

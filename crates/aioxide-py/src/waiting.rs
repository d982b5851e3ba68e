//! What queues give to `await`: operations that end at once where they can, with no coroutine frame.
//!
//! The objects themselves are asyncio's, in Python, and keep their state in asyncio's attributes; what runs once per item
//! is here: `Queue.get` and `put`. An operation is NEW until it is first resumed, WAITING while its future is among the object's waiters, then DONE. Leaving WAITING by an
//! exception gives what the future may have been granted to the next waiter: nothing is lost by a cancellation.

use std::cell::Cell;

use pyo3::ffi as c;

use crate::event_loop;
use crate::ffi::awaitable::{
    Awaitable, Home, Next, Steps, is_done, mark_blocking, resumed_too_early, reused,
};
use crate::ffi::kind::{Arguments, KindBuilder, method_fast, method_none};
use crate::ffi::{Object, Outcome, Owned, Slot, call, names, raised};
use crate::future::Future;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Get,
    Put,
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
    item: Slot,
    future: Slot,
}

static HOME: Home = Home::new();

impl Steps for Waiting {
    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.owner, &self.item, &self.future].into_iter()
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

fn make(operation: Operation, owner: &Object, item: Option<&Object>) -> Outcome {
    let waiting = Waiting {
        operation,
        state: Cell::new(State::New),
        owner: Slot::new(),
        item: Slot::new(),
        future: Slot::new(),
    };
    waiting.owner.set(owner.own());
    waiting.item.put(item.map(Object::own));
    Awaitable::make(waiting)
}

fn advance(this: &Waiting) -> Outcome<Next> {
    let Some(owner) = this.owner.get() else { return Err(reused()) };
    match this.state.get() {
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
        }
        State::Done => return Err(reused()),
    }
    this.state.set(State::Done);
    if let Some(value) = attempt(this, &owner)? {
        return finish(this, value);
    }
    let names = names();
    let future = make_future(&owner)?;
    call::call_method(&names.append, &[&*waiters_of(this.operation, &owner)?, &future], None)?;
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

/// Whether an object's method is the one that asyncio's own class has: what that does is done without calling it.
fn is_stock(owner: &Object, name: &Object, stock: &Object) -> Outcome<bool> {
    Ok(call::get_attribute(owner.class(), name)?.is(stock))
}

fn finish(this: &Waiting, value: Owned) -> Outcome<Next> {
    this.state.set(State::Done);
    this.owner.clear();
    this.item.clear();
    Ok(Next::Return(value))
}

/// Does the operation if it can be done now.
fn attempt(this: &Waiting, owner: &Object) -> Outcome<Option<Owned>> {
    let names = names();
    match this.operation {
        Operation::Get => {
            if call::length(&*call::get_attribute(owner, &names.queue)?)? == 0 {
                return refuse_after_shutdown(owner);
            }
            let item = if is_stock(owner, &names.get_item, &names.stock_get_item)? {
                call::call_method(&names.popleft, &[&*call::get_attribute(owner, &names.queue)?], None)?
            } else {
                call::call_method(&names.get_item, &[owner], None)?
            };
            wake_next(owner, &names.putters)?;
            Ok(Some(item))
        }
        Operation::Put => {
            refuse_after_shutdown(owner)?;
            if is_full(owner)? {
                return Ok(None);
            }
            let item = this.item.get_or_none();
            if is_stock(owner, &names.put_item, &names.stock_put_item)? {
                call::call_method(
                    &names.append,
                    &[&*call::get_attribute(owner, &names.queue)?, &item],
                    None,
                )?;
            } else {
                call::call_method(&names.put_item, &[owner, &item], None)?;
            }
            let unfinished = call::to_integer(&*call::get_attribute(owner, &names.unfinished_tasks)?)?;
            if unfinished == 0 {
                call::call_method(&names.clear, &[&*call::get_attribute(owner, &names.finished)?], None)?;
            }
            call::set_attribute(owner, &names.unfinished_tasks, &*call::integer(unfinished + 1)?)?;
            wake_next(owner, &names.getters)?;
            Ok(Some(Owned::none()))
        }
    }
}

/// Raises QueueShutDown on a queue that was shut down.
fn refuse_after_shutdown(owner: &Object) -> Outcome<Option<Owned>> {
    let names = names();
    if !call::truth(&*call::get_attribute(owner, &names.is_shutdown)?)? {
        return Ok(None);
    }
    let refusal = call::get_attribute(owner, &names.shut_down_error)?;
    Err(raised::put_back(call::call(&refusal, &[])?))
}

fn is_full(owner: &Object) -> Outcome<bool> {
    let names = names();
    // A float is as good as an int to asyncio.
    let Some(maximum) = call::to_float(&*call::get_attribute(owner, &names.maximum)?)? else {
        return Ok(false);
    };
    Ok(maximum > 0.0 && call::length(&*call::get_attribute(owner, &names.queue)?)? as f64 >= maximum)
}

fn waiters_of(operation: Operation, owner: &Object) -> Outcome {
    let names = names();
    call::get_attribute(owner, if operation == Operation::Get { &names.getters } else { &names.putters })
}

/// Gives a result to the first waiter that can still take one.
fn wake_next(owner: &Object, name: &Object) -> Outcome<()> {
    let names = names();
    let waiters = call::get_attribute(owner, name)?;
    while call::length(&waiters)? > 0 {
        let waiter = call::call_method(&names.popleft, &[&waiters], None)?;
        if is_done(&waiter)? {
            continue;
        }
        match Future::exact(&waiter) {
            Some(future) => future.finish_with_result(Owned::none())?,
            None => drop(call::call_method(&names.set_result, &[&waiter, crate::ffi::none()], None)?),
        }
        break;
    }
    Ok(())
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
    this.item.clear();
    let cancel = |future: &Object| crate::task::cancel(future, None).map(drop);
    let granted = |future: &Object| {
        call::truth(&*call::call_method(&names.cancelled, &[future], None)?).map(|cancelled| !cancelled)
    };
    match this.operation {
        Operation::Get => {
            cancel(future)?;
            remove(owner, &names.getters, future)?;
            let empty = call::length(&*call::get_attribute(owner, &names.queue)?)? == 0;
            if !empty && granted(future)? {
                wake_next(owner, &names.getters)?;
            }
        }
        Operation::Put => {
            cancel(future)?;
            remove(owner, &names.putters, future)?;
            if !is_full(owner)? && granted(future)? {
                wake_next(owner, &names.putters)?;
            }
        }
    }
    Ok(())
}

fn get(this: &Object) -> Outcome {
    make(Operation::Get, this, None)
}

fn put(this: &Object, arguments: &Arguments<'_>) -> Outcome {
    let [item] = arguments.parse("put", &[&names().item], 1)?;
    let Some(item) = item else {
        let message = "Queue.put() missing 1 required positional argument: 'item'";
        return Err(raised::raise(raised::type_error(), message));
    };
    make(Operation::Put, this, Some(item))
}

/// Makes the awaitable's type, and gives the base of `aioxide.Queue`.
pub(crate) fn make_kinds() -> Outcome<[(&'static str, Owned); 1]> {
    Awaitable::<Waiting>::make_kind(c"aioxide.Waiting")?;
    let empty = size_of::<c::PyObject>();
    let queue = KindBuilder::new().without_collector().methods([
        method_none!(c"get", get, c"Remove and return an item; wait until there is one."),
        method_fast!(c"put", put, c"Put an item into the queue; wait until there is room."),
    ]);
    // SAFETY: instances of these have no data.
    unsafe { Ok([("_QueueCore", queue.build(c"aioxide._QueueCore", empty, None)?)]) }
}

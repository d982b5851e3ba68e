//! What `await writer.drain()` awaits: done at once while the transport takes what is written.
//!
//! States: NEW until it is first resumed; YIELDED for one turn of the loop, when the transport is closing, so that
//! `connection_lost` may be called; WAITING for a future among the protocol's `_drain_waiters`; DONE.

use std::cell::Cell;

use super::protocol::Protocol;
use super::reader::Reader;
use super::writer::Writer;
use super::{is_true, required};
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early, reused};
use crate::ffi::{Object, Outcome, Owned, Slot, call, python, raised};
use crate::future::{self, Future, is_done, mark_blocking};
use crate::interp::names;
use crate::transports;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Yielded,
    Waiting,
    Done,
}

/// See the module.
struct Drain {
    state: Cell<State>,
    writer: Slot,
    protocol: Slot,
    waiter: Slot,
}

static HOME: Home = Home::new();

impl Steps for Drain {
    fn name(&self) -> &'static str {
        "StreamWriter.drain"
    }

    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Done => Stage::Done,
            _ => Stage::Suspended,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.waiter.get()
    }

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.writer, &self.protocol, &self.waiter].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        match this.state.replace(State::Done) {
            State::New => {
                let Some(owner) = this.writer.take() else { return Err(reused()) };
                let Some(writer) = Writer::exact(&owner) else { return Err(reused()) };
                if begin(writer)? {
                    this.state.set(State::Yielded);
                    return Ok(Next::Yield(Owned::none()));
                }
                wait_for_room(this)
            }
            State::Yielded => wait_for_room(this),
            State::Waiting => {
                let Some(waiter) = this.waiter.get() else { return Err(reused()) };
                if !is_done(&waiter)? {
                    this.state.set(State::Waiting);
                    return Err(resumed_too_early());
                }
                leave(this, &waiter)?;
                match Future::exact(&waiter) {
                    Some(future) => future.result_or_raise()?,
                    None => call::call_method(&names().result, &[&waiter], None)?,
                };
                Ok(Next::Return(Owned::none()))
            }
            State::Done => Err(reused()),
        }
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        let state = this.state.replace(State::Done);
        match this.waiter.get() {
            Some(waiter) if state == State::Waiting => leave(this, &waiter),
            _ => Ok(()),
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let (State::Waiting, Some(waiter)) = (self.state.get(), self.waiter.get())
            && let Err(raised) = leave(self, &waiter)
        {
            raised::unraisable(raised, &waiter);
        }
    }
}

/// Raises what ended the stream; says whether the transport is closing.
fn begin(writer: &Writer) -> Outcome<bool> {
    let reader = required(&writer.reader, "_reader")?;
    if !reader.is_none() {
        let exception = match Reader::plain(&reader) {
            Some(reader) => reader.exception.get_or_none(),
            None => call::call_method(&names().exception, &[&reader], None)?,
        };
        if !exception.is_none() {
            return Err(raised::raise_given(exception));
        }
    }
    let transport = required(&writer.transport, "_transport")?;
    let py = python(&transport);
    transports::drained(py, &transport).map_err(|error| raised::from_pyerr(error, py))?;
    match transports::is_closing(&transport) {
        Some(closing) => Ok(closing),
        None => call::truth(&*call::call_method(&names().is_closing, &[&transport], None)?),
    }
}

/// asyncio: `_drain_helper`.
fn wait_for_room(this: &Drain) -> Outcome<Next> {
    let owner = required(&this.protocol, "_protocol")?;
    let Some(protocol) = Protocol::exact(&owner) else { return Err(reused()) };
    if is_true(&protocol.connection_lost)? {
        return Err(raised::raise(raised::connection_reset_error(), "Connection lost"));
    }
    if !is_true(&protocol.paused)? {
        return Ok(Next::Return(Owned::none()));
    }
    let waiter = future::create(&*required(&protocol.event_loop, "_loop")?)?;
    call::call_method(
        &names().append,
        &[&*required(&protocol.drain_waiters, "_drain_waiters")?, &waiter],
        None,
    )?;
    mark_blocking(&waiter)?;
    this.waiter.set(waiter.clone());
    this.state.set(State::Waiting);
    Ok(Next::Yield(waiter))
}

fn leave(this: &Drain, waiter: &Object) -> Outcome<()> {
    this.waiter.clear();
    let Some(owner) = this.protocol.take() else { return Ok(()) };
    let Some(protocol) = Protocol::exact(&owner) else { return Ok(()) };
    let waiters = required(&protocol.drain_waiters, "_drain_waiters")?;
    call::call_method(&names().remove, &[&waiters, waiter], None).map(drop)
}

/// What `writer.drain()` returns; `None` when only asyncio's own coroutine does for this writer.
pub(super) fn make(writer: &Writer) -> Outcome<Option<Owned>> {
    let Some(protocol) = writer.protocol.get() else { return Ok(None) };
    let known = Protocol::plain(&protocol).is_some_and(|protocol| !protocol.drain_waiters.is_empty());
    if !known || Writer::exact(writer.object()).is_none() {
        return Ok(None);
    }
    let drain = Drain {
        state: Cell::new(State::New),
        writer: Slot::new(),
        protocol: Slot::new(),
        waiter: Slot::new(),
    };
    drain.writer.set(writer.object().own());
    drain.protocol.set(protocol);
    Awaitable::make(drain).map(Some)
}

/// Makes the type.
pub(super) fn make_kind() -> Outcome<()> {
    Awaitable::<Drain>::make_kind(c"aioxide.StreamDrain")
}

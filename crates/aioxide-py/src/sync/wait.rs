//! What `acquire`, `wait` and `async with` give to `await`: at once if it may pass, else a future among the waiters.
//!
//! States: NEW until it is first resumed, WAITING while its future is among the waiters, then DONE. Leaving WAITING by an
//! exception passes on what the future may have been granted meanwhile: nothing is lost by a cancellation.

use std::cell::{Cell, OnceCell};

use super::primitive::{Own, Primitive};
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early, reused};
use crate::ffi::holder::{Holder, Link};
use crate::ffi::{Confined, Outcome, Owned, Slot, call};
use crate::future::{Future, State as FutureState, is_done, mark_blocking};
use crate::interp::names;

/// Something that one passes, or waits for.
pub(super) trait Gate: Own {
    /// The full name of the method that returns True when it is awaited.
    const METHOD: &'static str;
    /// Where the type of its awaitable is.
    fn waits() -> &'static Home;
    /// Passes, if that can be done at once.
    fn try_pass(this: &Primitive<Self>) -> Outcome<bool>;
    /// A waiter goes on that was woken; it is out of the row.
    fn passed(this: &Primitive<Self>) -> Outcome<()>;
    /// A waiter goes away that may have been `granted` passage; it is out of the row.
    fn missed(this: &Primitive<Self>, granted: bool) -> Outcome<()>;
}

/// Passes, if that can be done at once.
pub(super) fn try_pass<G: Gate>(gate: &Holder<Primitive<G>>) -> Outcome<bool> {
    G::try_pass(gate)
}

/// Passes, or returns the future to wait for.
#[inline]
pub(super) fn begin<G: Gate>(gate: &Holder<Primitive<G>>) -> Outcome<Option<Owned>> {
    if G::try_pass(gate)? {
        return Ok(None);
    }
    let future = gate.bound.future(gate.object())?;
    gate.waiters.push(future.clone())?;
    mark_blocking(&future)?;
    Ok(Some(future))
}

/// Passes after the future is done; raises what it holds.
#[inline]
pub(super) fn go_on<G: Gate>(gate: &Holder<Primitive<G>>, future: &Owned) -> Outcome<()> {
    match settled(future) {
        Ok(()) => {
            gate.waiters.remove(future)?;
            G::passed(gate)
        }
        Err(raised) => {
            let exception = crate::ffi::raised::take(raised);
            go_away(gate, future)?;
            Err(crate::ffi::raised::put_back(exception))
        }
    }
}

/// Leaves the waiters without passing.
pub(super) fn go_away<G: Gate>(gate: &Holder<Primitive<G>>, future: &Owned) -> Outcome<()> {
    gate.waiters.remove(future)?;
    G::missed(gate, is_granted(future)?)
}

/// Whether somebody has woken the waiter.
pub(super) fn is_granted(future: &Owned) -> Outcome<bool> {
    match Future::exact(future) {
        Some(future) => Ok(future.state.get() == FutureState::Finished),
        None => {
            let names = names();
            Ok(call::truth(&*call::call_method(&names.done, &[future], None)?)?
                && !call::truth(&*call::call_method(&names.cancelled, &[future], None)?)?)
        }
    }
}

/// Raises what a future holds that is done, and complains of one that is not.
#[inline]
pub(super) fn settled(future: &Owned) -> Outcome<()> {
    if let Some(future) = Future::exact(future) {
        return match future.state.get() {
            FutureState::Finished if future.exception.is_empty() => Ok(()),
            FutureState::Pending => Err(resumed_too_early()),
            _ => future.result_or_raise().map(drop),
        };
    }
    if !is_done(future)? {
        return Err(resumed_too_early());
    }
    call::call_method(&names().result, &[future], None).map(drop)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Waiting,
    Done,
}

/// The awaitable.
pub(super) struct Wait<G> {
    state: Cell<State>,
    /// It returns True, or None for `async with`.
    gives_true: bool,
    gate: Link<Primitive<G>>,
    future: Slot,
}

/// An awaitable that passes `gate`.
#[inline]
pub(super) fn make<G: Gate>(gate: &Holder<Primitive<G>>, gives_true: bool) -> Outcome {
    Awaitable::make(Wait {
        state: Cell::new(State::New),
        gives_true,
        gate: Link::new(gate),
        future: Slot::new(),
    })
}

impl<G: Gate> Wait<G> {
    fn finish(&self) -> Outcome<Next> {
        self.state.set(State::Done);
        Ok(Next::Return(if self.gives_true { Owned::boolean(true) } else { Owned::none() }))
    }
}

impl<G: Gate> Steps for Wait<G> {
    fn name(&self) -> &'static str {
        if self.gives_true { G::METHOD } else { "_ContextManagerMixin.__aenter__" }
    }

    #[inline]
    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Waiting => Stage::Suspended,
            State::Done => Stage::Done,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.future.get()
    }

    fn home() -> &'static Home {
        G::waits()
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [self.gate.slot(), &self.future].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        let Some(gate) = this.gate.get() else { return Err(reused()) };
        match this.state.replace(State::Done) {
            State::New => match begin(&gate)? {
                None => this.finish(),
                Some(future) => {
                    this.future.set(future.clone());
                    this.state.set(State::Waiting);
                    Ok(Next::Yield(future))
                }
            },
            State::Waiting => {
                let Some(future) = this.future.take() else { return Err(reused()) };
                go_on(&gate, &future)?;
                this.finish()
            }
            State::Done => Err(reused()),
        }
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        this.state.set(State::Done);
        match (this.gate.get(), this.future.take()) {
            (Some(gate), Some(future)) => go_away(&gate, &future),
            _ => Ok(()),
        }
    }
}

/// What is done before it is awaited: `__aexit__`. One instance serves all.
struct Nothing;

static NOTHING: Home = Home::new();
static NOTHING_LEFT: Confined<OnceCell<Owned>> = Confined::new(OnceCell::new());

impl Steps for Nothing {
    fn name(&self) -> &'static str {
        "_ContextManagerMixin.__aexit__"
    }

    fn home() -> &'static Home {
        &NOTHING
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::empty()
    }

    fn advance(_: &Awaitable<Self>) -> Outcome<Next> {
        Ok(Next::Return(Owned::none()))
    }

    fn give_up(_: &Awaitable<Self>) -> Outcome<()> {
        Ok(())
    }
}

/// An awaitable with nothing left to do.
#[inline]
pub(super) fn nothing() -> Outcome {
    match NOTHING_LEFT.get() {
        Some(nothing) => Ok(nothing.clone()),
        None => Awaitable::make(Nothing),
    }
}

/// Makes the type of `nothing`.
pub(super) fn make_kinds() -> Outcome<()> {
    Awaitable::<Nothing>::make_kind(c"aioxide.Nothing")?;
    if NOTHING_LEFT.get().is_none() {
        let _ = NOTHING_LEFT.set(nothing()?);
    }
    Ok(())
}

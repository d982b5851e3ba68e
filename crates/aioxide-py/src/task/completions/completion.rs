//! The awaitable of each step of the iteration.

use std::cell::Cell;

use super::{Completions, CompletionsData};
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early, reused};
use crate::ffi::holder::Link;
use crate::ffi::{self, Object, Outcome, Owned, Slot, call, raised};
use crate::future::{Future, State, is_done};
use crate::interp::names;

/// What an iteration returns: the next future that is done, or its result.
pub(super) struct Completion {
    source: Link<CompletionsData>,
    asker: Slot,
    /// Whether it returns the result, for `for`; `async for` returns the future.
    resolves: bool,
    counted: Cell<bool>,
}

static HOME: Home = Home::new();

impl Steps for Completion {
    fn name(&self) -> &'static str {
        "_AsCompletedIterator._wait_for_one"
    }

    fn stage(&self) -> Stage {
        match (self.source.slot().is_empty(), self.asker.is_empty()) {
            (true, _) => Stage::Done,
            (false, true) => Stage::New,
            (false, false) => Stage::Suspended,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.asker.get()
    }

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [self.source.slot(), &self.asker].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        let Some(source) = this.source.get() else { return Err(reused()) };
        if !this.counted.replace(true) {
            if let Err(raised) = source.start() {
                this.source.slot().clear();
                return Err(raised);
            }
            if !source.count() {
                this.source.slot().clear();
                return Err(raised::raise_value(raised::stop_async_iteration(), ffi::none()));
            }
        }
        if let Some(asker) = this.asker.get() {
            if !is_done(&asker)? {
                return Err(resumed_too_early());
            }
            if Future::exact(&asker).is_none_or(|asker| asker.state.get() == State::Cancelled)
                && let Err(raised) = call::call_method(&names().result, &[&asker], None)
            {
                let exception = raised::take(raised);
                Self::give_up(this)?;
                return Err(raised::put_back(exception));
            }
            this.asker.clear();
        }
        let next = source.done.borrow_mut().pop_front();
        let Some(done) = next else {
            let asker = source.make_asker()?;
            this.asker.set(asker.clone());
            return Ok(Next::Yield(asker));
        };
        this.source.slot().clear();
        match done {
            None => Err(raised::raise_value(&names().timeout_error, ffi::none())),
            Some(future) if this.resolves => match Future::exact(&future) {
                Some(future) => future.result_or_raise().map(Next::Return),
                None => call::call_method(&names().result, &[&future], None).map(Next::Return),
            },
            Some(future) => Ok(Next::Return(future)),
        }
    }

    /// Passes on what was granted meanwhile.
    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        let (Some(source), Some(asker)) = (this.source.take(), this.asker.take()) else { return Ok(()) };
        // Whoever asks next gets what this one would have got.
        source.left.set(source.left.get() + 1);
        let granted = !crate::task::cancel(&asker, None)? && !is_cancelled(&asker)?;
        source.askers.borrow_mut().retain(|other| !other.is(&asker));
        if granted && !source.done.borrow().is_empty() {
            return source.wake_next();
        }
        Ok(())
    }
}

fn is_cancelled(future: &Object) -> Outcome<bool> {
    match Future::exact(future) {
        Some(future) => Ok(future.state.get() == State::Cancelled),
        None => call::truth(&*call::call_method(&names().cancelled, &[future], None)?),
    }
}

/// What a step of `for` returns if it `resolves`, else one of `async for`.
pub(super) fn ask(this: &Completions, resolves: bool) -> Outcome {
    let (source, counted) = (Link::new(this), Cell::new(resolves));
    Awaitable::make(Completion { source, asker: Slot::new(), resolves, counted })
}

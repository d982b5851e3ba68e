//! `wait`: an awaitable that several futures count down, without a coroutine frame or a callback for each.
//!
//! States: NEW until it is first resumed, then WAITING for a future of its own that the deciding child finishes, or PASSING
//! everything on to asyncio's own coroutine, then DONE. The latter does what is out of the ordinary: futures and loops that are
//! not ours, wrong arguments, with the errors and the warnings of the interpreter's version.

use std::cell::Cell;

use super::start;
use crate::awaitable::inner::Inner;
use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early, reused};
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::method::method_fast;
use crate::ffi::{Object, Outcome, Owned, Slot, call, raised};
use crate::future::parent::{self, Parent, ParentKind};
use crate::future::{Future, is_done, mark_blocking};
use crate::interp::{interop, names};
use crate::kernel::state_of;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Waiting,
    Passing,
    Done,
}

/// What ends the wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    First,
    Failure,
    All,
}

/// The data of a wait.
pub(crate) struct Wait {
    state: Cell<State>,
    when: Cell<When>,
    /// Children that have not had their turn.
    left: Cell<usize>,
    /// Children whose entries are in the ready queue.
    queued: Cell<usize>,
    /// The argument; from the first step on the set of futures.
    futures: Slot,
    timeout: Slot,
    return_when: Slot,
    future: Slot,
    timer: Slot,
    /// From Python 3.14 on: the task that waits.
    awaiter: Slot,
    inner: Inner,
}

static HOME: Home = Home::new();

impl Steps for Wait {
    fn name(&self) -> &'static str {
        "wait"
    }

    fn stage(&self) -> Stage {
        match self.state.get() {
            State::New => Stage::New,
            State::Done => Stage::Done,
            _ => Stage::Suspended,
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.inner.slot().get().or_else(|| self.future.get())
    }

    fn home() -> &'static Home {
        &HOME
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let own = [&self.futures, &self.timeout, &self.return_when, &self.future, &self.timer, &self.awaiter];
        own.into_iter().chain([self.inner.slot()])
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        match this.state.get() {
            State::New => this.begin(),
            State::Waiting => {
                let Some(future) = this.future.get() else { return Err(reused()) };
                if !is_done(&future)? {
                    return Err(resumed_too_early());
                }
                this.finish()
            }
            State::Passing => this.inner.advance(),
            State::Done => Err(reused()),
        }
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        this.inner.close()?;
        this.leave(this.state.replace(State::Done) == State::Waiting)
    }

    fn thrown(this: &Awaitable<Self>, exception: Owned) -> Outcome<Next> {
        if this.state.get() == State::Passing {
            return this.inner.throw(exception);
        }
        Self::give_up(this)?;
        Err(raised::put_back(exception))
    }
}

static PARENT: ParentKind = ParentKind::of::<Awaitable<Wait>>("_wait.<locals>._on_completion");

impl Parent for Awaitable<Wait> {
    fn kind() -> &'static ParentKind {
        &PARENT
    }

    /// Whether a child that is done now has anything to do when its turn comes.
    ///
    /// The last one has, and one that decides. The others are only counted, at once, unless one that came before is still to
    /// have its turn.
    #[inline]
    fn needs_entry(&self, child: &Future) -> bool {
        let left = self.left.get();
        let decides = match self.when.get() {
            When::First => true,
            When::Failure => child.has_exception(),
            When::All => false,
        };
        if left > 1 && self.queued.get() == 0 && !decides {
            self.left.set(left - 1);
            return false;
        }
        self.queued.set(self.queued.get() + 1);
        true
    }

    /// A child is done and has its turn, or the time is up, of which the future of the wait itself tells.
    fn child_done(&self, child: &Object) -> Outcome<()> {
        if self.future.holds(child) {
            return self.release();
        }
        self.queued.set(self.queued.get().saturating_sub(1));
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        let decides = left == 0
            || match self.when.get() {
                When::First => true,
                When::Failure => Future::exact(child).is_some_and(|child| {
                    child.log_traceback.set(false);
                    child.has_exception()
                }),
                When::All => false,
            };
        if decides { self.release() } else { Ok(()) }
    }
}

impl Awaitable<Wait> {
    fn begin(&self) -> Outcome<Next> {
        self.state.set(State::Done);
        let Some(when) = self.parse()? else { return self.pass_on() };
        let running = start::running_loop()?;
        let state = if running.is_none() { None } else { state_of(&running) };
        let Some(state) = state.filter(|state| state.makes_futures()) else { return self.pass_on() };
        let given = self.futures.get_or_none();
        let futures = call::set(Some(&given))?;
        if call::any_item(&futures, |future| Ok(Future::exact(future).is_none()))? {
            return self.pass_on();
        }
        let future = Future::make(&running, state)?;
        if let Some(timeout) = self.timeout.get() {
            let callback = parent::as_callback(self)?;
            self.timer.set(call::call_method(
                &names().call_later,
                &[&running, &timeout, &callback, &future],
                None,
            )?);
        }
        self.when.set(when);
        self.left.set(call::length(&futures)?);
        self.futures.set(futures.clone());
        self.future.set(future.clone());
        self.state.set(State::Waiting);
        call::any_item(&futures, |child| parent::watch(self, child).map(|_| false))?;
        if let Some(awaiter) = interop::awaiter(&running) {
            call::any_item(&futures, |child| interop::add_awaited_by(child, &awaiter).map(|()| false))?;
            self.awaiter.set(awaiter);
        }
        mark_blocking(&future)?;
        Ok(Next::Yield(future))
    }

    /// Looks at the arguments; nothing if asyncio's own function is to look at them.
    fn parse(&self) -> Outcome<Option<When>> {
        let names = names();
        let given = self.futures.get_or_none();
        if !call::is_plain_collection(&given) || call::length(&given)? == 0 {
            return Ok(None);
        }
        let Some(return_when) = self.return_when.get() else { return Ok(Some(When::All)) };
        for (name, when) in [
            (&names.all_completed, When::All),
            (&names.first_completed, When::First),
            (&names.first_exception, When::Failure),
        ] {
            if return_when.is(name) || call::equal(&return_when, name)? {
                return Ok(Some(when));
            }
        }
        Ok(None)
    }

    fn pass_on(&self) -> Outcome<Next> {
        let names = names();
        let (futures, timeout) = (self.futures.get_or_none(), self.timeout.get_or_none());
        let coroutine = match self.return_when.get() {
            Some(return_when) => call::call_with_names(
                &names.asyncio_wait,
                &[&futures, &timeout, &return_when],
                Some(&names.wait_names),
            )?,
            None => {
                call::call_with_names(&names.asyncio_wait, &[&futures, &timeout], Some(&names.timeout_names))?
            }
        };
        self.state.set(State::Passing);
        self.inner.begin(coroutine)
    }

    fn release(&self) -> Outcome<()> {
        self.cancel_timer()?;
        let Some(future) = self.future.get() else { return Ok(()) };
        match Future::exact(&future) {
            Some(future) if !future.is_done() => future.finish_with_result(Owned::none()),
            _ => Ok(()),
        }
    }

    /// Tells the interpreter that the task does not wait any more.
    fn forget_awaiter(&self, futures: &Object) -> Outcome<()> {
        if let Some(awaiter) = self.awaiter.take() {
            call::any_item(futures, |child| interop::discard_awaited_by(child, &awaiter).map(|()| false))?;
        }
        Ok(())
    }

    fn cancel_timer(&self) -> Outcome<()> {
        match self.timer.take() {
            Some(timer) => call::call_method(&names().cancel, &[&timer], None).map(drop),
            None => Ok(()),
        }
    }

    /// Gives the sets of those that are done and those that are not.
    fn finish(&self) -> Outcome<Next> {
        self.state.set(State::Done);
        self.cancel_timer()?;
        self.future.clear();
        let futures = self.futures.take().unwrap_or_else(Owned::none);
        self.forget_awaiter(&futures)?;
        let mut pending = Vec::new();
        call::any_item(&futures, |child| {
            if !is_done(child)? {
                pending.push(child.own());
            }
            Ok(false)
        })?;
        let others = call::set(None)?;
        for child in pending {
            parent::unwatch(self, &child)?;
            call::set_discard(&futures, &child)?;
            call::set_add(&others, &child)?;
        }
        call::tuple(&[&futures, &others]).map(Next::Return)
    }

    /// Takes back what `begin` did.
    fn leave(&self, watches: bool) -> Outcome<()> {
        self.cancel_timer()?;
        self.future.clear();
        let futures = self.futures.take();
        match futures {
            Some(futures) if watches => {
                self.forget_awaiter(&futures)?;
                call::any_item(&futures, |child| parent::unwatch(self, child).map(|()| false)).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// `wait(fs, *, timeout=None, return_when=ALL_COMPLETED)`.
fn wait(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [futures, timeout, return_when] =
        arguments.parse("wait", &[&names.futures, &names.timeout, &names.return_when], 1)?;
    let Some(futures) = futures else {
        let message = "wait() missing 1 required positional argument: 'fs'";
        return Err(raised::raise(raised::type_error(), message));
    };
    let wait = Wait {
        state: Cell::new(State::New),
        when: Cell::new(When::All),
        left: Cell::new(0),
        queued: Cell::new(0),
        futures: Slot::new(),
        timeout: Slot::new(),
        return_when: Slot::new(),
        future: Slot::new(),
        timer: Slot::new(),
        awaiter: Slot::new(),
        inner: Inner::new(),
    };
    wait.futures.set(futures.own());
    wait.timeout.put(timeout.filter(|timeout| !timeout.is_none()).map(Object::own));
    wait.return_when.put(return_when.map(Object::own));
    Awaitable::make(wait)
}

/// Makes the type and the function.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    Awaitable::<Wait>::make_kind(c"aioxide._Wait")?;
    exports.function(method_fast!(
        c"wait",
        wait,
        c"wait(fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\n\
          Wait for futures; give the sets of those that are done and those that are not."
    ))
}

//! `sleep`: an awaitable with a future and a timer in it, and no coroutine frame.
//!
//! States: NEW until it is first resumed, then YIELDED (no delay: one turn of the loop) or WAITING for the future that the
//! timer will finish, then DONE. It has what the abstract class Coroutine asks for, so that `create_task` takes it.

use std::cell::Cell;

use std::sync::OnceLock;

use crate::awaitable::looks::Stage;
use crate::awaitable::{Awaitable, Home, Next, Steps, resumed_too_early, reused};
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::method::{Definition, method_fast};
use crate::ffi::{Object, Outcome, Owned, Slot, call, raised};
use crate::future::{self, Future, is_done, mark_blocking};
use crate::interp::names;
use crate::kernel::times;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Yielded,
    Waiting,
    Done,
}

struct Sleep {
    state: Cell<State>,
    delay: Slot,
    result: Slot,
    future: Slot,
    handle: Slot,
}

static HOME: Home = Home::new();

impl Steps for Sleep {
    fn name(&self) -> &'static str {
        "sleep"
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
        [&self.delay, &self.result, &self.future, &self.handle].into_iter()
    }

    fn advance(this: &Awaitable<Self>) -> Outcome<Next> {
        match this.state.get() {
            State::New => begin(this),
            State::Yielded => {
                this.state.set(State::Done);
                Ok(Next::Return(this.result.take().unwrap_or_else(Owned::none)))
            }
            State::Waiting => {
                let Some(future) = this.future.get() else { return Err(reused()) };
                if !is_done(&future)? {
                    return Err(resumed_too_early());
                }
                end(this)?;
                call::call_method(&names().result, &[&future], None).map(Next::Return)
            }
            State::Done => Err(reused()),
        }
    }

    fn give_up(this: &Awaitable<Self>) -> Outcome<()> {
        end(this)
    }
}

/// `sleep(delay, result=None)`.
fn sleep(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [delay, result] = arguments.parse("sleep", &[&names.delay, &names.result], 2)?;
    let Some(delay) = delay else {
        let message = "sleep() missing 1 required positional argument: 'delay'";
        return Err(raised::raise(raised::type_error(), message));
    };
    let sleep = Sleep {
        state: Cell::new(State::New),
        delay: Slot::new(),
        result: Slot::new(),
        future: Slot::new(),
        handle: Slot::new(),
    };
    sleep.delay.set(delay.own());
    sleep.result.put(result.map(Object::own));
    Awaitable::make(sleep)
}

fn begin(this: &Sleep) -> Outcome<Next> {
    let names = names();
    let delay = this.delay.get_or_none();
    this.state.set(State::Done);
    if times::is_over(&delay)? {
        this.state.set(State::Yielded);
        return Ok(Next::Yield(Owned::none()));
    }
    if cfg!(Py_3_13) && call::as_float(&delay)?.is_nan() {
        return Err(raised::raise(raised::value_error(), "Invalid delay: NaN (not a number)"));
    }
    let event_loop = call::call(&names.get_running_loop, &[])?;
    let future = future::create(&event_loop)?;
    let result = this.result.get_or_none();
    let handle =
        call::call_method(&names.call_later, &[&event_loop, &delay, &*finisher()?, &future, &result], None)?;
    this.handle.set(handle);
    mark_blocking(&future)?;
    this.future.set(future.clone());
    this.state.set(State::Waiting);
    Ok(Next::Yield(future))
}

/// Takes the timer back, as every way out does.
fn end(this: &Sleep) -> Outcome<()> {
    this.state.set(State::Done);
    this.future.clear();
    this.result.clear();
    match this.handle.take() {
        Some(handle) => call::call_method(&names().cancel, &[&handle], None).map(drop),
        None => Ok(()),
    }
}

/// What the timer calls: `finish(future, result)`, which leaves a future alone that is done.
fn finish(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    let (Some(future), Some(result)) = (given.next(), given.next()) else {
        return Err(raised::raise(raised::type_error(), "two arguments are needed"));
    };
    match Future::exact(future) {
        Some(ours) if ours.is_done() => {}
        Some(ours) => ours.finish_with_result(result.own())?,
        None => {
            if !is_done(future)? {
                call::call_method(&names().set_result, &[future, result], None)?;
            }
        }
    }
    Ok(Owned::none())
}

fn finisher() -> Outcome {
    static FINISH: OnceLock<Definition> = OnceLock::new();
    FINISH
        .get_or_init(|| Definition(method_fast!(c"_set_result_unless_cancelled", finish, c"End a sleep.")))
        .bind(crate::ffi::none())
}

/// Makes the type and the function `sleep`.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    Awaitable::<Sleep>::make_kind(c"aioxide.Sleep")?;
    exports.function(method_fast!(
        c"sleep",
        sleep,
        c"sleep(delay, result=None)\n--\n\nWait for `delay` seconds, then return `result`."
    ))
}

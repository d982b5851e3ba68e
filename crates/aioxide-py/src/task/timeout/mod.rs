//! `timeout`, `timeout_at` and the base of `aioxide.Timeout`: asyncio's class, with its usual way in Rust.
//!
//! `aioxide.Timeout` is a Python class that derives from the base made here and from asyncio's own. A timeout that is entered by a
//! task of ours on a loop of ours is *ours*: a deadline (`deadline`) does its work, and nothing is called. Any other is
//! asyncio's: the inherited methods do all, on the same attributes, which read and write the fields here. They do the rest for one
//! of ours too: whatever a timeout that expired makes of an exception, and every error, are those of the interpreter's version.
//! Read `class` for what Python sees of it, `functions` for what makes one.

mod class;
mod functions;
mod nothing;

use std::cell::Cell;
use std::os::raw::c_int;

use pyo3::ffi::Py_LE;

pub(crate) use class::export;
use nothing::nothing;

use super::deadline::{Deadline, Phase};
use super::{Task, start};
use crate::awaitable::Home;
use crate::awaitable::entering::Entered;
use crate::ffi::arguments::Arguments;
use crate::ffi::coroutine::{self, Resumed};
use crate::ffi::holder::{Constructed, Contents, Held, Holder, InitArguments, Kind};
use crate::ffi::{Confined, Object, Outcome, Owned, Slot, Visit, call, cast, number, raised};
use crate::interp::names;
use crate::kernel::{state_of, times};

/// What a timeout has.
pub(crate) struct TimeoutData {
    pub(crate) deadline: Deadline,
    /// Whether it was entered by a task of ours on a loop of ours.
    ours: Cell<bool>,
    /// The time as it was given; nothing if `seconds` has it.
    when: Slot,
    seconds: Cell<f64>,
    /// asyncio's handle, in a timeout that is not ours.
    handler: Slot,
}

/// An instance of `aioxide.Timeout` or of a class derived from its base.
pub(crate) type Timeout = Holder<TimeoutData>;

static KIND: Kind = Kind::new();
static ENTERING: Home = Home::new();

impl TimeoutData {
    /// One whose time is in `seconds`, or `when`.
    fn at(seconds: f64, when: Option<Owned>) -> Self {
        let data = Self {
            deadline: Deadline::new(),
            ours: Cell::new(false),
            when: Slot::new(),
            seconds: Cell::new(seconds),
            handler: Slot::new(),
        };
        data.when.put(when);
        data
    }

    /// One without a time.
    fn unlimited() -> Self {
        Self::at(f64::INFINITY, Some(Owned::none()))
    }

    fn slots(&self) -> [&Slot; 3] {
        [&self.deadline.task, &self.when, &self.handler]
    }
}

impl Contents for TimeoutData {
    fn home() -> &'static Kind {
        &KIND
    }

    fn traverse(&self, visit: Visit) -> c_int {
        visit.slots(self.slots())
    }

    fn clear(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }
}

impl Constructed for TimeoutData {
    fn new() -> Self {
        Self::unlimited()
    }

    fn init(this: &Timeout, arguments: &InitArguments) -> Outcome<()> {
        let [when] = arguments.parse("Timeout", &[&names().when], 1)?;
        let Some(when) = when else {
            let message = "Timeout.__init__() missing 1 required positional argument: 'when'";
            return Err(raised::raise(raised::type_error(), message));
        };
        this.set_when(when)
    }
}

impl Entered for TimeoutData {
    const ENTER: &'static str = "Timeout.__aenter__";

    fn entering() -> &'static Home {
        &ENTERING
    }

    fn enter(this: &Timeout) -> Outcome<bool> {
        // A derived class may have methods of its own, which asyncio's calls.
        let is_derived = !CLASSES.timeout.holds(this.object().class());
        if is_derived || this.deadline.phase.get() != Phase::Created || this.seconds.get().is_nan() {
            return Ok(false);
        }
        let running = start::running_loop()?;
        let state = if running.is_none() { None } else { state_of(&running) };
        let Some(state) = state.filter(|state| state.takes_timers()) else { return Ok(false) };
        let Some(task) = Task::current(&running) else { return Ok(false) };
        this.ours.set(true);
        // SAFETY: `current` returns tasks of this class.
        this.deadline.enter(unsafe { cast(task.as_ptr()) });
        if this.is_timed() {
            this.deadline.arm(this.object(), expire, state, this.seconds.get(), state.now());
        }
        Ok(true)
    }

    fn stock_enter() -> Owned {
        CLASSES.enter.get_or_none()
    }
}

/// The classes, and what the inherited one has.
struct Classes {
    /// `aioxide.Timeout`.
    timeout: Slot,
    enter: Slot,
    exit: Slot,
    reschedule: Slot,
    /// `Timeout._state` by phase.
    states: [Slot; 5],
}

static CLASSES: Confined<Classes> = Confined::new(Classes {
    timeout: Slot::new(),
    enter: Slot::new(),
    exit: Slot::new(),
    reschedule: Slot::new(),
    states: [const { Slot::new() }; 5],
});

impl Timeout {
    fn set_when(&self, when: &Object) -> Outcome<()> {
        self.seconds.set(match when.is_none() {
            true => f64::INFINITY,
            // What is not of the usual kind is left to asyncio's methods, or looked at when it is needed.
            false => number::plain(when).unwrap_or(f64::NAN),
        });
        self.when.set(when.own());
        Ok(())
    }

    /// Whether the time is one that the loop's own timers take.
    fn is_timed(&self) -> bool {
        self.when.get().is_none_or(|when| !when.is_none())
    }
}

/// Runs what asyncio's own `Timeout.__aexit__` does with an exception that comes out of an expired deadline.
///
/// It may change the exception's contexts, and raises what is to be raised in its place.
pub(crate) fn leave_expired(deadline: &Deadline, exception: &Object) -> Outcome<()> {
    let timeout = make(TimeoutData::unlimited)?;
    timeout.deadline.phase.set(Phase::Expiring);
    timeout.deadline.cancelling.set(deadline.cancelling.get());
    timeout.deadline.task.put(deadline.task.get());
    let traceback = raised::traceback(exception).unwrap_or_else(Owned::none);
    let exit = CLASSES.exit.get_or_none();
    let coroutine = call::call(&exit, &[timeout.object(), exception.class(), exception, &traceback])?;
    match coroutine::send(&coroutine) {
        Ok(Resumed::Returned(_)) => Ok(()),
        Ok(Resumed::Yielded(_)) => Err(crate::awaitable::resumed_too_early()),
        Err(raised) => {
            let replacement = raised::take(raised);
            raised::set_context_if_none(&replacement, exception);
            Err(raised::put_back(replacement))
        }
    }
}

/// `__aexit__`. Without an exception it is done by the call: nobody can tell, and most timeouts end like this.
fn aexit(this: &Timeout, arguments: &Arguments<'_>) -> Outcome {
    let failed = arguments.positional().next().is_some_and(|kind| !kind.is_none());
    let phase = this.deadline.phase.get();
    if !this.ours.get() || !matches!(phase, Phase::Entered | Phase::Expiring) {
        return arguments.forward(&CLASSES.exit.get_or_none(), this.object());
    }
    this.deadline.leave();
    match phase {
        Phase::Entered => this.deadline.phase.set(Phase::Exited),
        _ if failed => return arguments.forward(&CLASSES.exit.get_or_none(), this.object()),
        _ => {
            this.deadline.phase.set(Phase::Expired);
            if let Some(task) = this.deadline.task.get().as_deref().and_then(Task::from_object) {
                task.uncancel();
            }
        }
    }
    nothing()
}

/// `reschedule(when)`.
fn reschedule(this: &Timeout, arguments: &Arguments<'_>) -> Outcome {
    let when = match arguments.single() {
        Some(when) => when,
        None => match arguments.parse("reschedule", &[&names().when], 1) {
            Ok([Some(when)]) => when,
            _ => {
                raised::clear_pending();
                return arguments.forward(&CLASSES.reschedule.get_or_none(), this.object());
            }
        },
    };
    let task = this.deadline.task.get();
    let state = task.as_deref().and_then(Task::from_object).and_then(|task| task.as_future().loop_state());
    let (Some(state), true, Phase::Entered) = (state, this.ours.get(), this.deadline.phase.get()) else {
        return call::call(&CLASSES.reschedule.get_or_none(), &[this.object(), when]);
    };
    this.set_when(when)?;
    this.deadline.disarm(Some(state));
    if !when.is_none() {
        let now = state.now();
        let seconds = times::at(when, now, Py_LE)?;
        // The comparison may have run anything.
        if this.deadline.phase.get() == Phase::Entered {
            this.deadline.disarm(Some(state));
            this.deadline.arm(this.object(), expire, state, seconds, now);
        }
    }
    Ok(Owned::none())
}

/// A new `aioxide.Timeout`, without its `__init__`.
fn make(data: impl FnOnce() -> TimeoutData) -> Outcome<Held<TimeoutData>> {
    let Some(class) = CLASSES.timeout.get() else {
        return Err(raised::raise(raised::runtime_error(), "import aioxide first"));
    };
    // SAFETY: a class derived from the base.
    unsafe { Timeout::make_derived(&class, data) }
}

/// The time is up.
fn expire(owner: &Object, generation: u32) -> Outcome<()> {
    Timeout::from_object(owner).map_or(Ok(()), |timeout| timeout.deadline.expire(generation))
}

//! `timeout`, `timeout_at` and the base of `aioxide.Timeout`: asyncio's class, with its usual way in Rust.
//!
//! `aioxide.Timeout` is a Python class that derives from the base made here and from asyncio's own. A timeout that is entered by a
//! task of ours on a loop of ours is *ours*: a deadline (`deadline`) does its work, and nothing is called. Any other is
//! asyncio's: the inherited methods do all, on the same attributes, which read and write the fields here. They do the rest for one
//! of ours too: whatever a timeout that expired makes of an exception, and every error, are those of the interpreter's version.

use std::cell::Cell;
use std::os::raw::c_int;
use std::sync::OnceLock;

use super::deadline::{Deadline, Phase};
use super::{Task, start};
use crate::event_loop;
use crate::ffi::arguments::Arguments;
use crate::ffi::awaitable::{Awaitable, Home, Next, Steps};
use crate::ffi::coroutine::{self, Resumed};
use crate::ffi::entering::{Entered, Entering, aenter};
use crate::ffi::holder::{Constructed, Contents, Held, Holder, InitArguments, Kind};
use crate::ffi::method::{Definition, attribute, method_fast, method_none, method_one};
use crate::ffi::{self, Confined, Object, Outcome, Owned, Slot, Visit, call, cast, names, raised};

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
    fn entering() -> &'static Home {
        &ENTERING
    }

    fn enter(this: &Timeout) -> Outcome<bool> {
        if this.deadline.phase.get() != Phase::Created || this.seconds.get().is_nan() {
            return Ok(false);
        }
        let running = start::running_loop()?;
        let state = if running.is_none() { None } else { event_loop::state_of(&running) };
        let Some(state) = state.filter(|state| state.takes_timers()) else { return Ok(false) };
        let Some(task) = Task::current(&running) else { return Ok(false) };
        this.ours.set(true);
        // SAFETY: `current` gives tasks of ours.
        this.deadline.enter(unsafe { cast(task.as_ptr()) });
        if this.is_timed() {
            this.deadline.arm(this.object(), state, this.seconds.get(), state.now());
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

const PHASES: [Phase; 5] = [Phase::Created, Phase::Entered, Phase::Expiring, Phase::Expired, Phase::Exited];

impl Timeout {
    fn set_when(&self, when: &Object) -> Outcome<()> {
        self.seconds.set(match when.is_none() {
            true => f64::INFINITY,
            false => call::to_float(when)?.unwrap_or(f64::NAN),
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
        Ok(Resumed::Yielded(_)) => Err(ffi::awaitable::resumed_too_early()),
        Err(raised) => {
            let replacement = raised::take(raised);
            raised::set_context_if_none(&replacement, exception);
            Err(raised::put_back(replacement))
        }
    }
}

/// What ends at once, with `None`: one instance does for all.
struct Nothing;

static NOTHING: Home = Home::new();

impl Steps for Nothing {
    fn home() -> &'static Home {
        &NOTHING
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [].into_iter()
    }

    fn advance(_: &Awaitable<Self>) -> Outcome<Next> {
        Ok(Next::Return(Owned::none()))
    }

    fn give_up(_: &Awaitable<Self>) -> Outcome<()> {
        Ok(())
    }
}

/// An awaitable that gives `None`.
pub(crate) fn nothing() -> Outcome {
    static SHARED: Confined<Slot> = Confined::new(Slot::new());
    if let Some(shared) = SHARED.get() {
        return Ok(shared);
    }
    let made = Awaitable::make(Nothing)?;
    SHARED.set(made.clone());
    Ok(made)
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

fn reschedule(this: &Timeout, when: &Object) -> Outcome {
    let task = this.deadline.task.get();
    let state = task.as_deref().and_then(Task::from_object).and_then(|task| task.as_future().loop_state());
    let (Some(state), true, Phase::Entered) = (state, this.ours.get(), this.deadline.phase.get()) else {
        return call::call(&CLASSES.reschedule.get_or_none(), &[this.object(), when]);
    };
    this.set_when(when)?;
    this.deadline.disarm(Some(state));
    if this.seconds.get().is_nan() {
        let message = format!("must be real number, not {}", ffi::text::type_name(when));
        return Err(raised::raise(raised::type_error(), &message));
    }
    if !when.is_none() {
        this.deadline.arm(this.object(), state, this.seconds.get(), state.now());
    }
    Ok(Owned::none())
}

fn when(this: &Timeout) -> Outcome {
    match this.when.get() {
        Some(when) => Ok(when),
        None => call::float(this.seconds.get()),
    }
}

fn expired(this: &Timeout) -> Outcome {
    Ok(Owned::boolean(matches!(this.deadline.phase.get(), Phase::Expiring | Phase::Expired)))
}

fn set_when_attribute(this: &Timeout, value: Option<&Object>) -> Outcome<()> {
    this.set_when(value.unwrap_or_else(|| ffi::none()))
}

fn get_state(this: &Timeout) -> Outcome {
    Ok(CLASSES.states[this.deadline.phase.get() as usize].get_or_none())
}

fn set_state(this: &Timeout, value: Option<&Object>) -> Outcome<()> {
    for (state, phase) in CLASSES.states.iter().zip(PHASES) {
        if value.is_some_and(|value| state.holds(value)) {
            this.deadline.phase.set(phase);
            return Ok(());
        }
    }
    Err(raised::raise(raised::value_error(), "no state of a timeout"))
}

fn get_task(this: &Timeout) -> Outcome {
    Ok(this.deadline.task.get_or_none())
}

fn set_task(this: &Timeout, value: Option<&Object>) -> Outcome<()> {
    this.deadline.task.put(value.filter(|task| !task.is_none()).map(Object::own));
    Ok(())
}

fn get_cancelling(this: &Timeout) -> Outcome {
    call::integer(i64::from(this.deadline.cancelling.get()))
}

fn set_cancelling(this: &Timeout, value: Option<&Object>) -> Outcome<()> {
    let count = call::to_integer(value.unwrap_or_else(|| ffi::none()))?;
    this.deadline.cancelling.set(u32::try_from(count).unwrap_or(0));
    Ok(())
}

fn get_handler(this: &Timeout) -> Outcome {
    Ok(this.handler.get_or_none())
}

fn set_handler(this: &Timeout, value: Option<&Object>) -> Outcome<()> {
    this.handler.put(value.filter(|handler| !handler.is_none()).map(Object::own));
    Ok(())
}

/// A new `aioxide.Timeout`, without its `__init__`.
fn make(data: impl FnOnce() -> TimeoutData) -> Outcome<Held<TimeoutData>> {
    let Some(class) = CLASSES.timeout.get() else {
        return Err(raised::raise(raised::runtime_error(), "import aioxide first"));
    };
    // SAFETY: a class derived from the base.
    unsafe { Timeout::make_derived(&class, data) }
}

/// `timeout(delay)`.
fn timeout(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [delay] = arguments.parse("timeout", &[&names.delay], 1)?;
    let Some(delay) = delay else {
        let message = "timeout() missing 1 required positional argument: 'delay'";
        return Err(raised::raise(raised::type_error(), message));
    };
    let running = call::call(&names.get_running_loop, &[])?;
    if delay.is_none() {
        return make(TimeoutData::unlimited).map(Held::into_object);
    }
    if let Some(state) = event_loop::state_of(&running)
        && !state.own_timers.get()
        && let Some(seconds) = call::to_float(delay)?
    {
        let when = state.now() + seconds;
        return make(|| TimeoutData::at(when, None)).map(Held::into_object);
    }
    let now = call::call_method(&names.time, &[&running], None)?;
    timeout_at_time(&*call::add(&now, delay)?)
}

fn timeout_at_time(when: &Object) -> Outcome {
    let made = make(TimeoutData::unlimited)?;
    made.set_when(when)?;
    Ok(made.into_object())
}

/// `timeout_at(when)`.
fn timeout_at(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let [when] = arguments.parse("timeout_at", &[&names().when], 1)?;
    let Some(when) = when else {
        let message = "timeout_at() missing 1 required positional argument: 'when'";
        return Err(raised::raise(raised::type_error(), message));
    };
    timeout_at_time(when)
}

/// `_equip_timeouts(Timeout, stock, states)`: tells the class, asyncio's own, and its states in order.
fn equip(_: &Object, arguments: &Arguments<'_>) -> Outcome {
    let mut given = arguments.positional();
    let (Some(class), Some(stock), Some(states)) = (given.next(), given.next(), given.next()) else {
        return Err(raised::raise(raised::type_error(), "three arguments are needed"));
    };
    CLASSES.timeout.set(class.own());
    CLASSES.enter.set(call::get_attribute(stock, &*call::interned(c"__aenter__")?)?);
    CLASSES.exit.set(call::get_attribute(stock, &*call::interned(c"__aexit__")?)?);
    CLASSES.reschedule.set(call::get_attribute(stock, &*call::interned(c"reschedule")?)?);
    let mut places = CLASSES.states.iter();
    call::any_item(states, |state| {
        if let Some(place) = places.next() {
            place.set(state.own());
        }
        Ok(false)
    })?;
    Ok(Owned::none())
}

/// Makes the base of `aioxide.Timeout`, and gives it and the functions by their names.
pub(crate) fn make_parts() -> Outcome<[(&'static str, Owned); 4]> {
    Awaitable::<Entering<TimeoutData>>::make_kind(c"aioxide._EnterTimeout")?;
    Awaitable::<Nothing>::make_kind(c"aioxide._Nothing")?;
    let builder = Timeout::constructed()
        .methods([
            method_none!(c"__aenter__", aenter::<TimeoutData>, c"Enter it."),
            method_fast!(c"__aexit__", aexit, c"Leave it."),
            method_one!(c"reschedule", reschedule, c"Set another time, or none."),
            method_none!(c"when", when, c"Return the time."),
            method_none!(c"expired", expired, c"Whether the time was up."),
        ])
        .attributes([
            attribute!(c"_state", get_state, set_state),
            attribute!(c"_when", when, set_when_attribute),
            attribute!(c"_task", get_task, set_task),
            attribute!(c"_cancelling", get_cancelling, set_cancelling),
            attribute!(c"_timeout_handler", get_handler, set_handler),
        ]);
    let core = Timeout::make_kind(builder, c"aioxide._TimeoutCore")?;
    static TIMEOUT: OnceLock<Definition> = OnceLock::new();
    static TIMEOUT_AT: OnceLock<Definition> = OnceLock::new();
    static EQUIP: OnceLock<Definition> = OnceLock::new();
    let timeout = TIMEOUT.get_or_init(|| {
        Definition(method_fast!(
            c"timeout",
            timeout,
            c"timeout(delay)\n--\n\nA context that is cancelled after `delay` seconds."
        ))
    });
    let timeout_at = TIMEOUT_AT.get_or_init(|| {
        Definition(method_fast!(
            c"timeout_at",
            timeout_at,
            c"timeout_at(when)\n--\n\nA context that is cancelled at the loop's time `when`."
        ))
    });
    let equip = EQUIP.get_or_init(|| {
        Definition(method_fast!(c"_equip_timeouts", equip, c"Tell the classes of timeouts."))
    });
    Ok([
        ("_TimeoutCore", core),
        ("timeout", timeout.bind(ffi::none())?),
        ("timeout_at", timeout_at.bind(ffi::none())?),
        ("_equip_timeouts", equip.bind(ffi::none())?),
    ])
}

//! The class as Python sees it: its methods, and the attributes by which asyncio's own methods work on it.

use super::nothing::Nothing;
use super::{CLASSES, Timeout, TimeoutData, aexit, functions, reschedule};
use crate::awaitable::Awaitable;
use crate::awaitable::entering::{Entering, aenter};
use crate::ffi::arguments::Arguments;
use crate::ffi::exports::Exports;
use crate::ffi::method::{attribute, method_fast, method_none};
use crate::ffi::{self, Object, Outcome, Owned, call, raised};
use crate::task::deadline::Phase;

/// In the order of `_State`.
const PHASES: [Phase; 5] = [Phase::Created, Phase::Entered, Phase::Expiring, Phase::Expired, Phase::Exited];

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
    ffi::function::dress(class, stock)?;
    let mut places = CLASSES.states.iter();
    call::any_item(states, |state| {
        if let Some(place) = places.next() {
            place.set(state.own());
        }
        Ok(false)
    })?;
    Ok(Owned::none())
}

/// Makes the base of `aioxide.Timeout`, and its functions.
pub(crate) fn export(exports: &Exports<'_, '_>) -> Outcome<()> {
    Awaitable::<Entering<TimeoutData>>::make_kind(c"aioxide._EnterTimeout")?;
    Awaitable::<Nothing>::make_kind(c"aioxide._Nothing")?;
    let builder = Timeout::constructed()
        .methods([
            method_none!(c"__aenter__", aenter::<TimeoutData>, c"__aenter__($self)\n--\n\nEnter it."),
            method_fast!(
                c"__aexit__",
                aexit,
                c"__aexit__($self, exc_type, exc_val, exc_tb)\n--\n\nLeave it."
            ),
            method_fast!(
                c"reschedule",
                reschedule,
                c"reschedule($self, when)\n--\n\nSet another time, or none."
            ),
            method_none!(c"when", when, c"when($self)\n--\n\nReturn the time."),
            method_none!(c"expired", expired, c"expired($self)\n--\n\nWhether the time was up."),
        ])
        .attributes([
            attribute!(c"_state", get_state, set_state),
            attribute!(c"_when", when, set_when_attribute),
            attribute!(c"_task", get_task, set_task),
            attribute!(c"_cancelling", get_cancelling, set_cancelling),
            attribute!(c"_timeout_handler", get_handler, set_handler),
        ]);
    exports.add("_TimeoutCore", Timeout::make_kind(builder, c"aioxide._TimeoutCore")?)?;
    functions::export(exports)?;
    exports.function(method_fast!(c"_equip_timeouts", equip, c"Tell the classes of timeouts."))
}

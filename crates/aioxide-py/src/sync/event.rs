//! `Event`: a flag that tasks wait for.

use std::cell::Cell;

use super::bound::refuse_loop;
use super::overrides::Watched;
use super::primitive::{Own, Primitive, common_attributes, common_methods};
use super::wait::{self, Gate, Wait};
use super::{repr, set_flag};
use crate::awaitable::{Awaitable, Home};
use crate::ffi::holder::{Holder, InitArguments, Kind};
use crate::ffi::method::{attribute, method_none};
use crate::ffi::{Object, Outcome, Owned};
use crate::interp::names;

/// What it has beside what all have.
pub(super) struct EventData {
    value: Cell<bool>,
}

pub(super) type Event = Primitive<EventData>;

static KIND: Kind = Kind::new();
static WAITS: Home = Home::new();
static WATCHED: Watched = Watched::new();
const WATCHED_NAMES: [&std::ffi::CStr; 2] = [c"wait", c"_get_loop"];
const WAIT: u8 = 1;
const GET_LOOP: u8 = 2;

impl Own for EventData {
    const BEGUN: bool = true;

    fn home() -> &'static Kind {
        &KIND
    }

    fn watched() -> &'static Watched {
        &WATCHED
    }

    fn new() -> Self {
        Self { value: Cell::new(false) }
    }

    fn init(this: &Holder<Event>, arguments: &InitArguments) -> Outcome<()> {
        let [event_loop] = arguments.parse("Event", &[&names().loop_], 0)?;
        refuse_loop(this.object(), event_loop)?;
        this.value.set(false);
        Ok(())
    }

    fn repr(this: &Holder<Event>) -> Outcome {
        let state = if this.value.get() { "set" } else { "unset" };
        repr(this.object(), state, this.waiters.len()?)
    }
}

impl Gate for EventData {
    const METHOD: &'static str = "Event.wait";

    fn waits() -> &'static Home {
        &WAITS
    }

    fn try_pass(this: &Event) -> Outcome<bool> {
        Ok(this.value.get())
    }

    fn passed(_: &Event) -> Outcome<()> {
        Ok(())
    }

    fn missed(_: &Event, _: bool) -> Outcome<()> {
        Ok(())
    }
}

fn wait(this: &Holder<Event>) -> Outcome {
    if this.replaced(GET_LOOP)? {
        return WATCHED.call_theirs(WAIT, this.object(), &[]);
    }
    wait::make(this, true)
}

fn set(this: &Holder<Event>) -> Outcome {
    if !this.value.replace(true) {
        this.waiters.wake(i64::MAX, true)?;
    }
    Ok(Owned::none())
}

fn clear(this: &Holder<Event>) -> Outcome {
    this.value.set(false);
    Ok(Owned::none())
}

fn is_set(this: &Holder<Event>) -> Outcome {
    Ok(Owned::boolean(this.value.get()))
}

fn set_value(this: &Holder<Event>, value: Option<&Object>) -> Outcome<()> {
    set_flag(&this.value, value)
}

/// Makes the type `_EventCore` and that of its awaitable.
pub(super) fn make_kind() -> Outcome {
    Awaitable::<Wait<EventData>>::make_kind(c"aioxide.EventWait")?;
    let builder = Holder::<Event>::shown()
        .methods([
            method_none!(
                c"wait",
                wait,
                c"wait($self)\n--\n\nWait until the event is set, which may be now. Gives True."
            ),
            method_none!(c"set", set, c"set($self)\n--\n\nSet the event and wake all who wait."),
            method_none!(c"clear", clear, c"clear($self)\n--\n\nReset the event: `wait` waits again."),
            method_none!(c"is_set", is_set, c"is_set($self)\n--\n\nReturn True if the event is set."),
        ])
        .methods(common_methods!(EventData))
        .attributes([attribute!(c"_value", is_set, set_value)])
        .attributes(common_attributes!(EventData));
    let kind = Holder::<Event>::make_kind(builder, c"aioxide._EventCore")?;
    WATCHED.load(&[&kind], c"Event", &WATCHED_NAMES)?;
    Ok(kind)
}

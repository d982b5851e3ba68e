//! `Event`: a flag that tasks wait for.

use std::cell::Cell;
use std::os::raw::c_int;

use super::bound::{Bound, refuse_loop};
use super::overrides::{Overrides, Watched};
use super::wait::{self, Gate, Wait};
use super::waiters::Waiters;
use super::{Waits, common_attributes, common_methods, repr, set_flag};
use crate::ffi::awaitable::{Awaitable, Home};
use crate::ffi::holder::{Contents, Holder, InitArguments, Kind};
use crate::ffi::method::{attribute, method_none};
use crate::ffi::{Object, Outcome, Owned, Visit, call, names};

pub(super) struct Event {
    value: Cell<bool>,
    waiters: Waiters,
    bound: Bound,
    overrides: Overrides,
}

static KIND: Kind = Kind::new();
static WAITS: Home = Home::new();
static WATCHED: Watched = Watched::new();
const WATCHED_NAMES: [&std::ffi::CStr; 2] = [c"wait", c"_get_loop"];
const WAIT: u8 = 1;
const GET_LOOP: u8 = 2;

impl Contents for Event {
    fn home() -> &'static Kind {
        &KIND
    }

    fn new() -> Self {
        let event = Self {
            value: Cell::new(false),
            waiters: Waiters::new(),
            bound: Bound::new(),
            overrides: Overrides::new(),
        };
        event.waiters.reset(true);
        event
    }

    fn init(this: &Holder<Self>, arguments: &InitArguments) -> Outcome<()> {
        let [event_loop] = arguments.parse("Event", &[&names().loop_], 0)?;
        refuse_loop(this.object(), event_loop)?;
        this.value.set(false);
        this.waiters.reset(true);
        Ok(())
    }

    fn repr(this: &Holder<Self>) -> Outcome {
        let state = if this.value.get() { "set" } else { "unset" };
        repr(this.object(), state, this.waiters.len()?)
    }

    fn traverse(&self, visit: Visit) -> c_int {
        let status = self.waiters.traverse(visit);
        if status != 0 { status } else { self.bound.slot().visit(visit) }
    }

    fn clear(&self) {
        self.waiters.clear();
        self.bound.slot().clear();
    }

    fn assigned(&self, name: &Object) -> Outcome<()> {
        self.overrides.assigned(&WATCHED, name)
    }
}

impl Waits for Event {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn bound(&self) -> &Bound {
        &self.bound
    }
}

impl Gate for Event {
    fn waits() -> &'static Home {
        &WAITS
    }

    fn try_pass(&self) -> Outcome<bool> {
        Ok(self.value.get())
    }

    fn passed(&self) -> Outcome<()> {
        Ok(())
    }

    fn missed(&self, _granted: bool) -> Outcome<()> {
        Ok(())
    }
}

fn wait(this: &Holder<Event>) -> Outcome {
    if this.overrides.any(this.object(), &WATCHED, GET_LOOP)? {
        return call::call(&*WATCHED.theirs(WAIT)?, &[this.object()]);
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
    Awaitable::<Wait<Event>>::make_kind(c"aioxide.EventWait")?;
    let builder = Holder::<Event>::builder()
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
        .methods(common_methods!(Event))
        .attributes([attribute!(c"_value", is_set, set_value)])
        .attributes(common_attributes!(Event));
    let kind = Holder::<Event>::make_kind(builder, c"aioxide._EventCore")?;
    WATCHED.load(&[&kind], c"Event", &WATCHED_NAMES)?;
    Ok(kind)
}

//! `Barrier`: so many tasks wait until the last of them has come.
//!
//! States, as asyncio names them: FILLING while tasks come; DRAINING from the last one's coming until all have gone;
//! RESETTING from `reset` until those who waited have gone; BROKEN after `abort` until `reset`. Those who come while it
//! drains or is reset wait for the next filling. All changes are made with the lock of `_cond` held, which is notified of
//! each.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::raw::c_int;

use super::barrier_wait::{self, Errand};
use super::bound::refuse_loop;
use super::condition::Condition;
use super::overrides::{Overrides, Watched};
use super::{ours, repr};
use crate::ffi::arguments::Arguments;
use crate::ffi::holder::{Constructed, Contents, Held, Holder, InitArguments, Kind, Shown};
use crate::ffi::method::{attribute, method_fast, method_none};
use crate::ffi::text::{show, to_string};
use crate::ffi::{Object, Outcome, Owned, Slot, Visit, call, raised};
use crate::interp::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Filling,
    Draining,
    Resetting,
    Broken,
}

const STATES: [(State, &CStr); 4] = [
    (State::Filling, c"FILLING"),
    (State::Draining, c"DRAINING"),
    (State::Resetting, c"RESETTING"),
    (State::Broken, c"BROKEN"),
];

pub(super) struct Barrier {
    pub(super) state: Cell<State>,
    pub(super) count: Cell<i64>,
    /// What the program gave, and how many tasks that is: more than ever come for what no number of tasks equals (`1.5`).
    parties: Slot,
    pub(super) needed: Cell<i64>,
    condition: Slot,
    overrides: Overrides,
}

static KIND: Kind = Kind::new();
static WATCHED: Watched = Watched::new();
const WATCHED_NAMES: [&CStr; 5] = [c"wait", c"_block", c"_release", c"_wait", c"_exit"];
const WAIT: u8 = 1;
const PARTS: u8 = 2 | 4 | 8 | 16;

impl Contents for Barrier {
    fn home() -> &'static Kind {
        &KIND
    }

    fn traverse(&self, visit: Visit) -> c_int {
        match self.condition.visit(visit) {
            0 => self.parties.visit(visit),
            stop => stop,
        }
    }

    fn clear(&self) {
        self.condition.clear();
        self.parties.clear();
    }
}

impl Constructed for Barrier {
    fn new() -> Self {
        Self {
            state: Cell::new(State::Filling),
            count: Cell::new(0),
            parties: Slot::new(),
            needed: Cell::new(1),
            condition: Slot::new(),
            overrides: Overrides::new(),
        }
    }

    fn init(this: &Holder<Self>, arguments: &InitArguments) -> Outcome<()> {
        let [parties, event_loop] = arguments.parse("Barrier", &[&names().parties, &names().loop_], 1)?;
        refuse_loop(this.object(), event_loop)?;
        let Some(parties) = parties else {
            let message = "Barrier.__init__() missing 1 required positional argument: 'parties'";
            return Err(raised::raise(raised::type_error(), message));
        };
        if call::less(parties, &*call::integer(1)?)? {
            let message = if cfg!(Py_3_14) { "parties must be >= 1" } else { "parties must be > 0" };
            return Err(raised::raise(raised::value_error(), message));
        }
        this.set_parties(parties);
        this.condition.set(call::call(&*ours(c"Condition")?, &[])?);
        this.state.set(State::Filling);
        this.count.set(0);
        Ok(())
    }
}

impl Shown for Barrier {
    fn repr(this: &Holder<Self>) -> Outcome {
        let state = show_state(this.state.get());
        if this.state.get() == State::Broken {
            return repr(this.object(), state, 0);
        }
        let parties = to_string(&*call::to_text(&this.parties.get_or_none())?);
        let text = format!("{state}, waiters:{}/{parties}", this.waiting());
        repr(this.object(), &text, 0)
    }

    fn assigned(&self, name: &Object) -> Outcome<()> {
        self.overrides.assigned(&WATCHED, name)
    }
}

fn show_state(state: State) -> &'static str {
    match state {
        State::Filling => "filling",
        State::Draining => "draining",
        State::Resetting => "resetting",
        State::Broken => "broken",
    }
}

impl Holder<Barrier> {
    /// The condition, which is ours unless somebody has replaced it.
    pub(super) fn condition(&self) -> Outcome<Held<Condition>> {
        let condition = self.condition.get_or_none();
        match Holder::<Condition>::from_object(&condition) {
            Some(condition) => Ok(condition.own()),
            None => {
                let message = format!("the condition of a barrier is {}", show(&condition));
                Err(raised::raise(raised::type_error(), &message))
            }
        }
    }

    /// Whether asyncio's own method is to do it: a part of it was replaced, or the condition is not ours.
    fn is_theirs(&self) -> Outcome<bool> {
        let replaced = self.overrides.any(self.object(), &WATCHED, PARTS)?
            || Holder::<Condition>::from_object(&self.condition.get_or_none()).is_none();
        Ok(replaced && !WATCHED.theirs(WAIT)?.is_none())
    }

    fn set_parties(&self, parties: &Object) {
        let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64);
        let needed = call::small_integer(parties)
            .or_else(|| call::as_float(parties).map_err(raised::clear).ok().and_then(whole));
        self.needed.set(needed.unwrap_or(i64::MAX));
        self.parties.set(parties.own());
    }

    fn waiting(&self) -> i64 {
        if self.state.get() == State::Filling { self.count.get() } else { 0 }
    }

    /// A task goes that had come: the last one opens the barrier for those who wait for the next filling.
    pub(super) fn leave(&self) -> Outcome<()> {
        self.count.set(self.count.get() - 1);
        self.signal_empty()
    }

    fn signal_empty(&self) -> Outcome<()> {
        if self.count.get() != 0 {
            return Ok(());
        }
        if matches!(self.state.get(), State::Resetting | State::Draining) {
            self.state.set(State::Filling);
        }
        self.condition()?.notify_all()
    }

    /// What `reset` does with the lock held.
    pub(super) fn reset(&self) -> Outcome<()> {
        self.state.set(if self.count.get() > 0 { State::Resetting } else { State::Filling });
        self.condition()?.notify_all()
    }

    /// What `abort` does with the lock held.
    pub(super) fn abort(&self) -> Outcome<()> {
        self.state.set(State::Broken);
        self.condition()?.notify_all()
    }
}

fn wait(this: &Holder<Barrier>) -> Outcome {
    if this.is_theirs()? {
        return WATCHED.call_theirs(WAIT, this.object(), &[]);
    }
    barrier_wait::make(this, Errand::Wait)
}

fn enter(this: &Holder<Barrier>) -> Outcome {
    if this.overrides.any(this.object(), &WATCHED, WAIT)? {
        return call::call_method(&names().wait, &[this.object()], None);
    }
    wait(this)
}

fn exit(_: &Holder<Barrier>, _: &Arguments<'_>) -> Outcome {
    super::wait::nothing()
}

fn reset(this: &Holder<Barrier>) -> Outcome {
    barrier_wait::make(this, Errand::Reset)
}

fn abort(this: &Holder<Barrier>) -> Outcome {
    barrier_wait::make(this, Errand::Abort)
}

fn get_parties(this: &Holder<Barrier>) -> Outcome {
    Ok(this.parties.get_or_none())
}

fn set_parties(this: &Holder<Barrier>, value: Option<&Object>) -> Outcome<()> {
    this.set_parties(value.unwrap_or(crate::ffi::none()));
    Ok(())
}

fn get_waiting(this: &Holder<Barrier>) -> Outcome {
    call::integer(this.waiting())
}

fn get_broken(this: &Holder<Barrier>) -> Outcome {
    Ok(Owned::boolean(this.state.get() == State::Broken))
}

fn get_count(this: &Holder<Barrier>) -> Outcome {
    call::integer(this.count.get())
}

fn set_count(this: &Holder<Barrier>, value: Option<&Object>) -> Outcome<()> {
    this.count.set(call::to_integer(value.unwrap_or(crate::ffi::none()))?);
    Ok(())
}

fn member(state: State) -> Outcome {
    let name = STATES.iter().find(|(known, _)| *known == state).map_or(c"FILLING", |(_, name)| *name);
    call::get_attribute(&*ours(c"_BarrierState")?, &*call::interned(name)?)
}

fn get_state(this: &Holder<Barrier>) -> Outcome {
    member(this.state.get())
}

fn set_state(this: &Holder<Barrier>, value: Option<&Object>) -> Outcome<()> {
    let value = value.unwrap_or(crate::ffi::none());
    for (state, _) in STATES {
        if member(state)?.is(value) {
            this.state.set(state);
            return Ok(());
        }
    }
    let message = format!("{} is no state of a barrier", show(value));
    Err(raised::raise(raised::value_error(), &message))
}

fn get_condition(this: &Holder<Barrier>) -> Outcome {
    Ok(this.condition.get_or_none())
}

fn set_condition(this: &Holder<Barrier>, value: Option<&Object>) -> Outcome<()> {
    this.condition.put(value.map(Object::own));
    Ok(())
}

/// Makes the type `_BarrierCore` and that of its awaitable.
pub(super) fn make_kind() -> Outcome {
    barrier_wait::make_kind()?;
    let builder = Holder::<Barrier>::shown()
        .methods([
            method_none!(
                c"wait",
                wait,
                c"wait($self)\n--\n\nWait until as many tasks as the barrier is for have come. Gives the number of those who came before.\n\nRaises BrokenBarrierError when the barrier is aborted, or reset meanwhile."
            ),
            method_none!(
                c"reset",
                reset,
                c"reset($self)\n--\n\nEmpty the barrier: those who wait get BrokenBarrierError."
            ),
            method_none!(
                c"abort",
                abort,
                c"abort($self)\n--\n\nBreak the barrier: those who wait, and those who come, get BrokenBarrierError."
            ),
            method_none!(c"__aenter__", enter, c"__aenter__($self)\n--\n\nWait for the barrier."),
            method_fast!(c"__aexit__", exit, c"__aexit__($self, *args)\n--\n\nDo nothing."),
        ])
        .attributes([
            attribute!(c"parties", get_parties),
            attribute!(c"n_waiting", get_waiting),
            attribute!(c"broken", get_broken),
            attribute!(c"_parties", get_parties, set_parties),
            attribute!(c"_count", get_count, set_count),
            attribute!(c"_state", get_state, set_state),
            attribute!(c"_cond", get_condition, set_condition),
        ]);
    let kind = Holder::<Barrier>::make_kind(builder, c"aioxide._BarrierCore")?;
    WATCHED.load(&[&kind], c"Barrier", &WATCHED_NAMES)?;
    Ok(kind)
}

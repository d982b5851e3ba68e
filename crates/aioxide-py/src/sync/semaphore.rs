//! `Semaphore` and `BoundedSemaphore`: held by so many at a time.
//!
//! `release` hands the permit to the first waiter that is not done, without showing it in `_value` meanwhile: who comes
//! later cannot take it. A waiter that leaves after it was woken gives the permit back, and every waiter that goes on or
//! away wakes others as long as there are permits.
//!
//! A value that is no plain int, or none that fits 64 bits (`float("inf")`), is kept as it is, and asyncio's own methods do the
//! sums.

use std::cell::Cell;

use pyo3::ffi::Py_GE;

use super::bound::refuse_loop;
use super::held::{Held, exit_unless, held_methods, release};
use super::overrides::Watched;
use super::primitive::{Own, Primitive, common_attributes, common_methods};
use super::repr;
use super::wait::{Gate, Wait};
use crate::awaitable::{Awaitable, Home};
use crate::ffi::arguments::Arguments;
use crate::ffi::holder::{Holder, InitArguments, Kind};
use crate::ffi::method::{attribute, method_fast, method_none};
use crate::ffi::text::to_string;
use crate::ffi::{Object, Outcome, Owned, Slot, call, function, raised};
use crate::interp::names;

/// What it has beside what all have.
pub(super) struct SemaphoreData {
    value: Cell<i64>,
    /// The value, if it is none for the field above.
    odd_value: Slot,
    /// What a bounded one began with.
    bound_value: Slot,
}

pub(super) type Semaphore = Primitive<SemaphoreData>;

static KIND: Kind = Kind::new();
static WAITS: Home = Home::new();
static WATCHED: Watched = Watched::new();
const WATCHED_NAMES: [&std::ffi::CStr; 7] =
    [c"acquire", c"release", c"_wake_up_next", c"_get_loop", c"__aenter__", c"__aexit__", c"locked"];

impl Own for SemaphoreData {
    const BEGUN: bool = false;

    fn home() -> &'static Kind {
        &KIND
    }

    fn watched() -> &'static Watched {
        &WATCHED
    }

    fn new() -> Self {
        Self { value: Cell::new(1), odd_value: Slot::new(), bound_value: Slot::new() }
    }

    fn init(this: &Holder<Semaphore>, arguments: &InitArguments) -> Outcome<()> {
        let [value, event_loop] = arguments.parse("Semaphore", &[&names().value, &names().loop_], 1)?;
        refuse_loop(this.object(), event_loop)?;
        let one = call::integer(1)?;
        let value = value.unwrap_or(&one);
        if call::less(value, &*call::integer(0)?)? {
            let message = "Semaphore initial value must be >= 0";
            return Err(raised::raise(raised::value_error(), message));
        }
        this.bound_value.set(value.own());
        set_value(this, Some(value))
    }

    fn repr(this: &Holder<Semaphore>) -> Outcome {
        let is_locked = call::truth(&*call::call_method(&names().locked_method, &[this.object()], None)?)?;
        if is_locked {
            return repr(this.object(), "locked", this.waiters.len()?);
        }
        let value = to_string(&*call::to_text(&*get_value(this)?)?);
        repr(this.object(), &format!("unlocked, value:{value}"), this.waiters.len()?)
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.odd_value, &self.bound_value].into_iter()
    }
}

impl Semaphore {
    #[inline]
    fn is_locked(&self) -> Outcome<bool> {
        Ok(self.value.get() == 0 || self.waiters.any_waits()?)
    }

    /// Hands permits to waiters as long as there are both.
    #[inline]
    fn hand_out(&self) -> Outcome<()> {
        let free = self.value.get();
        if free > 0 {
            self.value.set(free - self.waiters.wake(free, true)?);
        }
        Ok(())
    }

    /// Hands a permit to the first who waits.
    fn wake_next(&self) -> Outcome<bool> {
        let woken = self.waiters.wake(1, true)?;
        self.value.set(self.value.get() - woken);
        Ok(woken > 0)
    }
}

impl Gate for SemaphoreData {
    const METHOD: &'static str = "Semaphore.acquire";

    fn waits() -> &'static Home {
        &WAITS
    }

    #[inline]
    fn try_pass(this: &Semaphore) -> Outcome<bool> {
        if this.is_locked()? {
            return Ok(false);
        }
        this.value.set(this.value.get() - 1);
        Ok(true)
    }

    #[inline]
    fn passed(this: &Semaphore) -> Outcome<()> {
        this.hand_out()
    }

    fn missed(this: &Semaphore, granted: bool) -> Outcome<()> {
        if granted {
            this.value.set(this.value.get() + 1);
        }
        this.hand_out()
    }
}

impl Held for SemaphoreData {
    #[inline]
    fn is_theirs(this: &Holder<Semaphore>, bits: u8) -> Outcome<bool> {
        Ok(!this.odd_value.is_empty() || this.replaced(bits)?)
    }

    #[inline]
    fn give_back(this: &Holder<Semaphore>) -> Outcome<()> {
        let value = this.value.get();
        match value.checked_add(1) {
            Some(value) => this.value.set(value),
            None => set_value(this, Some(&*call::add(&*call::integer(value)?, &*call::integer(1)?)?))?,
        }
        this.wake_next().map(drop)
    }
}

fn refuse_excess(this: &Holder<Semaphore>) -> Outcome<()> {
    let bound = this.bound_value.get_or_none();
    let exceeds = match call::small_integer(&bound) {
        Some(bound) if this.odd_value.is_empty() => this.value.get() >= bound,
        _ => call::compare(&*get_value(this)?, &bound, Py_GE)?,
    };
    if !exceeds {
        return Ok(());
    }
    Err(raised::raise(raised::value_error(), "BoundedSemaphore released too many times"))
}

fn release_bounded(this: &Holder<Semaphore>) -> Outcome {
    refuse_excess(this)?;
    release(this)
}

fn exit_bounded(this: &Holder<Semaphore>, _: &Arguments<'_>) -> Outcome {
    exit_unless(this, refuse_excess)
}

fn locked(this: &Holder<Semaphore>) -> Outcome {
    if let Some(value) = this.odd_value.get() {
        let zero = call::integer(0)?;
        return Ok(Owned::boolean(call::equal(&value, &zero)? || this.waiters.any_waits()?));
    }
    this.is_locked().map(Owned::boolean)
}

fn wake_up_next(this: &Holder<Semaphore>) -> Outcome {
    let Some(value) = this.odd_value.get() else { return this.wake_next().map(Owned::boolean) };
    let woken = this.waiters.wake(1, true)? > 0;
    if woken {
        set_value(this, Some(&*call::subtract(&value, &*call::integer(1)?)?))?;
    }
    Ok(Owned::boolean(woken))
}

fn get_value(this: &Holder<Semaphore>) -> Outcome {
    match this.odd_value.get() {
        Some(value) => Ok(value),
        None => call::integer(this.value.get()),
    }
}

fn set_value(this: &Holder<Semaphore>, value: Option<&Object>) -> Outcome<()> {
    let Some(value) = value else {
        return Err(raised::raise(raised::attribute_error(), "cannot delete attribute"));
    };
    match call::to_exact_integer(value) {
        Some(value) => {
            this.odd_value.clear();
            this.value.set(value);
        }
        None => this.odd_value.set(value.own()),
    }
    Ok(())
}

fn get_bound_value(this: &Holder<Semaphore>) -> Outcome {
    Ok(this.bound_value.get_or_none())
}

fn set_bound_value(this: &Holder<Semaphore>, value: Option<&Object>) -> Outcome<()> {
    this.bound_value.put(value.map(Object::own));
    Ok(())
}

/// Makes the types `_SemaphoreCore` and `_BoundedSemaphoreCore` and that of their awaitable.
pub(super) fn make_kinds() -> Outcome<[(&'static str, Owned); 2]> {
    Awaitable::<Wait<SemaphoreData>>::make_kind(c"aioxide.SemaphoreAcquire")?;
    let builder = Holder::<Semaphore>::shown()
        .methods([
            method_none!(
                c"locked",
                locked,
                c"locked($self)\n--\n\nReturn True if it cannot be acquired at once."
            ),
            method_none!(
                c"_wake_up_next",
                wake_up_next,
                c"_wake_up_next($self)\n--\n\nWake the first waiter that is not done; return whether there was one."
            ),
        ])
        .methods(held_methods!(SemaphoreData))
        .methods(common_methods!(SemaphoreData))
        .attributes([attribute!(c"_value", get_value, set_value)])
        .attributes(common_attributes!(SemaphoreData));
    let kind = Holder::<Semaphore>::make_kind(builder, c"aioxide._SemaphoreCore")?;
    let builder = Holder::<Semaphore>::shown()
        .methods([
            method_none!(
                c"release",
                release_bounded,
                c"release($self)\n--\n\nRelease the semaphore and wake the one that has waited longest.\n\nRaises ValueError if that were more often than it was acquired."
            ),
            method_fast!(
                c"__aexit__",
                exit_bounded,
                c"__aexit__($self, *args)\n--\n\nRelease the semaphore."
            ),
        ])
        .attributes([attribute!(c"_bound_value", get_bound_value, set_bound_value)]);
    let bounded = Holder::<Semaphore>::derive_kind(builder, c"aioxide._BoundedSemaphoreCore", &kind)?;
    let locks = call::import(c"asyncio.locks")?;
    function::dress_methods(
        &bounded,
        &*call::get_attribute(&locks, &*call::interned(c"BoundedSemaphore")?)?,
    )?;
    WATCHED.load(&[&kind, &bounded], c"Semaphore", &WATCHED_NAMES)?;
    Ok([("_SemaphoreCore", kind), ("_BoundedSemaphoreCore", bounded)])
}

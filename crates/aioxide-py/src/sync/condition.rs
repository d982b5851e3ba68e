//! `Condition`: tasks wait, without the lock, until one that holds it notifies them.
//!
//! The lock is any that has asyncio's methods; with one of ours (`aioxide.Lock`, nothing replaced) `wait` and `wait_for` do
//! without coroutine frames, with another they are asyncio's own coroutines, as they are when `acquire`, `release` or
//! `locked` of the condition were replaced.

use pyo3::ffi::Py_GE;

use super::bound::refuse_loop;
use super::lock::Lock;
use super::overrides::Watched;
use super::primitive::{Own, Primitive, common_attributes, common_methods};
use super::{condition_wait, repr, wait};
use crate::ffi::arguments::Arguments;
use crate::ffi::holder::{Held, Holder, InitArguments, Kind, Shown};
use crate::ffi::method::{attribute, method_fast, method_none, method_one};
use crate::ffi::{Object, Outcome, Owned, Slot, call, raised};
use crate::interp::names;

/// What it has beside what all have.
pub(super) struct ConditionData {
    lock: Slot,
    /// What was assigned to `acquire`, `release` and `locked`; the lock's own where nothing was.
    acquire: Slot,
    release: Slot,
    locked: Slot,
}

pub(super) type Condition = Primitive<ConditionData>;

static KIND: Kind = Kind::new();
static WATCHED: Watched = Watched::new();
const WATCHED_NAMES: [&std::ffi::CStr; 8] =
    [c"wait", c"wait_for", c"notify", c"_notify", c"_get_loop", c"acquire", c"release", c"locked"];
const WAIT: u8 = 1;
const WAIT_FOR: u8 = 2;
const NOTIFY: u8 = 4;
const NOTIFY_SOME: u8 = 8;
const GET_LOOP: u8 = 16;
const ACQUIRE: u8 = 32;
const RELEASE: u8 = 64;
const LOCKED: u8 = 128;

impl Own for ConditionData {
    const BEGUN: bool = true;

    fn home() -> &'static Kind {
        &KIND
    }

    fn watched() -> &'static Watched {
        &WATCHED
    }

    fn new() -> Self {
        Self { lock: Slot::new(), acquire: Slot::new(), release: Slot::new(), locked: Slot::new() }
    }

    fn init(this: &Holder<Condition>, arguments: &InitArguments) -> Outcome<()> {
        let names = names();
        let [lock, event_loop] = arguments.parse("Condition", &[&names.lock, &names.loop_], 1)?;
        refuse_loop(this.object(), event_loop)?;
        let lock = match lock {
            Some(lock) if !lock.is_none() => lock.own(),
            _ => call::call(&*super::ours(c"Lock")?, &[])?,
        };
        // asyncio takes them over here: whatever lacks one is refused now. Those of a lock of ours, whose class says what they
        // are, are made when they are asked for; any other's may be this condition's own, which change with the next line.
        let get = |name| call::get_attribute(&lock, name);
        let exports = [get(&names.acquire)?, get(&names.release)?, get(&names.locked_method)?];
        let is_own = Holder::<Lock>::from_object(&lock).map_or(Ok(false), |lock| lock.is_stock())?;
        for (slot, exported) in [&this.acquire, &this.release, &this.locked].into_iter().zip(exports) {
            slot.put(Some(exported).filter(|_| !is_own));
        }
        this.lock.set(lock);
        Ok(())
    }

    fn repr(this: &Holder<Condition>) -> Outcome {
        let state = if this.is_locked()? { "locked" } else { "unlocked" };
        repr(this.object(), state, this.waiters.len()?)
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.lock, &self.acquire, &self.release, &self.locked].into_iter()
    }
}

impl Holder<Condition> {
    /// The lock, if it is one of ours of which nothing was replaced.
    fn own_lock(&self) -> Outcome<Option<Held<Lock>>> {
        let Some(lock) = self.lock.get() else { return Ok(None) };
        match Holder::<Lock>::from_object(&lock) {
            Some(lock) if lock.is_stock()? => Ok(Some(lock.own())),
            _ => Ok(None),
        }
    }

    /// The lock, for those that have begun with one of ours.
    pub(super) fn lock_or_raise(&self) -> Outcome<Held<Lock>> {
        self.own_lock()?.ok_or_else(|| {
            raised::raise(raised::runtime_error(), "the condition's lock was replaced while a task waited")
        })
    }

    /// The lock, if everything about it is our own, and so is what `acquire`, `release` and `locked` are.
    #[inline]
    fn plain_lock(&self, bits: u8) -> Outcome<Option<Held<Lock>>> {
        if self.replaced(bits | ACQUIRE | RELEASE | LOCKED)? { Ok(None) } else { self.own_lock() }
    }

    fn is_locked(&self) -> Outcome<bool> {
        if let Some(lock) = self.plain_lock(0)? {
            return Ok(lock.is_locked());
        }
        call::truth(&*call::call_method(&names().locked_method, &[self.object()], None)?)
    }

    /// Wakes so many waiters.
    pub(super) fn notify_some(&self, count: i64) -> Outcome<()> {
        self.waiters.wake(count, false).map(drop)
    }

    /// The same for whatever asyncio can compare with the number of those it has woken: `1.5` wakes two, `inf` wakes all.
    fn notify_counted(&self, count: &Object) -> Outcome<()> {
        if let Some(count) = call::small_integer(count) {
            return self.notify_some(count);
        }
        let waiting = self.waiters.len()? as i64;
        let mut woken = 0;
        while woken < waiting && !call::compare(&*call::integer(woken)?, count, Py_GE)? {
            woken += 1;
        }
        self.notify_some(woken)
    }

    pub(super) fn notify_all(&self) -> Outcome<()> {
        self.notify_some(i64::MAX)
    }
}

fn of_lock(this: &Holder<Condition>, replaced: &Slot, name: &Object) -> Outcome {
    match (replaced.get(), this.lock.get()) {
        (Some(replaced), _) => Ok(replaced),
        (None, Some(lock)) => call::get_attribute(&lock, name),
        (None, None) => Err(raised::raise(raised::attribute_error(), "the condition has no lock")),
    }
}

fn get_acquire(this: &Holder<Condition>) -> Outcome {
    of_lock(this, &this.acquire, &names().acquire)
}

fn set_acquire(this: &Holder<Condition>, value: Option<&Object>) -> Outcome<()> {
    this.acquire.put(value.map(Object::own));
    Ok(())
}

fn get_release(this: &Holder<Condition>) -> Outcome {
    of_lock(this, &this.release, &names().release)
}

fn set_release(this: &Holder<Condition>, value: Option<&Object>) -> Outcome<()> {
    this.release.put(value.map(Object::own));
    Ok(())
}

fn get_locked(this: &Holder<Condition>) -> Outcome {
    of_lock(this, &this.locked, &names().locked_method)
}

fn set_locked(this: &Holder<Condition>, value: Option<&Object>) -> Outcome<()> {
    this.locked.put(value.map(Object::own));
    Ok(())
}

fn get_lock(this: &Holder<Condition>) -> Outcome {
    Ok(this.lock.get_or_none())
}

fn set_lock(this: &Holder<Condition>, value: Option<&Object>) -> Outcome<()> {
    if this.lock.is_empty() {
        // The copy of another, which gets its state.
        this.lock.put(value.map(Object::own));
        return Ok(());
    }
    // What was exported stays that of the lock before, as in asyncio.
    for (slot, get) in [
        (&this.acquire, get_acquire as fn(&Holder<Condition>) -> Outcome),
        (&this.release, get_release),
        (&this.locked, get_locked),
    ] {
        let exported = get(this)?;
        slot.set(exported);
    }
    let names = names();
    for name in [&names.acquire, &names.release, &names.locked_method] {
        this.assigned(name)?;
    }
    this.lock.put(value.map(Object::own));
    Ok(())
}

fn enter(this: &Holder<Condition>) -> Outcome {
    if let Some(lock) = this.plain_lock(0)? {
        return wait::make(&lock, false);
    }
    super::enter_by_protocol(this.object())
}

fn exit(this: &Holder<Condition>, _: &Arguments<'_>) -> Outcome {
    match this.plain_lock(0)? {
        Some(lock) => lock.unlock()?,
        None => drop(call::call_method(&names().release, &[this.object()], None)?),
    }
    wait::nothing()
}

fn wait(this: &Holder<Condition>) -> Outcome {
    if this.plain_lock(GET_LOOP | NOTIFY_SOME)?.is_none() {
        return WATCHED.call_theirs(WAIT, this.object(), &[]);
    }
    condition_wait::make(this, None)
}

fn wait_for(this: &Holder<Condition>, arguments: &Arguments<'_>) -> Outcome {
    let [predicate] = arguments.parse("wait_for", &[&names().predicate], 1)?;
    let Some(predicate) = predicate else {
        let message = "Condition.wait_for() missing 1 required positional argument: 'predicate'";
        return Err(raised::raise(raised::type_error(), message));
    };
    if this.plain_lock(WAIT | GET_LOOP | NOTIFY_SOME)?.is_none() {
        return WATCHED.call_theirs(WAIT_FOR, this.object(), &[predicate]);
    }
    condition_wait::make(this, Some(predicate))
}

fn refuse_unlocked(this: &Holder<Condition>) -> Outcome<()> {
    if this.is_locked()? {
        return Ok(());
    }
    Err(raised::raise(raised::runtime_error(), "cannot notify on un-acquired lock"))
}

fn notify(this: &Holder<Condition>, arguments: &Arguments<'_>) -> Outcome {
    let names = names();
    let [count] = arguments.parse("notify", &[&names.n], 1)?;
    refuse_unlocked(this)?;
    let one = call::integer(1)?;
    let count = count.unwrap_or(&one);
    if this.replaced(NOTIFY_SOME)? {
        return call::call_method(&names.notify_some, &[this.object(), count], None);
    }
    this.notify_counted(count)?;
    Ok(Owned::none())
}

fn notify_some(this: &Holder<Condition>, count: &Object) -> Outcome {
    this.notify_counted(count)?;
    Ok(Owned::none())
}

fn notify_all(this: &Holder<Condition>) -> Outcome {
    if this.replaced(NOTIFY | NOTIFY_SOME)? {
        let count = call::integer(i64::try_from(this.waiters.len()?).unwrap_or(i64::MAX))?;
        return call::call_method(&names().notify, &[this.object(), &count], None);
    }
    refuse_unlocked(this)?;
    this.notify_all()?;
    Ok(Owned::none())
}

/// Makes the type `_ConditionCore` and that of its awaitable.
pub(super) fn make_kind() -> Outcome {
    condition_wait::make_kind()?;
    let builder = Holder::<Condition>::shown()
        .methods([
            method_none!(
                c"wait",
                wait,
                c"wait($self)\n--\n\nRelease the lock, wait until notified, acquire it again. Gives True.\n\nRaises RuntimeError if the lock is not held. It may end without a notification: test again what you wait for."
            ),
            method_fast!(
                c"wait_for",
                wait_for,
                c"wait_for($self, predicate)\n--\n\nWait until `predicate()` is true; give what it returned."
            ),
            method_fast!(
                c"notify",
                notify,
                c"notify($self, n=1)\n--\n\nWake `n` of those who wait.\n\nRaises RuntimeError if the lock is not held."
            ),
            method_none!(
                c"notify_all",
                notify_all,
                c"notify_all($self)\n--\n\nWake all who wait.\n\nRaises RuntimeError if the lock is not held."
            ),
            method_one!(
                c"_notify",
                notify_some,
                c"_notify($self, n, /)\n--\n\nWake `n` of those who wait, whoever holds the lock."
            ),
            method_none!(c"__aenter__", enter, c"__aenter__($self)\n--\n\nAcquire the lock."),
            method_fast!(c"__aexit__", exit, c"__aexit__($self, *args)\n--\n\nRelease the lock."),
        ])
        .methods(common_methods!(ConditionData))
        .attributes([
            attribute!(c"_lock", get_lock, set_lock),
            attribute!(c"acquire", get_acquire, set_acquire),
            attribute!(c"release", get_release, set_release),
            attribute!(c"locked", get_locked, set_locked),
        ])
        .attributes(common_attributes!(ConditionData));
    let kind = Holder::<Condition>::make_kind(builder, c"aioxide._ConditionCore")?;
    WATCHED.load(&[&kind], c"Condition", &WATCHED_NAMES)?;
    Ok(kind)
}

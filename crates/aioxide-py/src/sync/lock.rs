//! `Lock`: held by one at a time, given to those who wait in the order in which they came.
//!
//! `release` frees the lock and wakes the first waiter, which takes it when it runs: until then nobody else may, since
//! there is a waiter that was not cancelled.

use std::cell::Cell;

use aioxide_py_monitor::watched;

use super::bound::refuse_loop;
use super::held::{Held, held_methods};
use super::overrides::Watched;
use super::primitive::{Own, Primitive, common_attributes, common_methods};
use super::wait::{Gate, Wait};
use super::{repr, set_flag};
use crate::awaitable::{Awaitable, Home};
use crate::ffi::holder::{Holder, InitArguments, Kind};
use crate::ffi::method::{attribute, method_none};
use crate::ffi::{Object, Outcome, Owned, Slot, call, raised};
use crate::interp::{current, names};

/// What it has beside what all have.
pub(super) struct LockData {
    locked: Cell<bool>,
    /// A weak reference to the task that has taken it, for whoever looks into the program; empty where nobody may.
    taker: Slot,
}

pub(super) type Lock = Primitive<LockData>;

static KIND: Kind = Kind::new();
static WAITS: Home = Home::new();
static WATCHED: Watched = Watched::new();
const WATCHED_NAMES: [&std::ffi::CStr; 6] =
    [c"acquire", c"release", c"_wake_up_first", c"_get_loop", c"__aenter__", c"__aexit__"];

impl Own for LockData {
    const BEGUN: bool = false;

    fn home() -> &'static Kind {
        &KIND
    }

    fn watched() -> &'static Watched {
        &WATCHED
    }

    fn new() -> Self {
        Self { locked: Cell::new(false), taker: Slot::new() }
    }

    fn init(this: &Holder<Lock>, arguments: &InitArguments) -> Outcome<()> {
        let [event_loop] = arguments.parse("Lock", &[&names().loop_], 0)?;
        refuse_loop(this.object(), event_loop)?;
        this.locked.set(false);
        this.taker.clear();
        Ok(())
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.taker].into_iter()
    }

    fn repr(this: &Holder<Lock>) -> Outcome {
        let state = if this.locked.get() { "locked" } else { "unlocked" };
        repr(this.object(), state, this.waiters.len()?)
    }
}

impl Gate for LockData {
    const METHOD: &'static str = "Lock.acquire";

    fn waits() -> &'static Home {
        &WAITS
    }

    #[inline]
    fn try_pass(this: &Lock) -> Outcome<bool> {
        if this.locked.get() || this.waiters.any_waits()? {
            return Ok(false);
        }
        this.lock();
        Ok(true)
    }

    #[inline]
    fn passed(this: &Lock) -> Outcome<()> {
        this.lock();
        Ok(())
    }

    fn missed(this: &Lock, _granted: bool) -> Outcome<()> {
        if this.locked.get() { Ok(()) } else { this.waiters.wake_first() }
    }
}

impl Held for LockData {
    #[inline]
    fn give_back(this: &Holder<Lock>) -> Outcome<()> {
        this.unlock()
    }
}

impl LockData {
    #[inline]
    fn lock(&self) {
        self.locked.set(true);
        if watched::is_watched() {
            self.note_taker();
        }
    }

    /// Keeps which task has taken it. Whoever looks finds it in the frames of an `async with`, but nothing tells of a plain `acquire`.
    #[cold]
    #[inline(never)]
    fn note_taker(&self) {
        let task = call::call(&names().get_running_loop_or_none, &[]).and_then(|running| {
            let task = if running.is_none() { None } else { current::get(&running) };
            task.map(|task| call::weak_reference(&task)).transpose()
        });
        match task {
            Ok(task) => self.taker.put(task),
            Err(raised) => {
                raised::clear(raised);
                self.taker.clear();
            }
        }
    }
}

impl Holder<Lock> {
    /// Whether nothing that its methods consult was replaced.
    pub(super) fn is_stock(&self) -> Outcome<bool> {
        self.replaced(u8::MAX).map(|any| !any)
    }

    pub(super) fn is_locked(&self) -> bool {
        self.locked.get()
    }

    /// What `release` does.
    #[inline]
    pub(super) fn unlock(&self) -> Outcome<()> {
        if !self.locked.replace(false) {
            return Err(raised::raise(raised::runtime_error(), "Lock is not acquired."));
        }
        if !self.taker.is_empty() {
            self.taker.clear();
        }
        self.waiters.wake_first()
    }
}

/// The task that has taken a lock of ours, where that was kept.
pub(crate) fn taker_of(lock: &Object) -> Option<Owned> {
    let reference = Holder::<Lock>::from_object(lock)?.taker.get()?;
    call::weak_target(&reference).unwrap_or_else(|raised| {
        raised::clear(raised);
        None
    })
}

fn locked(this: &Holder<Lock>) -> Outcome {
    Ok(Owned::boolean(this.locked.get()))
}

fn set_locked(this: &Holder<Lock>, value: Option<&Object>) -> Outcome<()> {
    this.taker.clear();
    set_flag(&this.locked, value)
}

fn wake_up_first(this: &Holder<Lock>) -> Outcome {
    this.waiters.wake_first()?;
    Ok(Owned::none())
}

/// Makes the type `_LockCore` and that of its awaitable.
pub(super) fn make_kind() -> Outcome {
    Awaitable::<Wait<LockData>>::make_kind(c"aioxide.Acquire")?;
    let builder = Holder::<Lock>::shown()
        .methods([
            method_none!(c"locked", locked, c"locked($self)\n--\n\nReturn True if the lock is held."),
            method_none!(
                c"_wake_up_first",
                wake_up_first,
                c"_wake_up_first($self)\n--\n\nWake the first waiter, unless it is done."
            ),
        ])
        .methods(held_methods!(LockData))
        .methods(common_methods!(LockData))
        .attributes([attribute!(c"_locked", locked, set_locked)])
        .attributes(common_attributes!(LockData));
    let kind = Holder::<Lock>::make_kind(builder, c"aioxide._LockCore")?;
    WATCHED.load(&[&kind], c"Lock", &WATCHED_NAMES)?;
    Ok(kind)
}

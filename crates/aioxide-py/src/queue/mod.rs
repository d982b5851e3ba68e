//! `Queue`, `LifoQueue` and `PriorityQueue`: asyncio's queues with their state in Rust.
//!
//! The classes of `aioxide.queues` derive from the base made here and from asyncio's own classes, for `isinstance`, `join`
//! and whatever else is not worth writing again. Each step does what asyncio's code does, in its order; a method that a
//! derived class overrides is called (`traits`), any other is done at once. Read `store` for the items, `nowait` for what
//! never waits, `wait` for what `get()` and `put()` give to `await`, `face` for the attributes that programs look at.
//!
//! Who wakes whom: an item that is put, and room that is made, takes the first waiter that is not done out of its row and
//! finishes it. A waiter that leaves by an exception after it was woken wakes the next one: nothing granted is lost.
//!
//! ```text
//!   await queue.get() ──> wait::Get ──an item is there──> finish_get ──> nowait::get_what_is_there ──> store::take, then wakes a putter
//!                            └─none──> a future in getters ──> put wakes it ──> resumed
//!   await queue.put(x) ──> wait::Put ──room──> finish_put ──> nowait::put_with_room ──> store::add, then wakes a getter
//! ```

mod class;
mod face;
mod limit;
mod nowait;
mod store;
mod traits;
mod wait;

use std::cell::Cell;
use std::os::raw::c_int;

use crate::ffi::holder::{Constructed, Contents, Holder, InitArguments, Kind, Shown};
use crate::ffi::{Object, Outcome, Slot, Visit, call};
use crate::interp::names;
use crate::sync::bound::{Bound, refuse_loop};
use crate::sync::deque::Deque;
use limit::Limit;
use traits::{Seen, Traits};

pub(crate) use class::export;
pub(crate) use wait::show_unseen;

/// What a queue has.
struct QueueData {
    /// The items of a `Queue`. Those of the other two are in the list that their `_init` shows.
    items: Deque,
    /// The futures of those who wait for an item.
    getters: Deque,
    /// The futures of those who wait for room.
    putters: Deque,
    /// `maxsize` as it was given.
    maxsize: Slot,
    limit: Cell<Limit>,
    unfinished: Cell<i64>,
    /// The Event that `join` waits for, once somebody asked for it.
    finished: Slot,
    /// Whether that event is set, or would be.
    is_finished: Cell<bool>,
    is_shutdown: Cell<bool>,
    /// The loop that somebody waited on first.
    bound: Bound,
    seen: Seen,
}

impl QueueData {
    fn lines(&self) -> [&Deque; 3] {
        [&self.items, &self.getters, &self.putters]
    }

    fn slots(&self) -> [&Slot; 3] {
        [&self.maxsize, &self.finished, self.bound.slot()]
    }
}

/// An instance of a class derived from the base.
type Queue = Holder<QueueData>;

static KIND: Kind = Kind::new();

impl Contents for QueueData {
    fn home() -> &'static Kind {
        &KIND
    }

    fn traverse(&self, visit: Visit) -> c_int {
        let mut status = 0;
        for line in self.lines() {
            if status == 0 {
                status = line.traverse(visit);
            }
        }
        if status != 0 { status } else { visit.slots(self.slots()) }
    }

    fn clear(&self) {
        for line in self.lines() {
            line.replace(None);
        }
        for slot in self.slots() {
            slot.clear();
        }
    }
}

impl Constructed for QueueData {
    fn new() -> Self {
        Self {
            items: Deque::new(),
            getters: Deque::new(),
            putters: Deque::new(),
            maxsize: Slot::new(),
            limit: Cell::new(Limit::None),
            unfinished: Cell::new(0),
            finished: Slot::new(),
            is_finished: Cell::new(true),
            is_shutdown: Cell::new(false),
            bound: Bound::new(),
            seen: Seen::new(),
        }
    }

    fn init(this: &Queue, arguments: &InitArguments) -> Outcome<()> {
        let names = names();
        let [maxsize, event_loop] = arguments.parse("Queue", &[&names.maxsize, &names.loop_], 1)?;
        refuse_loop(this.object(), event_loop)?;
        let maxsize = maxsize.map_or_else(|| call::integer(0), |maxsize| Ok(maxsize.own()))?;
        this.clear();
        this.unfinished.set(0);
        this.is_finished.set(true);
        this.is_shutdown.set(false);
        this.limit.set(Limit::of(&maxsize));
        this.maxsize.set(maxsize.clone());
        call::call_method(&names.init_store, &[this.object(), &maxsize], None).map(drop)
    }
}

impl Shown for QueueData {
    fn repr(this: &Queue) -> Outcome {
        face::repr(this)
    }

    fn assigned(&self, name: &Object) -> Outcome<()> {
        self.seen.note_attribute(name)
    }
}

/// Which methods the instance has of its own.
#[inline]
fn traits(queue: &Queue) -> Outcome<Traits> {
    queue.seen.traits(queue.object())
}

//! `Queue`, `LifoQueue` and `PriorityQueue`: asyncio's queues with their state in Rust.
//!
//! The classes of `aioxide.queues` derive from the base made here and from asyncio's own classes, for `isinstance`, `join`
//! and whatever else is not worth writing again. Each step does what asyncio's code does, in its order; a method that a
//! derived class overrides is called (`traits`), any other is done at once. Read `store` for the items, `nowait` for what
//! never waits, `wait` for what `get()` and `put()` give to `await`, `face` for the attributes that programs look at.
//!
//! Who wakes whom: an item that is put, and room that is made, takes the first waiter that is not done out of its row and
//! finishes it. A waiter that leaves by an exception after it was woken wakes the next one: nothing granted is lost.

mod class;
mod face;
mod limit;
mod line;
mod nowait;
mod store;
mod traits;
mod wait;

use std::cell::Cell;

use pyo3::ffi as c;

use crate::ffi::{Class, Object, Outcome, Slot};
use limit::Limit;
use line::Line;
use traits::{Seen, Traits};

pub(crate) use class::make_base;

/// What a queue has.
struct QueueData {
    /// The items of a `Queue`. Those of the other two are in the list that their `_init` shows.
    items: Line,
    /// The futures of those who wait for an item.
    getters: Line,
    /// The futures of those who wait for room.
    putters: Line,
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
    event_loop: Slot,
    seen: Seen,
}

impl QueueData {
    const fn new() -> Self {
        Self {
            items: Line::new(),
            getters: Line::new(),
            putters: Line::new(),
            maxsize: Slot::new(),
            limit: Cell::new(Limit::None),
            unfinished: Cell::new(0),
            finished: Slot::new(),
            is_finished: Cell::new(true),
            is_shutdown: Cell::new(false),
            event_loop: Slot::new(),
            seen: Seen::new(),
        }
    }

    fn lines(&self) -> [&Line; 3] {
        [&self.items, &self.getters, &self.putters]
    }

    fn slots(&self) -> [&Slot; 3] {
        [&self.maxsize, &self.finished, &self.event_loop]
    }
}

/// An instance of a class derived from the base.
#[repr(transparent)]
struct Queue(Object);

// SAFETY: transparent over `Object`.
unsafe impl Class for Queue {}

impl std::ops::Deref for Queue {
    type Target = QueueData;

    #[inline]
    fn deref(&self) -> &QueueData {
        // SAFETY: written by `class::new`, before anybody could see the instance.
        unsafe { &*self.0.as_ptr().byte_add(size_of::<c::PyObject>()).cast::<QueueData>() }
    }
}

impl Queue {
    #[inline]
    fn object(&self) -> &Object {
        &self.0
    }

    /// Which methods the instance has of its own.
    #[inline]
    fn traits(&self) -> Outcome<Traits> {
        self.seen.traits(self.0.class())
    }
}

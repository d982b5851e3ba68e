//! What the pool knows: its hosts, what is open and idle there, and who waits. No I/O, nobody is called.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use foldhash::fast::RandomState;

use super::Multiplexed;
use crate::rt::Instant;

pub(super) struct State<C, S, I> {
    pub(super) hosts: HashMap<Box<str>, Rc<Host<C, S, I>>, RandomState>,
    /// Slots that are not free.
    pub(super) open: usize,
    /// What is idle, the oldest first. An entry is stale when its host has nothing idle with that number.
    pub(super) idle_order: VecDeque<Numbered<C, S, I>>,
    pub(super) idle: usize,
    pub(super) sequence: u64,
    /// Hosts that have waiters and are not blocked, by the number of their first waiter.
    pub(super) waiting: BTreeMap<u64, Rc<Host<C, S, I>>>,
    pub(super) closed: bool,
}

pub(super) type Numbered<C, S, I> = (u64, Rc<Host<C, S, I>>);

/// One origin: scheme, host and port.
pub(crate) struct Host<C, S, I> {
    pub(crate) info: I,
    /// Whether the first connection decides if the next exchanges share it (HTTP/2) or need their own.
    pub(super) negotiates: bool,
    pub(super) state: RefCell<HostState<C, S>>,
}

pub(super) struct HostState<C, S> {
    pub(super) idle: VecDeque<Idle<C>>,
    pub(super) shared: Vec<Rc<Shared<S>>>,
    pub(super) waiters: BTreeMap<u64, Rc<Waiter<C, S>>>,
    pub(super) open: usize,
    /// Exchanges on multiplexed connections, those that are no longer listed among them.
    pub(super) streams: usize,
    pub(super) connecting: usize,
    /// How often a connection was begun.
    pub(super) attempts: u64,
    pub(super) protocol: Protocol,
    /// Its first waiter cannot be served until something happens at this very host.
    pub(super) blocked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Unknown,
    OnePerConnection,
    Multiplexed,
}

pub(super) struct Idle<C> {
    pub(super) sequence: u64,
    pub(super) since: Instant,
    pub(super) connection: C,
}

/// A multiplexed connection and the count of its exchanges.
pub(crate) struct Shared<S> {
    pub(super) sender: S,
    pub(super) streams: Cell<usize>,
    /// Its number among what is idle, and since when.
    pub(super) idle: Cell<Option<(u64, Instant)>>,
}

pub(super) struct Waiter<C, S> {
    pub(super) granted: RefCell<Option<Take<C, S>>>,
    pub(super) waker: RefCell<Option<Waker>>,
}

/// What a slot is taken for, before it is dressed in a permit.
pub(super) enum Take<C, S> {
    Reused(C),
    Shared(Rc<Shared<S>>),
    New,
    Closed,
}

/// Why nothing can be taken.
pub(super) enum Blocked {
    /// The host itself: its limit, or its first connection is still being made.
    Host,
    /// The limit over all hosts.
    Total,
}

impl<C, S, I> State<C, S, I> {
    /// The number for something of `host` that becomes idle now.
    pub(super) fn next_idle(&mut self, host: &Rc<Host<C, S, I>>) -> u64 {
        self.sequence += 1;
        if self.idle_order.len() > 2 * self.idle + 64 {
            self.idle_order.retain(|(sequence, host)| host.state.borrow().idle_since(*sequence).is_some());
        }
        self.idle += 1;
        self.idle_order.push_back((self.sequence, host.clone()));
        self.sequence
    }

    pub(super) fn evict_oldest(&mut self) -> Option<Trash<C, S>> {
        while let Some((sequence, host)) = self.idle_order.pop_front() {
            // The host that asks is borrowed. It has nothing idle, so its entries are stale.
            let Ok(mut inner) = host.state.try_borrow_mut() else { continue };
            if let Some(evicted) = self.remove_idle(&mut inner, sequence) {
                return Some(evicted);
            }
        }
        None
    }

    /// Takes what is idle under that number out of the pool.
    pub(super) fn remove_idle(&mut self, inner: &mut HostState<C, S>, sequence: u64) -> Option<Trash<C, S>> {
        // `idle_order` is worked off from its front, so among single connections only the oldest can be meant.
        if inner.idle.front().is_some_and(|idle| idle.sequence == sequence) {
            inner.open -= 1;
            self.open -= 1;
            self.idle -= 1;
            return inner.idle.pop_front().map(|idle| Trash::Connection(idle.connection));
        }
        let index = inner.shared.iter().position(|shared| shared.is_idle_as(sequence))?;
        self.idle -= 1;
        Some(Trash::Shared(inner.shared.swap_remove(index)))
    }
}

impl<C, S: Multiplexed> HostState<C, S> {
    /// Whether `limit` (0: none) allows no further exchange, over whichever connection.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        limit > 0 && self.open.max(self.streams) >= limit
    }

    /// A place on a multiplexed connection, counted, if `limit` (0: none) allows for another.
    pub(super) fn take_stream(&mut self, limit: usize) -> Option<Rc<Shared<S>>> {
        if limit > 0 && self.streams >= limit {
            return None;
        }
        let shared = self
            .shared
            .iter()
            .find(|shared| shared.sender.is_open() && shared.streams.get() < shared.sender.max_streams())?;
        shared.streams.set(shared.streams.get() + 1);
        self.streams += 1;
        Some(shared.clone())
    }
}

impl<C, S> HostState<C, S> {
    pub(super) fn idle_since(&self, sequence: u64) -> Option<Instant> {
        if let Ok(index) = self.idle.binary_search_by_key(&sequence, |idle| idle.sequence) {
            return Some(self.idle[index].since);
        }
        let shared = self.shared.iter().find(|shared| shared.is_idle_as(sequence))?;
        shared.idle.get().map(|(_, since)| since)
    }

    pub(super) fn grant_first(&mut self, take: Take<C, S>) -> Option<Waker> {
        let (_, waiter) = self.waiters.pop_first().expect("a host is served only while somebody waits there");
        *waiter.granted.borrow_mut() = Some(take);
        waiter.waker.borrow_mut().take()
    }
}

impl<S> Shared<S> {
    pub(super) fn is_idle_as(&self, sequence: u64) -> bool {
        self.idle.get().is_some_and(|(number, _)| number == sequence)
    }
}

/// What is dropped once nothing is borrowed.
#[expect(dead_code, reason = "kept only to be dropped later")]
pub(super) enum Trash<C, S> {
    Connection(C),
    Shared(Rc<Shared<S>>),
}

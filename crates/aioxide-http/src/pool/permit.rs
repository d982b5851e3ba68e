//! What the pool hands out, and the places in its queue: values whose drop gives back what they hold.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::{Acquired, Host, Multiplexed, Pool, PoolClosed, Pooled, Protocol, Shared, Waiter};
use crate::rt::Instant;

/// Holds one slot; dropping it frees the slot.
pub(crate) struct Permit<C: Pooled, S: Multiplexed, I> {
    pub(super) held: Option<Held<C, S, I>>,
    pub(super) connecting: bool,
}

/// The first place on a new multiplexed connection, and the entry for the task that drives it.
type FirstStream<C, S, I> = (StreamPermit<C, S, I>, SharedEntry<C, S, I>);

type Held<C, S, I> = (Rc<Pool<C, S, I>>, Rc<Host<C, S, I>>);

impl<C: Pooled, S: Multiplexed, I> Permit<C, S, I> {
    /// Gives the connection back for the next one; the slot stays taken.
    ///
    /// Without a `now` no loop runs, and the connection is closed.
    pub(crate) fn park(mut self, connection: C, now: Option<Instant>) {
        debug_assert!(!self.connecting, "parked before it was established");
        if let Some(now) = now
            && let Some((pool, host)) = self.held.take()
            && let Err(connection) = pool.park(&host, connection, now)
        {
            drop(connection);
            pool.release_slot(&host, false);
        }
    }

    /// The connection is made and serves one exchange at a time.
    pub(crate) fn established(&mut self) {
        self.set_protocol(Protocol::OnePerConnection);
        if let Some((pool, host)) = &self.held
            && host.negotiates
        {
            pool.serve_waiters(Some(host));
        }
    }

    /// The connection is made and serves many: the first place on it, and its entry for the task that drives it.
    pub(crate) fn established_shared(mut self, sender: S) -> Option<FirstStream<C, S, I>> {
        self.set_protocol(Protocol::Multiplexed);
        let (pool, host) = self.held.take()?;
        let shared = Rc::new(Shared { sender, streams: Cell::new(1), idle: Cell::new(None) });
        if !pool.state.borrow().closed {
            host.state.borrow_mut().shared.push(shared.clone());
        }
        host.state.borrow_mut().streams += 1;
        pool.serve_waiters(Some(&host));
        let entry = SharedEntry {
            shared: Rc::downgrade(&shared),
            permit: Permit { held: Some((pool.clone(), host.clone())), connecting: false },
        };
        Some((StreamPermit { shared, pool, host }, entry))
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        if let Some((_, host)) = &self.held
            && self.connecting
        {
            let mut inner = host.state.borrow_mut();
            inner.connecting -= 1;
            inner.protocol = protocol;
            self.connecting = false;
        }
    }

    /// The right to connect was not used, so nothing was learnt about the host.
    pub(super) fn give_back_unused(mut self) {
        if let Some((pool, host)) = self.held.take() {
            host.state.borrow_mut().connecting -= 1;
            pool.release_slot(&host, false);
        }
    }
}

impl<C: Pooled, S: Multiplexed, I> Drop for Permit<C, S, I> {
    fn drop(&mut self) {
        if let Some((pool, host)) = self.held.take() {
            pool.release_slot(&host, self.connecting);
        }
    }
}

/// Held by the task that drives a multiplexed connection: dropped when the connection is gone.
pub(crate) struct SharedEntry<C: Pooled, S: Multiplexed, I> {
    shared: Weak<Shared<S>>,
    permit: Permit<C, S, I>,
}

impl<C: Pooled, S: Multiplexed, I> Drop for SharedEntry<C, S, I> {
    fn drop(&mut self) {
        if let (Some(shared), Some((pool, host))) = (self.shared.upgrade(), &self.permit.held) {
            pool.remove_shared(host, &shared);
        }
    }
}

/// A place on a multiplexed connection; dropping it frees the place.
pub(crate) struct StreamPermit<C: Pooled, S: Multiplexed, I> {
    pub(super) shared: Rc<Shared<S>>,
    pub(super) pool: Rc<Pool<C, S, I>>,
    pub(super) host: Rc<Host<C, S, I>>,
}

impl<C: Pooled, S: Multiplexed, I> StreamPermit<C, S, I> {
    pub(crate) fn sender(&self) -> S {
        self.shared.sender.clone()
    }
}

impl<C: Pooled, S: Multiplexed, I> Drop for StreamPermit<C, S, I> {
    fn drop(&mut self) {
        let streams = self.shared.streams.get() - 1;
        self.shared.streams.set(streams);
        let listed = {
            let mut inner = self.host.state.borrow_mut();
            inner.streams -= 1;
            if !self.shared.sender.is_open() {
                // It takes nothing new, so it is closed with its last exchange, and does not hold its slot as idle.
                inner.shared.retain(|other| !Rc::ptr_eq(other, &self.shared));
            }
            inner.shared.iter().any(|other| Rc::ptr_eq(other, &self.shared))
        };
        if streams == 0
            && listed
            && let Some(now) = crate::rt::try_now()
        {
            let mut state = self.pool.state.borrow_mut();
            let sequence = state.next_idle(&self.host);
            self.shared.idle.set(Some((sequence, now)));
        }
        self.pool.serve_waiters(Some(&self.host));
    }
}

/// A place in the queue; dropped, it is given up.
pub(super) struct Place<'a, C: Pooled, S: Multiplexed, I> {
    pool: &'a Rc<Pool<C, S, I>>,
    pub(super) host: &'a Rc<Host<C, S, I>>,
    pub(super) waiter: Rc<Waiter<C, S>>,
    /// `None` once what was granted has been taken.
    pub(super) sequence: Option<u64>,
}

impl<'a, C: Pooled, S: Multiplexed, I> Place<'a, C, S, I> {
    pub(super) fn new(pool: &'a Rc<Pool<C, S, I>>, host: &'a Rc<Host<C, S, I>>) -> Self {
        let waiter = Rc::new(Waiter { granted: RefCell::new(None), waker: RefCell::new(None) });
        let mut state = pool.state.borrow_mut();
        let mut inner = host.state.borrow_mut();
        state.sequence += 1;
        let sequence = state.sequence;
        if inner.waiters.is_empty() {
            inner.blocked = false;
            state.waiting.insert(sequence, host.clone());
        }
        inner.waiters.insert(sequence, waiter.clone());
        Self { pool, host, waiter, sequence: Some(sequence) }
    }

    /// Leaves the queue.
    pub(super) fn leave(&mut self) {
        let Some(sequence) = self.sequence.take() else { return };
        let mut state = self.pool.state.borrow_mut();
        let mut inner = self.host.state.borrow_mut();
        inner.waiters.remove(&sequence);
        if state.waiting.remove(&sequence).is_some()
            && let Some((&first, _)) = inner.waiters.first_key_value()
        {
            state.waiting.insert(first, self.host.clone());
        }
    }
}

impl<C: Pooled, S: Multiplexed, I> Drop for Place<'_, C, S, I> {
    fn drop(&mut self) {
        if self.sequence.is_none() {
            return;
        }
        let granted = self.waiter.granted.borrow_mut().take();
        if let Some(granted) = granted {
            // Given, but the task was cancelled before it took it: on to the next one.
            match self.pool.dress(self.host, granted) {
                Ok(Acquired::Reused(connection, permit)) => permit.park(connection, crate::rt::try_now()),
                Ok(Acquired::Shared(permit)) => drop(permit),
                Ok(Acquired::New(permit)) => permit.give_back_unused(),
                Err(PoolClosed) => {}
            }
            return;
        }
        self.leave();
    }
}

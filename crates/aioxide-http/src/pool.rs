//! The keep-alive pool: who may open a connection, who may use one again, and who waits for that.
//!
//! The pool does no I/O. It counts connections, keeps the idle ones, and hands out permits.
//!
//! ## States of a slot
//!
//! ```text
//!   free --take--> connecting --established--> in use --park--> idle --take--> in use
//!    ^                 |                         |                |
//!    +------drop-------+----------drop-----------+--evict, expire-+
//! ```
//!
//! A slot that is not free is counted in `State::open` and in its host's `open`. Whoever holds a [`Permit`] holds the slot:
//! dropping it, in whatever way (an error, a timeout, a cancelled task), frees the slot and serves who waits.
//! An idle connection is counted but has no permit: the pool itself holds its slot.
//!
//! ## Invariants
//!
//! 1. Waiters are served first come, first served, over all hosts; one is passed over only while its own
//!    host is at its limit (`blocked`), or by one that waited for `PATIENCE` on a connection that is being made.
//! 2. When no call of the pool is running, no waiter could be served: idle connections and unblocked waiters never
//!    stand side by side. So a newcomer that finds nobody waiting at its host takes nothing from anybody.
//! 3. Connections are dropped, and wakers called, only when nothing is borrowed.
//! 4. Every step is O(1), or O(log n) in the number of waiters; nothing scans connections.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::rt::{self, Instant, Sleep};

use state::{Blocked, HostState, Idle, Protocol, Shared, State, Take, Trash, Waiter};

pub(crate) use permit::{Permit, StreamPermit};
pub(crate) use state::Host;

mod permit;
mod state;

/// A connection that serves one exchange at a time.
pub(crate) trait Pooled {
    /// Whether it can be used again; looks at what is known, asks nobody.
    fn is_alive(&mut self) -> bool;
}

/// A connection that serves many exchanges at once.
pub(crate) trait Multiplexed: Clone {
    /// Whether it takes new exchanges.
    fn is_open(&self) -> bool;
    /// How many it takes at once.
    fn max_streams(&self) -> usize;
}

/// How many connections there may be, and how long an idle one is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolConfig {
    /// 0 means no limit.
    pub(crate) limit: usize,
    /// Connections to one host, and exchanges where a connection has many; 0 means no limit.
    pub(crate) limit_per_host: usize,
    pub(crate) idle_timeout: Duration,
}

pub(crate) struct Pool<C, S, I> {
    config: PoolConfig,
    state: RefCell<State<C, S, I>>,
}

/// What a session has open, and who waits for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections, those being made and the idle ones among them.
    pub open: usize,
    /// Connections that nobody uses.
    pub idle: usize,
    /// Connections that are being made.
    pub connecting: usize,
    /// Requests that wait for a place in the pool.
    pub waiting: usize,
    /// Requests under way over HTTP/2, which share their connections.
    pub streams: usize,
}

/// What [`Pool::acquire`] hands out.
pub(crate) enum Acquired<C: Pooled, S: Multiplexed, I> {
    /// An idle connection.
    Reused(C, Permit<C, S, I>),
    /// A place on a multiplexed connection.
    Shared(StreamPermit<C, S, I>),
    /// The right to open a connection.
    New(Permit<C, S, I>),
}

/// The session was closed while, or before, a place was waited for.
#[derive(Debug)]
pub(crate) struct PoolClosed;

impl<C: Pooled, S: Multiplexed, I> Pool<C, S, I> {
    pub(crate) fn new(config: PoolConfig) -> Rc<Self> {
        Rc::new(Self {
            config,
            state: RefCell::new(State {
                hosts: HashMap::default(),
                open: 0,
                idle_order: VecDeque::new(),
                idle: 0,
                sequence: 0,
                waiting: BTreeMap::new(),
                closed: false,
            }),
        })
    }

    /// The host called `key`, made when it is not known yet.
    ///
    /// `negotiates`: whether its connections may turn out to be multiplexed.
    pub(crate) fn host<E>(
        &self,
        key: &str,
        negotiates: bool,
        info: impl FnOnce() -> Result<I, E>,
    ) -> Result<Rc<Host<C, S, I>>, E> {
        if let Some(host) = self.state.borrow().hosts.get(key) {
            return Ok(host.clone());
        }
        let host = Rc::new(Host {
            info: info()?,
            negotiates,
            state: RefCell::new(HostState {
                idle: VecDeque::new(),
                shared: Vec::new(),
                waiters: BTreeMap::new(),
                open: 0,
                streams: 0,
                connecting: 0,
                attempts: 0,
                protocol: Protocol::Unknown,
                blocked: false,
            }),
        });
        let mut state = self.state.borrow_mut();
        // Hosts without connections are forgotten, so that a list of a million sites does not stay in memory. Not
        // one by one, or a site fetched again and again without keep-alive would be made anew each time.
        if state.hosts.len() >= FORGET_HOSTS_FROM && state.hosts.len() >= 2 * state.open {
            state.hosts.retain(|_, host| Rc::strong_count(host) > 1 || host.state.borrow().open > 0);
        }
        state.hosts.insert(key.into(), host.clone());
        Ok(host)
    }

    /// Takes a connection to `host`, or the right to open one; waits while the limits allow neither.
    ///
    /// `fresh`: not a connection that was used before; those that are idle are thought to be dead, and closed.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it leaves the queue; what it had been given already goes to the next one.
    pub(crate) async fn acquire(
        self: &Rc<Self>,
        host: &Rc<Host<C, S, I>>,
        fresh: bool,
    ) -> Result<Acquired<C, S, I>, PoolClosed> {
        if let Some(acquired) = self.try_acquire(host, fresh) {
            return acquired;
        }
        let mut place = permit::Place::new(self, host);
        let mut patience = None;
        let mut take = poll_fn(|cx| {
            let granted = place.waiter.granted.borrow_mut().take();
            if let Some(take) = granted {
                return Poll::Ready(take);
            }
            let held = &place.waiter.waker;
            let known = held.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if !known {
                // Cloned and dropped while nothing is borrowed: the waker may be anybody's code.
                let waker = cx.waker().clone();
                let old = held.replace(Some(waker));
                drop(old);
            }
            if host.negotiates { self.poll_patience(cx, &mut place, &mut patience) } else { Poll::Pending }
        })
        .await;
        place.sequence = None;
        if let Take::Reused(connection) = &mut take
            && (fresh || !connection.is_alive())
        {
            // One that was given back, or that died between the grant and this poll: its slot is ours, for a new one.
            host.state.borrow_mut().connecting += 1;
            take = Take::New;
        }
        self.dress(host, take)
    }

    /// For one that waits where a connection is being made that all may share: it may open its own when that takes too long.
    ///
    /// Who makes that one may not be polled any more, and then nobody else would ever be served. One waiter at a time goes.
    fn poll_patience(
        &self,
        cx: &mut Context<'_>,
        place: &mut permit::Place<'_, C, S, I>,
        patience: &mut Option<Patience>,
    ) -> Poll<Take<C, S>> {
        loop {
            let attempts = place.host.state.borrow().attempts;
            let (seen, timer) =
                patience.get_or_insert_with(|| (attempts, Box::pin(rt::sleep_until(rt::now() + PATIENCE))));
            std::task::ready!(timer.as_mut().poll(cx));
            let is_stuck = *seen == attempts;
            *patience = None;
            if is_stuck && place.host.state.borrow().connecting > 0 {
                let mut trash = Vec::new();
                let taken = self.take(&mut self.state.borrow_mut(), place.host, true, &mut trash);
                drop(trash);
                if let Ok(take) = taken {
                    place.leave();
                    return Poll::Ready(take);
                }
            }
        }
    }

    /// [`acquire`](Self::acquire) without waiting; `None` if it had to.
    pub(crate) fn try_acquire(
        self: &Rc<Self>,
        host: &Rc<Host<C, S, I>>,
        fresh: bool,
    ) -> Option<Result<Acquired<C, S, I>, PoolClosed>> {
        if fresh {
            self.discard_idle(host);
        }
        self.try_take(host).map(|take| self.dress(host, take))
    }

    /// Closes what is idle, refuses what comes. Connections in use end with their exchanges.
    pub(crate) fn close(&self) {
        self.state.borrow_mut().closed = true;
        self.forget();
    }

    /// Closes what is idle, and sends away who waits: they are told that the session is closed.
    pub(crate) fn forget(&self) {
        let mut trash = Vec::new();
        let mut wakers = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            state.idle_order.clear();
            state.waiting.clear();
            state.idle = 0;
            let hosts = std::mem::take(&mut state.hosts);
            for host in hosts.values() {
                let mut inner = host.state.borrow_mut();
                state.open -= inner.idle.len();
                inner.open -= inner.idle.len();
                trash.extend(inner.idle.drain(..).map(|idle| Trash::Connection(idle.connection)));
                for shared in inner.shared.drain(..) {
                    shared.idle.set(None);
                    trash.push(Trash::Shared(shared));
                }
                for waiter in std::mem::take(&mut inner.waiters).into_values() {
                    *waiter.granted.borrow_mut() = Some(Take::Closed);
                    wakers.extend(waiter.waker.borrow_mut().take());
                }
            }
        }
        drop(trash);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Closes connections that have been idle for too long at `now`; says when the next one will be.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut trash = Vec::new();
        let mut next = None;
        let mut state = self.state.borrow_mut();
        while let Some((sequence, host)) = state.idle_order.front() {
            let (sequence, host) = (*sequence, host.clone());
            let mut inner = host.state.borrow_mut();
            if let Some(since) = inner.idle_since(sequence) {
                let until = since + self.config.idle_timeout;
                if until > now {
                    next = Some(until);
                    break;
                }
                trash.extend(state.remove_idle(&mut inner, sequence));
            }
            state.idle_order.pop_front();
        }
        drop(state);
        drop(trash);
        self.serve_waiters(None);
        next
    }

    /// Open connections, those being made and the idle ones among them; and the idle ones.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.config.idle_timeout
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.borrow();
        (state.open, state.idle)
    }

    /// Everything that is counted.
    pub(crate) fn stats(&self) -> Stats {
        let state = self.state.borrow();
        let mut stats = Stats { open: state.open, idle: state.idle, ..Stats::default() };
        for host in state.hosts.values() {
            let inner = host.state.borrow();
            stats.connecting += inner.connecting;
            stats.waiting += inner.waiters.len();
            stats.streams += inner.streams;
        }
        stats
    }

    /// Takes a multiplexed connection out, when its task has ended.
    fn remove_shared(&self, host: &Rc<Host<C, S, I>>, shared: &Rc<Shared<S>>) {
        let mut inner = host.state.borrow_mut();
        inner.shared.retain(|other| !Rc::ptr_eq(other, shared));
        if shared.idle.take().is_some() {
            drop(inner);
            self.state.borrow_mut().idle -= 1;
        }
    }

    fn discard_idle(&self, host: &Rc<Host<C, S, I>>) {
        let mut trash = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let mut inner = host.state.borrow_mut();
            state.open -= inner.idle.len();
            state.idle -= inner.idle.len();
            inner.open -= inner.idle.len();
            trash.extend(inner.idle.drain(..));
        }
        if !trash.is_empty() {
            drop(trash);
            self.serve_waiters(Some(host));
        }
    }

    /// For a newcomer: takes what is there, unless somebody waits at this host already.
    fn try_take(&self, host: &Rc<Host<C, S, I>>) -> Option<Take<C, S>> {
        let mut trash = Vec::new();
        let taken = {
            let mut state = self.state.borrow_mut();
            if state.closed {
                return Some(Take::Closed);
            }
            if !host.state.borrow().waiters.is_empty() {
                return None;
            }
            self.take(&mut state, host, false, &mut trash).ok()
        };
        drop(trash);
        taken
    }

    /// Takes the best that `host` can have now. `alone`: also beside a connection that is being made and may be shared.
    fn take(
        &self,
        state: &mut State<C, S, I>,
        host: &Rc<Host<C, S, I>>,
        alone: bool,
        trash: &mut Vec<Trash<C, S>>,
    ) -> Result<Take<C, S>, Blocked> {
        let mut inner = host.state.borrow_mut();
        while let Some(mut idle) = inner.idle.pop_back() {
            state.idle -= 1;
            if idle.connection.is_alive() {
                return Ok(Take::Reused(idle.connection));
            }
            trash.push(Trash::Connection(idle.connection));
            inner.open -= 1;
            state.open -= 1;
        }
        if let Some(shared) = inner.take_stream(self.config.limit_per_host) {
            if shared.idle.take().is_some() {
                state.idle -= 1;
            }
            return Ok(Take::Shared(shared));
        }
        let may_share = host.negotiates && inner.protocol != Protocol::OnePerConnection;
        if inner.connecting > 0 && may_share && !alone {
            return Err(Blocked::Host);
        }
        if inner.is_full(self.config.limit_per_host) {
            return Err(Blocked::Host);
        }
        if self.config.limit > 0 && state.open >= self.config.limit {
            match state.evict_oldest() {
                Some(evicted @ Trash::Connection(_)) => trash.push(evicted),
                // A multiplexed connection frees its slot when its task has said goodbye; then waiters are served.
                Some(evicted @ Trash::Shared(_)) => {
                    trash.push(evicted);
                    return Err(Blocked::Total);
                }
                None => return Err(Blocked::Total),
            }
        }
        state.open += 1;
        inner.open += 1;
        inner.connecting += 1;
        inner.attempts += 1;
        Ok(Take::New)
    }

    fn dress(
        self: &Rc<Self>,
        host: &Rc<Host<C, S, I>>,
        take: Take<C, S>,
    ) -> Result<Acquired<C, S, I>, PoolClosed> {
        let permit = |connecting| Permit { held: Some((self.clone(), host.clone())), connecting };
        Ok(match take {
            Take::Reused(connection) => Acquired::Reused(connection, permit(false)),
            Take::Shared(shared) => {
                Acquired::Shared(StreamPermit { shared, pool: self.clone(), host: host.clone() })
            }
            Take::New => Acquired::New(permit(true)),
            Take::Closed => return Err(PoolClosed),
        })
    }

    /// Serves waiters in their order until nobody can be served. `host`: where something happened.
    fn serve_waiters(&self, host: Option<&Rc<Host<C, S, I>>>) {
        let mut trash = Vec::new();
        let mut wakers: Vec<Waker> = Vec::new();
        {
            let mut guard = self.state.borrow_mut();
            let state = &mut *guard;
            if let Some(host) = host {
                let mut inner = host.state.borrow_mut();
                if inner.blocked {
                    inner.blocked = false;
                    if let Some((&first, _)) = inner.waiters.first_key_value() {
                        state.waiting.insert(first, host.clone());
                    }
                }
            }
            // A place on a multiplexed connection needs no slot, so whoever waits at this host need not wait for one.
            if let Some(host) = host {
                let mut inner = host.state.borrow_mut();
                while let Some((&sequence, _)) = inner.waiters.first_key_value()
                    && let Some(shared) = inner.take_stream(self.config.limit_per_host)
                {
                    if shared.idle.take().is_some() {
                        state.idle -= 1;
                    }
                    state.waiting.remove(&sequence);
                    wakers.extend(inner.grant_first(Take::Shared(shared)));
                    if let Some((&first, _)) = inner.waiters.first_key_value() {
                        state.waiting.insert(first, host.clone());
                    }
                }
            }
            while let Some((sequence, host)) = state.waiting.pop_first() {
                match self.take(state, &host, false, &mut trash) {
                    Ok(take) => {
                        let mut inner = host.state.borrow_mut();
                        wakers.extend(inner.grant_first(take));
                        let first = inner.waiters.first_key_value().map(|(&first, _)| first);
                        drop(inner);
                        state.waiting.extend(first.map(|first| (first, host)));
                    }
                    Err(Blocked::Host) => host.state.borrow_mut().blocked = true,
                    Err(Blocked::Total) => {
                        state.waiting.insert(sequence, host);
                        break;
                    }
                }
            }
        }
        drop(trash);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn release_slot(&self, host: &Rc<Host<C, S, I>>, connecting: bool) {
        {
            let mut state = self.state.borrow_mut();
            let mut inner = host.state.borrow_mut();
            state.open -= 1;
            inner.open -= 1;
            if connecting {
                inner.connecting -= 1;
                if inner.protocol == Protocol::Unknown {
                    // The connection failed. The others shall not queue up to fail one after the other.
                    inner.protocol = Protocol::OnePerConnection;
                }
            }
        }
        self.serve_waiters(Some(host));
    }

    fn park(&self, host: &Rc<Host<C, S, I>>, connection: C, now: Instant) -> Result<(), C> {
        {
            let mut state = self.state.borrow_mut();
            if state.closed || self.config.idle_timeout.is_zero() {
                return Err(connection);
            }
            let sequence = state.next_idle(host);
            host.state.borrow_mut().idle.push_back(Idle { sequence, since: now, connection });
            if state.waiting.is_empty() && !host.state.borrow().blocked {
                return Ok(());
            }
        }
        self.serve_waiters(Some(host));
        Ok(())
    }
}

/// How long a connection that is being made, and that may be shared, is waited for before another one is.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many attempts there had been, and when the patience ends.
type Patience = (u64, Pin<Box<Sleep>>);

/// From how many hosts on those without connections are forgotten.
const FORGET_HOSTS_FROM: usize = 256;

impl<C, S, I> fmt::Debug for Pool<C, S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

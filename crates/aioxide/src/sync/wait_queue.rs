//! The one queue of waiters, first in, first out.
//!
//! ```text
//!            poll               wake                     poll: Ready
//!   Idle ───────────► Waiting ───────► Granted (left the queue) ─────► Idle
//!                        │ forget: false      │ forget: true, what was granted is the caller's to pass on
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::task::{Waiting, wait_for};

/// Tasks that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Sorted by ticket, since tickets only grow; `None` has been forgotten and is skipped.
    waiters: VecDeque<(u64, Option<Waker>)>,
    live: usize,
    next_ticket: u64,
}

/// A place in a [`WaitQueue`]; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Ticket(u64);

impl Ticket {
    pub(super) fn is_idle(&self) -> bool {
        self.0 == 0
    }
}

impl Inner {
    fn find(&self, ticket: u64) -> Option<usize> {
        let at = self.waiters.binary_search_by_key(&ticket, |(held, _)| *held).ok()?;
        self.waiters[at].1.is_some().then_some(at)
    }

    fn pop(&mut self) -> Option<Waker> {
        while let Some((_, waker)) = self.waiters.pop_front() {
            if waker.is_some() {
                self.live -= 1;
                return waker;
            }
        }
        None
    }
}

impl WaitQueue {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.inner.borrow().live
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ready once the ticket was granted; takes a place at the end of the queue at the first call.
    pub(super) fn poll(&self, ticket: &mut Ticket, what: &'static str, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if ticket.0 == 0 {
            inner.next_ticket += 1;
            ticket.0 = inner.next_ticket;
            inner.waiters.push_back((ticket.0, Some(cx.waker().clone())));
            inner.live += 1;
        } else {
            match inner.find(ticket.0) {
                Some(at) => {
                    if let Some(held) = &mut inner.waiters[at].1 {
                        held.clone_from(cx.waker());
                    }
                }
                None => {
                    ticket.0 = 0;
                    return Poll::Ready(());
                }
            }
        }
        drop(inner);
        wait_for(Waiting::Other(what));
        Poll::Pending
    }

    /// Grants the ticket of the one that has waited longest; `false` if nobody waits.
    pub(super) fn wake_one(&self) -> bool {
        let next = self.inner.borrow_mut().pop();
        match next {
            Some(waker) => {
                waker.wake();
                true
            }
            None => false,
        }
    }

    /// Grants the tickets of all that wait now; returns how many.
    pub(super) fn wake_all(&self) -> usize {
        let all = {
            let mut inner = self.inner.borrow_mut();
            inner.live = 0;
            std::mem::take(&mut inner.waiters)
        };
        let mut woken = 0;
        for waker in all.into_iter().filter_map(|(_, waker)| waker) {
            waker.wake();
            woken += 1;
        }
        woken
    }

    /// Gives a place up; `true` if the ticket had been granted, which is then the caller's to pass on.
    pub(super) fn forget(&self, ticket: &mut Ticket) -> bool {
        let ticket = std::mem::take(&mut ticket.0);
        if ticket == 0 {
            return false;
        }
        let mut inner = self.inner.borrow_mut();
        let Some(at) = inner.find(ticket) else { return true };
        let waker = inner.waiters[at].1.take();
        inner.live -= 1;
        // Forgotten places never outnumber the living by much: each clearing pays for itself.
        if inner.waiters.len() > 2 * inner.live + 16 {
            inner.waiters.retain(|(_, waker)| waker.is_some());
        }
        drop(inner);
        drop(waker);
        false
    }
}

//! The one queue of waiters, first in, first out.
//!
//! ```text
//!            poll               wake                     poll: Ready
//!   Idle ───────────► Waiting ───────► Granted (left the queue) ─────► Idle
//!                        │ forget: false      │ forget: true, what was granted is the caller's to pass on
//! ```

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

use crate::line::Line;
use crate::task::{Operation, Waiting, wait_for};
use crate::wake::wake_all;

/// Tasks that wait, in the order in which they came. No waker is woken or dropped while it is borrowed: that may run anything.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    waiters: RefCell<Line<Waker>>,
}

/// A place in a [`WaitQueue`]; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Ticket(u64);

impl Ticket {
    pub(super) fn is_idle(&self) -> bool {
        self.0 == 0
    }
}

impl WaitQueue {
    /// What a waiting task tells of it.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiters.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ready once the ticket was granted; takes a place at the end of the queue at the first call.
    pub(super) fn poll(&self, ticket: &mut Ticket, what: &'static str, cx: &mut Context<'_>) -> Poll<()> {
        if ticket.0 == 0 {
            let waker = cx.waker().clone();
            ticket.0 = self.waiters.borrow_mut().push(waker);
        } else {
            let known = self.waiters.borrow().get(ticket.0).map(|held| held.will_wake(cx.waker()));
            match known {
                Some(true) => {}
                Some(false) => {
                    let mut waker = cx.waker().clone();
                    if let Some(held) = self.waiters.borrow_mut().get_mut(ticket.0) {
                        std::mem::swap(held, &mut waker);
                    }
                }
                None => {
                    ticket.0 = 0;
                    return Poll::Ready(());
                }
            }
        }
        wait_for(Waiting::Other(Operation { name: what, of: self.address() }));
        Poll::Pending
    }

    /// Grants the ticket of the one that has waited longest; its waker is the caller's to wake, once all is in order.
    pub(super) fn grant_one(&self) -> Option<Waker> {
        self.waiters.borrow_mut().pop_first()
    }

    /// Grants the ticket of the one that has waited longest, and wakes it; `false` if nobody waits.
    pub(super) fn wake_one(&self) -> bool {
        self.grant_one().map(Waker::wake).is_some()
    }

    /// Grants the tickets of all that wait now; the wakers are the caller's to wake, once all is in order.
    pub(super) fn grant_all(&self) -> impl Iterator<Item = Waker> + use<> {
        self.waiters.borrow_mut().take_all()
    }

    /// Grants the tickets of all that wait now, and wakes them.
    pub(super) fn wake_all(&self) {
        wake_all(self.grant_all());
    }

    /// Gives a place up; `true` if the ticket had been granted, which is then the caller's to pass on.
    pub(super) fn forget(&self, ticket: &mut Ticket) -> bool {
        let ticket = std::mem::take(&mut ticket.0);
        if ticket == 0 {
            return false;
        }
        let waker = self.waiters.borrow_mut().remove(ticket);
        waker.is_none()
    }
}

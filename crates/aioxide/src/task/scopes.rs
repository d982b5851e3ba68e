//! The open scopes of one task, as a tree: where a cancellation goes, and what becomes of one that nobody takes.
//!
//! ```text
//!   request(within) ──► offered to the innermost catching scope inside `within`, latest polled first: it is `due`
//!        due scope is polled ───────────► take_delivery: its inner future is dropped, Err(Cancelled)
//!        due scope is closed ───────────► offered to the next one around it, as far as `within`
//!        due scope is left out ─────────► offered to the innermost of those that were polled, else to `within` itself
//! ```
//!
//! * A scope that is open is not always awaited: it may be the future on which a `select!` lost interest for a while, and a
//!   cancellation must not wait for a poll that does not come.
//! * One that waits with the task's own waker is polled in each poll of the task, by all that await it. So it counts as
//!   left out as soon as a poll has gone by without it. One behind a combinator with a waker of its own (`FuturesUnordered`)
//!   is polled when that was woken: it counts as left out only when it did not come in PATIENCE polls after the offer.
//! * Which scope is around another is learnt anew at each poll, since futures move.

use std::task::Waker;

/// The scope that is the task itself.
pub(crate) const ROOT: u32 = 0;
const NONE: u32 = 0;
/// How many polls of the task an offer waits for a scope behind a combinator, whose own queues may need more than one.
const PATIENCE: u8 = 3;

pub(super) struct Scopes {
    /// The task's own stands first.
    nodes: Vec<Node>,
    free: Vec<u32>,
    offers: Vec<Offer>,
}

#[derive(Default)]
struct Node {
    around: u32,
    /// The neighbours inside the same scope; the one after was polled later.
    before: u32,
    after: u32,
    /// The one inside that was polled last.
    last: u32,
    catches: bool,
    due: bool,
    /// The number of the task's poll in which it was polled last.
    polled: u16,
    waker: Option<Waker>,
    /// `waker` is the task's own.
    is_direct: bool,
}

struct Offer {
    target: u32,
    within: u32,
    patience: u8,
}

/// The polls of the task that count as the latest.
#[derive(Clone, Copy)]
pub(super) struct Latest {
    /// The number of the last one.
    pub(super) poll: u16,
    /// It is going on, so that the one before counts too.
    pub(super) goes_on: bool,
}

impl Node {
    /// Whether somebody polls it, as far as one can know.
    fn is_looked_after(&self, latest: Latest) -> bool {
        let Latest { poll, goes_on } = latest;
        !self.is_direct || self.polled == poll || (goes_on && self.polled == poll.wrapping_sub(1))
    }
}

/// What is left to do when a change has been made, while nothing is borrowed.
#[derive(Default)]
pub(super) struct Effects {
    /// The cancellation has reached the task itself.
    pub(super) root_due: bool,
    /// The task is to be polled again, in its turn.
    pub(super) poll_in_turn: bool,
    /// A scope that waits with the task's own waker is to be polled, at once.
    pub(super) poll_again: bool,
    /// To be woken.
    pub(super) wake: Vec<Waker>,
    /// To be dropped.
    pub(super) old: Option<Waker>,
}

impl Default for Scopes {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new(), offers: Vec::new() }
    }
}

impl Scopes {
    fn node(&mut self, id: u32) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// Puts `id` into `around`, as the one polled last.
    fn link(&mut self, id: u32, around: u32) {
        let before = std::mem::replace(&mut self.node(around).last, id);
        if before != NONE {
            self.node(before).after = id;
        }
        let node = self.node(id);
        (node.around, node.before, node.after) = (around, before, NONE);
    }

    fn unlink(&mut self, id: u32) {
        let Node { around, before, after, .. } = *self.node(id);
        if before != NONE {
            self.node(before).after = after;
        }
        match after {
            NONE => self.node(around).last = before,
            after => self.node(after).before = before,
        }
    }

    /// Opens a scope inside `around`; one that catches takes over what was offered to a scope around it.
    pub(super) fn open(&mut self, around: u32, catches: bool, poll: u16) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            (self.nodes.len() - 1) as u32
        });
        *self.node(id) = Node { catches, polled: poll, ..Node::default() };
        self.link(id, around);
        if catches {
            for at in 0..self.offers.len() {
                if self.is_within(id, self.offers[at].target) {
                    self.redirect(at, id);
                }
            }
        }
        id
    }

    /// Closes a scope. What was offered to it on behalf of another one goes on outwards.
    pub(super) fn close(&mut self, id: u32) -> Effects {
        let around = self.node(id).around;
        self.withdraw(id);
        let mut effects = Effects::default();
        for at in (0..self.offers.len()).rev() {
            if self.offers[at].target == id {
                let next = self.catching(around, self.offers[at].within);
                self.offer_next(at, next, &mut effects);
            }
        }
        effects.old = self.remove(id);
        effects
    }

    /// Takes out a scope to which nothing is offered; what is inside it goes into the one around it. Its waker, to be dropped.
    pub(super) fn remove(&mut self, id: u32) -> Option<Waker> {
        let around = self.node(id).around;
        while self.node(id).last != NONE {
            let inside = self.node(id).last;
            self.unlink(inside);
            self.link(inside, around);
        }
        self.unlink(id);
        self.free.push(id);
        self.node(id).waker.take()
    }

    /// Notes that `id` is polled, inside `around`.
    pub(super) fn enter(&mut self, id: u32, around: u32, poll: u16) {
        self.node(id).polled = poll;
        if self.node(id).around != around || self.node(around).last != id {
            self.unlink(id);
            self.link(id, around);
        }
    }

    /// Whether the scope `id` is `around` or lies inside it.
    pub(super) fn is_within(&self, id: u32, around: u32) -> bool {
        let mut at = id;
        while at != around && at != ROOT {
            at = self.nodes[at as usize].around;
        }
        at == around
    }

    /// The innermost catching scope within `within` that is looked after, or `within` itself.
    pub(super) fn innermost(&self, within: u32, latest: Latest) -> u32 {
        self.find(within, |node| node.is_looked_after(latest))
    }

    /// The first catching scope within `within` that `may` be, those inside before those around them, the latest polled first.
    fn find(&self, within: u32, may: impl Fn(&Node) -> bool) -> u32 {
        let mut at = self.deepest(within);
        while at != within {
            let node = &self.nodes[at as usize];
            if node.catches && may(node) {
                break;
            }
            at = if node.before == NONE { node.around } else { self.deepest(node.before) };
        }
        at
    }

    fn deepest(&self, mut at: u32) -> u32 {
        while self.nodes[at as usize].last != NONE {
            at = self.nodes[at as usize].last;
        }
        at
    }

    /// The first catching scope from `scope` outwards, `within` at the latest.
    fn catching(&self, scope: u32, within: u32) -> u32 {
        let mut at = scope;
        while at != within && at != ROOT && !self.nodes[at as usize].catches {
            at = self.nodes[at as usize].around;
        }
        at
    }

    /// The first catching scope from `scope` outwards; the task if there is none.
    pub(super) fn catching_around(&self, scope: u32) -> u32 {
        self.catching(scope, ROOT)
    }

    /// Offers a cancellation of what is inside `within` to the scope `target`; its waker, to be woken.
    pub(super) fn offer(&mut self, target: u32, within: u32) -> Option<Waker> {
        self.node(target).due = true;
        if !self.offers.iter().any(|offer| offer.target == target && offer.within == within) {
            self.offers.push(Offer { target, within, patience: PATIENCE });
        }
        self.node(target).waker.clone()
    }

    /// Forgets what was offered on behalf of `within`.
    pub(super) fn withdraw(&mut self, within: u32) {
        for at in (0..self.offers.len()).rev() {
            if self.offers[at].within == within {
                let offer = self.offers.swap_remove(at);
                self.release(offer.target);
            }
        }
    }

    pub(super) fn has_offers(&self) -> bool {
        !self.offers.is_empty()
    }

    /// Whether the scope `id` is to be unwound now; if so, all that was offered to it, or inside it, is dealt with.
    pub(super) fn take_delivery(&mut self, id: u32) -> bool {
        if !self.node(id).due {
            return false;
        }
        for at in (0..self.offers.len()).rev() {
            if self.is_within(self.offers[at].target, id) {
                let offer = self.offers.swap_remove(at);
                self.release(offer.target);
            }
        }
        true
    }

    pub(super) fn make_catching(&mut self, id: u32) {
        self.node(id).catches = true;
    }

    pub(super) fn waker(&self, id: u32) -> Option<&Waker> {
        self.nodes[id as usize].waker.as_ref()
    }

    /// Keeps the waker through which an offer reaches the scope, the task's own if `is_direct`; returns the one before.
    pub(super) fn set_waker(&mut self, id: u32, waker: Waker, is_direct: bool) -> Option<Waker> {
        self.node(id).is_direct = is_direct;
        self.node(id).waker.replace(waker)
    }

    /// A poll of the task has ended: offers to scopes that were not polled in it lose patience.
    pub(super) fn end_poll(&mut self, poll: u16) -> Effects {
        let mut effects = Effects::default();
        for at in (0..self.offers.len()).rev() {
            let Offer { target, within, .. } = self.offers[at];
            // One that is asked on its own behalf can wait for its poll.
            if target == within || self.node(target).polled == poll {
                continue;
            }
            self.offers[at].patience -= 1;
            if self.offers[at].patience > 0 && !self.node(target).is_direct {
                effects.poll_in_turn = true;
            } else {
                let next = self.find(within, |node| node.polled == poll);
                self.offer_next(at, next, &mut effects);
            }
        }
        effects
    }

    fn offer_next(&mut self, at: usize, next: u32, effects: &mut Effects) {
        if next == ROOT {
            let offer = self.offers.swap_remove(at);
            self.release(offer.target);
            effects.root_due = true;
        } else {
            self.redirect(at, next);
            match (self.node(next).is_direct, self.node(next).waker.clone()) {
                (false, Some(waker)) => {
                    effects.wake.push(waker);
                    effects.poll_in_turn = true;
                }
                _ => effects.poll_again = true,
            }
        }
    }

    fn redirect(&mut self, at: usize, target: u32) {
        let offer = &mut self.offers[at];
        let before = std::mem::replace(&mut offer.target, target);
        offer.patience = PATIENCE;
        self.node(target).due = true;
        self.release(before);
    }

    /// A scope that nothing is offered to any more is not due.
    fn release(&mut self, id: u32) {
        let due = self.offers.iter().any(|offer| offer.target == id);
        self.node(id).due = due;
    }
}

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
    /// Those to another scope than the one on whose behalf they are.
    offers: Vec<Offer>,
    /// How many scopes are asked on their own behalf, and how many have an open request of their owners.
    asked: u32,
    requests: u32,
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
    /// It is asked to end on its own behalf.
    asked: bool,
    /// So many offers are for it.
    offered: u32,
    /// Its owner has asked what is inside to end.
    requested: bool,
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
    fn is_due(&self) -> bool {
        self.asked || self.offered > 0
    }

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
        Self { nodes: vec![Node::default()], free: Vec::new(), offers: Vec::new(), asked: 0, requests: 0 }
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
        if catches && self.has_offers() {
            for at in (0..self.offers.len()).rev() {
                if self.is_within(id, self.offers[at].target) {
                    self.redirect(at, id);
                }
            }
            let mut outer = around;
            while outer != ROOT {
                if self.set_asked(outer, false) {
                    self.push_offer(id, outer);
                }
                outer = self.node(outer).around;
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
        self.set_asked(id, false);
        self.set_requested(id, false);
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
        let is_known = |offer: &Offer| offer.target == target && offer.within == within;
        if target == within {
            self.set_asked(target, true);
        } else if self.node(target).offered == 0 || !self.offers.iter().any(is_known) {
            self.push_offer(target, within);
        }
        self.node(target).waker.clone()
    }

    fn push_offer(&mut self, target: u32, within: u32) {
        self.offers.push(Offer { target, within, patience: PATIENCE });
        self.node(target).offered += 1;
    }

    fn remove_offer(&mut self, at: usize) {
        let offer = self.offers.swap_remove(at);
        self.node(offer.target).offered -= 1;
    }

    /// Whether a scope is asked on its own behalf; what it was before.
    fn set_asked(&mut self, id: u32, asked: bool) -> bool {
        let before = std::mem::replace(&mut self.node(id).asked, asked);
        self.asked = self.asked + u32::from(asked) - u32::from(before);
        before
    }

    /// Notes whether the owner of a scope has asked what is inside to end.
    pub(super) fn set_requested(&mut self, id: u32, requested: bool) {
        let before = std::mem::replace(&mut self.node(id).requested, requested);
        self.requests = self.requests + u32::from(requested) - u32::from(before);
    }

    /// How many requests of owners are open, but for those of `id` and of what is around it: they are nothing to it.
    pub(super) fn requests_beside(&self, id: u32) -> u32 {
        if self.requests == 0 {
            return 0;
        }
        let (mut at, mut around) = (id, 0);
        while at != ROOT {
            around += u32::from(self.nodes[at as usize].requested);
            at = self.nodes[at as usize].around;
        }
        self.requests - around
    }

    /// Forgets what was offered on behalf of `within`.
    pub(super) fn withdraw(&mut self, within: u32) {
        self.set_asked(within, false);
        for at in (0..self.offers.len()).rev() {
            if self.offers[at].within == within {
                self.remove_offer(at);
            }
        }
    }

    pub(super) fn has_offers(&self) -> bool {
        self.asked > 0 || !self.offers.is_empty()
    }

    /// Whether the scope `id` is to be unwound now; if so, all that was offered to it, or inside it, is dealt with.
    pub(super) fn take_delivery(&mut self, id: u32) -> bool {
        if !self.node(id).is_due() {
            return false;
        }
        self.set_asked(id, false);
        for at in (0..self.offers.len()).rev() {
            if self.is_within(self.offers[at].target, id) {
                self.remove_offer(at);
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
            if self.node(target).polled == poll {
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
            self.remove_offer(at);
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
        let within = self.offers[at].within;
        self.remove_offer(at);
        if target == within {
            // One that is asked on its own behalf can wait for its poll.
            self.set_asked(target, true);
        } else {
            self.push_offer(target, within);
        }
    }
}

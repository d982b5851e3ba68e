//! Timers by (deadline, order of the calls): a queue for those that come in order, a binary heap for the others; cancelled
//! ones are removed lazily.
//!
//! Most programs use few different delays, so most timers are due after all that were set before: those are appended to a
//! queue, and setting and firing them costs the same however many there are. (10 000 timers fired: half of the heap's time.)
//!
//! Queue and heap hold keys only; the entries stand in slots. Cancelling empties the slot at once (what it held is given
//! back) and leaves the key in the heap. Two rules keep dead keys from piling up: those at the head go when the
//! head is looked at, and when dead keys outnumber live ones (and there are more than a few) the heap is rebuilt, so
//! its size never exceeds twice the number of live timers plus `FEW`, and the amortised cost stays constant.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Below this many dead keys a rebuild would cost more than it saves (asyncio uses 100 as well).
const FEW: usize = 100;

/// Names one timer until it fires or is cancelled; stale keys are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    slot: u32,
    sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    deadline_ns: u64,
    sequence: u64,
    slot: u32,
}

#[derive(Debug)]
struct Slot<T> {
    /// The sequence number of the timer that lives here; a key with another one is dead.
    sequence: u64,
    entry: Option<T>,
}

/// A set of timers, each holding a `T` until its deadline.
///
/// Equal deadlines come out in the order in which they were inserted.
///
/// # Examples
/// ```
/// use aioxide_core::timers::Timers;
/// let mut timers = Timers::new();
/// let late = timers.insert(20, "late");
/// timers.insert(10, "early");
/// assert_eq!(timers.next_deadline_ns(), Some(10));
/// assert_eq!(timers.pop_due(15), Some("early"));
/// assert_eq!(timers.pop_due(15), None);
/// assert_eq!(timers.cancel(late), Some("late"));
/// assert!(timers.is_empty());
/// ```
#[derive(Debug)]
pub struct Timers<T> {
    /// Keys in ascending order.
    queue: VecDeque<Key>,
    /// Keys that came before the last of the queue.
    heap: BinaryHeap<Reverse<Key>>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    live: usize,
    next_sequence: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Timers<T> {
    /// An empty set.
    pub fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            live: 0,
            next_sequence: 0,
        }
    }

    /// How many timers are pending.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no timer is pending.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Whether the timer has neither fired nor been cancelled.
    pub fn contains(&self, key: TimerKey) -> bool {
        let slot = self.slots.get(key.slot as usize);
        slot.is_some_and(|slot| slot.sequence == key.sequence && slot.entry.is_some())
    }

    /// How many keys are held, dead ones included: at most `2 * len() + 100`.
    pub fn heap_len(&self) -> usize {
        self.queue.len() + self.heap.len()
    }

    /// Adds a timer that is due at `deadline_ns` (nanoseconds of the loop's clock).
    pub fn insert(&mut self, deadline_ns: u64, entry: T) -> TimerKey {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let filled = Slot { sequence, entry: Some(entry) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = filled;
                slot
            }
            None => {
                self.slots.push(filled);
                (self.slots.len() - 1) as u32
            }
        };
        self.live += 1;
        let key = Key { deadline_ns, sequence, slot };
        match self.queue.back() {
            Some(last) if *last > key => self.heap.push(Reverse(key)),
            _ => self.queue.push_back(key),
        }
        TimerKey { slot, sequence }
    }

    /// Removes a timer and gives back what it held; `None` if it fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.take(key.slot, key.sequence)?;
        let dead = self.heap_len() - self.live;
        if dead > FEW && dead > self.live {
            self.rebuild();
        }
        Some(entry)
    }

    /// Looks at a pending timer.
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        if slot.sequence == key.sequence { slot.entry.as_ref() } else { None }
    }

    /// The earliest deadline; drops dead keys from the heads on the way.
    pub fn next_deadline_ns(&mut self) -> Option<u64> {
        self.first().map(|key| key.deadline_ns)
    }

    /// Takes the next timer whose deadline is `now_ns` or earlier.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<T> {
        let key = self.first().filter(|key| key.deadline_ns <= now_ns)?;
        if self.queue.front() == Some(&key) {
            self.queue.pop_front();
        } else {
            self.heap.pop();
        }
        self.take(key.slot, key.sequence)
    }

    /// The first live key of both.
    fn first(&mut self) -> Option<Key> {
        while self.queue.front().is_some_and(|key| !is_live(&self.slots, *key)) {
            self.queue.pop_front();
        }
        while self.heap.peek().is_some_and(|key| !is_live(&self.slots, key.0)) {
            self.heap.pop();
        }
        match (self.queue.front(), self.heap.peek()) {
            (Some(queued), Some(Reverse(heaped))) => Some(*queued.min(heaped)),
            (Some(key), None) | (None, Some(Reverse(key))) => Some(*key),
            (None, None) => None,
        }
    }

    /// Takes everything out, so that the caller may drop it while nothing is borrowed.
    pub fn drain(&mut self) -> Vec<T> {
        let sequence = self.next_sequence;
        let old = std::mem::replace(self, Self { next_sequence: sequence, ..Self::new() });
        old.slots.into_iter().filter_map(|slot| slot.entry).collect()
    }

    /// The pending timers with their deadlines, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.queue.iter().chain(self.heap.iter().map(|Reverse(key)| key)).filter_map(|key| {
            let slot = &self.slots[key.slot as usize];
            let entry = slot.entry.as_ref().filter(|_| slot.sequence == key.sequence)?;
            Some((key.deadline_ns, entry))
        })
    }

    fn take(&mut self, slot: u32, sequence: u64) -> Option<T> {
        let held = self.slots.get_mut(slot as usize).filter(|held| held.sequence == sequence)?;
        let entry = held.entry.take()?;
        self.free.push(slot);
        self.live -= 1;
        Some(entry)
    }

    fn rebuild(&mut self) {
        let slots = &self.slots;
        self.queue.retain(|key| is_live(slots, *key));
        self.heap.retain(|Reverse(key)| is_live(slots, *key));
        if self.live == 0 {
            self.slots.clear();
            self.free.clear();
        }
        if self.heap.capacity() > 4 * (self.heap.len() + FEW) {
            self.heap.shrink_to(2 * (self.heap.len() + FEW));
        }
        if self.queue.capacity() > 4 * (self.queue.len() + FEW) {
            self.queue.shrink_to(2 * (self.queue.len() + FEW));
        }
    }
}

fn is_live<T>(slots: &[Slot<T>], key: Key) -> bool {
    slots.get(key.slot as usize).is_some_and(|slot| slot.sequence == key.sequence && slot.entry.is_some())
}

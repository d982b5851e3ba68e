//! Objects in a row that come at the end and leave in any order, each at the cost of a look at both ends.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use super::address_hasher::AddressHasher;
use super::object::{Object, Owned};

/// So many are looked through; what leaves the middle of a longer row is noted in `gone`, and taken out with others.
const SHORT: usize = 32;

/// By their addresses, which they keep while they are here.
type Gone = HashMap<usize, Owned, BuildHasherDefault<AddressHasher>>;

/// A row. Its first and its last object are never among those that are gone.
///
/// No method releases an object: what leaves the row is given to the caller.
pub(crate) struct Row {
    items: VecDeque<Owned>,
    gone: Option<Box<Gone>>,
}

fn address(object: &Object) -> usize {
    object.as_ptr() as usize
}

impl Row {
    pub(crate) const fn new() -> Self {
        Self { items: VecDeque::new(), gone: None }
    }

    /// The objects of a row that `remove` is never called on.
    #[inline(always)]
    pub(crate) fn items(&mut self) -> &mut VecDeque<Owned> {
        debug_assert!(self.gone.is_none(), "objects are gone from the middle");
        &mut self.items
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, object: Owned) {
        self.items.push_back(object);
    }

    /// How many there are.
    pub(crate) fn len(&mut self, left: &mut Vec<Owned>) -> usize {
        self.sweep(left);
        self.items.len()
    }

    /// Takes out the first.
    #[inline]
    pub(crate) fn pop(&mut self, left: &mut Vec<Owned>) -> Option<Owned> {
        let first = self.items.pop_front();
        if self.gone.is_some() {
            self.trim(left);
        }
        first
    }

    /// The first at `index` or behind it, which is then its place.
    pub(crate) fn get(&self, index: &mut usize) -> Option<&Owned> {
        while let Some(item) = self.items.get(*index) {
            if !self.is_gone(item) {
                return Some(item);
            }
            *index += 1;
        }
        None
    }

    /// Takes out an object, which may have left before.
    pub(crate) fn remove(&mut self, object: &Object, left: &mut Vec<Owned>) {
        if self.items.front().is_some_and(|first| first.is(object)) {
            left.extend(self.items.pop_front());
        } else if self.items.back().is_some_and(|last| last.is(object)) {
            left.extend(self.items.pop_back());
        } else if self.items.len() <= SHORT {
            self.sweep(left);
            let place = self.items.iter().position(|item| item.is(object));
            left.extend(place.and_then(|place| self.items.remove(place)));
        } else {
            let gone = self.gone.get_or_insert_default();
            gone.insert(address(object), object.own());
            // Each sweep takes as many out as it leaves; one that was not in the row is forgotten by it.
            if gone.len() * 2 > self.items.len() {
                self.sweep(left);
            }
            return;
        }
        if self.gone.is_some() {
            self.trim(left);
        }
    }

    /// Takes out all of them, in their order.
    pub(crate) fn take(&mut self, left: &mut Vec<Owned>) -> VecDeque<Owned> {
        self.sweep(left);
        std::mem::take(&mut self.items)
    }

    /// Everything that is held.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Owned> {
        self.items.iter().chain(self.gone.iter().flat_map(|gone| gone.values()))
    }

    fn is_gone(&self, item: &Object) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.contains_key(&address(item)))
    }

    /// Takes those that are gone from both ends.
    fn trim(&mut self, left: &mut Vec<Owned>) {
        while self.items.front().is_some_and(|first| self.is_gone(first)) {
            left.extend(self.items.pop_front());
        }
        while self.items.back().is_some_and(|last| self.is_gone(last)) {
            left.extend(self.items.pop_back());
        }
        if self.items.len() <= SHORT {
            self.sweep(left);
        }
    }

    /// Takes out all that are gone.
    fn sweep(&mut self, left: &mut Vec<Owned>) {
        let Some(gone) = self.gone.take() else { return };
        for item in std::mem::take(&mut self.items) {
            if gone.contains_key(&address(&item)) {
                left.push(item);
            } else {
                self.items.push_back(item);
            }
        }
        left.extend(gone.into_values());
    }
}

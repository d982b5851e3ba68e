//! Values in the order in which they came, each under a number that takes it out again.

use std::collections::VecDeque;

/// A queue out of whose middle can be taken: finding is O(log n), and taking out costs no more than having put in.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// Sorted by number, since numbers only grow; `None` was taken out and is skipped.
    places: VecDeque<(u64, Option<T>)>,
    live: usize,
    last_key: u64,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { places: VecDeque::new(), live: 0, last_key: 0 }
    }
}

impl<T> Line<T> {
    /// Appends; the number is never 0 and is not used again.
    pub(crate) fn push(&mut self, value: T) -> u64 {
        self.last_key += 1;
        self.places.push_back((self.last_key, Some(value)));
        self.live += 1;
        self.last_key
    }

    fn find(&self, key: u64) -> Option<usize> {
        self.places.binary_search_by_key(&key, |(held, _)| *held).ok()
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        self.places[self.find(key)?].1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let at = self.find(key)?;
        self.places[at].1.as_mut()
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let at = self.find(key)?;
        let value = self.places[at].1.take()?;
        self.live -= 1;
        // Empty places never outnumber the others by much: each clearing pays for itself.
        if self.places.len() > 2 * self.live + 16 {
            self.places.retain(|(_, value)| value.is_some());
        }
        Some(value)
    }

    pub(crate) fn pop_first(&mut self) -> Option<T> {
        while let Some((_, value)) = self.places.pop_front() {
            if value.is_some() {
                self.live -= 1;
                return value;
            }
        }
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|(_, value)| value.as_ref())
    }

    /// Takes all out, in order.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.live = 0;
        std::mem::take(&mut self.places).into_iter().filter_map(|(_, value)| value)
    }
}

//! A set of numbers that are mostly in a row, as ranges: its size is that of its gaps.

use std::collections::BTreeMap;

/// Numbers, as ranges from the first to the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// By their first numbers; they neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl Ranges {
    /// Whether it has the number.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// Whether it has all numbers from `first` to `last`.
    pub(crate) fn contains_range(&self, first: u64, last: u64) -> bool {
        self.ranges.range(..=first).next_back().is_some_and(|(_, end)| last <= *end)
    }

    /// How many numbers it has.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Adds a number.
    pub(crate) fn insert(&mut self, number: u64) {
        if self.contains(number) {
            return;
        }
        self.count += 1;
        let mut last = number;
        if let Some(after) = number.checked_add(1)
            && let Some(end) = self.ranges.remove(&after)
        {
            last = end;
        }
        match self.ranges.range_mut(..number).next_back() {
            Some((_, end)) if *end + 1 == number => *end = last,
            _ => {
                self.ranges.insert(number, last);
            }
        }
    }

    /// The ranges, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    /// Adds all numbers from `first` to `last`; what it costs is a matter of how many ranges it meets.
    pub(crate) fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        if let Some((begin, end)) = self.ranges.range(..first).next_back().map(|(begin, end)| (*begin, *end))
            && end >= first - 1
        {
            (first, last) = (begin, last.max(end));
        }
        while let Some((begin, end)) = self.ranges.range(first..=last.saturating_add(1)).next() {
            let (begin, end) = (*begin, *end);
            self.ranges.remove(&begin);
            self.count -= (end - begin).saturating_add(1);
            last = last.max(end);
        }
        self.ranges.insert(first, last);
        self.count = self.count.saturating_add((last - first).saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set(changes in prop::collection::vec((0..60_u64, 0..6_u64), 0..40)) {
            let (mut ranges, mut plain) = (Ranges::default(), BTreeSet::new());
            for (first, length) in changes {
                match length {
                    0 => ranges.insert(first),
                    length => ranges.insert_range(first, first + length),
                }
                plain.extend(first..=first + length);
                prop_assert_eq!(ranges.count(), plain.len() as u64);
                let all = (first..=first + 3).all(|number| plain.contains(&number));
                prop_assert_eq!(ranges.contains_range(first, first + 3), all);
                let listed: BTreeSet<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
                prop_assert_eq!(&listed, &plain);
                let pairs: Vec<_> = ranges.iter().collect();
                prop_assert!(pairs.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", pairs);
            }
        }
    }
}

//! A file that comes in several ranges at once: what of it is there, and what nobody works on yet.

use super::ranges::Ranges;

/// The bytes from one place up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from: u64,
    /// The first byte behind it.
    pub(crate) to: u64,
}

/// The segments of a file.
#[derive(Debug)]
pub(crate) struct Segments {
    length: u64,
    have: Ranges,
    /// In order; nobody works on them.
    free: Vec<Segment>,
}

/// No segment is made smaller.
const LEAST: u64 = 4 << 20;

impl Segments {
    /// Divides what is missing into about `parts` segments of the same length.
    pub(crate) fn new(length: u64, have: Ranges, parts: usize) -> Self {
        let mut gaps = Vec::new();
        let mut at = 0;
        for (first, last) in have.iter().filter(|(first, _)| *first < length) {
            gaps.push(Segment { from: at, to: first });
            at = last.saturating_add(1);
        }
        gaps.push(Segment { from: at, to: length });
        gaps.retain(|gap| gap.from < gap.to);
        let missing: u64 = gaps.iter().map(|gap| gap.to - gap.from).sum();
        let most = missing.div_ceil(parts.max(1) as u64).max(LEAST);
        let mut free = Vec::new();
        for Segment { mut from, to } in gaps {
            let step = (to - from).div_ceil((to - from).div_ceil(most));
            while from < to {
                let end = to.min(from + step);
                free.push(Segment { from, to: end });
                from = end;
            }
        }
        Segments { length, have, free }
    }

    /// Takes the first segment that nobody works on.
    pub(crate) fn take(&mut self) -> Option<Segment> {
        (!self.free.is_empty()).then(|| self.free.remove(0))
    }

    /// Takes the one that begins there, if nobody works on it.
    pub(crate) fn take_at(&mut self, from: u64) -> Option<Segment> {
        let place = self.free.iter().position(|segment| segment.from == from)?;
        Some(self.free.remove(place))
    }

    /// Nobody works on it any more.
    pub(crate) fn put_back(&mut self, segment: Segment) {
        if segment.from < segment.to {
            let place = self.free.partition_point(|other| other.from < segment.from);
            self.free.insert(place, segment);
        }
    }

    /// How many segments nobody works on.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// These bytes are written.
    pub(crate) fn written(&mut self, segment: Segment) {
        if segment.from < segment.to {
            self.have.insert_range(segment.from, segment.to - 1);
        }
    }

    /// What is written.
    pub(crate) fn have(&self) -> &Ranges {
        &self.have
    }

    /// Whether nothing is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.have.count() == self.length
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn divided(length: u64, have: &[(u64, u64)], parts: usize) -> Vec<(u64, u64)> {
        let mut ranges = Ranges::default();
        have.iter().for_each(|(first, last)| ranges.insert_range(*first, *last));
        let mut segments = Segments::new(length, ranges, parts);
        std::iter::from_fn(|| segments.take()).map(|segment| (segment.from, segment.to)).collect()
    }

    #[test]
    fn what_is_missing_is_divided_evenly() {
        let mib = 1 << 20;
        assert_eq!(divided(30 * mib, &[], 3), [(0, 10 * mib), (10 * mib, 20 * mib), (20 * mib, 30 * mib)]);
        assert_eq!(divided(10 * mib, &[], 16).len(), 3);
        assert_eq!(divided(mib, &[], 16), [(0, mib)]);
        assert_eq!(divided(100, &[(10, 19), (90, 99)], 1), [(0, 10), (20, 90)]);
        assert_eq!(divided(100, &[(0, 99)], 4), []);
    }

    proptest! {
        #[test]
        fn segments_are_what_is_missing(
            length in 1..100_000_000_u64,
            have in prop::collection::vec((0..100_000_000_u64, 0..30_000_000_u64), 0..6),
            parts in 1..20_usize,
        ) {
            let mut ranges = Ranges::default();
            for (first, more) in have.into_iter().filter(|(first, _)| *first < length) {
                ranges.insert_range(first, (first + more).min(length - 1));
            }
            let mut segments = Segments::new(length, ranges, parts);
            let mut before = 0;
            while let Some(segment) = segments.take() {
                prop_assert!(before <= segment.from && segment.from < segment.to && segment.to <= length);
                before = segment.to;
                segments.written(segment);
            }
            prop_assert!(segments.is_whole());
        }
    }
}

//! A row that is chosen in a list of which a part is seen.

use std::ops::Range;

/// The chosen row, and the first that is seen.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cursor {
    pub(crate) at: usize,
    top: usize,
    /// Rows that were seen last.
    height: usize,
}

/// Where to go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Move {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Cursor {
    /// Goes there among `count` rows.
    pub(crate) fn go(&mut self, direction: Move, count: usize) {
        let page = self.height.saturating_sub(1).max(1);
        let last = count.saturating_sub(1);
        self.at = match direction {
            Move::Up => self.at.saturating_sub(1),
            Move::Down => self.at + 1,
            Move::PageUp => self.at.saturating_sub(page),
            Move::PageDown => self.at + page,
            Move::First => 0,
            Move::Last => last,
        }
        .min(last);
    }

    /// The rows of `count` that are seen in `height` lines, the chosen one among them.
    pub(crate) fn seen(&mut self, count: usize, height: usize) -> Range<usize> {
        self.height = height;
        self.at = self.at.min(count.saturating_sub(1));
        self.top =
            self.top.min(self.at).max((self.at + 1).saturating_sub(height)).min(count.saturating_sub(height));
        self.top..(self.top + height).min(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_row_is_always_seen() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.seen(100, 10), 0..10);
        cursor.go(Move::PageDown, 100);
        cursor.go(Move::Down, 100);
        assert_eq!((cursor.at, cursor.seen(100, 10)), (10, 1..11));
        cursor.go(Move::Last, 100);
        assert_eq!((cursor.at, cursor.seen(100, 10)), (99, 90..100));
        // The list has become shorter, the terminal higher, and shorter.
        assert_eq!((cursor.seen(5, 10), cursor.at), (0..5, 4));
        assert_eq!(cursor.seen(5, 2), 3..5);
        assert_eq!(cursor.seen(0, 0), 0..0);
        cursor.go(Move::Down, 0);
        assert_eq!(cursor.at, 0);
    }
}

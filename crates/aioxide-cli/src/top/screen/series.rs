//! Figures of the last minutes, and small charts of them.

use std::collections::VecDeque;

use crate::top::sample::Sample;

/// How many looks are kept.
const KEPT: usize = 240;

/// Figures, one of each look or pulse; what was not known is `None`.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub(crate) lag_us: VecDeque<Option<u64>>,
    pub(crate) ready: VecDeque<Option<u64>>,
    pub(crate) tasks: VecDeque<Option<u64>>,
}

impl Series {
    /// Adds what a sample tells.
    pub(crate) fn add(&mut self, sample: &Sample) {
        push(&mut self.ready, sample.sum(|one| one.ready));
        push(&mut self.tasks, Some(sample.count() as u64 + sample.snapshot.left_out));
    }

    /// Adds a lag, which is asked for more often.
    pub(crate) fn add_lag(&mut self, worst_us: Option<u64>) {
        push(&mut self.lag_us, worst_us);
    }
}

fn push(line: &mut VecDeque<Option<u64>>, value: Option<u64>) {
    if line.len() == KEPT {
        line.pop_front();
    }
    line.push_back(value);
}

/// The last `width` figures as blocks of eight heights, from nothing to the largest of them.
pub(crate) fn spark(line: &VecDeque<Option<u64>>, width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = line.iter().skip(line.len().saturating_sub(width));
    let most = shown.clone().filter_map(|value| *value).max().unwrap_or(0).max(1);
    let block = |value: &Option<u64>| match value {
        None => ' ',
        Some(value) => BLOCKS[((*value as f64 / most as f64) * 7.0).round() as usize],
    };
    let mut text: String = " ".repeat(width.saturating_sub(line.len()));
    text.extend(shown.map(block));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_shows_the_latest_from_nothing_to_the_largest() {
        let line: VecDeque<_> = [Some(900), Some(0), None, Some(7), Some(14)].into();
        assert_eq!(spark(&line, 4), "▁ ▅█");
        assert_eq!(spark(&line, 7), "  █▁ ▁▁");
        assert_eq!(spark(&VecDeque::new(), 3), "   ");
    }
}

//! The write buffer and the watermarks against naive models.

use std::io::IoSlice;

use aioxide_core::flow::{Change, InvalidLimits, Watermarks, WriteBuffer};
use proptest::prelude::*;

/// What may be done to a buffer.
#[derive(Clone, Debug)]
enum Step {
    /// Push a chunk; if the buffer is empty, the given share of it counts as written.
    Push(Vec<u8>, usize),
    /// Write as much as so many slices hold, but the given number of bytes at most.
    Write(usize, usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..40), 0..45usize).prop_map(|(chunk, skip)| Step::Push(chunk, skip)),
        4 => (1..6usize, 0..100usize).prop_map(|(slices, most)| Step::Write(slices, most)),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn write_buffer_is_a_queue_of_bytes(steps in prop::collection::vec(step(), 0..60)) {
        let mut buffer = WriteBuffer::<Vec<u8>>::default();
        let mut model: Vec<u8> = Vec::new();
        for step in steps {
            match step {
                Step::Push(chunk, skip) => {
                    let skip = if buffer.is_empty() { skip } else { 0 };
                    model.extend_from_slice(chunk.get(skip..).unwrap_or_default());
                    buffer.push(chunk, skip);
                }
                Step::Write(count, most) => {
                    let mut slices = vec![IoSlice::new(&[]); count];
                    let filled = buffer.fill(&mut slices);
                    prop_assert_eq!(filled, count.min(buffer.chunks()));
                    let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                    prop_assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
                    let written = most.min(seen.len());
                    prop_assert_eq!(&seen[..], &model[..seen.len()]);
                    prop_assert!(seen.starts_with(buffer.first()));
                    buffer.advance(written);
                    model.drain(..written);
                }
                Step::Clear => {
                    drop(buffer.take());
                    model.clear();
                }
            }
            prop_assert_eq!(buffer.len(), model.len());
            prop_assert_eq!(buffer.is_empty(), model.is_empty());
        }
    }

    /// The producer is told to pause and to resume in turn, and only at the marks.
    #[test]
    fn watermarks_alternate(sizes in prop::collection::vec(0..100usize, 0..60), high in 0..80usize, low in 0..80usize) {
        let mut marks = Watermarks::default();
        let set = marks.set_limits(Some(high), Some(low));
        prop_assert_eq!(set, if low > high { Err(InvalidLimits) } else { Ok(()) });
        let (low, high) = marks.limits();
        let (mut before, mut paused) = (0, false);
        for size in sizes {
            let change = if size > before { marks.grown_to(size) } else { marks.shrunk_to(size) };
            let expected = match (paused, size > before) {
                (false, true) if size > high => Some(Change::Pause),
                (true, false) if size <= low => Some(Change::Resume),
                _ => None,
            };
            prop_assert_eq!(change, expected);
            paused = match change { Some(change) => change == Change::Pause, None => paused };
            prop_assert_eq!(marks.is_paused(), paused);
            before = size;
        }
    }
}

#[test]
fn missing_limits_follow_as_in_asyncio() {
    let mut marks = Watermarks::default();
    assert_eq!(marks.limits(), (16 * 1024, 64 * 1024));
    marks.set_limits(Some(100), None).unwrap();
    assert_eq!(marks.limits(), (25, 100));
    marks.set_limits(None, Some(10)).unwrap();
    assert_eq!(marks.limits(), (10, 40));
    marks.set_limits(Some(0), None).unwrap();
    assert_eq!(marks.limits(), (0, 0));
    assert_eq!(marks.grown_to(0), None);
    assert_eq!(marks.grown_to(1), Some(Change::Pause));
}

#[test]
#[should_panic(expected = "only the first chunk can be written in part")]
fn skip_behind_something_is_refused() {
    let mut buffer = WriteBuffer::<Vec<u8>>::default();
    buffer.push(vec![1, 2], 0);
    buffer.push(vec![3, 4], 1);
}

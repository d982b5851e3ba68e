//! Timers against a model, and their memory.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use aioxide_core::timers::{TimerKey, Timers};
use proptest::prelude::*;
use support::{call, virtual_loop};

/// The obvious way: a list, searched each time.
#[derive(Default)]
struct Model {
    pending: Vec<(u64, u32)>,
}

impl Model {
    fn next(&self) -> Option<usize> {
        // `min_by_key` takes the first of equal ones, which was inserted first.
        (0..self.pending.len()).min_by_key(|index| self.pending[*index].0)
    }

    fn pop_due(&mut self, now_ns: u64) -> Option<u32> {
        let index = self.next().filter(|index| self.pending[*index].0 <= now_ns)?;
        Some(self.pending.remove(index).1)
    }

    fn cancel(&mut self, entry: u32) -> Option<u32> {
        let index = self.pending.iter().position(|(_, held)| *held == entry)?;
        Some(self.pending.remove(index).1)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Cancel(usize),
    PopDue(u64),
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..40u64).prop_map(Step::Insert),
        6 => any::<prop::sample::Index>().prop_map(|index| Step::Cancel(index.index(1000))),
        3 => (0..45u64).prop_map(Step::PopDue),
        1 => Just(Step::Drain),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn timers_behave_as_the_model(steps in steps()) {
        let (mut timers, mut model) = (Timers::new(), Model::default());
        let mut keys: Vec<TimerKey> = Vec::new();
        for step in steps {
            match step {
                Step::Insert(deadline_ns) => {
                    let entry = keys.len() as u32;
                    keys.push(timers.insert(deadline_ns, entry));
                    model.pending.push((deadline_ns, entry));
                }
                // Fired, cancelled and pending ones alike: a stale key must find nothing.
                Step::Cancel(index) if !keys.is_empty() => {
                    let entry = (index % keys.len()) as u32;
                    let key = keys[entry as usize];
                    prop_assert_eq!(timers.get(key).copied().is_some(), model.pending.iter().any(|(_, held)| *held == entry));
                    prop_assert_eq!(timers.cancel(key), model.cancel(entry));
                }
                Step::Cancel(_) => {}
                Step::PopDue(now_ns) => {
                    while let Some(entry) = model.pop_due(now_ns) {
                        prop_assert_eq!(timers.pop_due(now_ns), Some(entry));
                    }
                    prop_assert_eq!(timers.pop_due(now_ns), None);
                }
                Step::Drain => {
                    let mut drained = timers.drain();
                    drained.sort_unstable();
                    let mut expected: Vec<u32> = model.pending.drain(..).map(|(_, entry)| entry).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(drained, expected);
                }
            }
            prop_assert_eq!(timers.len(), model.pending.len());
            prop_assert!(timers.heap_len() <= 2 * timers.len() + 101);
            prop_assert_eq!(timers.next_deadline_ns(), model.next().map(|index| model.pending[index].0));
            prop_assert_eq!(timers.iter().count(), model.pending.len());
        }
    }
}

#[test]
fn hundred_thousand_set_and_cancelled_leave_no_heap() {
    let mut timers = Timers::new();
    let kept: Vec<_> = (0..10).map(|deadline_ns| timers.insert(deadline_ns, ())).collect();
    let mut largest = 0;
    for round in 0..100_000u64 {
        let key = timers.insert(1_000_000 - round, ());
        timers.cancel(key).unwrap();
        largest = largest.max(timers.heap_len());
    }
    assert!(largest <= 2 * kept.len() + 101, "{largest}");
    let keys: Vec<_> = (0..100_000u64).map(|deadline_ns| timers.insert(deadline_ns, ())).collect();
    keys.into_iter().for_each(|key| timers.cancel(key).unwrap());
    assert_eq!(timers.len(), 10);
    assert!(timers.heap_len() <= 121, "{}", timers.heap_len());
}

#[test]
fn cancelled_calls_of_a_loop_leave_no_heap_and_drop_their_entry_at_once() {
    let event_loop = virtual_loop();
    let held = std::rc::Rc::new(());
    for round in 0..100_000 {
        let clone = std::rc::Rc::clone(&held);
        let key = event_loop.call_at(round, call(move || drop(clone)));
        assert!(event_loop.cancel_call(key).is_some());
        assert!(event_loop.cancel_call(key).is_none());
    }
    assert_eq!((event_loop.timers_len(), std::rc::Rc::strong_count(&held)), (0, 1));
    assert!(event_loop.timer_heap_len() <= 101, "{}", event_loop.timer_heap_len());
    event_loop.close();
}

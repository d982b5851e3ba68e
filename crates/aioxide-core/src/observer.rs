//! Who sees what a loop runs, for a while: an [`Observer`], the [`Recorder`] that keeps it as a timeline, and a meter that counts.
//!
//! ```text
//! the queue     n     n+1    n+2    n+3 …       each entry has the number of its place, from the first that was observed
//!               └ runs ──queues──> n+2, n+3      so who queued whom is known without a word from whoever queues
//! ```
//!
//! A loop that nobody observes pays nothing: that somebody does stands beside "is it to stop?", which is asked anyway, and
//! while it is so each iteration takes the way of one that asks the kernel.

mod meter;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use crate::runnable::Runnable;
use crate::sys::monotonic_ns;

pub use meter::Durations;
pub(crate) use meter::Meter;

/// Sees the entries that a loop runs; see [`EventLoop::observe`](crate::EventLoop::observe).
///
/// None of the calls may panic, or run the loop.
pub trait Observer<R: Runnable> {
    /// A batch begins; the numbers of what was queued by nobody seen here: events, timers, other threads.
    fn collected(&self, queued: Range<u64>);
    /// An entry is about to run.
    fn begins(&self, number: u64, entry: &R);
    /// It has run, and has queued what has these numbers. What another thread queued meanwhile is among them.
    fn ended(&self, number: u64, queued: Range<u64>);
    /// Whether it wants to see no more: the loop then lets it go.
    fn is_over(&self) -> bool {
        false
    }
    /// Whether another one may take its place.
    fn gives_way(&self) -> bool {
        false
    }
}

/// What an entry is, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The kind of entry: "step", "callback", …
    pub kind: &'static str,
    /// The task, or what is called.
    pub name: String,
    /// What the task runs.
    pub code: String,
    /// A number that no other task of the loop has as long as this one lives; 0: it is no task's.
    pub task: u64,
}

/// Bytes of a text of a label; what is longer is cut, and ends in `…`. A program may name its tasks as it likes.
const LONGEST_TEXT: usize = 200;

impl Label {
    fn cut(mut self) -> Self {
        for text in [&mut self.name, &mut self.code] {
            if text.len() > LONGEST_TEXT {
                let end = (0..=LONGEST_TEXT - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end));
                *text = text[..end.unwrap_or(0)].to_owned() + "…";
            }
        }
        self
    }
}

/// One entry's run. Times are of the system's monotonic clock, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its number.
    pub number: u64,
    /// The number of the entry that queued it; `None` for an event, a timer, another thread.
    pub queued_by: Option<u64>,
    /// When it was queued, at the latest: when what queued it ended, or was noticed.
    pub queued_ns: u64,
    /// When it began to run.
    pub began_ns: u64,
    /// When it had run.
    pub ended_ns: u64,
    /// What it is.
    pub label: Label,
}

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// In the order in which they ended.
    pub spans: Vec<Span>,
    /// How many more ran, after there were too many.
    pub left_out: u64,
    /// From when to when it was recorded.
    pub began_ns: u64,
    /// See there.
    pub ended_ns: u64,
}

/// Keeps the runs of a loop's entries, until a time or a number is reached.
pub struct Recorder<R> {
    describe: fn(&R) -> Label,
    limit: usize,
    until_ns: u64,
    inner: RefCell<Inner>,
}

struct Inner {
    recording: Recording,
    /// Who queued what stands in the queue, and when, from the number `first` on.
    queued: VecDeque<(Option<u64>, u64)>,
    first: u64,
    /// What runs; several when one of them runs the loop.
    open: Vec<Span>,
}

impl<R> std::fmt::Debug for Recorder<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorder")
            .field("limit", &self.limit)
            .field("spans", &self.inner.borrow().recording.spans.len())
            .finish_non_exhaustive()
    }
}

impl<R> Recorder<R> {
    /// A recorder that keeps at most `limit` runs and none after `length_ns`; `describe` is asked once for each.
    pub fn new(limit: usize, length_ns: u64, describe: fn(&R) -> Label) -> Rc<Self> {
        let now = monotonic_ns();
        let recording = Recording { began_ns: now, ..Recording::default() };
        let inner = Inner { recording, queued: VecDeque::new(), first: 0, open: Vec::new() };
        Rc::new(Self { describe, limit, until_ns: now.saturating_add(length_ns), inner: RefCell::new(inner) })
    }

    /// Takes what was recorded; what runs at the moment is recorded as far as it has come.
    pub fn take(&self) -> Recording {
        let mut inner = self.inner.borrow_mut();
        let now = monotonic_ns().min(self.until_ns);
        let open = inner.open.clone();
        let mut recording = std::mem::take(&mut inner.recording);
        recording.spans.extend(open.into_iter().map(|span| Span { ended_ns: now, ..span }));
        recording.ended_ns = now;
        recording
    }
}

impl Inner {
    /// Notes who queued these; what an entry inside of this one has queued is known already.
    fn note(&mut self, queued: Range<u64>, by: Option<u64>, now: u64) {
        if self.queued.is_empty() {
            self.first = self.first.max(queued.start);
        }
        let known = self.first + self.queued.len() as u64;
        // Who queued what lies between was told to the recorder before this one.
        self.queued.extend((known..queued.start).map(|_| (None, now)));
        self.queued.extend((queued.start.max(known)..queued.end).map(|_| (by, now)));
    }

    /// Who queued the entry with this number, and when.
    fn take_note(&mut self, number: u64) -> Option<(Option<u64>, u64)> {
        while self.first < number {
            self.queued.pop_front()?;
            self.first += 1;
        }
        let note = self.queued.pop_front()?;
        self.first += 1;
        Some(note)
    }
}

impl<R: Runnable> Observer<R> for Recorder<R> {
    fn collected(&self, queued: Range<u64>) {
        let mut inner = self.inner.borrow_mut();
        // Where an entry runs the loop, it has queued these before.
        let by = inner.open.last().map(|span| span.number);
        inner.note(queued, by, monotonic_ns());
    }

    fn begins(&self, number: u64, entry: &R) {
        let now = monotonic_ns();
        let label = (self.describe)(entry).cut();
        let mut inner = self.inner.borrow_mut();
        let (queued_by, queued_ns) = inner.take_note(number).unwrap_or((None, now));
        // Beginning after its description was made, which took time that is not its own.
        let began_ns = monotonic_ns();
        inner.open.push(Span { number, queued_by, queued_ns, began_ns, ended_ns: began_ns, label });
    }

    fn ended(&self, number: u64, queued: Range<u64>) {
        let now = monotonic_ns();
        let mut inner = self.inner.borrow_mut();
        inner.note(queued, Some(number), now);
        let Some(mut span) = inner.open.pop() else { return };
        if inner.recording.spans.len() >= self.limit || span.began_ns >= self.until_ns {
            inner.recording.left_out += 1;
            return;
        }
        span.ended_ns = now;
        inner.recording.spans.push(span);
    }

    fn is_over(&self) -> bool {
        monotonic_ns() >= self.until_ns
    }
}

/// Who observes a loop, and how far its numbers have come.
///
/// The numbers go on from one observer to the next: the batch under way is still told to the one before.
pub(crate) struct Observed<R> {
    observer: RefCell<Option<Rc<dyn Observer<R>>>>,
    meter: RefCell<Option<Rc<Meter>>>,
    /// The observer has seen no batch begin yet.
    is_new: Cell<bool>,
    /// The number of the entry that stands first.
    front: Cell<u64>,
    /// The number after the last one of which is known who queued it.
    known: Cell<u64>,
}

impl<R> Default for Observed<R> {
    fn default() -> Self {
        Self {
            observer: RefCell::new(None),
            meter: RefCell::new(None),
            is_new: Cell::new(true),
            front: Cell::new(0),
            known: Cell::new(0),
        }
    }
}

impl<R: Runnable> Observed<R> {
    pub(crate) fn set(&self, observer: Option<Rc<dyn Observer<R>>>) {
        self.is_new.set(true);
        let old = self.observer.replace(observer);
        drop(old);
    }

    pub(crate) fn get(&self) -> Option<Rc<dyn Observer<R>>> {
        self.observer.borrow().clone()
    }

    /// The loop's meter, which is kept.
    pub(crate) fn meter(&self, bounds: &'static [u64]) -> Rc<Meter> {
        Rc::clone(self.meter.borrow_mut().get_or_insert_with(|| Rc::new(Meter::new(bounds))))
    }

    /// A batch of entries begins, and `length` stand in the queue.
    pub(crate) fn begin_batch(&self, observer: &dyn Observer<R>, length: usize) {
        let front = self.front.get();
        let end = front + length as u64;
        let known = if self.is_new.take() { front } else { self.known.get().max(front) };
        observer.collected(known..end);
        self.known.set(end);
    }

    /// The next entry was taken out of the queue: its number.
    pub(crate) fn next(&self) -> u64 {
        self.front.replace(self.front.get() + 1)
    }

    /// An entry has run, and `length` stand in the queue: the numbers of what it has queued.
    pub(crate) fn queued(&self, length: usize) -> Range<u64> {
        let end = self.front.get() + length as u64;
        let known = self.known.replace(end);
        known.min(end)..end
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::{EventLoop, Notified, Token};

    type Loop = EventLoop<Entry>;

    thread_local! {
        /// The recording that an entry has begun.
        static SECOND: Cell<Option<Rc<dyn std::any::Any>>> = const { Cell::new(None) };
    }

    /// What runs is told by its name, and queues others.
    struct Entry {
        name: &'static str,
        then: Vec<Entry>,
    }

    impl From<Notified> for Entry {
        fn from(_: Notified) -> Self {
            entry("task", [])
        }
    }

    impl Runnable for Entry {
        type Posted = Notified;
        type Context<'a> = Rc<Loop>;

        fn from_io(_: Token) -> Self {
            entry("event", [])
        }

        fn is_cancelled(&self) -> bool {
            self.name == "cancelled"
        }

        fn run(self, event_loop: &mut Rc<Loop>) -> ControlFlow<()> {
            for next in self.then {
                event_loop.call_soon(next);
            }
            match self.name {
                "stop" => event_loop.stop(),
                "again" => {
                    event_loop.observe(None);
                    let second = event_loop.record(100, u64::MAX, label).expect("nobody records");
                    SECOND.set(Some(second));
                }
                "nested" => _ = event_loop.run_observed_batch(&mut event_loop.clone()),
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }

    fn entry<const N: usize>(name: &'static str, then: [Entry; N]) -> Entry {
        Entry { name, then: then.into() }
    }

    fn label(entry: &Entry) -> Label {
        Label { name: entry.name.to_owned(), ..Label::default() }
    }

    #[test]
    fn meter_counts_as_long_as_somebody_asks_and_gives_way_to_a_recorder() {
        const NEVER: &[u64] = &[0];
        const HOUR: u64 = 3_600_000_000_000;
        let event_loop = Loop::new().expect("descriptors");
        let run = |name: &'static str| {
            event_loop.call_soon(entry(name, []));
            event_loop.call_soon(entry("stop", []));
            let _flow = event_loop.run_forever(&mut event_loop.clone()).expect("it runs");
        };
        run("before");
        assert_eq!(
            event_loop.measure(NEVER, HOUR),
            Durations { histogram: vec![0, 0], ..Durations::default() }
        );
        run("counted");
        let counted = event_loop.measure(NEVER, HOUR);
        assert_eq!((counted.runs, counted.histogram), (2, vec![0, 2]));
        assert!(counted.total_ns >= counted.longest_ns && counted.longest_ns > 0);
        let recorder = event_loop.record(100, u64::MAX, label).expect("the meter gives way");
        assert!(event_loop.record(100, u64::MAX, label).is_none());
        run("recorded");
        assert_eq!((event_loop.measure(NEVER, HOUR).runs, recorder.take().spans.len()), (2, 2));
        event_loop.observe(None);
        event_loop.measure(NEVER, HOUR);
        // It is a part of the entry that runs it.
        event_loop.call_soon(entry("nested", []));
        run("inside");
        assert_eq!(event_loop.measure(NEVER, 0).runs, 5);
        run("nobody asks");
        assert!(!event_loop.is_observed());
        assert_eq!(event_loop.measure(NEVER, 0).runs, 5);
    }

    /// Records what a loop runs from the first entry on; each with the name of who queued it.
    fn record(limit: usize, first: [Entry; 2]) -> (Vec<(String, String)>, u64) {
        let event_loop = Loop::new().expect("descriptors");
        let recorder = Recorder::new(limit, u64::MAX, label);
        for entry in first {
            event_loop.call_soon(entry);
        }
        event_loop.observe(Some(recorder.clone()));
        let _flow = event_loop.run_forever(&mut event_loop.clone()).expect("it runs");
        event_loop.observe(None);
        let Recording { spans, left_out, began_ns, ended_ns } = recorder.take();
        for span in &spans {
            assert!(began_ns <= span.queued_ns && span.queued_ns <= span.began_ns, "{span:?}");
            assert!(span.began_ns <= span.ended_ns && span.ended_ns <= ended_ns, "{span:?}");
        }
        let name = |number: Option<u64>| {
            let by = number.map(|number| spans.iter().find(|span| span.number == number));
            by.map_or("nobody".to_owned(), |by| by.map_or("?".to_owned(), |by| by.label.name.clone()))
        };
        (spans.iter().map(|span| (span.label.name.clone(), name(span.queued_by))).collect(), left_out)
    }

    fn names<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(name, by)| (name.to_owned(), by.to_owned())).into()
    }

    #[test]
    fn each_run_knows_who_queued_it() {
        let (found, left_out) = record(
            100,
            [
                entry("a", [entry("b", [entry("d", [])]), entry("cancelled", []), entry("c", [])]),
                entry("e", [entry("f", [entry("stop", [])])]),
            ],
        );
        let expected = names([
            ("a", "nobody"),
            ("e", "nobody"),
            ("b", "a"),
            ("c", "a"),
            ("f", "e"),
            ("d", "b"),
            ("stop", "f"),
        ]);
        assert_eq!((found, left_out), (expected, 0));
    }

    #[test]
    fn what_is_beyond_the_limit_is_counted() {
        let (found, left_out) = record(2, [entry("a", [entry("b", [])]), entry("c", [entry("stop", [])])]);
        assert_eq!((found, left_out), (names([("a", "nobody"), ("c", "nobody")]), 2));
    }

    #[test]
    fn a_loop_that_runs_inside_of_an_entry_goes_on_counting() {
        let (found, _) = record(100, [entry("nested", [entry("a", [entry("b", [])])]), entry("stop", [])]);
        let expected = names([("stop", "nobody"), ("a", "nested"), ("nested", "nobody"), ("b", "a")]);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_recording_that_begins_within_a_batch_of_another_has_its_own_numbers() {
        // "again" ends the first recording and begins the second one, in the midst of a batch.
        let event_loop = Loop::new().expect("descriptors");
        let first = event_loop.record(100, u64::MAX, label).expect("nobody records");
        event_loop.call_soon(entry("a", [entry("b", [entry("c", [])])]));
        event_loop.call_soon(entry("again", [entry("d", [entry("e", [entry("stop", [])])])]));
        event_loop.call_soon(entry("f", [entry("g", [])]));
        let _flow = event_loop.run_forever(&mut event_loop.clone()).expect("it runs");
        let second = SECOND.take().expect("it began");
        event_loop.observe(None);
        assert_eq!(first.take().spans.len(), 3);
        let spans = second.downcast::<Recorder<Entry>>().expect("a recorder").take().spans;
        let queued_by = |name: &str| {
            let span = spans.iter().find(|span| span.label.name == name).expect("it ran");
            let by = spans.iter().find(|by| Some(by.number) == span.queued_by);
            by.map(|by| by.label.name.clone())
        };
        assert_eq!(["b", "d", "g"].map(queued_by), [None, None, None]);
        let by = |name: &str| Some(name.to_owned());
        assert_eq!(["c", "e", "stop"].map(queued_by), [by("b"), by("d"), by("e")]);
    }

    #[test]
    fn nothing_is_seen_after_its_end() {
        let event_loop = Loop::new().expect("descriptors");
        let recorder = Recorder::new(10, 0, label);
        event_loop.observe(Some(recorder.clone()));
        assert!(event_loop.is_observed() && recorder.is_over());
        event_loop.call_soon(entry("stop", []));
        let _flow = event_loop.run_forever(&mut event_loop.clone()).expect("it runs");
        assert!(recorder.take().spans.is_empty());
        event_loop.observe(None);
        assert!(!event_loop.is_observed() && !event_loop.is_stopping());
    }
}

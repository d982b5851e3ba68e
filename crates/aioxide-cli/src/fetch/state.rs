//! What a run knows while it goes on: the downloads under way, the account so far, and whether to stop.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll, Waker};

use aioxide::Task;

use super::display::Display;
use super::input::Entry;
use super::report::{Outcome, Record, Report};
use super::schedule::Schedule;
use crate::clock::Stopwatch;

/// Why a run ends before its list does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupted,
    FailFast,
}

/// What the task that starts the downloads does next.
#[derive(Debug)]
pub(crate) enum Next {
    Start(Entry),
    ListFailed(io::Error),
    Cancel(Vec<Task<()>>),
    Done,
}

/// How far a download has come; readable after it was cancelled.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// `None`: it never started.
    started: Cell<Option<Stopwatch>>,
    pub(crate) status: Cell<Option<u16>>,
    pub(crate) bytes: Cell<u64>,
}

impl Progress {
    /// The download starts now.
    pub(crate) fn begin(&self) {
        self.started.set(Some(Stopwatch::start()));
    }

    /// Bytes of the body came.
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    /// The account of a download that has come to its end.
    pub(crate) fn record(
        &self,
        entry: Entry,
        result: Result<Option<String>, super::failure::Failed>,
    ) -> Record {
        let (outcome, path, error) = match result {
            Ok(path) => (Outcome::Ok, path, None),
            Err(failed) => (failed.outcome, None, Some(failed.error)),
        };
        Record {
            line: entry.line,
            url: entry.text,
            outcome,
            status: self.status.get(),
            bytes: self.bytes.get(),
            path,
            seconds: self.started.get().map_or(0.0, |started| started.elapsed().as_secs_f64()),
            attempts: u32::from(self.started.get().is_some()),
            error,
        }
    }
}

/// Downloads under way, by slot. There are as many slots as downloads at a time, however long the list.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// `None`: free, or its task was taken to be cancelled.
    tasks: Vec<Option<Task<()>>>,
    free: Vec<usize>,
    active: usize,
}

impl Slots {
    /// Reserves a slot; its task is put there at once after.
    pub(crate) fn reserve(&mut self) -> usize {
        self.active += 1;
        self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        })
    }

    /// Keeps the task of a reserved slot.
    pub(crate) fn put(&mut self, slot: usize, task: Task<()>) {
        self.tasks[slot] = Some(task);
    }

    /// The download has ended.
    pub(crate) fn vacate(&mut self, slot: usize) {
        self.active -= 1;
        self.tasks[slot] = None;
        self.free.push(slot);
    }

    fn take_all(&mut self) -> Vec<Task<()>> {
        self.tasks.iter_mut().filter_map(Option::take).collect()
    }
}

/// The state of a run; never borrowed across an await.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) schedule: Schedule,
    pub(crate) slots: Slots,
    pub(crate) display: Display,
    pub(crate) report: Option<Report>,
    pub(crate) stop: Option<Stop>,
    /// The list could not be read to its end.
    pub(crate) list_failed: bool,
    /// Of the task that starts the downloads.
    waker: Option<Waker>,
}

impl State {
    /// Nothing has started.
    pub(crate) fn new(schedule: Schedule, display: Display, report: Option<Report>) -> Self {
        let (slots, stop, list_failed, waker) = (Slots::default(), None, false, None);
        State { schedule, slots, display, report, stop, list_failed, waker }
    }

    /// What is to be done, with at most `jobs` downloads at a time.
    pub(crate) fn poll_next(&mut self, jobs: usize, cx: &mut Context<'_>) -> Poll<Next> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        if self.stop.is_some() {
            let tasks = self.slots.take_all();
            return match self.slots.active {
                0 => Poll::Ready(Next::Done),
                _ if tasks.is_empty() => Poll::Pending,
                _ => Poll::Ready(Next::Cancel(tasks)),
            };
        }
        if self.slots.active == jobs {
            return Poll::Pending;
        }
        match self.schedule.poll_next(cx) {
            Poll::Ready(Some(Ok(entry))) => Poll::Ready(Next::Start(entry)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Next::ListFailed(error)),
            Poll::Ready(None) if self.slots.active == 0 => Poll::Ready(Next::Done),
            _ => Poll::Pending,
        }
    }

    /// Wakes the task that starts the downloads.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Lets nothing more start; the first reason counts.
    pub(crate) fn stop(&mut self, reason: Stop) {
        self.stop.get_or_insert(reason);
        self.wake();
    }

    /// Counts, shows and reports what became of a URL.
    pub(crate) fn account(&mut self, record: &Record) {
        self.display.finished(record);
        if let Some(report) = &mut self.report {
            report.write(record);
        }
    }
}

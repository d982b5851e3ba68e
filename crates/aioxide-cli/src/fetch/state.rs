//! What a run knows while it goes on: what is still to start, what is under way, the account so far.

use std::io;
use std::task::{Context, Poll, Waker};

use aioxide::Task;

use super::display::Display;
use super::input::Entry;
use super::progress::Progress;
use super::report::{Record, Report};
use super::schedule::Schedule;
use super::slots::Slots;
use super::stop::Stop;

/// What the task that starts the downloads does next.
#[derive(Debug)]
pub(crate) enum Next {
    Start(Entry),
    ListFailed(io::Error),
    Cancel(Vec<Task<()>>),
    Done,
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
    ///
    /// The report is handed to the system whenever there is nothing to do: it tells of all that has ended, whatever becomes
    /// of this process, and downloads that end together cost one call.
    pub(crate) fn poll_next(&mut self, jobs: usize, cx: &mut Context<'_>) -> Poll<Next> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        let next = self.decide(jobs, cx);
        if let (Poll::Pending, Some(report)) = (&next, &mut self.report) {
            report.flush();
        }
        next
    }

    fn decide(&mut self, jobs: usize, cx: &mut Context<'_>) -> Poll<Next> {
        let active = self.slots.active();
        if self.stop.is_some() {
            let tasks = self.slots.take_all();
            return match active {
                0 => Poll::Ready(Next::Done),
                _ if tasks.is_empty() => Poll::Pending,
                _ => Poll::Ready(Next::Cancel(tasks)),
            };
        }
        if active == jobs {
            return Poll::Pending;
        }
        match self.schedule.poll_next(cx) {
            Poll::Ready(Some(Ok(entry))) => Poll::Ready(Next::Start(entry)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Next::ListFailed(error)),
            Poll::Ready(None) if active == 0 => Poll::Ready(Next::Done),
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
    pub(crate) fn account(&mut self, progress: &Progress, record: &Record) {
        self.display.finished(record, progress.share());
        if let Some(report) = &mut self.report {
            report.write(record);
        }
    }
}

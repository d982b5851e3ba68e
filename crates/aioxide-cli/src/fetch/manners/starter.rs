//! Which download starts next, and whether any does.

use std::io;
use std::task::{Context, Poll, Waker};

use aioxide::Task;

use super::schedule::Schedule;
use super::slots::Slots;
use super::stop::Stop;
use crate::fetch::job::Job;

/// What the task that starts the downloads does next.
#[derive(Debug)]
pub(crate) enum Next {
    Start(Box<Job>),
    ListFailed(io::Error),
    Cancel(Vec<Task<()>>),
    Done,
}

/// What is still to start, and what is under way.
#[derive(Debug)]
pub(crate) struct Starter {
    pub(crate) schedule: Schedule,
    pub(crate) slots: Slots,
    pub(crate) stop: Option<Stop>,
    /// Of the task that starts the downloads.
    waker: Option<Waker>,
}

impl Starter {
    /// Nothing has started.
    pub(crate) fn new(schedule: Schedule) -> Self {
        Starter { schedule, slots: Slots::default(), stop: None, waker: None }
    }

    /// What is to be done, with at most `jobs` downloads at a time.
    pub(crate) fn poll_next(&mut self, jobs: usize, cx: &mut Context<'_>) -> Poll<Next> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
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
            Poll::Ready(Some(Ok(job))) => Poll::Ready(Next::Start(job)),
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
}

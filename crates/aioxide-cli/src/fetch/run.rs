//! One run of the command: starts the downloads, and accounts for each.

use std::cell::RefCell;
use std::future::poll_fn;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::Poll;

use aioxide_http::Session;

use super::download::Good;
use super::input::Entry;
use super::manners::descriptors::Shortage;
use super::manners::{Next, Signals, Starter, Stop};
use super::naming::Directory;
use super::report::answer::Asked;
use super::report::{Account, Failed, Outcome, Progress, Report, display};
use crate::clock::Stopwatch;

/// One run of the command.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) session: Session,
    pub(super) directory: Option<Directory>,
    pub(super) asked: Asked,
    pub(super) no_connections: Shortage,
    pub(super) no_files: Shortage,
    pub(super) jobs: usize,
    pub(super) fail_fast: bool,
    /// Never borrowed across an await, as the account.
    pub(super) starter: RefCell<Starter>,
    pub(super) account: RefCell<Account>,
}

impl Fetch {
    /// Downloads everything, until the end of the list or a stop.
    pub(super) async fn run_all(self: &Rc<Self>) -> Signals {
        let mut signals = Signals::listen();
        let drawing = self.account.borrow().display.has_bar().then(|| {
            let fetch = Rc::clone(self);
            aioxide::spawn(async move {
                loop {
                    fetch.account.borrow_mut().display.draw();
                    aioxide::time::sleep(display::REDRAW).await;
                }
            })
        });
        loop {
            let next = poll_fn(|cx| {
                let mut starter = self.starter.borrow_mut();
                if let Poll::Ready(kind) = signals.poll(cx) {
                    starter.stop(Stop::Signal(kind));
                }
                let next = starter.poll_next(self.jobs, cx);
                if next.is_pending() {
                    self.account.borrow_mut().flush();
                }
                next
            });
            match next.await {
                Next::Start(entry) => self.start(entry),
                Next::Cancel(tasks) => tasks.iter().for_each(|task| {
                    task.cancel();
                }),
                Next::ListFailed(error) => {
                    let mut account = self.account.borrow_mut();
                    account.display.say(&format!("aioxide: the list cannot be read: {error}"));
                    account.list_failed = true;
                }
                Next::Done => break,
            }
        }
        if let Some(drawing) = drawing {
            drawing.cancel();
        }
        // What follows does not look at signals.
        signals.let_interrupt_kill();
        self.report_left_over();
        signals
    }

    /// Starts the download of one entry.
    fn start(self: &Rc<Self>, entry: Entry) {
        if let Err(reason) = &entry.url {
            let failed = Failed::invalid_url(reason);
            return self.ended(entry, &Progress::default(), Err(failed));
        }
        let slot = self.starter.borrow_mut().slots.reserve();
        let flight =
            Flight { fetch: Rc::clone(self), entry: Some(entry), progress: Progress::default(), slot };
        let task = aioxide::spawn(async move {
            flight.progress.begin();
            if let Some(entry) = &flight.entry {
                // Boxed here: the task is made small and moved small, and the 3 KB are written once, where they stay.
                let result = Box::pin(flight.fetch.download(entry, &flight.progress)).await;
                flight.end(result);
            }
        });
        self.starter.borrow_mut().slots.put(slot, task);
    }

    /// Accounts for an entry that has come to its end.
    fn ended(&self, entry: Entry, progress: &Progress, result: Result<Good, Failed>) {
        self.starter.borrow_mut().schedule.release(&entry);
        let record = progress.record(entry, result);
        self.account.borrow_mut().ended(progress, &record);
        if self.fail_fast && !record.outcome.is_good() {
            self.starter.borrow_mut().stop(Stop::FailFast);
        }
    }

    /// Accounts for the entries that a stopped run never started.
    fn report_left_over(&self) {
        let (mut starter, mut account) = (self.starter.borrow_mut(), self.account.borrow_mut());
        let Some(stop) = starter.stop else { return };
        let (since, progress) = (Stopwatch::start(), Progress::default());
        while let Some(Ok(entry)) = starter.schedule.next_left_over(since) {
            let failed = match &entry.url {
                Ok(_) => Failed { outcome: Outcome::Cancelled, error: stop.reason().to_owned() },
                Err(reason) => Failed::invalid_url(reason),
            };
            let record = progress.record(entry, Err(failed));
            account.ended(&progress, &record);
        }
        if starter.schedule.is_open() {
            account.display.say("aioxide: the list had not ended; what else comes is not accounted for");
        }
    }

    /// Ends the display and the report; gives the exit status.
    pub(super) fn finish(&self) -> ExitCode {
        let mut account = self.account.borrow_mut();
        let report = account.report.take().map_or(Ok(()), Report::finish);
        if let Err(error) = &report {
            account.display.say(&format!("aioxide: the report is not whole: {error}"));
        }
        account.display.finish();
        let all_ok = account.display.count() == account.display.good();
        match self.starter.borrow().stop {
            Some(stop) => stop.status(),
            _ if all_ok && report.is_ok() && !account.list_failed => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// A download that was given a task. It is accounted for exactly once, however the task ends: one that is cancelled
/// before its first poll is dropped without having run.
#[derive(Debug)]
struct Flight {
    fetch: Rc<Fetch>,
    /// `None` once it is accounted for.
    entry: Option<Entry>,
    progress: Progress,
    slot: usize,
}

impl Flight {
    fn end(mut self, result: Result<Good, Failed>) {
        self.account(result);
    }

    fn account(&mut self, result: Result<Good, Failed>) {
        let Some(entry) = self.entry.take() else { return };
        self.fetch.ended(entry, &self.progress, result);
        let mut starter = self.fetch.starter.borrow_mut();
        starter.slots.vacate(self.slot);
        starter.wake();
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.account(Err(Failed { outcome: Outcome::Cancelled, error: "stopped under way".to_owned() }));
    }
}

//! The account of a run so far: what is shown, what is reported.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use super::display::Display;
use super::progress::Progress;
use super::record::{Outcome, Record};
use super::writer::Report;
use crate::fetch::input::Far;
use crate::fetch::naming::Directory;
use crate::fetch::output::Volumes;
use crate::fetch::resume::Journal;

/// Counts, shows and reports.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) display: Display,
    pub(crate) report: Option<Report>,
    pub(crate) journal: Option<Journal>,
    /// Why the list could not be read to its end.
    pub(crate) list_failed: Option<String>,
    /// Files, report and state are on the disk before they count.
    sync: bool,
    /// The state could not be written.
    pub(crate) journal_failed: Option<io::Error>,
    /// How far the list has been read.
    pub(crate) far: Option<Rc<Cell<Far>>>,
    /// What is in them counts once the state says so.
    pub(crate) volumes: Option<Rc<Volumes>>,
}

impl Account {
    /// Nothing has ended.
    pub(crate) fn new(
        display: Display,
        report: Option<Report>,
        journal: Option<Journal>,
        sync: bool,
    ) -> Self {
        Account {
            display,
            report,
            journal,
            list_failed: None,
            sync,
            journal_failed: None,
            far: None,
            volumes: None,
        }
    }

    /// Accounts for files that got their names just before an earlier run of the job was killed.
    pub(crate) fn take_up(&mut self, directory: Option<&Directory>) {
        let (Some(journal), Some(directory)) = (&mut self.journal, directory) else { return };
        let pending = journal.take_keeps();
        for (number, keeps) in pending {
            let record = keeps.record;
            let there =
                record.path.as_ref().is_some_and(|path| directory.leads_to(path, keeps.inode, record.bytes));
            if there {
                self.ended(number, &Progress::default(), &record);
            }
        }
        self.flush();
    }

    /// Counts, shows and reports what became of a URL.
    ///
    /// In a job that can be started again, what was cancelled has not come to its end.
    pub(crate) fn ended(&mut self, number: u64, progress: &Progress, record: &Record) {
        self.display.finished(record, progress.share());
        if let Some(journal) = &mut self.journal {
            if record.outcome == Outcome::Cancelled {
                return;
            }
            journal.ended(number, record.outcome.is_good());
        }
        if let Some(report) = &mut self.report {
            report.write(record);
        }
    }

    /// Hands the report to the system, and then notes in the state that it did. Done whenever there is nothing else to do: then
    /// both tell of all that has ended, whatever becomes of this process, and downloads that end together cost one call.
    pub(crate) fn flush(&mut self) {
        if let Some(report) = &mut self.report {
            report.flush();
        }
        if let (Some(journal), None) = (&mut self.journal, &self.journal_failed) {
            if let (true, Some(report)) = (self.sync, &mut self.report) {
                report.sync();
            }
            // A report that is not whole is not counted on.
            let Some(told) = self.report.as_ref().map_or(Some(0), Report::told) else { return };
            let volumes = self.volumes.as_deref();
            let far = self.far.as_ref().map_or_else(|| journal.far(), |far| far.get());
            let synced = volumes.filter(|_| self.sync).map_or(Ok(()), Volumes::sync);
            self.journal_failed = synced
                .and_then(|()| journal.flush(told, volumes.map(Volumes::position), far, self.sync))
                .err();
            if let (None, Some(volumes)) = (&self.journal_failed, volumes) {
                self.journal_failed = volumes.end_full().err();
            }
        }
    }
}

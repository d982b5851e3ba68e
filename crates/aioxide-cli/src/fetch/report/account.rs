//! The account of a run so far: what is shown, what is reported.

use super::display::Display;
use super::progress::Progress;
use super::record::Record;
use super::writer::Report;

/// Counts, shows and reports.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) display: Display,
    pub(crate) report: Option<Report>,
    /// The list could not be read to its end.
    pub(crate) list_failed: bool,
}

impl Account {
    /// Nothing has ended.
    pub(crate) fn new(display: Display, report: Option<Report>) -> Self {
        Account { display, report, list_failed: false }
    }

    /// Counts, shows and reports what became of a URL.
    pub(crate) fn ended(&mut self, progress: &Progress, record: &Record) {
        self.display.finished(record, progress.share());
        if let Some(report) = &mut self.report {
            report.write(record);
        }
    }

    /// Hands the report to the system. Done whenever there is nothing else to do: then the report tells of all that has ended,
    /// whatever becomes of this process, and downloads that end together cost one call.
    pub(crate) fn flush(&mut self) {
        if let Some(report) = &mut self.report {
            report.flush();
        }
    }
}

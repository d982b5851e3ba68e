//! The report: one JSON line per URL, told to the system as they end.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, IsTerminal, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::record::Record;
use super::secret;
use crate::fetch::output::streams::{self, Identity};

/// Where the report goes; each record is one line.
#[derive(Debug)]
pub(crate) struct Report {
    to: To,
    /// Whole lines that the system does not have yet.
    lines: Vec<u8>,
    /// How many bytes the system has.
    told: u64,
    /// The first failure to write; the downloads go on, the exit status tells.
    failed: Option<io::Error>,
    /// This run has made the file, and no password stands in it yet.
    is_open_to_others: bool,
}

#[derive(Debug)]
enum To {
    Out(io::Stdout),
    File(File),
}

/// So many bytes are given to the system at once even while there is something else to do.
const LINES_BYTES: usize = 8 * 1024;

impl Report {
    /// Opens `path`, `-` being the standard output. What stands in it stays: it may turn out to be another of the run's files.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let out = io::stdout();
        if path == Path::new("-") {
            return Ok(Report::new(To::Out(out)));
        }
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        let is_made = made.is_ok();
        let file = match made {
            // A link that leads nowhere yet is there, too.
            Err(_) => OpenOptions::new().write(true).create(true).truncate(false).open(path)?,
            Ok(file) => file,
        };
        // Opened once more, a file would be written from its beginning, over what is written to the standard output.
        let is_out = Identity::of(&out)? == Identity::of(&file)?;
        let report = Report::new(if is_out { To::Out(out) } else { To::File(file) });
        Ok(Report { is_open_to_others: is_made, ..report })
    }

    fn new(to: To) -> Self {
        Report { to, lines: Vec::new(), told: 0, failed: None, is_open_to_others: false }
    }

    /// Takes away what an earlier run has left in the file, but for its first `bytes`, which this run goes on from.
    ///
    /// # Errors
    /// Another run writes into the file now, or an earlier run had another file.
    pub(crate) fn begin(&mut self, bytes: u64) -> io::Result<()> {
        let To::File(file) = &mut self.to else { return Ok(()) };
        if Identity::of(&*file)?.is_regular() {
            // Not every file system has locks.
            if flock(&*file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another run writes this report"));
            }
            let length = file.metadata()?.len();
            if length == 0 && bytes > 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is empty, and the job's report is not: name the file that the job has begun with",
                ));
            }
            let kept = bytes.min(length);
            file.set_len(kept)?;
            self.told = file.seek(io::SeekFrom::Start(kept))?;
        }
        Ok(())
    }

    /// How many bytes the system has, those of earlier runs included; `None` once one could not be written.
    pub(crate) fn told(&self) -> Option<u64> {
        self.failed.is_none().then_some(self.told)
    }

    /// Waits until the disk has what the system has.
    pub(crate) fn sync(&mut self) {
        if let To::File(file) = &self.to
            && self.failed.is_none()
            && Identity::of(file).is_ok_and(|identity| identity.is_regular())
        {
            self.failed = file.sync_data().err();
        }
    }

    /// Which file it is.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        match &self.to {
            To::Out(out) => Identity::of(out),
            To::File(file) => Identity::of(file),
        }
    }

    /// Whether a person reads it as it is written.
    pub(crate) fn is_terminal(&self) -> bool {
        match &self.to {
            To::Out(out) => out.is_terminal(),
            To::File(file) => file.is_terminal(),
        }
    }

    /// Adds one line; [`flush`](Self::flush) hands it to the system.
    pub(crate) fn write(&mut self, record: &Record) {
        if self.failed.is_some() {
            return;
        }
        if let (true, To::File(file)) = (self.is_open_to_others, &self.to)
            && [Some(&record.url), record.final_url.as_ref()]
                .into_iter()
                .flatten()
                .any(|url| secret::is_in(url))
        {
            self.is_open_to_others = false;
            self.failed = file.set_permissions(Permissions::from_mode(0o600)).err();
        }
        match serde_json::to_writer(&mut self.lines, record) {
            Ok(()) => self.lines.push(b'\n'),
            Err(error) => self.failed = Some(error.into()),
        }
        if self.lines.len() >= LINES_BYTES {
            self.flush();
        }
    }

    /// Hands the lines to the system: from then on they are told, whatever becomes of this process.
    pub(crate) fn flush(&mut self) {
        if self.failed.is_none() && !self.lines.is_empty() {
            let written = match &self.to {
                To::Out(out) => streams::write_all(out, &self.lines),
                To::File(file) => streams::write_all(file, &self.lines),
            };
            self.failed = written.err();
            self.told += self.lines.len() as u64;
            self.lines.clear();
        }
    }

    /// Writes out everything; tells whether the report is whole.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush();
        self.failed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::report::Outcome;

    #[test]
    fn report_of_an_earlier_run_stays_until_this_one_begins() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, "earlier\n").unwrap();
        let mut report = Report::open(path.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"earlier\n");
        report.begin(0).unwrap();
        report.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn report_of_another_job_is_not_gone_on_with() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let error = Report::open(path.path()).unwrap().begin(100).unwrap_err();
        assert!(error.to_string().contains("begun with"), "{error}");
        std::fs::write(&path, "a line\nsomething else\n").unwrap();
        Report::open(path.path()).unwrap().begin(7).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a line\n");
    }

    #[test]
    fn report_that_another_run_writes_is_left_alone() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut first = Report::open(path.path()).unwrap();
        first.begin(0).unwrap();
        std::fs::write(&path, "a line\n").unwrap();
        let error = Report::open(path.path()).unwrap().begin(0).unwrap_err();
        assert_eq!(error.to_string(), "another run writes this report");
        assert_eq!(std::fs::read(&path).unwrap(), b"a line\n");
    }

    #[test]
    fn report_that_cannot_be_written_says_so_at_the_end() {
        let mut report = Report::open(Path::new("/dev/full")).unwrap();
        for line in 0..1000 {
            report.write(&Record {
                line,
                url: "http://host/some/path".to_owned(),
                outcome: Outcome::Ok,
                status: Some(200),
                bytes: 1,
                path: None,
                seconds: 0.0,
                attempts: 1,
                error: None,
                ..Record::default()
            });
        }
        assert_eq!(report.finish().unwrap_err().raw_os_error(), Some(28));
    }
}

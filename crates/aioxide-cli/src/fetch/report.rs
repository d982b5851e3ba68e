//! What became of each URL: the outcomes, and the report of one JSON line per URL.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::Path;

use serde::{Serialize, Serializer};

use super::streams::{self, Identity};

/// What became of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok,
    NotModified,
    HttpError,
    ConnectError,
    TlsError,
    Timeout,
    ProtocolError,
    IoError,
    InvalidUrl,
    Cancelled,
}

impl Outcome {
    /// All of them, in the order of the summary.
    pub(crate) const ALL: [Outcome; 10] = [
        Outcome::Ok,
        Outcome::NotModified,
        Outcome::HttpError,
        Outcome::ConnectError,
        Outcome::TlsError,
        Outcome::Timeout,
        Outcome::ProtocolError,
        Outcome::IoError,
        Outcome::InvalidUrl,
        Outcome::Cancelled,
    ];

    /// Whether all went as the user asked.
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Outcome::Ok | Outcome::NotModified)
    }

    /// The word in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::NotModified => "not_modified",
            Outcome::HttpError => "http_error",
            Outcome::ConnectError => "connect_error",
            Outcome::TlsError => "tls_error",
            Outcome::Timeout => "timeout",
            Outcome::ProtocolError => "protocol_error",
            Outcome::IoError => "io_error",
            Outcome::InvalidUrl => "invalid_url",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// The mark of `--marks`.
    pub(crate) fn mark(self) -> char {
        match self {
            Outcome::Ok => '.',
            Outcome::NotModified => '=',
            Outcome::HttpError => 'H',
            Outcome::ConnectError => 'C',
            Outcome::TlsError => 'L',
            Outcome::Timeout => 'T',
            Outcome::ProtocolError => 'P',
            Outcome::IoError => 'I',
            Outcome::InvalidUrl => 'U',
            Outcome::Cancelled => 'X',
        }
    }
}

/// The account of one URL; its fields are those of the report, in their order.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) url: String,
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) path: Option<String>,
    #[serde(serialize_with = "microseconds")]
    pub(crate) seconds: f64,
    pub(crate) attempts: u32,
    pub(crate) error: Option<String>,
}

/// Rounds to what the clock is worth, so that a line does not carry 17 digits.
fn microseconds<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((seconds * 1e6).round() / 1e6)
}

/// Where the report goes; each record is one line.
#[derive(Debug)]
pub(crate) struct Report {
    to: To,
    /// Whole lines that the system does not have yet.
    lines: Vec<u8>,
    /// The first failure to write; the downloads go on, the exit status tells.
    failed: Option<io::Error>,
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
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        // Opened once more, a file would be written from its beginning, over what is written to the standard output.
        let is_out = Identity::of(&out)? == Identity::of(&file)?;
        Ok(Report::new(if is_out { To::Out(out) } else { To::File(file) }))
    }

    fn new(to: To) -> Self {
        Report { to, lines: Vec::new(), failed: None }
    }

    /// Takes away what an earlier run has left in the file.
    pub(crate) fn begin(&self) -> io::Result<()> {
        match &self.to {
            To::File(file) if Identity::of(file)?.is_regular() => file.set_len(0),
            _ => Ok(()),
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn record_has_exactly_the_fields_of_the_report_in_order() {
        let record = Record {
            line: 7,
            url: "http://a/\"x\"".to_owned(),
            outcome: Outcome::HttpError,
            status: Some(404),
            bytes: 153,
            path: None,
            seconds: 0.012_345_678_9,
            attempts: 1,
            error: Some("404 Not Found".to_owned()),
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"line":7,"url":"http://a/\"x\"","outcome":"http_error","status":404,"bytes":153,"path":null,"seconds":0.012346,"attempts":1,"error":"404 Not Found"}"#
        );
    }

    #[test]
    fn name_of_each_outcome_is_its_word_in_the_report() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_string(&outcome).unwrap(), format!("\"{}\"", outcome.name()));
        }
        let marks: BTreeSet<char> = Outcome::ALL.iter().map(|outcome| outcome.mark()).collect();
        assert_eq!(marks.len(), Outcome::ALL.len());
    }

    #[test]
    fn report_of_an_earlier_run_stays_until_this_one_begins() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, "earlier\n").unwrap();
        let report = Report::open(path.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"earlier\n");
        report.begin().unwrap();
        report.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
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
            });
        }
        assert_eq!(report.finish().unwrap_err().raw_os_error(), Some(28));
    }
}

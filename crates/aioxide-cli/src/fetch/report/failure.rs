//! Why a download failed: errors of the session and of our own files, sorted into the report's outcomes.

use std::error::Error as _;
use std::io;

use aioxide_http::TimeoutPhase;
use rustix::io::Errno;
use url::{Position, Url};

use super::record::Outcome;
use super::secret;
use crate::fetch::manners::Retry;

/// A download's failure, as the report tells it.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) outcome: Outcome,
    pub(crate) error: String,
    pub(crate) retry: Retry,
    /// No more can be written: nothing that follows would do better.
    pub(crate) disk_full: bool,
}

impl Failed {
    /// A failure that would come again.
    pub(crate) fn new(outcome: Outcome, error: impl Into<String>) -> Self {
        Failed { outcome, error: error.into(), retry: Retry::Never, disk_full: false }
    }

    /// It has to do with where the URL redirects.
    pub(crate) fn at(self, url: &Url) -> Self {
        Failed { error: format!("{} ({})", self.error, secret::hidden(url.as_str())), ..self }
    }

    /// It may go well another time.
    pub(crate) fn worth(self, retry: Retry) -> Self {
        Failed { retry, ..self }
    }

    /// Whether another attempt may go well.
    pub(crate) fn is_worthwhile(&self) -> bool {
        self.retry != Retry::Never
    }

    /// Of an entry that is no URL.
    pub(crate) fn invalid_url(reason: &str) -> Self {
        Failed::new(Outcome::InvalidUrl, reason)
    }

    /// An answer that contradicts itself or an earlier one.
    pub(crate) fn lie(error: &str) -> Self {
        Failed::new(Outcome::ProtocolError, error).worth(Retry::Worthwhile)
    }

    /// Sorts an error of the session.
    pub(crate) fn from_http(error: &aioxide_http::Error, url: &Url) -> Self {
        let outcome = if error.is_tls() || is_in_handshake(error) {
            Outcome::TlsError
        } else if error.is_connect() {
            // Before timeouts: running out of time while connecting is both.
            Outcome::ConnectError
        } else if error.is_timeout() {
            Outcome::Timeout
        } else if error.is_invalid_url() {
            Outcome::InvalidUrl
        } else {
            Outcome::ProtocolError
        };
        // A certificate and a rule that is broken stay as they are; so does the time that is up.
        let accident = match error.timeout_phase() {
            Some(phase) => phase != TimeoutPhase::Total,
            None => (error.is_connect() && !has_no_address(error)) || error.is_closed(),
        };
        let retry = if accident { Retry::Worthwhile } else { Retry::Never };
        Failed::new(outcome, told(error, url)).worth(retry)
    }
}

impl From<io::Error> for Failed {
    /// An error of our own files: those of sockets come as errors of the session.
    fn from(error: io::Error) -> Self {
        let number = Errno::from_io_error(&error);
        let disk_full = matches!(number, Some(Errno::NOSPC | Errno::DQUOT));
        Failed { disk_full, ..Failed::new(Outcome::IoError, error.to_string()) }
    }
}

/// Whether a connection was made, and ended while TLS was agreed on, as a server does that speaks none.
fn is_in_handshake(error: &aioxide_http::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<aioxide::net::tls::Error>())
}

/// Whether what a name resolves to is known, and is nothing. (The system does not tell that from a server that cannot be asked.)
fn has_no_address(error: &aioxide_http::Error) -> bool {
    let is_not_found = |cause: &io::Error| cause.kind() == io::ErrorKind::NotFound;
    error.source().and_then(|cause| cause.downcast_ref()).is_some_and(is_not_found)
}

/// The error and its causes in one line, without the URL, which the report has already, unless a redirect led elsewhere.
fn told(error: &aioxide_http::Error, url: &Url) -> String {
    let mut told = error.to_string();
    if let Some(at) = error.url() {
        let same =
            at[Position::BeforeHost..Position::AfterQuery] == url[Position::BeforeHost..Position::AfterQuery];
        let shown = if same { String::new() } else { format!(" ({})", secret::hidden(at.as_str())) };
        told = told.replace(&format!(" ({at})"), &shown);
    }
    let mut source = error.source();
    while let Some(cause) = source {
        let mut cause_told = cause.to_string();
        // A page for who writes programs.
        if let Some(page) = cause_told.find(": https://docs.rs/") {
            cause_told.truncate(page);
        }
        // Some causes repeat what stands below them.
        if !told.ends_with(&cause_told) {
            told.push_str(": ");
            told.push_str(&cause_told);
        }
        source = cause.source();
    }
    told
}

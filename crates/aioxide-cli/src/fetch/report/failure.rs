//! Why a download failed: errors of the session and of our own files, sorted into the report's outcomes.

use std::error::Error as _;
use std::io;

use url::{Position, Url};

use super::record::Outcome;
use super::secret;

/// A download's failure, as the report tells it.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) outcome: Outcome,
    pub(crate) error: String,
}

impl Failed {
    /// Of an entry that is no URL.
    pub(crate) fn invalid_url(reason: &str) -> Self {
        Failed { outcome: Outcome::InvalidUrl, error: reason.to_owned() }
    }

    /// Sorts an error of the session.
    pub(crate) fn from_http(error: &aioxide_http::Error, url: &Url) -> Self {
        let outcome = if error.is_tls() {
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
        Failed { outcome, error: told(error, url) }
    }
}

impl From<io::Error> for Failed {
    /// An error of our own files: those of sockets come as errors of the session.
    fn from(error: io::Error) -> Self {
        Failed { outcome: Outcome::IoError, error: error.to_string() }
    }
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
        let cause_told = cause.to_string();
        // Some causes repeat what stands below them.
        if !told.ends_with(&cause_told) {
            told.push_str(": ");
            told.push_str(&cause_told);
        }
        source = cause.source();
    }
    told
}

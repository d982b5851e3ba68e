//! What became of each URL: the outcomes, and the record of one.

use serde::{Deserialize, Serialize, Serializer};

/// What became of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(Default))]
pub(crate) enum Outcome {
    #[cfg_attr(test, default)]
    Ok,
    NotModified,
    Skipped,
    HttpError,
    ConnectError,
    TlsError,
    Timeout,
    ProtocolError,
    TooLarge,
    ChecksumError,
    UnexpectedContent,
    Disallowed,
    IoError,
    InvalidUrl,
    Cancelled,
}

impl Outcome {
    /// All of them, in the order of the summary.
    pub(crate) const ALL: [Outcome; 15] = [
        Outcome::Ok,
        Outcome::NotModified,
        Outcome::Skipped,
        Outcome::HttpError,
        Outcome::ConnectError,
        Outcome::TlsError,
        Outcome::Timeout,
        Outcome::ProtocolError,
        Outcome::TooLarge,
        Outcome::ChecksumError,
        Outcome::UnexpectedContent,
        Outcome::Disallowed,
        Outcome::IoError,
        Outcome::InvalidUrl,
        Outcome::Cancelled,
    ];

    /// Whether all went as the user asked.
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Outcome::Ok | Outcome::NotModified | Outcome::Skipped)
    }

    /// The word in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::NotModified => "not_modified",
            Outcome::Skipped => "skipped",
            Outcome::HttpError => "http_error",
            Outcome::ConnectError => "connect_error",
            Outcome::TlsError => "tls_error",
            Outcome::Timeout => "timeout",
            Outcome::ProtocolError => "protocol_error",
            Outcome::TooLarge => "too_large",
            Outcome::ChecksumError => "checksum_error",
            Outcome::UnexpectedContent => "unexpected_content",
            Outcome::Disallowed => "disallowed",
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
            Outcome::Skipped => '-',
            Outcome::HttpError => 'H',
            Outcome::ConnectError => 'C',
            Outcome::TlsError => 'L',
            Outcome::Timeout => 'T',
            Outcome::ProtocolError => 'P',
            Outcome::TooLarge => 'G',
            Outcome::ChecksumError => 'D',
            Outcome::UnexpectedContent => 'N',
            Outcome::Disallowed => 'R',
            Outcome::IoError => 'I',
            Outcome::InvalidUrl => 'U',
            Outcome::Cancelled => 'X',
        }
    }
}

/// The account of one URL; its fields are those of the report, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(Default))]
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
    #[serde(default)]
    pub(crate) resumed: u64,
    #[serde(default)]
    pub(crate) stalls: u32,
    #[serde(default)]
    pub(crate) final_url: Option<String>,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    #[serde(default)]
    pub(crate) encoding: Option<String>,
    /// Of what failed: with what it is to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) list: Option<Listed>,
}

/// What a list, or the command line, said about a URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Listed {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// As `ALGORITHM:HEX`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) checksums: Vec<String>,
    /// The names of headers, whose values may be secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<String>,
}

/// Rounds to what the clock is worth, so that a line does not carry 17 digits.
fn microseconds<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((seconds * 1e6).round() / 1e6)
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
            resumed: 100,
            stalls: 1,
            content_type: Some("text/html".to_owned()),
            ..Record::default()
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"line":7,"url":"http://a/\"x\"","outcome":"http_error","status":404,"bytes":153,"path":null,"seconds":0.012346,"attempts":1,"error":"404 Not Found","resumed":100,"stalls":1,"final_url":null,"content_type":"text/html","encoding":null}"#
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
}

//! What is left of an attempt that broke off, and how the next one goes on from there.
//!
//! A part is kept only when it can be told whether the file is still the same: by a strong validator, which goes out as
//! `If-Range`, or by a checksum of the whole. The server's word is not taken for it: the answer has to begin where it was
//! asked to, to carry the same validator and length, and to repeat the last bytes that are there.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::fetch::output::Sink;

/// The beginning of a body.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) sink: Sink,
    pub(crate) version: Version,
}

/// Which version of a file a body is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// `None`: it cannot be told apart from others, but for a checksum.
    pub(crate) validator: Option<Validator>,
    /// The length of the whole file, if it is known.
    pub(crate) length: Option<u64>,
    /// How it is coded (Content-Encoding): parts of two codings are no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<String>,
}

/// What tells a version of a file from all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Validator {
    Etag(String),
    Modified(String),
}

/// So many bytes at the end of a part have to come again and be the same.
pub(crate) const OVERLAP: u64 = 4096;

impl Validator {
    /// The strong validator of an answer (RFC 9110, 8.8): an entity tag that is not weak, or a date that is old enough for
    /// the file not to have changed again in the same second.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        match text(ETAG) {
            Some(tag) if tag.starts_with('"') => return Some(Validator::Etag(tag.to_owned())),
            // A server that calls its version weak means it.
            Some(_) => return None,
            None => {}
        }
        let modified = text(LAST_MODIFIED)?;
        let [changed, told] = [modified, text(DATE)?].map(|date| httpdate::parse_http_date(date).ok());
        let age = told?.duration_since(changed?).ok()?;
        (age.as_secs() >= 1).then(|| Validator::Modified(modified.to_owned()))
    }

    /// The value of `If-Range`.
    pub(crate) fn condition(&self) -> &str {
        match self {
            Validator::Etag(text) | Validator::Modified(text) => text,
        }
    }

    /// Whether an answer is of the same version, as far as it tells.
    fn agrees(&self, headers: &HeaderMap) -> bool {
        let (name, text) = match self {
            Validator::Etag(text) => (ETAG, text),
            Validator::Modified(text) => (LAST_MODIFIED, text),
        };
        headers.get(name).is_none_or(|value| value.as_bytes() == text.as_bytes())
    }
}

impl Version {
    /// How the body of an answer is coded.
    pub(crate) fn coding(headers: &HeaderMap) -> Option<String> {
        let coding = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim().to_ascii_lowercase();
        (!coding.is_empty() && coding != "identity").then_some(coding)
    }

    /// Whether an answer with the whole is of this version: it says so.
    pub(crate) fn is_same(&self, headers: &HeaderMap) -> bool {
        self.validator.is_some()
            && Validator::of(headers) == self.validator
            && Self::coding(headers) == self.encoding
    }

    /// Judges an answer to a request for the bytes from `from` up to `to`, of which others come at the same time.
    ///
    /// # Errors
    /// In what the answer is not what was asked for.
    pub(crate) fn is_range(&self, from: u64, to: u64, headers: &HeaderMap) -> Result<(), &'static str> {
        self.continues(from, headers)?;
        let range = headers.get(CONTENT_RANGE).and_then(|value| content_range(value.to_str().ok()?));
        match range {
            Some((_, last, Some(_))) if last.checked_add(1) == Some(to) => {}
            Some((.., None)) => return Err("a range of a file whose length is not told"),
            _ => return Err("another range than was asked for"),
        }
        match &self.validator {
            // It has to be told with a range, too (RFC 9110, 15.3.7).
            Some(Validator::Etag(_)) if !headers.contains_key(ETAG) => Err("a range without the file's ETag"),
            _ => Ok(()),
        }
    }

    /// Judges an answer to a request for what follows `from`: whether it goes on there, with the same file.
    ///
    /// # Errors
    /// In what the answer is not what was asked for.
    pub(crate) fn continues(&self, from: u64, headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
        let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let range = range.ok_or("a part without Content-Range")?;
        let (first, last, total) = content_range(range).ok_or("a part whose Content-Range cannot be read")?;
        if first != from {
            return Err("another part than was asked for");
        }
        let coding = Self::coding(headers);
        // A part need not repeat what was told with the whole.
        if coding.is_some() && coding != self.encoding {
            return Err("a part in another coding");
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        if length.is_some_and(|length: u64| Some(length) != (last - first).checked_add(1)) {
            return Err("a part of another length than its Content-Range tells");
        }
        if total.is_some_and(|total| last >= total) {
            return Err("a part beyond the end");
        }
        if self.length.is_some() && total.is_some() && self.length != total {
            return Err("a part of a file of another length");
        }
        if self.validator.as_ref().is_some_and(|validator| !validator.agrees(headers)) {
            return Err("a part of another version of the file");
        }
        // Whether a part is the rest of a file is known by the file's length alone.
        self.length.or(total).map(Some).ok_or("a part of a file whose length is not told")
    }
}

/// Reads `bytes 0-99/200`, or `bytes 0-99/*`.
pub(crate) fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let rest = text.trim().strip_prefix("bytes")?.trim_start();
    let (range, total) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last).then_some((first, last, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_strong_validators_count() {
        let date = ("date", "Tue, 01 Jan 2030 00:00:01 GMT");
        let modified = "Tue, 01 Jan 2030 00:00:00 GMT";
        let of = |pairs: &[_]| Validator::of(&headers(pairs));
        assert_eq!(of(&[("etag", "\"a\""), date]), Some(Validator::Etag("\"a\"".to_owned())));
        assert_eq!(of(&[("last-modified", modified), date]), Some(Validator::Modified(modified.to_owned())));
        assert_eq!(of(&[("etag", "W/\"a\""), ("last-modified", modified), date]), None);
        assert_eq!(of(&[("last-modified", modified)]), None);
        assert_eq!(of(&[("last-modified", date.1), date]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn range_is_told_from_one_of_another_file() {
        let version = Version {
            validator: Some(Validator::Etag("\"a\"".to_owned())),
            length: Some(200),
            encoding: None,
        };
        let judged = |pairs: &[_]| version.is_range(50, 100, &headers(pairs));
        assert_eq!(judged(&[("content-range", "bytes 50-99/200"), ("etag", "\"a\"")]), Ok(()));
        for pairs in [
            &[("content-range", "bytes 50-99/200")][..],
            &[("content-range", "bytes 50-99/200"), ("etag", "\"b\"")],
            &[("content-range", "bytes 50-99/*"), ("etag", "\"a\"")],
            &[("content-range", "bytes 50-99/201"), ("etag", "\"a\"")],
            &[("content-range", "bytes 50-98/200"), ("etag", "\"a\"")],
            &[("content-range", "bytes 50-199/200"), ("etag", "\"a\"")],
            &[("content-range", "bytes 0-99/200"), ("etag", "\"a\"")],
        ] {
            assert!(judged(pairs).is_err(), "{pairs:?}");
        }
        assert!(version.is_same(&headers(&[("etag", "\"a\"")])));
        assert!(!version.is_same(&headers(&[("etag", "\"b\"")])) && !version.is_same(&headers(&[])));
    }

    #[test]
    fn answer_that_goes_on_is_told_from_one_that_lies() {
        let version = Version {
            validator: Some(Validator::Etag("\"a\"".to_owned())),
            length: Some(200),
            encoding: None,
        };
        let judged = |pairs: &[_]| version.continues(100, &headers(pairs));
        assert_eq!(judged(&[("content-range", "bytes 100-199/200"), ("etag", "\"a\"")]), Ok(Some(200)));
        assert_eq!(judged(&[("content-range", "bytes 100-150/*")]), Ok(Some(200)));
        let coded = Version { encoding: Some("gzip".to_owned()), ..version.clone() };
        let range = ("content-range", "bytes 100-199/200");
        assert!(coded.continues(100, &headers(&[range])).is_ok());
        assert!(coded.continues(100, &headers(&[range, ("content-encoding", "GZIP")])).is_ok());
        assert!(coded.continues(100, &headers(&[range, ("content-encoding", "br")])).is_err());
        let unknown = Version { length: None, ..version.clone() };
        assert!(unknown.continues(100, &headers(&[("content-range", "bytes 100-150/*")])).is_err());
        for pairs in [
            &[("etag", "\"a\"")][..],
            &[("content-range", "bytes 0-199/200")],
            &[("content-range", "bytes 100-199/300")],
            &[("content-range", "bytes 100-200/200")],
            &[("content-range", "bytes 100-99/200")],
            &[("content-range", "lines 100-199/200")],
            &[("content-range", "bytes 100-199/200"), ("etag", "\"b\"")],
            &[("content-range", "bytes 100-199/200"), ("content-encoding", "gzip")],
            &[("content-range", "bytes 100-150/200"), ("content-length", "100")],
            &[("content-range", "bytes 100-18446744073709551615/*"), ("content-length", "100")],
        ] {
            assert!(judged(pairs).is_err(), "{pairs:?}");
        }
    }
}

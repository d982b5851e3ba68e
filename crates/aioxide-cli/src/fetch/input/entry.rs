//! One URL of the list, or a line that is none.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use crate::fetch::report::Listed;
use crate::fetch::resume::Digest;

/// One URL of the list, or a line that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The line it stands on, or its place on the command line; counted from 1.
    pub(crate) line: u64,
    /// What was written there.
    pub(crate) text: String,
    /// The parsed URL, or why it is none.
    pub(crate) url: Result<Url, String>,
    /// Where its line begins in the list, decompressed; `None` for one of the command line.
    pub(crate) at: Option<u64>,
    /// Its place among all entries of the run, from 0.
    pub(crate) number: u64,
    /// The same URL has come before, and is to come once.
    pub(crate) is_again: bool,
    /// What the list says about it.
    pub(crate) more: Option<Box<More>>,
}

/// What a list may say about a URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct More {
    /// The file's name.
    pub(crate) name: Option<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Checksums that the body is to have.
    pub(crate) digests: Vec<Digest>,
}

impl Entry {
    /// Reads one URL, which must be absolute and `http` or `https`.
    pub(crate) fn new(line: u64, text: String) -> Self {
        let url = match super::url::parse(&text) {
            _ if let Some(reason) = more_than_a_url(text.trim()) => Err(reason),
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
            Ok(url) => Err(format!("scheme {:?} is not http or https", url.scheme())),
            Err(url::ParseError::RelativeUrlWithoutBase) => Err("no http:// or https:// in front".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Entry { line, text, url, at: None, number: 0, is_again: false, more: None }
    }

    /// What is meant by a text that has no scheme: a host that is this machine or has a port or a dot in its name.
    pub(super) fn meant(&self) -> Option<String> {
        let host = self.text.split(['/', '?', '#']).next().unwrap_or_default();
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let is_host = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
            && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        let scheme =
            if name == "localhost" || port.is_some_and(|port| port != "443") { "http" } else { "https" };
        (is_host && (name == "localhost" || name.contains('.') || port.is_some()))
            .then(|| format!("{scheme}://{}", self.text))
    }

    /// A line that cannot be read as a URL at all; its beginning is what is shown of it.
    pub(super) fn unreadable(line: u64, bytes: &[u8], reason: &str) -> Self {
        let text = String::from_utf8_lossy(bytes).chars().take(SHOWN_CHARACTERS).collect();
        Entry { line, text, url: Err(reason.to_owned()), at: None, number: 0, is_again: false, more: None }
    }

    /// The name that the list has for its file.
    pub(crate) fn listed_name(&self) -> Option<&str> {
        self.more.as_ref().and_then(|more| more.name.as_deref())
    }

    /// What the list says about it, but for the values of headers.
    pub(crate) fn listed(&self) -> Option<Listed> {
        self.more.as_deref().map(|More { name, headers, digests }| Listed {
            name: name.clone(),
            checksums: digests.iter().map(Digest::text).collect(),
            headers: headers.iter().map(|(name, _)| name.to_string()).collect(),
        })
    }

    /// The object that a list in JSON has for it.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("line".to_owned(), self.line.into());
        object.insert("url".to_owned(), self.text.trim().into());
        if let Some(More { name, headers, digests }) = self.more.as_deref() {
            if let Some(name) = name {
                object.insert("name".to_owned(), name.as_str().into());
            }
            let mut all: Map<String, Value> = Map::new();
            for (name, value) in headers {
                let value = String::from_utf8_lossy(value.as_bytes());
                // Of one name they are one list.
                let before =
                    all.get(name.as_str()).and_then(Value::as_str).map(|before| format!("{before}, {value}"));
                all.insert(name.to_string(), before.unwrap_or_else(|| value.into_owned()).into());
            }
            if !all.is_empty() {
                object.insert("headers".to_owned(), all.into());
            }
            for digest in digests {
                // A second one of the same algorithm stands under the general name.
                let name =
                    if object.contains_key(digest.algorithm()) { "checksum" } else { digest.algorithm() };
                let hex = digest.hex();
                let text = if name == "checksum" { digest.text() } else { hex };
                object.insert(name.to_owned(), text.into());
            }
        }
        object.into()
    }

    /// The host and port a connection would go to; empty for an invalid URL.
    pub(crate) fn host(&self) -> String {
        self.place().map_or_else(String::new, |(name, port)| format!("{name}:{port}"))
    }

    /// Whether this is its [host](Self::host).
    pub(crate) fn is_of(&self, host: &str) -> bool {
        let Some((name, port)) = self.place() else { return host.is_empty() };
        let rest = host.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|rest| rest.parse() == Ok(port))
    }

    fn place(&self) -> Option<(&str, u16)> {
        let url = self.url.as_ref().ok()?;
        Some((url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default()))
    }
}

/// Why the text is not one URL although it could be read as one: the standard has control characters left out in silence,
/// and a blank made a part of the path, so that an address would be asked for which nobody wrote.
fn more_than_a_url(text: &str) -> Option<String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    if let Some(control) = text.chars().find(|character| character.is_control()) {
        return Some(match control {
            '\t' => "a tab inside: one URL per line, and nothing else".to_owned(),
            '\r' => "a carriage return inside: lines end in \\n or \\r\\n".to_owned(),
            '\0' => "a NUL inside: the list must be UTF-8, not UTF-16".to_owned(),
            other => format!("a control character inside: {}", other.escape_default()),
        });
    }
    if text.split_whitespace().skip(1).any(|part| part.starts_with('#')) {
        return Some("a comment behind the URL: it needs a line of its own".to_owned());
    }
    let another = |part: &str| {
        let scheme = part.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        matches!(scheme.as_deref(), Some("http" | "https"))
    };
    let found = text.split_whitespace().skip(1).any(another);
    found.then(|| "two URLs in one line".to_owned())
}

/// How much of a line that is no URL is repeated in the report.
const SHOWN_CHARACTERS: usize = 200;

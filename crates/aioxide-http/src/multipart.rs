//! A body of several parts (`multipart/form-data`, RFC 7578), sent as it is made.

use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;

use crate::body::Body;
use crate::error::{BoxError, Error, Result};
use crate::headers;
use crate::random;

/// A form of several parts, files among them, for [`RequestBuilder::multipart`](crate::RequestBuilder::multipart).
///
/// Nothing is copied together: each part is sent from where it is, streams as they come. The length is announced when that
/// of each part is known, and it can be sent twice (after a redirect) when each part can.
///
/// # Examples
///
/// ```
/// use aioxide_http::{Multipart, Part};
///
/// let form = Multipart::new()
///     .text("name", "value")
///     .part("file", Part::new(&b"\x89PNG"[..]).file_name("a.png").content_type("image/png"));
/// assert!(form.content_type().starts_with("multipart/form-data; boundary="));
/// ```
pub struct Multipart {
    boundary: String,
    parts: Vec<(String, Part)>,
}

/// One part of a [`Multipart`]: a body with a name of its own.
#[derive(Debug)]
pub struct Part {
    body: Body,
    file_name: Option<String>,
    headers: HeaderMap,
    problem: Option<Error>,
}

impl Multipart {
    /// A form without parts, with a boundary that nobody can guess.
    pub fn new() -> Self {
        let mut boundary = String::from("aioxide-");
        for byte in random::bytes::<16>() {
            let _infallible = write!(boundary, "{byte:02x}");
        }
        Self { boundary, parts: Vec::new() }
    }

    /// Adds a field of text.
    #[must_use]
    pub fn text(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.part(name, Part::new(value.into()))
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, name: impl Into<String>, part: Part) -> Self {
        self.parts.push((name.into(), part));
        self
    }

    /// What the request's `Content-Type` will be.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// The header and the body.
    pub(crate) fn into_parts(self) -> Result<(HeaderValue, Body)> {
        let content_type = HeaderValue::from_str(&self.content_type()).map_err(headers::invalid)?;
        let mut pieces = VecDeque::new();
        for (name, part) in self.parts {
            if let Some(problem) = part.problem {
                return Err(problem);
            }
            let mut head =
                format!("--{}\r\nContent-Disposition: form-data; name=\"{}\"", self.boundary, escaped(&name));
            if let Some(file_name) = &part.file_name {
                let _infallible = write!(head, "; filename=\"{}\"", escaped(file_name));
            }
            let mut head = head.into_bytes();
            for (name, value) in &part.headers {
                head.extend([b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()].concat());
            }
            head.extend(b"\r\n\r\n");
            pieces.push_back(Body::from(head));
            pieces.push_back(part.body);
            pieces.push_back(Body::from("\r\n"));
        }
        pieces.push_back(Body::from(format!("--{}--\r\n", self.boundary)));
        let length = pieces.iter().map(Body::content_length).sum();
        Ok((content_type, joined(length, pieces)))
    }
}

/// The bodies one after the other; to be had again when each can.
fn joined(length: Option<u64>, pieces: VecDeque<Body>) -> Body {
    let copy = |pieces: &VecDeque<Body>| pieces.iter().map(Body::try_clone).collect::<Option<VecDeque<_>>>();
    match copy(&pieces) {
        // What could be copied once can be copied again.
        Some(_) => Body::from_fn(length, move || Pieces { pieces: copy(&pieces).unwrap_or_default() }),
        None => match length {
            Some(length) => Body::sized_stream(length, Pieces { pieces }),
            None => Body::stream(Pieces { pieces }),
        },
    }
}

/// As browsers do: a quote or a line's end would end the name.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

struct Pieces {
    pieces: VecDeque<Body>,
}

impl Stream for Pieces {
    type Item = std::result::Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Some(first) = self.pieces.front_mut() {
            match std::task::ready!(Pin::new(first).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.pieces.pop_front();
                }
            }
        }
        Poll::Ready(None)
    }
}

impl Default for Multipart {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipart").field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

impl Part {
    /// A part with this content: bytes, text, or a stream ([`Body::stream`], [`Body::sized_stream`], [`Body::channel`]).
    pub fn new(content: impl Into<Body>) -> Self {
        Self { body: content.into(), file_name: None, headers: HeaderMap::new(), problem: None }
    }

    /// The name of the file that the part is.
    #[must_use]
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.file_name = Some(name.into());
        self
    }

    /// The part's own `Content-Type`.
    #[must_use]
    pub fn content_type(mut self, content_type: &str) -> Self {
        self.headers.remove(CONTENT_TYPE);
        self.header(CONTENT_TYPE, content_type)
    }

    /// Adds a header of the part's own.
    #[must_use]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        match headers::pair(name, value, false) {
            Ok((name, value)) => {
                self.headers.append(name, value);
            }
            Err(error) => self.problem = Some(error),
        }
        self
    }
}

//! The answer: its head, and its body as it comes.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{StatusCode, Version};
use hyper::ext::ReasonPhrase;
use url::Url;

use crate::error::{Error, Kind, Result};
use crate::redirect::Redirect;
use crate::trace::Timings;

pub(crate) use body::{Arrived, ResponseBody, Slot, StreamSlot};

mod body;

/// The answer to a request: status and headers are there, the body is read on demand.
///
/// Dropped before its body has been read, it gives its connection back when the rest is small and comes soon, and closes
/// it otherwise. A body that ends before its announced length is an error, never a shorter body.
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
/// let mut response = session.get("http://127.0.0.1:8000/big").send().await?.error_for_status()?;
/// let mut length = 0;
/// while let Some(chunk) = response.chunk().await? {
///     length += chunk.len();
/// }
/// # Ok(()) }
/// ```
pub struct Response {
    status: StatusCode,
    version: Version,
    reason: Option<ReasonPhrase>,
    headers: HeaderMap,
    url: Url,
    history: Vec<Redirect>,
    content_length: Option<u64>,
    /// Boxed: the response is moved more often than its body is read.
    body: Box<ResponseBody>,
}

impl Response {
    pub(crate) fn new(
        mut head: http::response::Parts,
        url: Url,
        history: Vec<Redirect>,
        body: Box<ResponseBody>,
    ) -> Self {
        let content_length = match body.exact_length() {
            // Over already: an answer without a body may announce what it would have had.
            Some(0) => match head.headers.get(CONTENT_LENGTH) {
                Some(value) => value.to_str().ok().and_then(|text| text.parse().ok()),
                None => Some(0),
            },
            known => known,
        };
        let reason = head.extensions.remove::<ReasonPhrase>();
        let (status, version, headers) = (head.status, head.version, head.headers);
        Self { status, version, reason, headers, url, history, content_length, body }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The words behind the status, as the server sent them; over HTTP/2, which has none, those of the standard.
    pub fn reason(&self) -> &[u8] {
        match &self.reason {
            Some(reason) => reason.as_bytes(),
            None => self.status.canonical_reason().unwrap_or_default().as_bytes(),
        }
    }

    /// The headers, as they came.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The headers, to be changed or taken out.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// HTTP/1.0, 1.1 or 2.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The URL that gave this answer, after all redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The redirects that led here, in order.
    pub fn history(&self) -> &[Redirect] {
        &self.history
    }

    /// The announced length, before decoding; for an answer to HEAD, of the body that GET would have had.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// How many bytes are still to be read, where that is known: a body that is decoded has no known length.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
    /// let mut response = session.get("https://example.org/picture").send().await?;
    /// while let Some(piece) = response.chunk().await? {
    ///     println!("{} bytes, {:?} to come", piece.len(), response.remaining_length());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn remaining_length(&self) -> Option<u64> {
        self.body.remaining_length()
    }

    /// How long each phase took so far.
    pub fn timings(&self) -> Timings {
        self.body.timings()
    }

    /// The headers that came behind the body (trailers), once it has come to its end.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(mut response: aioxide_http::Response) -> aioxide_http::Result<()> {
    /// while response.chunk().await?.is_some() {}
    /// let status = response.trailers().and_then(|trailers| trailers.get("grpc-status"));
    /// # Ok(()) }
    /// ```
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.body.trailers()
    }

    /// The other end of the connection: the server, or the proxy; `None` over a UNIX socket.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.body.peer()
    }

    /// Whether nothing of the body is left to come: it was received in full, was empty, or has failed.
    pub fn is_complete(&self) -> bool {
        self.body.is_complete()
    }

    /// The next piece of the body, decoded; `None` at its end.
    ///
    /// # Errors
    /// The connection ended early or was reset (`is_closed`), broke the rules (`is_protocol`), the coding is broken
    /// (`is_decode`), the body is too large (`is_too_large`), or time ran out (`is_timeout`).
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped half-way.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// [`chunk`](Self::chunk), for futures written by hand.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.body.poll_chunk(cx).map_err(|error| error.with_url(&self.url))
    }

    /// The whole body.
    ///
    /// Memory is taken as bytes come, not as they are announced; [`max_body_size`](crate::RequestBuilder::max_body_size)
    /// sets a limit.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub async fn bytes(mut self) -> Result<Bytes> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let announced = self.content_length.unwrap_or(0).min(MAX_RESERVED);
        let announced = usize::try_from(announced).unwrap_or(0);
        let mut whole = BytesMut::with_capacity(announced.max(first.len() + second.len()));
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The whole body as text: Latin-1 when `Content-Type` says so, else UTF-8, with U+FFFD for what is not.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub async fn text(self) -> Result<String> {
        let latin1 = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(charset)
            .is_some_and(|name| {
                ["iso-8859-1", "latin-1", "latin1"].iter().any(|known| name.eq_ignore_ascii_case(known))
            });
        let bytes = self.bytes().await?;
        Ok(if latin1 {
            bytes.iter().map(|&byte| char::from(byte)).collect()
        } else {
            String::from_utf8(bytes.into())
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        })
    }

    /// The whole body, read as JSON.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk); `is_decode` for what is not JSON, or not of this type.
    #[cfg(feature = "json")]
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        let url = self.url.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::Decode).with_source(error).with_url(&url))
    }

    /// This response, or an error when its status is 400 or higher.
    ///
    /// # Errors
    /// `is_status`, with the status.
    pub fn error_for_status(self) -> Result<Self> {
        if self.status.is_client_error() || self.status.is_server_error() {
            return Err(Error::new(Kind::Status(self.status)).with_url(&self.url));
        }
        Ok(self)
    }

    /// The connection, when it has become another one.
    #[cfg(feature = "websocket")]
    pub(crate) fn into_upgraded(self) -> Option<(crate::connection::Upgraded, Slot)> {
        self.body.into_upgraded()
    }

    /// The body as a stream of its pieces.
    pub fn into_stream(self) -> BodyStream {
        BodyStream { response: self, ended: false }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("url", &self.url.as_str())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// The most that is reserved on the word of a header.
const MAX_RESERVED: u64 = 1 << 20;

/// The value of `charset` in a content type.
fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

/// The pieces of a body; made by [`Response::into_stream`].
#[derive(Debug)]
pub struct BodyStream {
    response: Response,
    ended: bool,
}

impl Stream for BodyStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.response.poll_chunk(cx).map(|next| {
            let next = next.transpose();
            self.ended = !matches!(next, Some(Ok(_)));
            next
        })
    }
}

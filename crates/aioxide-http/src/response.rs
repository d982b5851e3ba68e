//! The answer: its head, and its body as it comes.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use url::Url;

use crate::connection::{Multi, Single, poll_incoming};
use crate::connector::HostInfo;
use crate::decode::Decoder;
use crate::error::{Error, Kind, Result};
use crate::pool::{Permit, StreamPermit};
use crate::redirect::Redirect;
use crate::rt;
use crate::timeout::{Limits, Watch};

pub(crate) type Slot = Permit<Box<Single>, Multi, HostInfo>;
pub(crate) type StreamSlot = StreamPermit<Box<Single>, Multi, HostInfo>;

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
    headers: HeaderMap,
    url: Url,
    history: Vec<Redirect>,
    content_length: Option<u64>,
    body: ResponseBody,
}

impl Response {
    pub(crate) fn new(
        head: http::response::Parts,
        url: Url,
        history: Vec<Redirect>,
        body: ResponseBody,
    ) -> Self {
        let content_length = match head.headers.get(CONTENT_LENGTH) {
            Some(value) => value.to_str().ok().and_then(|text| text.parse().ok()),
            None => body.exact_length(),
        };
        let (status, version, headers) = (head.status, head.version, head.headers);
        Self { status, version, headers, url, history, content_length, body }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers, as they came.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
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

/// A body being read, with what it holds of its connection.
pub(crate) struct ResponseBody {
    source: Source,
    limits: Limits,
    decoder: Option<Decoder>,
    /// How many more bytes may come.
    allowance: Option<u64>,
    /// How many pieces were decoded since other tasks last had their turn.
    decoded: u32,
    /// It is what is left of a body that was dropped; dropped again, with its loop, it closes its connection.
    is_rest: bool,
}

/// Where the bytes come from.
enum Source {
    /// The end was reached, or an error; the connection is gone or given back.
    Ended,
    Single {
        incoming: Incoming,
        connection: Box<Single>,
        slot: Slot,
    },
    Multi {
        incoming: Incoming,
        watch: Box<Watch>,
        _slot: StreamSlot,
    },
}

impl ResponseBody {
    pub(crate) fn single(incoming: Incoming, connection: Box<Single>, slot: Slot, limits: Limits) -> Self {
        let source = Source::Single { incoming, connection, slot };
        let mut body = Self { source, limits, decoder: None, allowance: None, decoded: 0, is_rest: false };
        body.end_if_over();
        body
    }

    pub(crate) fn multi(incoming: Incoming, watch: Watch, slot: StreamSlot, limits: Limits) -> Self {
        let source = Source::Multi { incoming, watch: Box::new(watch), _slot: slot };
        let mut body = Self { source, limits, decoder: None, allowance: None, decoded: 0, is_rest: false };
        body.end_if_over();
        body
    }

    pub(crate) fn configure(&mut self, decoder: Option<Decoder>, max_size: Option<u64>) {
        self.decoder = decoder;
        self.allowance = max_size;
    }

    fn incoming(&self) -> Option<&Incoming> {
        match &self.source {
            Source::Ended => None,
            Source::Single { incoming, .. } | Source::Multi { incoming, .. } => Some(incoming),
        }
    }

    fn exact_length(&self) -> Option<u64> {
        match self.incoming() {
            Some(incoming) => incoming.size_hint().exact(),
            None => Some(0),
        }
    }

    /// Gives the connection back as soon as the last byte has come, not only when the end is asked for.
    fn end_if_over(&mut self) {
        if self.incoming().is_some_and(Incoming::is_end_stream) {
            self.end();
        }
    }

    /// The body is complete: the connection goes back to the pool.
    fn end(&mut self) {
        if let Source::Single { incoming, mut connection, slot } =
            std::mem::replace(&mut self.source, Source::Ended)
        {
            drop(incoming);
            if connection.is_reusable() {
                slot.park(connection, rt::try_now());
            }
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                if self.decoded == DECODED_PER_TURN {
                    // A little input can be a lot of output: it must not keep the loop to itself.
                    self.decoded = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.decoded += 1;
                match decoder.next() {
                    Ok(Some(chunk)) => return Poll::Ready(self.account(chunk).map(Some)),
                    Ok(None) => {}
                    Err(error) => {
                        return Poll::Ready(Err(self.fail(Error::new(Kind::Decode).with_source(error))));
                    }
                }
            }
            let Poll::Ready(raw) = self.poll_raw(cx) else {
                self.decoded = 0;
                return Poll::Pending;
            };
            match raw {
                Some(Ok(bytes)) => match &mut self.decoder {
                    Some(decoder) => decoder.push(bytes),
                    None => return Poll::Ready(self.account(bytes).map(Some)),
                },
                Some(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                None => {
                    let whole = self.decoder.take().map_or(Ok(()), |mut decoder| decoder.finish());
                    return Poll::Ready(match whole {
                        Ok(()) => Ok(None),
                        Err(error) => Err(self.fail(Error::new(Kind::Decode).with_source(error))),
                    });
                }
            }
        }
    }

    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = match &mut self.source {
            Source::Ended => return Poll::Ready(None),
            Source::Single { incoming, connection, .. } => {
                std::task::ready!(connection.poll_data(cx, incoming, self.limits))
            }
            Source::Multi { incoming, watch, .. } => match poll_incoming(incoming, cx) {
                Poll::Ready(next) => {
                    watch.progress();
                    next
                }
                Poll::Pending => {
                    let phase = std::task::ready!(watch.poll_expired(cx, self.limits));
                    Some(Err(Error::timeout(phase)))
                }
            },
        };
        match &next {
            Some(Ok(_)) => self.end_if_over(),
            None => self.end(),
            Some(Err(_)) => {}
        }
        Poll::Ready(next)
    }

    fn account(&mut self, chunk: Bytes) -> Result<Bytes> {
        if let Some(allowance) = &mut self.allowance {
            match allowance.checked_sub(chunk.len() as u64) {
                Some(rest) => *allowance = rest,
                None => return Err(self.fail(Error::new(Kind::TooLarge))),
            }
        }
        Ok(chunk)
    }

    /// After an error nothing more comes, and the connection is closed.
    fn fail(&mut self, error: Error) -> Error {
        self.source = Source::Ended;
        self.decoder = None;
        error
    }

    /// Reads the rest away, when it is small and comes before time runs out, so that the connection can be used again.
    async fn drain(&mut self) {
        self.decoder = None;
        let mut left = DRAIN_LIMIT;
        if self.incoming().is_some_and(|incoming| incoming.size_hint().lower() > left) {
            self.source = Source::Ended;
        }
        while let Some(Ok(bytes)) = poll_fn(|cx| self.poll_raw(cx)).await {
            match left.checked_sub(bytes.len() as u64) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        self.source = Source::Ended;
    }
}

/// So many pieces (of 32 KiB) are decoded in a row: about a millisecond's work.
const DECODED_PER_TURN: u32 = 16;

/// How much of an unwanted body is read to save its connection.
const DRAIN_LIMIT: u64 = 256 * 1024;

/// How long an unwanted body may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A loop that is closing drops at once whatever is spawned on it, and so would come back here for ever.
        if self.is_rest || !matches!(self.source, Source::Single { .. }) {
            return;
        }
        // A new connection costs more than the rest of a small page, and programs that look only at the status are
        // common (the lesson's is one). What has come already is taken at once, the rest by a task.
        let Some(now) = rt::try_now() else { return };
        let limits = Limits { deadline: Some(now + DRAIN_TIME), read: None };
        let source = std::mem::replace(&mut self.source, Source::Ended);
        let mut rest = Self { source, limits, decoder: None, allowance: None, decoded: 0, is_rest: true };
        if rest.drain_at_once() {
            rt::spawn("http drain", async move { rest.drain().await });
        }
    }
}

impl ResponseBody {
    /// Takes what is there; says whether it is worth waiting for the rest.
    fn drain_at_once(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut left = DRAIN_LIMIT;
        loop {
            if self.incoming().is_none_or(|incoming| incoming.size_hint().lower() > left) {
                break;
            }
            match self.poll_raw(&mut cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(bytes))) => left = left.saturating_sub(bytes.len() as u64),
                Poll::Ready(_) => break,
            }
        }
        self.source = Source::Ended;
        false
    }
}

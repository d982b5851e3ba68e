//! The body of a request: nothing, bytes, or a stream of them.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};

use crate::error::BoxError;
use crate::rt::Traffic;

use hold::Hold;

pub use channel::BodySender;

mod channel;
mod hold;

type BoxStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>>>>;

/// What a request sends.
///
/// Bytes can be sent again, after a redirect or on another connection; a stream cannot, unless it can be made again
/// ([`from_fn`](Self::from_fn)).
///
/// # Examples
///
/// ```
/// use aioxide_http::Body;
///
/// assert_eq!(Body::from("text").content_length(), Some(4));
/// assert_eq!(Body::empty().content_length(), Some(0));
/// ```
pub struct Body {
    kind: Kind,
    /// It waits for the server's word.
    hold: Option<Box<Hold>>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Stream {
        stream: BoxStream,
        left: Option<u64>,
    },
    /// A stream that is made for each attempt.
    Again {
        make: Rc<dyn Fn() -> BoxStream>,
        length: Option<u64>,
    },
    /// The stream was handed to a connection, and cannot be sent again.
    Spent,
}

impl Body {
    const fn of(kind: Kind) -> Self {
        Self { kind, hold: None }
    }

    /// No body at all.
    pub const fn empty() -> Self {
        Self::of(Kind::Empty)
    }

    /// Sends the items of `stream` as they come (in HTTP/1.1 as chunks, since its length is not known).
    ///
    /// It is polled only when the connection can take more, so memory stays bounded.
    pub fn stream<S, D, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<D, E>> + 'static,
        D: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self::of(Kind::Stream { stream: Box::pin(Adapted { stream }), left: None })
    }

    /// Sends the items of `stream`, which are exactly `length` bytes: announced as `Content-Length`.
    ///
    /// A stream of more or fewer makes the request fail.
    pub fn sized_stream<S, D, E>(length: u64, stream: S) -> Self
    where
        S: Stream<Item = Result<D, E>> + 'static,
        D: Into<Bytes>,
        E: Into<BoxError>,
    {
        let stream = Box::pin(Adapted { stream });
        Self::of(Kind::Stream { stream, left: Some(length) })
    }

    /// Sends the stream that `make` returns, anew for each attempt: after a redirect or on another connection.
    ///
    /// `length`: how many bytes that is, if it is known: announced as `Content-Length`, and kept to.
    ///
    /// # Examples
    ///
    /// ```
    /// use aioxide_http::Body;
    /// use futures_util::stream;
    ///
    /// let lines = || stream::iter(["one\n", "two\n"].map(Ok::<_, std::io::Error>));
    /// assert_eq!(Body::from_fn(Some(8), lines).content_length(), Some(8));
    /// ```
    pub fn from_fn<F, S, D, E>(length: Option<u64>, make: F) -> Self
    where
        F: Fn() -> S + 'static,
        S: Stream<Item = Result<D, E>> + 'static,
        D: Into<Bytes>,
        E: Into<BoxError>,
    {
        let make = Rc::new(move || Box::pin(Adapted { stream: make() }) as BoxStream);
        Self::of(Kind::Again { make, length })
    }

    /// The same body once more, when it can be sent twice.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Empty => Kind::Empty,
            Kind::Full(bytes) => Kind::Full(bytes.clone()),
            Kind::Again { make, length } => Kind::Again { make: make.clone(), length: *length },
            Kind::Stream { .. } | Kind::Spent => return None,
        };
        Some(Self::of(kind))
    }

    /// The number of bytes, when it is known.
    pub fn content_length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Empty | Kind::Spent => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Stream { left, .. } => *left,
            Kind::Again { length, .. } => *length,
        }
    }

    /// Its bytes, when they are all there.
    #[cfg(feature = "digest")]
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Empty => Some(&[]),
            Kind::Full(bytes) => Some(bytes),
            Kind::Stream { .. } | Kind::Again { .. } | Kind::Spent => None,
        }
    }

    /// The body for one attempt; a stream can be had once.
    pub(crate) fn take_for_attempt(&mut self) -> Self {
        self.try_clone().unwrap_or_else(|| Self::of(std::mem::replace(&mut self.kind, Kind::Spent)))
    }

    /// Keeps it back until the server asks for it, on the connection with this traffic.
    pub(crate) fn hold(&mut self, traffic: Rc<Traffic>) {
        if self.content_length() != Some(0) {
            self.hold = Some(Box::new(Hold::new(traffic)));
        }
    }

    /// Takes back a body of which nothing was sent.
    pub(crate) fn restore(&mut self, unsent: Self) {
        if matches!(self.kind, Kind::Spent) {
            self.kind = unsent.kind;
        }
    }

    /// Whether another attempt would send the same bytes.
    pub(crate) fn is_replayable(&self) -> bool {
        !matches!(self.kind, Kind::Spent)
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("content_length", &self.content_length()).finish_non_exhaustive()
    }
}

macro_rules! body_from {
    ($($source:ty),*) => {$(
        impl From<$source> for Body {
            fn from(source: $source) -> Self {
                Self::of(Kind::Full(Bytes::from(source)))
            }
        }
    )*};
}

body_from!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(hold) = &mut this.hold {
            std::task::ready!(hold.poll(cx));
            this.hold = None;
        }
        if let Kind::Again { make, length } = &this.kind {
            this.kind = Kind::Stream { stream: make(), left: *length };
        }
        match &mut this.kind {
            Kind::Empty | Kind::Spent | Kind::Again { .. } => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Stream { stream, left } => match std::task::ready!(stream.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => {
                    if let Some(left) = left {
                        let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                            return Poll::Ready(Some(Err("the body is longer than announced".into())));
                        };
                        *left = rest;
                    }
                    Poll::Ready(Some(Ok(Frame::data(chunk))))
                }
                Some(Err(error)) => Poll::Ready(Some(Err(error))),
                None => match *left {
                    Some(1..) => Poll::Ready(Some(Err("the body is shorter than announced".into()))),
                    _ => {
                        this.kind = Kind::Empty;
                        Poll::Ready(None)
                    }
                },
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty | Kind::Spent => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Stream { .. } | Kind::Again { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.content_length() {
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::default(),
        }
    }
}

pin_project_lite::pin_project! {
    /// Turns a stream's items into bytes and boxed errors.
    struct Adapted<S> {
        #[pin]
        stream: S,
    }
}

impl<S, D, E> Stream for Adapted<S>
where
    S: Stream<Item = Result<D, E>>,
    D: Into<Bytes>,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project()
            .stream
            .poll_next(cx)
            .map(|item| item.map(|item| item.map(Into::into).map_err(Into::into)))
    }
}

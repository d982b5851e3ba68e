//! A body that a program writes piece by piece, while the request is under way.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;

use super::Body;
use crate::error::{BoxError, Error, Kind};

/// The writing end of a body made by [`Body::channel`].
///
/// Dropped before [`finish`](Self::finish), it makes the request fail: half a body is never sent as a whole one.
pub struct BodySender {
    shared: Rc<RefCell<Shared>>,
}

/// At most one piece waits between the two ends, so that memory stays bounded.
#[derive(Default)]
struct Shared {
    piece: Option<Bytes>,
    end: End,
    /// Who waits for a piece.
    reader: Option<Waker>,
    /// Who waits for room. One sender, one waker.
    writer: Option<Waker>,
    reader_is_gone: bool,
}

#[derive(Default)]
enum End {
    #[default]
    Open,
    Finished,
    Failed(BoxError),
}

/// Notes who waits.
fn keep(shared: &RefCell<Shared>, cx: &Context<'_>, place: impl FnOnce(&mut Shared) -> &mut Option<Waker>) {
    // Cloned and dropped while nothing is borrowed: the waker may be anybody's code.
    let waker = Some(cx.waker().clone());
    let old = std::mem::replace(place(&mut shared.borrow_mut()), waker);
    drop(old);
}

pub(super) fn channel() -> (BodySender, impl Stream<Item = Result<Bytes, BoxError>>) {
    let shared = Rc::<RefCell<Shared>>::default();
    (BodySender { shared: shared.clone() }, Receiver { shared })
}

impl BodySender {
    /// Waits until the connection wants more, and hands `piece` over.
    ///
    /// # Errors
    /// `is_request_body`: nobody wants it any more, since the request has ended.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the piece is not sent.
    pub async fn send(&mut self, piece: impl Into<Bytes>) -> Result<(), Error> {
        poll_fn(|cx| self.poll_ready(cx)).await?;
        let piece = piece.into();
        let mut shared = self.shared.borrow_mut();
        if !piece.is_empty() {
            shared.piece = Some(piece);
        }
        let reader = shared.reader.take();
        drop(shared);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Whether there is room for a piece; for futures written by hand.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let shared = self.shared.borrow();
        if shared.reader_is_gone {
            return Poll::Ready(Err(Error::new(Kind::RequestBody).with_source("the request has ended")));
        }
        if shared.piece.is_none() {
            return Poll::Ready(Ok(()));
        }
        drop(shared);
        keep(&self.shared, cx, |shared| &mut shared.writer);
        Poll::Pending
    }

    /// The body is whole.
    pub fn finish(self) {
        self.end(End::Finished);
    }

    /// Nothing more will come, and the request fails with this reason.
    pub fn fail(self, why: impl Into<BoxError>) {
        self.end(End::Failed(why.into()));
    }

    fn end(&self, end: End) {
        let mut shared = self.shared.borrow_mut();
        if matches!(shared.end, End::Open) {
            shared.end = end;
        }
        let reader = shared.reader.take();
        drop(shared);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        self.end(End::Failed("the sender of the body was dropped before its end".into()));
    }
}

impl fmt::Debug for BodySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodySender").finish_non_exhaustive()
    }
}

struct Receiver {
    shared: Rc<RefCell<Shared>>,
}

impl Stream for Receiver {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = self.shared.borrow_mut();
        if let Some(piece) = shared.piece.take() {
            let writer = shared.writer.take();
            drop(shared);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(piece)));
        }
        match std::mem::take(&mut shared.end) {
            End::Open => {
                drop(shared);
                keep(&self.shared, cx, |shared| &mut shared.reader);
                Poll::Pending
            }
            End::Finished => {
                shared.end = End::Finished;
                Poll::Ready(None)
            }
            End::Failed(why) => {
                shared.end = End::Finished;
                Poll::Ready(Some(Err(why)))
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.reader_is_gone = true;
        let writer = shared.writer.take();
        drop(shared);
        writer.into_iter().for_each(Waker::wake);
    }
}

impl Body {
    /// A body that the program writes while the request is under way, and its writing end.
    ///
    /// `length`: how many bytes there will be, if that is known: announced as `Content-Length`, and kept to. It cannot be
    /// sent twice, as after a redirect that keeps the body.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
    /// use aioxide_http::Body;
    ///
    /// let (mut sender, body) = Body::channel(None);
    /// let upload = aioxide::spawn(async move {
    ///     for number in 0..1000 {
    ///         sender.send(format!("line {number}\n")).await?;
    ///     }
    ///     sender.finish();
    ///     aioxide_http::Result::Ok(())
    /// });
    /// session.post("http://127.0.0.1:8000/lines").body(body).send().await?.error_for_status()?;
    /// # drop(upload);
    /// # Ok(()) }
    /// ```
    pub fn channel(length: Option<u64>) -> (BodySender, Self) {
        let (sender, stream) = channel();
        let body = match length {
            Some(length) => Self::sized_stream(length, stream),
            None => Self::stream(stream),
        };
        (sender, body)
    }
}

//! hyper on aioxide: its executor, its streams, and the clock.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use std::net::SocketAddr;

use aioxide::net::TcpStream;
use aioxide::net::tls::client::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::framing::{Frames, Head};
use crate::timeout::Alarm;

pub(crate) use aioxide::time::{Instant, Sleep, sleep_until};

/// The loop's time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The loop's time, where a loop runs: values may be dropped after their loop has ended.
pub(crate) fn try_now() -> Option<Instant> {
    aioxide::Handle::try_current().map(|handle| handle.time())
}

/// Starts a task that nobody waits for.
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(name: &str, future: F) {
    drop(aioxide::Task::<()>::builder().name(name).spawn(future));
}

/// Spawns what hyper wants to run beside an HTTP/2 connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spawner;

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        spawn("http2", future);
    }
}

/// The loop's timers as hyper wants them, for pings.
///
/// hyper's must be `Send`, and the loop's are not. So a task waits in their place, and rings when it is over; one that nobody
/// waits for any more ends in its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoopTimer;

impl hyper::rt::Timer for LoopTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let alarm = Arc::new(Alarm::default());
        let ringing = Arc::downgrade(&alarm);
        let until = now() + duration;
        spawn("http2 ping", async move {
            sleep_until(until).await;
            if let Some(alarm) = ringing.upgrade() {
                alarm.wake();
            }
        });
        Box::pin(Nap(alarm))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }
}

struct Nap(Arc<Alarm>);

impl Future for Nap {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.is_over(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl hyper::rt::Sleep for Nap {}

/// A stream as hyper wants it, which counts what passes.
///
/// A server may answer early, close, and so break the way on which the request's body is still going out. To hyper the first
/// error of either way is the end of both. Here a write that fails only marks the connection as cut, and what has come
/// is read to its end: that decides what the answer is.
pub(crate) struct Io {
    stream: Stream,
    /// Ends it when it rings; of an HTTP/2 connection, which nobody drives who could see to it.
    pub(crate) stop: Option<Arc<Alarm>>,
    traffic: Rc<Traffic>,
    /// Who is at the other end: the server or its proxy.
    pub(crate) peer: Option<SocketAddr>,
    /// Of an HTTP/2 connection.
    frames: Option<Box<Frames>>,
    /// Frames that are shown to h2 before the end of the connection.
    parting: Vec<u8>,
    /// Why the peer takes nothing more, or nothing more comes; shown when all that came has been read.
    failure: Option<io::Error>,
}

/// What passes: how many bytes, and heads of answers.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    /// The peer takes nothing more: there is no other exchange after those under way.
    pub(crate) is_cut: Cell<bool>,
    /// Of an HTTP/1 connection: the head of the answer that is coming.
    pub(crate) head: RefCell<Head>,
    /// Of an HTTP/1 connection: the body of the request waits for the server's word.
    pub(crate) is_held: Cell<bool>,
}

pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// UNIX sockets, and TLS within TLS.
    Other(Box<dyn Duplex>),
}

/// Both ways of a stream.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Io {
    pub(crate) fn new(stream: Stream, peer: Option<SocketAddr>) -> Self {
        Self {
            stream,
            stop: None,
            traffic: Rc::default(),
            peer,
            frames: None,
            parting: Vec::new(),
            failure: None,
        }
    }

    /// HTTP/2 begins.
    pub(crate) fn watch_frames(&mut self) {
        self.frames = Some(Box::new(Frames::new()));
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// The counts, shared.
    pub(crate) fn traffic(&self) -> Rc<Traffic> {
        self.traffic.clone()
    }

    /// Whether a way out that failed with `error` leaves a way in whose bytes have all come, or still do.
    fn cut(&mut self, error: io::Error) -> io::Result<()> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        if !matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) {
            return Err(error);
        }
        self.traffic.is_cut.set(true);
        // The end had come before the pipe could break (otherwise the system says "reset"), and is believed as it is.
        self.failure = Some(error).filter(|error| error.kind() != BrokenPipe);
        Ok(())
    }

    /// What a write into a connection that is cut comes to.
    ///
    /// HTTP/1 waits, and reading ends it: a body without end would be swallowed for ever. HTTP/2 reads on only when what it has
    /// to say has left; its bodies end at their windows.
    fn swallow<T>(&self, all: T) -> Poll<io::Result<T>> {
        if self.frames.is_some() { Poll::Ready(Ok(all)) } else { Poll::Pending }
    }

    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match std::task::ready!(written) {
            Ok(count) => {
                self.traffic.sent.set(self.traffic.sent.get() + count as u64);
                if let Some(frames) = &mut self.frames {
                    let mut left = count;
                    for slice in slices {
                        let (sent, _) = slice.split_at(left.min(slice.len()));
                        left -= sent.len();
                        frames.sent(sent);
                    }
                }
                Poll::Ready(Ok(count))
            }
            Err(error) => {
                self.cut(error)?;
                self.swallow(length(slices))
            }
        }
    }

    /// Nothing more comes: what is shown in place of that.
    fn end(&mut self, cursor: &mut hyper::rt::ReadBufCursor<'_>) -> io::Result<()> {
        if let Some(frames) = &mut self.frames {
            self.parting = frames.resets();
        }
        self.part(cursor)
    }

    fn part(&mut self, cursor: &mut hyper::rt::ReadBufCursor<'_>) -> io::Result<()> {
        if self.parting.is_empty() {
            return self.failure.take().map_or(Ok(()), Err);
        }
        let count = self.parting.len().min(cursor.remaining());
        cursor.put_slice(&self.parting[..count]);
        self.parting.drain(..count);
        Ok(())
    }
}

fn length(slices: &[io::IoSlice<'_>]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

macro_rules! on_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Stream::Other($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self.get_mut(), stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self.get_mut(), stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => stream.poll_shutdown(cx))
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stop.as_ref().is_some_and(|stop| stop.is_over(cx.waker())) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the session was closed",
            )));
        }
        let this = &mut *self;
        if !this.parting.is_empty() {
            return Poll::Ready(this.part(&mut cursor));
        }
        let Io { stream, traffic, frames, .. } = this;
        let count = read(stream, cx, &mut cursor, &mut traffic.head.borrow_mut(), frames);
        match std::task::ready!(count) {
            Ok(0) => return Poll::Ready(this.end(&mut cursor)),
            Ok(count) => traffic.received.set(traffic.received.get() + count as u64),
            Err(error) => {
                this.failure = Some(error);
                return Poll::Ready(this.end(&mut cursor));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads into hyper's buffer as into tokio's: both are the same thing under two names.
#[expect(
    unsafe_code,
    reason = "filling hyper's buffer without unsafe needs a buffer of our own and one more copy per read"
)]
fn read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    cursor: &mut hyper::rt::ReadBufCursor<'_>,
    head: &mut Head,
    frames: &mut Option<Box<Frames>>,
) -> Poll<io::Result<usize>> {
    // SAFETY: tokio's buffer never makes initialised bytes uninitialised.
    let mut buf = ReadBuf::uninit(unsafe { cursor.as_mut() });
    std::task::ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    if head.is_passing() {
        head.pass(buf.filled_mut())?;
    }
    if let Some(frames) = frames {
        frames.received(buf.filled());
    }
    let count = buf.filled().len();
    // SAFETY: tokio's buffer counts as filled only what was initialised, from the start of the same memory.
    unsafe { cursor.advance(count) };
    Poll::Ready(Ok(count))
}

impl hyper::rt::Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.traffic.is_cut.get() {
            return self.swallow(length(slices));
        }
        let stream = Pin::new(&mut self.stream);
        let written = match slices {
            [slice] => stream.poll_write(cx, slice),
            slices => stream.poll_write_vectored(cx, slices),
        };
        self.written(written, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.traffic.is_cut.get() {
            return self.swallow(());
        }
        match std::task::ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => {
                self.cut(error)?;
                self.swallow(())
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.traffic.is_cut.get() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

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

use crate::framing::Head;
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
pub(crate) struct Io {
    stream: Stream,
    traffic: Rc<Traffic>,
    /// Who is at the other end: the server or its proxy.
    pub(crate) peer: Option<SocketAddr>,
}

/// What passes: how many bytes, and heads of answers.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    /// Of an HTTP/1 connection: the head of the answer that is coming.
    pub(crate) head: RefCell<Head>,
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
        Self { stream, traffic: Rc::default(), peer }
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// The counts, shared.
    pub(crate) fn traffic(&self) -> Rc<Traffic> {
        self.traffic.clone()
    }

    fn count_sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.traffic.sent.set(self.traffic.sent.get() + count as u64);
        }
        written
    }
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
        let Self { stream, traffic, .. } = &mut *self;
        let count = std::task::ready!(read(stream, cx, &mut cursor, &mut traffic.head.borrow_mut()))?;
        self.traffic.received.set(self.traffic.received.get() + count as u64);
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
) -> Poll<io::Result<usize>> {
    // SAFETY: tokio's buffer never makes initialised bytes uninitialised.
    let mut buf = ReadBuf::uninit(unsafe { cursor.as_mut() });
    std::task::ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    if head.is_passing() {
        head.pass(buf.filled_mut())?;
    }
    let count = buf.filled().len();
    // SAFETY: tokio's buffer counts as filled only what was initialised, from the start of the same memory.
    unsafe { cursor.advance(count) };
    Poll::Ready(Ok(count))
}

impl hyper::rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count_sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count_sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

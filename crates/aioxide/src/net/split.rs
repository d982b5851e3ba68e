//! The two directions of a stream, borrowed or owned, and tokio's traits for everything that is made of a `Source`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Implements `AsyncRead` and `AsyncWrite` for a stream with a field `source`, and for references to it.
macro_rules! stream_io {
    ($stream:ty, short_read_is_empty = $short_read_is_empty:expr) => {
        $crate::net::split::stream_io!(@ $stream, $short_read_is_empty);
        $crate::net::split::stream_io!(@ &$stream, $short_read_is_empty);
    };
    (@ $stream:ty, $short_read_is_empty:expr) => {
        impl tokio::io::AsyncRead for $stream {
            #[inline]
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.source.poll_recv(cx, buf, $short_read_is_empty)
            }
        }

        impl tokio::io::AsyncWrite for $stream {
            #[inline]
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.source.poll_send(cx, bytes)
            }

            #[inline]
            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                slices: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.source.poll_send_vectored(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(self.shutdown_std(std::net::Shutdown::Write))
            }
        }
    };
}
pub(crate) use stream_io;

/// Borrows the two directions of `stream`.
pub(crate) fn split<S>(stream: &S) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
    (ReadHalf { stream }, WriteHalf { stream })
}

/// Parts the two directions of `stream`.
pub(crate) fn into_split<S>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>)
where
    for<'a> &'a S: AsyncWrite + Unpin,
{
    let stream = Rc::new(stream);
    (OwnedReadHalf { stream: Rc::clone(&stream) }, OwnedWriteHalf { stream })
}

/// The reading half of a borrowed stream.
#[derive(Debug)]
pub struct ReadHalf<'a, S> {
    stream: &'a S,
}

impl<S> AsRef<S> for ReadHalf<'_, S> {
    fn as_ref(&self) -> &S {
        self.stream
    }
}

impl<'a, S> AsyncRead for ReadHalf<'a, S>
where
    &'a S: AsyncRead + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

/// The writing half of a borrowed stream.
#[derive(Debug)]
pub struct WriteHalf<'a, S> {
    stream: &'a S,
}

impl<S> AsRef<S> for WriteHalf<'_, S> {
    fn as_ref(&self) -> &S {
        self.stream
    }
}

impl<'a, S> AsyncWrite for WriteHalf<'a, S>
where
    &'a S: AsyncWrite + Unpin,
{
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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

/// The reading half of a stream.
#[derive(Debug)]
pub struct OwnedReadHalf<S> {
    stream: Rc<S>,
}

impl<S> AsRef<S> for OwnedReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S> AsyncRead for OwnedReadHalf<S>
where
    for<'a> &'a S: AsyncRead + Unpin,
{
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_read(cx, buf)
    }
}

/// The writing half of a stream; dropping it ends the writing, so that the other side sees the end.
#[derive(Debug)]
pub struct OwnedWriteHalf<S>
where
    for<'a> &'a S: AsyncWrite + Unpin,
{
    stream: Rc<S>,
}

impl<S> AsRef<S> for OwnedWriteHalf<S>
where
    for<'a> &'a S: AsyncWrite + Unpin,
{
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S> AsyncWrite for OwnedWriteHalf<S>
where
    for<'a> &'a S: AsyncWrite + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        (&*self.stream).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_shutdown(cx)
    }
}

impl<S> Drop for OwnedWriteHalf<S>
where
    for<'a> &'a S: AsyncWrite + Unpin,
{
    fn drop(&mut self) {
        // Sockets end their writing at once; there is nobody left to tell if they cannot.
        let _ended = Pin::new(&mut &*self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

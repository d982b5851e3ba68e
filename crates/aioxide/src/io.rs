//! tokio's I/O traits and their helpers (the traits alone: no runtime of tokio's runs), and the standard streams.
//!
//! Terminals and files cannot be waited for in the way of sockets, so the standard streams are read and written by
//! threads: one for reading, one for writing, so that what is written comes out in order.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aioxide_core::pool::{Blocking, Pool};

pub use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufStream,
    BufWriter, DuplexStream, Lines, ReadBuf, copy, copy_bidirectional, copy_buf, duplex, empty, repeat, sink,
    split,
};

static READER: Pool = Pool::new("aioxide-stdin", 1);
static WRITER: Pool = Pool::new("aioxide-stdout", 1);

/// The most that is read or written at a time.
const PIECE: usize = 16 * 1024;

/// The process's standard input.
///
/// A read under way cannot be broken off: what it brings after its future was dropped is kept for the next read of the
/// same `Stdin`. Make one and keep it.
pub fn stdin() -> Stdin {
    Stdin { kept: Vec::new(), taken: 0, under_way: None }
}

/// See [`stdin`].
#[derive(Debug)]
pub struct Stdin {
    kept: Vec<u8>,
    taken: usize,
    under_way: Option<Blocking<io::Result<Vec<u8>>>>,
}

impl AsyncRead for Stdin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.taken == self.kept.len() {
            let reading = self.under_way.get_or_insert_with(|| {
                READER.run(|| {
                    let mut bytes = vec![0; PIECE];
                    let count = read_uninterrupted(&mut bytes)?;
                    bytes.truncate(count);
                    Ok(bytes)
                })
            });
            let read = ready!(Pin::new(reading).poll(cx));
            self.under_way = None;
            self.kept = finished(read)?;
            self.taken = 0;
        }
        let count = buf.remaining().min(self.kept.len() - self.taken);
        buf.put_slice(&self.kept[self.taken..self.taken + count]);
        self.taken += count;
        Poll::Ready(Ok(()))
    }
}

fn read_uninterrupted(bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match io::stdin().lock().read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn finished<T>(outcome: Result<io::Result<T>, aioxide_core::JoinError>) -> io::Result<T> {
    outcome.unwrap_or_else(|error| Err(io::Error::other(error.to_string())))
}

/// The process's standard output, unbuffered; an error is told by the next write or flush. Flush it before dropping it.
pub fn stdout() -> Stdout {
    Stdout {
        write: |bytes| io::stdout().lock().write_all(bytes),
        flush: || io::stdout().flush(),
        under_way: None,
    }
}

/// The process's standard error, unbuffered; an error is told by the next write or flush. Flush it before dropping it.
pub fn stderr() -> Stdout {
    Stdout {
        write: |bytes| io::stderr().lock().write_all(bytes),
        flush: || io::stderr().flush(),
        under_way: None,
    }
}

/// See [`stdout`] and [`stderr`].
#[derive(Debug)]
pub struct Stdout {
    write: fn(&[u8]) -> io::Result<()>,
    flush: fn() -> io::Result<()>,
    under_way: Option<Blocking<io::Result<()>>>,
}

impl Stdout {
    /// Ready when nothing is under way.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = &mut self.under_way else { return Poll::Ready(Ok(())) };
        let outcome = ready!(Pin::new(writing).poll(cx));
        self.under_way = None;
        Poll::Ready(finished(outcome))
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_finish(cx))?;
        let piece = bytes[..bytes.len().min(PIECE)].to_vec();
        let (count, write, flush) = (piece.len(), self.write, self.flush);
        self.under_way = Some(WRITER.run(move || write(&piece).and_then(|()| flush())));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

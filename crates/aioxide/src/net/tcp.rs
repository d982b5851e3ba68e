//! TCP: streams, their halves, and the listener.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use aioxide_core::sys::is_in_progress;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::accept::{self, Backoff};
use super::source::Source;
use super::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf, stream_io};

/// A connected TCP socket.
///
/// It reads and writes through tokio's traits `AsyncRead` and `AsyncWrite` (no runtime of tokio's is involved) and
/// belongs to the loop on which it was made. Nagle's algorithm is switched off, as asyncio does.
///
/// # Cancel safety
/// Dropping a read or a write that is waiting loses nothing.
///
/// # Examples
/// ```
/// use aioxide::io::{AsyncReadExt, AsyncWriteExt};
/// use aioxide::net::{TcpListener, TcpStream};
///
/// aioxide::run(async {
///     let listener = TcpListener::bind(([127, 0, 0, 1], 0))?;
///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
///     let (mut server, _peer) = listener.accept().await?;
///     client.write_all(b"ping").await?;
///     let mut buffer = [0; 4];
///     server.read_exact(&mut buffer).await?;
///     assert_eq!(&buffer, b"ping");
///     Ok::<(), std::io::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TcpStream {
    source: Source<std::net::TcpStream>,
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(formatter)
    }
}

impl TcpStream {
    /// Connects to one address. For a name and its many addresses see [`connect`](super::connect).
    ///
    /// # Errors
    /// ECONNREFUSED, ENETUNREACH, ETIMEDOUT, EMFILE and the like; no loop runs on this thread.
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection up.
    pub async fn connect(addr: impl Into<SocketAddr>) -> io::Result<Self> {
        Self::connect_from(addr.into(), None).await
    }

    /// Connects to one address, from a local one where it is given.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); EADDRINUSE, EADDRNOTAVAIL for the local address.
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection up.
    pub async fn connect_from(addr: SocketAddr, local_addr: Option<SocketAddr>) -> io::Result<Self> {
        let socket = new_socket(addr)?;
        if let Some(local_addr) = local_addr {
            socket.bind(&local_addr.into())?;
        }
        let pending = match socket.connect(&addr.into()) {
            Ok(()) => false,
            Err(error) if is_in_progress(&error) => true,
            Err(error) => return Err(error),
        };
        let source = Source::new(std::net::TcpStream::from(socket))?;
        if pending {
            poll_fn(|cx| source.poll_write_ready(cx)).await;
            if let Some(error) = source.get().take_error()? {
                return Err(error);
            }
        }
        // What cannot be set (some containers refuse options) is not worth a connection.
        let _best_effort = source.get().set_nodelay(true);
        Ok(Self { source })
    }

    /// Takes over a connected stream of the standard library, and puts it into non-blocking mode.
    ///
    /// # Errors
    /// Those of the mode; no loop runs on this thread.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { source: Source::connected(stream)? })
    }

    /// Gives the stream back to the standard library; it stays in non-blocking mode.
    pub fn into_std(self) -> std::net::TcpStream {
        self.source.into_inner()
    }

    /// Our own address.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The other side's address.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Waits until something (or the end) can be read.
    ///
    /// # Errors
    /// None at present.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.source.poll_read_ready(cx)).await;
        Ok(())
    }

    /// Waits until something can be written.
    ///
    /// # Errors
    /// None at present.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.source.poll_write_ready(cx)).await;
        Ok(())
    }

    /// Reads without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing to read; those of the connection.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.try_read_with(|| io::Read::read(&mut self.source.get(), buf))
    }

    /// Writes without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the system's buffer is full; those of the connection.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.try_write_with(|| io::Write::write(&mut self.source.get(), buf))
    }

    /// Waits for data and copies it without taking it; 0 is the end.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.source.poll_read_with(cx, || self.source.get().peek(buf))).await
    }

    /// Whether small writes go out at once (they do by default).
    ///
    /// # Errors
    /// Those of the system.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.source.get().nodelay()
    }

    /// Lets small writes go out at once, or not.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.source.get().set_nodelay(nodelay)
    }

    /// Probes an idle connection after `idle`, then every `interval`; `None` switches the probes off.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_keepalive(&self, probes: Option<(Duration, Duration)>) -> io::Result<()> {
        match probes {
            None => self.source.sock_ref().set_keepalive(false),
            Some((idle, interval)) => {
                let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
                self.source.sock_ref().set_tcp_keepalive(&keepalive)
            }
        }
    }

    /// Whether idle connections are probed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn keepalive(&self) -> io::Result<bool> {
        self.source.sock_ref().keepalive()
    }

    /// What closing does with unsent data: `Some(0)` drops it and resets the connection.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.source.sock_ref().set_linger(linger)
    }

    /// See [`set_linger`](Self::set_linger).
    ///
    /// # Errors
    /// Those of the system.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.source.sock_ref().linger()
    }

    /// The error that the connection has met since it was last asked, if any.
    ///
    /// # Errors
    /// Those of the question itself.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }

    /// Ends reading, writing or both. A connection that is gone already is no error.
    ///
    /// # Errors
    /// Those of the system.
    pub fn shutdown_std(&self, how: Shutdown) -> io::Result<()> {
        match self.source.get().shutdown(how) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            other => other,
        }
    }

    /// Borrows the two directions. (`&TcpStream` reads and writes as well.)
    pub fn split(&mut self) -> (ReadHalf<'_, Self>, WriteHalf<'_, Self>) {
        super::split::split(self)
    }

    /// Parts the two directions, for two tasks. Dropping the writing half ends the writing.
    pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
        super::split::into_split(self)
    }
}

fn new_socket(addr: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.source.as_raw_fd()
    }
}

stream_io!(TcpStream, short_read_is_empty = true);

/// A listening TCP socket.
pub struct TcpListener {
    source: Source<std::net::TcpListener>,
    backoff: Backoff,
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(formatter)
    }
}

impl TcpListener {
    /// Listens at `addr` (port 0: one that is free), also when connections of an earlier listener linger there.
    ///
    /// # Errors
    /// EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE; no loop runs on this thread.
    pub fn bind(addr: impl Into<SocketAddr>) -> io::Result<Self> {
        let addr = addr.into();
        let socket = new_socket(addr)?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(accept::BACKLOG)?;
        Self::watch(socket.into())
    }

    /// Takes over a listener of the standard library, and puts it into non-blocking mode.
    ///
    /// # Errors
    /// Those of the mode; no loop runs on this thread.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Self::watch(listener)
    }

    fn watch(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { source: Source::new(listener)?, backoff: Backoff::default() })
    }

    /// Gives the listener back to the standard library; it stays in non-blocking mode.
    pub fn into_std(self) -> std::net::TcpListener {
        self.source.into_inner()
    }

    /// The address listened at.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Waits for the next connection.
    ///
    /// When descriptors or memory have run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) it reports that and tries again after a
    /// second, as asyncio does; connections that were aborted before they were accepted are passed over.
    ///
    /// # Errors
    /// What is wrong with the listener itself.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, addr) = accept::accept(&self.source, &self.backoff).await?;
        let addr = addr.as_socket().ok_or_else(|| io::Error::other("the peer's address is none of TCP's"))?;
        let stream = TcpStream { source: Source::connected(std::net::TcpStream::from(socket))? };
        let _best_effort = stream.set_nodelay(true);
        Ok((stream, addr))
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.source.as_raw_fd()
    }
}

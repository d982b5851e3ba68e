//! TCP: streams, their halves, and the listener.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aioxide_core::sys::is_in_progress;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::accept::{self, Backoff};
use super::face::{socket, stream};
use super::source::{Source, Way};

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
            source.wait(Way::Write, |cx| source.poll_write_ready(cx)).await?;
            if let Some(error) = source.get().take_error()? {
                return Err(error);
            }
        }
        // What cannot be set (some containers refuse options) is not worth a connection.
        let _best_effort = source.get().set_nodelay(true);
        Ok(Self { source })
    }

    /// Waits for data and copies it without taking it; 0 is the end.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.wait(Way::Read, |cx| self.source.poll_read_with(cx, || self.source.get().peek(buf))).await
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
}

fn new_socket(addr: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

stream!(TcpStream, std::net::TcpStream, SocketAddr, short_read_is_empty = true);

/// A listening TCP socket.
pub struct TcpListener {
    source: Source<std::net::TcpListener>,
    backoff: Backoff,
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

    fn watch(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { source: Source::new(listener)?, backoff: Backoff::default() })
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
        let stream = TcpStream::watch(socket.into())?;
        let _best_effort = stream.set_nodelay(true);
        Ok((stream, addr))
    }
}

socket!(TcpListener, listener: std::net::TcpListener, "a listener");

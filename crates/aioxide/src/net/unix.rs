//! UNIX sockets: streams, their listener, and datagrams.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

use aioxide_core::sys::is_in_progress;
use socket2::{Domain, SockAddr, Socket, Type};

use super::accept::{self, Backoff};
use super::face::{socket, stream};
use super::pause::Pause;
use super::source::{Source, Way};

/// A connected UNIX stream socket; see [`TcpStream`](super::TcpStream).
pub struct UnixStream {
    source: Source<net::UnixStream>,
}

impl UnixStream {
    /// Connects to the listener at `path`.
    ///
    /// While the listener's queue is full it asks again every now and then: Linux tells nobody when there is room.
    ///
    /// # Errors
    /// ENOENT, ECONNREFUSED, EACCES; no loop runs on this thread.
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection up.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::connect_to(&path_addr(path.as_ref())?).await
    }

    /// Connects to an address, which may be an abstract one.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection up.
    pub async fn connect_addr(addr: &SocketAddr) -> io::Result<Self> {
        Self::connect_to(&sock_addr(addr)?).await
    }

    async fn connect_to(addr: &SockAddr) -> io::Result<Self> {
        const LONGEST: Duration = Duration::from_millis(50);
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        let mut rest = Duration::from_millis(1);
        loop {
            match socket.connect(addr) {
                Ok(()) => return Self::watch(socket.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Pause::new(rest)?.await;
                    rest = (rest * 2).min(LONGEST);
                }
                Err(error) if is_in_progress(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let source = Source::new(net::UnixStream::from(socket))?;
        source.wait(Way::Write, |cx| source.poll_write_ready(cx)).await?;
        match source.get().take_error()? {
            Some(error) => Err(error),
            None => Ok(Self { source }),
        }
    }

    /// Two streams connected to each other.
    ///
    /// # Errors
    /// EMFILE, ENFILE; no loop runs on this thread.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }
}

stream!(UnixStream, net::UnixStream, SocketAddr, short_read_is_empty = false);

/// A listening UNIX socket. The file at its path stays when it is dropped, as with the standard library.
pub struct UnixListener {
    source: Source<net::UnixListener>,
    backoff: Backoff,
}

impl UnixListener {
    /// Listens at `path`, where nothing may be yet.
    ///
    /// # Errors
    /// EADDRINUSE, EACCES, ENOENT for the directory; a path too long; no loop runs on this thread.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::bind_to(&path_addr(path.as_ref())?)
    }

    /// Listens at an address, which may be an abstract one.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<Self> {
        Self::bind_to(&sock_addr(addr)?)
    }

    fn bind_to(addr: &SockAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(addr)?;
        socket.listen(accept::BACKLOG)?;
        Self::watch(socket.into())
    }

    fn watch(listener: net::UnixListener) -> io::Result<Self> {
        Ok(Self { source: Source::new(listener)?, backoff: Backoff::default() })
    }

    /// The address listened at.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Waits for the next connection; see [`TcpListener::accept`](super::TcpListener::accept).
    ///
    /// # Errors
    /// What is wrong with the listener itself.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (socket, addr) = accept::accept(&self.source, &self.backoff).await?;
        // Clients seldom have a name; the empty path is how the standard library writes that.
        let addr = addr.as_unix().map_or_else(|| SocketAddr::from_pathname(""), Ok)?;
        Ok((UnixStream::watch(socket.into())?, addr))
    }
}

socket!(UnixListener, listener: net::UnixListener, "a listener");

/// The address of a path; one with a zero byte in it would be cut there, or be no path at all.
fn path_addr(path: &Path) -> io::Result<SockAddr> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a path of a socket has no zero bytes in it",
        ));
    }
    SockAddr::unix(path)
}

fn sock_addr(addr: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = addr.as_pathname() {
        return SockAddr::unix(path);
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::linux::net::SocketAddrExt::as_abstract_name(addr) {
        // A leading zero byte is how the system writes an abstract name.
        return SockAddr::unix(std::ffi::OsStr::from_bytes(&[b"\0", name].concat()));
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "an unnamed address can be neither listened at nor connected to",
    ))
}

/// A UNIX datagram socket.
///
/// Linux tells nobody when another socket's queue has room again, so an unconnected sender asks the kernel for it: its
/// own readiness for writing covers only its own buffer. A full receiver is therefore asked again after a short rest.
pub struct UnixDatagram {
    source: Source<net::UnixDatagram>,
}

impl UnixDatagram {
    /// Receives at `path`, where nothing may be yet.
    ///
    /// # Errors
    /// EADDRINUSE, EACCES; no loop runs on this thread.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::bind(path)?)
    }

    /// A socket without an address: it can send, and receive once it is connected.
    ///
    /// # Errors
    /// EMFILE, ENFILE; no loop runs on this thread.
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::unbound()?)
    }

    /// Two sockets connected to each other.
    ///
    /// # Errors
    /// EMFILE, ENFILE; no loop runs on this thread.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }

    fn watch(socket: net::UnixDatagram) -> io::Result<Self> {
        Ok(Self { source: Source::connected(socket)? })
    }

    /// Sends to, and receives from, `path` only.
    ///
    /// # Errors
    /// ENOENT, ECONNREFUSED, EACCES.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.source.get().connect(path)
    }

    /// Our own address.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Sends one datagram to the connected peer.
    ///
    /// # Errors
    /// ENOTCONN, ECONNREFUSED, EMSGSIZE.
    ///
    /// # Cancel safety
    /// A datagram is sent whole or not at all.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send_with(|| self.source.get().send(bytes)).await
    }

    /// Sends one datagram to `path`.
    ///
    /// # Errors
    /// ENOENT, ECONNREFUSED, EMSGSIZE.
    ///
    /// # Cancel safety
    /// A datagram is sent whole or not at all.
    pub async fn send_to(&self, bytes: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let path = path.as_ref();
        self.send_with(|| self.source.get().send_to(bytes, path)).await
    }

    async fn send_with(&self, mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        const LONGEST: Duration = Duration::from_millis(50);
        let mut rest = Duration::from_millis(1);
        loop {
            match send() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Pause::new(rest)?.await;
                    rest = (rest * 2).min(LONGEST);
                }
                other => return other,
            }
        }
    }

    /// Receives one datagram; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Cancel safety
    /// Dropping the future loses no datagram.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.wait(Way::Read, |cx| self.source.poll_read_with(cx, || self.source.get().recv(buf))).await
    }

    /// Receives one datagram and its sender's address; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Cancel safety
    /// Dropping the future loses no datagram.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source
            .wait(Way::Read, |cx| self.source.poll_read_with(cx, || self.source.get().recv_from(buf)))
            .await
    }
}

socket!(UnixDatagram, socket: net::UnixDatagram, "a socket");

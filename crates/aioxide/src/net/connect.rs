//! Connecting to a name: all its addresses, several at a time (happy eyeballs, RFC 8305).

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::dns;
use super::pause::Pause;
use super::tcp::TcpStream;

/// How long one address is tried alone before the next one is tried beside it (RFC 8305, section 5).
pub const STAGGER: Duration = Duration::from_millis(250);

/// Connects to `host`, whichever of its addresses answers first.
///
/// The addresses are tried in the system's order, IPv6 and IPv4 taking turns; the next one 250 ms after the one before,
/// or as soon as that has failed. `host`: a name or a numeric address. asyncio: `open_connection` with
/// `happy_eyeballs_delay=0.25`, which asyncio leaves out by default.
///
/// # Errors
/// [`ConnectError`]: the name has no address, or no address answered; it holds every attempt's error.
///
/// # Cancel safety
/// Dropping the future gives up all attempts.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), aioxide::net::ConnectError> {
/// let stream = aioxide::net::connect("localhost", 8080).await?;
/// # Ok(()) }
/// ```
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let target = Target::new(host, port);
    match dns::lookup(host, port).await {
        Ok(addrs) => race(&addrs, &ConnectOptions::default())
            .await
            .map_err(|attempts| ConnectError::attempts(target, attempts)),
        Err(error) => Err(ConnectError::lookup(target, error)),
    }
}

/// Connects to whichever of `addrs` answers first; see [`connect`]. `host` is for the text of an error.
///
/// # Errors
/// [`ConnectError`], with every attempt's error.
///
/// # Cancel safety
/// Dropping the future gives up all attempts.
pub async fn connect_any(host: &str, addrs: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    connect_any_with(host, addrs, &ConnectOptions::default()).await
}

/// As [`connect_any`], with settings of your own.
///
/// # Errors
/// [`ConnectError`], with every attempt's error; no address is of the local address's family.
///
/// # Cancel safety
/// Dropping the future gives up all attempts.
///
/// # Examples
/// ```
/// use aioxide::net::{ConnectOptions, TcpListener, connect_any_with};
/// aioxide::run(async {
///     let listener = TcpListener::bind(([127, 0, 0, 1], 0))?;
///     let options = ConnectOptions { local_address: Some([127, 0, 0, 1].into()), ..Default::default() };
///     let stream = connect_any_with("localhost", &[listener.local_addr()?], &options).await?;
///     assert!(stream.local_addr()?.ip().is_loopback());
///     Ok::<(), std::io::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn connect_any_with(
    host: &str,
    addrs: &[SocketAddr],
    options: &ConnectOptions,
) -> Result<TcpStream, ConnectError> {
    let port = addrs.first().map_or(0, SocketAddr::port);
    race(addrs, options).await.map_err(|attempts| ConnectError::attempts(Target::new(host, port), attempts))
}

/// How addresses are tried.
#[derive(Debug, Clone, Copy)]
pub struct ConnectOptions {
    /// How long one address is tried alone before the next one is tried beside it; [`STAGGER`] unless set.
    pub stagger: Duration,
    /// Where connections come from; the system's choice unless set. Addresses of another family are not tried.
    pub local_address: Option<IpAddr>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { stagger: STAGGER, local_address: None }
    }
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

struct Race {
    waiting: VecDeque<SocketAddr>,
    running: Vec<(SocketAddr, Attempt)>,
    failed: Vec<(SocketAddr, io::Error)>,
    options: ConnectOptions,
    /// Runs while an attempt has its head start.
    head_start: Option<Pause>,
}

async fn race(
    addrs: &[SocketAddr],
    options: &ConnectOptions,
) -> Result<TcpStream, Vec<(SocketAddr, io::Error)>> {
    let mut waiting = interleave(addrs);
    if let Some(local) = options.local_address {
        waiting.retain(|addr| addr.is_ipv4() == local.is_ipv4());
    }
    let mut race = Race {
        waiting,
        running: Vec::new(),
        failed: Vec::with_capacity(addrs.len()),
        options: *options,
        head_start: None,
    };
    match poll_fn(|cx| race.poll(cx)).await {
        Some(stream) => Ok(stream),
        None => Err(race.failed),
    }
}

impl Race {
    /// Ready with the winner, or with `None` when all have failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<TcpStream>> {
        loop {
            let mut any_failed = false;
            let mut index = 0;
            while index < self.running.len() {
                match self.running[index].1.as_mut().poll(cx) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Some(stream)),
                    Poll::Ready(Err(error)) => {
                        let (addr, _) = self.running.remove(index);
                        self.failed.push((addr, error));
                        any_failed = true;
                    }
                }
            }
            if !any_failed
                && !self.running.is_empty()
                && let Some(head_start) = &mut self.head_start
                && Pin::new(head_start).poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            self.head_start = None;
            let Some(addr) = self.waiting.pop_front() else {
                return if self.running.is_empty() { Poll::Ready(None) } else { Poll::Pending };
            };
            let local = self.options.local_address.map(|local| SocketAddr::new(local, 0));
            self.running.push((addr, Box::pin(TcpStream::connect_from(addr, local))));
            if !self.waiting.is_empty() {
                // Without a loop the attempt itself says so.
                self.head_start = Pause::new(self.options.stagger).ok();
            }
        }
    }
}

/// The two families in turn, beginning with the first address's, each in the order given, each address once.
fn interleave(addrs: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let Some(first) = addrs.first() else { return VecDeque::new() };
    let mut favoured: VecDeque<_> = VecDeque::new();
    let mut other: VecDeque<_> = VecDeque::new();
    for addr in addrs {
        let queue = if addr.is_ipv6() == first.is_ipv6() { &mut favoured } else { &mut other };
        if !queue.contains(addr) {
            queue.push_back(*addr);
        }
    }
    let mut order = VecDeque::with_capacity(addrs.len());
    while !favoured.is_empty() || !other.is_empty() {
        order.extend(favoured.pop_front());
        order.extend(other.pop_front());
    }
    order
}

struct Target {
    host: String,
    port: u16,
}

impl Target {
    fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') && !self.host.starts_with('[') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Why no connection was made.
pub struct ConnectError {
    inner: Box<Inner>,
}

struct Inner {
    target: Target,
    lookup: Option<io::Error>,
    attempts: Vec<(SocketAddr, io::Error)>,
}

impl ConnectError {
    fn lookup(target: Target, error: io::Error) -> Self {
        Self { inner: Box::new(Inner { target, lookup: Some(error), attempts: Vec::new() }) }
    }

    fn attempts(target: Target, attempts: Vec<(SocketAddr, io::Error)>) -> Self {
        Self { inner: Box::new(Inner { target, lookup: None, attempts }) }
    }

    /// The host as it was given.
    pub fn host(&self) -> &str {
        &self.inner.target.host
    }

    /// The port as it was given.
    pub fn port(&self) -> u16 {
        self.inner.target.port
    }

    /// Whether the name could not be resolved.
    pub fn is_lookup(&self) -> bool {
        self.inner.lookup.is_some()
    }

    /// Whether some address refused the connection (and none took it).
    pub fn is_refused(&self) -> bool {
        self.inner.attempts.iter().any(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// The addresses that were tried, in the order in which they failed, with their errors.
    pub fn attempted(&self) -> &[(SocketAddr, io::Error)] {
        &self.inner.attempts
    }

    /// The error that tells most: the look-up's, or that of the address tried first.
    fn main_error(&self) -> Option<&io::Error> {
        self.inner.lookup.as_ref().or_else(|| self.inner.attempts.first().map(|(_, error)| error))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot connect to {}", self.inner.target)?;
        if self.inner.lookup.is_none() {
            match &*self.inner.attempts {
                [] => formatter.write_str(": no address to try")?,
                [_] => {}
                attempts => {
                    for (index, (addr, error)) in attempts.iter().enumerate() {
                        write!(formatter, "{} {addr}: {error}", if index == 0 { ":" } else { ";" })?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectError")
            .field("target", &format_args!("{}", self.inner.target))
            .field("lookup", &self.inner.lookup)
            .field("attempts", &self.inner.attempts)
            .finish()
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.main_error().map(|error| error as &(dyn Error + 'static))
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = error.main_error().map_or(io::ErrorKind::AddrNotAvailable, io::Error::kind);
        io::Error::new(kind, error)
    }
}

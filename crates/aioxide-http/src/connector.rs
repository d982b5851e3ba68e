//! Makes connections: name, socket, proxy, TLS, and the protocol that was agreed on.

use std::cell::OnceCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use aioxide::net::tls;
use aioxide::net::tls::rustls::pki_types::CertificateDer;
use aioxide::net::{self, ConnectOptions, TcpStream, UnixStream};
use http::header::{HeaderValue, USER_AGENT};
use hyper::client::conn::{http1, http2};

use crate::connection::{Aborts, Multi, Single};
use crate::error::{BoxError, Error, Kind, TimeoutPhase};
use crate::proxy::{Protocol, Proxy, socks, tunnel};
use crate::rt::{self, Instant, Io, LoopTimer, Spawner, Stream};
use crate::timeout::{Timeouts, earlier, within};
use crate::tls::{H2, Offer, Tls};
use crate::trace::{self, Event, Progress};

pub(crate) use host::HostInfo;
pub use names::Resolver;
pub(crate) use names::{Filtered, Names};

mod host;
mod names;

/// About the most that a connection keeps of what has come and was not read yet; a piece of a body may be twice that.
const BUFFER: usize = 64 * 1024;

/// A connection just made.
pub(crate) enum Connected {
    Single(Box<Single>),
    /// With the future that drives it.
    Multi(Multi, Pin<Box<dyn Future<Output = ()>>>),
}

/// How a session's connections are made.
pub(crate) struct Connector {
    /// Made at the first use: reading the platform's roots takes milliseconds.
    tls: OnceCell<Tls>,
    roots: Vec<CertificateDer<'static>>,
    pub(crate) http2: bool,
    http1: http1::Builder,
    h2: http2::Builder<Spawner>,
    pub(crate) ways: Ways,
    pub(crate) aborts: Rc<Aborts>,
}

/// Called with each socket.
pub(crate) type SocketSetup = Box<dyn Fn(BorrowedFd<'_>) -> io::Result<()>>;

/// How sockets are reached.
pub(crate) struct Ways {
    pub(crate) names: Names,
    pub(crate) options: ConnectOptions,
    /// What the program does to each socket once it is connected.
    pub(crate) setup: Option<SocketSetup>,
    /// All connections go to this socket.
    pub(crate) unix_socket: Option<PathBuf>,
}

impl Connector {
    /// `roots`: trusted besides the platform's own. `tls`: used as it is, instead of that.
    pub(crate) fn new(
        roots: Vec<CertificateDer<'static>>,
        tls: Option<Tls>,
        http2: bool,
        max_header_size: usize,
        title_case: bool,
        ways: Ways,
        pings: Option<(Duration, Duration)>,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .max_buf_size(BUFFER.max(max_header_size))
            .max_header_size(max_header_size)
            .max_headers(MAX_HEADERS)
            .title_case_headers(title_case)
            // What real servers send and curl and browsers take: see `framing`.
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true);
        let mut h2 = http2::Builder::new(Spawner);
        h2.max_header_list_size(u32::try_from(max_header_size).unwrap_or(u32::MAX));
        if let Some((interval, timeout)) = pings {
            h2.timer(LoopTimer)
                .keep_alive_interval(interval)
                .keep_alive_timeout(timeout)
                .keep_alive_while_idle(true);
        }
        Self {
            tls: tls.map(OnceCell::from).unwrap_or_default(),
            roots,
            http2,
            http1,
            h2,
            ways,
            aborts: Rc::default(),
        }
    }

    /// Whether plain HTTP goes through a tunnel, too: only so the proxy connects to an address that was asked about.
    pub(crate) fn always_tunnels(&self) -> bool {
        self.ways.names.is_filtered()
    }

    /// Connects to `host`, within `timeouts` and `total`.
    pub(crate) async fn connect(
        &self,
        host: &HostInfo,
        timeouts: &Timeouts,
        total: Option<Instant>,
        progress: &mut Progress,
    ) -> Result<Connected, Error> {
        let total = total.map(|total| (total, TimeoutPhase::Total));
        if self.ways.unix_socket.is_none() {
            let (name, port) = host.first_hop();
            within(total, self.ways.names.turn(name, port, progress)).await.map_err(Error::timeout)?;
        }
        let connect = timeouts.connect.map(|limit| (rt::now() + limit, TimeoutPhase::Connect));
        within(earlier(total, connect), self.connect_now(host, timeouts, progress))
            .await
            .map_err(Error::timeout)?
    }

    async fn connect_now(
        &self,
        host: &HostInfo,
        timeouts: &Timeouts,
        progress: &mut Progress,
    ) -> Result<Connected, Error> {
        let (name, port) = host.first_hop();
        progress.tell(&Event::ConnectStart { host: name, port });
        let (mut stream, peer) = self.reach(host, timeouts, progress).await?;
        let mut is_http2 = false;
        if host.secure {
            let tls = self.tls_for(host.tls.as_ref())?;
            let offer = match (host.http1_only.get() || !self.http2, tls.is_as_given()) {
                (true, _) => Offer::Http1,
                (false, true) => Offer::Any,
                (false, false) => Offer::Http2AndHttp1,
            };
            let name = tls.server_name().unwrap_or(&host.name);
            (stream, is_http2) = secure(stream, tls, offer, name, progress).await?;
        }
        progress.tell(&Event::ConnectEnd);
        let io = Io::new(stream, peer);
        if is_http2 {
            let (multi, task) = Multi::start(io, &self.h2, &self.aborts).await?;
            return Ok(Connected::Multi(multi, Box::pin(task)));
        }
        Ok(Connected::Single(Single::start(io, &self.http1, &self.aborts).await?))
    }

    /// A stream to `host`, through its proxy if it has one.
    async fn reach(
        &self,
        host: &HostInfo,
        timeouts: &Timeouts,
        progress: &mut Progress,
    ) -> Result<(Stream, Option<SocketAddr>), Error> {
        let limit = || timeouts.sock_connect.map(|limit| (rt::now() + limit, TimeoutPhase::SockConnect));
        if let Some(path) = &self.ways.unix_socket {
            let began = rt::now();
            let stream = within(limit(), UnixStream::connect(path)).await.map_err(Error::timeout)?;
            let stream = stream.map_err(|error| connect_error(unix_error(path, error)))?;
            self.set_up(stream.as_fd())?;
            trace::add(&mut progress.timings.connect, began);
            return Ok((Stream::Other(Box::new(stream)), None));
        }
        let Some(proxy) = &host.proxy else {
            let addresses = self.ways.names.find(&host.name, host.port, Filtered::Yes, progress).await?;
            let stream = self.dial(&host.name, &addresses, limit(), progress).await?;
            let peer = stream.peer_addr().ok();
            return Ok((Stream::Tcp(stream), peer));
        };
        // The proxy is the program's own choice.
        let through = async {
            let addresses = self.ways.names.find(proxy.host(), proxy.port(), Filtered::No, progress).await?;
            self.dial(proxy.host(), &addresses, limit(), progress).await
        };
        let stream = through.await.map_err(Error::into_proxy)?;
        let peer = stream.peer_addr().ok();
        let mut stream = Stream::Tcp(stream);
        if proxy.protocol() == Protocol::Https {
            let tls = self.tls_for(proxy.tls_settings())?;
            let name = proxy.tls_settings().and_then(Tls::server_name).unwrap_or(proxy.host());
            (stream, _) = secure(stream, tls, Offer::Http1, name, progress).await?;
        }
        if !host.is_forwarded {
            let began = rt::now();
            self.tunnel(&mut stream, proxy, host, progress).await?;
            trace::add(&mut progress.timings.connect, began);
        }
        Ok((stream, peer))
    }

    async fn tunnel(
        &self,
        stream: &mut Stream,
        proxy: &Proxy,
        host: &HostInfo,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        // With a filter the proxy is not left to resolve the name once more.
        let resolves_here = self.ways.names.is_filtered() || proxy.protocol() == Protocol::Socks5;
        let address = match resolves_here {
            true => {
                let found = self.ways.names.find(&host.name, host.port, Filtered::Yes, progress).await?;
                // Most proxies reach IPv4 only.
                found.iter().find(|address| address.is_ipv4()).or_else(|| found.first()).copied()
            }
            false => host.name.parse().ok().map(|ip| SocketAddr::new(ip, host.port)),
        };
        if proxy.is_socks() {
            let target = match address {
                Some(address) => socks::Target::Address(address),
                None => socks::Target::Name(&host.name, host.port),
            };
            return socks::open(stream, proxy, &target).await;
        }
        let target = match address {
            Some(address) => address.to_string(),
            None => format!("{}:{}", host.name, host.port),
        };
        let agent = host.headers.get(USER_AGENT).map(HeaderValue::as_bytes);
        tunnel::open(stream, proxy, &target, agent).await
    }

    async fn dial(
        &self,
        name: &str,
        addresses: &[SocketAddr],
        limit: Option<(Instant, TimeoutPhase)>,
        progress: &mut Progress,
    ) -> Result<TcpStream, Error> {
        let began = rt::now();
        let stream = within(limit, net::connect_any_with(name, addresses, &self.ways.options))
            .await
            .map_err(Error::timeout)?
            .map_err(connect_error)?;
        self.set_up(stream.as_fd())?;
        trace::add(&mut progress.timings.connect, began);
        Ok(stream)
    }

    fn set_up(&self, socket: BorrowedFd<'_>) -> Result<(), Error> {
        self.ways.setup.as_ref().map_or(Ok(()), |setup| setup(socket)).map_err(connect_error)
    }

    fn tls_for<'a>(&'a self, own: Option<&'a Tls>) -> Result<&'a Tls, Error> {
        if let Some(tls) = own.or_else(|| self.tls.get()) {
            return Ok(tls);
        }
        let mut builder = Tls::builder();
        for root in &self.roots {
            builder = builder.root_der(root);
        }
        let tls = builder.build().map_err(|error| Error::new(Kind::Tls).with_source(error))?;
        Ok(self.tls.get_or_init(|| tls))
    }
}

/// Agrees on TLS over `stream`; says whether HTTP/2 was agreed on.
async fn secure(
    stream: Stream,
    tls: &Tls,
    offer: Offer,
    name: &str,
    progress: &mut Progress,
) -> Result<(Stream, bool), Error> {
    let began = rt::now();
    progress.tell(&Event::TlsStart { server_name: name });
    let connector = tls.connector(offer);
    let agreed = |protocol: Option<&[u8]>| {
        progress.tell(&Event::TlsEnd { protocol });
        protocol == Some(H2)
    };
    let (stream, is_http2) = match stream {
        Stream::Tcp(tcp) => {
            let stream = connector.connect(name, tcp).await.map_err(tls_error)?;
            let is_http2 = agreed(stream.get_ref().1.alpn_protocol());
            (Stream::Tls(Box::new(stream)), is_http2)
        }
        other => {
            let stream = connector.connect(name, other).await.map_err(tls_error)?;
            let is_http2 = agreed(stream.get_ref().1.alpn_protocol());
            (Stream::Other(Box::new(stream)), is_http2)
        }
    };
    trace::add(&mut progress.timings.tls, began);
    Ok((stream, is_http2))
}

fn unix_error(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot connect to {}: {error}", path.display()))
}

fn connect_error(error: impl Into<BoxError>) -> Error {
    Error::new(Kind::Connect).with_source(error)
}

fn tls_error(error: tls::Error) -> Error {
    let kind = match () {
        () if error.is_io() => Kind::Connect,
        () if error.is_invalid_name() => Kind::InvalidUrl,
        () => Kind::Tls,
    };
    Error::new(kind).with_source(error)
}

/// How many headers an answer may have.
const MAX_HEADERS: usize = 256;

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("http2", &self.http2).finish_non_exhaustive()
    }
}

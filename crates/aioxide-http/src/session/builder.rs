//! The settings of a session.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aioxide::net::ConnectOptions;
use aioxide::net::dns::{DEFAULT_TTL, DnsCache};
use aioxide::net::tls::rustls::ClientConfig;
use aioxide::net::tls::rustls::pki_types::CertificateDer;
use aioxide::net::tls::rustls::pki_types::pem::PemObject;
use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::Session;
use crate::auth::Netrc;
use crate::client::Client;
use crate::connector::{Connector, Names, Resolver, Ways};
#[cfg(feature = "cookies")]
use crate::cookies::CookieJar;
use crate::cookies::CookieStore;
use crate::error::{Error, Kind, Result};
use crate::filter::AddressFilter;
use crate::headers;
use crate::pool::{Pool, PoolConfig};
use crate::proxy::Proxies;
use crate::redirect::{RedirectAction, RedirectAttempt, RedirectPolicy};
use crate::request::{Options, Route};
use crate::retry::Retries;
use crate::timeout::Timeouts;
use crate::tls::Tls;
use crate::trace::Observer;

/// Builds a [`Session`].
///
/// # Examples
///
/// ```
/// use aioxide_http::{Session, Timeouts};
/// use std::time::Duration;
///
/// # fn main() -> aioxide_http::Result<()> {
/// let session = Session::builder()
///     .limit(20)
///     .limit_per_host(4)
///     .timeouts(Timeouts { total: Some(Duration::from_secs(10)), ..Timeouts::default() })
///     .user_agent("example/1.0")
///     .build()?;
/// assert_eq!(session.connections(), 0);
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct SessionBuilder {
    pool: PoolConfig,
    options: Options,
    headers: HeaderMap,
    retry: bool,
    cookies: Option<Box<dyn CookieStore>>,
    http2: bool,
    max_header_size: usize,
    title_case: bool,
    roots: Vec<CertificateDer<'static>>,
    tls: Option<Tls>,
    ways: Ways,
    observer: Option<Rc<dyn Observer>>,
    netrc: Option<Netrc>,
    pings: Option<(Duration, Duration)>,
    problem: Option<Error>,
}

impl Default for SessionBuilder {
    fn default() -> Self {
        Self {
            pool: PoolConfig { limit: 100, limit_per_host: 0, idle_timeout: Duration::from_secs(15) },
            options: Options {
                timeouts: Timeouts::default(),
                redirects: 10,
                redirect_policy: None,
                retries: None,
                decompress: true,
                max_body_size: None,
                is_bare: false,
                transcripts: None,
                route: Route::default(),
            },
            headers: HeaderMap::new(),
            retry: true,
            cookies: None,
            http2: true,
            max_header_size: 64 * 1024,
            title_case: false,
            roots: Vec::new(),
            tls: None,
            ways: Ways {
                names: Names {
                    cache: DnsCache::new(DEFAULT_TTL),
                    resolver: None,
                    overrides: HashMap::new(),
                    filter: None,
                },
                options: ConnectOptions::default(),
                setup: None,
                unix_socket: None,
            },
            observer: None,
            netrc: None,
            pings: None,
            problem: None,
        }
    }
}

impl SessionBuilder {
    /// How many connections there may be, idle ones among them; 100 unless set, 0 for no limit.
    pub fn limit(mut self, connections: usize) -> Self {
        self.pool.limit = connections;
        self
    }

    /// How many connections there may be to one host (scheme, name and port), and over HTTP/2, where one connection carries
    /// many, how many requests at a time; no limit (0) unless set.
    ///
    /// It holds for the hosts that redirects lead to, too.
    pub fn limit_per_host(mut self, connections: usize) -> Self {
        self.pool.limit_per_host = connections;
        self
    }

    /// How long an idle connection is kept; 15 s unless set. With zero, each request has a connection of its own.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.pool.idle_timeout = idle;
        self
    }

    /// The limits of time for every request that has none of its own.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.options.timeouts = timeouts;
        self
    }

    /// What requests say about who asks.
    pub fn user_agent(mut self, name: &str) -> Self {
        self.headers.remove(USER_AGENT);
        self.header(USER_AGENT, name)
    }

    headers::methods! {
        /// Sets a header for every request that does not set it itself; called twice, it sends both.
        ///
        /// `Authorization`, `Cookie`, `Proxy-Authorization` and `Host` are for the origins of the URLs that are asked for, and
        /// do not go on to where these redirect; for others see [`secret_header`](Self::secret_header).
        header;
        /// As [`header`](Self::header), but a redirect to another origin (scheme, name or port) leaves it behind.
        secret_header
    }

    fn add_header(mut self, pair: Result<(HeaderName, HeaderValue)>) -> Self {
        match pair {
            Ok((name, value)) => headers::add(&mut self.headers, name, value),
            Err(error) => self.problem = Some(error),
        }
        self
    }

    /// Follows at most so many redirects; 10 unless set, 0 to follow none.
    pub fn redirects(mut self, most: usize) -> Self {
        self.options.redirects = most;
        self
    }

    /// Asks `policy` about each redirect before it is followed.
    ///
    /// # Examples
    ///
    /// ```
    /// use aioxide_http::{RedirectAction, Session};
    ///
    /// let at_home = |redirect: &aioxide_http::RedirectAttempt<'_>| match redirect.to().host() == redirect.from().host() {
    ///     true => RedirectAction::Follow,
    ///     false => RedirectAction::Stop,
    /// };
    /// let session = Session::builder().redirect_policy(at_home).build()?;
    /// # Ok::<(), aioxide_http::Error>(())
    /// ```
    pub fn redirect_policy(
        mut self,
        policy: impl Fn(&RedirectAttempt<'_>) -> RedirectAction + 'static,
    ) -> Self {
        self.options.redirect_policy = Some(RedirectPolicy(Rc::new(policy)));
        self
    }

    /// Makes requests that fail once more, as often and in which cases these say; none unless set. See [`Retries`].
    pub fn retries(mut self, retries: Retries) -> Self {
        self.options.retries = Some(Rc::new(retries));
        self
    }

    /// Proves who we are to the hosts in this file, when a request does not say it itself; see [`Netrc::from_env`].
    pub fn netrc(mut self, netrc: Netrc) -> Self {
        self.netrc = Some(netrc);
        self
    }

    /// Sends a ping over an HTTP/2 connection on which nothing came for `interval`, and closes it, with all that is under
    /// way on it, when `timeout` passes without an answer; no pings unless set.
    ///
    /// They keep routers from forgetting connections that are idle, and find dead ones before a request does.
    pub fn http2_keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.pings = Some((interval, timeout));
        self
    }

    /// Whether bodies are decoded (gzip, deflate, br, zstd), and codings asked for; yes unless set.
    pub fn decompress(mut self, yes: bool) -> Self {
        self.options.decompress = yes;
        self
    }

    /// Makes bodies of more than so many bytes, decoded, an error; no limit unless set.
    pub fn max_body_size(mut self, bytes: u64) -> Self {
        self.options.max_body_size = Some(bytes);
        self
    }

    /// Makes an answer whose head is larger an error; 64 KiB unless set, and never under 8 KiB.
    pub fn max_header_size(mut self, bytes: usize) -> Self {
        self.max_header_size = bytes.max(8 * 1024);
        self
    }

    /// Whether a request that may be done twice is sent once more, on a new connection, when a connection that had been
    /// used before was closed without a byte of an answer, or brought something that is none (the late rest of the answer
    /// before, for instance); yes unless set.
    pub fn retry(mut self, yes: bool) -> Self {
        self.retry = yes;
        self
    }

    /// Whether the session keeps the cookies that servers set, in a [`CookieJar`] of its own; no unless set.
    #[cfg(feature = "cookies")]
    pub fn cookies(mut self, yes: bool) -> Self {
        self.cookies = yes.then(|| Box::new(CookieJar::new()) as _);
        self
    }

    /// Keeps cookies there: a `CookieJar` that is shared or was loaded from a file, or a store of the program's own.
    pub fn cookie_store(mut self, store: impl CookieStore + 'static) -> Self {
        self.cookies = Some(Box::new(store));
        self
    }

    /// Whether HTTP/1 headers are sent as `Content-Type`, not as `content-type`; no unless set.
    ///
    /// Both mean the same, but there are servers that look for the one.
    pub fn title_case_headers(mut self, yes: bool) -> Self {
        self.title_case = yes;
        self
    }

    /// Whether HTTP/2 is offered to servers (over TLS); yes unless set.
    pub fn http2(mut self, yes: bool) -> Self {
        self.http2 = yes;
        self
    }

    /// Trusts the certificates in this PEM text, besides the platform's.
    pub fn add_root_pem(mut self, pem: &[u8]) -> Self {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            match certificate {
                Ok(certificate) => self.roots.push(certificate),
                Err(error) => {
                    self.problem = Some(Error::new(Kind::InvalidRequest).with_source(error.to_string()));
                }
            }
        }
        self
    }

    /// Trusts this certificate (DER), besides the platform's.
    pub fn add_root_der(mut self, der: &[u8]) -> Self {
        self.roots.push(CertificateDer::from(der.to_vec()));
        self
    }

    /// Uses these TLS settings as they are, ALPN included, in place of the platform's roots and those added here.
    pub fn tls_config(self, config: Arc<ClientConfig>) -> Self {
        self.tls(Tls::from_config(config))
    }

    /// How TLS is made, in place of the platform's roots and those added here.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The proxies that requests go through; none unless set, also when the environment names some.
    ///
    /// `Proxies::from_env()?` does what curl does.
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.options.route.proxies = Some(Rc::new(proxies));
        self
    }

    /// Resolves names, in place of the system.
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.ways.names.resolver = Some(Rc::new(resolver));
        self
    }

    /// Connects to these addresses when a URL says `host` and `port` (0: any); an address of port 0 has the URL's.
    ///
    /// curl: `--resolve`. The name is still what the certificate must have, and what the server is told.
    ///
    /// # Examples
    ///
    /// ```
    /// use aioxide_http::Session;
    ///
    /// let session = Session::builder().resolve_to("example.org", 443, [([127, 0, 0, 1], 8443).into()]).build()?;
    /// # Ok::<(), aioxide_http::Error>(())
    /// ```
    pub fn resolve_to(
        mut self,
        host: &str,
        port: u16,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let addresses = addresses.into_iter().collect();
        self.ways.names.overrides.insert((host.to_ascii_lowercase(), port), addresses);
        self
    }

    /// Keeps what names resolve to there: a cache that is shared with other sessions.
    ///
    /// It must be one for one resolver: sessions with resolvers of their own do not share it with others.
    pub fn dns_cache(mut self, cache: DnsCache) -> Self {
        self.ways.names.cache = cache;
        self
    }

    /// How long what a name resolves to is used; 10 s unless set, 0 to ask each time a connection is made.
    pub fn dns_ttl(self, ttl: Duration) -> Self {
        self.dns_cache(DnsCache::new(ttl))
    }

    /// Connects only to addresses that this filter permits; see [`AddressFilter`].
    pub fn address_filter(mut self, filter: AddressFilter) -> Self {
        self.ways.names.filter = Some(filter);
        self
    }

    /// Where connections come from: an address of this machine. Servers of the other family cannot be reached.
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.ways.options.local_address = Some(address);
        self
    }

    /// How long one address of a host is tried alone before the next is tried beside it (RFC 8305); 250 ms unless set.
    pub fn happy_eyeballs_delay(mut self, delay: Duration) -> Self {
        self.ways.options.stagger = delay;
        self
    }

    /// Calls `setup` with each socket once it is connected, before anything is sent: for options of the system. An error of it is
    /// one of the connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    ///
    /// let session = aioxide_http::Session::builder()
    ///     .socket_setup(|socket| {
    ///         println!("connected: descriptor {}", socket.as_raw_fd());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// # Ok::<(), aioxide_http::Error>(())
    /// ```
    pub fn socket_setup(mut self, setup: impl Fn(BorrowedFd<'_>) -> io::Result<()> + 'static) -> Self {
        self.ways.setup = Some(Box::new(setup));
        self
    }

    /// Makes all connections to this UNIX socket, whatever host a URL names; proxies and the filter are left out.
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.ways.unix_socket = Some(path.into());
        self
    }

    /// Tells this observer what happens to every request.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Rc::new(observer));
        self
    }

    /// The session.
    ///
    /// # Errors
    /// `is_invalid_request`: a header or a certificate that cannot be read.
    pub fn build(mut self) -> Result<Session> {
        match self.problem.take() {
            Some(problem) => Err(problem),
            None => Ok(self.finish()),
        }
    }

    pub(super) fn finish(self) -> Session {
        let agent = HeaderValue::from_static(concat!("aioxide/", env!("CARGO_PKG_VERSION")));
        let mut defaults = HeaderMap::new();
        defaults.insert(ACCEPT, HeaderValue::from_static("*/*"));
        defaults.insert(USER_AGENT, agent);
        defaults.extend(self.headers);
        Session {
            client: Rc::new(Client {
                pool: Pool::new(self.pool),
                connector: Connector::new(
                    self.roots,
                    self.tls,
                    self.http2,
                    self.max_header_size,
                    self.title_case,
                    self.ways,
                    self.pings,
                ),
                defaults,
                options: self.options,
                retry: self.retry,
                cookies: self.cookies,
                observer: self.observer,
                netrc: self.netrc,
                tended: Rc::default(),
            }),
        }
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder")
            .field("pool", &self.pool)
            .field("options", &self.options)
            .field("headers", &self.headers)
            .field("http2", &self.http2)
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}

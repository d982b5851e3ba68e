//! Makes connections: name, socket, TLS, and the protocol that was agreed on.

use std::cell::OnceCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use aioxide::net;
use aioxide::net::dns::{DEFAULT_TTL, DnsCache};
use aioxide::net::tls::rustls::ClientConfig;
use aioxide::net::tls::rustls::pki_types::CertificateDer;
use aioxide::net::tls::{self, client_config};
use http::header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderValue, RANGE};
use http::uri::{Authority, Scheme};
use hyper::client::conn::{http1, http2};
use url::{Host, Position, Url};

use crate::connection::{Multi, Single};
use crate::decode;
use crate::error::{BoxError, Error, Kind, TimeoutPhase};
use crate::headers;
use crate::rt::{self, Instant, Io, Spawner, Stream};
use crate::timeout::{Timeouts, earlier, within};

/// About the most that a connection keeps of what has come and was not read yet; a piece of a body may be twice that.
const BUFFER: usize = 64 * 1024;

/// What is the same for all requests to one origin.
pub(crate) struct HostInfo {
    pub(crate) secure: bool,
    /// A name or an address without brackets.
    name: String,
    port: u16,
    /// The session's headers, with `Host` before them.
    pub(crate) headers: HeaderMap,
    /// `Accept-Encoding` is among them, and is our own.
    pub(crate) offers_codings: bool,
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

impl HostInfo {
    pub(crate) fn new(url: &Url, defaults: &HeaderMap) -> Result<Self, Error> {
        let invalid = || Error::new(Kind::InvalidUrl);
        let secure = url.scheme() == "https";
        let name = match url.host().ok_or_else(invalid)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let mut headers = HeaderMap::with_capacity(defaults.len() + 4);
        headers.insert(HOST, HeaderValue::from_str(authority).map_err(|error| invalid().with_source(error))?);
        headers.extend(defaults.clone());
        let offers_codings = !headers.contains_key(ACCEPT_ENCODING) && !headers.contains_key(RANGE);
        if offers_codings {
            headers.insert(ACCEPT_ENCODING, decode::ACCEPT_ENCODING);
        }
        Ok(Self {
            secure,
            name,
            port: url.port_or_known_default().ok_or_else(invalid)?,
            headers,
            offers_codings,
            scheme: if secure { Scheme::HTTPS } else { Scheme::HTTP },
            authority: authority
                .parse()
                .map_err(|error: http::uri::InvalidUri| invalid().with_source(error))?,
        })
    }
}

impl HostInfo {
    /// `Host` alone.
    pub(crate) fn host_header(&self) -> Result<HeaderMap, Error> {
        let host = HeaderValue::from_str(self.authority.as_str())
            .map_err(|error| Error::new(Kind::InvalidUrl).with_source(error))?;
        Ok(HeaderMap::from_iter([(HOST, host)]))
    }

    /// The session's headers for who was led here from another origin.
    pub(crate) fn headers_elsewhere(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers::leave_behind(&mut headers);
        // Text that was a header's value, and an authority, before.
        if let Ok(host) = HeaderValue::from_str(self.authority.as_str()) {
            headers.insert(HOST, host);
        }
        headers
    }
}

/// A connection just made.
pub(crate) enum Connected {
    Single(Box<Single>),
    /// With the future that drives it.
    Multi(Multi, Pin<Box<dyn Future<Output = ()>>>),
}

/// How a session's connections are made.
pub(crate) struct Connector {
    tls: OnceCell<tls::Connector>,
    roots: Vec<CertificateDer<'static>>,
    config: Option<Arc<ClientConfig>>,
    pub(crate) http2: bool,
    http1: http1::Builder,
    h2: http2::Builder<Spawner>,
    names: DnsCache,
}

impl Connector {
    /// `roots`: trusted besides the platform's own. `config`: used as it is, instead of all that.
    pub(crate) fn new(
        roots: Vec<CertificateDer<'static>>,
        config: Option<Arc<ClientConfig>>,
        http2: bool,
        max_header_size: usize,
        title_case: bool,
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
        Self { tls: OnceCell::new(), roots, config, http2, http1, h2, names: DnsCache::new(DEFAULT_TTL) }
    }

    /// Connects to `host`, within `timeouts` and `total`.
    pub(crate) async fn connect(
        &self,
        host: &HostInfo,
        timeouts: &Timeouts,
        total: Option<Instant>,
    ) -> Result<Connected, Error> {
        let total = total.map(|total| (total, TimeoutPhase::Total));
        let connect = timeouts.connect.map(|limit| (rt::now() + limit, TimeoutPhase::Connect));
        within(earlier(total, connect), self.connect_now(host, timeouts)).await.map_err(Error::timeout)?
    }

    async fn connect_now(&self, host: &HostInfo, timeouts: &Timeouts) -> Result<Connected, Error> {
        let addresses = self.names.lookup(&host.name, host.port).await.map_err(connect_error)?;
        let limit = timeouts.sock_connect.map(|limit| (rt::now() + limit, TimeoutPhase::SockConnect));
        let tcp = within(limit, net::connect_any(&host.name, &addresses))
            .await
            .map_err(Error::timeout)?
            .map_err(connect_error)?;
        if !host.secure {
            return self.plain(Stream::Tcp(tcp)).await;
        }
        let stream = self.tls()?.connect(&host.name, tcp).await.map_err(tls_error)?;
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return self.plain(Stream::Tls(Box::new(stream))).await;
        }
        let io = Io::new(Stream::Tls(Box::new(stream)));
        let (multi, task) = Multi::start(io, &self.h2).await?;
        Ok(Connected::Multi(multi, Box::pin(task)))
    }

    async fn plain(&self, stream: Stream) -> Result<Connected, Error> {
        Ok(Connected::Single(Single::start(Io::new(stream), &self.http1).await?))
    }

    /// The TLS settings, made at the first `https` URL: reading the platform's roots takes milliseconds.
    fn tls(&self) -> Result<&tls::Connector, Error> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let config = match &self.config {
            Some(config) => config.clone(),
            None => {
                let mut config = client_config(self.roots.iter().cloned()).map_err(tls_error)?;
                config.alpn_protocols =
                    if self.http2 { vec![H2.to_vec(), HTTP1.to_vec()] } else { vec![HTTP1.to_vec()] };
                Arc::new(config)
            }
        };
        Ok(self.tls.get_or_init(|| tls::Connector::new(config)))
    }
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

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// How many headers an answer may have.
const MAX_HEADERS: usize = 256;

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("http2", &self.http2).finish_non_exhaustive()
    }
}

//! What is the same for all requests to one origin by one way.

use std::cell::Cell;

use http::header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderValue, RANGE};
use http::uri::{Authority, Scheme};
use url::{Host, Position, Url};

use crate::decode;
use crate::error::{Error, Kind};
use crate::headers;
use crate::proxy::Proxy;
use crate::request::Route;
use crate::tls::Tls;

/// Few answers have more headers.
const ANSWER_HEADERS: usize = 12;

/// What is the same for all requests to one origin.
pub(crate) struct HostInfo {
    pub(crate) secure: bool,
    /// A name or an address without brackets.
    pub(super) name: String,
    pub(super) port: u16,
    /// The session's headers, with `Host` before them.
    pub(crate) headers: HeaderMap,
    /// `Accept-Encoding` is among them, and is our own.
    pub(crate) offers_codings: bool,
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    /// What connections go through.
    pub(super) proxy: Option<Proxy>,
    /// The request's own settings of TLS.
    pub(super) tls: Option<Tls>,
    /// Only HTTP/1.1 will do: the server has said so, or the connection is to become another one.
    pub(super) http1_only: Cell<bool>,
    /// A proxy reads the requests and passes them on.
    pub(crate) is_forwarded: bool,
}

impl HostInfo {
    /// Where the socket goes to: the proxy, if there is one.
    pub(super) fn first_hop(&self) -> (&str, u16) {
        match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (&self.name, self.port),
        }
    }

    pub(crate) fn new(
        url: &Url,
        route: &Route,
        always_tunnels: bool,
        defaults: &HeaderMap,
    ) -> Result<Self, Error> {
        let proxy = route.proxy_for(url).cloned();
        let invalid = || Error::new(Kind::InvalidUrl);
        let secure = url.scheme() == "https";
        let name = match url.host().ok_or_else(invalid)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        // hyper reads the answer's headers into the map that the request had, whose index is then large enough.
        let mut headers = HeaderMap::with_capacity((defaults.len() + 4).max(ANSWER_HEADERS));
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
            tls: route.tls.clone(),
            http1_only: Cell::new(route.is_http1_only()),
            is_forwarded: !secure
                && !route.is_upgrade
                && !always_tunnels
                && proxy.as_ref().is_some_and(|proxy| !proxy.is_socks()),
            proxy,
        })
    }
}

impl HostInfo {
    /// The proxy that reads the requests, and what it alone is to see.
    pub(crate) fn forwarder(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| self.is_forwarded)
    }

    /// From now on only HTTP/1.1; says whether that is news.
    pub(crate) fn insist_on_http1(&self) -> bool {
        !self.http1_only.replace(true)
    }

    /// The host's name, or its address without brackets.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

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

//! A request as it is once built, and what can be used as its URL.

use std::rc::Rc;

use http::Method;
use http::header::{HeaderMap, HeaderValue};
use url::Url;

#[cfg(feature = "digest")]
use crate::auth::Digest;
use crate::body::Body;
use crate::error::{Error, Result};
use crate::proxy::{Proxies, Proxy};
use crate::redirect::RedirectPolicy;
use crate::retry::Retries;
use crate::timeout::Timeouts;
use crate::tls::Tls;
use crate::transcript::Transcripts;

/// What a request is made of, once it is built.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// A redirect has led to another origin: the session's own secrets stay behind, too.
    pub(crate) is_elsewhere: bool,
    pub(crate) body: Body,
    /// What the body is, unless a header says something else.
    pub(crate) content_type: Option<HeaderValue>,
    /// Answers the challenges of the first URL's origin.
    #[cfg(feature = "digest")]
    pub(crate) digest: Option<Digest>,
    pub(crate) options: Options,
}

/// What a request may change of its session's settings.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) timeouts: Timeouts,
    pub(crate) redirects: usize,
    pub(crate) redirect_policy: Option<RedirectPolicy>,
    pub(crate) retries: Option<Rc<Retries>>,
    pub(crate) decompress: bool,
    pub(crate) max_body_size: Option<u64>,
    /// None of the session's own headers goes along.
    pub(crate) is_bare: bool,
    /// Keeps what goes over the connections.
    pub(crate) transcripts: Option<Transcripts>,
    pub(crate) route: Route,
}

/// How connections for a request are made; those of different routes are not mixed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Route {
    pub(crate) proxies: Option<Rc<Proxies>>,
    /// In place of the session's.
    pub(crate) tls: Option<Tls>,
    /// The connection is to become another one (a websocket).
    pub(crate) is_upgrade: bool,
    /// The request is one of HTTP/1.0.
    pub(crate) is_http10: bool,
}

impl Route {
    /// Whether HTTP/2 would not do.
    pub(crate) fn is_http1_only(&self) -> bool {
        self.is_upgrade || self.is_http10 || self.tls.as_ref().is_some_and(Tls::is_http1_only)
    }

    pub(crate) fn proxy_for(&self, url: &Url) -> Option<&Proxy> {
        self.proxies.as_ref()?.find(url)
    }

    /// The pool's name for the way to `origin`, when it is not the plain one.
    pub(crate) fn key(&self, url: &Url, origin: &str) -> Option<String> {
        let proxy = self.proxy_for(url);
        if proxy.is_none() && self.tls.is_none() && !self.is_upgrade && !self.is_http10 {
            return None;
        }
        let proxy = proxy.map(Proxy::key).unwrap_or_default();
        let tls = self.tls.as_ref().map_or(0, Tls::key);
        Some(format!("{origin} {tls:x} {} {} {proxy}", self.is_upgrade, self.is_http10))
    }
}

/// What can be used as a URL: text, or a [`Url`].
pub trait IntoUrl: sealed::Sealed {
    /// The URL.
    ///
    /// # Errors
    /// `is_invalid_url`.
    fn into_url(self) -> Result<Url>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for url::Url {}
    impl Sealed for &url::Url {}
    impl Sealed for &str {}
    impl Sealed for String {}
    impl Sealed for &String {}
}

impl IntoUrl for Url {
    fn into_url(self) -> Result<Url> {
        Ok(self)
    }
}

impl IntoUrl for &Url {
    fn into_url(self) -> Result<Url> {
        Ok(self.clone())
    }
}

impl IntoUrl for &str {
    fn into_url(self) -> Result<Url> {
        Url::parse(self).map_err(|error| Error::invalid_url(self).with_source(error))
    }
}

impl IntoUrl for String {
    fn into_url(self) -> Result<Url> {
        self.as_str().into_url()
    }
}

impl IntoUrl for &String {
    fn into_url(self) -> Result<Url> {
        self.as_str().into_url()
    }
}

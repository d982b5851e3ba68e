//! Proxies: what one is, and which one a URL goes through (from the program or the environment, by curl's rules).

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use http::header::{HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use url::{Host, Position, Url};

use crate::auth::{self, take_credentials};
use crate::error::{Error, Kind, Result};
use crate::headers;
use crate::tls::Tls;

use bypass::NoProxy;

mod bypass;
pub(crate) mod socks;
pub(crate) mod tunnel;

/// A proxy: `http://`, `https://` (TLS to the proxy itself), `socks5://` or `socks5h://`, a port, perhaps user and password.
///
/// With `socks5` names are resolved here, with `socks5h` by the proxy. Over an HTTP proxy `https` goes through a tunnel
/// (`CONNECT`), which the proxy cannot read; plain `http` is read and forwarded by it. What proves who we are to the proxy goes
/// to it alone.
///
/// # Examples
///
/// ```
/// use aioxide_http::{Proxies, Proxy, Session};
///
/// let proxy = Proxy::new("http://proxy.example.org:3128")?.basic_auth("user", "password")?;
/// let session = Session::builder().proxies(Proxies::all(proxy)).build()?;
/// assert!(Proxy::new("gopher://proxy.example.org").is_err());
/// # Ok::<(), aioxide_http::Error>(())
/// ```
#[derive(Clone)]
pub struct Proxy {
    inner: Rc<Inner>,
}

#[derive(Clone)]
struct Inner {
    protocol: Protocol,
    url: Url,
    host: String,
    port: u16,
    user: Option<(String, String)>,
    headers: HeaderMap,
    tls: Option<Tls>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http,
    Https,
    Socks5,
    /// The proxy resolves names.
    Socks5h,
}

impl Proxy {
    /// The proxy at this URL; without a scheme it is an HTTP proxy, without a port that of its scheme (SOCKS: 1080).
    ///
    /// # Errors
    /// `is_invalid_url`: it cannot be read, or is of another kind.
    pub fn new(url: &str) -> Result<Self> {
        let invalid = || Error::invalid_url(url);
        let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let mut url = Url::parse(&text).map_err(|error| invalid().with_source(error))?;
        let (protocol, port) = match url.scheme() {
            "http" => (Protocol::Http, 80),
            "https" => (Protocol::Https, 443),
            "socks5" => (Protocol::Socks5, 1080),
            "socks5h" => (Protocol::Socks5h, 1080),
            _ => return Err(invalid().with_source("a proxy is http, https, socks5 or socks5h")),
        };
        // Hosts of schemes that the URL standard does not know are not read as addresses by it.
        let host = match url.host().ok_or_else(invalid)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let user = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let decoded = |text: &str| String::from_utf8_lossy(&auth::percent_decode(text)).into_owned();
            (decoded(url.username()), decoded(url.password().unwrap_or_default()))
        });
        take_credentials(&mut url);
        let port = url.port().unwrap_or(port);
        let inner = Inner { protocol, url, host, port, user: None, headers: HeaderMap::new(), tls: None };
        let proxy = Self { inner: Rc::new(inner) };
        match user {
            Some((user, password)) => proxy.basic_auth(&user, &password),
            None => Ok(proxy),
        }
    }

    /// Proves who we are to the proxy, by name and password.
    ///
    /// # Errors
    /// `is_invalid_request`: for SOCKS, a name or password of more than 255 bytes.
    pub fn basic_auth(mut self, user: &str, password: &str) -> Result<Self> {
        let value = auth::basic(user, password)?;
        if self.is_socks() && (user.len() > 255 || password.len() > 255 || user.is_empty()) {
            let why = "a name or password for socks has 1 to 255 bytes";
            return Err(Error::new(Kind::InvalidRequest).with_source(why));
        }
        let inner = Rc::make_mut(&mut self.inner);
        inner.headers.insert(PROXY_AUTHORIZATION, value);
        inner.user = Some((user.to_owned(), password.to_owned()));
        Ok(self)
    }

    /// Sends a header to the (HTTP) proxy: with `CONNECT`, or with each request that it forwards.
    ///
    /// # Errors
    /// `is_invalid_request`: HTTP does not allow it.
    pub fn header<N, V>(mut self, name: N, value: V) -> Result<Self>
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        let (name, value) = headers::pair(name, value, true)?;
        Rc::make_mut(&mut self.inner).headers.append(name, value);
        Ok(self)
    }

    /// How TLS to the proxy itself is made (`https://` proxies), in place of the session's way.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        Rc::make_mut(&mut self.inner).tls = Some(tls);
        self
    }

    /// Where it is, without a password.
    pub fn url(&self) -> &Url {
        &self.inner.url
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.inner.protocol
    }

    pub(crate) fn is_socks(&self) -> bool {
        matches!(self.inner.protocol, Protocol::Socks5 | Protocol::Socks5h)
    }

    pub(crate) fn host(&self) -> &str {
        &self.inner.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.inner.port
    }

    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        self.inner.user.as_ref().map(|(user, password)| (&**user, &**password))
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.inner.headers
    }

    pub(crate) fn tls_settings(&self) -> Option<&Tls> {
        self.inner.tls.as_ref()
    }

    /// Tells proxies apart whose connections must not be mixed: by all that is sent to them.
    pub(crate) fn key(&self) -> String {
        let mut secrets = DefaultHasher::new();
        for (name, value) in &self.inner.headers {
            (name.as_str(), value.as_bytes()).hash(&mut secrets);
        }
        let tls = self.inner.tls.as_ref().map_or(0, Tls::key);
        format!("{} {:x} {tls:x}", self.inner.url, secrets.finish())
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.inner, &*other.inner);
        a.url == b.url
            && a.headers == b.headers
            && a.tls.as_ref().map(Tls::key) == b.tls.as_ref().map(Tls::key)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("url", &self.inner.url.as_str()).finish_non_exhaustive()
    }
}

/// Which proxy a URL goes through, and which URLs go without.
///
/// # Examples
///
/// ```
/// use aioxide_http::{Proxies, Proxy, Url};
///
/// let proxies = Proxies::https(Proxy::new("socks5h://127.0.0.1:1080")?).no_proxy("localhost,.example.org,10.0.0.0/8");
/// let find = |url| proxies.find(&Url::parse(url).expect("a url")).is_some();
/// assert!(find("https://www.rust-lang.org/"));
/// assert!(!find("http://www.rust-lang.org/"));
/// assert!(!find("https://www.example.org/"));
/// assert!(!find("https://10.1.2.3/"));
/// # Ok::<(), aioxide_http::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    without: NoProxy,
}

impl Proxies {
    /// No proxy for any URL.
    pub fn none() -> Self {
        Self::default()
    }

    /// One proxy for all URLs.
    pub fn all(proxy: Proxy) -> Self {
        Self { http: Some(proxy.clone()), https: Some(proxy), without: NoProxy::default() }
    }

    /// A proxy for `http` URLs.
    pub fn http(proxy: Proxy) -> Self {
        Self { http: Some(proxy), ..Self::default() }
    }

    /// A proxy for `https` URLs.
    pub fn https(proxy: Proxy) -> Self {
        Self { https: Some(proxy), ..Self::default() }
    }

    /// What the environment says: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`.
    ///
    /// As curl does, names in lower case come first; those in upper case count too, but for `HTTP_PROXY`, which a CGI
    /// server lets its clients set. An empty value is none.
    ///
    /// # Errors
    /// `is_invalid_url`: one of them cannot be read; the source names the variable.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// [`from_env`](Self::from_env), with the value of each variable from a function.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    ///
    /// # Examples
    ///
    /// ```
    /// use aioxide_http::{Proxies, Url};
    ///
    /// let proxies = Proxies::from_variables(|name| (name == "ALL_PROXY").then(|| "proxy:3128".to_owned()))?;
    /// let url = Url::parse("http://example.org/").expect("a url");
    /// assert_eq!(proxies.find(&url).expect("a proxy").url().as_str(), "http://proxy:3128/");
    /// # Ok::<(), aioxide_http::Error>(())
    /// ```
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let find = |names: &[&'static str]| {
            let mut values = names.iter().filter_map(|&name| Some((name, variable(name)?)));
            values.find(|(_, value)| !value.trim().is_empty())
        };
        let proxy = |names: &[&'static str]| {
            let Some((name, value)) = find(names) else { return Ok(None) };
            let named = |error: Error| error.with_source(format!("the environment's {name} is no proxy"));
            Proxy::new(value.trim()).map(Some).map_err(named)
        };
        let all = proxy(&["all_proxy", "ALL_PROXY"])?;
        let without = find(&["no_proxy", "NO_PROXY"]).map(|(_, value)| value).unwrap_or_default();
        Ok(Self {
            http: proxy(&["http_proxy"])?.or_else(|| all.clone()),
            https: proxy(&["https_proxy", "HTTPS_PROXY"])?.or(all),
            without: NoProxy::new(&without),
        })
    }

    /// Uses these for the URLs that have none so far.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { http: self.http.or(other.http), https: self.https.or(other.https), without: self.without }
    }

    /// Hosts that are reached without a proxy: names (with all names under them), addresses, networks (`10.0.0.0/8`), each
    /// perhaps with a port; `*` for all. Separated by commas or spaces.
    #[must_use]
    pub fn no_proxy(mut self, list: &str) -> Self {
        self.without = NoProxy::new(list);
        self
    }

    /// The proxy for `url`, if it goes through one.
    pub fn find(&self, url: &Url) -> Option<&Proxy> {
        let secure = matches!(url.scheme(), "https" | "wss");
        let proxy = if secure { &self.https } else { &self.http }.as_ref()?;
        (!self.without.covers(url)).then_some(proxy)
    }
}

/// A URL as a proxy that forwards wants it, after credentials and fragment were taken out.
pub(crate) fn absolute(url: &Url) -> &str {
    &url[..Position::AfterQuery]
}

//! The one error of this crate: what went wrong, at which URL, and why.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use http::StatusCode;
use url::Url;

use crate::tls;

/// A boxed error of any kind, as kept for [`std::error::Error::source`].
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request failed.
///
/// `Display` tells this level only; the cause below it is kept in [`source`](std::error::Error::source).
///
/// # Examples
///
/// ```
/// let session = aioxide_http::Session::new();
/// let error = aioxide::run(async move { session.get("ftp://example.org/").send().await })?.unwrap_err();
/// assert!(error.is_invalid_url());
/// assert!(!error.is_timeout());
/// # Ok::<(), aioxide::Error>(())
/// ```
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    url: Option<Url>,
    /// What was given for a URL and is none.
    text: Option<String>,
    source: Option<BoxError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The URL could not be read, or names a scheme or host that cannot be fetched.
    InvalidUrl,
    /// The request was built wrongly: a header's name or value, a configuration.
    InvalidRequest,
    /// Time ran out in that phase.
    Timeout(TimeoutPhase),
    /// No connection could be made.
    Connect,
    /// The address filter denies every address of the host.
    Denied,
    /// The proxy could not be reached.
    ProxyConnect,
    /// The proxy did not open a way; with the status that it gave.
    Proxy(Option<StatusCode>),
    /// TLS refused the peer, or the peer refused us.
    Tls,
    /// The answer broke the rules of HTTP.
    Protocol,
    /// The connection ended before the answer was whole.
    Closed,
    /// Redirected too often, to nowhere, or with a body that cannot be sent twice.
    Redirect,
    /// The body's content coding is broken or cut short.
    Decode,
    /// A limit on the body's size was passed.
    TooLarge,
    /// The stream that feeds the request's body failed.
    RequestBody,
    /// `error_for_status` found this status.
    Status(StatusCode),
    /// The server did not agree to a websocket; with the status that it gave.
    Upgrade(StatusCode),
    /// The session was closed.
    SessionClosed,
}

/// The phase of a request in which time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutPhase {
    /// The whole request, from `send` to the last byte of the body.
    Total,
    /// The wait for a free place in the pool.
    Pool,
    /// Making the connection: name, addresses and TLS together.
    Connect,
    /// One attempt at one address.
    SockConnect,
    /// No byte came for that long.
    Read,
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { inner: Box::new(Inner { kind, url: None, text: None, source: None }) }
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    pub(crate) fn with_url(mut self, url: &Url) -> Self {
        if self.inner.url.is_none() {
            let mut url = url.clone();
            if url.password().is_some() {
                // It fails only for a URL without a host, which has no password.
                let _ = url.set_password(Some("***"));
            }
            self.inner.url = Some(url);
        }
        self
    }

    /// It happened on the way to the proxy.
    pub(crate) fn into_proxy(mut self) -> Self {
        if self.inner.kind == Kind::Connect {
            self.inner.kind = Kind::ProxyConnect;
        }
        self
    }

    /// `text` is no URL.
    pub(crate) fn invalid_url(text: &str) -> Self {
        let mut error = Self::new(Kind::InvalidUrl);
        error.inner.text = Some(redact(text));
        error
    }

    pub(crate) fn timeout(phase: TimeoutPhase) -> Self {
        Self::new(Kind::Timeout(phase))
    }

    /// Sorts what hyper reports while an exchange is under way.
    pub(crate) fn from_hyper(error: hyper::Error) -> Self {
        let gone = error.is_user() && error.to_string().starts_with("dispatch task is gone");
        let kind = if gone {
            // The task of an HTTP/2 connection was dropped, as at the end of a loop.
            Kind::Closed
        } else if error.is_user() && !error.is_body_write_aborted() {
            Kind::RequestBody
        } else if error.is_parse() {
            Kind::Protocol
        } else if error.is_incomplete_message()
            || error.is_closed()
            || error.is_canceled()
            || error.is_body_write_aborted()
        {
            Kind::Closed
        } else {
            kind_of_source(&error).unwrap_or(Kind::Protocol)
        };
        Self::new(kind).with_source(error)
    }

    /// The URL that was being fetched, after redirects, without a password; `None` when there was none yet.
    pub fn url(&self) -> Option<&Url> {
        self.inner.url.as_ref()
    }

    /// Whether time ran out, in whichever phase.
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, Kind::Timeout(_))
    }

    /// The phase in which time ran out, if it did.
    pub fn timeout_phase(&self) -> Option<TimeoutPhase> {
        match self.inner.kind {
            Kind::Timeout(phase) => Some(phase),
            _ => None,
        }
    }

    /// Whether no connection could be made: refused, unreachable, no such name, or the time for connecting ran out.
    ///
    /// A refusal by TLS is [`is_tls`](Self::is_tls); the wait for a place in the pool is not connecting.
    pub fn is_connect(&self) -> bool {
        matches!(
            self.inner.kind,
            Kind::Connect
                | Kind::ProxyConnect
                | Kind::Denied
                | Kind::Timeout(TimeoutPhase::Connect | TimeoutPhase::SockConnect)
        )
    }

    /// Whether the session's address filter denies every address of the host; it is [`is_connect`](Self::is_connect), too.
    pub fn is_denied(&self) -> bool {
        self.inner.kind == Kind::Denied
    }

    /// Whether the proxy could not be reached, or did not open a way to the server.
    ///
    /// The first is [`is_connect`](Self::is_connect), too.
    pub fn is_proxy(&self) -> bool {
        matches!(self.inner.kind, Kind::ProxyConnect | Kind::Proxy(_))
    }

    /// The status with which an HTTP proxy refused to open a way to the server.
    pub fn proxy_status(&self) -> Option<StatusCode> {
        match self.inner.kind {
            Kind::Proxy(status) => status,
            _ => None,
        }
    }

    /// Whether TLS failed: wrong name, expired or unknown certificate, alert, no common version.
    pub fn is_tls(&self) -> bool {
        self.inner.kind == Kind::Tls
    }

    /// TLS's own error, whose predicates tell the certificate's faults apart, when [`is_tls`](Self::is_tls) and the handshake
    /// failed.
    pub fn tls(&self) -> Option<&aioxide::net::tls::Error> {
        self.inner.source.as_ref()?.downcast_ref()
    }

    /// Whether the answer broke the rules of HTTP.
    pub fn is_protocol(&self) -> bool {
        self.inner.kind == Kind::Protocol
    }

    /// Whether the connection was closed or reset before the answer was whole.
    pub fn is_closed(&self) -> bool {
        self.inner.kind == Kind::Closed
    }

    /// Whether redirects did not end, led to nowhere, or would have needed a body that cannot be sent twice.
    pub fn is_redirect(&self) -> bool {
        self.inner.kind == Kind::Redirect
    }

    /// Whether the body's content coding was broken or cut short, or the body was not the JSON that was asked for.
    pub fn is_decode(&self) -> bool {
        self.inner.kind == Kind::Decode
    }

    /// The SHA-256 of the certificate that came, when it is not one of those that were pinned.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(session: aioxide_http::Session) {
    /// if let Err(error) = session.get("https://internal.example.org/").send().await
    ///     && let Some(digest) = error.unpinned_certificate()
    /// {
    ///     println!("the certificate has changed: {digest:02x?}");
    /// }
    /// # }
    /// ```
    pub fn unpinned_certificate(&self) -> Option<[u8; 32]> {
        let mut current = self.source();
        while let Some(error) = current {
            // What an io::Error was made from is its own inside, and no source of it.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let found = error.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
            if let Some(found) = found {
                return tls::not_pinned(found);
            }
            current = error.source();
        }
        None
    }

    /// Whether the body was larger than the limit that was set.
    pub fn is_too_large(&self) -> bool {
        self.inner.kind == Kind::TooLarge
    }

    /// Whether the URL was unusable.
    pub fn is_invalid_url(&self) -> bool {
        self.inner.kind == Kind::InvalidUrl
    }

    /// Whether the request was built wrongly, for instance with a header that HTTP does not allow.
    pub fn is_invalid_request(&self) -> bool {
        self.inner.kind == Kind::InvalidRequest
    }

    /// Whether the stream that feeds the request's body failed.
    pub fn is_request_body(&self) -> bool {
        self.inner.kind == Kind::RequestBody
    }

    /// Whether [`Response::error_for_status`](crate::Response::error_for_status) made this error.
    pub fn is_status(&self) -> bool {
        matches!(self.inner.kind, Kind::Status(_))
    }

    /// The status that [`Response::error_for_status`](crate::Response::error_for_status) found, or with which a server did not
    /// agree to a websocket.
    pub fn status(&self) -> Option<StatusCode> {
        match self.inner.kind {
            Kind::Status(status) | Kind::Upgrade(status) => Some(status),
            _ => None,
        }
    }

    /// Whether the server did not agree to a websocket.
    pub fn is_upgrade(&self) -> bool {
        matches!(self.inner.kind, Kind::Upgrade(_))
    }

    /// Whether the session had been closed.
    pub fn is_session_closed(&self) -> bool {
        self.inner.kind == Kind::SessionClosed
    }
}

/// Hides the password in what may be a URL, or not quite: `//user:***@host`.
pub(crate) fn redact(text: &str) -> String {
    if Url::parse(text).is_ok_and(|url| url.has_host() && url.password().is_none()) {
        return text.to_owned();
    }
    let begin = text.find("//").map_or(0, |slashes| slashes + 2);
    let end = text[begin..].find(['/', '?', '#']).map_or(text.len(), |end| begin + end);
    // A password that was not encoded may hold a slash; then the last `@` of all ends it.
    let at = text[begin..end].rfind('@').or_else(|| text[begin..].rfind('@')).map(|at| begin + at);
    match at.and_then(|at| Some((begin + text[begin..at].find(':')?, at))) {
        Some((colon, at)) => format!("{}:***{}", &text[..colon], &text[at..]),
        None => text.to_owned(),
    }
}

/// Whether the other side of HTTP/2 has given up a stream, or its connection, without saying that we had broken a rule: what in
/// HTTP/1 is a connection that ends. Servers say so when the one behind them is gone, or when they have too much to do.
pub(crate) fn is_given_up(error: &h2::Error) -> bool {
    let accuses = |reason| {
        [
            h2::Reason::PROTOCOL_ERROR,
            h2::Reason::FLOW_CONTROL_ERROR,
            h2::Reason::SETTINGS_TIMEOUT,
            h2::Reason::STREAM_CLOSED,
            h2::Reason::FRAME_SIZE_ERROR,
            h2::Reason::COMPRESSION_ERROR,
            h2::Reason::CONNECT_ERROR,
            h2::Reason::INADEQUATE_SECURITY,
            h2::Reason::HTTP_1_1_REQUIRED,
        ]
        .contains(&reason)
    };
    error.is_remote() && error.reason().is_some_and(|reason| !accuses(reason))
}

/// Looks below `error` for the socket's or the TLS layer's own error.
fn kind_of_source(error: &hyper::Error) -> Option<Kind> {
    let mut source = error.source();
    while let Some(current) = source {
        if current.downcast_ref().is_some_and(is_given_up) {
            return Some(Kind::Closed);
        }
        // h2 does not name the socket's error as its source.
        let of_h2 = current.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
        if let Some(io_error) = of_h2.or_else(|| current.downcast_ref()) {
            if io_error.get_ref().is_some_and(|inner| inner.is::<aioxide::net::tls::rustls::Error>()) {
                return Some(Kind::Tls);
            }
            return Some(match io_error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected
                | io::ErrorKind::TimedOut => Kind::Closed,
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Kind::Protocol,
                _ => Kind::Closed,
            });
        }
        source = current.source();
    }
    None
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner.kind {
            Kind::InvalidUrl => f.write_str("invalid url")?,
            Kind::InvalidRequest => f.write_str("invalid request")?,
            Kind::Timeout(TimeoutPhase::Total) => f.write_str("the request's time ran out")?,
            Kind::Timeout(TimeoutPhase::Pool) => f.write_str("no connection became free in time")?,
            Kind::Timeout(TimeoutPhase::Connect) => f.write_str("connecting took too long")?,
            Kind::Timeout(TimeoutPhase::SockConnect) => f.write_str("no address answered in time")?,
            Kind::Timeout(TimeoutPhase::Read) => f.write_str("the server sent nothing for too long")?,
            Kind::Connect => f.write_str("cannot connect")?,
            Kind::Denied => f.write_str("the address is not allowed")?,
            Kind::ProxyConnect => f.write_str("cannot connect to the proxy")?,
            Kind::Proxy(_) => f.write_str("the proxy opens no way")?,
            Kind::Tls => f.write_str("tls failed")?,
            Kind::Protocol => f.write_str("the answer is not valid http")?,
            Kind::Closed => f.write_str("the connection ended before the answer was whole")?,
            Kind::Redirect => f.write_str("redirects lead nowhere")?,
            Kind::Decode => f.write_str("the body cannot be decoded")?,
            Kind::TooLarge => f.write_str("the body is larger than allowed")?,
            Kind::RequestBody => f.write_str("the request's body failed")?,
            Kind::Status(status) => write!(f, "status {status}")?,
            Kind::Upgrade(status) => write!(f, "the server does not agree to a websocket: {status}")?,
            Kind::SessionClosed => f.write_str("the session is closed")?,
        }
        match (&self.inner.url, &self.inner.text) {
            (Some(url), _) => write!(f, " ({url})"),
            (None, Some(text)) => write!(f, " {text:?}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("url", &self.inner.url.as_ref().map(Url::as_str))
            .field("text", &self.inner.text)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_also_in_what_is_no_url() {
        for (text, shown) in [
            ("http://user:secret@host/a:b", "http://user:***@host/a:b"),
            ("http://user:se/cr@et@host:99999/", "http://user:***@host:99999/"),
            ("user:secret@host", "user:***@host"),
            ("http://host:80/a@b", "http://host:80/a@b"),
            ("http://host/a", "http://host/a"),
            ("http://user@host/", "http://user@host/"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }

    #[test]
    fn no_level_of_an_error_tells_a_password() {
        let url = Url::parse("ftp://user:secret@host/").unwrap();
        for error in
            [Error::new(Kind::InvalidUrl).with_url(&url), Error::invalid_url("http://user:secret@[/")]
        {
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        assert_eq!(Error::invalid_url("htp//x").to_string(), "invalid url \"htp//x\"");
    }
}

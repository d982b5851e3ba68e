//! A request being built.

use std::fmt;
use std::time::Duration;

use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::response::Response;
use crate::secret;
use crate::session::Session;
use crate::timeout::Timeouts;

/// What a request is made of, once it is built.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// A redirect has led to another origin: the session's own secrets stay behind, too.
    pub(crate) is_elsewhere: bool,
    pub(crate) body: Body,
    pub(crate) options: Options,
}

/// What a request may change of its session's settings.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) timeouts: Timeouts,
    pub(crate) redirects: usize,
    pub(crate) decompress: bool,
    pub(crate) max_body_size: Option<u64>,
}

/// Builds a request; made by [`Session::get`] and its kin.
///
/// A mistake (a URL that cannot be read, a header that HTTP does not allow) is kept and comes out of [`send`](Self::send).
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
/// let response = session
///     .post("http://127.0.0.1:8000/items")
///     .query(&[("kind", "new")])
///     .header("content-type", "text/plain")
///     .body("one item")
///     .send()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    session: Session,
    /// Boxed: every call of the builder moves it.
    request: Result<Box<Request>>,
}

impl RequestBuilder {
    pub(crate) fn new(session: Session, method: Method, url: impl IntoUrl, options: Options) -> Self {
        let request = url.into_url().and_then(|mut url| {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
                let why = format!("scheme {:?} is not http or https", url.scheme());
                return Err(Error::new(Kind::InvalidUrl).with_source(why).with_url(&url));
            }
            let mut headers = HeaderMap::new();
            if let Some(credentials) = take_credentials(&mut url) {
                headers.insert(AUTHORIZATION, credentials);
            }
            Ok(Box::new(Request { method, url, headers, is_elsewhere: false, body: Body::empty(), options }))
        });
        Self { session, request }
    }

    /// Sets a header, in place of the session's own of that name; called twice, it sends both.
    ///
    /// `Authorization`, `Cookie`, `Proxy-Authorization` and `Host` are for the origin of this URL, and do not go on to
    /// where it redirects; for others see [`secret_header`](Self::secret_header).
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.add_header(name, value, false)
    }

    /// Sets a header for the origin of this URL alone (scheme, name and port): a redirect elsewhere leaves it behind.
    ///
    /// A value marked with [`HeaderValue::set_sensitive`] is treated the same.
    pub fn secret_header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.add_header(name, value, true)
    }

    fn add_header<N, V>(self, name: N, value: V, is_secret: bool) -> Self
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.try_with(|request| {
            let (name, value) = header_pair(name, value, is_secret)?;
            secret::add(&mut request.headers, name, value);
            Ok(())
        })
    }

    /// Sets all these headers, in place of the ones of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|request| request.headers.extend(headers))
    }

    /// Adds these pairs to the URL's query, percent-encoded.
    pub fn query<K: AsRef<str>, V: AsRef<str>>(self, pairs: &[(K, V)]) -> Self {
        self.with(|request| {
            if !pairs.is_empty() {
                request.url.query_pairs_mut().extend_pairs(pairs);
            }
        })
    }

    /// Sets the body: bytes, text or a [`Body::stream`].
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.with(|request| request.body = body.into())
    }

    /// Proves who we are by name and password.
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        self.try_with(|request| {
            request.headers.insert(AUTHORIZATION, basic(user, password)?);
            Ok(())
        })
    }

    /// Proves who we are by a token.
    pub fn bearer_auth(self, token: &str) -> Self {
        self.try_with(|request| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|error| Error::new(Kind::InvalidRequest).with_source(error))?;
            value.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    /// Limits the whole request, from [`send`](Self::send) to the last byte of the body.
    pub fn timeout(self, total: Duration) -> Self {
        self.with(|request| request.options.timeouts.total = Some(total))
    }

    /// Sets the limits of time for all phases.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.with(|request| request.options.timeouts = timeouts)
    }

    /// Follows at most so many redirects; with 0 the redirect itself is the response.
    pub fn redirects(self, most: usize) -> Self {
        self.with(|request| request.options.redirects = most)
    }

    /// Whether the body is decoded, and codings are asked for.
    pub fn decompress(self, yes: bool) -> Self {
        self.with(|request| request.options.decompress = yes)
    }

    /// Makes a body of more than so many bytes, decoded, an error.
    pub fn max_body_size(self, bytes: u64) -> Self {
        self.with(|request| request.options.max_body_size = Some(bytes))
    }

    /// Sends the request, follows redirects, and waits for the head of the answer.
    ///
    /// A status of 400 or higher is an answer, not an error: see [`Response::error_for_status`].
    ///
    /// # Errors
    /// See the predicates of [`Error`].
    ///
    /// # Cancel safety
    /// Dropped half-way, it closes its connection; the place in the pool goes to the next one. Whether the server has seen
    /// the request is not known.
    pub async fn send(self) -> Result<Response> {
        self.session.execute(self.request?).await
    }

    fn with(self, change: impl FnOnce(&mut Request)) -> Self {
        self.try_with(|request| {
            change(request);
            Ok(())
        })
    }

    fn try_with(mut self, change: impl FnOnce(&mut Request) -> Result<()>) -> Self {
        if let Ok(request) = &mut self.request
            && let Err(error) = change(request)
        {
            let error = error.with_url(&request.url);
            self.request = Err(error);
        }
        self
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder").field("request", &self.request).finish_non_exhaustive()
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

/// A header's name and value, as they were given.
pub(crate) fn header_pair<N, V>(name: N, value: V, is_secret: bool) -> Result<(HeaderName, HeaderValue)>
where
    N: TryInto<HeaderName>,
    N::Error: Into<http::Error>,
    V: TryInto<HeaderValue>,
    V::Error: Into<http::Error>,
{
    let invalid = |error: http::Error| Error::new(Kind::InvalidRequest).with_source(error);
    let name = name.try_into().map_err(|error| invalid(error.into()))?;
    let mut value = value.try_into().map_err(|error| invalid(error.into()))?;
    value.set_sensitive(value.is_sensitive() || is_secret);
    Ok((name, value))
}

/// Takes `user:password@` out of a URL: it belongs into a header, and neither into `Host` nor into messages.
pub(crate) fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let user = percent_decode(url.username());
    let password = percent_decode(url.password().unwrap_or_default());
    // Both can fail only for URLs without a host, which were refused before.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let text = [user, b":".to_vec(), password].concat();
    basic_value(&text).ok()
}

fn basic(user: &str, password: &str) -> Result<HeaderValue> {
    basic_value(format!("{user}:{password}").as_bytes())
}

fn basic_value(credentials: &[u8]) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Basic {}", base64(credentials)))
        .map_err(|error| Error::new(Kind::InvalidRequest).with_source(error))?;
    value.set_sensitive(true);
    Ok(value)
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digits = bytes.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[index] == b'%' => {
                decoded.push(byte);
                index += 3;
            }
            _ => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    decoded
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let value =
            group.iter().fold(0_u32, |value, &byte| value << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                text.push(char::from(ALPHABET[(value >> (18 - 6 * place) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_every_length() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn credentials_leave_the_url() {
        let mut url = Url::parse("http://us%20er:p%40ss@host.test/x").unwrap();
        let value = take_credentials(&mut url).unwrap();
        assert_eq!(url.as_str(), "http://host.test/x");
        assert_eq!(value.to_str().unwrap(), format!("Basic {}", base64(b"us er:p@ss")));
    }
}

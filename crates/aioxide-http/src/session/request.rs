//! A request being built.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

#[cfg(feature = "digest")]
use crate::auth::Digest;
use url::Url;

use crate::auth::{self, take_credentials};
use crate::body::Body;
use crate::client::Client;
use crate::error::{Error, Kind, Result};
use crate::headers;
use crate::multipart::Multipart;
use crate::proxy::{Proxies, Proxy};
use crate::redirect::{RedirectAction, RedirectAttempt, RedirectPolicy};
use crate::request::{IntoUrl, Request};
use crate::response::Response;
use crate::retry::Retries;
use crate::timeout::Timeouts;
use crate::tls::Tls;
use crate::trace::Event;
use crate::transcript::Transcripts;

/// Builds a request; made by [`Session::get`](crate::Session::get) and its kin.
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
    client: Rc<Client>,
    /// Boxed: every call of the builder moves it.
    request: Result<Box<Request>>,
}

impl RequestBuilder {
    pub(super) fn new(client: Rc<Client>, method: Method, url: impl IntoUrl) -> Self {
        Self::from_result(client, method, url.into_url())
    }

    pub(super) fn from_result(client: Rc<Client>, method: Method, url: Result<Url>) -> Self {
        let request = url.and_then(|mut url| {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
                let why = format!("scheme {:?} is not http or https", url.scheme());
                return Err(Error::new(Kind::InvalidUrl).with_source(why).with_url(&url));
            }
            let options = client.options.clone();
            let mut headers = HeaderMap::new();
            if let Some(credentials) = take_credentials(&mut url) {
                headers.insert(AUTHORIZATION, credentials);
            }
            Ok(Box::new(Request {
                method,
                url,
                headers,
                is_elsewhere: false,
                body: Body::empty(),
                content_type: None,
                #[cfg(feature = "digest")]
                digest: None,
                options,
            }))
        });
        Self { client, request }
    }

    headers::methods! {
        /// Sets a header, in place of the session's own of that name; called twice, it sends both.
        ///
        /// `Authorization`, `Cookie`, `Proxy-Authorization` and `Host` are for the origin of this URL, and do not go on to
        /// where it redirects; for others see [`secret_header`](Self::secret_header).
        header;
        /// Sets a header for the origin of this URL alone (scheme, name and port): a redirect elsewhere leaves it behind.
        ///
        /// A value marked with [`HeaderValue::set_sensitive`] is treated the same.
        secret_header
    }

    pub(crate) fn add_header(self, pair: Result<(HeaderName, HeaderValue)>) -> Self {
        self.try_with(|request| {
            let (name, value) = pair?;
            headers::add(&mut request.headers, name, value);
            Ok(())
        })
    }

    /// Sets all these headers, in place of the ones of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|request| request.headers.extend(headers))
    }

    /// Sends none of the session's own headers: only `Host` and the headers of this request.
    pub fn without_defaults(self) -> Self {
        self.with(|request| request.options.is_bare = true)
    }

    /// Sends none of the session's headers that are for the origins of given URLs alone (see [`header`](Self::header)). For a URL that
    /// nobody has given: one that a server has named.
    pub fn without_secrets(self) -> Self {
        self.with(|request| request.is_elsewhere = true)
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
        self.with(|request| {
            request.body = body.into();
            request.content_type = None;
        })
    }

    /// Sends these pairs as a web page's form does (`application/x-www-form-urlencoded`).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
    /// let form = [("user", "me"), ("text", "a & b")];
    /// session.post("http://127.0.0.1:8000/login").form(&form).send().await?.error_for_status()?;
    /// # Ok(()) }
    /// ```
    pub fn form<K: AsRef<str>, V: AsRef<str>>(self, pairs: &[(K, V)]) -> Self {
        self.with(|request| {
            let coded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            request.body = coded.into();
            request.content_type = Some(HeaderValue::from_static("application/x-www-form-urlencoded"));
        })
    }

    /// Sends a form of several parts, files among them.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
    /// use aioxide_http::{Multipart, Part};
    ///
    /// let form = Multipart::new().text("album", "summer").part("photo", Part::new("...").file_name("a.jpg"));
    /// session.post("http://127.0.0.1:8000/photos").multipart(form).send().await?.error_for_status()?;
    /// # Ok(()) }
    /// ```
    pub fn multipart(self, form: Multipart) -> Self {
        self.try_with(|request| {
            let (content_type, body) = form.into_parts()?;
            request.body = body;
            request.content_type = Some(content_type);
            Ok(())
        })
    }

    /// Sends `value` as JSON.
    ///
    /// # Errors
    /// A value that cannot be written as JSON makes [`send`](Self::send) fail, with `is_invalid_request`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
    /// let numbers: Vec<u32> =
    ///     session.post("http://127.0.0.1:8000/sort").json(&[3, 1, 2]).send().await?.error_for_status()?.json().await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, value: &T) -> Self {
        self.try_with(|request| {
            let text = serde_json::to_vec(value)
                .map_err(|error| Error::new(Kind::InvalidRequest).with_source(error))?;
            request.body = text.into();
            request.content_type = Some(HeaderValue::from_static("application/json"));
            Ok(())
        })
    }

    /// Proves who we are by name and password.
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        self.try_with(|request| {
            request.headers.insert(AUTHORIZATION, auth::basic(user, password)?);
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

    /// Proves who we are by a name and a password that are not sent (RFC 7616), when the server asks; see [`Digest`].
    #[cfg(feature = "digest")]
    pub fn digest_auth(self, who: &Digest) -> Self {
        self.with(|request| request.digest = Some(who.clone()))
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

    /// Asks `policy` about each redirect before it is followed, in place of the session's.
    pub fn redirect_policy(self, policy: impl Fn(&RedirectAttempt<'_>) -> RedirectAction + 'static) -> Self {
        self.with(|request| request.options.redirect_policy = Some(RedirectPolicy(Rc::new(policy))))
    }

    /// Makes the request once more when it fails, as these say, in place of the session's.
    pub fn retries(self, retries: Retries) -> Self {
        self.with(|request| request.options.retries = Some(Rc::new(retries)))
    }

    /// Whether the body is decoded, and codings are asked for.
    pub fn decompress(self, yes: bool) -> Self {
        self.with(|request| request.options.decompress = yes)
    }

    /// Makes a body of more than so many bytes, decoded, an error.
    pub fn max_body_size(self, bytes: u64) -> Self {
        self.with(|request| request.options.max_body_size = Some(bytes))
    }

    /// Goes through this proxy, in place of the session's.
    pub fn proxy(self, proxy: Proxy) -> Self {
        self.proxies(Proxies::all(proxy))
    }

    /// Goes through these proxies, in place of the session's; [`Proxies::none`] for none.
    pub fn proxies(self, proxies: Proxies) -> Self {
        self.with(|request| request.options.route.proxies = Some(Rc::new(proxies)))
    }

    /// Asks in the words of HTTP/1.0, for old servers: nothing is sent in chunks, and the connection serves no other request
    /// unless the server keeps it.
    ///
    /// # Errors
    /// A body whose length is not known makes [`send`](Self::send) fail, with `is_invalid_request`.
    pub fn http1_0(self) -> Self {
        self.with(|request| request.options.route.is_http10 = true)
    }

    /// How TLS is made, in place of the session's way.
    pub fn tls(self, tls: Tls) -> Self {
        self.with(|request| request.options.route.tls = Some(tls))
    }

    /// Keeps there what goes over the connections: the heads of requests and answers as they were sent and came, and the bodies of
    /// answers that redirect, which are read to their ends for it.
    pub fn transcripts(self, transcripts: &Transcripts) -> Self {
        self.with(|request| request.options.transcripts = Some(transcripts.clone()))
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
        let mut request = self.request?;
        if let Some(content_type) = request.content_type.take() {
            request.headers.entry(CONTENT_TYPE).or_insert(content_type);
        }
        let mut progress = self.client.begin(&request);
        let result = self.client.execute(request, &mut progress).await;
        if let Err(error) = &result {
            progress.tell(&Event::RequestFailed { error });
        }
        result
    }

    /// Makes the request one whose connection is to become another one.
    #[cfg(feature = "websocket")]
    pub(crate) fn upgrading(self) -> Self {
        self.with(|request| request.options.route.is_upgrade = true)
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

//! The session: settings, the pool, and the way of one request through both.

use std::cell::Cell;
use std::fmt;
use std::rc::{Rc, Weak};

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, HeaderMap, RANGE};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Uri, Version};
use url::{Position, Url};

use crate::body::Body;
use crate::connection::{Failure, Multi, Single};
use crate::connector::{Connected, Connector, HostInfo};
use crate::decode::{self, Decoder};
use crate::error::{Error, Kind, Result, TimeoutPhase};
use crate::pool::{Acquired, Pool, PoolClosed};
use crate::redirect::{self, Next, Redirect};
use crate::request::{IntoUrl, Options, Request, RequestBuilder, take_credentials};
use crate::response::{Response, ResponseBody, StreamSlot};
use crate::rt::{self, Instant};
use crate::timeout::{Limits, earlier, within};

pub use builder::SessionBuilder;

mod builder;

/// The head of an answer, and its body to be.
type Answer = (http::response::Parts, ResponseBody);
type SessionPool = Pool<Box<Single>, Multi, HostInfo>;
type Host = crate::pool::Host<Box<Single>, Multi, HostInfo>;

/// An HTTP client that keeps its connections and shares them between its requests.
///
/// Cloning gives another handle to the same session. When the last handle is dropped, or after [`close`](Self::close),
/// idle connections are closed; responses that are being read go on to their end.
///
/// # Examples
///
/// ```no_run
/// use aioxide_http::Session;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = aioxide::run(async {
///     let session = Session::new();
///     session.get("https://www.rust-lang.org/").send().await?.error_for_status()?.text().await
/// })??;
/// # Ok(()) }
/// ```
///
/// asyncio: aiohttp's `ClientSession`, without its cookies so far; HTTP/2 is used where the server offers it.
#[derive(Clone)]
pub struct Session {
    inner: Rc<Inner>,
}

struct Inner {
    pool: Rc<SessionPool>,
    connector: Connector,
    defaults: HeaderMap,
    options: Options,
    retry: bool,
    /// Whether the task that closes idle connections runs.
    tended: Rc<Cell<bool>>,
}

impl Session {
    /// A session with the default settings.
    pub fn new() -> Self {
        SessionBuilder::default().finish()
    }

    /// Starts a session with settings of your own.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// A request with any method.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url, self.inner.options.clone())
    }

    /// A GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// An OPTIONS request.
    pub fn options(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::OPTIONS, url)
    }

    /// Closes idle connections, and refuses requests from now on; those under way go on to their end.
    pub fn close(&self) {
        self.inner.pool.close();
    }

    /// How many connections the session has, idle ones and those being made among them.
    pub fn connections(&self) -> usize {
        self.inner.pool.counts().0
    }

    /// How many of its connections are idle.
    pub fn idle_connections(&self) -> usize {
        self.inner.pool.counts().1
    }

    pub(crate) async fn execute(&self, mut request: Box<Request>) -> Result<Response> {
        let total = request.options.timeouts.total.map(|limit| rt::now() + limit);
        let limits = Limits { deadline: total, read: request.options.timeouts.read };
        let mut history = Vec::new();
        loop {
            let (head, mut body) = match self.exchange(&mut request, limits).await {
                Ok(answer) => answer,
                Err(error) => return Err(error.with_url(&request.url)),
            };
            let next = match request.options.redirects {
                0 => Next::Stay,
                _ => redirect::next(&request.method, &request.url, head.status, &head.headers),
            };
            match next {
                Next::Stay => {
                    let decoder = decoder_for(&request, &head);
                    body.configure(decoder, request.options.max_body_size);
                    return Ok(Response::new(head, request.url, history, body));
                }
                Next::Nowhere(target) => {
                    let source = format!("location {target:?} cannot be fetched");
                    return Err(Error::new(Kind::Redirect).with_source(source).with_url(&request.url));
                }
                Next::Follow(target) => {
                    if history.len() == request.options.redirects {
                        let source = format!("more than {} redirects", request.options.redirects);
                        return Err(Error::new(Kind::Redirect).with_source(source).with_url(&request.url));
                    }
                    if target.drop_body {
                        request.body = Body::empty();
                    } else if !request.body.is_replayable() {
                        let source = "the body is a stream, which cannot be sent again";
                        return Err(Error::new(Kind::Redirect).with_source(source).with_url(&request.url));
                    }
                    redirect::strip(&mut request.headers, &target);
                    request.is_elsewhere |= target.is_elsewhere;
                    // Its rest is read away beside us if it is small: a redirect's body is not worth waiting for.
                    drop(body);
                    let url = std::mem::replace(&mut request.url, target.url);
                    if let Some(credentials) = take_credentials(&mut request.url) {
                        request.headers.insert(AUTHORIZATION, credentials);
                    }
                    request.method = target.method;
                    history.push(Redirect { status: head.status, url, headers: head.headers });
                }
            }
        }
    }

    /// One request and its answer, without redirects; on a second connection when the first was found dead.
    async fn exchange(&self, request: &mut Request, limits: Limits) -> Result<Answer> {
        let inner = &*self.inner;
        let host = self.host(&request.url)?;
        let mut attempts = 0;
        loop {
            match self.acquire(&host, request, limits.deadline, attempts > 0).await? {
                Acquired::Reused(mut connection, slot) => {
                    let message = message(request, &host.info, Version::HTTP_11)?;
                    match connection.send(message, limits).await {
                        Ok(response) => {
                            let (head, incoming) = response.into_parts();
                            self.tend();
                            return Ok((head, ResponseBody::single(incoming, connection, slot, limits)));
                        }
                        Err(failure) => {
                            drop((connection, slot));
                            self.judge(request, failure, attempts)?;
                        }
                    }
                }
                Acquired::Shared(slot) => match self.over_http2(request, &host.info, slot, limits).await? {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => self.judge(request, failure, attempts)?,
                },
                Acquired::New(mut slot) => {
                    // Boxed, since it is rare and large: 4 KB of TLS would lie in the future of every request, to be
                    // moved whenever that is (7.0 KB in place of 3.0; 12 % of a bulk download's CPU was copying).
                    let connecting =
                        inner.connector.connect(&host.info, &request.options.timeouts, limits.deadline);
                    match Box::pin(connecting).await? {
                        Connected::Single(mut connection) => {
                            slot.established();
                            let message = message(request, &host.info, Version::HTTP_11)?;
                            let response =
                                connection.send(message, limits).await.map_err(|failure| failure.error)?;
                            let (head, incoming) = response.into_parts();
                            self.tend();
                            return Ok((head, ResponseBody::single(incoming, connection, slot, limits)));
                        }
                        Connected::Multi(multi, task) => {
                            let Some((slot, entry)) = slot.established_shared(multi) else { continue };
                            rt::spawn("http2 connection", async move {
                                task.await;
                                drop(entry);
                            });
                            self.tend();
                            match self.over_http2(request, &host.info, slot, limits).await? {
                                Ok(answer) => return Ok(answer),
                                Err(failure) => self.judge(request, failure, attempts)?,
                            }
                        }
                    }
                }
            }
            attempts += 1;
        }
    }

    async fn over_http2(
        &self,
        request: &mut Request,
        host: &HostInfo,
        slot: StreamSlot,
        limits: Limits,
    ) -> Result<std::result::Result<Answer, Failure>> {
        let message = message(request, host, Version::HTTP_2)?;
        Ok(slot.sender().send(message, limits).await.map(|(response, exchange)| {
            let (head, incoming) = response.into_parts();
            (head, ResponseBody::multi(incoming, exchange, slot, limits))
        }))
    }

    /// Says whether the request may go out once more, after a connection that had been used before failed.
    fn judge(&self, request: &mut Request, failure: Failure, attempts: u32) -> Result<()> {
        if let Some(unsent) = failure.unsent {
            // Nothing has left, so this is no retry; the request gets its body back.
            request.body.restore(unsent.into_body());
            if attempts < MAX_UNSENT {
                return Ok(());
            }
        } else if failure.refused && attempts < MAX_UNSENT && request.body.is_replayable() {
            return Ok(());
        }
        // RFC 9110, 9.2.2: what was sent may have been done already, so only what may be done twice is sent twice, and
        // only once, and only when the server closed without a word.
        let retried = self.inner.retry
            && attempts == 0
            && failure.silent
            && failure.error.is_closed()
            && request.method.is_idempotent()
            && request.body.is_replayable();
        if retried { Ok(()) } else { Err(failure.error) }
    }

    fn host(&self, url: &Url) -> Result<Rc<Host>> {
        let inner = &*self.inner;
        let negotiates = inner.connector.http2 && url.scheme() == "https";
        inner.pool.host(&url[..Position::BeforePath], negotiates, || HostInfo::new(url, &inner.defaults))
    }

    async fn acquire(
        &self,
        host: &Rc<Host>,
        request: &Request,
        total: Option<Instant>,
        fresh: bool,
    ) -> Result<Acquired<Box<Single>, Multi, HostInfo>> {
        let closed = |PoolClosed| Error::new(Kind::SessionClosed);
        if let Some(acquired) = self.inner.pool.try_acquire(host, fresh) {
            return acquired.map_err(closed);
        }
        let total = total.map(|total| (total, TimeoutPhase::Total));
        let pool = request.options.timeouts.pool.map(|limit| (rt::now() + limit, TimeoutPhase::Pool));
        within(earlier(total, pool), self.inner.pool.acquire(host, false))
            .await
            .map_err(Error::timeout)?
            .map_err(closed)
    }

    /// Makes sure that somebody closes connections that stay idle for too long.
    fn tend(&self) {
        if self.inner.tended.replace(true) {
            return;
        }
        let pool = Rc::downgrade(&self.inner.pool);
        rt::spawn("http pool", tend(pool, self.inner.tended.clone()));
    }
}

/// Closes idle connections in their time; ends when the session does, or when nothing is open.
async fn tend(pool: Weak<SessionPool>, tended: Rc<Cell<bool>>) {
    /// However the task ends. When that is because its loop does, idle connections end with it: they are of no use on another.
    struct Untended(Rc<Cell<bool>>, Weak<SessionPool>);
    impl Drop for Untended {
        fn drop(&mut self) {
            self.0.set(false);
            if let Some(pool) = self.1.upgrade() {
                pool.forget();
            }
        }
    }
    let _untended = Untended(tended, pool.clone());
    loop {
        let next = {
            let Some(pool) = pool.upgrade() else { return };
            let next = pool.expire(rt::now());
            if pool.counts().0 == 0 {
                return;
            }
            next.unwrap_or_else(|| rt::now() + pool.idle_timeout())
        };
        rt::sleep_until(next).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.close();
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, idle) = self.inner.pool.counts();
        f.debug_struct("Session")
            .field("connections", &connections)
            .field("idle", &idle)
            .finish_non_exhaustive()
    }
}

/// How many connections may be closed to a request that never left, or was not looked at, before it is given up.
const MAX_UNSENT: u32 = 10;

/// What hyper is to send.
fn message(request: &mut Request, host: &HostInfo, version: Version) -> Result<http::Request<Body>> {
    let invalid = |error: http::Error| Error::new(Kind::InvalidUrl).with_source(error);
    let target = request.url[Position::BeforePath..Position::AfterQuery].to_owned();
    let target =
        PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).map_err(|error| invalid(error.into()))?;
    let mut headers = if request.is_elsewhere { host.headers_elsewhere() } else { host.headers.clone() };
    // A part of a coded body cannot be decoded, and its numbers would count coded bytes.
    if host.offers_codings && (!request.options.decompress || request.headers.contains_key(RANGE)) {
        headers.remove(ACCEPT_ENCODING);
    }
    if !request.headers.is_empty() {
        headers.extend(request.headers.clone());
    }
    let uri = if version == Version::HTTP_2 {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(host.scheme.clone());
        parts.authority = Some(match headers.remove(HOST).filter(|name| *name != host.authority.as_str()) {
            Some(name) => Authority::try_from(name.as_bytes()).map_err(|error| invalid(error.into()))?,
            None => host.authority.clone(),
        });
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).map_err(|error| invalid(error.into()))?
    } else {
        Uri::from(target)
    };
    let mut message = http::Request::new(request.body.take_for_attempt());
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    *message.headers_mut() = headers;
    Ok(message)
}

fn decoder_for(request: &Request, head: &http::response::Parts) -> Option<Decoder> {
    if !request.options.decompress || request.method == Method::HEAD {
        return None;
    }
    Decoder::new(&decode::codings(&head.headers)?)
}

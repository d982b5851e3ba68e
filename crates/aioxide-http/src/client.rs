//! What stands behind a session: its settings, the pool, and the way of one request through both.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, SET_COOKIE};
use http::{Method, StatusCode, Version};
use url::{Position, Url};

use crate::auth::{Netrc, basic, take_credentials};
use crate::body::Body;
use crate::connection::{Failure, Multi, Single};
use crate::connector::{Connected, Connector, HostInfo};
use crate::cookies::CookieStore;
use crate::decode::{self, Decoder};
use crate::error::{Error, Kind, Result, TimeoutPhase, redact};
use crate::headers;
use crate::pool::{Acquired, Pool, PoolClosed};
use crate::redirect::{self, Next, Redirect, RedirectAction, RedirectAttempt};
use crate::request::{Options, Request, Route};
use crate::response::{Arrived, Response, ResponseBody, StreamSlot};
use crate::retry::Retries;
use crate::rt::{self, Instant};
use crate::timeout::{Limits, earlier, within};
use crate::trace::{Event, Observer, Progress, RequestId, Timings};

use message::message;

mod message;

/// The head of an answer, and its body to be.
type Answer = (http::response::Parts, Box<ResponseBody>);
type SessionPool = Pool<Box<Single>, Multi, HostInfo>;
type Host = crate::pool::Host<Box<Single>, Multi, HostInfo>;

/// A session's settings and connections, shared by its handles and its requests.
pub(crate) struct Client {
    pub(crate) pool: Rc<SessionPool>,
    pub(crate) connector: Connector,
    pub(crate) defaults: HeaderMap,
    pub(crate) options: Options,
    pub(crate) retry: bool,
    pub(crate) cookies: Option<Box<dyn CookieStore>>,
    pub(crate) observer: Option<Rc<dyn Observer>>,
    pub(crate) netrc: Option<Netrc>,
    /// Whether the task that closes idle connections runs.
    pub(crate) tended: Rc<Cell<bool>>,
}

impl Client {
    /// The request begins: who wants to know of it is told.
    pub(crate) fn begin(&self, request: &Request) -> Progress {
        let progress = Progress::new(self.observer.as_ref(), next_id);
        progress.tell(&Event::RequestStart {
            method: &request.method,
            url: &request.url,
            headers: &request.headers,
        });
        progress
    }

    /// Sends `request`, follows redirects, and waits for the head of the answer.
    pub(crate) async fn execute(
        &self,
        mut request: Box<Request>,
        progress: &mut Progress,
    ) -> Result<Response> {
        let total = request.options.timeouts.total.map(|limit| rt::now() + limit);
        let limits = Limits { deadline: total, read: request.options.timeouts.read };
        let mut history = Vec::new();
        loop {
            let mut result = self.exchange(&mut request, limits, progress).await;
            if may_repeat(&request, &result) {
                // Boxed, since it is rare: its future would lie in that of every request.
                result = Box::pin(self.repeat(result, &mut request, limits, progress)).await;
            }
            let (mut head, mut body) = match result {
                Ok(answer) => answer,
                Err(error) => return Err(error.with_url(&request.url)),
            };
            if let Some(transcripts) = &request.options.transcripts {
                transcripts.answered(&request, &mut head, &body);
            }
            if let Some(cookies) = &self.cookies
                && head.headers.contains_key(SET_COOKIE)
            {
                cookies.store(&request.url, &head.headers);
            }
            let next = match request.options.redirects {
                0 => Next::Stay,
                _ => redirect::next(&request.method, &request.url, head.status, &head.headers),
            };
            let (next, action) = match next {
                Next::Follow(target) => {
                    let action = decide(&request, &head, &target.url, &history);
                    (if action == RedirectAction::Stop { Next::Stay } else { Next::Follow(target) }, action)
                }
                other => (other, RedirectAction::Follow),
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
                Next::Follow(target) if action == RedirectAction::Refuse => {
                    let source = format!("the redirect policy refuses {}", redact(target.url.as_str()));
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
                    if let Some(transcripts) = &request.options.transcripts {
                        Box::pin(transcripts.read_redirect(&mut body)).await;
                    }
                    // Its rest is read away beside us if it is small: a redirect's body is not worth waiting for.
                    drop(body);
                    progress.tell(&Event::Redirect {
                        from: &request.url,
                        to: &target.url,
                        status: head.status,
                    });
                    let url = std::mem::replace(&mut request.url, target.url);
                    if let Some(credentials) = take_credentials(&mut request.url) {
                        request.headers.insert(AUTHORIZATION, credentials);
                    }
                    let method = std::mem::replace(&mut request.method, target.method);
                    let (status, version) = (head.status, head.version);
                    history.push(Redirect { method, status, version, url, headers: head.headers });
                }
            }
        }
    }

    /// Makes a request once more as its retries and challenges want it, until its answer or error stands.
    async fn repeat(
        &self,
        mut result: Result<Answer>,
        request: &mut Request,
        limits: Limits,
        progress: &mut Progress,
    ) -> Result<Answer> {
        let mut attempts = 0;
        let mut challenges = 0;
        loop {
            if let Ok((head, _)) = &result
                && head.status == StatusCode::UNAUTHORIZED
                && challenges < MAX_CHALLENGES
                && request.body.is_replayable()
                && is_answerable(request, &head.headers, challenges > 0)
            {
                challenges += 1;
                drop(result);
            } else {
                attempts += 1;
                let Some(retries) = request.options.retries.as_ref().filter(|_| request.body.is_replayable())
                else {
                    return result;
                };
                let pause = match &result {
                    Ok((head, _)) => {
                        retries.after_answer(attempts, &request.method, head.status, &head.headers)
                    }
                    Err(error) => retries.after_error(attempts, &request.method, error),
                };
                let Some(delay) = pause else { return result };
                let until = rt::now() + delay;
                if limits.deadline.is_some_and(|deadline| until >= deadline) {
                    return result;
                }
                progress.tell(&Event::Retry { attempts, delay });
                drop(result);
                rt::sleep_until(until).await;
            }
            result = self.exchange(request, limits, progress).await;
        }
    }

    /// One request and its answer, without redirects; on a second connection when the first was found dead.
    async fn exchange(
        &self,
        request: &mut Request,
        limits: Limits,
        progress: &mut Progress,
    ) -> Result<Answer> {
        progress.timings = Timings::default();
        let host = self.host(&request.url, &request.options.route)?;
        let mut attempts = 0;
        loop {
            let pause;
            match self.acquire(&host, request, limits.deadline, attempts > 0, progress).await? {
                Acquired::Reused(mut connection, slot) => {
                    progress.tell(&Event::ConnectionReused);
                    let message = self.message(request, &host.info, Version::HTTP_11, progress)?;
                    let began = rt::now();
                    match connection.send(message, limits).await {
                        Ok(response) => {
                            let (head, incoming) = response.into_parts();
                            self.tend();
                            let arrived = arrived(&head, began, progress);
                            return Ok((
                                head,
                                ResponseBody::single(incoming, connection, slot, limits, arrived),
                            ));
                        }
                        Err(failure) => {
                            drop((connection, slot));
                            pause = self.judge(request, &host.info, failure, attempts)?;
                        }
                    }
                }
                Acquired::Shared(slot) => {
                    progress.tell(&Event::ConnectionReused);
                    match self.over_http2(request, &host.info, slot, limits, progress).await? {
                        Ok(answer) => return Ok(answer),
                        Err(failure) => pause = self.judge(request, &host.info, failure, attempts)?,
                    }
                }
                Acquired::New(mut slot) => {
                    // Boxed, since it is rare and large: 4 KB of TLS would lie in the future of every request, to be
                    // moved whenever that is (7.0 KB in place of 3.0; 12 % of a bulk download's CPU was copying).
                    let connecting = self.connector.connect(
                        &host.info,
                        &request.options.timeouts,
                        limits.deadline,
                        progress,
                    );
                    match Box::pin(connecting).await? {
                        Connected::Single(mut connection) => {
                            slot.established();
                            let message = self.message(request, &host.info, Version::HTTP_11, progress)?;
                            let began = rt::now();
                            let response =
                                connection.send(message, limits).await.map_err(|failure| failure.error)?;
                            let (head, incoming) = response.into_parts();
                            self.tend();
                            let arrived = arrived(&head, began, progress);
                            return Ok((
                                head,
                                ResponseBody::single(incoming, connection, slot, limits, arrived),
                            ));
                        }
                        Connected::Multi(multi, task) => {
                            let Some((slot, entry)) = slot.established_shared(multi) else { continue };
                            rt::spawn("http2 connection", async move {
                                task.await;
                                drop(entry);
                            });
                            self.tend();
                            match self.over_http2(request, &host.info, slot, limits, progress).await? {
                                Ok(answer) => return Ok(answer),
                                Err(failure) => pause = self.judge(request, &host.info, failure, attempts)?,
                            }
                        }
                    }
                }
            }
            attempts += 1;
            if !pause.is_zero() {
                let until = rt::now() + pause;
                rt::sleep_until(limits.deadline.map_or(until, |deadline| until.min(deadline))).await;
            }
        }
    }

    /// The request for hyper, with the cookies that its URL gets.
    fn message(
        &self,
        request: &mut Request,
        host: &HostInfo,
        version: Version,
        progress: &Progress,
    ) -> Result<http::Request<Body>> {
        let mut message = message(request, host, version)?;
        if let Some(value) = self.cookies.as_ref().and_then(|cookies| cookies.header(&request.url)) {
            headers::add(message.headers_mut(), COOKIE, value);
        }
        self.prove(request, host, message.headers_mut())?;
        progress.tell(&Event::RequestHeaders { headers: message.headers() });
        if let Some(transcripts) = &request.options.transcripts {
            transcripts.begin(&request.url, &mut message);
        }
        Ok(message)
    }

    /// Adds what proves who we are, where the request does not say it itself.
    fn prove(&self, request: &Request, host: &HostInfo, headers: &mut HeaderMap) -> Result<()> {
        #[cfg(feature = "digest")]
        if let Some(digest) = request.digest.as_ref().filter(|_| !request.is_elsewhere) {
            let url = &request.url;
            let (origin, target) =
                (&url[..Position::BeforePath], &url[Position::BeforePath..Position::AfterQuery]);
            if let Some(value) = digest.header(origin, &request.method, target, request.body.as_bytes()) {
                headers.insert(AUTHORIZATION, value);
            }
            return Ok(());
        }
        if let Some(netrc) = &self.netrc
            && !request.options.is_bare
            && !headers.contains_key(AUTHORIZATION)
            && let Some((user, password)) = netrc.find(host.name())
        {
            headers.insert(AUTHORIZATION, basic(user, password)?);
        }
        Ok(())
    }

    async fn over_http2(
        &self,
        request: &mut Request,
        host: &HostInfo,
        slot: StreamSlot,
        limits: Limits,
        progress: &mut Progress,
    ) -> Result<std::result::Result<Answer, Failure>> {
        let message = self.message(request, host, Version::HTTP_2, progress)?;
        let began = rt::now();
        Ok(slot.sender().send(message, limits).await.map(|(response, exchange)| {
            let (head, incoming) = response.into_parts();
            let arrived = arrived(&head, began, progress);
            (head, ResponseBody::multi(incoming, exchange, slot, limits, arrived))
        }))
    }

    /// After what pause the request goes out once more, after a connection that had been used before failed.
    ///
    /// # Errors
    /// The failure, when it does not.
    fn judge(
        &self,
        request: &mut Request,
        host: &HostInfo,
        failure: Failure,
        attempts: u32,
    ) -> Result<Duration> {
        if failure.wants_http1 && host.insist_on_http1() && request.body.is_replayable() {
            return Ok(Duration::ZERO);
        }
        if let Some(unsent) = failure.unsent {
            // Nothing has left, so this is no retry; the request gets its body back.
            request.body.restore(unsent.into_body());
            if attempts < MAX_UNSENT {
                return Ok(Duration::ZERO);
            }
        } else if failure.refused && attempts < MAX_UNSENT && request.body.is_replayable() {
            // The first time it may be an accident; a server that goes on refusing has too much to do.
            let pauses = Retries::new(MAX_UNSENT).pause(REFUSED_PAUSE).longest_pause(REFUSED_PAUSE * 64);
            return Ok(if attempts == 0 { Duration::ZERO } else { pauses.backoff(attempts) });
        }
        // RFC 9110, 9.2.2: what was sent may have been done already, so only what may be done twice is sent twice, and
        // only once, and only when the server closed without a word or what came was no answer to it.
        let retried = self.retry
            && attempts == 0
            && (failure.silent && failure.error.is_closed() || failure.garbled)
            && request.method.is_idempotent()
            && request.body.is_replayable();
        if retried { Ok(Duration::ZERO) } else { Err(failure.error) }
    }

    fn host(&self, url: &Url, route: &Route) -> Result<Rc<Host>> {
        let negotiates = self.connector.http2 && url.scheme() == "https" && !route.is_http1_only();
        let origin = &url[..Position::BeforePath];
        let own_key = route.key(url, origin);
        let tunnels = self.connector.always_tunnels();
        self.pool.host(own_key.as_deref().unwrap_or(origin), negotiates, || {
            HostInfo::new(url, route, tunnels, &self.defaults)
        })
    }

    async fn acquire(
        &self,
        host: &Rc<Host>,
        request: &Request,
        total: Option<Instant>,
        fresh: bool,
        progress: &mut Progress,
    ) -> Result<Acquired<Box<Single>, Multi, HostInfo>> {
        let closed = |PoolClosed| Error::new(Kind::SessionClosed);
        if let Some(acquired) = self.pool.try_acquire(host, fresh) {
            return acquired.map_err(closed);
        }
        progress.tell(&Event::QueueStart);
        let began = rt::now();
        let total = total.map(|total| (total, TimeoutPhase::Total));
        let pool = request.options.timeouts.pool.map(|limit| (began + limit, TimeoutPhase::Pool));
        let acquired = within(earlier(total, pool), self.pool.acquire(host, fresh))
            .await
            .map_err(Error::timeout)?
            .map_err(closed)?;
        progress.timings.queue += rt::now().duration_since(began);
        progress.tell(&Event::QueueEnd);
        Ok(acquired)
    }

    /// Makes sure that somebody closes connections that stay idle for too long.
    fn tend(&self) {
        if self.tended.replace(true) {
            return;
        }
        let pool = Rc::downgrade(&self.pool);
        rt::spawn("http pool", tend(pool, self.tended.clone()));
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

impl Drop for Client {
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// The head of an answer has come, to what was sent at `began`.
fn arrived(head: &http::response::Parts, began: Instant, progress: &mut Progress) -> Arrived {
    progress.tell(&Event::ResponseHead { status: head.status, headers: &head.headers });
    let at = rt::now();
    progress.timings.first_byte = at.duration_since(began);
    Arrived { at, progress: progress.clone() }
}

/// What the request's policy says about a redirect.
fn decide(request: &Request, head: &http::response::Parts, to: &Url, history: &[Redirect]) -> RedirectAction {
    let (status, headers, from) = (head.status, &head.headers, &request.url);
    let attempt = RedirectAttempt { status, headers, from, to, history };
    request.options.redirect_policy.as_ref().map_or(RedirectAction::Follow, |policy| policy.0(&attempt))
}

/// Whether another attempt can answer what an answer of 401 asks.
fn is_answerable(request: &Request, headers: &HeaderMap, answered: bool) -> bool {
    #[cfg(feature = "digest")]
    if let Some(digest) = request.digest.as_ref().filter(|_| !request.is_elsewhere) {
        return digest.challenged(&request.url[..Position::BeforePath], headers, answered);
    }
    let _ = (request, headers, answered);
    false
}

/// Whether the request may have to be made once more.
fn may_repeat(request: &Request, result: &Result<Answer>) -> bool {
    request.options.retries.is_some()
        || matches!(result, Ok((head, _)) if head.status == StatusCode::UNAUTHORIZED)
}

/// How often a server may ask one request who we are: once, and once more when its nonce was too old.
const MAX_CHALLENGES: u32 = 2;

/// A number that no other request of this process has.
fn next_id() -> RequestId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    RequestId(LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

/// How many connections may be closed to a request that never left, or was not looked at, before it is given up.
const MAX_UNSENT: u32 = 10;

/// The pause before a request that an HTTP/2 server has refused twice goes out again; each one after it is twice as long.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

fn decoder_for(request: &Request, head: &http::response::Parts) -> Option<Decoder> {
    if !request.options.decompress || request.method == Method::HEAD {
        return None;
    }
    Decoder::new(&decode::codings(&head.headers)?)
}

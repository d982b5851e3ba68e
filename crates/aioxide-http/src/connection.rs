//! A connection in use: hyper's state machines, driven from inside the task that waits for the answer.
//!
//! hyper expects its `Connection` in a task of its own: request and answer then cross between two tasks, which costs three
//! task switches for an exchange. Here whoever waits for an HTTP/1 answer or body drives the connection in the same
//! poll, so an exchange costs no switch, an idle connection costs no task, and a dropped request closes its
//! socket at once. An HTTP/2 connection serves many tasks, so it has one of its own.
//!
//! Both sides of hyper wake each other while we poll them. [`Wakeup`] keeps these wakes to ourselves.
//!
//! ## States of a `Wakeup`
//!
//! | bits | meaning | a wake |
//! |---|---|---|
//! | none | nobody polls | sets `WOKEN`, wakes the parent |
//! | `WOKEN` | the parent has been woken and will come | does nothing |
//! | `RUNNING` | we are polling | sets `WOKEN`, and we poll again |
//!
//! Nobody waits for an idle connection. `WOKEN` then says that something happened on the socket, and only then is
//! the connection looked at before it is used again.
//!
//! Invariant: the parent's waker is woken and dropped while nothing is locked. It may be anybody's code, and a waker that polls
//! at once comes back here.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::header::{EXPECT, HeaderMap, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::ext::ReasonPhrase;

use crate::body::Body;
use crate::error::{Error, Kind, TimeoutPhase, is_given_up};
use crate::framing;
use crate::pool::Pooled;
use crate::rt::{Io, Stream, Traffic};
use crate::timeout::{Limits, Watch};
use crate::transcript::{KeepHead, RawHead};

pub(crate) use aborts::Aborts;
pub(crate) use multi::{Exchange, Multi};

mod aborts;
mod multi;

/// How often hyper's halves may wake each other in one poll before other tasks get their turn.
///
/// One exchange takes two rounds, so does a piece of a body. A socket that has used up its turn wakes us too.
const MAX_ROUNDS: usize = 4;

/// The same for a connection at its end, which is closed when it does not come to rest.
const MAX_LAST_ROUNDS: usize = 32;

/// An exchange that failed.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The request, when nothing of it was sent.
    pub(crate) unsent: Option<Request<Body>>,
    /// Whether not a single byte of the answer had come.
    pub(crate) silent: bool,
    /// Whether the server said that it has not even looked at the request.
    pub(crate) refused: bool,
    /// Whether what came was no head of an answer: on a connection that was used before, it may be the late rest of an
    /// answer that was longer than it said.
    pub(crate) garbled: bool,
    /// Whether the server said that it takes the request over HTTP/1.1 only (RFC 9113, 7).
    pub(crate) wants_http1: bool,
}

impl Failure {
    fn new(error: Error, silent: bool) -> Self {
        Self { error, unsent: None, silent, refused: false, garbled: false, wants_http1: false }
    }

    fn of_attempt(mut failed: TrySendError<Request<Body>>, silent: bool) -> Self {
        let unsent = failed.take_message();
        let error = failed.into_error();
        let (refused, garbled) = (is_refused(&error), error.is_parse());
        // A stream that is reset is a word: it may have been worked on.
        let silent = silent && !h2_error(&error).is_some_and(is_given_up);
        let wants_http1 = h2_error(&error)
            .is_some_and(|error| error.is_remote() && error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED));
        // A frame that breaks the protocol ends the connection for all streams: those that had no part in it have lost theirs.
        let is_ended = h2_error(&error).is_some_and(|error| error.is_go_away() && error.is_library());
        let error = match refused || is_ended {
            true => Error::new(Kind::Closed).with_source(error),
            false => Error::from_hyper(error),
        };
        Self { error, unsent, silent: silent || refused, refused, garbled, wants_http1 }
    }
}

/// RFC 9113, 8.7: what a server refuses, or leaves behind when it says goodbye, it has not processed.
fn is_refused(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|error| {
        let reason = error.reason();
        error.is_remote()
            && (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
                || error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
    })
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// An HTTP/1 connection: one exchange at a time.
pub(crate) struct Single {
    sender: http1::SendRequest<Body>,
    /// `None` once the connection has ended.
    driver: Option<http1::Connection<Io, Body>>,
    wakeup: Arc<Wakeup>,
    waker: Waker,
    aborts: Rc<Aborts>,
    traffic: Rc<Traffic>,
    watch: Watch,
    pub(crate) peer: Option<SocketAddr>,
    /// The answer under way is the last one.
    is_last: bool,
    /// The request under way wants the connection to become another one; what drives it is kept when it has ended.
    wants_upgrade: bool,
    ended: Option<http1::Connection<Io, Body>>,
    /// It has become another one, and is neither used again nor read here.
    is_upgraded: bool,
}

impl Single {
    pub(crate) async fn start(
        io: Io,
        builder: &http1::Builder,
        aborts: &Rc<Aborts>,
    ) -> Result<Box<Self>, Error> {
        let (traffic, peer) = (io.traffic(), io.peer);
        // HTTP/1 has no handshake: this does not wait.
        let (sender, driver) = builder.handshake(io).await.map_err(Error::from_hyper)?;
        let wakeup = Arc::new(Wakeup::default());
        let waker = Waker::from(wakeup.clone());
        let watch = Watch::default();
        aborts.watch(&wakeup);
        Ok(Box::new(Self {
            sender,
            driver: Some(driver),
            wakeup,
            waker,
            aborts: aborts.clone(),
            traffic,
            watch,
            peer,
            is_last: false,
            wants_upgrade: false,
            ended: None,
            is_upgraded: false,
        }))
    }

    /// Sends `request` and waits for the head of the answer.
    ///
    /// # Cancel safety
    /// Dropped half-way, the connection must not be used again.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Body>,
        limits: Limits,
    ) -> Result<Response<Incoming>, Failure> {
        let before = self.traffic.received.get();
        self.watch.progress();
        self.traffic.head.borrow_mut().expect();
        if expects_word(&request) {
            request.body_mut().hold(self.traffic.clone());
        }
        if request.extensions_mut().remove::<KeepHead>().is_some() {
            self.traffic.head.borrow_mut().keep();
        }
        let method = request.method().clone();
        self.wants_upgrade = request.headers().contains_key(UPGRADE);
        let mut answer = pin!(self.sender.try_send_request(request));
        let result = poll_fn(|cx| self.poll_with(cx, limits, |cx| answer.as_mut().poll(cx))).await;
        let silent = self.traffic.received.get() == before;
        match result {
            Ok(Some(Ok(mut response))) => {
                {
                    let mut head = self.traffic.head.borrow_mut();
                    if head.is_http10() {
                        *response.version_mut() = Version::HTTP_10;
                    }
                    if let Some(raw) = head.take_kept() {
                        response.extensions_mut().insert(RawHead(raw));
                    }
                    if let Some(reason) =
                        head.take_reason().and_then(|words| ReasonPhrase::try_from(words).ok())
                    {
                        response.extensions_mut().insert(reason);
                    }
                }
                match framing::judge(&method, &response) {
                    Ok(reusable) => {
                        self.is_upgraded =
                            self.wants_upgrade && response.status() == StatusCode::SWITCHING_PROTOCOLS;
                        // An answer to a request whose body was held back is the last one: the body is still to come.
                        let is_held = self.traffic.is_held.replace(false);
                        self.is_last = !reusable || self.is_upgraded || is_held;
                        Ok(response)
                    }
                    Err(why) => Err(Failure::new(Error::new(Kind::Protocol).with_source(why), false)),
                }
            }
            Ok(Some(Err(failed))) => Err(Failure::of_attempt(failed, silent)),
            Ok(None) => Err(Failure::new(Error::new(Kind::Closed), silent)),
            Err(phase) => Err(Failure::new(Error::timeout(phase), false)),
        }
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        incoming: &mut Incoming,
        trailers: &mut Option<HeaderMap>,
        limits: Limits,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        let next = self.poll_with(cx, limits, |cx| poll_incoming(incoming, trailers, cx));
        next.map(|next| match next {
            Ok(Some(next)) => next,
            Ok(None) => Some(Err(Error::new(Kind::Closed))),
            Err(phase) => Some(Err(Error::timeout(phase))),
        })
    }

    pub(crate) fn is_upgraded(&self) -> bool {
        self.is_upgraded
    }

    /// What a connection that has become another one leaves.
    pub(crate) fn into_upgraded(self) -> Option<Upgraded> {
        let parts = self.driver.or(self.ended)?.into_parts();
        Some(Upgraded { stream: parts.io.into_stream(), already: parts.read_buf, aborts: self.aborts })
    }

    /// Whether the exchange has come to its end, and another may follow.
    pub(crate) fn is_reusable(&mut self) -> bool {
        if self.is_last || self.traffic.is_cut.get() {
            return false;
        }
        if !self.sender.is_ready() {
            let parent = self.wakeup.lock().take();
            drop(parent);
            self.drive_detached();
        }
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Polls `wanted` and the connection in turns, until neither has anything to do.
    ///
    /// `wanted` gets a waker that does nothing: only the connection can make it ready, and it is polled after it. So a
    /// wake always means that the connection itself has something to do.
    ///
    /// `None`: the connection ended without an answer to `wanted`.
    fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        limits: Limits,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<Option<T>, TimeoutPhase>> {
        let before = self.moved();
        let mut running = Running::enter(&self.wakeup, cx.waker());
        let mut own = Context::from_waker(&self.waker);
        let mut idle = Context::from_waker(Waker::noop());
        let mut rounds = 0;
        if self.aborts.is_set() {
            self.driver = None;
            return Poll::Ready(Ok(None));
        }
        loop {
            if let Poll::Ready(output) = wanted(&mut idle) {
                self.watch.progress();
                running.keep_quiet();
                return Poll::Ready(Ok(Some(output)));
            }
            if rounds > 0 && !running.is_woken() || rounds == MAX_ROUNDS {
                // If it is still woken, the parent is woken when `running` is dropped.
                break;
            }
            rounds += 1;
            running.clear();
            let Some(driver) = &mut self.driver else { return Poll::Ready(Ok(None)) };
            if Pin::new(driver).poll(&mut own).is_ready() {
                // Whatever its result, hyper has told the exchange too: `wanted` has it.
                self.ended = self.driver.take().filter(|_| self.wants_upgrade);
                running.wakeup.wake_by_ref();
            }
        }
        if self.traffic.received.get() + self.traffic.sent.get() != before {
            self.watch.progress();
        }
        self.watch.poll_expired(&mut own, limits).map(Err)
    }

    /// How many bytes have passed, either way: while it grows there is no silence.
    fn moved(&self) -> u64 {
        self.traffic.received.get() + self.traffic.sent.get()
    }

    /// Lets the connection do what it can now, with nobody waiting for it.
    fn drive_detached(&mut self) {
        let running = Running::detached(&self.wakeup);
        let mut own = Context::from_waker(&self.waker);
        for _ in 0..MAX_LAST_ROUNDS {
            running.clear();
            let Some(driver) = &mut self.driver else { return };
            if Pin::new(driver).poll(&mut own).is_ready() {
                self.driver = None;
            } else if !running.is_woken() {
                return;
            }
        }
        // Still not at rest: a connection that should be idle is not.
        self.driver = None;
    }
}

impl Pooled for Box<Single> {
    fn is_alive(&mut self) -> bool {
        if self.wakeup.is_woken() {
            self.drive_detached();
        }
        self.driver.is_some() && self.sender.is_ready()
    }
}

impl fmt::Debug for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single").field("open", &self.driver.is_some()).finish_non_exhaustive()
    }
}

/// The stream of a connection that has become another one, and what has come already.
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    pub(crate) already: Bytes,
    pub(crate) aborts: Rc<Aborts>,
}

/// Whether the body is to be sent only when the server asks for it.
fn expects_word(request: &Request<Body>) -> bool {
    !request.body().is_end_stream()
        && request
            .headers()
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The next piece of `incoming`; `None` at its end, with the headers behind it in `trailers`.
pub(crate) fn poll_incoming(
    incoming: &mut Incoming,
    trailers: &mut Option<HeaderMap>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, Error>>> {
    loop {
        match std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(data))),
                Err(frame) => *trailers = frame.into_trailers().ok(),
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(Error::from_hyper(error)))),
            None => return Poll::Ready(None),
        }
    }
}

/// The waker of a connection: its own while it is being polled, its parent's at other times.
#[derive(Default)]
struct Wakeup {
    state: AtomicU8,
    parent: Mutex<Option<Waker>>,
}

const WOKEN: u8 = 1;
const RUNNING: u8 = 2;

impl Wakeup {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.parent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_woken(&self) -> bool {
        self.state.load(Ordering::Acquire) & WOKEN != 0
    }

    fn wake_parent(&self) {
        // Cloned, not taken: a wake from another thread could take the parent of the poll that begins just now.
        let parent = self.lock().clone();
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) == 0 {
            self.wake_parent();
        }
    }
}

/// While it lives, wakes only set `WOKEN`.
struct Running<'a> {
    wakeup: &'a Arc<Wakeup>,
    quiet: bool,
}

impl<'a> Running<'a> {
    fn enter(wakeup: &'a Arc<Wakeup>, parent: &Waker) -> Self {
        let known = wakeup.lock().as_ref().is_some_and(|old| old.will_wake(parent));
        if !known {
            let new = parent.clone();
            let old = wakeup.lock().replace(new);
            drop(old);
        }
        // A wake from before stays to be seen: it is cleared only when the driver is polled.
        wakeup.state.fetch_or(RUNNING, Ordering::AcqRel);
        Self { wakeup, quiet: false }
    }

    /// Nobody waits. The last parent stays where it is, since the pool, which is borrowed, may be what calls.
    fn detached(wakeup: &'a Arc<Wakeup>) -> Self {
        wakeup.state.fetch_or(RUNNING, Ordering::AcqRel);
        Self { wakeup, quiet: true }
    }

    /// Called just before the driver is polled.
    fn clear(&self) {
        self.wakeup.state.store(RUNNING, Ordering::Release);
    }

    fn is_woken(&self) -> bool {
        self.wakeup.is_woken()
    }

    /// The parent is awake and has what it waited for: it need not be woken.
    fn keep_quiet(&mut self) {
        self.quiet = true;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // A wake that came after the last look, from another thread or from a timer, must not be lost.
        let before = self.wakeup.state.fetch_and(!RUNNING, Ordering::AcqRel);
        if before & WOKEN != 0 && !self.quiet {
            self.wakeup.wake_parent();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A waker that looks whether it is called while the connection's is locked.
    #[derive(Default)]
    struct Looks {
        wakeup: OnceLock<Arc<Wakeup>>,
        calls: Arc<AtomicUsize>,
    }

    impl Looks {
        fn look(&self) {
            let wakeup = self.wakeup.get().expect("set at once");
            assert!(wakeup.parent.try_lock().is_ok(), "called while it is locked");
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.look();
        }
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            self.look();
        }
    }

    #[test]
    fn a_parent_is_woken_and_dropped_while_nothing_is_locked() {
        let wakeup = Arc::new(Wakeup::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let parent = || {
            let looks = Looks { wakeup: wakeup.clone().into(), calls: calls.clone() };
            Waker::from(Arc::new(looks))
        };
        drop(Running::enter(&wakeup, &parent()));
        wakeup.wake_by_ref();
        assert_eq!(calls.load(Ordering::SeqCst), 1, "woken");
        let running = Running::enter(&wakeup, &parent());
        assert_eq!(calls.load(Ordering::SeqCst), 2, "the first one was dropped");
        running.clear();
        wakeup.wake_by_ref();
        assert_eq!(calls.load(Ordering::SeqCst), 2, "not while it is polled");
        drop(running);
        assert_eq!(calls.load(Ordering::SeqCst), 3, "woken at the end of the poll");
        // The parent holds what holds it.
        let last = wakeup.lock().take();
        drop(last);
    }
}

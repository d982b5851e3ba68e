//! An HTTP/2 connection, shared by its exchanges, and how it is found to be dead.
//!
//! A connection may die without a word: a router forgets it, a machine fails over. TCP notices after many minutes, and every
//! request sent meanwhile would be lost. So an exchange that gives up, its time having run out or its task having been
//! cancelled, while nothing at all came over the connection, marks it as deaf: no new exchange is sent over it. Those
//! under way go on to their end, which may yet be a good one.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;

use super::{Aborts, Failure};
use crate::body::Body;
use crate::error::{Error, TimeoutPhase};
use crate::pool::Multiplexed;
use crate::rt::{self, Instant, Io, Spawner, Traffic};
use crate::timeout::{Alarm, Limits, Watch};

/// The shared end of an HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Multi {
    sender: http2::SendRequest<Body>,
    health: Rc<Health>,
}

/// What is known of a connection.
struct Health {
    max_streams: Cell<usize>,
    /// It takes no new exchanges: it is thought dead, or the server wants HTTP/1.1.
    is_deaf: Cell<bool>,
    traffic: Rc<Traffic>,
    peer: Option<SocketAddr>,
}

impl Multi {
    /// Shakes hands; the second value is to be spawned, and lives as long as the connection.
    pub(crate) async fn start(
        mut io: Io,
        builder: &http2::Builder<Spawner>,
        aborts: &Aborts,
    ) -> Result<(Self, impl Future<Output = ()> + use<>), Error> {
        let (traffic, peer) = (io.traffic(), io.peer);
        io.watch_frames();
        let stop = Arc::new(Alarm::default());
        aborts.watch(&stop);
        io.stop = Some(stop);
        let (sender, mut driver) = builder.handshake(io).await.map_err(Error::from_hyper)?;
        let max_streams = Cell::new(driver.current_max_send_streams());
        let health = Rc::new(Health { max_streams, is_deaf: Cell::new(false), traffic, peer });
        let known = health.clone();
        let task = poll_fn(move |cx| {
            let ended = Pin::new(&mut driver).poll(cx);
            known.max_streams.set(driver.current_max_send_streams().max(1));
            // An error has reached every exchange by itself.
            ended.map(|_| ())
        });
        Ok((Self { sender, health }, task))
    }

    /// Sends `request` and waits for the head of the answer; dropped, it resets the stream.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
        limits: Limits,
    ) -> Result<(Response<Incoming>, Exchange), Failure> {
        let mut exchange =
            Exchange { watch: Watch::default(), health: self.health.clone(), began: None, waiting: None };
        let mut answer = pin!(self.sender.try_send_request(request));
        let result = poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                exchange.progress();
                return Poll::Ready(Ok(answer));
            }
            exchange.poll_expired(cx, limits).map(Err)
        })
        .await;
        match result {
            Ok(Ok(response)) => Ok((response, exchange)),
            // Of this exchange not even a head has come.
            Ok(Err(failed)) => {
                let failure = Failure::of_attempt(failed, true);
                if failure.wants_http1 {
                    self.health.is_deaf.set(true);
                }
                Err(failure)
            }
            Err(phase) => Err(Failure::new(Error::timeout(phase), false)),
        }
    }
}

impl Multiplexed for Multi {
    fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.health.is_deaf.get() && !self.health.traffic.is_cut.get()
    }

    fn max_streams(&self) -> usize {
        self.health.max_streams.get()
    }
}

/// One exchange over a shared connection: its time, and what its waiting tells of the connection.
pub(crate) struct Exchange {
    watch: Watch,
    health: Rc<Health>,
    /// When it first waited.
    began: Option<Instant>,
    /// While it waits: since when nothing has come, and how much the connection had received by then.
    waiting: Option<(Instant, u64)>,
}

/// A silence of the connection that is shorter tells nothing, unless it was half the exchange's life or all that it was to
/// bear.
const SUSPICIOUS: Duration = Duration::from_secs(1);

impl Exchange {
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.health.peer
    }

    /// Something came, or the end did.
    pub(crate) fn progress(&mut self) {
        self.watch.progress();
        self.waiting = None;
    }

    /// Says whether time has run out; otherwise makes sure that `cx` is woken when it may have.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>, limits: Limits) -> Poll<TimeoutPhase> {
        let received = self.health.traffic.received.get();
        if self.waiting.is_none_or(|(_, before)| before != received) {
            let now = rt::now();
            self.began.get_or_insert(now);
            self.waiting = Some((now, received));
        }
        let phase = std::task::ready!(self.watch.poll_expired(cx, limits));
        let age = self.began.map_or(Duration::ZERO, Instant::elapsed);
        self.suspect((age / 2).min(limits.read.unwrap_or(SUSPICIOUS)));
        Poll::Ready(phase)
    }

    /// Calls the connection deaf if it has been silent for so long.
    fn suspect(&self, limit: Duration) {
        if let (Some((since, before)), Some(now)) = (self.waiting, rt::try_now())
            && before == self.health.traffic.received.get()
            && now.duration_since(since) >= limit.min(SUSPICIOUS)
        {
            self.health.is_deaf.set(true);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.suspect(SUSPICIOUS);
    }
}

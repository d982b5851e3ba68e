//! The body of an answer as it comes: whole only by its own framing, and what becomes of one that nobody reads.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use hyper::body::Incoming;

use crate::connection::{Exchange, Multi, Single, Upgraded, poll_incoming};
use crate::connector::HostInfo;
use crate::decode::Decoder;
use crate::error::{Error, Kind, Result};
use crate::pool::{Permit, StreamPermit};
use crate::rt::{self, Instant};
use crate::timeout::Limits;
use crate::trace::{Event, Progress, Timings};

pub(crate) type Slot = Permit<Box<Single>, Multi, HostInfo>;
pub(crate) type StreamSlot = StreamPermit<Box<Single>, Multi, HostInfo>;

/// A body being read, with what it holds of its connection.
pub(crate) struct ResponseBody {
    source: Source,
    limits: Limits,
    decoder: Option<Decoder>,
    /// How many more bytes may come.
    allowance: Option<u64>,
    /// How many pieces were decoded since other tasks last had their turn.
    decoded: u32,
    arrived: Arrived,
    peer: Option<SocketAddr>,
    /// The headers behind the body, when they have come.
    trailers: Option<HeaderMap>,
    /// It is what is left of a body that was dropped; dropped again, with its loop, it closes its connection.
    is_rest: bool,
}

/// When the head of the answer came, and who wants to know of the rest.
#[derive(Clone)]
pub(crate) struct Arrived {
    pub(crate) at: Instant,
    pub(crate) progress: Progress,
}

/// Where the bytes come from.
enum Source {
    /// The end was reached, or an error; the connection is gone or given back.
    Ended,
    Single {
        incoming: Incoming,
        connection: Box<Single>,
        slot: Slot,
    },
    Multi {
        incoming: Incoming,
        exchange: Box<Exchange>,
        _slot: StreamSlot,
    },
}

impl ResponseBody {
    pub(crate) fn single(
        incoming: Incoming,
        connection: Box<Single>,
        slot: Slot,
        limits: Limits,
        arrived: Arrived,
    ) -> Box<Self> {
        let peer = connection.peer;
        Self::new(Source::Single { incoming, connection, slot }, limits, arrived, peer)
    }

    pub(crate) fn multi(
        incoming: Incoming,
        exchange: Exchange,
        slot: StreamSlot,
        limits: Limits,
        arrived: Arrived,
    ) -> Box<Self> {
        let peer = exchange.peer();
        Self::new(
            Source::Multi { incoming, exchange: Box::new(exchange), _slot: slot },
            limits,
            arrived,
            peer,
        )
    }

    fn new(source: Source, limits: Limits, arrived: Arrived, peer: Option<SocketAddr>) -> Box<Self> {
        let mut body = Box::new(Self {
            source,
            limits,
            decoder: None,
            allowance: None,
            decoded: 0,
            arrived,
            peer,
            trailers: None,
            is_rest: false,
        });
        body.end_if_over();
        body
    }

    pub(super) fn timings(&self) -> Timings {
        self.arrived.progress.timings
    }

    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(crate) fn configure(&mut self, decoder: Option<Decoder>, max_size: Option<u64>) {
        // An empty body has no coding.
        self.decoder = decoder.filter(|_| !matches!(self.source, Source::Ended));
        self.allowance = max_size;
    }

    /// Nothing is left to come; what a decoder holds is not asked.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.source, Source::Ended) && self.decoder.is_none()
    }

    fn incoming(&self) -> Option<&Incoming> {
        match &self.source {
            Source::Ended => None,
            Source::Single { incoming, .. } | Source::Multi { incoming, .. } => Some(incoming),
        }
    }

    pub(super) fn exact_length(&self) -> Option<u64> {
        match self.incoming() {
            Some(incoming) => incoming.size_hint().exact(),
            None => Some(0),
        }
    }

    pub(super) fn remaining_length(&self) -> Option<u64> {
        if self.decoder.is_some() { None } else { self.exact_length() }
    }

    fn is_upgraded(&self) -> bool {
        matches!(&self.source, Source::Single { connection, .. } if connection.is_upgraded())
    }

    /// What a connection that has become another one leaves, and its place in the pool.
    pub(super) fn into_upgraded(mut self) -> Option<(Upgraded, Slot)> {
        if !self.is_upgraded() {
            return None;
        }
        match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Single { connection, slot, .. } => Some((connection.into_upgraded()?, slot)),
            Source::Ended | Source::Multi { .. } => None,
        }
    }

    /// Gives the connection back as soon as the last byte has come, not only when the end is asked for.
    fn end_if_over(&mut self) {
        if !self.is_upgraded() && self.incoming().is_some_and(Incoming::is_end_stream) {
            self.end();
        }
    }

    /// The body is complete: the connection goes back to the pool.
    fn end(&mut self) {
        let now = rt::try_now();
        if !self.is_rest && self.arrived.progress.timings.body.is_none() {
            self.arrived.progress.timings.body = now.map(|now| now.duration_since(self.arrived.at));
        }
        if let Source::Single { incoming, mut connection, slot } =
            std::mem::replace(&mut self.source, Source::Ended)
        {
            drop(incoming);
            if connection.is_reusable() {
                slot.park(connection, now);
            }
        }
    }

    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                if self.decoded == DECODED_PER_TURN {
                    // A little input can be a lot of output: it must not keep the loop to itself.
                    self.decoded = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.decoded += 1;
                match decoder.next() {
                    Ok(Some(chunk)) => return Poll::Ready(self.account(chunk).map(Some)),
                    Ok(None) => {}
                    Err(error) => {
                        return Poll::Ready(Err(self.fail(Error::new(Kind::Decode).with_source(error))));
                    }
                }
            }
            let Poll::Ready(raw) = self.poll_raw(cx) else {
                self.decoded = 0;
                return Poll::Pending;
            };
            match raw {
                Some(Ok(bytes)) => match &mut self.decoder {
                    Some(decoder) => decoder.push(bytes),
                    None => return Poll::Ready(self.account(bytes).map(Some)),
                },
                Some(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                None => {
                    let whole = self.decoder.take().map_or(Ok(()), |mut decoder| decoder.finish());
                    return Poll::Ready(match whole {
                        Ok(()) => {
                            self.tell_end();
                            Ok(None)
                        }
                        Err(error) => Err(self.fail(Error::new(Kind::Decode).with_source(error))),
                    });
                }
            }
        }
    }

    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = match &mut self.source {
            Source::Ended => return Poll::Ready(None),
            Source::Single { incoming, connection, .. } => {
                let next =
                    std::task::ready!(connection.poll_data(cx, incoming, &mut self.trailers, self.limits));
                // What hyper calls the end is believed only when nothing is missing.
                next.or_else(|| (incoming.size_hint().lower() > 0).then(|| Err(Error::new(Kind::Closed))))
            }
            Source::Multi { incoming, exchange, .. } => match poll_incoming(incoming, &mut self.trailers, cx)
            {
                Poll::Ready(next) => {
                    exchange.progress();
                    // To hyper a reset, or a goodbye, with the reason NO_ERROR is an end of the body. It is none.
                    next.or_else(|| (!incoming.is_end_stream()).then(|| Err(Error::new(Kind::Closed))))
                }
                Poll::Pending => {
                    let phase = std::task::ready!(exchange.poll_expired(cx, self.limits));
                    Some(Err(Error::timeout(phase)))
                }
            },
        };
        match &next {
            Some(Ok(_)) => self.end_if_over(),
            None => self.end(),
            Some(Err(_)) => {}
        }
        Poll::Ready(next)
    }

    /// Tells the observer that the body is over, once.
    fn tell_end(&mut self) {
        if let Some((observer, id)) = self.arrived.progress.observer.take() {
            observer.event(id, &Event::RequestEnd);
        }
    }

    fn account(&mut self, chunk: Bytes) -> Result<Bytes> {
        self.arrived.progress.tell(&Event::Chunk { length: chunk.len() });
        if let Some(allowance) = &mut self.allowance {
            match allowance.checked_sub(chunk.len() as u64) {
                Some(rest) => *allowance = rest,
                None => return Err(self.fail(Error::new(Kind::TooLarge))),
            }
        }
        Ok(chunk)
    }

    /// After an error nothing more comes, and the connection is closed.
    fn fail(&mut self, error: Error) -> Error {
        self.source = Source::Ended;
        self.decoder = None;
        self.arrived.progress.tell(&Event::RequestFailed { error: &error });
        error
    }

    /// The whole body as it comes, not decoded; `None` when it is longer than `most`, or does not come whole.
    pub(crate) async fn read_raw(&mut self, most: usize) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = poll_fn(|cx| self.poll_raw(cx)).await {
            bytes.extend_from_slice(&piece.ok().filter(|piece| bytes.len() + piece.len() <= most)?);
        }
        Some(bytes.freeze())
    }

    /// Reads the rest away, when it is small and comes before time runs out, so that the connection can be used again.
    async fn drain(&mut self) {
        self.decoder = None;
        let mut left = DRAIN_LIMIT;
        if self.incoming().is_some_and(|incoming| incoming.size_hint().lower() > left) {
            self.source = Source::Ended;
        }
        while let Some(Ok(bytes)) = poll_fn(|cx| self.poll_raw(cx)).await {
            match left.checked_sub(bytes.len() as u64) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        self.source = Source::Ended;
    }
}

/// So many pieces (of 32 KiB) are decoded in a row: about a millisecond's work.
const DECODED_PER_TURN: u32 = 16;

/// How much of an unwanted body is read to save its connection.
const DRAIN_LIMIT: u64 = 256 * 1024;

/// How long an unwanted body may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A loop that is closing drops at once whatever is spawned on it, and so would come back here for ever.
        if self.is_rest || self.is_upgraded() || !matches!(self.source, Source::Single { .. }) {
            return;
        }
        // A new connection costs more than the rest of a small page, and programs that look only at the status are
        // common (the lesson's is one). What has come already is taken at once, the rest by a task.
        let Some(now) = rt::try_now() else { return };
        let limits = Limits { deadline: Some(now + DRAIN_TIME), read: None };
        let source = std::mem::replace(&mut self.source, Source::Ended);
        let mut rest = Self {
            source,
            limits,
            decoder: None,
            allowance: None,
            decoded: 0,
            arrived: Arrived { at: now, progress: Progress::default() },
            peer: None,
            trailers: None,
            is_rest: true,
        };
        if rest.drain_at_once() {
            rt::spawn("http drain", async move { rest.drain().await });
        }
    }
}

impl ResponseBody {
    /// Takes what is there; says whether it is worth waiting for the rest.
    fn drain_at_once(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut left = DRAIN_LIMIT;
        loop {
            if self.incoming().is_none_or(|incoming| incoming.size_hint().lower() > left) {
                break;
            }
            match self.poll_raw(&mut cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(bytes))) => left = left.saturating_sub(bytes.len() as u64),
                Poll::Ready(_) => break,
            }
        }
        self.source = Source::Ended;
        false
    }
}

//! What happens to a request, as it happens, and how long each phase took.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::HeaderMap;
use http::{Method, StatusCode};
use url::Url;

use crate::error::Error;
use crate::rt::{self, Instant};

/// Is told what happens to requests; see [`SessionBuilder::observer`](crate::SessionBuilder::observer).
///
/// It is called on the loop's thread, in the midst of the request: it must not block. Headers of requests may hold secrets;
/// those are marked ([`HeaderValue::is_sensitive`](crate::HeaderValue::is_sensitive)).
///
/// # Examples
///
/// ```
/// use aioxide_http::{Event, Observer, RequestId, Session};
///
/// struct Print;
///
/// impl Observer for Print {
///     fn event(&self, request: RequestId, event: &Event<'_>) {
///         println!("{request} {event:?}");
///     }
/// }
///
/// let session = Session::builder().observer(Print).build()?;
/// # Ok::<(), aioxide_http::Error>(())
/// ```
///
/// asyncio: aiohttp's `TraceConfig`; each of its signals is an event.
pub trait Observer {
    /// Something happened to the request with that number.
    fn event(&self, request: RequestId, event: &Event<'_>);
}

impl<T: Observer + ?Sized> Observer for Rc<T> {
    fn event(&self, request: RequestId, event: &Event<'_>) {
        (**self).event(request, event);
    }
}

/// Tells the requests of a process apart; steps of a redirect and retries are the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Something that happened to a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The request was sent by the program.
    RequestStart {
        /// Its method.
        method: &'a Method,
        /// Its URL.
        url: &'a Url,
        /// Its own headers, without the session's.
        headers: &'a HeaderMap,
    },
    /// It waits for a place in the pool.
    QueueStart,
    /// It has a place in the pool.
    QueueEnd,
    /// It goes over a connection that is there.
    ConnectionReused,
    /// A new connection is being made, to the server or to the proxy.
    ConnectStart {
        /// The host that is connected to.
        host: &'a str,
        /// The port.
        port: u16,
    },
    /// A name is being resolved.
    DnsStart {
        /// The name.
        host: &'a str,
    },
    /// A name was known already, and nobody was asked.
    DnsCacheHit {
        /// The name.
        host: &'a str,
    },
    /// A name is resolved.
    DnsEnd {
        /// The name.
        host: &'a str,
        /// Its addresses, after the session's filter.
        addresses: &'a [SocketAddr],
    },
    /// TLS begins.
    TlsStart {
        /// The name that the certificate must have.
        server_name: &'a str,
    },
    /// TLS is agreed on.
    TlsEnd {
        /// The protocol that was agreed on (ALPN).
        protocol: Option<&'a [u8]>,
    },
    /// The connection is there.
    ConnectEnd,
    /// The head of the request is handed to the connection, with all headers.
    RequestHeaders {
        /// The headers, those of the session among them.
        headers: &'a HeaderMap,
    },
    /// The head of an answer has come: the last one, or one that redirects or will be retried.
    ResponseHead {
        /// The status.
        status: StatusCode,
        /// The headers.
        headers: &'a HeaderMap,
    },
    /// The answer leads elsewhere, and is followed.
    Redirect {
        /// The URL that gave the answer.
        from: &'a Url,
        /// The URL that is asked next.
        to: &'a Url,
        /// The answer's status.
        status: StatusCode,
    },
    /// The request is made once more.
    Retry {
        /// How many attempts have been made.
        attempts: u32,
        /// How long it waits before that.
        delay: Duration,
    },
    /// A piece of the body has come, after decoding.
    Chunk {
        /// Its length.
        length: usize,
    },
    /// The body has come to its end.
    RequestEnd,
    /// The request has failed; nothing more happens to it.
    RequestFailed {
        /// Why.
        error: &'a Error,
    },
}

/// How long the phases of a request took; those of the last step, after redirects and retries.
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
/// let mut response = session.get("https://www.rust-lang.org/").send().await?;
/// while response.chunk().await?.is_some() {}
/// let timings = response.timings();
/// println!("{:?} to the first byte, {:?} for the body", timings.first_byte, timings.body);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// The wait for a place in the pool.
    pub queue: Duration,
    /// Resolving the name; `None` when a connection was there.
    pub dns: Option<Duration>,
    /// Reaching a socket, and the proxy's part; `None` when a connection was there.
    pub connect: Option<Duration>,
    /// Agreeing on TLS, with a proxy's; `None` without TLS, or when a connection was there.
    pub tls: Option<Duration>,
    /// From when the connection was there to the head of the answer.
    pub first_byte: Duration,
    /// From the head of the answer to the end of the body; `None` while it has not come.
    pub body: Option<Duration>,
}

/// The observer of a request under way, and its timings so far.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    pub(crate) observer: Option<(Rc<dyn Observer>, RequestId)>,
    pub(crate) timings: Timings,
}

impl Progress {
    pub(crate) fn new(observer: Option<&Rc<dyn Observer>>, id: impl FnOnce() -> RequestId) -> Self {
        Self { observer: observer.map(|observer| (observer.clone(), id())), timings: Timings::default() }
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some((observer, id)) = &self.observer {
            observer.event(*id, event);
        }
    }
}

/// Adds the time since `from` to a phase.
pub(crate) fn add(phase: &mut Option<Duration>, from: Instant) {
    *phase = Some(phase.unwrap_or_default() + rt::now().duration_since(from));
}

//! Websockets (RFC 6455), the client's side, with compression (RFC 7692).
//!
//! A websocket begins as a request of the session, so it goes through its proxies, TLS, filter, cookies and limits, and holds
//! its place in the pool until it is dropped. There is no task behind it: who receives reads the socket, answers pings and
//! sends what is left to send.
//!
//! Invariant: a frame is written whole or not begun. What is to be sent stands in one buffer, so a `send` that is
//! cancelled leaves nothing half-said, and whoever comes next sends the rest.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake as _, Waker};
use std::time::Duration;

use aioxide::io::{AsyncRead, AsyncWrite, ReadBuf};
use bytes::Bytes;
use http::HeaderMap;

use crate::connection::Aborts;
use crate::error::{Error, Kind, Result};
use crate::response::Slot;
use crate::rt::{self, Instant, Stream};
use crate::timeout::within;

use codec::{Codec, Fault, Frame};
use waiters::Waiters;

pub use handshake::WebSocketBuilder;

mod codec;
mod deflate;
mod handshake;
mod waiters;

/// What is sent and received over a websocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// A ping, of at most 125 bytes; answered by itself, and received only where the program answers them.
    Ping(Bytes),
    /// The answer to a ping; received only where the program answers them.
    Pong(Bytes),
    /// The other side closes, with its code (1005: it gave none) and reason. It is the last message.
    Close {
        /// RFC 6455, 7.4.
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
}

/// A connected websocket; see [`Session::websocket`](crate::Session::websocket).
///
/// All methods take `&self`: one task may receive while others send. Dropped, it closes the connection without a goodbye.
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
/// use aioxide_http::Message;
///
/// let socket = session.websocket("wss://example.org/feed").connect().await?;
/// socket.send(Message::Text("subscribe".into())).await?;
/// while let Some(message) = socket.receive().await? {
///     match message {
///         Message::Text(text) => println!("{text}"),
///         Message::Close { code, .. } => println!("closed: {code}"),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
///
/// asyncio: aiohttp's `ClientWebSocketResponse`.
pub struct WebSocket {
    core: RefCell<Core>,
    /// Who waits until something can be read, or written.
    readers: Arc<Waiters>,
    writers: Arc<Waiters>,
    /// How many waits there were.
    waits: Cell<u64>,
    headers: HeaderMap,
    protocol: Option<String>,
    is_compressed: bool,
    _slot: Slot,
}

struct Core {
    stream: Stream,
    aborts: Rc<Aborts>,
    codec: Codec,
    scratch: Box<[u8]>,
    /// What is to be sent, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    answers_pings: bool,
    close_sent: bool,
    /// The other side has said goodbye, or has gone: nothing more is received.
    ended: bool,
    /// It was closed before everything was sent.
    is_cut: bool,
    heartbeat: Option<Heartbeat>,
}

/// Pings when nothing comes, and gives up when nothing comes after that either.
struct Heartbeat {
    interval: Duration,
    /// When something came last, or the ping was sent.
    since: Instant,
    pinged: bool,
    timer: Option<Pin<Box<rt::Sleep>>>,
}

/// How much of the stream is read at a time.
const PIECE: usize = 16 * 1024;

/// Above so many bytes that wait to be sent, nothing is added to them.
const HIGH: usize = 64 * 1024;

/// How long the other side's goodbye is waited for.
const GOODBYE: Duration = Duration::from_secs(10);

impl WebSocket {
    /// Sends a message, and waits until the system has taken it.
    ///
    /// # Errors
    /// `is_closed`: the connection is gone, or a goodbye was sent. `is_invalid_request`: a ping or pong of more than 125 bytes, a
    /// reason of more than 123, a code that may not be sent.
    ///
    /// # Cancel safety
    /// The message is sent whole or not at all: not, when it is dropped while others have to be sent first.
    pub async fn send(&self, message: Message) -> Result<()> {
        let wait = self.wait();
        // Looked at first: mostly everything was sent.
        if !self.core.borrow().out.is_empty() {
            poll_fn(|cx| self.poll_drained(cx, &wait, HIGH)).await?;
        }
        {
            let mut core = self.core.borrow_mut();
            if core.close_sent || core.ended || core.aborts.is_set() {
                return Err(closed("a goodbye was sent or received"));
            }
            let Core { codec, out, .. } = &mut *core;
            codec.encode(&message, out).map_err(|why| Error::new(Kind::InvalidRequest).with_source(why))?;
            core.close_sent |= matches!(message, Message::Close { .. });
        }
        poll_fn(|cx| self.poll_drained(cx, &wait, 0)).await
    }

    /// Sends text.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_text(&self, text: impl Into<String>) -> Result<()> {
        self.send(Message::Text(text.into())).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_binary(&self, bytes: impl Into<Bytes>) -> Result<()> {
        self.send(Message::Binary(bytes.into())).await
    }

    /// The next message; `None` after [`Message::Close`].
    ///
    /// # Errors
    /// `is_closed`: the connection ended without a goodbye. `is_protocol`, `is_too_large`: the other side broke the rules or
    /// sent too much; it was told so. `is_timeout`: it did not answer a heartbeat's ping.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn receive(&self) -> Result<Option<Message>> {
        let wait = self.wait();
        poll_fn(|cx| self.poll_core(cx, Some(&wait), true, Core::poll_next)).await
    }

    /// [`receive`](Self::receive), for futures written by hand.
    ///
    /// The wakers of all tasks that poll are kept, each until something happens at the connection.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        self.poll_core(cx, None, true, Core::poll_next)
    }

    /// Says goodbye, waits for the other side's (10 s at most), and closes the connection.
    ///
    /// Messages that come meanwhile are thrown away; receive them before, where they matter. Then whoever receives gets `None`, and
    /// whoever still sends an error.
    ///
    /// # Errors
    /// As [`send`](Self::send), but for a connection that is gone already: then it is closed.
    pub async fn close(&self, code: u16, reason: &str) -> Result<()> {
        let goodbye = async {
            if !self.core.borrow().close_sent {
                match self.send(Message::Close { code, reason: reason.to_owned() }).await {
                    Err(error) if !error.is_closed() => return Err(error),
                    _ => {}
                }
            }
            // What goes wrong now does not matter: it is over.
            while let Ok(Some(_)) = self.receive().await {}
            Ok(())
        };
        let limit = Some((rt::now() + GOODBYE, crate::TimeoutPhase::Read));
        let said = within(limit, goodbye).await.unwrap_or(Ok(()));
        self.end();
        let wait = self.wait();
        let shut = poll_fn(|cx| self.poll_core(cx, Some(&wait), false, Core::poll_shutdown));
        // The other side may be gone.
        let _ = within(limit, shut).await;
        said
    }

    /// The headers of the server's answer.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The protocol that was chosen of those that were offered.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Whether messages are compressed.
    pub fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    /// Whether a goodbye was sent or received, or the connection is gone.
    pub fn is_closed(&self) -> bool {
        let core = self.core.borrow();
        core.close_sent || core.ended
    }

    /// Nothing more is received or sent.
    fn end(&self) {
        {
            let mut core = self.core.borrow_mut();
            core.ended = true;
            core.is_cut |= !core.out.is_empty();
            core.out.clear();
            core.sent = 0;
        }
        self.readers.wake_by_ref();
        self.writers.wake_by_ref();
    }

    /// Waits until at most `left` bytes are to be sent.
    fn poll_drained(&self, cx: &mut Context<'_>, wait: &Wait<'_>, left: usize) -> Poll<Result<()>> {
        self.poll_core(cx, Some(wait), false, |core, _, writers| {
            let polled = core.poll_write(writers, left);
            if polled.is_pending() && core.aborts.is_set() {
                return Poll::Ready(Err(closed("the session was closed")));
            }
            polled
        })
    }

    /// Polls the core; wakes those who wait for it only when it is no longer borrowed.
    fn poll_core<T>(
        &self,
        cx: &mut Context<'_>,
        wait: Option<&Wait<'_>>,
        reads: bool,
        poll: impl FnOnce(&mut Core, &Arc<Waiters>, &Arc<Waiters>) -> Poll<T>,
    ) -> Poll<T> {
        self.readers.begin();
        self.writers.begin();
        let mut core = self.core.borrow_mut();
        let polled = poll(&mut core, &self.readers, &self.writers);
        let is_over = core.ended && polled.is_ready();
        drop(core);
        let waits = polled.is_pending().then(|| (wait.map(Wait::number), cx.waker()));
        let readers = self.readers.settle(waits.filter(|_| reads), is_over);
        // Who reads waits here too: what a sender that was cancelled has left is theirs to send.
        let writers = self.writers.settle(waits, is_over);
        readers.wake();
        writers.wake();
        polled
    }

    fn wait(&self) -> Wait<'_> {
        let number = self.waits.get();
        self.waits.set(number + 1);
        Wait { socket: self, number, has_waited: Cell::new(false) }
    }
}

/// The wait of one future; dropped, it leaves no waker.
struct Wait<'a> {
    socket: &'a WebSocket,
    number: u64,
    has_waited: Cell<bool>,
}

impl Wait<'_> {
    fn number(&self) -> u64 {
        self.has_waited.set(true);
        self.number
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.has_waited.get() {
            self.socket.readers.forget(self.number);
            self.socket.writers.forget(self.number);
        }
    }
}

impl Core {
    fn poll_next(&mut self, readers: &Arc<Waiters>, writers: &Arc<Waiters>) -> Poll<Result<Option<Message>>> {
        if self.aborts.is_set() && !self.ended {
            self.ended = true;
            return Poll::Ready(Err(closed("the session was closed")));
        }
        loop {
            // An answer to a ping, or what a sender that was cancelled has left.
            if self.sent < self.out.len()
                && let Poll::Ready(Err(error)) = self.poll_write(writers, 0)
            {
                self.ended = true;
                return Poll::Ready(Err(error));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            match self.codec.next() {
                Ok(Some(frame)) => {
                    if let Some(message) = self.take(frame) {
                        return Poll::Ready(Ok(Some(message)));
                    }
                    continue;
                }
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(self.complain(fault, writers))),
            }
            match self.poll_read(readers) {
                Poll::Ready(Ok(0)) => {
                    self.ended = true;
                    return Poll::Ready(Err(closed("the connection ended without a goodbye")));
                }
                Poll::Ready(Ok(_)) => self.came(),
                Poll::Ready(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Err(Error::new(Kind::Closed).with_source(error)));
                }
                Poll::Pending => {
                    if std::task::ready!(self.poll_heartbeat(readers)) {
                        self.ended = true;
                        return Poll::Ready(Err(Error::timeout(crate::TimeoutPhase::Read)));
                    }
                }
            }
        }
    }

    /// What a frame is to the program; those about the connection are answered here.
    fn take(&mut self, frame: Frame) -> Option<Message> {
        match frame {
            Frame::Ping(data) if self.answers_pings => {
                // Who sends pings faster than it reads answers gets fewer of them (RFC 6455, 5.5.3).
                if self.out.len() - self.sent < HIGH && !self.close_sent {
                    self.codec.control(&Message::Pong(data), &mut self.out);
                }
                None
            }
            Frame::Pong(_) if self.answers_pings => None,
            Frame::Ping(data) => Some(Message::Ping(data)),
            Frame::Pong(data) => Some(Message::Pong(data)),
            Frame::Text(text) => Some(Message::Text(text)),
            Frame::Binary(data) => Some(Message::Binary(data.into())),
            Frame::Close { code, reason } => {
                self.ended = true;
                let message = Message::Close { code: code.unwrap_or(codec::NO_CODE), reason };
                if !self.close_sent {
                    self.close_sent = true;
                    self.codec.control(&message, &mut self.out);
                }
                Some(message)
            }
        }
    }

    /// Tells the other side what it has done wrong; nothing more is received.
    fn complain(&mut self, fault: Fault, writers: &Arc<Waiters>) -> Error {
        self.ended = true;
        if !self.close_sent {
            self.close_sent = true;
            self.codec.control(&Message::Close { code: fault.code, reason: String::new() }, &mut self.out);
            // As far as the system takes it.
            let _ = self.poll_write(writers, 0);
        }
        let kind = if fault.code == codec::TOO_LARGE { Kind::TooLarge } else { Kind::Protocol };
        Error::new(kind).with_source(fault.why)
    }

    fn poll_read(&mut self, readers: &Arc<Waiters>) -> Poll<std::io::Result<usize>> {
        let waker = Waker::from(readers.clone());
        let mut buf = ReadBuf::new(&mut self.scratch);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(&waker), &mut buf))?;
        self.codec.push(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&mut self, writers: &Arc<Waiters>, left: usize) -> Poll<Result<()>> {
        if self.is_cut {
            return Poll::Ready(Err(closed("it was closed before everything was sent")));
        }
        let waker = Waker::from(writers.clone());
        let mut cx = Context::from_waker(&waker);
        let gone = |error| Error::new(Kind::Closed).with_source(error);
        while self.out.len() - self.sent > left {
            let written = Pin::new(&mut self.stream).poll_write(&mut cx, &self.out[self.sent..]);
            match std::task::ready!(written) {
                Ok(0) => return Poll::Ready(Err(closed("the connection takes nothing more"))),
                Ok(count) => self.sent += count,
                Err(error) => return Poll::Ready(Err(gone(error))),
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.out.shrink_to(HIGH);
            self.sent = 0;
            std::task::ready!(Pin::new(&mut self.stream).poll_flush(&mut cx)).map_err(gone)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &Arc<Waiters>, writers: &Arc<Waiters>) -> Poll<std::io::Result<()>> {
        let waker = Waker::from(writers.clone());
        Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(&waker))
    }

    fn came(&mut self) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.since = rt::now();
            heartbeat.pinged = false;
        }
    }

    /// Ready with `true` when the other side is dead, with `false` when there is a ping to be sent.
    ///
    /// Its timer wakes all who receive: one of them alone may have been cancelled by then.
    fn poll_heartbeat(&mut self, readers: &Arc<Waiters>) -> Poll<bool> {
        let Some(heartbeat) = &mut self.heartbeat else { return Poll::Pending };
        loop {
            let wait = if heartbeat.pinged { heartbeat.interval / 2 } else { heartbeat.interval };
            let until = heartbeat.since + wait;
            if rt::now() >= until {
                heartbeat.timer = None;
                if heartbeat.pinged || self.close_sent {
                    return Poll::Ready(true);
                }
                heartbeat.pinged = true;
                heartbeat.since = rt::now();
                self.codec.control(&Message::Ping(Bytes::new()), &mut self.out);
                return Poll::Ready(false);
            }
            let timer = heartbeat.timer.get_or_insert_with(|| Box::pin(rt::sleep_until(until)));
            let waker = Waker::from(readers.clone());
            std::task::ready!(timer.as_mut().poll(&mut Context::from_waker(&waker)));
            heartbeat.timer = None;
        }
    }
}

fn closed(why: &str) -> Error {
    Error::new(Kind::Closed).with_source(why)
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("protocol", &self.protocol)
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

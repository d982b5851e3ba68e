//! How a request becomes a websocket.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::codec::Codec;
use super::deflate::{Deflate, OFFER};
use super::{Core, Heartbeat, PIECE, WebSocket};
use crate::auth::base64;
use crate::connection::Upgraded;
use crate::error::{Error, Kind, Result};
use crate::headers;
use crate::random;
use crate::rt;
use crate::session::RequestBuilder;

/// Builds a [`WebSocket`]; made by [`Session::websocket`](crate::Session::websocket).
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
/// let socket = session
///     .websocket("wss://example.org/chat")
///     .protocols(&["chat.v2", "chat.v1"])
///     .max_message_size(1 << 20)
///     .header("Origin", "https://example.org")
///     .map_request(|request| request.bearer_auth("token"))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a websocket does nothing until it is connected"]
pub struct WebSocketBuilder {
    request: RequestBuilder,
    protocols: Vec<String>,
    compress: bool,
    max_message_size: usize,
    heartbeat: Option<Duration>,
    answers_pings: bool,
}

impl WebSocketBuilder {
    pub(crate) fn new(request: RequestBuilder) -> Self {
        Self {
            request,
            protocols: Vec::new(),
            compress: true,
            max_message_size: 4 << 20,
            heartbeat: None,
            answers_pings: true,
        }
    }

    headers::methods! {
        /// Sets a header of the request; see [`RequestBuilder::header`].
        header;
        /// Sets a header for the origin of this URL alone; see [`RequestBuilder::secret_header`].
        secret_header
    }

    fn add_header(self, pair: Result<(HeaderName, HeaderValue)>) -> Self {
        self.map_request(|request| request.add_header(pair))
    }

    /// Changes the request that the websocket begins with: its query, proxy, TLS, who we are, time-outs.
    pub fn map_request(mut self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        self.request = change(self.request);
        self
    }

    /// The protocols that are offered, the best first.
    pub fn protocols(mut self, names: &[&str]) -> Self {
        self.protocols = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Whether compression is offered to the server; yes unless set.
    pub fn compress(mut self, yes: bool) -> Self {
        self.compress = yes;
        self
    }

    /// Makes a message of more than so many bytes, decompressed, an error; 4 MiB unless set, 0 for no limit.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// While the program waits for messages: sends a ping when nothing came for so long, and gives up when nothing comes for
    /// half as long after it. No pings unless set.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Whether pings are answered, and pings and pongs not received; yes unless set.
    pub fn answer_pings(mut self, yes: bool) -> Self {
        self.answers_pings = yes;
        self
    }

    /// Connects. The time-outs of the request count until the server has agreed.
    ///
    /// # Errors
    /// As [`RequestBuilder::send`]; `is_upgrade`, with the [`status`](Error::status), when the server does not agree.
    ///
    /// # Cancel safety
    /// Dropped half-way, it closes its connection.
    pub async fn connect(self) -> Result<WebSocket> {
        let key = base64(&random::bytes::<16>());
        let offered = self.protocols;
        let mut request = self
            .request
            .upgrading()
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "Upgrade")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &*key);
        if !offered.is_empty() {
            request = request.header(SEC_WEBSOCKET_PROTOCOL, offered.join(", "));
        }
        if self.compress {
            request = request.header(SEC_WEBSOCKET_EXTENSIONS, OFFER);
        }
        let response = request.send().await?;
        let (status, url) = (response.status(), response.url().clone());
        let refused = |why: String| Error::new(Kind::Upgrade(status)).with_source(why).with_url(&url);
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(format!("the server answered {status} and not 101")));
        }
        let (protocol, deflate) = agreed(response.headers(), &key, &offered, self.compress)
            .map_err(|why| refused(why.to_owned()))?;
        let headers = response.headers().clone();
        let Some((upgraded, slot)) = response.into_upgraded() else {
            return Err(refused("the connection ended with the answer".to_owned()));
        };
        let Upgraded { stream, already, aborts } = upgraded;
        let (readers, writers) = (Arc::default(), Arc::default());
        aborts.watch(&readers);
        aborts.watch(&writers);
        let is_compressed = deflate.is_some();
        let heartbeat = self.heartbeat.map(|interval| Heartbeat {
            interval,
            since: rt::now(),
            pinged: false,
            timer: None,
        });
        Ok(WebSocket {
            core: RefCell::new(Core {
                stream,
                aborts,
                codec: Codec::new(&already, self.max_message_size, deflate),
                scratch: vec![0; PIECE].into_boxed_slice(),
                out: Vec::new(),
                sent: 0,
                answers_pings: self.answers_pings,
                close_sent: false,
                ended: false,
                is_cut: false,
                heartbeat,
            }),
            readers,
            writers,
            waits: Cell::new(0),
            headers,
            protocol,
            is_compressed,
            _slot: slot,
        })
    }
}

impl fmt::Debug for WebSocketBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketBuilder").field("request", &self.request).finish_non_exhaustive()
    }
}

/// What the server has agreed to (RFC 6455, 4.1): the protocol, and compression.
fn agreed(
    headers: &HeaderMap,
    key: &str,
    offered: &[String],
    compress: bool,
) -> std::result::Result<(Option<String>, Option<Deflate>), &'static str> {
    let has = |name: HeaderName, word: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return Err("the server's answer is no upgrade to a websocket");
    }
    if headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes) != Some(accept(key).as_bytes()) {
        return Err("the server's Sec-WebSocket-Accept does not fit the key");
    }
    let protocol = match headers.get(SEC_WEBSOCKET_PROTOCOL) {
        None => None,
        Some(value) => match value.to_str() {
            Ok(name) if offered.iter().any(|known| known == name) => Some(name.to_owned()),
            _ => return Err("the server chose a protocol that was not offered"),
        },
    };
    let mut extensions = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    let deflate = match (extensions.next(), extensions.next()) {
        (None, _) => None,
        (Some(value), None) if compress => {
            let deflate = value.to_str().ok().and_then(Deflate::agreed);
            Some(deflate.ok_or("the server chose an extension, or a way of it, that was not offered")?)
        }
        _ => return Err("the server chose an extension that was not offered"),
    };
    Ok((protocol, deflate))
}

/// What proves that the server has understood.
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_accepted_and_what_differs_is_not() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let right = [
            (UPGRADE, "WebSocket"),
            (CONNECTION, "keep-alive, Upgrade"),
            (SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            (SEC_WEBSOCKET_PROTOCOL, "chat"),
        ];
        let headers = |changed: Option<(HeaderName, &'static str)>| {
            let mut headers = HeaderMap::new();
            for (name, value) in right.clone().into_iter().chain(changed) {
                headers.insert(name, HeaderValue::from_static(value));
            }
            headers
        };
        let offered = ["chat".to_owned(), "talk".to_owned()];
        let (protocol, deflate) = agreed(&headers(None), key, &offered, true).unwrap_or_default();
        assert_eq!((protocol.as_deref(), deflate.is_some()), (Some("chat"), false));
        let packed = Some((SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"));
        assert!(
            agreed(&headers(packed.clone()), key, &offered, true).is_ok_and(|(_, deflate)| deflate.is_some())
        );
        assert!(agreed(&headers(packed), key, &offered, false).is_err());
        assert!(agreed(&headers(None), key, &["talk".to_owned()], true).is_err());
        for changed in [
            (UPGRADE, "h2c"),
            (CONNECTION, "close"),
            (SEC_WEBSOCKET_ACCEPT, "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            (SEC_WEBSOCKET_PROTOCOL, "other"),
            (SEC_WEBSOCKET_EXTENSIONS, "x-other"),
            (SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate, permessage-deflate"),
        ] {
            assert!(agreed(&headers(Some(changed.clone())), key, &offered, true).is_err(), "{changed:?}");
        }
    }
}

//! An HTTP client session on aioxide's loop: aiohttp's `ClientSession` for Rust.
//!
//! A [`Session`] keeps connections alive and shares them between requests, over HTTP/1.1 and HTTP/2. Everything
//! runs on the loop's one thread, so nothing here is `Send`, and cancelling a request is dropping its future.
//!
//! ```no_run
//! use aioxide_http::Session;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = aioxide::run(async {
//!     let session = Session::new();
//!     session.get("http://127.0.0.1:8000/").send().await?.error_for_status()?.text().await
//! })??;
//! # Ok(()) }
//! ```
//!
//! ## The way of a request
//!
//! ```text
//! RequestBuilder::send -> Client::execute     redirects, one after the other         client, redirect
//!                           -> step           retries, and answers to challenges     retry, auth
//!                           -> exchange       on a dead connection once more         client
//!                                -> acquire   an idle connection, or a slot for one  pool
//!                                -> connect   name, filter, socket, proxy, TLS, ALPN connector, filter, proxy, tls
//!                                -> send      hyper, driven in this very task        connection
//! Response::chunk        -> ResponseBody      the same connection; decoding          response, decode
//! WebSocketBuilder       -> RequestBuilder    the same way, then frames              websocket
//! ```
//!
//! Data lies low, behaviour high: [`Session`] is a handle on the client, which knows nothing of sessions and builders; requests and
//! their settings know neither.
//!
//! **Invariant**: no task per HTTP/1 connection or request; one per HTTP/2 connection (and those hyper adds), one
//! per session for idle connections. **Invariant**: every slot of the pool is held by a value whose drop frees it.
//! **Invariant**: a connection serves only requests that would have made it in the same way: by the same proxy, with the same settings
//! of TLS.
//!
//! ## Features
//!
//! `cookies` (a jar with public suffixes), `digest`, `json`, `websocket`: all on by default.

// Without websockets nobody takes a connection over.
#![cfg_attr(
    not(feature = "websocket"),
    allow(dead_code, unused_imports, reason = "their part of the connection")
)]
// Not `forbid`: `rt::read` hands hyper's buffer to the socket, and may.
#![deny(unsafe_code)]

mod auth;
mod body;
mod client;
mod connection;
mod connector;
mod cookies;
mod decode;
mod error;
mod filter;
mod framing;
mod headers;
mod multipart;
mod pool;
mod proxy;
mod random;
mod redirect;
mod request;
mod response;
mod retry;
mod rt;
mod session;
mod timeout;
mod tls;
mod trace;
mod transcript;
#[cfg(feature = "websocket")]
mod websocket;

#[cfg(feature = "digest")]
pub use auth::Digest;
pub use auth::Netrc;
pub use body::{Body, BodySender};
pub use connector::Resolver;
#[cfg(feature = "cookies")]
pub use cookies::CookieJar;
pub use cookies::CookieStore;
pub use error::{Error, Result, TimeoutPhase};
pub use filter::AddressFilter;
pub use multipart::{Multipart, Part};
pub use pool::Stats;
pub use proxy::{Proxies, Proxy};
pub use redirect::{Redirect, RedirectAction, RedirectAttempt};
pub use request::IntoUrl;
pub use response::{BodyStream, Response};
pub use retry::{Retries, retry_after};
pub use session::{RequestBuilder, Session, SessionBuilder};
pub use timeout::Timeouts;
pub use tls::{Tls, TlsBuilder, TlsVersion};
pub use trace::{Event, Observer, RequestId, Timings};
pub use transcript::{Transcript, Transcripts};

#[cfg(feature = "websocket")]
pub use websocket::{Message, WebSocket, WebSocketBuilder};

pub use bytes::Bytes;
pub use http::header;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
pub use url::Url;

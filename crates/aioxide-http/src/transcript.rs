//! What goes over connections, kept for who archives it: the heads of requests, and those of their answers as they came.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use url::Url;

use crate::headers;
use crate::request::Request;
use crate::response::ResponseBody;

/// The exchanges of a request, in order: those that redirected, and the last one; see
/// [`RequestBuilder::transcripts`](crate::RequestBuilder::transcripts).
///
/// Attempts that failed, and answers that ask who we are and get their answer, are not among them.
///
/// # Examples
///
/// ```no_run
/// # async fn example(session: aioxide_http::Session) -> aioxide_http::Result<()> {
/// let transcripts = aioxide_http::Transcripts::default();
/// session.get("http://127.0.0.1:8000/").transcripts(&transcripts).send().await?;
/// for transcript in transcripts.take() {
///     println!("{}", String::from_utf8_lossy(&transcript.response_head()));
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Transcripts(Rc<RefCell<Vec<Transcript>>>);

/// One request, and the head of its answer; made by [`Transcripts`].
#[derive(Debug, Clone)]
pub struct Transcript {
    url: Url,
    method: Method,
    /// What stands between method and version.
    target: String,
    request_headers: HeaderMap,
    began: SystemTime,
    answer: Option<Answer>,
    body: Option<Bytes>,
}

/// The head of an answer.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    /// As it came, to the empty line; over HTTP/2 there is no such thing.
    raw: Option<Vec<u8>>,
    address: Option<SocketAddr>,
}

/// In a request for a connection: the head of its answer is kept as it comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepHead;

/// In an answer: its head as it came.
#[derive(Debug, Clone)]
pub(crate) struct RawHead(pub(crate) Vec<u8>);

/// Of the body of a redirect no more is kept; a longer one is left out.
const MOST_OF_REDIRECT: usize = 1 << 20;

impl Transcripts {
    /// Takes what was kept so far.
    pub fn take(&self) -> Vec<Transcript> {
        self.0.take()
    }

    /// This message is about to be sent. What was sent before and has no answer has failed.
    pub(crate) fn begin<B>(&self, url: &Url, message: &mut http::Request<B>) {
        message.extensions_mut().insert(KeepHead);
        let (uri, mut headers) = (message.uri(), message.headers().clone());
        let mut target = uri.to_string();
        if let (Some(authority), Some(path)) = (uri.authority(), uri.path_and_query())
            && !headers.contains_key(HOST)
        {
            // HTTP/2 tells both apart from the headers.
            target = path.as_str().to_owned();
            if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
                headers.insert(HOST, host);
            }
        }
        let mut all = self.0.borrow_mut();
        if all.last().is_some_and(|last| last.answer.is_none()) {
            all.pop();
        }
        all.push(Transcript {
            url: url.clone(),
            method: message.method().clone(),
            target,
            request_headers: headers,
            began: SystemTime::now(),
            answer: None,
            body: None,
        });
    }

    /// The answer to the last message has come.
    pub(crate) fn answered(&self, request: &Request, head: &mut http::response::Parts, body: &ResponseBody) {
        let raw = head.extensions.remove::<RawHead>().map(|raw| raw.0);
        // A proxy's address says nothing about the server.
        let is_proxied = request.options.route.proxy_for(&request.url).is_some();
        let address = body.peer().filter(|_| !is_proxied);
        if let Some(last) = self.0.borrow_mut().last_mut() {
            let (status, version, headers) = (head.status, head.version, head.headers.clone());
            last.answer = Some(Answer { status, version, headers, raw, address });
        }
    }

    /// The last answer redirects, and is followed: reads its body.
    pub(crate) async fn read_redirect(&self, body: &mut ResponseBody) {
        let bytes = body.read_raw(MOST_OF_REDIRECT).await;
        if let Some(last) = self.0.borrow_mut().last_mut() {
            last.body = bytes;
        }
    }
}

impl Transcript {
    /// The URL that was asked.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// When the request was sent.
    pub fn began(&self) -> SystemTime {
        self.began
    }

    /// The address that answered; `None` through a proxy, and over a UNIX socket.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.answer.as_ref()?.address
    }

    /// The status of the answer; `None` when none has come.
    pub fn status(&self) -> Option<StatusCode> {
        Some(self.answer.as_ref()?.status)
    }

    /// HTTP/1.0, 1.1 or 2: the answer's version.
    pub fn version(&self) -> Option<Version> {
        Some(self.answer.as_ref()?.version)
    }

    /// The headers of the answer.
    pub fn headers(&self) -> Option<&HeaderMap> {
        Some(&self.answer.as_ref()?.headers)
    }

    /// The body of an answer that was followed, not decoded; `None` when it was longer than a mebibyte or did not come whole, and
    /// for the last answer, whose body is the response's.
    pub fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// The head of the request, to the empty line; what was sent over HTTP/2 is written as HTTP/1.1. Headers that are secret, by
    /// their names (`Authorization`, `Cookie`) or marked so ([`is_sensitive`](HeaderValue::is_sensitive)), are left out unless asked for.
    pub fn request_head(&self, with_secrets: bool) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        write_headers(&mut head, &self.request_headers, with_secrets);
        head
    }

    /// The head of the answer, to the empty line, byte for byte as it came; what came over HTTP/2 is written as HTTP/1.1. Empty when
    /// none has come.
    pub fn response_head(&self) -> Vec<u8> {
        let Some(answer) = &self.answer else { return Vec::new() };
        if let Some(raw) = &answer.raw {
            return raw.clone();
        }
        let reason = answer.status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", answer.status.as_str()).into_bytes();
        write_headers(&mut head, &answer.headers, true);
        head
    }
}

fn write_headers(head: &mut Vec<u8>, headers: &HeaderMap, with_secrets: bool) {
    let is_told = |(name, value): &(&HeaderName, &HeaderValue)| {
        with_secrets || !(value.is_sensitive() || headers::is_secret(name))
    };
    for (name, value) in headers.iter().filter(is_told) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
}

//! `aioxide top --web`: a page about one program on this machine's own address, for who knows the secret in its path.
//!
//! It only shows: nothing that a browser can send changes the program (a recording makes it slower for a moment), so that a page
//! elsewhere that guesses a request gains nothing. Who may see is decided by [`guard`], before anything else looks at a request.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use aioxide::net::{TcpListener, TcpStream};
use aioxide::sync::Semaphore;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::poller::{self, News};
use super::{INTERVAL, connect, named, print, signals};
use crate::Failure;
use crate::args::TopArgs;
use crate::demo::Io;

mod answers;
mod guard;
mod metrics;
mod state;
mod timeline;

use guard::{Door, Refused};
use state::Shared;

/// Connections at a time; a page needs one or two.
const CONNECTIONS: usize = 32;

/// A connection is for one request, and has this time for it and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The head of a request.
const HEAD_LIMIT: usize = 16 * 1024;

/// Runs the command until a signal comes or the program ends.
///
/// # Errors
/// There is no such program, or the port is taken.
pub(crate) fn run(args: &TopArgs) -> Result<ExitCode, Failure> {
    let Some(path) = named(args) else {
        return Err("--web needs to know which program: aioxide top --once lists them".into());
    };
    let client = connect(args, &path)?;
    let shared = Arc::new(Shared::new(path.clone()));
    let (end, ended) = channel();
    let hears = Arc::clone(&shared);
    let tell = move |news| match news {
        News::Ended => {
            let _ = end.send(());
            false
        }
        news => {
            hears.hear(news);
            true
        }
    };
    // It ends with its orders' sender, which lives as long as the page is served.
    let _orders = poller::start(path, client, args.interval.unwrap_or(INTERVAL), tell)?;
    let port = args.port;
    let status: Result<io::Result<ExitCode>, aioxide::Error> = aioxide::run(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let door = Door::new(listener.local_addr()?.port())?;
        let ending = signals::ending();
        print(&format!("{}\n", door.address())).map_err(|error| io::Error::other(error.to_string()))?;
        aioxide::spawn(serve(listener, Rc::new(door), shared));
        aioxide::race! {
            kind = ending => Ok(signals::status(kind)),
            _ = aioxide::spawn_blocking(move || ended.recv()) => {
                crate::say(&"the program has ended".into());
                Ok(ExitCode::SUCCESS)
            },
        }
    });
    status.map_err(|error| error.to_string())?.map_err(|error| format!("port {port}: {error}").into())
}

async fn serve(listener: TcpListener, door: Rc<Door>, shared: Arc<Shared>) -> Result<(), Infallible> {
    let places = Rc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: those that are open end soon.
            aioxide::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (door, shared, places) = (Rc::clone(&door), Arc::clone(&shared), Rc::clone(&places));
        aioxide::spawn(async move {
            // One too many is closed at once.
            if let Some(_place) = places.try_acquire() {
                let _ = aioxide::timeout(REQUEST_TIMEOUT, converse(stream, &door, &shared)).await;
            }
        });
    }
}

/// Answers one request. An error is the browser's leaving.
async fn converse(stream: TcpStream, door: &Door, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(&request, door, shared).await)
    });
    let mut builder = http1::Builder::new();
    builder.keep_alive(false).max_buf_size(HEAD_LIMIT);
    let _ = builder.serve_connection(Io::new(stream), service).await;
}

async fn answer(request: &Request<Incoming>, door: &Door, shared: &Arc<Shared>) -> Response<Full<Bytes>> {
    let path = match door.admit(request) {
        Ok(path) => path,
        Err(refused) => return refuse(refused, door),
    };
    let fixed = |kind: &'static str, text: &'static str| {
        respond(StatusCode::OK, kind, Bytes::from_static(text.as_bytes()))
    };
    match path {
        "" => return fixed("text/html; charset=utf-8", include_str!("page.html")),
        "page.css" => return fixed("text/css; charset=utf-8", include_str!("page.css")),
        "timeline.js" => return fixed("text/javascript; charset=utf-8", include_str!("timeline.js")),
        "page.js" => return fixed("text/javascript; charset=utf-8", include_str!("page.js")),
        _ => {}
    }
    // A snapshot of a hundred thousand tasks is sorted and turned into text beside the loop.
    let (path, query, shared) =
        (path.to_owned(), request.uri().query().unwrap_or("").to_owned(), Arc::clone(shared));
    let answered = aioxide::spawn_blocking(move || answers::answer(&path, &query, &shared)).await;
    match answered {
        Ok(Some((kind, text))) => respond(StatusCode::OK, kind, Bytes::from(text)),
        Ok(None) => respond(StatusCode::NOT_FOUND, "text/plain", Bytes::from_static(b"not here\n")),
        Err(_) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::from_static(b"failed\n")),
    }
}

fn refuse(refused: Refused, door: &Door) -> Response<Full<Bytes>> {
    let (status, text) = match refused {
        Refused::Method => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
        Refused::Host => (StatusCode::MISDIRECTED_REQUEST, "not the name of this page's server\n"),
        Refused::Site => (StatusCode::FORBIDDEN, "not for pages of others\n"),
        Refused::Secret => (StatusCode::NOT_FOUND, "not here\n"),
        Refused::NoSlash => (StatusCode::PERMANENT_REDIRECT, ""),
    };
    let mut response = respond(status, "text/plain", Bytes::from_static(text.as_bytes()));
    match refused {
        Refused::Method => {
            _ = response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
        }
        Refused::NoSlash => {
            if let Ok(address) = HeaderValue::try_from(door.address()) {
                response.headers_mut().insert(header::LOCATION, address);
            }
        }
        _ => {}
    }
    response
}

/// What every answer says: nothing from elsewhere, nothing kept, nothing shown in others' frames.
const HEADERS: [(header::HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

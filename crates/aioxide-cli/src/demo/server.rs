//! The embedded HTTP server: both sites on one loop, in a thread of its own or in the caller's.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use aioxide::net::{TcpListener, TcpStream};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use url::Url;

use super::pages::{PAGES, Page};

/// Starts the sites in a thread with a loop of its own, so that they are as far from the client as a local server can
/// be; gives their URLs. They serve until the process ends.
pub(crate) fn start(delay: Duration) -> io::Result<Vec<Url>> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name("aioxide-sites".to_owned()).spawn(move || {
        crate::keep_quiet_about_slowness();
        let failed = tell.clone();
        let served = aioxide::run(async move {
            let sites = bind(0)?;
            let _ = tell.send(sites.urls());
            sites.serve(delay).await;
            Ok(())
        });
        if let Err(error) = flat(served) {
            let _ = failed.send(Err(error));
        }
    })?;
    told.recv().map_err(io::Error::other)?
}

/// Serves the sites until Ctrl-C; `ready` is told their URLs. `port` 0: any free ones.
pub(crate) fn serve(delay: Duration, port: u16, ready: impl FnOnce(&[Url]) + 'static) -> io::Result<()> {
    flat(aioxide::run(async move {
        let sites = bind(port)?;
        let interrupt = aioxide::signal::ctrl_c();
        ready(&sites.urls()?);
        let serving = aioxide::spawn(sites.serve(delay));
        interrupt.await?;
        serving.cancel();
        Ok(())
    }))
}

/// One error for the loop's and the program's; the loop's own stays in its thread.
fn flat(result: Result<io::Result<()>, aioxide::Error>) -> io::Result<()> {
    result.unwrap_or_else(|error| Err(io::Error::other(error.to_string())))
}

/// The listeners of the sites, in the order of [`PAGES`].
struct Sites(Vec<TcpListener>);

fn bind(port: u16) -> io::Result<Sites> {
    let mut listeners = Vec::new();
    for offset in 0..PAGES.len() {
        let port = if port == 0 { 0 } else { port.saturating_add(offset as u16) };
        listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
    }
    Ok(Sites(listeners))
}

impl Sites {
    fn urls(&self) -> io::Result<Vec<Url>> {
        let url = |(listener, page): (&TcpListener, &Page)| {
            Url::parse(&format!("http://{}{}", listener.local_addr()?, page.path)).map_err(io::Error::other)
        };
        self.0.iter().zip(&PAGES).map(url).collect()
    }

    /// Serves until cancelled.
    async fn serve(self, delay: Duration) {
        let tasks: Vec<_> = self
            .0
            .into_iter()
            .zip(&PAGES)
            .map(|(listener, page)| aioxide::spawn(accept(listener, page, delay)))
            .collect();
        let _ = aioxide::gather(tasks).return_exceptions().await;
    }
}

async fn accept(listener: TcpListener, page: &'static Page, delay: Duration) -> Result<(), Infallible> {
    let html = Bytes::from(page.html());
    let answered = Rc::new(Cell::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: those that are open end soon.
            aioxide::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (html, answered) = (html.clone(), Rc::clone(&answered));
        aioxide::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let number = answered.replace(answered.get() + 1);
                let html = html.clone();
                async move {
                    aioxide::time::sleep(page.delay(delay, number)).await;
                    Ok::<_, Infallible>(answer(&request, page, html))
                }
            });
            // An error is the client's leaving.
            let _ = http1::Builder::new().serve_connection(Io::new(stream), answer).await;
        });
    }
}

fn answer(request: &Request<Incoming>, page: &Page, html: Bytes) -> Response<Full<Bytes>> {
    let found = request.uri().path() == page.path;
    let mut response = Response::new(Full::new(if found { html } else { Bytes::from_static(b"not here\n") }));
    if !found {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    let kind = if found { "text/html; charset=utf-8" } else { "text/plain" };
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// A socket as hyper wants it. What is read is copied once, which spares this crate unsafe code.
pub(crate) struct Io {
    stream: TcpStream,
    scratch: Box<[u8; 8192]>,
}

impl Io {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Io { stream, scratch: Box::new([0; 8192]) }
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let scratch = &mut this.scratch;
        let length = cursor.remaining().min(scratch.len());
        let mut buf = ReadBuf::new(&mut scratch[..length]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf))?;
        cursor.put_slice(buf.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! Bodies that wait for the server's word, requests in the words of HTTP/1.0, and sessions that end at once.
#![cfg(feature = "websocket")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests, with a server in a thread of its own"
)]

mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use aioxide_http::{Body, Session};
use futures_util::future::join;
use futures_util::stream;
use support::h2::{DATA, H2Server, HEADERS, header_block};
use support::server::{Server, ok};
use support::{pause, run, ws};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A server that says 100 after this time, if at all; it tells how long the body took after the head.
fn asking(after: Option<Duration>) -> (Server, mpsc::Receiver<(Duration, Vec<u8>)>) {
    let (tell, told) = mpsc::channel();
    let server = Server::start(move |mut connection, _| {
        use std::io::Read;
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if connection.stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                head.push(byte[0]);
            }
            let began = Instant::now();
            if let Some(after) = after {
                std::thread::sleep(after);
                connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
                connection.send(CONTINUE);
            }
            let mut body = vec![0; 4];
            connection.stream.read_exact(&mut body).unwrap();
            tell.send((began.elapsed(), body)).unwrap();
            connection.send(&ok("done"));
        }
    });
    (server, told)
}

#[test]
fn body_is_sent_when_the_server_asks_for_it() {
    let delay = Duration::from_millis(150);
    let (server, told) = asking(Some(delay));
    run(async move {
        let session = Session::new();
        for body in [
            Body::from("text"),
            Body::sized_stream(4, stream::iter(["te", "xt"].map(Ok::<_, std::io::Error>))),
        ] {
            let request = session.post(server.url("/")).header("expect", "100-Continue").body(body);
            assert_eq!(request.send().await.unwrap().text().await.unwrap(), "done");
            let (took, body) = told.recv().unwrap();
            assert!(took >= delay && body == b"text", "{took:?} {body:?}");
        }
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn body_is_sent_after_a_second_when_the_server_says_nothing() {
    let (server, told) = asking(None);
    run(async move {
        let request = Session::new().post(server.url("/")).header("expect", "100-continue").body("text");
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "done");
        let took = told.recv().unwrap().0;
        assert!(took >= Duration::from_millis(800) && took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn body_that_is_not_wanted_is_not_sent_and_ends_the_connection() {
    let (tell, told) = mpsc::channel();
    let server = Server::start(move |mut connection, _| {
        use std::io::Read;
        let mut seen = vec![0; 4096];
        let length = connection.stream.read(&mut seen).unwrap();
        connection.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
        seen.truncate(length);
        connection.stream.read_to_end(&mut seen).unwrap();
        tell.send(String::from_utf8(seen).unwrap()).unwrap();
    });
    run(async move {
        let session = Session::new();
        for _ in 0..2 {
            let request = session.post(server.url("/")).header("expect", "100-continue").body("secret");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 417);
            assert_eq!(response.text().await.unwrap(), "no");
            let seen = told.recv().unwrap();
            assert!(seen.contains("Content-Length: 6") || seen.contains("content-length: 6"), "{seen}");
            assert!(!seen.contains("secret"), "{seen}");
        }
        assert_eq!((server.accepted(), session.connections()), (2, 0));
    });
}

#[test]
fn request_of_http_1_0_has_no_chunks() {
    let server = Server::answering(|request| {
        let line = request.head.lines().next().unwrap().to_owned();
        ok(&format!("{line} {}", String::from_utf8_lossy(&request.body)))
    });
    run(async move {
        let session = Session::new();
        let request = session.post(server.url("/a")).http1_0().body("text");
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "POST /a HTTP/1.0 text");
        let pieces = || stream::iter(["te", "xt"].map(Ok::<_, std::io::Error>));
        let request = session.post(server.url("/a")).http1_0().body(Body::sized_stream(4, pieces()));
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "POST /a HTTP/1.0 text");
        let request = session.post(server.url("/a")).http1_0().body(Body::stream(pieces()));
        assert!(request.send().await.unwrap_err().is_invalid_request());
        let request = session.post(server.url("/a")).body("text");
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "POST /a HTTP/1.1 text");
    });
}

#[test]
fn aborted_session_ends_its_streams_of_http_2() {
    let server = H2Server::start(|frames, stream, _| {
        // A head without an end, and a body without one for the second.
        if stream > 1 {
            frames.send(HEADERS, 4, stream, &header_block(200, &[]));
            frames.send(DATA, 0, stream, b"some");
        }
        true
    });
    run(async move {
        let session = server.trusting().build().unwrap();
        let silent = async { session.get(server.url("/silent")).send().await.unwrap_err() };
        let reading = async {
            while session.stats().streams == 0 {
                pause(Duration::from_millis(5)).await;
            }
            let response = session.get(server.url("/")).send().await.unwrap();
            let abort = async {
                pause(Duration::from_millis(20)).await;
                session.abort();
            };
            join(response.bytes(), abort).await.0.unwrap_err()
        };
        let (silent, reading) = join(silent, reading).await;
        assert!(
            (silent.is_closed() || silent.is_session_closed()) && reading.is_closed(),
            "{silent:?} {reading:?}"
        );
        while session.connections() > 0 {
            pause(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn aborted_session_ends_its_websockets() {
    let server = ws::start("", |mut socket, _| socket.echo());
    run(async move {
        let session = Session::new();
        let url = format!("ws://127.0.0.1:{}/", server.port);
        let socket = session.websocket(url).connect().await.unwrap();
        let abort = async {
            pause(Duration::from_millis(20)).await;
            session.abort();
        };
        let (received, ()) = join(socket.receive(), abort).await;
        assert!(received.unwrap_err().is_closed());
        assert!(socket.is_closed());
        assert!(socket.send_text("x").await.unwrap_err().is_closed());
        assert_eq!(socket.receive().await.unwrap(), None);
        drop(socket);
        assert_eq!(session.connections(), 0);
    });
}

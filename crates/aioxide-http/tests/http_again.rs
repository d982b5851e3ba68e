//! What is asked again: retries, redirects by a policy; and what a session counts.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aioxide_http::{RedirectAction, Retries, Session, Timeouts};
use support::h2::{DATA, END_HEADERS, END_STREAM, H2Server, HEADERS, header_block};
use support::server::{Server, ok};
use support::{pause, run};

fn quick(most: u32) -> Retries {
    Retries::new(most).pause(Duration::from_millis(2))
}

/// Fails so many times, by what `fail` answers (nothing: the connection is closed), and then answers.
fn failing(times: usize, fail: &'static [u8]) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Server::start(move |mut connection, _| {
        while connection.read_request().is_some() {
            if count.fetch_add(1, Ordering::SeqCst) >= times {
                connection.send(&ok("at last"));
            } else if fail.is_empty() {
                return;
            } else {
                connection.send(fail);
            }
        }
    });
    (server, asked)
}

const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nbusy";
const LATER: &[u8] = b"HTTP/1.1 429 Later\r\nRetry-After: 1000\r\nContent-Length: 0\r\n\r\n";

#[test]
fn what_may_be_done_twice_is_tried_as_often_as_was_said() {
    for (fail, last) in [(BUSY, Some(503)), (b"", None)] {
        run(async move {
            let session = Session::builder().retries(quick(2)).retry(false).build().unwrap();
            let (server, asked) = failing(2, fail);
            let response = session.get(server.url("/")).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "at last");
            assert_eq!(asked.load(Ordering::SeqCst), 3);

            let (server, asked) = failing(9, fail);
            let result = session.get(server.url("/")).send().await;
            assert_eq!(result.as_ref().ok().map(|response| response.status().as_u16()), last);
            assert_eq!(asked.load(Ordering::SeqCst), 3);

            let (server, asked) = failing(1, fail);
            let result = session.post(server.url("/")).send().await;
            assert_eq!(result.as_ref().ok().map(|response| response.status().as_u16()), last);
            assert_eq!(asked.load(Ordering::SeqCst), 1, "a POST may have been done");
            let (server, _) = failing(1, fail);
            let repeatable = session.post(server.url("/")).retries(quick(1).any_method(true));
            assert_eq!(repeatable.send().await.unwrap().status(), 200);
        });
    }
}

#[test]
fn connecting_is_tried_again_for_every_method() {
    run(async move {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let session = Session::builder().retries(quick(1_000_000)).build().unwrap();
        let url = format!("http://127.0.0.1:{port}/");
        let sent =
            aioxide::spawn(async move { session.post(url).send().await.map(|response| response.status()) });
        pause(Duration::from_millis(10)).await;
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut connection = support::server::Connection { stream };
            connection.read_request();
            connection.send(&ok(""));
        });
        assert_eq!(sent.await.unwrap(), 200);
    });
}

#[test]
fn a_pause_that_would_pass_the_time_out_is_not_begun() {
    run(async move {
        let timeouts = Timeouts { total: Some(Duration::from_secs(50)), ..Timeouts::NONE };
        let session = Session::builder()
            .retries(Retries::new(5).longest_wait(Duration::from_secs(2000)))
            .timeouts(timeouts)
            .build()
            .unwrap();
        let (server, asked) = failing(9, LATER);
        assert_eq!(session.get(server.url("/")).send().await.unwrap().status(), 429);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_policy_follows_stops_or_refuses() {
    let server = Server::answering(|request| match request.path() {
        "/" => ok("end"),
        path => {
            let next = if path == "/1" { "/" } else { "/1" };
            format!("HTTP/1.1 302 x\r\nLocation: {next}\r\nX-From: {path}\r\nContent-Length: 0\r\n\r\n")
                .into_bytes()
        }
    });
    run(async move {
        let session = Session::builder()
            .redirect_policy(|redirect| match redirect.headers()["x-from"].to_str() {
                Ok("/1") if redirect.history().len() == 1 => RedirectAction::Stop,
                Ok("/3") => RedirectAction::Refuse,
                _ => RedirectAction::Follow,
            })
            .build()
            .unwrap();
        let stopped = session.get(server.url("/2")).send().await.unwrap();
        assert_eq!((stopped.status().as_u16(), stopped.url().path()), (302, "/1"));
        assert_eq!(stopped.headers()["location"], "/");
        assert_eq!(
            (stopped.history()[0].method().as_str(), stopped.history()[0].url().path()),
            ("GET", "/2")
        );
        assert_eq!(session.get(server.url("/1")).send().await.unwrap().text().await.unwrap(), "end");
        assert!(session.get(server.url("/3")).send().await.unwrap_err().is_redirect());
        let own = session.get(server.url("/3")).redirect_policy(|_| RedirectAction::Follow);
        assert_eq!(own.send().await.unwrap().text().await.unwrap(), "end");
    });
}

#[test]
fn a_session_counts_what_is_open_idle_waiting_and_shared() {
    let server = Server::always(ok("0123456789"));
    run(async move {
        let session = Session::builder().limit(1).build().unwrap();
        let first = session.get(server.url("/")).send().await.unwrap();
        assert_eq!(first.text().await.unwrap(), "0123456789");
        assert_eq!((session.stats().open, session.stats().idle), (1, 1));
        let silent = Server::start(|mut connection, _| {
            connection.read_request();
            connection.wait_closed();
        });
        let (other, url) = (session.clone(), silent.url("/"));
        let hanging = aioxide::spawn(async move { other.get(url).send().await.map(drop) });
        let (other, url) = (session.clone(), server.url("/"));
        while session.stats().idle > 0 {
            support::turn_loop().await;
        }
        let waiting = aioxide::spawn(async move { other.get(url).send().await.map(drop) });
        while session.stats().waiting == 0 {
            support::turn_loop().await;
        }
        assert_eq!((session.stats().open, session.stats().idle, session.stats().streams), (1, 0, 0));
        hanging.cancel();
        waiting.await.unwrap();
        assert_eq!(session.stats().waiting, 0);
    });
}

#[test]
fn pings_find_a_dead_connection_while_nobody_waits_and_keep_a_living_one() {
    for is_polite in [true, false] {
        let server = H2Server::start(move |frames, stream, _| {
            frames.is_polite = is_polite;
            frames.send(HEADERS, END_HEADERS, stream, &header_block(200, &[]))
                && frames.send(DATA, END_STREAM, stream, b"hello")
        });
        let session = server
            .trusting()
            .http2_keep_alive(Duration::from_millis(20), Duration::from_millis(200))
            .build()
            .unwrap();
        run(async move {
            session.get(server.url("/")).send().await.unwrap().text().await.unwrap();
            assert_eq!(session.connections(), 1);
            if is_polite {
                pause(Duration::from_millis(300)).await;
                assert_eq!(session.connections(), 1);
            } else {
                while session.connections() > 0 {
                    pause(Duration::from_millis(5)).await;
                }
            }
        });
    }
}

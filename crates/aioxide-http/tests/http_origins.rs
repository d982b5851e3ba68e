//! What is meant for one origin stays there when a redirect leads away; limits go along.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aioxide_http::{HeaderValue, Session};
use futures_util::future::join_all;
use support::server::{Request, Server, ok};
use support::{pause, run};

/// Answers with the request's head, so that the test sees what was sent.
fn echo(request: &Request) -> Vec<u8> {
    ok(&request.head)
}

/// A server whose `/away` leads to `target`, and whose `/near` leads to its own `/`.
fn leading_to(target: String) -> Server {
    Server::answering(move |request| match request.path() {
        "/away" => {
            format!("HTTP/1.1 307 Away\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
        "/near" => b"HTTP/1.1 307 Near\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => echo(request),
    })
}

const SECRETS: [&str; 4] = ["Authorization", "Cookie", "Proxy-Authorization", "Host"];

#[test]
fn secrets_of_session_and_request_stay_with_the_origin_they_were_given_for() {
    let other = Server::answering(echo);
    let server = leading_to(other.url("/"));
    run(async move {
        let mut builder =
            Session::builder().secret_header("X-Key", "secret.test").header("X-Public", "public");
        for name in SECRETS {
            builder = builder.header(name, "secret.test");
        }
        let of_session = builder.build().unwrap();
        let plain = Session::new();
        for path in ["/near", "/away"] {
            let mut marked = HeaderValue::from_static("secret.test");
            marked.set_sensitive(true);
            let mut of_request =
                plain.get(server.url(path)).header("x-key", marked).header("x-public", "public");
            for name in SECRETS {
                of_request = of_request.header(name, "secret.test");
            }
            for request in [of_session.get(server.url(path)), of_request] {
                let head = request.send().await.unwrap().text().await.unwrap().to_lowercase();
                assert!(head.contains("x-public: public"), "{head}");
                let sent = head.matches("secret.test").count();
                assert_eq!(sent, if path == "/near" { SECRETS.len() + 1 } else { 0 }, "{path}: {head}");
            }
        }
    });
}

#[test]
fn secrets_do_not_come_back_by_a_second_redirect() {
    let port = Arc::new(AtomicUsize::new(0));
    let known = port.clone();
    let there = Server::answering(move |_| {
        let port = known.load(Ordering::SeqCst);
        format!("HTTP/1.1 302 Back\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    });
    let here = leading_to(there.url("/"));
    port.store(here.port.into(), Ordering::SeqCst);
    run(async move {
        let session = Session::builder().header("Authorization", "secret").build().unwrap();
        let response = session.get(here.url("/away")).send().await.unwrap();
        assert_eq!(response.url().port(), Some(here.port));
        assert!(!response.text().await.unwrap().contains("secret"));
    });
}

#[test]
fn equal_names_are_all_sent_and_cookies_make_one_line() {
    let server = Server::answering(echo);
    run(async move {
        let session = Session::builder()
            .header("X-Token", "one")
            .header("X-Token", "two")
            .header("Cookie", "a=1")
            .header("Cookie", "b=2")
            .header("User-Agent", "mine")
            .build()
            .unwrap();
        let head = session.get(server.url("/")).send().await.unwrap().text().await.unwrap().to_lowercase();
        for line in ["x-token: one\r\n", "x-token: two\r\n", "cookie: a=1; b=2\r\n", "user-agent: mine\r\n"] {
            assert_eq!(head.matches(line).count(), 1, "{line:?} in {head}");
        }
        assert_eq!(head.matches("user-agent").count(), 1, "{head}");
    });
}

#[test]
fn codings_asked_for_by_hand_are_asked_for_also_without_decoding() {
    let server = Server::answering(echo);
    run(async move {
        for (asked, decompress, expected) in [
            (None, true, Some("gzip, deflate, br, zstd")),
            (None, false, None),
            (Some("gzip"), false, Some("gzip")),
        ] {
            let mut builder = Session::builder().decompress(decompress);
            if let Some(codings) = asked {
                builder = builder.header("accept-encoding", codings);
            }
            let session = builder.build().unwrap();
            let head = session.get(server.url("/")).send().await.unwrap().text().await.unwrap();
            let sent = head.lines().find_map(|line| line.strip_prefix("accept-encoding: "));
            assert_eq!(sent, expected, "{head}");
        }
    });
}

#[test]
fn limit_per_host_holds_for_the_host_that_redirects_lead_to() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let site = Server::answering(move |_| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        now.fetch_sub(1, Ordering::SeqCst);
        ok("page")
    });
    let links: Vec<Server> = (0..8).map(|_| leading_to(site.url("/"))).collect();
    run(async move {
        let session = Session::builder().limit_per_host(1).build().unwrap();
        let all = links.iter().map(|link| async {
            let response = session.get(link.url("/away")).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "page");
        });
        join_all(all).await;
        assert_eq!(seen.load(Ordering::SeqCst), 1);
        assert_eq!(site.accepted(), 1);
    });
}

#[test]
fn limit_per_host_holds_for_the_streams_of_one_connection() {
    use support::h2::{DATA, END_HEADERS, END_STREAM, H2Server, HEADERS, header_block};
    let served = Arc::new(AtomicUsize::new(0));
    let seen = served.clone();
    // Streams 1 and 3 come together, and no other before one of them has its answer.
    let server = H2Server::start(move |frames, stream, _| {
        if stream == 1 {
            return true;
        }
        served.fetch_add(1, Ordering::SeqCst);
        let first = if stream == 3 { 1 } else { stream };
        for stream in if first == 1 { vec![1, 3] } else { vec![stream] } {
            frames.send(HEADERS, END_HEADERS, stream, &header_block(200, &[]));
            frames.send(DATA, END_STREAM, stream, b"hello");
        }
        true
    });
    let session = server.trusting().limit_per_host(2).build().unwrap();
    run(async move {
        let all = (0..9).map(|_| async {
            let response = session.get(server.url("/")).send().await.unwrap();
            assert_eq!(session.connections(), 1);
            assert_eq!(response.text().await.unwrap(), "hello");
        });
        join_all(all).await;
        pause(std::time::Duration::ZERO).await;
        assert_eq!((server.accepted(), seen.load(Ordering::SeqCst)), (1, 8));
    });
}

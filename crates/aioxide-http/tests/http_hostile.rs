//! Servers that are slow, broken or ill-meaning: each ends in the right error, in bounded memory and time.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Write;
use std::time::Duration;

use aioxide_http::{Error, Session, TimeoutPhase, Timeouts};
use support::run;
use support::server::{Server, ok};

fn session(timeouts: Timeouts) -> Session {
    Session::builder().timeouts(timeouts).build().unwrap()
}

/// The error that reading the whole answer ends in.
#[track_caller]
fn failure(answer: impl Into<Vec<u8>>) -> Error {
    let answer = answer.into();
    let server = Server::start(move |mut connection, _| {
        connection.read_request();
        connection.send(&answer);
    });
    run(async move {
        let response = Session::new().get(server.url("/")).send().await;
        match response {
            Ok(response) => response.bytes().await.unwrap_err(),
            Err(error) => error,
        }
    })
}

#[test]
fn body_shorter_than_announced_is_an_error() {
    let error = failure("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort");
    assert!(error.is_closed(), "{error:?}");
    assert!(error.url().is_some());
}

#[test]
fn chunked_body_without_its_end_is_an_error() {
    for body in ["", "5\r\nhello\r\n", "5\r\nhel", "5"] {
        let error = failure(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert!(error.is_closed(), "{body:?}: {error:?}");
    }
}

#[test]
fn bad_chunk_is_an_error() {
    for body in ["zz\r\nhello\r\n0\r\n\r\n", "5\r\nhelloworld\r\n0\r\n\r\n", "fffffffffffffffffff\r\nx"] {
        let error = failure(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert!(error.is_protocol(), "{body:?}: {error:?}");
    }
}

#[test]
fn answers_that_are_not_http_are_errors() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nnull: \0\r\n\r\n",
    ] {
        let error = failure(answer);
        assert!(error.is_protocol(), "{answer:?}: {error:?}");
    }
}

#[test]
fn head_cut_short_and_no_head_at_all_are_closed() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let error = failure(answer);
        assert!(error.is_closed(), "{answer:?}: {error:?}");
    }
}

#[test]
fn reset_in_the_middle_is_an_error() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome");
        connection.reset();
    });
    run(async move {
        let result = async { Session::new().get(server.url("/")).send().await?.bytes().await }.await;
        let error = result.unwrap_err();
        assert!(error.is_closed(), "{error:?}");
    });
}

#[test]
fn endless_headers_are_an_error_in_bounded_memory() {
    for line in ["X-Same: value\r\n", "x"] {
        let server = Server::start(move |mut connection, _| {
            connection.read_request();
            connection.send(b"HTTP/1.1 200 OK\r\n");
            while connection.send(line.repeat(100).as_bytes()) {}
        });
        run(async move {
            let error = Session::new().get(server.url("/")).send().await.unwrap_err();
            assert!(error.is_protocol(), "{line:?}: {error:?}");
        });
    }
}

#[test]
fn endless_1xx_answers_are_an_error() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        while connection.send(b"HTTP/1.1 102 Processing\r\n\r\n") {}
    });
    run(async move {
        let error = Session::new().get(server.url("/")).send().await.unwrap_err();
        assert!(error.is_protocol(), "{error:?}");
    });
}

#[test]
fn total_time_runs_out_while_the_head_is_awaited() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        connection.wait_closed();
    });
    run(async move {
        let session = Session::new();
        let error = session.get(server.url("/")).timeout(Duration::from_millis(30)).send().await.unwrap_err();
        assert_eq!(error.timeout_phase(), Some(TimeoutPhase::Total));
        assert!(error.is_timeout() && !error.is_connect());
        assert_eq!(session.connections(), 0, "the slot is free again");
    });
}

#[test]
fn total_time_runs_out_on_a_body_that_trickles() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while connection.send(b"x") {
            std::thread::yield_now();
        }
    });
    run(async move {
        let session = session(Timeouts { read: Some(Duration::from_secs(20)), ..Timeouts::NONE });
        let response = session.get(server.url("/")).timeout(Duration::from_millis(50)).send().await.unwrap();
        let error = response.bytes().await.unwrap_err();
        assert_eq!(error.timeout_phase(), Some(TimeoutPhase::Total));
    });
}

#[test]
fn silence_ends_with_the_read_timeout_in_head_and_body() {
    for start in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        let server = Server::start(move |mut connection, _| {
            connection.read_request();
            connection.send(start.as_bytes());
            connection.wait_closed();
        });
        run(async move {
            let session = session(Timeouts { read: Some(Duration::from_millis(30)), ..Timeouts::default() });
            let result = async { session.get(server.url("/")).send().await?.bytes().await }.await;
            assert_eq!(result.unwrap_err().timeout_phase(), Some(TimeoutPhase::Read));
        });
    }
}

#[test]
fn a_slow_but_steady_body_outlives_the_read_timeout() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = Server::start(move |mut connection, _| {
        connection.read_request();
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..10 {
            wait.lock().unwrap().recv().unwrap();
            connection.send(b"x");
        }
    });
    run(async move {
        // Each byte waits 20 ms, all of them wait for longer than the limit of a single silence.
        let session = session(Timeouts { read: Some(Duration::from_millis(150)), ..Timeouts::NONE });
        let mut response = session.get(server.url("/")).send().await.unwrap();
        for _ in 0..10 {
            support::pause(Duration::from_millis(20)).await;
            go.send(()).unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "x");
        }
        assert_eq!(response.chunk().await.unwrap(), None);
    });
}

#[test]
fn refused_connection_is_connect() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    run(async move {
        let error = Session::new().get(format!("http://127.0.0.1:{port}/")).send().await.unwrap_err();
        assert!(error.is_connect() && !error.is_timeout(), "{error:?}");
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.downcast_ref::<aioxide::net::ConnectError>().unwrap().is_refused());
    });
}

#[test]
fn unusable_urls_are_invalid() {
    run(async move {
        let session = Session::new();
        for url in
            ["", "nonsense", "http://", "file:///etc/passwd", "http://[::1", "http://a b/", "http://x:99999/"]
        {
            let error = session.get(url).send().await.unwrap_err();
            assert!(error.is_invalid_url(), "{url:?}: {error:?}");
            assert!(error.to_string().contains(url), "{url:?} is not named: {error}");
        }
    });
}

#[test]
fn header_injection_is_refused() {
    run(async move {
        let error =
            Session::new().get("http://127.0.0.1/").header("x-a", "1\r\nx-b: 2").send().await.unwrap_err();
        assert!(error.is_invalid_request(), "{error:?}");
    });
}

/// Zeros that gzip packs a thousandfold.
fn bomb(megabytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..megabytes {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

fn encoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[test]
fn gzip_bomb_comes_in_small_pieces_and_stops_at_the_limit() {
    let server = Server::always(encoded("gzip", &bomb(100)));
    run(async move {
        let session = Session::new();
        let mut response = session.get(server.url("/")).send().await.unwrap();
        let mut total = 0;
        while let Some(chunk) = response.chunk().await.unwrap() {
            assert!(chunk.len() <= 32 * 1024);
            total += chunk.len();
        }
        assert_eq!(total, 100 << 20);

        let response = session.get(server.url("/")).max_body_size(1 << 20).send().await.unwrap();
        let error = response.bytes().await.unwrap_err();
        assert!(error.is_too_large(), "{error:?}");
    });
}

#[test]
fn broken_or_truncated_codings_are_errors() {
    let whole = bomb(1);
    let mut wrong_sum = whole.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    for (coding, body) in [
        ("gzip", &whole[..whole.len() / 2]),
        ("gzip", &whole[..whole.len() - 4]),
        ("gzip", &wrong_sum[..]),
        ("gzip", b"this is not gzip"),
        ("deflate", b"\x78\x9cnot zlib"),
        ("br", b"\xffnot brotli"),
        ("zstd", b"not zstd"),
        ("zstd", b"\x28\xb5\x2f"),
    ] {
        let error = failure(encoded(coding, body));
        assert!(error.is_decode(), "{coding}: {error:?}");
    }
}

#[test]
fn unknown_coding_and_empty_body_pass() {
    run(async move {
        let session = Session::new();
        let server = Server::always(encoded("rot13", b"uryyb"));
        assert_eq!(session.get(server.url("/")).send().await.unwrap().text().await.unwrap(), "uryyb");
        let server = Server::always(encoded("gzip", b""));
        assert_eq!(session.get(server.url("/")).send().await.unwrap().text().await.unwrap(), "");
    });
}

#[test]
fn redirect_loop_and_redirects_to_nowhere_end() {
    let server = Server::answering(|request| {
        let location = match request.path() {
            "/a" => "/b",
            "/b" => "/a",
            "/file" => "file:///etc/passwd",
            "/bad" => "http://[",
            path if path.starts_with("/deeper") => {
                return format!("HTTP/1.1 302 Found\r\nLocation: {path}/x\r\nContent-Length: 0\r\n\r\n")
                    .into_bytes();
            }
            _ => return ok("end"),
        };
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    run(async move {
        let session = Session::new();
        for path in ["/a", "/file", "/bad", "/deeper"] {
            let error = session.get(server.url(path)).send().await.unwrap_err();
            assert!(error.is_redirect(), "{path}: {error:?}");
        }
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn credentials_stay_with_their_origin() {
    let other = Server::answering(|request| ok(request.header("authorization").unwrap_or("none")));
    let target = other.url("/");
    let server = Server::answering(move |request| match request.path() {
        "/away" => {
            format!("HTTP/1.1 307 Away\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
        "/near" => b"HTTP/1.1 307 Near\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => ok(request.header("authorization").unwrap_or("none")),
    });
    run(async move {
        let session = Session::new();
        for (path, expected) in [("/near", "Bearer secret"), ("/away", "none")] {
            let response = session.get(server.url(path)).bearer_auth("secret").send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), expected, "{path}");
        }
        let url = server.url("/").replace("127.0.0.1", "user:pass@127.0.0.1");
        let response = session.get(url).send().await.unwrap();
        assert!(!response.url().as_str().contains("pass"));
        assert_eq!(response.text().await.unwrap(), "Basic dXNlcjpwYXNz");
    });
}

#[test]
fn body_follows_a_307_and_is_left_behind_by_a_303() {
    let server = Server::answering(|request| match request.path() {
        "/307" => b"HTTP/1.1 307 T\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/303" => b"HTTP/1.1 303 S\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => ok(&format!(
            "{} {} {}",
            request.method(),
            String::from_utf8_lossy(&request.body),
            request.header("content-type").unwrap_or("-")
        )),
    });
    run(async move {
        let session = Session::new();
        for (path, expected) in [("/307", "POST data text/plain"), ("/303", "GET  -")] {
            let request = session.post(server.url(path)).header("content-type", "text/plain").body("data");
            assert_eq!(request.send().await.unwrap().text().await.unwrap(), expected);
        }
        let body = aioxide_http::Body::stream(futures_util::stream::iter([Ok::<_, std::io::Error>("data")]));
        let error = session.post(server.url("/307")).body(body).send().await.unwrap_err();
        assert!(error.is_redirect(), "a stream cannot be sent twice: {error:?}");
    });
}

#[test]
fn tls_server_that_says_nothing_runs_into_the_connect_timeout() {
    let server = Server::start(|connection, _| connection.wait_closed());
    run(async move {
        let session = session(Timeouts { connect: Some(Duration::from_millis(50)), ..Timeouts::NONE });
        let error = session.get(server.url("/").replace("http:", "https:")).send().await.unwrap_err();
        assert_eq!(error.timeout_phase(), Some(TimeoutPhase::Connect), "{error:?}");
        assert!(error.is_connect() && error.is_timeout());
        assert_eq!(session.connections(), 0);
    });
}

#[test]
fn address_that_does_not_answer_runs_into_the_sock_connect_timeout() {
    // Nobody accepts; once the queue is full, the system drops what comes.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let queued: Vec<_> = (0..4)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        })
        .collect();
    let url = format!("http://{}/", address.as_socket().unwrap());
    run(async move {
        let timeouts = Timeouts { sock_connect: Some(Duration::from_millis(50)), ..Timeouts::default() };
        let error = session(timeouts).get(url).send().await.unwrap_err();
        assert_eq!(error.timeout_phase(), Some(TimeoutPhase::SockConnect), "{error:?}");
        assert!(error.is_connect());
    });
    drop(queued);
}

//! Keep-alive and its traps: what is used again, what is retried, what is closed.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use aioxide_http::{Body, Session, StatusCode};
use futures_util::stream;
use support::run;
use support::server::{Server, ok};

/// Serves one request on each of the first `short` connections and closes it at the second request, unanswered.
fn closing_on_reuse(short: usize) -> Server {
    Server::start(move |mut connection, number| {
        if number < short {
            connection.read_request();
            connection.send(&ok("first"));
            connection.read_request();
            return;
        }
        while connection.read_request().is_some() {
            connection.send(&ok("again"));
        }
    })
}

async fn text(session: &Session, url: &str) -> String {
    session.get(url).send().await.unwrap().text().await.unwrap()
}

#[test]
fn idempotent_request_is_retried_when_the_server_closes_just_then() {
    let server = closing_on_reuse(1);
    run(async move {
        let session = Session::new();
        assert_eq!(text(&session, &server.url("/")).await, "first");
        assert_eq!(text(&session, &server.url("/")).await, "again");
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn it_is_retried_once_only() {
    let server = Server::start(|mut connection, number| {
        connection.read_request();
        if number == 0 {
            connection.send(&ok("first"));
            connection.read_request();
        }
    });
    run(async move {
        let session = Session::new();
        assert_eq!(text(&session, &server.url("/")).await, "first");
        let error = session.get(server.url("/")).send().await.unwrap_err();
        assert!(error.is_closed(), "{error:?}");
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn post_is_not_retried_nor_anything_when_told_so() {
    for (retry, method) in [(true, "POST"), (false, "GET")] {
        let server = closing_on_reuse(1);
        run(async move {
            let session = Session::builder().retry(retry).build().unwrap();
            assert_eq!(text(&session, &server.url("/")).await, "first");
            let error = session.request(method.parse().unwrap(), server.url("/")).send().await.unwrap_err();
            assert!(error.is_closed(), "{error:?}");
            assert_eq!(server.accepted(), 1);
        });
    }
}

#[test]
fn a_stream_that_was_begun_is_not_retried() {
    let server = closing_on_reuse(1);
    run(async move {
        let session = Session::new();
        assert_eq!(text(&session, &server.url("/")).await, "first");
        let body = Body::stream(stream::iter([Ok::<_, std::io::Error>("data")]));
        let error = session.put(server.url("/")).body(body).send().await.unwrap_err();
        assert!(error.is_closed(), "{error:?}");
    });
}

#[test]
fn nothing_is_retried_after_the_first_byte_of_an_answer() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        connection.send(&ok("first"));
        connection.read_request();
        connection.send(b"HTTP/1.1 2");
    });
    run(async move {
        let session = Session::new();
        assert_eq!(text(&session, &server.url("/")).await, "first");
        let error = session.get(server.url("/")).send().await.unwrap_err();
        assert!(error.is_closed(), "{error:?}");
        assert_eq!(server.accepted(), 1);
    });
}

/// The rest of an answer that was longer than it said, which comes when the connection is in use again.
fn sending_a_late_rest(rest: &'static [u8]) -> Server {
    Server::start(move |mut connection, number| {
        connection.read_request();
        connection.send(&ok(if number == 0 { "first" } else { "again" }));
        connection.read_request();
        connection.send(rest);
    })
}

#[test]
fn late_rest_of_another_answer_is_not_taken_for_the_answer() {
    let server = sending_a_late_rest(b"the rest of first\r\n\r\n");
    run(async move {
        let session = Session::new();
        assert_eq!(text(&session, &server.url("/")).await, "first");
        assert_eq!(text(&session, &server.url("/")).await, "again", "on a new connection");
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn what_may_not_be_done_twice_is_not_sent_again_after_a_late_rest() {
    for (retry, method) in [(true, "POST"), (false, "GET")] {
        let server = sending_a_late_rest(b"the rest of first\r\n\r\n");
        run(async move {
            let session = Session::builder().retry(retry).build().unwrap();
            assert_eq!(text(&session, &server.url("/")).await, "first");
            let error = session.request(method.parse().unwrap(), server.url("/")).send().await.unwrap_err();
            assert!(error.is_protocol(), "{error:?}");
            assert_eq!(server.accepted(), 1);
        });
    }
}

#[test]
fn connection_found_closed_before_reuse_costs_nobody_a_retry() {
    let (closed, wait_closed) = mpsc::channel();
    let server = Server::start(move |mut connection, _| {
        connection.read_request();
        connection.send(&ok("only"));
        connection.finish();
        closed.send(()).unwrap();
        connection.wait_closed();
    });
    run(async move {
        let session = Session::builder().retry(false).build().unwrap();
        for _ in 0..3 {
            assert_eq!(text(&session, &server.url("/")).await, "only");
            wait_closed.recv().unwrap();
            // The end of the connection is there; the loop sees it when it asks the kernel next.
            support::turn_loop().await;
        }
        assert_eq!(server.accepted(), 3);
        let response = session.post(server.url("/")).body("x").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "not even a POST fails");
    });
}

#[test]
fn connection_close_is_obeyed() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        connection.wait_closed();
    });
    run(async move {
        let session = Session::new();
        for _ in 0..3 {
            assert_eq!(text(&session, &server.url("/")).await, "ok");
            assert_eq!(session.connections(), 0);
        }
        assert_eq!(server.accepted(), 3);
    });
}

#[test]
fn body_that_ends_with_the_connection_is_whole() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        connection.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end");
    });
    run(async move {
        let session = Session::new();
        let response = session.get(server.url("/")).send().await.unwrap();
        assert_eq!(response.content_length(), None);
        assert_eq!(response.text().await.unwrap(), "until the end");
        assert_eq!(session.connections(), 0);
    });
}

#[test]
fn answers_1xx_are_passed_over() {
    let server = Server::always(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal",
    );
    run(async move {
        let session = Session::new();
        for _ in 0..3 {
            assert_eq!(text(&session, &server.url("/")).await, "final");
        }
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn bodies_that_head_204_and_304_must_not_have_are_not_waited_for() {
    let server = Server::answering(|request| match (request.method(), request.path()) {
        ("HEAD", _) => b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec(),
        (_, "/204") => b"HTTP/1.1 204 No Content\r\nContent-Length: 50\r\n\r\n".to_vec(),
        (_, "/304") => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n".to_vec(),
        _ => ok("body"),
    });
    run(async move {
        let session = Session::new();
        let head = session.head(server.url("/")).send().await.unwrap();
        assert_eq!(head.content_length(), Some(1_000_000));
        assert_eq!(head.bytes().await.unwrap(), "");
        for path in ["/204", "/304"] {
            assert_eq!(text(&session, &server.url(path)).await, "");
        }
        assert_eq!(text(&session, &server.url("/")).await, "body");
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn small_unread_body_is_drained_and_the_connection_used_again() {
    let server = Server::always(ok(&"x".repeat(10_000)));
    run(async move {
        let session = Session::new();
        for _ in 0..5 {
            assert_eq!(session.get(server.url("/")).send().await.unwrap().status(), StatusCode::OK);
            while session.idle_connections() == 0 {
                support::turn_loop().await;
            }
        }
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn large_unread_body_closes_its_connection() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        while connection.send(&[b'x'; 1000]) {}
    });
    run(async move {
        let session = Session::new();
        let mut response = session.get(server.url("/")).send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        assert_eq!(session.connections(), 1);
        drop(response);
        assert_eq!(session.connections(), 0);
    });
}

#[test]
fn endless_chunked_body_dropped_unread_closes_its_connection() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while connection.send(format!("400\r\n{}\r\n", "x".repeat(0x400)).as_bytes()) {}
    });
    run(async move {
        let session = Session::new();
        drop(session.get(server.url("/")).send().await.unwrap());
        while session.connections() > 0 {
            support::turn_loop().await;
        }
    });
}

#[test]
fn dropped_request_closes_its_connection_and_frees_its_slot() {
    let (gone, wait_gone) = mpsc::channel();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Server::start(move |mut connection, number| {
        connection.read_request();
        count.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            connection.wait_closed();
            gone.send(()).unwrap();
        } else {
            connection.send(&ok("next"));
        }
    });
    run(async move {
        let session = Session::builder().limit(1).build().unwrap();
        let mut request = Box::pin(session.get(server.url("/")).send());
        while asked.load(Ordering::SeqCst) == 0 {
            assert!(futures_util::poll!(&mut request).is_pending());
            support::turn_loop().await;
        }
        drop(request);
        assert_eq!(session.connections(), 0);
        wait_gone.recv().unwrap();
        assert_eq!(text(&session, &server.url("/")).await, "next");
    });
}

#[test]
fn closed_session_refuses_requests_and_closes_idle_connections() {
    let server = Server::always(ok("x"));
    run(async move {
        let session = Session::new();
        text(&session, &server.url("/")).await;
        assert_eq!(session.idle_connections(), 1);
        let reading = session.get(server.url("/")).send().await.unwrap();
        session.close();
        assert!(session.get(server.url("/")).send().await.unwrap_err().is_session_closed());
        assert_eq!(reading.text().await.unwrap(), "x", "what is under way goes on");
        assert_eq!(session.connections(), 0);
    });
}

#[test]
fn a_session_goes_on_with_new_connections_on_another_loop() {
    let server = Server::always(ok("x"));
    let session = Session::new();
    for round in 1..=3 {
        let (session, url) = (session.clone(), server.url("/"));
        run(async move {
            assert_eq!(text(&session, &url).await, "x");
            assert_eq!(text(&session, &url).await, "x");
            assert_eq!(session.idle_connections(), 1);
        });
        assert_eq!(server.accepted(), round);
    }
    assert_eq!(session.connections(), 0, "the last loop took its connections with it");
}

#[test]
fn a_response_may_outlive_its_loop() {
    let server = Server::always(ok(&"x".repeat(100_000)));
    let session = Session::new();
    let kept = session.clone();
    let response = run(async move { session.get(server.url("/")).send().await.unwrap() });
    drop(response);
    assert_eq!(kept.connections(), 0);
}

#[test]
fn redirect_with_an_endless_body_is_not_waited_for() {
    let server = Server::start(|mut connection, _| {
        while let Some(request) = connection.read_request() {
            if request.path() == "/end" {
                connection.send(&ok("end"));
                continue;
            }
            connection.send(b"HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 1000\r\n\r\nhalf");
            return connection.wait_closed();
        }
    });
    run(async move {
        let session = Session::new();
        assert_eq!(text(&session, &server.url("/")).await, "end");
    });
}

#[test]
fn an_answer_before_the_body_was_sent_is_read() {
    let server = Server::start(|mut connection, _| {
        let mut head = [0; 100];
        std::io::Read::read_exact(&mut connection.stream, &mut head).unwrap();
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge");
        connection.wait_closed();
    });
    run(async move {
        let session = Session::new();
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0; 1000]));
        let response = session.post(server.url("/")).body(Body::stream(endless)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(response.text().await.unwrap(), "large");
        assert_eq!(session.connections(), 0, "a connection in the middle of a request is not kept");
    });
}

#[test]
fn a_failing_request_body_is_told_apart() {
    let server = Server::always(ok("x"));
    run(async move {
        let session = Session::new();
        let pieces = [Ok("data"), Err(std::io::Error::other("no more"))];
        let error =
            session.put(server.url("/")).body(Body::stream(stream::iter(pieces))).send().await.unwrap_err();
        assert!(error.is_request_body(), "{error:?}");
        let short = Body::sized_stream(10, stream::iter([Ok::<_, std::io::Error>("data")]));
        let error = session.put(server.url("/")).body(short).send().await.unwrap_err();
        assert!(error.is_request_body(), "{error:?}");
        assert_eq!(session.connections(), 0);
    });
}

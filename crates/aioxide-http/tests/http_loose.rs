//! What real servers send against the rules and curl and browsers take; and where the taking ends.

mod support;

use aioxide_http::{Error, Session, Version};
use support::run;
use support::server::Server;

/// What the first of two requests comes to, and how many connections both took; `closes`: the server ends each connection
/// after its answer.
fn twice(answer: &[u8], closes: bool) -> (Result<(Version, String), Error>, usize) {
    let answer = answer.to_vec();
    let server =
        Server::start(
            move |mut connection, _| {
                while connection.read_request().is_some() && connection.send(&answer) && !closes {}
            },
        );
    run(async move {
        let session = Session::new();
        let get = || async {
            let response = session.get(server.url("/")).send().await?;
            Ok((response.version(), response.text().await?))
        };
        let first = get().await;
        let _ = get().await;
        (first, server.accepted())
    })
}

#[test]
fn headers_that_curl_and_browsers_take_are_taken() {
    for line in [
        "X-Folded: one\r\n  two",
        "X-Space : v",
        "PHP Warning: Unable to load",
        ": no name",
        "no colon",
        "X-Control: a\x01b",
        "X-Latin: caf\u{e9}",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length : 5\r\n\r\nhello");
        let (first, connections) = twice(answer.as_bytes(), false);
        assert_eq!(first.unwrap(), (Version::HTTP_11, "hello".to_owned()), "{line:?}");
        assert_eq!(connections, 1, "{line:?}");
    }
}

#[test]
fn chunks_whose_coding_is_not_the_last_one_are_no_body() {
    for headers in
        ["Transfer-Encoding: chunked, identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"]
    {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n3\r\nabc\r\n");
        let (first, _) = twice(answer.as_bytes(), true);
        assert!(first.is_err(), "{headers:?}: {first:?}");
    }
}

#[test]
fn chunks_of_http_1_0_are_taken_and_its_connection_is_kept_only_if_it_says_so() {
    for headers in ["", "Connection: keep-alive\r\nX: y\r\n"] {
        let answer =
            format!("HTTP/1.0 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let (first, connections) = twice(answer.as_bytes(), false);
        assert_eq!(first.unwrap(), (Version::HTTP_10, "hello".to_owned()));
        assert_eq!(connections, if headers.is_empty() { 2 } else { 1 });
    }
}

#[test]
fn connection_whose_answer_had_two_lengths_is_not_used_again() {
    let answer =
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (first, connections) = twice(answer, false);
    assert_eq!(first.unwrap().1, "hello");
    assert_eq!(connections, 2);
}

#[test]
fn framing_that_cannot_be_read_is_an_error_and_not_an_answer_until_the_connection_closes() {
    for line in [
        "Content-Length: 5\x01",
        "Content-Length: 5 6",
        "Content-Length:",
        "Transfer-Encoding: chun\x02ked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
    ] {
        let (first, _) = twice(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\nbody").as_bytes(), true);
        let error = first.unwrap_err();
        assert!(error.is_protocol(), "{line:?}: {error:?}");
    }
}

#[test]
fn answer_that_nobody_asked_for_is_not_taken_for_the_next_one() {
    let server = Server::start(|mut connection, _| {
        while let Some(request) = connection.read_request() {
            let path = request.path().to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            if !connection
                .send(format!("{answer}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").as_bytes())
            {
                return;
            }
        }
    });
    run(async move {
        let session = Session::new();
        for path in ["/1", "/2", "/3"] {
            let response = session.get(server.url(path)).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), path);
        }
    });
}

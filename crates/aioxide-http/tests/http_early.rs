//! Servers that answer before they have read the request's body, and close: an answer that is whole is the answer.

mod support;

use std::convert::Infallible;
use std::io::Read as _;

use aioxide_http::{Body, Error, Session};
use futures_util::stream;
use support::h2::{
    DATA, END_HEADERS, END_STREAM, Frames, H2Server, HEADERS, SETTINGS, frame, header_block, tls,
};
use support::run;
use support::server::{Server, wait_until_sent};

const ROUNDS: usize = 5;

/// Bodies that do not end before the server has gone: without an end, with one, and one whose next piece never comes.
fn bodies() -> Vec<Body> {
    let piece = vec![b'x'; 64 * 1024];
    let endless = stream::repeat(Ok::<_, Infallible>(piece.clone()));
    let stalling = stream::iter([Ok::<_, Infallible>(piece)]);
    vec![
        Body::stream(endless),
        Body::from(vec![b'x'; 8 << 20]),
        Body::stream(futures_util::StreamExt::chain(stalling, stream::pending())),
    ]
}

/// What posting each of the bodies comes to, each by a session of its own: over HTTP/2 the next could still be given the
/// connection that is about to end.
fn outcomes(session: impl Fn() -> Session, url: String) -> Vec<Result<(u16, usize), Error>> {
    let requests: Vec<_> = bodies().into_iter().map(|body| (session(), body)).collect();
    run(async move {
        let mut outcomes = Vec::new();
        for (session, body) in requests {
            let answer = async {
                let response = session.post(&url).body(body).send().await?;
                Ok((response.status().as_u16(), response.bytes().await?.len()))
            };
            outcomes.push(answer.await);
        }
        outcomes
    })
}

#[track_caller]
fn assert_whole(outcomes: Vec<Result<(u16, usize), Error>>, length: usize) {
    for (body, outcome) in outcomes.into_iter().enumerate() {
        let got = outcome.unwrap_or_else(|error| panic!("body {body}: {error:?}"));
        assert_eq!(got, (413, length), "body {body}");
    }
}

const LARGE: usize = 40_000;

fn head(fields: &str) -> String {
    format!("HTTP/1.1 413 Too Large\r\n{fields}\r\n\r\n")
}

/// Answers as soon as it has read the head, and closes; `finishes`: it says so before the reset that unread bytes cause.
fn early(answer: Vec<u8>, finishes: bool) -> Server {
    Server::start(move |mut connection, _| {
        // The head, and no more than the beginning of the body.
        let mut begin = [0; 2000];
        let _ = connection.stream.read(&mut begin);
        connection.send(&answer);
        if finishes {
            connection.finish();
        }
        wait_until_sent(&connection.stream);
    })
}

#[test]
fn whole_answer_before_the_end_of_the_request_is_the_answer() {
    let body = "y".repeat(LARGE);
    let chunked = format!("{}{LARGE:x}\r\n{body}\r\n0\r\n\r\n", head("Transfer-Encoding: chunked"));
    let sized = format!("{}{body}", head(&format!("Content-Length: {LARGE}")));
    for answer in [chunked, sized] {
        for finishes in [true, false] {
            let server = early(answer.clone().into_bytes(), finishes);
            for _ in 0..ROUNDS {
                assert_whole(outcomes(Session::new, server.url("/")), LARGE);
            }
        }
    }
}

#[test]
fn answer_without_a_length_is_whole_when_the_server_said_its_end_and_cut_when_it_did_not() {
    let answer = format!("{}{}", head("Connection: close"), "y".repeat(LARGE));
    let server = early(answer.clone().into_bytes(), true);
    assert_whole(outcomes(Session::new, server.url("/")), LARGE);

    let server = early(answer.into_bytes(), false);
    for _ in 0..ROUNDS {
        for outcome in outcomes(Session::new, server.url("/")) {
            let error = outcome.unwrap_err();
            assert!(error.is_closed(), "{error:?}");
        }
    }
}

#[test]
fn cut_answer_before_the_end_of_the_request_is_an_error() {
    let answer = format!("{}{}", head("Content-Length: 50000"), "y".repeat(LARGE));
    for finishes in [true, false] {
        let server = early(answer.clone().into_bytes(), finishes);
        for outcome in outcomes(Session::new, server.url("/")) {
            let error = outcome.unwrap_err();
            assert!(error.is_closed(), "{error:?}");
        }
    }
}

#[test]
fn connection_of_an_early_answer_is_not_used_again() {
    let server = early(format!("{}ok", head("Content-Length: 2")).into_bytes(), true);
    let session = Session::builder().retry(false).build().unwrap();
    assert_whole(outcomes(|| session.clone(), server.url("/")), 2);
    assert_eq!(server.accepted(), bodies().len());
}

#[test]
fn whole_answer_over_tls_before_the_end_of_the_request_is_the_answer() {
    let (config, authority) = tls(&["http/1.1"]);
    let answer = format!("{}{}", head(&format!("Content-Length: {LARGE}")), "y".repeat(LARGE));
    let server = Server::start(move |connection, _| {
        let session = support::h2::server_session(&config);
        let mut stream = aioxide::net::tls::rustls::StreamOwned::new(session, connection.stream);
        let mut begin = [0; 2000];
        let _ = stream.read(&mut begin);
        let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        wait_until_sent(&stream.sock);
    });
    let url = format!("https://127.0.0.1:{}/", server.port);
    for _ in 0..ROUNDS {
        let session = || Session::builder().add_root_pem(authority.pem.as_bytes()).build().unwrap();
        assert_whole(outcomes(session, url.clone()), LARGE);
    }
}

/// The frames of an answer that ends, or goes on.
fn answer(stream: u32, flags: u8) -> Vec<u8> {
    let mut frames = frame(HEADERS, END_HEADERS, stream, &header_block(413, &[]));
    for rest in (1..=LARGE / 10_000).rev() {
        let flags = if rest == 1 { flags } else { 0 };
        frames.extend(frame(DATA, flags, stream, &[b'y'; 10_000]));
    }
    frames
}

/// An HTTP/2 server that takes a lot at a time, and after `answer` goes away with or without the end that TLS has.
fn early_h2(flags: u8, says_goodbye: bool) -> H2Server {
    H2Server::start(move |frames: &mut Frames, stream, _| {
        frames.send(SETTINGS, 0, 0, &[&[0, 4], &(1u32 << 30).to_be_bytes()[..]].concat());
        frames.send(8, 0, 0, &(1u32 << 30).to_be_bytes());
        // The upload is well under way.
        while frames.read().is_some_and(|(kind, ..)| kind != DATA) {}
        frames.send_raw(&answer(stream, flags));
        if says_goodbye {
            frames.stream.conn.send_close_notify();
            frames.send_raw(b"");
        }
        wait_until_sent(&frames.stream.sock);
        false
    })
}

#[test]
fn whole_http2_answer_before_the_end_of_the_request_is_the_answer() {
    for says_goodbye in [true, false] {
        let server = early_h2(END_STREAM, says_goodbye);
        for _ in 0..ROUNDS {
            assert_whole(outcomes(|| server.trusting().build().unwrap(), server.url("/")), LARGE);
        }
    }
}

#[test]
fn http2_answer_that_is_cut_before_the_end_of_the_request_is_an_error() {
    for says_goodbye in [true, false] {
        let server = early_h2(0, says_goodbye);
        for outcome in outcomes(|| server.trusting().build().unwrap(), server.url("/")) {
            let error = outcome.unwrap_err();
            assert!(error.is_closed(), "{error:?}");
        }
    }
}

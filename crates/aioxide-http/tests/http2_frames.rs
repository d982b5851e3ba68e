//! HTTP/2 answers that are cut, refused or never come: nothing but END_STREAM ends a body, and a dead connection is left.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aioxide_http::{Body, Error, Timeouts};
use support::h2::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, H2Server, HEADERS, RST_STREAM, header_block,
};
use support::run;

const NO_ERROR: [u8; 4] = [0; 4];
const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();

fn hello(frames: &mut Frames, stream: u32) -> bool {
    frames.send(HEADERS, END_HEADERS, stream, &header_block(200, &[]))
        && frames.send(DATA, END_STREAM, stream, b"hello")
}

/// What reading the answer of such a server comes to.
#[track_caller]
fn outcome(
    answer: impl Fn(&mut Frames, u32, usize) -> bool + Send + Sync + 'static,
) -> Result<String, Error> {
    let server = H2Server::start(answer);
    let session = server.trusting().build().unwrap();
    run(async move { session.get(server.url("/")).send().await?.text().await })
}

#[test]
fn body_that_a_reset_or_a_goodbye_without_error_cuts_is_not_whole() {
    for fields in [&[("content-length", "10")][..], &[]] {
        for cut in [RST_STREAM, GOAWAY] {
            let error = outcome(move |frames, stream, _| {
                frames.send(HEADERS, END_HEADERS, stream, &header_block(200, fields));
                frames.send(DATA, 0, stream, b"hello");
                match cut {
                    RST_STREAM => frames.send(RST_STREAM, 0, stream, &NO_ERROR),
                    _ => frames.send(GOAWAY, 0, 0, &[0; 8]),
                }
            })
            .unwrap_err();
            assert!(error.is_closed(), "{fields:?}, {cut}: {error:?}");
        }
    }
}

#[test]
fn answer_that_the_server_gives_up_is_cut_and_one_that_blames_the_client_is_not() {
    // INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM and one that is not known; PROTOCOL_ERROR and COMPRESSION_ERROR.
    for (reason, given_up) in [(2_u32, true), (8, true), (11, true), (255, true), (1, false), (9, false)] {
        for (cut, has_begun) in [(RST_STREAM, true), (RST_STREAM, false), (GOAWAY, true), (GOAWAY, false)] {
            let error = outcome(move |frames, stream, _| {
                if has_begun {
                    frames.send(HEADERS, END_HEADERS, stream, &header_block(200, &[]));
                    frames.send(DATA, 0, stream, b"hello");
                }
                match cut {
                    RST_STREAM => frames.send(RST_STREAM, 0, stream, &reason.to_be_bytes()),
                    _ => frames.send(GOAWAY, 0, 0, &[[0; 4], reason.to_be_bytes()].concat()),
                }
            })
            .unwrap_err();
            assert_eq!(
                (error.is_closed(), error.is_protocol()),
                (given_up, !given_up),
                "{reason}, {cut}, {has_begun}: {error:?}"
            );
        }
    }
}

#[test]
fn whole_body_followed_by_a_reset_without_error_is_whole() {
    let text = outcome(|frames, stream, _| {
        let answer = [
            support::h2::frame(HEADERS, END_HEADERS, stream, &header_block(200, &[])),
            support::h2::frame(DATA, END_STREAM, stream, b"hello"),
            support::h2::frame(RST_STREAM, 0, stream, &NO_ERROR),
        ];
        frames.send_raw(&answer.concat())
    });
    assert_eq!(text.unwrap(), "hello");
}

#[test]
fn early_answer_to_a_body_that_is_still_being_sent_is_whole() {
    let server = H2Server::start(|frames, stream, _| {
        let answer = [
            support::h2::frame(HEADERS, END_HEADERS, stream, &header_block(413, &[])),
            support::h2::frame(DATA, END_STREAM, stream, b"too large"),
            support::h2::frame(RST_STREAM, 0, stream, &NO_ERROR),
        ];
        frames.send_raw(&answer.concat())
    });
    let session = server.trusting().build().unwrap();
    run(async move {
        let endless = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let response = session.post(server.url("/")).body(Body::stream(endless)).send().await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(response.text().await.unwrap(), "too large");
    });
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "when requests arrive at a server in a thread of its own is what is looked at"
)]
fn request_that_is_refused_again_and_again_is_sent_at_growing_distances() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&arrivals);
    let error = outcome(move |frames, stream, _| {
        noted.lock().unwrap().push(Instant::now());
        frames.send(RST_STREAM, 0, stream, &REFUSED_STREAM)
    })
    .unwrap_err();
    assert!(error.is_closed(), "{error:?}");
    let arrivals = arrivals.lock().unwrap();
    let distances: Vec<_> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The first one at once, then pauses that double, of which chance takes up to a half.
    assert_eq!(distances.len(), 10);
    for (number, distance) in distances.iter().enumerate().skip(1) {
        assert!(*distance >= Duration::from_micros(2400) * (1 << (number - 1).min(6)), "{distances:?}");
    }
}

#[test]
fn request_that_is_refused_twice_is_answered() {
    let refused = AtomicUsize::new(0);
    let text = outcome(move |frames, stream, _| match refused.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => frames.send(RST_STREAM, 0, stream, &REFUSED_STREAM),
        _ => hello(frames, stream),
    });
    assert_eq!(text.unwrap(), "hello");
}

#[test]
fn length_that_does_not_fit_the_frames_is_an_error() {
    for (announced, sent) in [("10", "hello"), ("3", "hello"), ("5x", "hello"), ("1", "")] {
        let error = outcome(move |frames, stream, _| {
            frames.send(HEADERS, END_HEADERS, stream, &header_block(200, &[("content-length", announced)]));
            frames.send(DATA, END_STREAM, stream, sent.as_bytes())
        })
        .unwrap_err();
        assert!(error.is_protocol(), "{announced}: {error:?}");
    }
}

#[test]
fn connection_that_closes_without_a_word_costs_a_repeatable_request_nothing() {
    let server = H2Server::start(|frames, stream, number| {
        // The first connection ends at its second request.
        (number > 0 || stream == 1) && hello(frames, stream)
    });
    let session = server.trusting().build().unwrap();
    run(async move {
        for _ in 0..3 {
            let response = session.get(server.url("/")).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "hello");
        }
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn connection_that_has_gone_deaf_is_not_used_again() {
    let server = H2Server::start(|frames, stream, number| {
        // The first connection answers once, and then nothing and nobody.
        if number == 0 && stream > 1 {
            frames.is_polite = false;
            return true;
        }
        hello(frames, stream)
    });
    let timeouts = Timeouts { read: Some(Duration::from_millis(200)), ..Timeouts::default() };
    let session = server.trusting().timeouts(timeouts).limit_per_host(1).build().unwrap();
    run(async move {
        let get = || async { session.get(server.url("/")).send().await?.text().await };
        assert_eq!(get().await.unwrap(), "hello");
        assert!(get().await.unwrap_err().is_timeout());
        for _ in 0..3 {
            assert_eq!(get().await.unwrap(), "hello");
        }
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn connection_that_answers_others_outlives_a_timeout() {
    let server = H2Server::start(|frames, stream, _| stream == 3 || hello(frames, stream));
    let session = server.trusting().build().unwrap();
    run(async move {
        let get = || async { session.get(server.url("/")).send().await?.text().await };
        assert_eq!(get().await.unwrap(), "hello");
        let slow = session.get(server.url("/slow")).timeout(Duration::from_millis(300)).send();
        let others = async {
            for _ in 0..30 {
                support::pause(Duration::from_millis(20)).await;
                assert_eq!(get().await.unwrap(), "hello");
            }
        };
        let (slow, ()) = futures_util::join!(slow, others);
        assert!(slow.unwrap_err().is_timeout());
        assert_eq!(server.accepted(), 1);
    });
}

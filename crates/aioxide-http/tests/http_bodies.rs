//! Bodies of requests, as the server reads them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use aioxide_http::{Body, Multipart, Part, Session};
use futures_util::stream;
use support::run;
use support::server::{Request, Server, ok};

/// Answers with type, length and body as they came.
fn echo(request: &Request) -> Vec<u8> {
    let header = |name| request.header(name).unwrap_or("-").to_owned();
    ok(&format!(
        "{} {} {}",
        header("content-type"),
        header("content-length"),
        String::from_utf8_lossy(&request.body)
    ))
}

async fn text(request: aioxide_http::RequestBuilder) -> String {
    request.send().await.unwrap().text().await.unwrap()
}

#[test]
fn forms_and_json_say_what_they_are_unless_the_program_does() {
    let server = Server::answering(echo);
    run(async move {
        let session = Session::new();
        let post = || session.post(server.url("/"));
        assert_eq!(
            text(post().form(&[("a", "1 2"), ("b", "\u{e9}&=")])).await,
            "application/x-www-form-urlencoded 20 a=1+2&b=%C3%A9%26%3D"
        );
        assert_eq!(text(post().json(&[1, 2])).await, "application/json 5 [1,2]");
        for request in [
            post().json(&1).header("Content-Type", "text/x"),
            post().header("content-type", "text/x").json(&1),
        ] {
            assert_eq!(text(request).await, "text/x 1 1");
        }
        assert_eq!(text(post().json(&1).body("plain")).await, "- 5 plain");
    });
}

#[test]
fn json_is_read_and_what_is_no_json_is_an_error_that_names_the_url() {
    let server = Server::answering(|request| ok(request.path().trim_start_matches('/')));
    run(async move {
        let session = Session::new();
        let numbers: Vec<u32> = session.get(server.url("/[1,2]")).send().await.unwrap().json().await.unwrap();
        assert_eq!(numbers, [1, 2]);
        let response = session.get(server.url("/[1,")).send().await.unwrap();
        let error = response.json::<Vec<u32>>().await.unwrap_err();
        assert!(error.is_decode() && error.url().is_some(), "{error:?}");
    });
}

/// The parts of a multipart body, each with its head, read by hand.
fn parts(body: &str) -> Vec<(String, String)> {
    let (first, rest) = body.split_once("\r\n").unwrap();
    let boundary = format!("\r\n{first}");
    let whole = format!("\r\n{rest}");
    let mut pieces: Vec<&str> = whole.split(&boundary).collect();
    assert_eq!(pieces.pop(), Some("--\r\n"));
    let piece = |piece: &&str| {
        let (head, content) = piece.trim_start_matches("\r\n").split_once("\r\n\r\n").unwrap();
        (head.to_owned(), content.to_owned())
    };
    pieces.iter().map(piece).collect()
}

#[test]
fn multipart_is_streamed_with_a_length_when_every_part_has_one() {
    let server = Server::answering(echo);
    run(async move {
        let session = Session::new();
        let chunks = || stream::iter(["one", "two"].map(Ok::<_, std::io::Error>));
        for (streamed, is_sized) in [(Body::sized_stream(6, chunks()), true), (Body::stream(chunks()), false)]
        {
            let form = Multipart::new()
                .text("plain", "v\u{e9}")
                .part(
                    "quote\"\r\n",
                    Part::new("x").file_name("a\"b.txt").content_type("text/x").header("X-Own", "1"),
                )
                .part("stream", Part::new(streamed));
            let content_type = form.content_type();
            let answer = text(session.post(server.url("/")).multipart(form)).await;
            let rest = answer.strip_prefix(&format!("{content_type} ")).unwrap();
            let (length, body) = rest.split_once(' ').unwrap();
            assert_eq!(length == body.len().to_string(), is_sized, "{answer}");
            assert_eq!(
                parts(body),
                [
                    ("Content-Disposition: form-data; name=\"plain\"".to_owned(), "v\u{e9}".to_owned()),
                    (
                        "Content-Disposition: form-data; name=\"quote%22%0D%0A\"; filename=\"a%22b.txt\"\r\n\
                         content-type: text/x\r\nx-own: 1"
                            .to_owned(),
                        "x".to_owned()
                    ),
                    ("Content-Disposition: form-data; name=\"stream\"".to_owned(), "onetwo".to_owned()),
                ]
            );
        }
        let bad = Multipart::new().part("x", Part::new("x").header("bad name", "x"));
        assert!(session.post(server.url("/")).multipart(bad).send().await.unwrap_err().is_invalid_request());
    });
}

#[test]
fn bodies_that_can_be_made_again_follow_a_redirect() {
    let server = Server::answering(|request| match request.path() {
        "/moved" => b"HTTP/1.1 307 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => echo(request),
    });
    run(async move {
        let session = Session::new();
        let make = || stream::iter(["one", "two"].map(Ok::<_, std::io::Error>));
        assert_eq!(
            text(session.post(server.url("/moved")).body(Body::from_fn(None, make))).await,
            "- - onetwo"
        );
        assert_eq!(
            text(session.post(server.url("/moved")).body(Body::from_fn(Some(6), make))).await,
            "- 6 onetwo"
        );
        let form = Multipart::new().text("a", "1").part("b", Part::new(Body::from_fn(Some(6), make)));
        assert!(text(session.post(server.url("/moved")).multipart(form)).await.contains("onetwo"));
        let once = Multipart::new().part("b", Part::new(Body::stream(make())));
        assert!(session.post(server.url("/moved")).multipart(once).send().await.unwrap_err().is_redirect());
    });
}

#[test]
fn a_body_written_piece_by_piece_is_whole_or_an_error() {
    let server = Server::answering(echo);
    run(async move {
        let session = Session::new();
        for length in [None, Some(6)] {
            let (mut sender, body) = Body::channel(length);
            let writer = aioxide::spawn(async move {
                for piece in ["one", "", "two"] {
                    sender.send(piece).await.unwrap();
                }
                sender.finish();
            });
            let announced = length.map_or("-".to_owned(), |length| length.to_string());
            assert_eq!(text(session.post(server.url("/")).body(body)).await, format!("- {announced} onetwo"));
            writer.await;
        }
        let (mut sender, body) = Body::channel(None);
        let writer = aioxide::spawn(async move {
            sender.send("half").await.unwrap();
        });
        let error = session.post(server.url("/")).body(body).send().await.unwrap_err();
        assert!(error.is_request_body(), "{error:?}");
        writer.await;
        // And the other way round: a request that is gone wants nothing more.
        let (mut sender, body) = Body::channel(None);
        drop(session.post(server.url("/")).body(body));
        assert!(sender.send("late").await.unwrap_err().is_request_body());
    });
}

thread_local! {
    static HELD: std::cell::RefCell<Option<Body>> = const { std::cell::RefCell::new(None) };
}

/// A waker that drops a body when it is dropped.
struct Holder;

impl std::task::Wake for Holder {
    fn wake(self: std::sync::Arc<Self>) {}
}

impl Drop for Holder {
    fn drop(&mut self) {
        HELD.take();
    }
}

#[test]
fn waker_that_is_replaced_may_drop_the_other_end_of_the_body() {
    run(async {
        let (mut sender, body) = Body::channel(None);
        sender.send("waits").await.unwrap();
        HELD.set(Some(body));
        let mut poll = || {
            let waker = std::sync::Arc::new(Holder).into();
            sender.poll_ready(&mut std::task::Context::from_waker(&waker))
        };
        assert!(poll().is_pending());
        assert!(poll().is_pending(), "it was asked before the waker was replaced");
        assert!(HELD.take().is_none());
        assert!(matches!(poll(), std::task::Poll::Ready(Err(_))));
    });
}

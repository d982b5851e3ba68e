//! Who we are: told to the origin that it is for, when it asks, and to nobody else.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aioxide_http::{Body, Digest, Netrc, Session};
use support::run;
use support::server::{Request, Server, ok};

fn ask(nonce: &str, more: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm=\"r\", Digest realm=\"r\", nonce=\"{nonce}\", \
         algorithm=SHA-256, qop=\"auth\"{more}\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn authorization(request: &Request) -> String {
    request.header("authorization").unwrap_or("-").to_owned()
}

/// Takes one nonce, and shows what it was told; `/wrong` takes no password.
fn digest_server() -> Server {
    Server::answering(|request| {
        let told = authorization(request);
        if request.path() != "/wrong" && told.contains("nonce=\"first\"") {
            ok(&told)
        } else {
            ask("first", "")
        }
    })
}

#[test]
fn a_challenge_is_answered_once_and_then_in_advance() {
    let server = digest_server();
    run(async move {
        let session = Session::new();
        let me = Digest::new("me", "secret");
        let post = |path: &str| session.post(server.url(path)).body("twice").digest_auth(&me);
        for count in 1..=3 {
            let told = post("/a?b=c").send().await.unwrap().text().await.unwrap();
            assert!(
                told.starts_with("Digest username=\"me\", realm=\"r\", nonce=\"first\", uri=\"/a?b=c\""),
                "{told}"
            );
            assert!(told.contains(&format!("nc=0000000{count}")) && !told.contains("secret"), "{told}");
        }
        assert_eq!(post("/wrong").send().await.unwrap().status(), 401, "and not for ever");
        // A body that is gone cannot be sent with the answer.
        let stranger = Digest::new("me", "secret");
        let stream = Body::stream(futures_util::stream::iter(["x"].map(Ok::<_, std::io::Error>)));
        let response =
            session.post(server.url("/")).body(stream).digest_auth(&stranger).send().await.unwrap();
        assert_eq!(response.status(), 401);
    });
}

#[test]
fn a_nonce_that_is_too_old_is_replaced() {
    let turn = AtomicUsize::new(0);
    let server = Server::answering(move |request| {
        let told = authorization(request);
        match turn.load(Ordering::SeqCst) {
            0 if told.contains("nonce=\"one\"") => {
                turn.store(1, Ordering::SeqCst);
                ok("first")
            }
            0 => ask("one", ""),
            _ if told.contains("nonce=\"two\"") => ok("second"),
            _ => ask("two", ", stale=true"),
        }
    });
    run(async move {
        let session = Session::new();
        let me = Digest::new("me", "secret");
        for expected in ["first", "second"] {
            let response = session.get(server.url("/")).digest_auth(&me).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), expected);
        }
    });
}

#[test]
fn another_origin_that_asks_learns_nothing() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let other = Server::answering(move |request| {
        count.fetch_add(usize::from(request.header("authorization").is_some()), Ordering::SeqCst);
        ask("other", "")
    });
    let target = other.url("/");
    let server = Server::answering(move |_| {
        format!("HTTP/1.1 302 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    run(async move {
        let me = Digest::new("me", "secret");
        let response = Session::new().get(server.url("/")).digest_auth(&me).send().await.unwrap();
        assert_eq!((response.status().as_u16(), seen.load(Ordering::SeqCst)), (401, 0));
        drop(other);
    });
}

#[test]
fn netrc_speaks_for_its_hosts_where_the_program_does_not() {
    let server = Server::answering(|request| ok(&authorization(request)));
    run(async move {
        let netrc = Netrc::parse("machine localhost login me password pw");
        let session = Session::builder().netrc(netrc).build().unwrap();
        let text =
            async |request: aioxide_http::RequestBuilder| request.send().await.unwrap().text().await.unwrap();
        let local = format!("http://localhost:{}/", server.port);
        assert_eq!(text(session.get(&local)).await, "Basic bWU6cHc=");
        assert_eq!(text(session.get(server.url("/"))).await, "-");
        assert_eq!(text(session.get(&local).bearer_auth("token")).await, "Bearer token");
        let local = format!("http://a:b@localhost:{}/", server.port);
        assert_eq!(text(session.get(&local)).await, "Basic YTpi");
    });
}

//! Cookies over a wire: set by every hop, sent to where they belong, kept by whom the program chooses.

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use aioxide_http::{CookieJar, CookieStore, HeaderMap, HeaderValue, Session, Url};
use support::run;
use support::server::{Request, Server, ok};

/// `/set` sets a cookie and redirects to `/show`, which answers with the cookies that came.
fn serve(request: &Request) -> Vec<u8> {
    match request.path() {
        "/set" => b"HTTP/1.1 302 Found\r\nSet-Cookie: hop=1; Path=/\r\nSet-Cookie: gone=1; Path=/other\r\n\
                    Location: /show\r\nContent-Length: 0\r\n\r\n"
            .to_vec(),
        _ => ok(request.header("cookie").unwrap_or("none")),
    }
}

fn local(server: &Server, path: &str) -> String {
    format!("http://localhost:{}{path}", server.port)
}

#[test]
fn a_cookie_set_by_a_redirect_is_sent_with_the_next_step() {
    let server = Server::answering(serve);
    run(async move {
        let jar = CookieJar::new();
        let session = Session::builder().cookie_store(jar.clone()).build().unwrap();
        let text =
            async |request: aioxide_http::RequestBuilder| request.send().await.unwrap().text().await.unwrap();
        assert_eq!(text(session.get(local(&server, "/set"))).await, "hop=1");
        assert_eq!(
            text(session.get(local(&server, "/show")).header("Cookie", "own=2")).await,
            "own=2; hop=1"
        );
        assert_eq!(jar.len(), 2);
        // A session without a jar keeps nothing, nor does one that knows its server by an address.
        assert_eq!(text(Session::new().get(local(&server, "/set"))).await, "none");
        let session = Session::builder().cookies(true).build().unwrap();
        assert_eq!(text(session.get(server.url("/set"))).await, "none");
    });
}

#[test]
fn a_store_of_the_programs_own_sees_every_hop() {
    #[derive(Default)]
    struct Seen(RefCell<Vec<String>>);
    impl CookieStore for Seen {
        fn store(&self, url: &Url, headers: &HeaderMap) {
            let count = headers.get_all("set-cookie").iter().count();
            self.0.borrow_mut().push(format!("{} set {count}", url.path()));
        }
        fn header(&self, url: &Url) -> Option<HeaderValue> {
            self.0.borrow_mut().push(url.path().to_owned());
            Some(HeaderValue::from_static("mine=1"))
        }
    }
    let server = Server::answering(serve);
    run(async move {
        let seen = Rc::new(Seen::default());
        let session = Session::builder().cookie_store(seen.clone()).build().unwrap();
        let response = session.get(local(&server, "/set")).send().await.unwrap();
        assert_eq!(response.history()[0].headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(response.text().await.unwrap(), "mine=1");
        assert_eq!(*seen.0.borrow(), ["/set", "/set set 2", "/show"]);
    });
}

//! What a face over the session asks of it: no headers but its own, the server's words, connections that are not kept.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aioxide_http::Session;
use support::run;
use support::server::{Server, ok};

#[test]
fn request_without_defaults_has_its_own_headers_alone() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = seen.clone();
    let server = Server::start(move |mut connection, _| {
        let request = connection.read_request().unwrap();
        heads.lock().unwrap().push(request.head);
        connection.send(b"HTTP/1.1 200 Very Well\r\nContent-Length: 0\r\n\r\n");
    });
    run(async move {
        let session = Session::builder().title_case_headers(true).build().unwrap();
        let request = session.get(server.url("/")).without_defaults().header("x-own", "1");
        let response = request.send().await.unwrap();
        assert_eq!(response.reason(), b"Very Well");
        let head = seen.lock().unwrap()[0].clone();
        assert!(head.contains("X-Own") && head.contains("Host"), "{head}");
        assert!(!head.contains("Accept") && !head.contains("User-Agent"), "{head}");
    });
}

#[test]
fn connections_that_may_not_be_idle_are_closed() {
    let server = Server::start(|mut connection, _| {
        while connection.read_request().is_some() {
            connection.send(&ok("once"));
        }
    });
    run(async move {
        let session = Session::builder().idle_timeout(Duration::ZERO).build().unwrap();
        for _ in 0..3 {
            assert_eq!(session.get(server.url("/")).send().await.unwrap().text().await.unwrap(), "once");
        }
        assert_eq!(server.accepted(), 3);
        assert_eq!(session.connections(), 0);
    });
}

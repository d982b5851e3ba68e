//! The session against a real nginx: plain, TLS, HTTP/2.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use aioxide_http::{Body, Bytes, Method, Session, StatusCode, Version};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use support::nginx::Nginx;
use support::run;

/// Bytes that do not repeat, so that a piece at the wrong place is noticed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

fn trusting(nginx: &Nginx) -> Session {
    Session::builder().add_root_pem(nginx.authority.pem.as_bytes()).build().unwrap()
}

#[test]
fn get_reads_status_headers_and_body() {
    let nginx = Nginx::start(&[("hello", b"hello, world")]);
    run(async move {
        let session = Session::new();
        let response = session.get(nginx.url("/hello")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.version(), Version::HTTP_11);
        assert_eq!(response.content_length(), Some(12));
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
        assert_eq!(response.url().as_str(), nginx.url("/hello"));
        assert!(response.history().is_empty());
        assert_eq!(response.text().await.unwrap(), "hello, world");
    });
}

#[test]
fn missing_page_is_an_answer_until_asked_to_be_an_error() {
    let nginx = Nginx::start(&[]);
    run(async move {
        let session = Session::new();
        let response = session.get(nginx.url("/none")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let error = response.error_for_status().unwrap_err();
        assert!(error.is_status());
        assert_eq!(error.status(), Some(StatusCode::NOT_FOUND));
        assert_eq!(error.url().unwrap().as_str(), nginx.url("/none"));
    });
}

#[test]
fn one_connection_serves_requests_that_follow_each_other() {
    let nginx = Nginx::start(&[("hello", b"hello")]);
    run(async move {
        let session = Session::new();
        let mut serials = Vec::new();
        for _ in 0..5 {
            serials.push(session.get(nginx.url("/connection")).send().await.unwrap().text().await.unwrap());
        }
        serials.dedup();
        assert_eq!(serials.len(), 1, "nginx saw more than one connection");
        assert_eq!((session.connections(), session.idle_connections()), (1, 1));
    });
}

#[test]
fn head_and_204_leave_the_connection_usable() {
    let nginx = Nginx::start(&[("hello", b"hello")]);
    run(async move {
        let session = Session::new();
        let response = session.head(nginx.url("/hello")).send().await.unwrap();
        assert_eq!(response.content_length(), Some(5));
        assert_eq!(
            session.idle_connections(),
            1,
            "an answer without a body gives its connection back at once"
        );
        assert_eq!(response.bytes().await.unwrap(), "");
        let response = session.get(nginx.url("/empty")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.bytes().await.unwrap(), "");
        assert_eq!(session.get(nginx.url("/hello")).send().await.unwrap().text().await.unwrap(), "hello");
        assert_eq!(session.connections(), 1);
    });
}

#[test]
fn not_modified_has_no_body_and_keeps_the_connection() {
    let nginx = Nginx::start(&[("hello", b"hello")]);
    run(async move {
        let session = Session::new();
        let response = session.get(nginx.url("/hello")).send().await.unwrap();
        let tag = response.headers()["etag"].clone();
        response.bytes().await.unwrap();
        let response = session.get(nginx.url("/hello")).header("if-none-match", tag).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(response.bytes().await.unwrap(), "");
        assert_eq!((session.connections(), session.idle_connections()), (1, 1));
    });
}

#[test]
fn large_body_arrives_whole_and_in_pieces() {
    let content = noise(8 << 20);
    let nginx = Nginx::start(&[("big", &content)]);
    run(async move {
        for url in [nginx.url("/big"), nginx.tls_url("/big"), nginx.h2_url("/big")] {
            let session = trusting(&nginx);
            let mut response = session.get(&url).send().await.unwrap();
            let mut received = Vec::new();
            let mut pieces = 0;
            while let Some(chunk) = response.chunk().await.unwrap() {
                assert!(chunk.len() <= 128 * 1024, "a piece of {} bytes", chunk.len());
                received.extend_from_slice(&chunk);
                pieces += 1;
            }
            assert!(received == content, "{url}: content differs");
            assert!(pieces > 8);
            assert_eq!(response.chunk().await.unwrap(), None, "the end stays the end");
        }
    });
}

#[test]
fn gzip_is_asked_for_and_undone() {
    let text = "all work and no play makes jack a dull boy\n".repeat(10_000);
    let nginx = Nginx::start(&[("gzip/text", text.as_bytes())]);
    run(async move {
        let session = Session::new();
        let response = session.get(nginx.url("/gzip/text")).send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert!(response.text().await.unwrap() == text);
        let response = session.get(nginx.url("/gzip/text")).decompress(false).send().await.unwrap();
        assert!(response.headers().get("content-encoding").is_none());
        assert!(response.text().await.unwrap() == text);
    });
}

#[test]
fn range_request_does_not_ask_for_codings() {
    let nginx = Nginx::start(&[("gzip/text", b"0123456789")]);
    run(async move {
        let session = Session::new();
        let response =
            session.get(nginx.url("/gzip/text")).header("range", "bytes=2-5").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.text().await.unwrap(), "2345");
    });
}

#[test]
fn bodies_travel_to_the_server() {
    let content = noise(3 << 20);
    let nginx = Nginx::start(&[]);
    run(async move {
        for (name, base) in
            [("plain", nginx.url("/dav/")), ("tls", nginx.tls_url("/dav/")), ("h2", nginx.h2_url("/dav/"))]
        {
            let session = trusting(&nginx);
            let put = session.put(format!("{base}{name}")).body(content.clone()).send().await.unwrap();
            assert_eq!(put.status(), StatusCode::CREATED);
            assert!(std::fs::read(nginx.root().join("dav").join(name)).unwrap() == content);

            let pieces: Vec<_> = content
                .chunks(50_000)
                .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
                .collect();
            let body = Body::sized_stream(content.len() as u64, stream::iter(pieces));
            let put = session.put(format!("{base}{name}-stream")).body(body).send().await.unwrap();
            assert_eq!(put.status(), StatusCode::CREATED);
            assert!(
                std::fs::read(nginx.root().join("dav").join(format!("{name}-stream"))).unwrap() == content
            );
        }
    });
}

#[test]
fn stream_of_unknown_length_is_sent_in_chunks() {
    let nginx = Nginx::start(&[]);
    run(async move {
        let session = Session::new();
        let pieces = stream::iter(0..1000).map(|number| Ok::<_, std::io::Error>(format!("{number}\n")));
        let put = session.put(nginx.url("/dav/counted")).body(Body::stream(pieces)).send().await.unwrap();
        assert_eq!(put.status(), StatusCode::CREATED);
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(std::fs::read_to_string(nginx.root().join("dav/counted")).unwrap(), expected);
    });
}

#[test]
fn query_method_and_headers_reach_the_server() {
    let nginx = Nginx::start(&[]);
    run(async move {
        let session = Session::builder().user_agent("tester/1").header("x-test", "session").build().unwrap();
        let url = nginx.url("/echo");
        let text = session.request(Method::OPTIONS, &url).query(&[("a b", "c&d")]).send().await.unwrap();
        assert_eq!(text.text().await.unwrap(), "OPTIONS /echo?a+b=c%26d tester/1 session");
        let text = session.get(&url).header("X-Test", "request").send().await.unwrap().text().await.unwrap();
        assert_eq!(text, "GET /echo tester/1 request");
    });
}

#[test]
fn redirect_is_followed_and_remembered() {
    let nginx = Nginx::start(&[("hello", b"hello")]);
    run(async move {
        let session = Session::new();
        let response = session.get(nginx.url("/moved#part")).send().await.unwrap();
        assert_eq!(response.url().as_str(), nginx.url("/hello#part"));
        assert_eq!(response.history().len(), 1);
        assert_eq!(response.history()[0].status(), StatusCode::FOUND);
        assert_eq!(response.history()[0].url().path(), "/moved");
        assert_eq!(response.text().await.unwrap(), "hello");
        assert_eq!(session.connections(), 1, "the redirect's small body was read away");
        let response = session.get(nginx.url("/moved")).redirects(0).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FOUND);
        let error = session.get(nginx.url("/loop")).send().await.unwrap_err();
        assert!(error.is_redirect());
    });
}

#[test]
fn http2_shares_one_connection() {
    let content = noise(20_000);
    let nginx = Nginx::start(&[("file", &content)]);
    run(async move {
        let session = trusting(&nginx);
        let url = nginx.h2_url("/file");
        let answers = join_all((0..200).map(|_| async {
            let response = session.get(&url).send().await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            response.bytes().await.unwrap()
        }))
        .await;
        assert!(answers.iter().all(|answer| *answer == content));
        // nginx allows 128 streams on one connection; the pool may open one more for the rest.
        assert!(session.connections() <= 2, "{session:?}");
        let echo = session.post(nginx.h2_url("/echo")).body("x").send().await.unwrap();
        assert!(echo.text().await.unwrap().starts_with("POST /echo aioxide/"));
    });
}

#[test]
fn http2_can_be_refused_by_either_side() {
    let nginx = Nginx::start(&[("hello", b"hello")]);
    run(async move {
        let session =
            Session::builder().add_root_pem(nginx.authority.pem.as_bytes()).http2(false).build().unwrap();
        let response = session.get(nginx.h2_url("/hello")).send().await.unwrap();
        assert_eq!(response.version(), Version::HTTP_11);
        let session = trusting(&nginx);
        let all = join_all((0..20).map(|_| async {
            let response = session.get(nginx.tls_url("/hello")).send().await.unwrap();
            assert_eq!(response.version(), Version::HTTP_11);
            response.text().await.unwrap()
        }))
        .await;
        assert!(all.iter().all(|text| text == "hello"));
    });
}

#[test]
fn a_thousand_requests_share_ten_connections() {
    let content = noise(10_000);
    let nginx = Nginx::start(&[("file", &content)]);
    run(async move {
        let session = Session::builder().limit(10).build().unwrap();
        let url = nginx.url("/file");
        let answers = join_all((0..1000).map(|_| async {
            assert!(session.connections() <= 10);
            session.get(&url).send().await.unwrap().bytes().await.unwrap()
        }))
        .await;
        assert!(answers.iter().all(|answer| *answer == content));
        assert_eq!((session.connections(), session.idle_connections()), (10, 10));
    });
}

#[test]
fn responses_dropped_unread_leave_no_connection_behind() {
    let small = noise(40_000);
    let big = noise(4 << 20);
    let nginx = Nginx::start(&[("small", &small), ("big", &big)]);
    run(async move {
        let session = Session::builder().limit(4).build().unwrap();
        for _ in 0..20 {
            for name in ["/small", "/big"] {
                join_all((0..8).map(|_| async {
                    let response = session.get(nginx.url(name)).send().await.unwrap();
                    assert_eq!(response.status(), StatusCode::OK);
                }))
                .await;
            }
        }
        assert!(session.connections() <= 4);
        assert_eq!(session.get(nginx.url("/small")).send().await.unwrap().bytes().await.unwrap(), small);
    });
}

#[test]
fn connection_closed_without_an_answer_is_closed_not_protocol() {
    let nginx = Nginx::start(&[]);
    run(async move {
        let error = Session::new().get(nginx.url("/cut")).send().await.unwrap_err();
        assert!(error.is_closed(), "{error:?}");
    });
}

#[test]
fn http2_connections_that_the_server_retires_lose_no_request() {
    let nginx = Nginx::start(&[("file", b"content")]);
    run(async move {
        let session = trusting(&nginx);
        let url = nginx.short_h2_url("/file");
        for _ in 0..5 {
            let answers = join_all(
                (0..100).map(|_| async { session.get(&url).send().await.unwrap().text().await.unwrap() }),
            )
            .await;
            assert!(answers.iter().all(|answer| answer == "content"));
        }
    });
}

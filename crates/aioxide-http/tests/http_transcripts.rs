//! Transcripts: heads as they went over the connections, and bodies of redirects.

mod support;

use aioxide_http::{Session, Transcripts};
use support::server::Server;

fn server() -> Server {
    Server::answering(|request| match request.path() {
        "/old" => b"HTTP/1.1 302 Found\r\nLOCATION: /new\r\nContent-Length: 5\r\n\r\nthere".to_vec(),
        "/far" => {
            let mut answer =
                b"HTTP/1.0 301 \r\nLocation: /new\r\nX-Odd:  a\r\nContent-Length: 2000000\r\n\r\n".to_vec();
            answer.resize(answer.len() + 2_000_000, b'x');
            answer
        }
        _ => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Very Well\r\nContent-length: 2\r\n\r\nok".to_vec(),
    })
}

#[test]
fn each_step_of_a_redirect_has_its_transcript() {
    let server = server();
    support::run(async move {
        let session = Session::builder().header("x-key", "plain").build().unwrap();
        let transcripts = Transcripts::default();
        let request = session.get(server.url("/old")).transcripts(&transcripts);
        let response = request.secret_header("x-secret", "hunter2").send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "ok");
        let all = transcripts.take();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0].response_head(),
            b"HTTP/1.1 302 Found\r\nLOCATION: /new\r\nContent-Length: 5\r\n\r\n"
        );
        assert_eq!(all[1].response_head(), b"HTTP/1.1 200 Very Well\r\nContent-length: 2\r\n\r\n");
        assert_eq!(all[0].body().unwrap(), "there");
        assert_eq!(all[1].body(), None);
        assert_eq!(all[1].url().as_str(), server.url("/new"));
        assert!(all[1].remote_addr().unwrap().ip().is_loopback());
        let head = |with_secrets| String::from_utf8(all[0].request_head(with_secrets)).unwrap();
        assert!(head(true).starts_with("GET /old HTTP/1.1\r\n"), "{}", head(true));
        assert!(head(true).contains("\r\nx-secret: hunter2\r\n") && head(true).ends_with("\r\n\r\n"));
        assert!(head(false).contains("\r\nx-key: plain\r\n") && !head(false).contains("hunter2"));
    });
}

#[test]
fn body_of_a_redirect_that_is_too_long_is_left_out() {
    let server = server();
    support::run(async move {
        let transcripts = Transcripts::default();
        Session::new().get(server.url("/far")).transcripts(&transcripts).send().await.unwrap();
        let all = transcripts.take();
        assert_eq!(
            all[0].response_head(),
            b"HTTP/1.0 301 \r\nLocation: /new\r\nX-Odd:  a\r\nContent-Length: 2000000\r\n\r\n"
        );
        assert_eq!((all.len(), all[0].body()), (2, None));
    });
}

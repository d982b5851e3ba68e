//! TLS is verified: the name, the dates, who signed.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use aioxide::net::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use aioxide::net::tls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use aioxide_http::Session;
use support::certs::{Authority, Identity};
use support::run;
use support::server::{Server, ok};

/// A server that speaks TLS with this identity, and HTTP/1.1 within.
fn serve(identity: &Identity) -> Server {
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(identity.certificate_der.clone())],
            PrivateKeyDer::try_from(identity.key_der.clone()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    Server::start(move |connection, _| {
        use std::io::{Read, Write};
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut stream = StreamOwned::new(session, connection.stream);
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            request.extend_from_slice(&piece[..length]);
            if request.ends_with(b"\r\n\r\n") {
                request.clear();
                if stream.write_all(&ok("secret")).is_err() {
                    return;
                }
            }
        }
    })
}

fn trusting(authority: &Authority) -> Session {
    Session::builder().add_root_pem(authority.pem.as_bytes()).build().unwrap()
}

#[test]
fn certificate_of_a_trusted_authority_is_accepted() {
    let authority = Authority::new();
    let server = serve(&authority.issue(&["localhost", "127.0.0.1"]));
    run(async move {
        let session = trusting(&authority);
        for host in ["localhost", "127.0.0.1"] {
            let response = session.get(format!("https://{host}:{}/", server.port)).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "secret");
        }
    });
}

#[test]
fn wrong_name_expired_and_unknown_authority_are_refused() {
    let authority = Authority::new();
    let stranger = Authority::new();
    type Fault = fn(&aioxide::net::tls::Error) -> bool;
    let cases: [(&str, Fault, _); 3] = [
        ("wrong name", |tls| tls.is_wrong_name(), authority.issue(&["example.org"])),
        ("expired", |tls| tls.is_expired(), authority.issue_expired(&["localhost"])),
        ("unknown authority", |tls| tls.is_untrusted(), stranger.issue(&["localhost"])),
    ];
    for (what, is_fault, identity) in cases {
        let server = serve(&identity);
        let session = trusting(&authority);
        run(async move {
            let error = session.get(format!("https://localhost:{}/", server.port)).send().await.unwrap_err();
            assert!(error.is_tls() && error.tls().is_some_and(is_fault), "{what}: {error:?}");
            assert!(!error.is_connect());
            assert_eq!(session.connections(), 0);
        });
    }
}

#[test]
fn nothing_unknown_is_trusted_by_default() {
    let authority = Authority::new();
    let server = serve(&authority.issue(&["localhost"]));
    run(async move {
        let error =
            Session::new().get(format!("https://localhost:{}/", server.port)).send().await.unwrap_err();
        assert!(error.is_tls(), "{error:?}");
    });
}

#[test]
fn server_without_tls_is_refused() {
    let server = Server::start(|mut connection, _| {
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        connection.wait_closed();
    });
    run(async move {
        let error =
            Session::new().get(format!("https://localhost:{}/", server.port)).send().await.unwrap_err();
        assert!(error.is_tls(), "{error:?}");
    });
}

#[test]
fn broken_root_is_an_error_of_the_builder() {
    let pem = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert!(Session::builder().add_root_pem(pem).build().unwrap_err().is_invalid_request());
}

#[test]
fn body_that_ends_with_its_connection_needs_the_goodbye_of_tls() {
    use std::io::Write;
    let (config, authority) = support::h2::tls(&["http/1.1"]);
    let server = Server::start(move |connection, number| {
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut stream = StreamOwned::new(session, connection.stream);
        let mut request = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbody");
        if number == 0 {
            stream.conn.send_close_notify();
        }
        let _ = stream.flush();
    });
    run(async move {
        let session = trusting(&authority);
        let get = || async {
            session.get(format!("https://localhost:{}/", server.port)).send().await?.text().await
        };
        assert_eq!(get().await.unwrap(), "body");
        let error = get().await.unwrap_err();
        assert!(error.is_closed(), "{error:?}");
    });
}

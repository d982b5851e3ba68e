//! What a program can say about TLS: whom it trusts, who it is, which versions, which name; nothing weaker than it was said.

mod support;

use std::io::{Read, Write};
use std::sync::Arc;

use aioxide::net::tls::rustls::crypto::ring;
use aioxide::net::tls::rustls::pki_types::pem::PemObject;
use aioxide::net::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use aioxide::net::tls::rustls::server::WebPkiClientVerifier;
use aioxide::net::tls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use aioxide_http::{Session, Tls, TlsVersion};
use support::certs::{Authority, Identity};
use support::h2::{Frames, RST_STREAM};
use support::run;
use support::server::Server;

/// A server with this certificate; it wants one of the authority's from its clients, if that is given.
fn serve(identity: &Identity, clients: Option<&Authority>) -> Server {
    let chain = vec![CertificateDer::from(identity.certificate_der.clone())];
    let key = PrivateKeyDer::try_from(identity.key_der.clone()).expect("a key");
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("a pem"))
                .expect("a root");
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).expect("a configuration"));
    Server::start(move |connection, _| answer(connection.stream, config.clone()))
}

/// Answers one request with TLS's version and the name that was asked for.
fn answer(stream: std::net::TcpStream, config: Arc<ServerConfig>) {
    let session = ServerConnection::new(config).expect("a session");
    let mut stream = StreamOwned::new(session, stream);
    if read_request(&mut stream).is_ok() {
        let version = format!("{:?}", stream.conn.protocol_version().expect("a version"));
        let name = stream.conn.server_name().unwrap_or("-").to_owned();
        let body = format!("{version} {name}");
        // It says that it closes, so that the client's next request does not run into the close.
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        // The client may have gone away: then it is what the test wants to see.
        let _ = stream.write_all((head + &body).as_bytes());
    }
}

/// Reads a whole request: what is left unread would make the close a reset.
fn read_request(stream: &mut impl Read) -> std::io::Result<()> {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => request.extend_from_slice(&piece[..length]),
        }
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
            return Ok(());
        }
    }
}

async fn fetch(tls: Tls, server: &Server, host: &str) -> Result<String, aioxide_http::Error> {
    let session = Session::builder().tls(tls).build()?;
    session.get(format!("https://{host}:{}/", server.port)).send().await?.text().await
}

fn digest(identity: &Identity) -> [u8; 32] {
    ring_digest(&identity.certificate_der)
}

fn ring_digest(bytes: &[u8]) -> [u8; 32] {
    let provider = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = provider.tls13().expect("a suite of 1.3").common.hash_provider.hash(bytes);
    hash.as_ref().try_into().expect("32 bytes")
}

#[test]
fn own_roots_alone_or_beside_the_platforms_are_trusted_and_no_others() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = serve(&authority.issue(&["localhost"]), None);
    run(async move {
        for only in [true, false] {
            let tls =
                Tls::builder().root_pem(authority.pem.as_bytes()).only_these_roots(only).build().unwrap();
            assert_eq!(fetch(tls, &server, "localhost").await.unwrap(), "TLSv1_3 localhost");
            let tls =
                Tls::builder().root_pem(stranger.pem.as_bytes()).only_these_roots(only).build().unwrap();
            assert!(fetch(tls, &server, "localhost").await.unwrap_err().is_tls());
        }
        assert!(Tls::builder().only_these_roots(true).build().unwrap_err().is_invalid_request());
    });
}

#[test]
fn self_signed_authority_that_is_given_is_trusted_as_a_server_for_its_names_while_it_is_valid() {
    for (is_expired, is_given, host, told) in [
        (false, true, "localhost", ""),
        (false, true, "127.0.0.1", "the certificate is for another name"),
        (false, false, "localhost", "the certificate's issuer is not trusted"),
        (true, true, "localhost", "the certificate has expired"),
    ] {
        let identity = Authority::self_signed(&["localhost"], is_expired);
        let given = if is_given { identity.certificate_pem.clone() } else { Authority::new().pem };
        let server = serve(&identity, None);
        run(async move {
            for only in [true, false] {
                let tls = Tls::builder().root_pem(given.as_bytes()).only_these_roots(only).build().unwrap();
                match fetch(tls, &server, host).await {
                    Ok(_) => assert_eq!(told, "", "only these roots: {only}"),
                    Err(error) => {
                        let cause = std::error::Error::source(&error).expect("a cause").to_string();
                        assert!(!told.is_empty() && cause.starts_with(told), "{cause}");
                    }
                }
            }
        });
    }
}

#[test]
fn a_client_proves_who_it_is() {
    let authority = Authority::new();
    let me = authority.issue(&["client"]);
    let server = serve(&authority.issue(&["localhost"]), Some(&authority));
    run(async move {
        let trusting = || Tls::builder().root_pem(authority.pem.as_bytes());
        let tls = trusting().client_certificate_pem(me.certificate_pem.as_bytes(), me.key_pem.as_bytes());
        assert!(fetch(tls.build().unwrap(), &server, "localhost").await.is_ok());
        let refused = fetch(trusting().build().unwrap(), &server, "localhost").await.unwrap_err();
        assert!(refused.is_tls(), "{refused:?}");
        let other = authority.issue(&["other"]);
        let key: &[u8] = other.key_pem.as_bytes();
        for (chain, key) in [(me.certificate_pem.as_bytes(), key), (b"", key), (b"x", b"x")] {
            assert!(trusting().client_certificate_pem(chain, key).build().unwrap_err().is_invalid_request());
        }
    });
}

#[test]
fn versions_are_kept_to() {
    let authority = Authority::new();
    let server = serve(&authority.issue(&["localhost"]), None);
    run(async move {
        let trusting = || Tls::builder().root_pem(authority.pem.as_bytes());
        for (tls, version) in [
            (trusting().max_version(TlsVersion::Tls12), "TLSv1_2"),
            (trusting().min_version(TlsVersion::Tls13), "TLSv1_3"),
        ] {
            let answer = fetch(tls.build().unwrap(), &server, "localhost").await.unwrap();
            assert_eq!(answer, format!("{version} localhost"));
        }
        let none = trusting().min_version(TlsVersion::Tls13).max_version(TlsVersion::Tls12).build();
        assert!(none.unwrap_err().is_invalid_request());
    });
}

#[test]
fn a_pin_is_asked_for_on_top_of_the_rest_or_in_place_of_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (known, expired) = (authority.issue(&["localhost"]), stranger.issue_expired(&["other"]));
    let server = serve(&known, None);
    let odd = serve(&expired, None);
    run(async move {
        let trusting = || Tls::builder().root_pem(authority.pem.as_bytes());
        let pinned = trusting().pin_sha256(digest(&known));
        assert!(fetch(pinned.build().unwrap(), &server, "localhost").await.is_ok());
        let wrong = trusting().pin_sha256(digest(&expired)).build().unwrap();
        let error = fetch(wrong, &server, "localhost").await.unwrap_err();
        assert!(error.is_tls());
        assert_eq!(error.unpinned_certificate(), Some(digest(&known)));
        let still_verified = trusting().pin_sha256(digest(&expired)).build().unwrap();
        let error = fetch(still_verified, &odd, "localhost").await.unwrap_err();
        assert!(error.is_tls() && error.unpinned_certificate().is_none());
        let alone = || Tls::builder().pins_replace_roots(true);
        assert!(
            fetch(alone().pin_sha256(digest(&expired)).build().unwrap(), &odd, "localhost").await.is_ok()
        );
        let other = alone().pin_sha256(digest(&known)).build().unwrap();
        assert!(fetch(other, &odd, "localhost").await.unwrap_err().is_tls());
        assert!(alone().build().unwrap_err().is_invalid_request());
    });
}

#[test]
fn names_and_certificates_are_verified_unless_it_is_said_aloud() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let named = serve(&authority.issue(&["other.test"]), None);
    let expired = serve(&authority.issue_expired(&["localhost"]), None);
    let strange = serve(&stranger.issue(&["localhost"]), None);
    run(async move {
        let trusting = || Tls::builder().root_pem(authority.pem.as_bytes());
        assert!(fetch(trusting().build().unwrap(), &named, "localhost").await.unwrap_err().is_tls());
        let renamed = trusting().server_name("other.test").build().unwrap();
        assert_eq!(fetch(renamed, &named, "localhost").await.unwrap(), "TLSv1_3 other.test");
        let any_name = trusting().danger_accept_any_name(true).build().unwrap();
        assert!(fetch(any_name.clone(), &named, "localhost").await.is_ok());
        for server in [&expired, &strange] {
            assert!(fetch(any_name.clone(), server, "localhost").await.unwrap_err().is_tls());
        }
        for server in [&named, &expired, &strange] {
            let anything = Tls::builder().danger_accept_any_certificate(true).build().unwrap();
            assert!(fetch(anything, server, "localhost").await.is_ok());
        }
        assert!(Tls::builder().server_name("no name").build().unwrap_err().is_invalid_request());
    });
}

#[test]
fn connections_of_a_request_that_verifies_less_serve_no_other() {
    let stranger = Authority::new();
    let server = serve(&stranger.issue(&["localhost"]), None);
    run(async move {
        let session = Session::new();
        let url = format!("https://localhost:{}/", server.port);
        let anything = Tls::builder().danger_accept_any_certificate(true).build().unwrap();
        assert!(session.get(&url).tls(anything).send().await.unwrap().text().await.is_ok());
        assert!(session.get(&url).send().await.unwrap_err().is_tls());
    });
}

#[test]
fn a_server_that_wants_http1_gets_it() {
    let (config, authority) = support::h2::tls(&["h2", "http/1.1"]);
    let server = Server::start(move |connection, number| {
        if number > 0 {
            return answer(connection.stream, config.clone());
        }
        let Some(mut frames) = Frames::accept(connection, &config) else { return };
        while let Some(stream) = frames.next_request() {
            frames.send(RST_STREAM, 0, stream, &[0, 0, 0, 0xd]);
        }
    });
    run(async move {
        let session = Session::builder().add_root_pem(authority.pem.as_bytes()).build().unwrap();
        for _ in 0..2 {
            let url = format!("https://localhost:{}/", server.port);
            let response = session.post(url).body("sent again: it was not looked at").send().await.unwrap();
            assert_eq!(response.version(), aioxide_http::Version::HTTP_11);
            assert_eq!(response.text().await.unwrap(), "TLSv1_3 localhost");
        }
        assert_eq!(server.accepted(), 3, "http/2 is not tried again");
    });
}

#[test]
fn suites_groups_and_protocols_are_those_chosen() {
    let authority = Authority::new();
    let server = serve(&authority.issue(&["localhost"]), None);
    run(async move {
        let builder = || Tls::builder().root_pem(authority.pem.as_bytes()).only_these_roots(true);
        let suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
        // No suite of TLS 1.3 is left, so it is not spoken.
        let tls = builder().cipher_suites(&[suite]).groups(&["secp384r1"]).http2(false).build().unwrap();
        assert_eq!(fetch(tls, &server, "localhost").await.unwrap(), "TLSv1_2 localhost");
        for wrong in [
            builder().cipher_suites(&["TLS_NULL_WITH_NULL_NULL"]),
            builder().groups(&["brainpoolP256r1"]),
            builder().cipher_suites(&[suite]).min_version(TlsVersion::Tls13),
            builder().key_log_file("/missing/log"),
        ] {
            assert!(wrong.build().unwrap_err().is_invalid_request());
        }
    });
}

#[test]
fn secrets_are_appended_to_the_key_log() {
    let authority = Authority::new();
    let server = serve(&authority.issue(&["localhost"]), None);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    std::fs::write(&path, "# before\n").expect("a file");
    run(async move {
        let builder = Tls::builder().root_pem(authority.pem.as_bytes()).only_these_roots(true);
        let tls = builder.key_log_file(&path).resumption(false).build().unwrap();
        fetch(tls, &server, "localhost").await.unwrap();
        let log = std::fs::read_to_string(&path).expect("the log");
        assert!(log.starts_with("# before\n"));
        let secret =
            log.lines().find_map(|line| line.strip_prefix("CLIENT_TRAFFIC_SECRET_0 ")).expect("a secret");
        let lengths: Vec<_> = secret.split(' ').map(str::len).collect();
        assert!(lengths[0] == 64 && lengths[1] >= 64, "{lengths:?}");
    });
}

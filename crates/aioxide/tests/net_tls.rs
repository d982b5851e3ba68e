//! TLS over loopback, with certificates made for the purpose.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;

use aioxide::io::{AsyncReadExt, AsyncWriteExt};
use aioxide::net::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use aioxide::net::tls::{
    Acceptor, Connector, Error, client, client_config, danger_unverified_client_config, server_config,
};
use aioxide::net::{TcpListener, TcpStream};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use support::{run, spawn};

struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::named("the tests' root")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { root, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str, expired: bool) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], key.into())
    }
}

struct Handshake {
    certificate_name: &'static str,
    expired: bool,
    trusted: bool,
    server_alpn: Vec<Vec<u8>>,
    client_alpn: Vec<Vec<u8>>,
}

impl Default for Handshake {
    fn default() -> Self {
        Self {
            certificate_name: "server.test",
            expired: false,
            trusted: true,
            server_alpn: vec![],
            client_alpn: vec![],
        }
    }
}

impl Handshake {
    /// Connects to an echoing server as `host`.
    async fn connect(self, host: &str) -> Result<client::TlsStream<TcpStream>, Error> {
        let authority = Authority::new();
        let (chain, key) = authority.sign(self.certificate_name, self.expired);
        let mut config = server_config(chain, key).unwrap();
        config.alpn_protocols = self.server_alpn;
        let acceptor = Acceptor::new(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut message = Vec::new();
                stream.read_to_end(&mut message).await.unwrap();
                stream.write_all(&message).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }));
        let roots = if self.trusted { authority.root } else { Authority::named("another root").root };
        let mut config = client_config([roots]).unwrap();
        config.alpn_protocols = self.client_alpn;
        let stream = TcpStream::connect(addr).await.unwrap();
        Connector::new(Arc::new(config)).connect(host, stream).await
    }
}

async fn echo(mut stream: client::TlsStream<TcpStream>, message: &[u8]) {
    stream.write_all(message).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, message);
}

#[test]
fn verified_connection_carries_data_both_ways() {
    run(async {
        let stream = Handshake::default().connect("server.test").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        let message: Vec<u8> = (0..300_000).map(|index| (index % 253) as u8).collect();
        echo(stream, &message).await;
    });
}

#[test]
fn address_is_verified_as_a_name_is() {
    run(async {
        for (certificate_name, host) in [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")] {
            let handshake = Handshake { certificate_name, ..Handshake::default() };
            echo(handshake.connect(host).await.unwrap(), b"by address").await;
        }
    });
}

#[test]
fn alpn_chooses_the_common_protocol() {
    run(async {
        let handshake = Handshake {
            server_alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            client_alpn: vec![b"http/1.1".to_vec()],
            ..Handshake::default()
        };
        let stream = handshake.connect("server.test").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    });
}

#[test]
fn no_common_protocol_is_an_alert() {
    run(async {
        let handshake = Handshake {
            server_alpn: vec![b"h2".to_vec()],
            client_alpn: vec![b"spdy".to_vec()],
            ..Handshake::default()
        };
        let error = handshake.connect("server.test").await.unwrap_err();
        assert!(error.alert().is_some() && !error.is_certificate() && !error.is_io(), "{error:?}");
    });
}

#[track_caller]
fn check_refused(
    handshake: Handshake,
    host: &'static str,
    is_expected: fn(&Error) -> bool,
    shown: &'static str,
) {
    run(async move {
        let error = handshake.connect(host).await.unwrap_err();
        assert!(error.is_certificate(), "{error:?}");
        assert!(is_expected(&error), "{error:?}");
        let told = [error.is_expired(), error.is_wrong_name(), error.is_untrusted()];
        assert_eq!(told.iter().filter(|told| **told).count(), 1, "{error:?}");
        assert_eq!(error.to_string(), format!("{shown}: {host}"));
        assert!(std::error::Error::source(&error).is_some());
    });
}

#[test]
fn wrong_name_is_refused() {
    let shown = "the certificate is for another name";
    check_refused(Handshake::default(), "other.test", Error::is_wrong_name, shown);
}

#[test]
fn expired_certificate_is_refused() {
    let expired = Handshake { expired: true, ..Handshake::default() };
    check_refused(expired, "server.test", Error::is_expired, "the certificate has expired");
}

#[test]
fn untrusted_root_is_refused() {
    let untrusted = Handshake { trusted: false, ..Handshake::default() };
    let shown = "the certificate's issuer is not trusted";
    check_refused(untrusted, "server.test", Error::is_untrusted, shown);
}

#[test]
fn unverified_settings_accept_anything() {
    run(async {
        let authority = Authority::new();
        let (chain, key) = authority.sign("elsewhere.test", true);
        let acceptor = Acceptor::new(Arc::new(server_config(chain, key).unwrap()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            acceptor.accept(stream).await.map(drop)
        });
        let connector = Connector::new(Arc::new(danger_unverified_client_config().unwrap()));
        connector.connect("server.test", stream).await.unwrap();
        server.await.unwrap().unwrap();
    });
}

#[test]
fn connection_that_ends_in_the_handshake_is_an_io_error() {
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(spawn(async move { drop(listener.accept().await.unwrap()) }));
        let connector = Connector::new(Arc::new(client_config([Authority::new().root]).unwrap()));
        let error = connector.connect("server.test", stream).await.unwrap_err();
        assert!(error.is_io() && !error.is_certificate(), "{error:?}");
    });
}

#[test]
fn server_that_speaks_no_tls_is_told_from_a_broken_connection() {
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream
        });
        let connector = Connector::new(Arc::new(client_config([Authority::new().root]).unwrap()));
        let error = connector.connect("server.test", stream).await.unwrap_err();
        assert!(error.rustls().is_some() && !error.is_io() && !error.is_certificate(), "{error:?}");
        drop(server.await.unwrap());
    });
}

#[test]
fn nonsense_is_no_server_name() {
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let connector = Connector::new(Arc::new(client_config([Authority::new().root]).unwrap()));
        let error = connector.connect("not a name", stream).await.unwrap_err();
        assert!(error.is_invalid_name());
        assert_eq!(error.to_string(), "invalid tls server name: not a name");
    });
}

#[test]
fn key_of_another_certificate_is_a_configuration_error() {
    let authority = Authority::new();
    let (chain, _) = authority.sign("a.test", false);
    let (_, key) = authority.sign("b.test", false);
    assert!(server_config(chain, key).unwrap_err().is_configuration());
}

//! Proxies on a loop and a thread of their own: HTTP (with TLS, if wanted) and SOCKS5.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use aioxide::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use aioxide::net::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use aioxide::net::tls::{Acceptor, server_config};
use aioxide::net::{TcpListener, TcpStream};

use super::certs::Identity;
use super::server::ok;

/// A running proxy, and what it was asked for.
pub struct Proxy {
    pub port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
enum Kind {
    /// Wants this `Proxy-Authorization`, if any; answers `CONNECT` to other hosts than these with 403.
    Http(Option<&'static str>),
    /// Wants this name and password, if any.
    Socks(Option<(&'static str, &'static str)>),
}

impl Proxy {
    pub fn http(wanted: Option<&'static str>) -> Self {
        Self::start(Kind::Http(wanted), None)
    }

    pub fn https(identity: &Identity) -> Self {
        Self::start(Kind::Http(None), Some(identity))
    }

    pub fn socks(wanted: Option<(&'static str, &'static str)>) -> Self {
        Self::start(Kind::Socks(wanted), None)
    }

    /// What it was asked for: heads of requests, and targets of SOCKS.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn start(kind: Kind, identity: Option<&Identity>) -> Self {
        let config = identity.map(|identity| {
            let key = PrivateKeyDer::try_from(identity.key_der.clone()).unwrap();
            server_config(vec![CertificateDer::from(identity.certificate_der.clone())], key).unwrap()
        });
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let shared = seen.clone();
        let (tell, port) = mpsc::channel();
        thread::spawn(move || {
            aioxide::run(async move {
                let listener = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
                tell.send(listener.local_addr().unwrap().port()).unwrap();
                let acceptor = config.map(|config| Acceptor::new(Arc::new(config)));
                while let Ok((stream, _)) = listener.accept().await {
                    let (kind, seen, acceptor) = (kind.clone(), shared.clone(), acceptor.clone());
                    drop(aioxide::spawn(async move {
                        match acceptor {
                            None => serve(stream, kind, seen).await,
                            Some(acceptor) => {
                                if let Ok(stream) = acceptor.accept(stream).await {
                                    serve(stream, kind, seen).await;
                                }
                            }
                        }
                    }));
                }
            })
            .unwrap();
        });
        Self { port: port.recv().unwrap(), seen }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, kind: Kind, seen: Arc<Mutex<Vec<String>>>) {
    // Whatever goes wrong ends the connection, and the test sees that.
    let _ = match kind {
        Kind::Http(wanted) => serve_http(stream, wanted, seen).await,
        Kind::Socks(wanted) => serve_socks(stream, wanted, seen).await,
    };
}

async fn serve_http<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    wanted: Option<&str>,
    seen: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        seen.lock().unwrap().push(head.clone());
        if wanted.is_some_and(|wanted| {
            !head.to_lowercase().contains(&format!("proxy-authorization: {}", wanted.to_lowercase()))
        }) {
            stream
                .write_all(
                    b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
                )
                .await?;
            continue;
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        if !head.starts_with("CONNECT ") {
            stream.write_all(&ok(&format!("forwarded {target}"))).await?;
            continue;
        }
        // The names of tests lead here.
        let port = target.rsplit(':').next().unwrap();
        let Ok(mut server) =
            TcpStream::connect(format!("127.0.0.1:{port}").parse::<SocketAddr>().unwrap()).await
        else {
            stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await?;
            return Ok(());
        };
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        copy_bidirectional(&mut stream, &mut server).await?;
        return Ok(());
    }
}

async fn serve_socks<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    wanted: Option<(&str, &str)>,
    seen: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    async fn text<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<String> {
        let mut text = vec![0; stream.read_u8().await?.into()];
        stream.read_exact(&mut text).await?;
        Ok(String::from_utf8(text).unwrap())
    }
    assert_eq!(stream.read_u8().await?, 5);
    let mut methods = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut methods).await?;
    let method = if wanted.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return stream.write_all(&[5, 0xff]).await;
    }
    stream.write_all(&[5, method]).await?;
    if let Some((name, password)) = wanted {
        assert_eq!(stream.read_u8().await?, 1);
        let given = (text(&mut stream).await?, text(&mut stream).await?);
        let is_right = given == (name.to_owned(), password.to_owned());
        stream.write_all(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            return Ok(());
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
        3 => text(&mut stream).await?,
        _ => std::net::Ipv6Addr::from(stream.read_u128().await?).to_string(),
    };
    let port = stream.read_u16().await?;
    seen.lock().unwrap().push(format!("{host} {port}"));
    let Ok(mut server) = TcpStream::connect(([127, 0, 0, 1], port)).await else {
        return stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    };
    // A name for an answer is allowed, too.
    stream.write_all(&[5, 0, 0, 3, 2, b'x', b'y', 0, 80]).await?;
    copy_bidirectional(&mut stream, &mut server).await?;
    Ok(())
}

//! An HTTP/2 server over TLS whose every frame the test decides.

use std::io::{Read, Write};
use std::sync::Arc;

use aioxide::net::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use aioxide::net::tls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use aioxide_http::{Session, SessionBuilder};

use super::certs::Authority;
use super::server::{Connection, Server};

/// The types of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

/// Flags.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The end of a TLS connection in a server's thread.
pub type TlsStream = StreamOwned<ServerConnection, std::net::TcpStream>;

/// The server's settings for TLS, and the authority that signed its certificate.
pub fn tls(protocols: &[&str]) -> (Arc<ServerConfig>, Authority) {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost", "127.0.0.1"]);
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(identity.certificate_der)],
            PrivateKeyDer::try_from(identity.key_der).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (Arc::new(config), authority)
}

/// A server's side of a new TLS connection.
pub fn server_session(config: &Arc<ServerConfig>) -> ServerConnection {
    ServerConnection::new(config.clone()).unwrap()
}

/// A listening server of HTTP/2.
pub struct H2Server {
    server: Server,
    authority: Authority,
}

impl H2Server {
    /// `answer` is called for each request: with the connection, the stream, and the connection's number from 0. It says
    /// whether the connection goes on.
    pub fn start(answer: impl Fn(&mut Frames, u32, usize) -> bool + Send + Sync + 'static) -> Self {
        let (config, authority) = tls(&["h2"]);
        let server = Server::start(move |connection, number| {
            let Some(mut frames) = Frames::accept(connection, &config) else { return };
            while let Some(stream) = frames.next_request() {
                if !answer(&mut frames, stream, number) {
                    return;
                }
            }
        });
        Self { server, authority }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.server.port)
    }

    /// How many connections have come.
    pub fn accepted(&self) -> usize {
        self.server.accepted()
    }

    /// A builder of sessions that trust this server.
    pub fn trusting(&self) -> SessionBuilder {
        Session::builder().add_root_pem(self.authority.pem.as_bytes())
    }
}

/// One connection, frame by frame.
pub struct Frames {
    pub stream: TlsStream,
    /// Whether pings are answered.
    pub is_polite: bool,
}

impl Frames {
    /// Shakes hands and sends the first, empty, settings; `None` when the client went away.
    pub fn accept(connection: Connection, config: &Arc<ServerConfig>) -> Option<Self> {
        let session = ServerConnection::new(config.clone()).ok()?;
        let mut stream = StreamOwned::new(session, connection.stream);
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).ok()?;
        let mut frames = Self { stream, is_polite: true };
        frames.send(SETTINGS, 0, 0, &[]).then_some(frames)
    }

    /// Reads one frame: its type, flags, stream and payload.
    pub fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// Reads up to the next request's headers and gives its stream; settings and pings are answered on the way.
    pub fn next_request(&mut self) -> Option<u32> {
        loop {
            let (kind, flags, stream, payload) = self.read()?;
            match kind {
                HEADERS => return Some(stream),
                SETTINGS if flags & 1 == 0 => drop(self.send(SETTINGS, 1, 0, &[])),
                PING if flags & 1 == 0 && self.is_polite => drop(self.send(PING, 1, 0, &payload)),
                _ => {}
            }
        }
    }

    /// Sends one frame; says whether the client still takes it.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.send_raw(&frame(kind, flags, stream, payload))
    }

    /// Sends bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of headers: a status, and fields written as they are (RFC 7541, 6.2.2).
pub fn header_block(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let status = status.to_string();
    let mut block = Vec::new();
    for (name, value) in [(":status", status.as_str())].iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

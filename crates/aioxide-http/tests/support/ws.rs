//! The server's side of websockets, frame by frame.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::server::{Connection, Request, Server};

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// One websocket.
pub struct Socket {
    pub stream: TcpStream,
}

/// A server that agrees to every websocket, with these headers besides, and then does what `serve` does.
pub fn start(more: &'static str, serve: impl Fn(Socket, &Request) + Send + Sync + 'static) -> Server {
    Server::start(move |mut connection, _| {
        let Some(request) = connection.read_request() else { return };
        agree(&mut connection, &request, more);
        serve(Socket { stream: connection.stream }, &request);
    })
}

pub fn agree(connection: &mut Connection, request: &Request, more: &str) {
    let key = request.header("sec-websocket-key").unwrap_or_default();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let accept = base64(digest.as_ref());
    connection.send(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        )
        .as_bytes(),
    );
}

impl Socket {
    /// The first byte of a frame, and its content without the mask; `None` when the client has gone.
    pub fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).ok()?;
        assert!(head[1] & 0x80 != 0, "a client's frame is masked");
        let length = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.bytes()?)),
            127 => u64::from_be_bytes(self.bytes()?),
            short => u64::from(short),
        };
        let mask: [u8; 4] = self.bytes()?;
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data).ok()?;
        data.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Some((head[0], data))
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Sends a frame; says whether the client still takes it.
    pub fn send(&mut self, head: u8, data: &[u8]) -> bool {
        let mut frame = vec![head];
        match data.len() {
            length @ ..126 => frame.push(length as u8),
            length @ ..=0xffff => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(data);
        self.stream.write_all(&frame).is_ok()
    }

    /// Sends back what comes, bit for bit, until the goodbye.
    pub fn echo(&mut self) {
        while let Some((head, data)) = self.read() {
            if head == PONG {
                continue;
            }
            let head = if head == PING { PONG } else { head };
            if !self.send(head, &data) || head == CLOSE {
                return;
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value =
            (0..3).fold(0_u32, |value, place| value << 8 | u32::from(*group.get(place).unwrap_or(&0)));
        for place in 0..4 {
            let digit = ALPHABET[(value >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

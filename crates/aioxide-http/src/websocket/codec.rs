//! Frames and messages: bytes in, messages out, and the other way round. No I/O.

use bytes::{Buf, Bytes, BytesMut};

use super::Message;
use super::deflate::{Deflate, TooMuch};
use crate::random;

/// What has come, whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Bytes),
    Pong(Bytes),
    Close { code: Option<u16>, reason: String },
}

/// What the other side did wrong, and the code that it is told (RFC 6455, 7.4.1).
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: u16,
    pub(super) why: &'static str,
}

const BROKEN: u16 = 1002;
pub(super) const NO_CODE: u16 = 1005;
const NO_TEXT: u16 = 1007;
pub(super) const TOO_LARGE: u16 = 1009;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;

/// The most that a control frame carries.
const MAX_CONTROL: usize = 125;

/// Shorter messages are not worth compressing.
const COMPRESS_FROM: usize = 64;

pub(super) struct Codec {
    incoming: BytesMut,
    /// The message that is coming.
    message: Vec<u8>,
    /// Its kind, and whether it is compressed; `None` between messages.
    kind: Option<(u8, bool)>,
    /// How much of a data frame's content is still to come, and whether it is the last of its message.
    payload: Option<(u64, bool)>,
    max_size: usize,
    deflate: Option<Deflate>,
    masks: Masks,
}

impl Codec {
    /// `already`: what has come after the handshake. `max_size`: of a message, 0 for no limit.
    pub(super) fn new(already: &[u8], max_size: usize, deflate: Option<Deflate>) -> Self {
        Self {
            incoming: BytesMut::from(already),
            message: Vec::new(),
            kind: None,
            payload: None,
            max_size: if max_size == 0 { usize::MAX } else { max_size },
            deflate,
            masks: Masks::default(),
        }
    }

    /// Takes what has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// The next message or control frame, when it is there.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            if let Some((left, is_last)) = self.payload {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.incoming.len());
                self.message.extend_from_slice(&self.incoming[..here]);
                self.incoming.advance(here);
                let left = left - here as u64;
                if left > 0 {
                    self.payload = Some((left, is_last));
                    return Ok(None);
                }
                self.payload = None;
                if is_last && let Some((kind, is_compressed)) = self.kind.take() {
                    let message = std::mem::take(&mut self.message);
                    return self.finish(kind, is_compressed, message).map(Some);
                }
            }
            let Some((head, length, head_length)) = self.head()? else { return Ok(None) };
            let kind = head & 0x0f;
            if kind >= CLOSE {
                let whole = head_length + length as usize;
                if self.incoming.len() < whole {
                    return Ok(None);
                }
                self.incoming.advance(head_length);
                let data = self.incoming.split_to(length as usize).freeze();
                return control(kind, data).map(Some);
            }
            self.begin(head, length)?;
            self.incoming.advance(head_length);
            self.payload = Some((length, head & FIN != 0));
        }
    }

    /// The first byte of a frame, the length of its content and of its head; `None` while they are not there.
    fn head(&self) -> Result<Option<(u8, u64, usize)>, Fault> {
        let [head, second, ..] = self.incoming[..] else { return Ok(None) };
        if second & MASKED != 0 {
            return Err(broken("a server's frame is masked"));
        }
        if head & RESERVED != 0 {
            return Err(broken("a frame has bits of an extension that was not agreed on"));
        }
        let (length, head_length) = match second {
            126 => match self.incoming.get(2..4) {
                Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
                None => return Ok(None),
            },
            127 => match self.incoming.get(2..10).and_then(|bytes| bytes.try_into().ok()) {
                Some(bytes) => (u64::from_be_bytes(bytes), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let kind = head & 0x0f;
        if kind >= CLOSE && (head & FIN == 0 || head & COMPRESSED != 0 || length > MAX_CONTROL as u64) {
            return Err(broken("a control frame is cut, compressed or too long"));
        }
        if !matches!(kind, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(broken("a frame is of no known kind"));
        }
        Ok(Some((head, length, head_length)))
    }

    /// A data frame begins: it must fit what came before, and the limit.
    fn begin(&mut self, head: u8, length: u64) -> Result<(), Fault> {
        let is_compressed = head & COMPRESSED != 0;
        match (head & 0x0f, self.kind) {
            (CONTINUATION, None) => return Err(broken("a message goes on that never began")),
            (CONTINUATION, Some(_)) if is_compressed => {
                return Err(broken("a frame is compressed by itself"));
            }
            (CONTINUATION, Some(_)) => {}
            (_, Some(_)) => return Err(broken("a message begins in the midst of another")),
            (_, None) if is_compressed && self.deflate.is_none() => {
                return Err(broken("a message is compressed, which was not agreed on"));
            }
            (kind, None) => self.kind = Some((kind, is_compressed)),
        }
        // Compressed it is shorter than what comes out, which has the same limit.
        if length > (self.max_size - self.message.len().min(self.max_size)) as u64 {
            return Err(Fault { code: TOO_LARGE, why: "a message is larger than allowed" });
        }
        Ok(())
    }

    fn finish(&mut self, kind: u8, is_compressed: bool, mut message: Vec<u8>) -> Result<Frame, Fault> {
        if is_compressed && let Some(deflate) = &mut self.deflate {
            message = deflate.decompress(message, self.max_size).map_err(|error| match error {
                Some(TooMuch) => Fault { code: TOO_LARGE, why: "a message is larger than allowed" },
                None => Fault { code: NO_TEXT, why: "a message cannot be decompressed" },
            })?;
        }
        if kind == BINARY {
            return Ok(Frame::Binary(message));
        }
        let text = String::from_utf8(message);
        text.map(Frame::Text).map_err(|_| Fault { code: NO_TEXT, why: "a message of text is not utf-8" })
    }

    /// Adds a message to what is sent.
    ///
    /// # Errors
    /// It cannot be sent.
    pub(super) fn encode(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let (kind, data): (u8, &[u8]) = match message {
            Message::Text(text) => (TEXT, text.as_bytes()),
            Message::Binary(data) => (BINARY, data),
            Message::Ping(data) | Message::Pong(data) if data.len() > MAX_CONTROL => {
                return Err("a ping or pong has at most 125 bytes");
            }
            Message::Close { reason, .. } if reason.len() > MAX_CONTROL - 2 => {
                return Err("the reason of a close has at most 123 bytes");
            }
            Message::Close { code, .. } if !is_code(*code) => return Err("this code may not be sent"),
            control => {
                self.control(control, out);
                return Ok(());
            }
        };
        match &mut self.deflate {
            Some(deflate) if data.len() >= COMPRESS_FROM => {
                let packed = deflate.compress(data);
                self.frame(kind | COMPRESSED, &packed, out);
            }
            _ => self.frame(kind, data, out),
        }
        Ok(())
    }

    /// Adds a control frame that is known to be allowed.
    pub(super) fn control(&mut self, message: &Message, out: &mut Vec<u8>) {
        match message {
            Message::Ping(data) => self.frame(PING, data, out),
            Message::Pong(data) => self.frame(PONG, data, out),
            Message::Close { code: NO_CODE, .. } => self.frame(CLOSE, &[], out),
            Message::Close { code, reason } => {
                let data = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
                self.frame(CLOSE, &data, out);
            }
            Message::Text(_) | Message::Binary(_) => debug_assert!(false, "no control frame"),
        }
    }

    fn frame(&mut self, head: u8, data: &[u8], out: &mut Vec<u8>) {
        out.reserve(data.len() + 14);
        out.push(FIN | head);
        match data.len() {
            length @ ..126 => out.push(MASKED | length as u8),
            length @ ..=0xffff => {
                out.push(MASKED | 126);
                out.extend((length as u16).to_be_bytes());
            }
            length => {
                out.push(MASKED | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        let mask = self.masks.next();
        out.extend(mask);
        let begin = out.len();
        out.extend_from_slice(data);
        apply(mask, &mut out[begin..]);
    }
}

fn broken(why: &'static str) -> Fault {
    Fault { code: BROKEN, why }
}

fn control(kind: u8, data: Bytes) -> Result<Frame, Fault> {
    match kind {
        PING => return Ok(Frame::Ping(data)),
        PONG => return Ok(Frame::Pong(data)),
        _ => {}
    }
    let [first, second, ..] = data[..] else {
        return match data.is_empty() {
            true => Ok(Frame::Close { code: None, reason: String::new() }),
            false => Err(broken("the code of a goodbye is cut")),
        };
    };
    let code = u16::from_be_bytes([first, second]);
    if !is_code(code) {
        return Err(broken("the code of a goodbye is not allowed"));
    }
    let reason = String::from_utf8(data[2..].to_vec());
    let reason = reason.map_err(|_| Fault { code: NO_TEXT, why: "the reason of a goodbye is not utf-8" })?;
    Ok(Frame::Close { code: Some(code), reason })
}

/// Whether a code may stand in a frame (RFC 6455, 7.4).
fn is_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Eight bytes at a time.
fn apply(mask: [u8; 4], data: &mut [u8]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let mut chunks = data.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Masks that nobody can guess (RFC 6455, 5.3), fetched from the system many at a time.
#[derive(Default)]
struct Masks {
    bytes: Vec<u8>,
}

impl Masks {
    fn next(&mut self) -> [u8; 4] {
        if self.bytes.is_empty() {
            self.bytes = random::bytes::<256>().to_vec();
        }
        let rest = self.bytes.len() - 4;
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.bytes[rest..]);
        self.bytes.truncate(rest);
        mask
    }
}

#[cfg(test)]
mod tests;

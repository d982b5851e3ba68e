//! Answers of HTTP/2 made from a seed, frame by frame, good and bad, each with its truth.
//!
//! A request says in its body which answer it wants (`G17`, or `H17` for one to HEAD): so the server need not know HPACK.

use std::collections::HashMap;

use aioxide_http::{Session, SessionBuilder};

use super::certs::Authority;
use super::h2::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame, header_block,
    tls,
};
use super::raw::{After, Content, Random, Truth, mutate};
use super::server::Server;

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;

/// An answer as it is sent.
struct Plan {
    bytes: Vec<u8>,
    after: After,
    /// Something in it ends the connection: perhaps behind its end, or behind what made the client give it up, when the
    /// next request is on its way.
    leaves_fault: bool,
    /// Its bytes are changed: they may be a good answer to another request that is under way.
    is_mutated: bool,
}

/// The truth of the answer number `id`.
pub fn truth(seed: u64, id: u64, is_head: bool) -> Truth {
    make(seed, id, 1, is_head).1
}

/// Whether the answer number `id` may break the one that is asked for next over its connection.
pub fn leaves_fault(seed: u64, id: u64, is_head: bool) -> bool {
    make(seed, id, 1, is_head).0.leaves_fault
}

/// Whether the answer number `id` may have come to another request.
pub fn is_mutated(seed: u64, id: u64, is_head: bool) -> bool {
    make(seed, id, 1, is_head).0.is_mutated
}

fn make(seed: u64, id: u64, stream: u32, is_head: bool) -> (Plan, Truth) {
    let mut random = Random::of(seed, id);
    let random = &mut random;
    let status = random.pick(&[200, 200, 200, 200, 203, 404, 204, 304]);
    let has_body = !is_head && !matches!(status, 204 | 304);
    let content = if has_body { Content::new(random, id, true) } else { Content::default() };
    let fault = random.below(16);
    let (id, length) = (id.to_string(), content.coded.len());
    let announced =
        if fault == 0 && has_body { length + 1 - 2 * random.below(2).min(length) } else { length };
    let announced = announced.to_string();
    let mut fields = vec![("x-id", &*id)];
    fields.extend(content.coding.map(|coding| ("content-encoding", coding)));
    if fault == 0 && has_body || random.chance(50) && !matches!(status, 204 | 304) {
        fields.push(("content-length", &*announced));
    }
    let mut truth = match content.truth.clone() {
        Truth::Whole(_, body) => Truth::Whole(status, body),
        other => other,
    };
    if fault == 0 && has_body {
        truth = Truth::Broken;
    }

    let mut frames: Vec<Vec<u8>> = Vec::new();
    if random.chance(15) {
        frames.push(frame(HEADERS, END_HEADERS, stream, &header_block(103, &[("link", "</a>")])));
    }
    let ends_at_once = length == 0 && random.chance(50);
    let has_trailers = !ends_at_once && random.chance(20);
    head(random, &mut frames, stream, ends_at_once, &header_block(status, &fields));
    let own_head = frames.last().cloned();
    if !ends_at_once {
        let mut rest = &content.coded[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at((1 + random.below(16_000)).min(rest.len()));
            rest = left;
            data(random, &mut frames, stream, false, piece);
        }
        match has_trailers {
            true => {
                let block = header_block(200, &[("x-trailer", "v")]);
                // Without the status, which has no place in trailers: it is the first field, of 1 + 8 + 1 + 3 bytes.
                head(random, &mut frames, stream, true, &block[13..]);
            }
            false => data(random, &mut frames, stream, true, b""),
        }
    }
    for _ in 0..random.pick(&[0, 0, 1, 3]) {
        let noise = match random.below(5) {
            0 => frame(PING, 0, 0, b"12345678"),
            1 => frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 50]),
            2 => frame(WINDOW_UPDATE, 0, 0, &[0, 0, 3, 0]),
            3 => frame(0xfa, 0xff, stream, b"of the future"),
            _ => frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 9]),
        };
        insert(random, &mut frames, noise);
    }

    let mut after = After::Keep;
    let leaves_fault = matches!(fault, 5 | 7 | 8);
    let perhaps = |truth: Truth| match truth {
        Truth::Whole(status, body) => Truth::Perhaps(status, body),
        other => other,
    };
    match fault {
        1..=3 => {
            frames.truncate(random.below(frames.len()));
            truth = Truth::Broken;
            match fault {
                1 => {
                    let code = random.pick(&[0, 0, 0, 2, 7, 8, 11]);
                    frames.push(frame(RST_STREAM, 0, stream, &u32::to_be_bytes(code)));
                }
                2 => frames.push(frame(
                    GOAWAY,
                    0,
                    0,
                    &[[0; 4], u32::to_be_bytes(random.pick(&[0, 0, 2]))].concat(),
                )),
                _ => after = random.pick(&[After::Close, After::Reset]),
            }
        }
        4 => {
            let goaway = frame(GOAWAY, 0, 0, &[u32::to_be_bytes(stream), [0; 4]].concat());
            insert(random, &mut frames, goaway);
            after = After::Close;
        }
        5 => {
            let bad = violation(random, stream);
            let is_head = bad == second_head(stream);
            let place = insert(random, &mut frames, bad);
            // A head before the answer's own is the answer's, and what should have been its head looks like trailers.
            let comes_first = !frames[..place].iter().any(|frame| Some(frame) == own_head.as_ref());
            truth = if is_head && comes_first { Truth::Any } else { perhaps(truth) };
            after = After::Close;
        }
        6 => {
            frames.push(frame(RST_STREAM, 0, stream, &[0; 4]));
            // The end came before it, so the answer is whole.
        }
        7 => {
            frames.push(frame(DATA, END_STREAM, stream, b"after the end"));
            truth = perhaps(truth);
        }
        _ => {}
    }
    let mut bytes = frames.concat();
    if fault == 8 {
        mutate(random, &mut bytes);
        (after, truth) = (After::Close, Truth::Any);
    }
    (Plan { bytes, after, leaves_fault, is_mutated: fault == 8 }, truth)
}

/// Puts a frame in any place before the end: not between headers and what continues them, which are one entry.
fn insert(random: &mut Random, frames: &mut Vec<Vec<u8>>, noise: Vec<u8>) -> usize {
    let place = random.below(frames.len());
    frames.insert(place, noise);
    place
}

fn second_head(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &header_block(200, &[("x-second", "head")]))
}

fn head(random: &mut Random, frames: &mut Vec<Vec<u8>>, stream: u32, ends: bool, block: &[u8]) {
    let end = if ends { END_STREAM } else { 0 };
    if random.chance(20) {
        let (first, rest) = block.split_at(random.below(block.len() + 1));
        // One entry, so that nothing gets between.
        frames.push(
            [frame(HEADERS, end, stream, first), frame(CONTINUATION, END_HEADERS, stream, rest)].concat(),
        );
    } else {
        frames.push(frame(HEADERS, end | END_HEADERS, stream, block));
    }
}

fn data(random: &mut Random, frames: &mut Vec<Vec<u8>>, stream: u32, ends: bool, piece: &[u8]) {
    let end = if ends { END_STREAM } else { 0 };
    if random.chance(20) {
        let padding = random.below(200);
        let padded = [&[padding as u8], piece, &vec![0; padding]].concat();
        frames.push(frame(DATA, end | PADDED, stream, &padded));
    } else {
        frames.push(frame(DATA, end, stream, piece));
    }
}

/// Something that has no place in an answer.
fn violation(random: &mut Random, stream: u32) -> Vec<u8> {
    match random.below(16) {
        0 => frame(DATA, 0, 0, b"on no stream"),
        1 => frame(DATA, PADDED, stream, &[200, 1, 2]),
        2 => frame(DATA, 0, stream, &[b'x'; 17_000]),
        3 => frame(DATA, 0, stream + 2, b"not asked for"),
        4 => frame(HEADERS, END_HEADERS, stream, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        5 => second_head(stream),
        6 => frame(HEADERS, END_HEADERS, stream, &header_block(200, &[("Upper", "case")])),
        7 => frame(HEADERS, END_HEADERS, stream, &header_block(200, &[("connection", "close")])),
        8 => frame(CONTINUATION, END_HEADERS, stream, b""),
        9 => frame(
            PUSH_PROMISE,
            END_HEADERS,
            stream,
            &[[0, 0, 0, 2].as_slice(), &header_block(200, &[])].concat(),
        ),
        10 => frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        11 => frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
        12 => frame(SETTINGS, 0, 0, &[1, 2, 3]),
        13 => frame(PING, 0, 0, b"short"),
        14 => frame(RST_STREAM, 0, 0, &[0; 4]),
        _ => frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
    }
}

/// A server of such answers.
pub struct RawServer {
    server: Server,
    authority: Authority,
}

impl RawServer {
    pub fn start(seed: u64) -> Self {
        let (config, authority) = tls(&["h2"]);
        let server = Server::start(move |connection, number| {
            connection.stream.set_nodelay(true).unwrap();
            let mut random = Random::of(seed ^ 1, number as u64);
            if let Some(frames) = Frames::accept(connection, &config) {
                answer_all(frames, seed, &mut random);
            }
        });
        Self { server, authority }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/", self.server.port)
    }

    pub fn trusting(&self) -> SessionBuilder {
        Session::builder().add_root_pem(self.authority.pem.as_bytes())
    }
}

fn answer_all(mut frames: Frames, seed: u64, random: &mut Random) {
    let mut wanted: HashMap<u32, Vec<u8>> = HashMap::new();
    while let Some((kind, flags, stream, payload)) = frames.read() {
        match kind {
            SETTINGS if flags & 1 == 0 => drop(frames.send(SETTINGS, 1, 0, &[])),
            PING if flags & 1 == 0 => drop(frames.send(PING, 1, 0, &payload)),
            DATA => wanted.entry(stream).or_default().extend(payload),
            _ => {}
        }
        if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
            continue;
        }
        let wanted = wanted.remove(&stream).unwrap_or_default();
        let Some((method, id)) = wanted.split_first() else { continue };
        let id = std::str::from_utf8(id).unwrap().parse().unwrap();
        let (plan, _) = make(seed, id, stream, *method == b'H');
        let pieces = random.pick(&[1, 1, 2, 10]);
        for piece in plan.bytes.chunks((plan.bytes.len() / pieces).max(1)) {
            if !frames.send_raw(piece) {
                return;
            }
        }
        match plan.after {
            After::Keep => {}
            After::Close => {
                if random.chance(50) {
                    frames.stream.conn.send_close_notify();
                    let _ = frames.send_raw(b"");
                }
                return;
            }
            After::Reset => {
                socket2::SockRef::from(&frames.stream.sock)
                    .set_linger(Some(std::time::Duration::ZERO))
                    .unwrap();
                return;
            }
        }
    }
}

/// A truth where other exchanges of the same connection may break it.
pub fn weakened(truth: Truth) -> Truth {
    match truth {
        Truth::Whole(status, body) => Truth::Perhaps(status, body),
        other => other,
    }
}

/// What a request for that answer says in its body.
pub fn wish(id: u64, is_head: bool) -> Vec<u8> {
    format!("{}{id}", if is_head { 'H' } else { 'G' }).into_bytes()
}

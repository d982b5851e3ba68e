//! Raw answers of HTTP/1 made from a seed, good and bad, each with its truth: what a client must make of it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::server::{Connection, Request, Server};

/// Numbers from a seed (splitmix64): the same on every machine.
pub struct Random(u64);

impl Random {
    /// The numbers of one case of a run.
    pub fn of(seed: u64, case: u64) -> Self {
        let mut random = Self(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What a client must make of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// This status and body.
    Whole(u16, Vec<u8>),
    /// The same, or an error.
    Perhaps(u16, Vec<u8>),
    /// An error.
    Broken,
    /// Anything, in finite time.
    Any,
}

/// What a client made of an answer: the status, the value of `X-Id`, the body; or the error in words.
pub type Made = Result<(u16, Option<String>, Vec<u8>), String>;

impl Truth {
    /// Says what is wrong with what a client made of the answer with that number.
    pub fn check(&self, id: u64, made: &Made) -> Result<(), String> {
        let right = match (self, made) {
            (Self::Any, _) | (Self::Broken | Self::Perhaps(..), Err(_)) => true,
            (Self::Broken, Ok(_)) | (Self::Whole(..), Err(_)) => false,
            (Self::Whole(status, body) | Self::Perhaps(status, body), Ok((got, named, whole))) => {
                status == got && body == whole && named.as_deref() == Some(&*id.to_string())
            }
        };
        if right { Ok(()) } else { Err(format!("{id}: {} became {}", self.shown(), shown(made))) }
    }

    fn shown(&self) -> String {
        match self {
            Self::Whole(status, body) => format!("whole {status} with {} bytes", body.len()),
            Self::Perhaps(status, body) => format!("perhaps {status} with {} bytes", body.len()),
            Self::Broken => "broken".to_owned(),
            Self::Any => "anything".to_owned(),
        }
    }
}

fn shown(made: &Made) -> String {
    match made {
        Ok((status, named, body)) => format!("{status} {named:?} with {} bytes", body.len()),
        Err(error) => error.clone(),
    }
}

/// What the server does after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Keep,
    Close,
    Reset,
}

/// An answer as it is sent.
pub struct Plan {
    pub bytes: Vec<u8>,
    /// The last so many bytes go out in one piece.
    pub together: usize,
    pub after: After,
    pub truth: Truth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length,
    Chunks,
    /// Chunks, and a length that does not count.
    Both,
    Close,
}

/// Lines that real servers send and that say nothing about the body.
const NOISE: [&[u8]; 12] = [
    b"Server: test",
    b"X-Folded: one\r\n  two",
    b"X-Folded: one\r\n\tContent-Length: 3",
    b"X-Space : v",
    b"PHP Warning: Unable to load",
    b": no name",
    b"no colon",
    b"X-Control: a\x01b",
    b"X-Latin: caf\xe9",
    b"X-Empty:",
    b"Trailer: X-T",
    b"Keep-Alive: timeout=5",
];

/// Lines that make the end of the body unknown.
const BAD_FRAMING: [&[u8]; 10] = [
    b"Content-Length: abc",
    b"Content-Length: 5, 6",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5\x01",
    b"Content-Length: -1",
    b"Content-Length: +5",
    b"Content-Length: 99999999999999999999999",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked\x7f",
    b"Transfer-Encoding: nonsense",
];

/// Chunks that are none.
const BAD_CHUNKS: [&[u8]; 6] = [
    b"xyz\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\nhello",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
];

/// An answer that nobody asked for.
const EVIL: &[u8] = b"HTTP/1.1 200 OK\r\nX-Id: evil\r\nContent-Length: 4\r\n\r\nevil";

impl Plan {
    /// The answer number `id` of a run. `decodes`: whether the client undoes content codings.
    pub fn new(seed: u64, id: u64, is_head: bool, decodes: bool) -> Self {
        let mut random = Random::of(seed, id);
        let status = random.pick(&[200, 200, 200, 200, 200, 200, 203, 299, 404, 500, 204, 304]);
        let has_body = !is_head && !matches!(status, 204 | 304);
        let version = if random.chance(85) { "1.1" } else { "1.0" };
        let framing = match has_body {
            true => random.pick(&[
                Framing::Length,
                Framing::Length,
                Framing::Chunks,
                Framing::Both,
                Framing::Close,
            ]),
            false => Framing::Nothing,
        };
        let content = if has_body { Content::new(&mut random, id, decodes) } else { Content::default() };

        let mut lines: Vec<Vec<u8>> = vec![format!("X-Id: {id}").into_bytes()];
        lines.extend(content.coding.map(|coding| format!("Content-Encoding: {coding}").into_bytes()));
        for _ in 0..random.below(4) {
            lines.push(random.pick(&NOISE).to_vec());
        }
        let length = content.coded.len();
        match framing {
            Framing::Nothing if random.chance(50) => {
                lines.push(format!("Content-Length: {}", random.below(9)).into_bytes());
            }
            Framing::Length => {
                for _ in 0..random.pick(&[1, 1, 1, 2]) {
                    let line = random.pick(&["Content-Length: ", "content-length:", "CONTENT-LENGTH : "]);
                    lines.push(format!("{line}{length}").into_bytes());
                }
            }
            Framing::Chunks | Framing::Both => {
                let line = random.pick(&["Transfer-Encoding: chunked", "transfer-encoding:CHUNKED "]);
                lines.push(line.as_bytes().to_vec());
                if framing == Framing::Both {
                    lines.push(format!("Content-Length: {}", random.below(length + 2)).into_bytes());
                }
            }
            Framing::Nothing | Framing::Close => {}
        }
        let mut after = if framing == Framing::Close { After::Close } else { After::Keep };
        if random.chance(10) {
            lines.push(b"Connection: close".to_vec());
            after = After::Close;
        }
        let mut truth = content.truth.with_status(status);

        let fault = random.below(10);
        if fault == 0 && has_body {
            let bad = random.pick(&BAD_FRAMING);
            lines.push(bad.to_vec());
            after = After::Close;
            // Which of two lines of a header comes first must not matter, so both are there in some answers.
            if random.chance(70) {
                lines.retain(|line| {
                    let line = line.to_ascii_lowercase();
                    BAD_FRAMING.iter().any(|bad| bad.to_ascii_lowercase() == line)
                        || !line.starts_with(b"content-length") && !line.starts_with(b"transfer-encoding")
                });
            }
            // Beside chunks a length does not count, not even a bad one.
            let has_chunks =
                lines.iter().any(|line| line.to_ascii_lowercase().starts_with(b"transfer-encoding"));
            truth = match truth {
                Truth::Whole(status, body) if has_chunks && bad.starts_with(b"Content") => {
                    Truth::Perhaps(status, body)
                }
                _ => Truth::Broken,
            };
        }
        shuffle(&mut random, &mut lines);
        let mut bytes = Vec::new();
        for _ in 0..random.pick(&[0, 0, 0, 1, 3]) {
            bytes.extend_from_slice(random.pick(&[
                b"HTTP/1.1 100 Continue\r\n\r\n" as &[u8],
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n",
                b"HTTP/1.0 102 Processing\r\n\r\n",
            ]));
        }
        let end = random.pick(&["\r\n", "\r\n", "\r\n", "\n"]);
        write!(bytes, "HTTP/{version} {status}{}{end}", random.pick(&[" OK", "", " ", " Caf\u{e9}"]))
            .unwrap();
        for line in &lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(end.as_bytes());
        }
        bytes.extend_from_slice(end.as_bytes());
        let head = bytes.len();
        match framing {
            Framing::Chunks | Framing::Both if fault == 1 => {
                bytes.extend_from_slice(random.pick(&BAD_CHUNKS));
                (after, truth) = (After::Close, Truth::Broken);
            }
            Framing::Chunks | Framing::Both => write_chunks(&mut random, &mut bytes, &content.coded),
            _ => bytes.extend_from_slice(&content.coded),
        }
        let mut together = 0;
        match fault {
            // Cut. What is closed without an end of its own is whole wherever it is closed, so it is cut in its head.
            2 | 3 => {
                after = random.pick(&[After::Close, After::Reset]);
                let is_open = framing == Framing::Close;
                bytes.truncate(random.below(if is_open && after == After::Close {
                    head
                } else {
                    bytes.len()
                }));
                truth = Truth::Broken;
            }
            4 if after == After::Keep => {
                // The reset may overtake the answer, but not change it.
                after = After::Reset;
                if let Truth::Whole(status, body) = truth {
                    truth = Truth::Perhaps(status, body);
                }
            }
            5 | 6 if framing != Framing::Close && truth != Truth::Broken => {
                bytes.extend_from_slice(EVIL);
                together = EVIL.len() + 1;
            }
            7 if random.chance(50) => {
                mutate(&mut random, &mut bytes);
                (after, truth) = (After::Close, Truth::Any);
            }
            _ => {}
        }
        Self { bytes, together, after, truth }
    }

    /// Sends the answer in pieces; says whether the connection goes on.
    fn send(&self, mut connection: Connection, random: &mut Random) -> Option<Connection> {
        let loose = self.bytes.len().saturating_sub(self.together);
        let pieces = random.pick(&[1, 1, 2, 5, 30]);
        let mut cuts: Vec<usize> = (1..pieces).map(|_| random.below(loose + 1)).collect();
        cuts.push(self.bytes.len());
        cuts.sort_unstable();
        let mut sent = 0;
        for cut in cuts {
            if !connection.send(&self.bytes[sent..cut]) {
                return None;
            }
            sent = cut;
            if random.chance(20) {
                std::thread::yield_now();
            }
        }
        match self.after {
            After::Keep => Some(connection),
            After::Close => None,
            After::Reset => {
                connection.reset();
                None
            }
        }
    }
}

impl Truth {
    fn with_status(self, status: u16) -> Self {
        match self {
            Self::Whole(_, body) => Self::Whole(status, body),
            Self::Perhaps(_, body) => Self::Perhaps(status, body),
            other => other,
        }
    }
}

/// A server that answers `/NUMBER` with the answer of that number.
pub fn serve(seed: u64, decodes: bool) -> Server {
    Server::start(move |mut connection, number| {
        connection.stream.set_nodelay(true).unwrap();
        let mut random = Random::of(seed ^ 1, number as u64);
        while let Some(request) = connection.read_request() {
            let plan = plan_for(&request, seed, decodes);
            match plan.send(connection, &mut random) {
                Some(kept) => connection = kept,
                None => return,
            }
        }
    })
}

fn plan_for(request: &Request, seed: u64, decodes: bool) -> Plan {
    let id = request.path().trim_start_matches('/').parse().unwrap();
    Plan::new(seed, id, request.method() == "HEAD", decodes)
}

/// A body, before its framing.
pub struct Content {
    pub coding: Option<&'static str>,
    pub coded: Vec<u8>,
    /// What it is to the client, as long as the framing is right.
    pub truth: Truth,
}

impl Default for Content {
    fn default() -> Self {
        Self { coding: None, coded: Vec::new(), truth: Truth::Whole(0, Vec::new()) }
    }
}

impl Content {
    pub fn new(random: &mut Random, id: u64, decodes: bool) -> Self {
        let length = match random.below(10) {
            0 => 0,
            1..6 => random.below(40),
            6..9 => random.below(3000),
            _ => random.below(120_000),
        };
        let mut plain = format!("[{id}]").into_bytes();
        let period = 1 + random.below(50);
        plain.extend((0..length).map(|index| (index / period) as u8));
        plain.truncate(length);
        let coding = random.pick(&[None, None, None, Some("gzip"), Some("x-gzip"), Some("deflate")]);
        let Some(coding) = coding else {
            return Self { coding: None, coded: plain.clone(), truth: Truth::Whole(0, plain) };
        };
        let is_bare = random.chance(30);
        let mut coded = encode(coding, is_bare, &plain);
        let mut truth = Truth::Whole(0, plain.clone());
        match random.below(8) {
            0 => {
                coded.truncate(1 + random.below(coded.len() - 1));
                truth = Truth::Broken;
            }
            1 if coding != "deflate" => {
                // The checksum, or the length after it.
                let place = coded.len() - 1 - random.below(8);
                coded[place] ^= 1 << random.below(8);
                truth = Truth::Broken;
            }
            2 if coding != "deflate" => {
                coded.extend(encode(coding, false, b"more"));
                truth = Truth::Whole(0, [&plain[..], b"more"].concat());
            }
            3 => coded.extend(vec![0; random.below(600)]),
            _ => {}
        }
        if !decodes {
            truth = Truth::Whole(0, coded.clone());
        }
        Self { coding: Some(coding), coded, truth }
    }
}

fn encode(coding: &str, is_bare: bool, plain: &[u8]) -> Vec<u8> {
    let level = Compression::fast();
    match coding {
        "deflate" if is_bare => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn write_chunks(random: &mut Random, bytes: &mut Vec<u8>, mut body: &[u8]) {
    let largest = random.pick(&[3, 100, 20_000, 200_000]);
    while !body.is_empty() {
        let (chunk, rest) = body.split_at((1 + random.below(largest)).min(body.len()));
        body = rest;
        let size = chunk.len();
        match random.below(4) {
            0 => write!(bytes, "{size:X}\r\n").unwrap(),
            1 => write!(bytes, "000{size:x}\r\n").unwrap(),
            // hyper takes 16 KiB of extensions in all.
            2 if largest > 1000 => write!(bytes, "{size:x};name=value\r\n").unwrap(),
            _ => write!(bytes, "{size:x} \r\n").unwrap(),
        }
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(random.pick(&[
        b"0\r\n\r\n" as &[u8],
        b"000\r\n\r\n",
        b"0\r\nX-T: v\r\n\r\n",
        b"0;x\r\n\r\n",
    ]));
}

pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return;
        }
        // Mostly where it matters: in the first lines.
        let limit = if random.chance(80) { bytes.len().min(200) } else { bytes.len() };
        let place = random.below(limit);
        match random.below(4) {
            0 => bytes[place] ^= 1 << random.below(8),
            1 => drop(bytes.remove(place)),
            2 => bytes.insert(place, random.pick(b"\0\r\n :,;0a\x7f\xff")),
            _ => bytes.truncate(place),
        }
    }
}

pub fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for index in (1..items.len()).rev() {
        items.swap(index, random.below(index + 1));
    }
}

/// How long a fuzz test runs, and where it starts: `AIOXIDE_FUZZ_MINUTES`, `AIOXIDE_FUZZ_SEED`.
#[allow(clippy::disallowed_methods, reason = "how long the test itself has run, over many loops")]
pub fn run_rounds(cases_at_least: u64, mut round: impl FnMut(u64) -> u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<f64>().unwrap());
    let limit =
        number("AIOXIDE_FUZZ_MINUTES").map(|minutes| std::time::Duration::from_secs_f64(minutes * 60.0));
    let started = std::time::Instant::now();
    let mut seed = number("AIOXIDE_FUZZ_SEED").map_or(1, |seed| seed as u64);
    let mut cases = 0;
    while cases < cases_at_least || limit.is_some_and(|limit| started.elapsed() < limit) {
        cases += round(seed);
        seed += 1;
    }
    eprintln!("{cases} answers, seeds up to {}", seed - 1);
}

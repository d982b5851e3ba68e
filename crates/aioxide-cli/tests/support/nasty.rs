//! A server that breaks the rules on request: each path names a misbehaviour. Blocking, one thread per connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::body;

/// A running server; it ends with the test's process.
pub struct Nasty {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The answer to `/robots.txt`.
    robots: String,
}

#[derive(Default)]
struct State {
    /// The paths asked for, in order.
    requests: Vec<String>,
    /// Request heads, in order.
    heads: Vec<String>,
    /// `/hold` answers when this is true.
    released: bool,
    connections: usize,
    /// Requests being handled, and the most there ever were at a time.
    active: usize,
    peak: usize,
    /// At a counter, now.
    served: usize,
}

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Nasty {
    pub fn start() -> Self {
        Self::with_robots("404 Not Found", "")
    }

    /// A server with a `robots.txt`.
    pub fn with_robots(status: &str, rules: &str) -> Self {
        Self::listening("127.0.0.1:0", status, rules)
    }

    /// A server at this address.
    pub fn at(address: &str) -> Self {
        Self::listening(address, "404 Not Found", "")
    }

    fn listening(address: &str, status: &str, rules: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let robots = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{rules}", rules.len());
        let shared = Arc::new(Shared { robots, ..Shared::default() });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&served);
                thread::Builder::new()
                    .stack_size(1024 * 1024)
                    // An error is the other side's leaving, which many tests bring about.
                    .spawn(move || drop(serve(stream, &shared)))
                    .unwrap();
            }
        });
        Nasty { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The paths asked for so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// The request heads so far.
    pub fn heads(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().heads.clone()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// The most requests that were handled at a time.
    pub fn peak(&self) -> usize {
        self.shared.state.lock().unwrap().peak
    }

    /// Waits until `count` requests have come.
    pub fn wait_for_requests(&self, count: usize) {
        let state = self.shared.state.lock().unwrap();
        let (state, timeout) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.requests.len() < count)
            .unwrap();
        assert!(!timeout.timed_out(), "only {} requests came", state.requests.len());
    }

    /// Lets every `/hold` answer.
    pub fn release(&self) {
        self.shared.state.lock().unwrap().released = true;
        self.shared.changed.notify_all();
    }
}

/// Serves one connection until it ends.
fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    shared.state.lock().unwrap().connections += 1;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // As nginx answers TLS on a port without it.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                }
                Err(error) => return Err(error),
            }
        }
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let earlier;
        {
            let mut state = shared.state.lock().unwrap();
            earlier = state.requests.iter().filter(|earlier| **earlier == path).count();
            state.requests.push(path.clone());
            state.heads.push(head.clone());
            state.active += 1;
            state.peak = state.peak.max(state.active);
        }
        shared.changed.notify_all();
        let request = Request { path: &path, head: &head, earlier };
        let result = answer(&stream, &mut reader, &request, shared);
        shared.state.lock().unwrap().active -= 1;
        match result {
            Ok(After::Next) => {}
            Ok(After::Close) => return Ok(()),
            Ok(After::Reset) => {
                // Closing with no time to linger sends RST in place of FIN.
                return socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            Err(error) => return Err(error),
        }
    }
}

/// What follows an answer.
enum After {
    Next,
    Close,
    Reset,
}

/// One request.
struct Request<'a> {
    path: &'a str,
    head: &'a str,
    /// How often the path was asked for before.
    earlier: usize,
}

impl Request<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// From which byte on the file is asked for.
    fn range(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// Answers with a file whose entity tag is `tag` from the byte on that is asked for, and stops after `most` bytes.
fn send_part(
    mut stream: &TcpStream,
    request: &Request<'_>,
    file: &[u8],
    tag: &str,
    most: usize,
) -> io::Result<After> {
    let from = request.range().filter(|_| request.header("if-range") == Some(tag));
    let (status, range) = match from {
        Some(from) => (
            "206 Partial Content",
            format!("Content-Range: bytes {from}-{}/{}\r\n", file.len() - 1, file.len()),
        ),
        None => ("200 OK", String::new()),
    };
    let rest = &file[from.unwrap_or(0)..];
    let head = format!("HTTP/1.1 {status}\r\nETag: {tag}\r\n{range}Content-Length: {}\r\n\r\n", rest.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(&rest[..rest.len().min(most)])?;
    Ok(if rest.len() <= most { After::Next } else { After::Close })
}

fn answer(
    mut stream: &TcpStream,
    reader: &mut impl Read,
    request: &Request<'_>,
    shared: &Shared,
) -> io::Result<After> {
    let Request { path, earlier, .. } = *request;
    let (kind, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let number = || rest.split('/').next().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let mut send = |text: &str| stream.write_all(text.as_bytes());
    match kind {
        // /ok/LENGTH[/NAME]
        "ok" => send_body(stream, &body(number() as u64, number()))?,
        "robots.txt" => send(&shared.robots)?,
        // /status/CODE
        "status" => send(&format!("HTTP/1.1 {} Whatever\r\nContent-Length: 6\r\n\r\nsorry\n", number()))?,
        // /half/LENGTH: an early end in good manners. /reset/LENGTH: in bad ones.
        "half" | "reset" => {
            send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", number()))?;
            stream.write_all(&body(number() as u64, number() / 2))?;
            return Ok(if kind == "half" { After::Close } else { After::Reset });
        }
        // /named/HOW: a file whose server has a name for it.
        "named" => {
            let name = match rest {
                "plain" | "plain/again" => "attachment; filename=\"report 1.pdf\"",
                "extended" => "attachment; filename=x.txt; filename*=UTF-8''na%C3%AFve.txt",
                "outside" => "attachment; filename=\"../../outside.txt\"",
                _ => "attachment",
            };
            send(&format!(
                "HTTP/1.1 200 OK\r\nContent-Disposition: {name}\r\nContent-Length: 5\r\n\r\nnamed"
            ))?
        }
        // /takes/MS: the answer comes after so long, whatever else is asked for. /crowded/MS/MOST: 503 when more than MOST are
        // asked for at a time. /counter/MS/MOST: MOST are served at a time, the others stand in a row.
        "takes" | "crowded" | "counter" => {
            let numbers: Vec<usize> = rest.split('/').map_while(|text| text.parse().ok()).collect();
            let time = Duration::from_millis(numbers[0] as u64);
            let mut state = shared.state.lock().unwrap();
            if kind == "crowded" && state.active > numbers[1] {
                drop(state);
                send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")?;
                return Ok(After::Next);
            }
            if kind == "counter" {
                let is_full = |state: &mut State| state.served >= numbers[1];
                state = shared.changed.wait_timeout_while(state, PATIENCE, is_full).unwrap().0;
            }
            state.served += 1;
            drop(state);
            thread::park_timeout(time);
            shared.state.lock().unwrap().served -= 1;
            shared.changed.notify_all();
            send_body(stream, b"done\n")?;
        }
        // Reads until the other side leaves.
        "never" => {
            io::copy(reader, &mut io::sink())?;
            return Ok(After::Close);
        }
        // The head and a part of the body, then nothing.
        "stall" => {
            send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nsome")?;
            io::copy(reader, &mut io::sink())?;
            return Ok(After::Close);
        }
        // Answers when the test says so.
        "hold" => {
            let state = shared.state.lock().unwrap();
            let (state, timeout) =
                shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.released).unwrap();
            assert!(!timeout.timed_out());
            drop(state);
            send_body(stream, b"held\n")?;
        }
        // /slow/LENGTH: half of the body, then, when the test has said so and a while has passed, the rest.
        "slow" => {
            let body = body(number() as u64, number());
            let (first, second) = body.split_at(number() / 2);
            send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", number()))?;
            stream.write_all(first)?;
            let state = shared.state.lock().unwrap();
            drop(shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.released).unwrap());
            thread::park_timeout(Duration::from_millis(600));
            stream.write_all(second)?;
        }
        // /slowly/LENGTH: the first half, of a file with a tag; when the test has said so, the rest, later for who came later.
        "slowly" => {
            let body = body(number() as u64, number());
            let (first, second) = body.split_at(number() / 2);
            send(&format!("HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {}\r\n\r\n", number()))?;
            stream.write_all(first)?;
            let state = shared.state.lock().unwrap();
            drop(shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.released).unwrap());
            thread::park_timeout(Duration::from_millis(500 * (1 + earlier as u64)));
            stream.write_all(second)?;
        }
        // An error whose page never ends.
        "stalled-error" => {
            send("HTTP/1.1 500 Sorry\r\nContent-Length: 10000\r\n\r\nsorry")?;
            io::copy(reader, &mut io::sink())?;
            return Ok(After::Close);
        }
        "close" => return Ok(After::Close),
        "garbage" => {
            send("220 mail.example.org ESMTP\r\n\r\n")?;
            return Ok(After::Close);
        }
        "bad-chunk" => {
            send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n")?;
            return Ok(After::Close);
        }
        // A chunked body whose last chunk never comes.
        "cut-chunks" => {
            send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
            return Ok(After::Close);
        }
        "chunks" => send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        )?,
        "loop" => send(&format!(
            "HTTP/1.1 302 Found\r\nLocation: /loop/{}\r\nContent-Length: 0\r\n\r\n",
            number() + 1
        ))?,
        // /redirect/PATH
        "redirect" => send(&format!("HTTP/1.1 301 Moved\r\nLocation: /{rest}\r\nContent-Length: 0\r\n\r\n"))?,
        // An absolute redirect: the rest is a host and port, and a path there.
        "redirect-to" => {
            send(&format!("HTTP/1.1 302 Found\r\nLocation: http://{rest}\r\nContent-Length: 0\r\n\r\n"))?
        }
        "no-content" => send("HTTP/1.1 204 No Content\r\n\r\n")?,
        // /cuts/LENGTH/BYTES/TIMES: each of the first answers ends after so many bytes.
        "cuts" => {
            let numbers: Vec<usize> = rest.split('/').map(|text| text.parse().unwrap()).collect();
            let most = if earlier < numbers[2] { numbers[1] } else { usize::MAX };
            return send_part(stream, request, &body(number() as u64, number()), "\"v1\"", most);
        }
        // /changes/LENGTH/HOW: the first answer is cut; meanwhile the file becomes another.
        "changes" => {
            let (old, new) = (body(1, number()), body(2, number()));
            if earlier == 0 {
                return send_part(stream, request, &old, "\"v1\"", number() / 2);
            }
            match (rest.rsplit('/').next(), request.range()) {
                // It says so.
                (Some("honestly"), _) => return send_part(stream, request, &new, "\"v2\"", usize::MAX),
                // It does not.
                (Some("silently"), Some(_)) => return send_part(stream, request, &new, "\"v1\"", usize::MAX),
                // It does not, and the seam is the same.
                (Some("before"), _) => {
                    let mut file = old;
                    file[0] ^= 1;
                    return send_part(stream, request, &file, "\"v1\"", usize::MAX);
                }
                // It cannot do what it promises.
                (Some("elsewhere"), Some(from)) => send(&format!(
                    "HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Range: bytes {}-{}/{}\r\nContent-Length: 5\r\n\r\nwrong",
                    from + 1,
                    from + 5,
                    number()
                ))?,
                (Some("unsaid"), Some(_)) => {
                    send("HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Length: 5\r\n\r\nwrong")?;
                }
                (Some("shorter"), Some(_)) => {
                    send("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n")?;
                }
                _ => return send_part(stream, request, &new, "\"v2\"", usize::MAX),
            }
        }
        // /capped/LENGTH: breaks off first, and of a range sends only so much as it likes, of a length that it does not tell.
        "capped" => {
            let file = body(number() as u64, number());
            match request.range() {
                Some(from) => {
                    let part = &file[from..number() - 100];
                    send(&format!(
                        "HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Range: bytes {from}-{}/*\r\nContent-Length: {}\r\n\r\n",
                        number() - 101,
                        part.len()
                    ))?;
                    stream.write_all(part)?;
                }
                None => {
                    send(&format!(
                        "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                        number()
                    ))?;
                    if earlier == 0 {
                        stream.write_all(&file[..number() / 2])?;
                        return Ok(After::Close);
                    }
                    stream.write_all(&file)?;
                    stream.write_all(b"\r\n0\r\n\r\n")?;
                }
            }
        }
        // /stalls/LENGTH: the first answer stops in the middle and stays silent.
        "stalls" => {
            let file = body(number() as u64, number());
            let most = if earlier == 0 { number() / 2 } else { usize::MAX };
            if let After::Close = send_part(stream, request, &file, "\"v1\"", most)? {
                io::copy(reader, &mut io::sink())?;
                return Ok(After::Close);
            }
        }
        // A byte now and then.
        "trickle" => {
            send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
            for _ in 0..1000 {
                stream.write_all(b"x")?;
                thread::park_timeout(Duration::from_millis(20));
            }
        }
        // /busy/CODE/TIMES/AFTER: first refuses, with Retry-After unless it is empty.
        "busy" => {
            let words: Vec<&str> = rest.split('/').collect();
            if earlier < words[1].parse().unwrap() {
                let after = match words[2] {
                    "" => String::new(),
                    after => format!("Retry-After: {}\r\n", after.replace('_', " ")),
                };
                send(&format!("HTTP/1.1 {} Busy\r\n{after}Content-Length: 0\r\n\r\n", words[0]))?;
            } else {
                send_body(stream, b"at last\n")?;
            }
        }
        // /header/NAME=VALUE/...: the body `abc` with a header of the test's.
        "header" => send(&format!(
            "HTTP/1.1 200 OK\r\n{}\r\nContent-Length: 3\r\n\r\nabc",
            rest.replace("_", " ").replacen('~', ": ", 1)
        ))?,
        // Asks for a digest, and looks at what comes only so far as to tell a right answer from a wrong one.
        "digest" => {
            let sent = request.header("authorization").unwrap_or_default();
            let field = |name: &str| {
                let rest = sent.split_once(&format!("{name}=")).map(|(_, rest)| rest)?;
                Some(rest.trim_start_matches('"').split(['"', ',']).next()?.to_owned())
            };
            match (field("response"), field("nonce")) {
                (Some(response), Some(nonce)) if response == digest_response(&nonce) => {
                    send_body(stream, b"in\n")?
                }
                _ => send(
                    "HTTP/1.1 401 Who\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n0\"\r\nContent-Length: 0\r\n\r\n",
                )?,
            }
        }
        // `plain text` in gzip.
        "coded" => {
            let mut coded = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            coded.write_all(b"plain text\n")?;
            let coded = coded.finish()?;
            send(&format!(
                "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                coded.len()
            ))?;
            stream.write_all(&coded)?;
        }
        // A page that wants proof of a person, with 200.
        "challenge" => send_body(stream, b"<!DOCTYPE html><title>Are you a robot?</title>")?,
        // A file of the year 2020.
        "dated" => {
            let date = "Wed, 01 Jan 2020 00:00:00 GMT";
            match request.header("if-modified-since") == Some(date) {
                true => send("HTTP/1.1 304 Not Modified\r\n\r\n")?,
                false => send(&format!(
                    "HTTP/1.1 200 OK\r\nLast-Modified: {date}\r\nContent-Length: 3\r\n\r\nnew"
                ))?,
            }
        }
        // Says gzip and is: a file is fetched as it is, not unpacked.
        "gzip" => send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz")?,
        _ => send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
    }
    Ok(After::Next)
}

/// The answer of `me:hunter2` to a challenge of RFC 2069's kind, for `/digest`.
fn digest_response(nonce: &str) -> String {
    use md5::{Digest, Md5};
    let hash = |text: &str| -> String {
        Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    hash(&format!("{}:{nonce}:{}", hash("me:r:hunter2"), hash("GET:/digest")))
}

fn send_body(mut stream: &TcpStream, body: &[u8]) -> io::Result<()> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer)
}

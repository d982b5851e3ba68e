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
}

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Nasty {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&served);
                thread::Builder::new()
                    .stack_size(128 * 1024)
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
        {
            let mut state = shared.state.lock().unwrap();
            state.requests.push(path.clone());
            state.heads.push(head);
            state.active += 1;
            state.peak = state.peak.max(state.active);
        }
        shared.changed.notify_all();
        let result = answer(&stream, &mut reader, &path, shared);
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

fn answer(mut stream: &TcpStream, reader: &mut impl Read, path: &str, shared: &Shared) -> io::Result<After> {
    let (kind, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let number = || rest.split('/').next().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let mut send = |text: &str| stream.write_all(text.as_bytes());
    match kind {
        // /ok/LENGTH[/NAME]
        "ok" => send_body(stream, &body(number() as u64, number()))?,
        // /status/CODE
        "status" => send(&format!("HTTP/1.1 {} Whatever\r\nContent-Length: 6\r\n\r\nsorry\n", number()))?,
        // /half/LENGTH: an early end in good manners. /reset/LENGTH: in bad ones.
        "half" | "reset" => {
            send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", number()))?;
            stream.write_all(&body(number() as u64, number() / 2))?;
            return Ok(if kind == "half" { After::Close } else { After::Reset });
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
        // Says gzip and is: a file is fetched as it is, not unpacked.
        "gzip" => send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz")?,
        _ => send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
    }
    Ok(After::Next)
}

fn send_body(mut stream: &TcpStream, body: &[u8]) -> io::Result<()> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer)
}

//! A server whose answers the test itself writes, byte by byte, one for each request.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What follows an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next request of the connection.
    GoesOn,
    Closes,
    /// Nothing, as long as the other side stays.
    Stalls,
}

/// The bytes of an answer, and what follows.
pub type Script = (Vec<u8>, Then);

/// A running server; it ends with the test's process.
pub struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// `answer` gets the number of the request, from 0, and its head.
    pub fn start(answer: impl Fn(usize, &str) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (served, answer) = (Arc::clone(&heads), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (heads, answer) = (Arc::clone(&served), Arc::clone(&answer));
                // An end is the other side's leaving, which many tests bring about.
                thread::spawn(move || drop(serve(stream, &heads, &*answer)));
            }
        });
        Scripted { address, heads }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The request heads so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    heads: &Mutex<Vec<String>>,
    answer: &dyn Fn(usize, &str) -> Script,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let number = {
            let mut heads = heads.lock().unwrap();
            heads.push(head.clone());
            heads.len() - 1
        };
        let (bytes, then) = answer(number, &head);
        stream.write_all(&bytes)?;
        match then {
            Then::GoesOn => {}
            Then::Closes => return Ok(()),
            Then::Stalls => return reader.read_line(&mut head).map(drop),
        }
    }
}

/// An answer with these lines in its head; the length is told unless they tell one.
pub fn answer(status: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n");
    for line in lines {
        bytes += &format!("{line}\r\n");
    }
    if !lines.iter().any(|line| line.starts_with("Content-Length")) {
        bytes += &format!("Content-Length: {}\r\n", body.len());
    }
    bytes += "\r\n";
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Where the part begins that a request asks for.
pub fn asked_from(head: &str) -> Option<usize> {
    let line = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned))?;
    line.split('-').next()?.parse().ok()
}

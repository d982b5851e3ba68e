//! A server whose every byte the test decides, on threads of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A listening server; each connection is handled by the closure, in a thread of its own.
///
/// The threads end with their connections, or with the process: nothing waits for them.
pub struct Server {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// `handle` is given the connection and its number, from 0.
    pub fn start(handle: impl Fn(Connection, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let handle = Arc::new(handle);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let number = count.fetch_add(1, Ordering::SeqCst);
                let handle = handle.clone();
                thread::spawn(move || handle(Connection { stream }, number));
            }
        });
        Self { port, accepted }
    }

    /// Answers every request with these bytes, and keeps the connection.
    pub fn always(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut connection, _| {
            while connection.read_request().is_some() {
                connection.send(&answer);
            }
        })
    }

    /// Answers every request with what `answer` makes of its first line.
    pub fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |mut connection, _| {
            while let Some(request) = connection.read_request() {
                connection.send(&answer(&request));
            }
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// How many connections have come.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// A request as it was read.
#[derive(Debug)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// The value of a header, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Waits until the client's kernel has all that was sent: a close with something unread is a reset, with which the kernel
/// drops what has not left yet.
pub fn wait_until_sent(stream: &TcpStream) {
    let SocketAddr::V4(own) = stream.local_addr().unwrap() else { panic!("no IPv4") };
    // The connection may be gone: nothing of it is left, then.
    let Ok(SocketAddr::V4(peer)) = stream.peer_addr() else { return };
    // As the kernel prints an address: a number in the machine's order, and the port.
    let hex =
        |addr: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_ne_bytes(addr.ip().octets()), addr.port());
    let ends = format!(" {} {} ", hex(own), hex(peer));
    loop {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let Some(line) = table.lines().find(|line| line.contains(&ends)) else { return };
        // sl, the ends, the state, then "tx_queue:rx_queue".
        if line.split_whitespace().nth(4).is_some_and(|queues| queues.starts_with("00000000:")) {
            return;
        }
        thread::yield_now();
    }
}

/// One accepted connection.
pub struct Connection {
    pub stream: TcpStream,
}

impl Connection {
    /// Reads one request with its body; `None` when the client has closed.
    pub fn read_request(&mut self) -> Option<Request> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        let mut request = Request { head: String::from_utf8(head).unwrap(), body: Vec::new() };
        if let Some(length) = request.header("content-length") {
            request.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut request.body).ok()?;
        } else if request.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(self.read_line()?.trim(), 16).unwrap();
                let mut chunk = vec![0; size + 2];
                self.stream.read_exact(&mut chunk).ok()?;
                chunk.truncate(size);
                if size == 0 {
                    break;
                }
                request.body.extend(chunk);
            }
        }
        Some(request)
    }

    fn read_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            if self.stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            line.push(byte[0]);
        }
        String::from_utf8(line).ok()
    }

    /// Sends bytes; says whether the client still takes them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Waits until the client closes.
    pub fn wait_closed(mut self) {
        let mut rest = [0; 4096];
        while self.stream.read(&mut rest).is_ok_and(|length| length > 0) {}
    }

    /// Ends the connection with a reset instead of a proper end.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// Closes our side only.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// An answer with this body and its length.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

//! A server of one large file that takes ranges, in its own way. Blocking, one thread per connection.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::body;

/// How it answers requests for ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Well,
    /// With the whole, though it says that it takes ranges.
    NotAtAll,
    /// After the first request the file is another one, and it says so.
    Changed,
    /// The same, and it does not say so.
    Silently,
    /// With a range that begins a byte further on.
    Elsewhere,
    /// With the length of another file.
    Longer,
    /// Without the ETag.
    Untagged,
    /// Only one answer at a time; the others are 503.
    OneAtATime,
    /// Only one answer at a time; the others wait.
    InTurn,
    /// The first time it ends in the middle.
    Cut,
    /// The first time it stops in the middle and stays silent.
    Stalls,
    /// Ranges are never to be had.
    Never,
}

/// A running server; it ends with the test's process.
pub struct Ranges {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    how: How,
    file: Vec<u8>,
    state: Mutex<State>,
    changed: Condvar,
    turn: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// First byte and the one behind the last of each request; `None` for the whole.
    asked: Vec<Option<(usize, usize)>>,
    active: usize,
    peak: usize,
}

/// What answers do that misbehave once.
const MIDDLE: usize = 100_000;

impl Ranges {
    /// Serves a file of so many bytes.
    pub fn start(how: How, length: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (state, changed, turn) = (Mutex::default(), Condvar::new(), Mutex::default());
        let shared = Arc::new(Shared { how, file: body(1, length), state, changed, turn });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&served);
                // An error is the other side's leaving.
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Ranges { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/file.bin", self.address)
    }

    pub fn file(&self) -> &[u8] {
        &self.shared.file
    }

    /// What was asked for so far.
    pub fn asked(&self) -> Vec<Option<(usize, usize)>> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    /// The most answers under way at a time.
    pub fn peak(&self) -> usize {
        self.shared.state.lock().unwrap().peak
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let field = |name: &str| {
            let found = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            Some(found.split_once(": ").unwrap().1.to_owned())
        };
        let range = field("range:").map(|range| {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            (first.parse().unwrap(), last.parse::<usize>().map_or(shared.file.len(), |last| last + 1))
        });
        let mut state = shared.state.lock().unwrap();
        state.asked.push(range);
        state.active += 1;
        state.peak = state.peak.max(state.active);
        let (earlier, active) = (state.asked.len() - 1, state.active);
        drop(state);
        shared.changed.notify_all();
        let goes_on = answer(stream, shared, range, field("if-range:"), earlier, active);
        shared.state.lock().unwrap().active -= 1;
        if !goes_on? {
            return Ok(());
        }
    }
}

/// Answers; says whether the connection serves more.
fn answer(
    mut stream: &TcpStream,
    shared: &Shared,
    range: Option<(usize, usize)>,
    condition: Option<String>,
    earlier: usize,
    active: usize,
) -> io::Result<bool> {
    let Shared { how, file, .. } = shared;
    let _turn = (*how == How::InTurn).then(|| shared.turn.lock().unwrap());
    let another;
    let (file, tag) = match how {
        How::Changed | How::Silently if earlier > 0 => {
            another = body(2, file.len());
            (&another, if *how == How::Changed { "\"v2\"" } else { "\"v1\"" })
        }
        _ => (file, "\"v1\""),
    };
    if matches!(how, How::OneAtATime) && active > 1 || matches!(how, How::Never) && range.is_some() {
        stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(true);
    }
    let length = file.len();
    let range = range.filter(|_| condition.as_deref() == Some(tag) && *how != How::NotAtAll);
    let (from, to) = range.unwrap_or((0, length));
    let from = if range.is_some() && *how == How::Elsewhere { from + 1 } else { from };
    let mut head = match range {
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
        Some(_) => {
            let told = length + usize::from(*how == How::Longer);
            format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {from}-{}/{told}\r\n", to - 1)
        }
    };
    if range.is_none() || *how != How::Untagged {
        head.push_str(&format!("ETag: {tag}\r\n"));
    }
    let rest = &file[from..to];
    head.push_str(&format!("Accept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n", rest.len()));
    stream.write_all(head.as_bytes())?;
    let is_odd = earlier == 1 && range.is_some();
    if range.is_none() && earlier == 0 && *how != How::Never {
        // The first answer is slow until the others have come, so that they come.
        stream.write_all(&rest[..MIDDLE])?;
        let state = shared.state.lock().unwrap();
        let alone = |state: &mut State| state.asked.len() < 2;
        drop(shared.changed.wait_timeout_while(state, Duration::from_secs(5), alone).unwrap());
        stream.write_all(&rest[MIDDLE..])?;
        return Ok(true);
    }
    match how {
        How::Cut if is_odd => {
            stream.write_all(&rest[..MIDDLE])?;
            Ok(false)
        }
        How::Stalls if is_odd => {
            stream.write_all(&rest[..MIDDLE])?;
            io::copy(&mut &*stream, &mut io::sink())?;
            Ok(false)
        }
        _ => stream.write_all(rest).map(|()| true),
    }
}

//! The servers: who is asked, how often, and when the next one is.
//!
//! ```text
//!   0 s      1 s      2 s          4 s          6 s                       10 s
//!   │ first  │ second │ first      │ second     │ first …                 │ given up
//!   └────────┴────────┴────────────┴────────────┴─────────────────────────┘
//! ```
//!
//! A server that says that it cannot help is not asked again about this name; the next one is, at once. One that is silent is asked
//! again over the same socket, and its late answer counts. Each question has a socket of its own, connected to the server: the
//! system chooses a port that nobody can guess, passes on only what comes from the server's own address, and tells
//! when no one listens there.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use aioxide::io::{AsyncReadExt, AsyncWriteExt};
use aioxide::net::{TcpStream, UdpSocket};
use aioxide::sync::{Permit, Semaphore};
use aioxide::time::{Instant, sleep_until, timeout_at};

use super::question::{Answer, Question, Reading, Sent};

/// How long a server is waited for, each time that all are asked in turn.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(4)];
/// How long a look-up may take in all, from when its turn has come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A server that was silent so often, and said nothing in between, is asked last for a while.
const SILENCES: u32 = 3;
const REST: Duration = Duration::from_secs(10);
/// So many datagrams that are no answers make a socket suspicious: somebody may be guessing.
const MAX_STRAYS: u32 = 32;

/// Servers in the order of the user.
pub(super) struct Servers {
    list: Vec<Server>,
    questions: Semaphore,
    /// A datagram is read into it and looked at before anybody else can: it is never borrowed across an await.
    datagram: RefCell<Vec<u8>>,
}

struct Server {
    address: SocketAddr,
    silences: Cell<u32>,
    /// It is asked last until then.
    rests: Cell<Option<Instant>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is about the servers or the network: another time may do better.
    Servers(io::ErrorKind, String),
    /// It is about this process: no descriptor is left.
    Here(io::Error),
}

impl fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.list.iter().map(|server| server.address)).finish()
    }
}

impl Servers {
    /// `questions`: so many at a time, at most.
    pub(super) fn new(addresses: &[SocketAddr], questions: usize) -> Self {
        let server = |&address| Server { address, silences: Cell::new(0), rests: Cell::new(None) };
        Self {
            list: addresses.iter().map(server).collect(),
            questions: Semaphore::new(questions),
            datagram: RefCell::new(vec![0; 4096]),
        }
    }

    /// Waits until one more question may be asked.
    pub(super) async fn turn(&self) -> Permit<'_> {
        self.questions.acquire().await
    }

    /// Asks, until there is an answer, or no hope of one before `until`.
    ///
    /// `turn` is given back at the first silence: names whose servers are dead hold up no other.
    pub(super) async fn ask(
        &self,
        question: &Question,
        until: Instant,
        turn: &mut Option<Permit<'_>>,
    ) -> Result<Answer, Trouble> {
        let mut asking = Asking {
            servers: self,
            question,
            until,
            calls: Vec::new(),
            failed: vec![false; self.list.len()],
            trouble: None,
        };
        for pause in PAUSES {
            for at in self.in_order() {
                if asking.failed[at] {
                    continue;
                }
                let end = Instant::now() + pause;
                if let Some(answer) = asking.turn(at, end.min(until)).await? {
                    return Ok(answer);
                }
                if !asking.failed[at] {
                    drop(turn.take());
                }
                if Instant::now() >= until {
                    return Err(asking.trouble());
                }
            }
            if asking.failed.iter().all(|&failed| failed) {
                break;
            }
        }
        Err(asking.trouble())
    }

    /// Those that have answered of late before the others.
    fn in_order(&self) -> Vec<usize> {
        let now = Instant::now();
        let (resting, mut order): (Vec<usize>, Vec<usize>) =
            (0..self.list.len()).partition(|&at| self.list[at].rests(now));
        order.extend(resting);
        order
    }
}

impl Server {
    /// Whether the others are asked first. When its rest is over, one question finds out whether it is back, and its rest goes on for
    /// the others, which do not wait for it.
    fn rests(&self, now: Instant) -> bool {
        let Some(end) = self.rests.get() else { return false };
        if end <= now {
            self.rests.set(Some(now + REST));
        }
        now < end
    }

    fn has_spoken(&self) {
        self.silences.set(0);
        self.rests.set(None);
    }

    fn was_silent(&self) {
        self.silences.set(self.silences.get().saturating_add(1));
        if self.silences.get() >= SILENCES {
            self.rests.set(Some(Instant::now() + REST));
        }
    }
}

/// One question on its way.
struct Asking<'a> {
    servers: &'a Servers,
    question: &'a Question,
    until: Instant,
    calls: Vec<Call>,
    /// The servers that cannot help.
    failed: Vec<bool>,
    trouble: Option<Trouble>,
}

/// A socket on which a server was asked.
struct Call {
    at: usize,
    socket: UdpSocket,
    sent: Sent,
    strays: u32,
}

/// What was heard: on which call, and what; `None` when the time was up.
type Heard = Option<(usize, io::Result<Reading>)>;

impl Asking<'_> {
    /// Asks a server, and listens to all that were asked, until its time is up or it has failed.
    async fn turn(&mut self, at: usize, until: Instant) -> Result<Option<Answer>, Trouble> {
        if let Err(error) = self.send(at).await {
            self.fail(at, error)?;
            return Ok(None);
        }
        loop {
            let Some((place, heard)) = self.hear(until).await else {
                self.servers.list[at].was_silent();
                return Ok(None);
            };
            let from = self.calls[place].at;
            match heard {
                Ok(Reading::Stray) => self.stray(place),
                Ok(reading) => {
                    self.servers.list[from].has_spoken();
                    if let Some(answer) = self.weigh(place, reading).await? {
                        return Ok(Some(answer));
                    }
                }
                Err(error) => self.fail(from, error)?,
            }
            if !self.calls.iter().any(|call| call.at == at) {
                return Ok(None);
            }
        }
    }

    /// What follows from a server's answer.
    async fn weigh(&mut self, place: usize, reading: Reading) -> Result<Option<Answer>, Trouble> {
        let from = self.calls[place].at;
        match reading {
            Reading::Answer(answer) => return Ok(Some(answer)),
            Reading::Useless(text) => self.useless(from, &text),
            Reading::WithoutEdns => {
                // Never twice: without it, a server is not understood to ask for that.
                let again = self.question.send(false).map_err(unsayable)?;
                let call = &mut self.calls[place];
                call.sent = again;
                if let Err(error) = call.socket.send(&call.sent.bytes).await {
                    self.fail(from, error)?;
                }
            }
            Reading::Truncated => {
                let has_edns = self.calls[place].sent.has_edns;
                match self.over_tcp(from, has_edns).await {
                    Ok(Reading::Answer(answer)) => return Ok(Some(answer)),
                    Ok(Reading::Useless(text)) => self.useless(from, &text),
                    Ok(_) => self.useless(from, "over TCP, something that is no answer to the question"),
                    Err(error) => self.fail(from, error)?,
                }
            }
            Reading::Stray => {}
        }
        Ok(None)
    }

    /// Sends the question, over the socket of before if there is one.
    async fn send(&mut self, at: usize) -> io::Result<()> {
        if let Some(call) = self.calls.iter().find(|call| call.at == at) {
            call.socket.send(&call.sent.bytes).await?;
            return Ok(());
        }
        let address = self.servers.list[at].address;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        let sent = self.question.send(true).map_err(io::Error::other)?;
        socket.send(&sent.bytes).await?;
        self.calls.push(Call { at, socket, sent, strays: 0 });
        Ok(())
    }

    async fn hear(&self, until: Instant) -> Heard {
        let mut timer = pin!(sleep_until(until));
        poll_fn(|cx| {
            let mut datagram = self.servers.datagram.borrow_mut();
            for (place, call) in self.calls.iter().enumerate() {
                let heard = match call.socket.poll_recv_from(cx, &mut datagram) {
                    Poll::Ready(Ok((length, _))) => Ok(self.question.read(&call.sent, &datagram[..length])),
                    Poll::Ready(Err(error)) => Err(error),
                    Poll::Pending => continue,
                };
                return Poll::Ready(Some((place, heard)));
            }
            drop(datagram);
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// Counts a datagram that is no answer. Past a number of them, the server is asked anew, from another port.
    fn stray(&mut self, place: usize) {
        let call = &mut self.calls[place];
        call.strays += 1;
        if call.strays >= MAX_STRAYS {
            let at = self.calls.remove(place).at;
            let address = self.servers.list[at].address;
            let text = format!("{address} sends answers to other questions only");
            self.trouble.get_or_insert(Trouble::Servers(io::ErrorKind::InvalidData, text));
        }
    }

    /// Asks over TCP, where an answer may have 64 KiB.
    async fn over_tcp(&self, at: usize, has_edns: bool) -> io::Result<Reading> {
        let sent = self.question.send(has_edns).map_err(io::Error::other)?;
        let asked = timeout_at(self.until, async {
            let mut stream = TcpStream::connect(self.servers.list[at].address).await?;
            let length = u16::try_from(sent.bytes.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &sent.bytes].concat()).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Ok(self.question.read(&sent, &answer))
        });
        asked.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn useless(&mut self, at: usize, text: &str) {
        self.give_up(at);
        let text = format!("{} answers: {text}", self.servers.list[at].address);
        self.trouble = Some(Trouble::Servers(io::ErrorKind::Other, text));
    }

    /// A server that cannot be reached is not asked again; where this process has no descriptor left, none is.
    fn fail(&mut self, at: usize, error: io::Error) -> Result<(), Trouble> {
        use rustix::io::Errno;
        if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) {
            return Err(Trouble::Here(error));
        }
        self.give_up(at);
        let server = &self.servers.list[at];
        server.rests.set(Some(Instant::now() + REST));
        let text = format!("{} cannot be asked: {error}", server.address);
        self.trouble = Some(Trouble::Servers(error.kind(), text));
        Ok(())
    }

    fn give_up(&mut self, at: usize) {
        self.failed[at] = true;
        self.calls.retain(|call| call.at != at);
    }

    fn trouble(&mut self) -> Trouble {
        self.trouble.take().unwrap_or_else(|| {
            let names: Vec<String> =
                self.servers.list.iter().map(|server| server.address.to_string()).collect();
            let text = format!("no answer from {} within {} s", names.join(", "), PATIENCE.as_secs());
            Trouble::Servers(io::ErrorKind::TimedOut, text)
        })
    }
}

fn unsayable(error: hickory_proto::ProtoError) -> Trouble {
    Trouble::Servers(io::ErrorKind::InvalidInput, error.to_string())
}

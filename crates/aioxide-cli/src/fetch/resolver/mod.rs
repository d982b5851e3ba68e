//! `--resolver`: names of a list of any length, looked up on the loop and not by the system's resolver.
//!
//! ```text
//!   host ──► cache ──► hosts ──► name ─┬─► refused, with the reason
//!              ▲      /etc/hosts       ├─► the machine itself (localhost)
//!              │                       ├─► the system (one label, .local)
//!              │                       └─► servers ◄──► question    A and AAAA, from alias to alias
//!              └──────── answer, for as long as it says ◄──┘
//! ```
//!
//! Several who want the same name at once are one look-up: that is the session's doing, whose own cache keeps nothing here.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use aioxide::net::dns;
use aioxide::time::{Instant, sleep};
use futures_util::future::{Either, select};
use hickory_proto::rr::{Name, RecordType};

mod cache;
mod choice;
mod hosts;
mod name;
mod question;
mod servers;
#[cfg(test)]
mod tests;

use cache::{Cache, Known};
pub(crate) use choice::Choice;
use hosts::Hosts;
use name::Way;
use question::{Answer, MAX_ALIASES, Question, too_many_aliases};
use servers::{PATIENCE, Servers, Trouble};

/// Questions at a time, those that have been without an answer for a second aside: 100 ms for each are 2 560 a second. A download
/// looks up no more than one name, so their sockets are bounded by the number of downloads.
const QUESTIONS: usize = 256;
/// Names that are kept: some 250 bytes each.
const NAMES: usize = 16_384;
/// The longest that addresses are kept, and that a name is taken not to exist, whatever the servers say.
const LONGEST: Duration = Duration::from_secs(3600);
const LONGEST_NOTHING: Duration = Duration::from_secs(300);
/// How long it is kept that the servers could not help (RFC 9520).
const TROUBLE: Duration = Duration::from_secs(1);
/// How long what may be half of the addresses is kept, and what the system says, which tells no time.
const UNSURE: Duration = Duration::from_secs(10);
/// How much longer the other family is waited for once there are addresses of one.
const OTHER_FAMILY: Duration = Duration::from_millis(250);

/// Looks names up. Cloning it shares what it knows.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    servers: Servers,
    cache: RefCell<Cache>,
    hosts: RefCell<Hosts>,
    families: Families,
}

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Families {
    Both,
    /// IPv6 only where there is no IPv4: from here, no other machine can be reached by it.
    FourFirst,
}

/// The addresses of one family or of both.
#[derive(Debug)]
struct Found {
    addresses: Vec<IpAddr>,
    time: Duration,
}

/// Why there are none.
#[derive(Debug)]
enum Failure {
    /// The name does not exist, or has no address.
    Nothing {
        exists: bool,
        time: Duration,
    },
    Trouble(Trouble),
}

impl Resolver {
    /// One that asks the servers chosen; `None`: the system is to be asked.
    ///
    /// # Errors
    /// The file that names the servers cannot be read, or names none.
    pub(crate) fn open(choice: &Choice) -> Result<Option<Self>, String> {
        let hosts = Path::new("/etc/hosts").to_owned();
        let families = if reaches_ipv6() { Families::Both } else { Families::FourFirst };
        Ok(choice.servers()?.map(|servers| Self::new(&servers, hosts, families, QUESTIONS)))
    }

    fn new(servers: &[SocketAddr], hosts: PathBuf, families: Families, questions: usize) -> Self {
        let shared = Shared {
            servers: Servers::new(servers, questions),
            cache: RefCell::new(Cache::new(NAMES)),
            hosts: RefCell::new(Hosts::new(hosts)),
            families,
        };
        Self { shared: Rc::new(shared) }
    }
}

impl aioxide_http::Resolver for Resolver {
    fn resolve(&self, host: &str, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>> {
        let (shared, host) = (Rc::clone(&self.shared), host.to_ascii_lowercase());
        Box::pin(async move {
            let found = shared.find(&host).await?;
            Ok(found.iter().map(|&address| SocketAddr::new(address, port)).collect())
        })
    }
}

impl Shared {
    /// The addresses of a lower-case name, the best first.
    async fn find(&self, host: &str) -> io::Result<Rc<[IpAddr]>> {
        let known = self.cache.borrow().get(host);
        match known {
            Some(Known::Addresses(addresses)) => return Ok(addresses),
            Some(Known::Failed(kind, text)) => return Err(io::Error::new(kind, &*text)),
            None => {}
        }
        let listed = self.hosts.borrow_mut().find(host);
        if let Some(addresses) = listed {
            return Ok(addresses.into());
        }
        let refused =
            |reason| io::Error::new(io::ErrorKind::NotFound, format!("cannot resolve {host}: {reason}"));
        match Way::of(host).map_err(refused)? {
            Way::Loopback => Ok([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].into()),
            Way::System => {
                let found = dns::lookup(host, 0).await?;
                Ok(self.keep(host, found.iter().map(SocketAddr::ip).collect(), UNSURE))
            }
            Way::Servers(name) => match self.ask(name).await {
                Ok(Found { addresses, time }) => Ok(self.keep(host, addresses, time.min(LONGEST))),
                Err(failure) => Err(self.keep_failure(host, failure)),
            },
        }
    }

    fn keep(&self, host: &str, addresses: Vec<IpAddr>, time: Duration) -> Rc<[IpAddr]> {
        let addresses: Rc<[IpAddr]> = addresses.into();
        self.cache.borrow_mut().keep(host, Known::Addresses(Rc::clone(&addresses)), time);
        addresses
    }

    fn keep_failure(&self, host: &str, failure: Failure) -> io::Error {
        let (kind, text, time) = match failure {
            Failure::Nothing { exists: true, time } => {
                (io::ErrorKind::NotFound, "it has no address".to_owned(), time)
            }
            Failure::Nothing { exists: false, time } => {
                (io::ErrorKind::NotFound, "the name does not exist (NXDOMAIN)".to_owned(), time)
            }
            Failure::Trouble(Trouble::Servers(kind, text)) => (kind, text, TROUBLE),
            // As it is: whoever waits for a descriptor knows it by its number.
            Failure::Trouble(Trouble::Here(error)) => return error,
        };
        let text = format!("cannot resolve {host}: {text}");
        let known = Known::Failed(kind, text.as_str().into());
        self.cache.borrow_mut().keep(host, known, time.min(LONGEST_NOTHING));
        io::Error::new(kind, text)
    }

    /// Asks for both families as it makes sense here.
    async fn ask(&self, name: Name) -> Result<Found, Failure> {
        let six = Question::new(name.clone(), RecordType::AAAA);
        let four = Question::new(name, RecordType::A);
        if self.families == Families::FourFirst {
            return match self.family(four).await {
                Err(Failure::Nothing { exists: true, time }) => {
                    both(self.family(six).await, Err(Failure::Nothing { exists: true, time }))
                }
                ended => ended,
            };
        }
        let (six, four) = (pin!(self.family(six)), pin!(self.family(four)));
        match select(six, four).await {
            Either::Left((six, four)) => {
                let four = other(&six, four).await;
                both(six, four)
            }
            Either::Right((four, six)) => {
                let six = other(&four, six).await;
                both(six, four)
            }
        }
    }

    /// Asks one question, and those that its aliases lead to.
    async fn family(&self, mut question: Question) -> Result<Found, Failure> {
        let mut turn = Some(self.servers.turn().await);
        let until = Instant::now() + PATIENCE;
        let (mut passed, mut shortest) = (0, u32::MAX);
        loop {
            match self.servers.ask(&question, until, &mut turn).await.map_err(Failure::Trouble)? {
                Answer::Addresses { addresses, ttl } => {
                    return Ok(Found { addresses, time: seconds(ttl.min(shortest)) });
                }
                Answer::Nothing { exists, ttl } => {
                    // Without a time it is known for this once.
                    let time = ttl.map_or(Duration::ZERO, |ttl| seconds(ttl.min(shortest)));
                    return Err(Failure::Nothing { exists, time });
                }
                Answer::Alias { to, links, ttl } => {
                    passed += links;
                    shortest = shortest.min(ttl);
                    if passed > MAX_ALIASES {
                        let trouble = Trouble::Servers(io::ErrorKind::InvalidData, too_many_aliases());
                        return Err(Failure::Trouble(trouble));
                    }
                    question = question.about(to);
                }
            }
        }
    }
}

/// What the second family comes to once the first one is known: it is not waited for longer than it is worth.
async fn other(
    first: &Result<Found, Failure>,
    second: Pin<&mut impl Future<Output = Result<Found, Failure>>>,
) -> Result<Found, Failure> {
    match first {
        // There is no such name in either family.
        Err(Failure::Nothing { exists: false, time }) => Err(Failure::Nothing { exists: false, time: *time }),
        Err(_) => second.await,
        Ok(_) => match select(second, pin!(sleep(OTHER_FAMILY))).await {
            Either::Left((second, _)) => second,
            Either::Right(_) => Err(Failure::Trouble(Trouble::Servers(
                io::ErrorKind::TimedOut,
                "no answer in time".to_owned(),
            ))),
        },
    }
}

/// Both families as one, IPv6 first.
fn both(six: Result<Found, Failure>, four: Result<Found, Failure>) -> Result<Found, Failure> {
    match (six, four) {
        (Ok(mut six), Ok(four)) => {
            six.addresses.extend(four.addresses);
            Ok(Found { addresses: six.addresses, time: six.time.min(four.time) })
        }
        (Ok(found), Err(Failure::Nothing { .. })) | (Err(Failure::Nothing { .. }), Ok(found)) => Ok(found),
        (Ok(found), Err(Failure::Trouble(_))) | (Err(Failure::Trouble(_)), Ok(found)) => {
            Ok(Found { time: found.time.min(UNSURE), ..found })
        }
        (
            Err(Failure::Nothing { exists, time }),
            Err(Failure::Nothing { exists: other, time: other_time }),
        ) => Err(Failure::Nothing { exists: exists && other, time: time.min(other_time) }),
        (Err(trouble @ Failure::Trouble(_)), Err(_)) | (Err(_), Err(trouble)) => Err(trouble),
    }
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into())
}

/// Whether there is a route to the IPv6 internet. Nothing is sent.
fn reaches_ipv6() -> bool {
    let somewhere = SocketAddr::from((Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1), 53));
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok_and(|socket| socket.connect(somewhere).is_ok())
}

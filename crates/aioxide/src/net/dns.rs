//! Names to addresses: the system's resolver on threads of its own, and a cache with a bounded time to live.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use aioxide_core::clock::saturating_ns;

use super::source::running_loop;

/// How long a cached answer is used by default: aiohttp's `ttl_dns_cache`. (`getaddrinfo` does not tell the name's own.)
pub const DEFAULT_TTL: Duration = Duration::from_secs(10);

/// How many names a cache holds at most.
const MAX_ENTRIES: usize = 1024;

/// The addresses of `host`, each with `port`, in the system's order of preference (RFC 6724); nothing is cached.
///
/// `host`: a name, or a numeric address, IPv6 with or without brackets. asyncio: `loop.getaddrinfo`, for streams.
///
/// # Errors
/// That of the system's resolver, with the name in its text; no address at all is `NotFound`.
///
/// # Cancel safety
/// Dropping the future gives the answer up.
pub async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.is_empty() || bare.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no host name")));
    }
    match aioxide_core::resolver::resolve(bare, port).await {
        Ok(addrs) if addrs.is_empty() => {
            Err(io::Error::new(io::ErrorKind::NotFound, format!("cannot resolve {host}: it has no address")))
        }
        Ok(addrs) => Ok(addrs),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot resolve {host}: {error}"))),
    }
}

/// Answers kept for a while, and one question for all who ask the same at the same time.
///
/// Failures are not kept. It holds at most 1024 names; the oldest answer goes first. Cloning shares the cache.
///
/// # Examples
/// ```
/// use aioxide::net::dns::{DEFAULT_TTL, DnsCache};
/// aioxide::run(async {
///     let cache = DnsCache::new(DEFAULT_TTL);
///     let first = cache.lookup("localhost", 80).await?;
///     assert_eq!(cache.lookup("localhost", 80).await?, first);
///     assert_eq!(cache.questions(), 1);
///     Ok::<(), std::io::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DnsCache {
    shared: Rc<Shared>,
}

struct Shared {
    ttl: Duration,
    names: RefCell<HashMap<String, Entry>>,
    questions: Cell<u64>,
}

enum Entry {
    Known { addrs: Rc<[SocketAddr]>, until_ns: u64 },
    Asked(Rc<Question>),
}

/// A look-up under way: one asks, the others wait for its answer.
#[derive(Default)]
struct Question {
    answer: RefCell<Option<Answer>>,
    waiting: RefCell<Vec<Waker>>,
}

#[derive(Clone)]
enum Answer {
    Found(Rc<[SocketAddr]>),
    Failed(io::ErrorKind, String),
    /// The one who asked was dropped before the answer: somebody else must ask.
    Abandoned,
}

impl fmt::Debug for DnsCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DnsCache")
            .field("ttl", &self.shared.ttl)
            .field("names", &self.len())
            .finish_non_exhaustive()
    }
}

impl DnsCache {
    /// An empty cache whose answers are good for `ttl`; 0 keeps none, but still joins questions asked at the same time.
    pub fn new(ttl: Duration) -> Self {
        Self { shared: Rc::new(Shared { ttl, names: RefCell::default(), questions: Cell::new(0) }) }
    }

    /// How many names are known or being asked for, outdated ones included.
    pub fn len(&self) -> usize {
        self.shared.names.borrow().len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The addresses of `host`, when they are known: nobody is asked.
    pub fn known(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let now_ns = running_loop().ok()?.now_ns();
        match self.shared.names.borrow().get(&*host.to_ascii_lowercase())? {
            Entry::Known { addrs, until_ns } if *until_ns > now_ns => Some(with_port(addrs, port)),
            _ => None,
        }
    }

    /// Waits until the system's resolver would be asked for `host` at once, or somebody has asked.
    ///
    /// The system looks up 64 names at a time, and one whose server is silent takes its place for many seconds. Who limits the
    /// time of a look-up begins to count after this, and looks up in the same poll.
    ///
    /// # Cancel safety
    /// Dropping it gives the place up.
    pub async fn turn(&self, host: &str) {
        let is_outdated = |entry: &Entry| match (entry, running_loop()) {
            (Entry::Known { until_ns, .. }, Ok(event_loop)) => *until_ns <= event_loop.now_ns(),
            _ => false,
        };
        let asks = self.shared.names.borrow().get(&*host.to_ascii_lowercase()).is_none_or(is_outdated);
        if asks {
            aioxide_core::resolver::turn(host).await;
        }
    }

    /// How many questions the system was asked.
    pub fn questions(&self) -> u64 {
        self.shared.questions.get()
    }

    /// Forgets all answers.
    pub fn clear(&self) {
        self.shared.names.borrow_mut().retain(|_, entry| matches!(entry, Entry::Asked(_)));
    }

    /// As [`lookup`], from the cache where it can.
    ///
    /// # Errors
    /// As [`lookup`]; everybody who waited for the same answer gets the same error.
    ///
    /// # Cancel safety
    /// Dropping the future gives the answer up; whoever waits for the same name asks again.
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.lookup_with(host, port, || lookup(host, port)).await
    }

    /// As [`lookup`](Self::lookup), with another resolver than the system's for what is not known; the cache must be
    /// that resolver's alone.
    ///
    /// # Errors
    /// Those of the resolver; everybody who waited for the same answer gets the same error.
    ///
    /// # Cancel safety
    /// As [`lookup`](Self::lookup).
    pub async fn lookup_with<A, F>(&self, host: &str, port: u16, ask: A) -> io::Result<Vec<SocketAddr>>
    where
        A: FnOnce() -> F,
        F: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        let name = host.to_ascii_lowercase();
        loop {
            let question = match self.find(&name)? {
                Found::Known(addrs) => return Ok(with_port(&addrs, port)),
                Found::Asked(question) => question,
                Found::Nothing(asker) => return asker.ask(&name, ask()).await,
            };
            match wait_for_answer(&question).await {
                Answer::Found(addrs) => return Ok(with_port(&addrs, port)),
                Answer::Failed(kind, text) => return Err(io::Error::new(kind, text)),
                Answer::Abandoned => {}
            }
        }
    }

    fn find(&self, name: &str) -> io::Result<Found<'_>> {
        let now_ns = running_loop()?.now_ns();
        let mut names = self.shared.names.borrow_mut();
        match names.get(name) {
            Some(Entry::Known { addrs, until_ns }) if *until_ns > now_ns => {
                return Ok(Found::Known(Rc::clone(addrs)));
            }
            Some(Entry::Asked(question)) => return Ok(Found::Asked(Rc::clone(question))),
            _ => {}
        }
        if names.len() >= MAX_ENTRIES {
            make_room(&mut names, now_ns);
        }
        let question = Rc::<Question>::default();
        names.insert(name.to_owned(), Entry::Asked(Rc::clone(&question)));
        Ok(Found::Nothing(Asker { cache: &self.shared, name: name.to_owned(), question }))
    }
}

enum Found<'a> {
    Known(Rc<[SocketAddr]>),
    Asked(Rc<Question>),
    Nothing(Asker<'a>),
}

/// Answers its question when it ends, however it ends.
struct Asker<'a> {
    cache: &'a Shared,
    name: String,
    question: Rc<Question>,
}

impl Asker<'_> {
    async fn ask(
        self,
        name: &str,
        looking: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> io::Result<Vec<SocketAddr>> {
        self.cache.questions.set(self.cache.questions.get() + 1);
        let found = looking.await;
        let answer = match &found {
            Ok(addrs) => {
                let addrs: Rc<[SocketAddr]> = addrs.as_slice().into();
                if !self.cache.ttl.is_zero() {
                    let until_ns = running_loop()?.now_ns().saturating_add(saturating_ns(self.cache.ttl));
                    let known = Entry::Known { addrs: Rc::clone(&addrs), until_ns };
                    self.cache.names.borrow_mut().insert(name.to_owned(), known);
                }
                Answer::Found(addrs)
            }
            Err(error) => Answer::Failed(error.kind(), error.to_string()),
        };
        *self.question.answer.borrow_mut() = Some(answer);
        found
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        let mut names = self.cache.names.borrow_mut();
        if matches!(names.get(&self.name), Some(Entry::Asked(question)) if Rc::ptr_eq(question, &self.question))
        {
            names.remove(&self.name);
        }
        drop(names);
        self.question.answer.borrow_mut().get_or_insert(Answer::Abandoned);
        let waiting = self.question.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

async fn wait_for_answer(question: &Question) -> Answer {
    poll_fn(|cx| {
        if let Some(answer) = &*question.answer.borrow() {
            return Poll::Ready(answer.clone());
        }
        let known = question.waiting.borrow().iter().any(|waker| waker.will_wake(cx.waker()));
        // One entry for each task that waits: bounded by the number of tasks.
        if !known {
            // Cloned while nothing is borrowed: the waker may be anybody's code.
            let waker = cx.waker().clone();
            question.waiting.borrow_mut().push(waker);
        }
        Poll::Pending
    })
    .await
}

fn with_port(addrs: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    let mut addrs = addrs.to_vec();
    addrs.iter_mut().for_each(|addr| addr.set_port(port));
    addrs
}

/// Drops outdated answers, or else the one that is outdated next.
fn make_room(names: &mut HashMap<String, Entry>, now_ns: u64) {
    names.retain(|_, entry| !matches!(entry, Entry::Known { until_ns, .. } if *until_ns <= now_ns));
    if names.len() < MAX_ENTRIES {
        return;
    }
    let until_ns = |entry: &Entry| match entry {
        Entry::Known { until_ns, .. } => Some(*until_ns),
        Entry::Asked(_) => None,
    };
    let oldest = names
        .iter()
        .filter_map(|(name, entry)| Some((until_ns(entry)?, name)))
        .min()
        .map(|(_, name)| name.clone());
    if let Some(oldest) = oldest {
        names.remove(&oldest);
    }
}

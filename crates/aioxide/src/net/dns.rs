//! Names to addresses: the system's resolver on threads of its own, and a cache with a bounded time to live.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aioxide_core::LoopId;
use aioxide_core::clock::saturating_ns;
use aioxide_core::current::try_with;

use super::source::running_loop;
use crate::error::TaskError;
use crate::line::Line;
use crate::task::{Task, raise, spawn_hidden};
use crate::wake::wake_all;

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

/// A look-up under way, for all who wait for its answer.
///
/// It is a task of its own: those who wait need not be polled for it to go on, and the last one who gives it up ends it.
struct Question {
    name: String,
    event_loop: LoopId,
    answer: RefCell<Option<Answer>>,
    /// The answer as the resolver returned it, for the one who asked.
    first_hand: RefCell<Option<io::Result<Vec<SocketAddr>>>>,
    waiting: RefCell<Line<Waker>>,
    /// How many [`Wait`]s there are.
    waits: Cell<usize>,
    task: RefCell<Option<Task<()>>>,
}

#[derive(Clone)]
enum Answer {
    Found(Rc<[SocketAddr]>),
    Failed(io::ErrorKind, String),
    /// No answer will come: somebody else must ask.
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
    /// Dropping the future gives the answer up; the question goes on while anybody else waits for it.
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let ask = || {
            let host = host.to_owned();
            async move { lookup(&host, port).await }
        };
        self.find(host, port, Begin::AtOnce, ask).await
    }

    /// As [`lookup`](Self::lookup), with another resolver than the system's for what is not known; the cache must be
    /// that resolver's alone.
    ///
    /// What `ask` returns runs as a task of its own. It is called again if that task comes to nothing.
    ///
    /// # Errors
    /// Those of the resolver; everybody who waited for the same answer gets the same error.
    ///
    /// # Cancel safety
    /// As [`lookup`](Self::lookup).
    pub async fn lookup_with<A, F>(&self, host: &str, port: u16, ask: A) -> io::Result<Vec<SocketAddr>>
    where
        A: FnMut() -> F,
        F: Future<Output = io::Result<Vec<SocketAddr>>> + 'static,
    {
        self.find(host, port, Begin::InTask, ask).await
    }

    async fn find<A, F>(&self, host: &str, port: u16, begin: Begin, mut ask: A) -> io::Result<Vec<SocketAddr>>
    where
        A: FnMut() -> F,
        F: Future<Output = io::Result<Vec<SocketAddr>>> + 'static,
    {
        let name = host.to_ascii_lowercase();
        loop {
            let (mut wait, answering) = match self.enter(&name)? {
                Found::Known(addrs) => return Ok(with_port(&addrs, port)),
                Found::Asked(wait) => (wait, None),
                Found::Nothing(wait, answering) => (wait, Some(answering)),
            };
            let asks = answering.is_some();
            if let Some(answering) = answering {
                self.shared.questions.set(self.shared.questions.get() + 1);
                let mut looking = Box::pin(ask());
                if begin == Begin::AtOnce
                    && let Poll::Ready(found) = poll_fn(|cx| Poll::Ready(looking.as_mut().poll(cx))).await
                {
                    answering.give(&found);
                    return found;
                }
                let task = spawn_hidden(async move {
                    let found = looking.await;
                    answering.give(&found);
                    *answering.question.first_hand.borrow_mut() = Some(found);
                });
                *wait.question.task.borrow_mut() = Some(task);
            }
            let answer = poll_fn(|cx| wait.poll(cx)).await;
            if asks && let Some(found) = wait.question.first_hand.take() {
                return found;
            }
            match answer {
                Answer::Found(addrs) => return Ok(with_port(&addrs, port)),
                Answer::Failed(kind, text) => return Err(io::Error::new(kind, text)),
                Answer::Abandoned => {}
            }
        }
    }

    /// What is known of the name; a place among those who wait otherwise.
    fn enter(&self, name: &str) -> io::Result<Found<'_>> {
        let event_loop = running_loop()?;
        let now_ns = event_loop.now_ns();
        let mut names = self.shared.names.borrow_mut();
        match names.get(name) {
            Some(Entry::Known { addrs, until_ns }) if *until_ns > now_ns => {
                return Ok(Found::Known(Rc::clone(addrs)));
            }
            // The answer to a question of another loop would not come while this one runs.
            Some(Entry::Asked(question)) if question.event_loop == event_loop.id() => {
                return Ok(Found::Asked(Wait::new(&self.shared, question)));
            }
            _ => {}
        }
        if names.len() >= MAX_ENTRIES {
            make_room(&mut names, now_ns);
        }
        let question = Rc::new(Question {
            name: name.to_owned(),
            event_loop: event_loop.id(),
            answer: RefCell::default(),
            first_hand: RefCell::default(),
            waiting: RefCell::default(),
            waits: Cell::new(0),
            task: RefCell::default(),
        });
        names.insert(name.to_owned(), Entry::Asked(Rc::clone(&question)));
        let wait = Wait::new(&self.shared, &question);
        Ok(Found::Nothing(wait, Answering { cache: Rc::clone(&self.shared), question }))
    }
}

/// Where a question is polled first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// In the poll of the one who asks: the place of [`DnsCache::turn`] is taken in it, and a number costs no task.
    AtOnce,
    /// In its task, since it may have to do with the task that polls it.
    InTask,
}

enum Found<'a> {
    Known(Rc<[SocketAddr]>),
    Asked(Wait<'a>),
    Nothing(Wait<'a>, Answering),
}

impl Shared {
    /// Nobody joins the question any more.
    fn end(&self, question: &Rc<Question>) {
        let mut names = self.names.borrow_mut();
        if matches!(names.get(&question.name), Some(Entry::Asked(asked)) if Rc::ptr_eq(asked, question)) {
            names.remove(&question.name);
        }
    }
}

/// Answers its question when it ends, however it ends.
struct Answering {
    cache: Rc<Shared>,
    question: Rc<Question>,
}

impl Answering {
    fn give(&self, found: &io::Result<Vec<SocketAddr>>) {
        let answer = match found {
            Ok(addrs) => {
                let addrs: Rc<[SocketAddr]> = addrs.as_slice().into();
                if !self.cache.ttl.is_zero()
                    && let Ok(event_loop) = running_loop()
                {
                    let until_ns = event_loop.now_ns().saturating_add(saturating_ns(self.cache.ttl));
                    let known = Entry::Known { addrs: Rc::clone(&addrs), until_ns };
                    self.cache.names.borrow_mut().insert(self.question.name.clone(), known);
                }
                Answer::Found(addrs)
            }
            Err(error) => Answer::Failed(error.kind(), error.to_string()),
        };
        *self.question.answer.borrow_mut() = Some(answer);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.cache.end(&self.question);
        self.question.answer.borrow_mut().get_or_insert(Answer::Abandoned);
        let waiting = self.question.waiting.borrow_mut().take_all();
        wake_all(waiting);
    }
}

/// One who waits for an answer.
struct Wait<'a> {
    cache: &'a Shared,
    question: Rc<Question>,
    /// The place in `waiting`; 0 is none.
    key: u64,
}

impl<'a> Wait<'a> {
    fn new(cache: &'a Shared, question: &Rc<Question>) -> Self {
        question.waits.set(question.waits.get() + 1);
        Self { cache, question: Rc::clone(question), key: 0 }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Answer> {
        let answer = self.question.answer.borrow().clone();
        match answer {
            Some(Answer::Abandoned) | None if self.question.is_elsewhere() => Poll::Ready(Answer::Abandoned),
            Some(Answer::Abandoned) => self.question.end_of_task(),
            Some(answer) => Poll::Ready(answer),
            None => {
                self.keep(cx.waker());
                Poll::Pending
            }
        }
    }

    fn keep(&mut self, waker: &Waker) {
        let known = self.question.waiting.borrow().get(self.key).is_some_and(|held| held.will_wake(waker));
        if known {
            return;
        }
        // Cloned and dropped while nothing is borrowed: the waker may be anybody's code.
        let waker = waker.clone();
        let before = self.question.waiting.borrow_mut().remove(self.key);
        self.key = self.question.waiting.borrow_mut().push(waker);
        drop(before);
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let waker = self.question.waiting.borrow_mut().remove(self.key);
        let left = self.question.waits.get() - 1;
        self.question.waits.set(left);
        if left == 0 && self.question.answer.borrow().is_none() {
            self.cache.end(&self.question);
            let task = self.question.task.borrow().as_ref().map(|task| task.any().clone());
            if let Some(task) = task {
                task.task_ref().shut_down();
            }
        }
        drop(waker);
    }
}

impl Question {
    /// Whether the thread runs another loop than the question's.
    fn is_elsewhere(&self) -> bool {
        try_with(|here| here.id() != self.event_loop).unwrap_or(false)
    }

    /// What its resolver did instead of answering comes out at the first who looks.
    fn end_of_task(&self) -> Poll<Answer> {
        let ended = self.task.borrow_mut().as_mut().and_then(Task::take_result);
        match ended {
            Some(Err(TaskError::Panicked(panic))) => panic.resume(),
            Some(Err(TaskError::Cancelled(cancelled))) => raise(cancelled.shared_message()),
            _ => Poll::Ready(Answer::Abandoned),
        }
    }
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

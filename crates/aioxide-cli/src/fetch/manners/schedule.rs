//! Which entry starts next: hosts take turns, and each is asked no more than it is to be.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use aioxide::time::{Instant, Sleep, sleep_until};
use foldhash::fast::RandomState;

use super::addresses::Addresses;
use super::pace::{Pace, Seen};
use crate::clock::Stopwatch;
use crate::fetch::input::{Source, Stretch};
use crate::fetch::job::{Job, Jobs};

/// Hands out jobs in the order of the list, passing over those whose host is busy or has to be left alone for a while. Hosts
/// that have something waiting take turns.
///
/// A URL waits here for its host and not in the session's pool, so that the wait does not count against its time, and a
/// row of URLs of one host does not hold up the others. What is to be tried again waits here, too, and holds nothing up.
///
/// About [`LOOK_AHEAD`] jobs wait before a list is read no further, unless it is a plain file: then what stands in a row for a
/// busy host is passed over, with a note of where it stands, and read again when its turn comes. So a list that is
/// sorted by host keeps all its hosts busy.
#[derive(Debug)]
pub(crate) struct Schedule {
    source: Source,
    jobs: Jobs,
    /// The source has ended.
    ended: bool,
    /// Those that have something under way or waiting, or that are left alone.
    hosts: HashMap<Rc<str>, Host, RandomState>,
    /// Hosts that have a job waiting and room for it, each once.
    turn: VecDeque<Rc<str>>,
    later: BinaryHeap<Later>,
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
    addresses: Addresses,
    /// How many jobs wait, in hosts, at addresses and for their time.
    waiting: usize,
    /// How many stretches of the list were passed over.
    passed: usize,
    /// Of what was passed over, what is left at the end of a run that was stopped.
    left: VecDeque<Stretch>,
    read_again: VecDeque<Box<Job>>,
    /// The list could not be read again.
    failed: Option<io::Error>,
    /// Numbers what is put off, so that what is due at the same time comes in order.
    put_off: u64,
    limits: PerHost,
    begin: Stopwatch,
}

/// What one host is asked at most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PerHost {
    /// How many downloads may run at a time.
    pub(crate) jobs: Option<u32>,
    /// Fewer, where more are of no use, or the host does not want them.
    pub(crate) adapts: bool,
    /// The time from one start to the next.
    pub(crate) interval: Option<Duration>,
}

#[derive(Debug, Default)]
struct Host {
    waiting: VecDeque<Box<Job>>,
    /// What comes after these, and is to be read again. **Invariant**: if there is any, a job waits.
    passed: VecDeque<Stretch>,
    active: u32,
    /// Nothing starts before.
    opens: Option<Instant>,
    /// It stands in `turn`, or in `later`.
    queued: bool,
    /// If the number of downloads adapts itself.
    pace: Option<Pace>,
}

impl Host {
    /// Whether one more download may run.
    fn has_room(&self, limits: PerHost) -> bool {
        match &self.pace {
            Some(pace) => self.active < pace.limit(),
            None if limits.adapts => self.active < Pace::new(limits.jobs).limit(),
            None => limits.jobs.is_none_or(|limit| self.active < limit),
        }
    }
}

/// Something that may go on at its time.
#[derive(Debug)]
struct Later {
    at: Instant,
    number: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Host(Rc<str>),
    Job(Box<Job>),
}

/// How far past a busy host the list is read in search of another.
const LOOK_AHEAD: usize = 1000;
/// Of one host so many wait before those that follow are passed over.
const KEPT: usize = 64;
/// So many stretches may be passed over: 32 bytes each.
const PASSED: usize = 100_000;
/// So many entries are read before the loop does something else.
const READ_AT_ONCE: usize = 1000;

impl Schedule {
    /// Nothing has started.
    pub(crate) fn new(source: Source, limits: PerHost) -> Self {
        Schedule {
            source,
            jobs: Jobs::default(),
            ended: false,
            hosts: HashMap::default(),
            turn: VecDeque::new(),
            later: BinaryHeap::new(),
            sleep: None,
            addresses: Addresses::default(),
            waiting: 0,
            passed: 0,
            left: VecDeque::new(),
            read_again: VecDeque::new(),
            failed: None,
            put_off: 0,
            limits,
            begin: Stopwatch::start(),
        }
    }

    /// The next job that may start; `None` when all have. Pending while the list is silent or all hosts are busy.
    ///
    /// Each job handed out is accounted for by [`Schedule::release`] at its end, or before it is [put off](Self::put_off).
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Box<Job>>>> {
        loop {
            while let Some(key) = self.turn.pop_front() {
                let Some(host) = self.hosts.get_mut(&key) else { continue };
                host.queued = false;
                if host.opens.is_some_and(|opens| opens > Instant::now()) {
                    self.queue(&key);
                    continue;
                }
                let Some(mut job) = host.waiting.pop_front() else { continue };
                self.waiting -= 1;
                self.start(&mut job);
                let refilled = self.refill(&key);
                self.queue(&key);
                if let Err(error) = refilled {
                    // It is told when this one has started.
                    self.failed.get_or_insert(error);
                }
                return Poll::Ready(Some(Ok(job)));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Some(Err(error)));
            }
            let mut read = 0;
            while !self.ended && self.may_read() {
                if read == READ_AT_ONCE {
                    self.poll_later(cx);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                read += 1;
                match self.source.poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => self.ended = true,
                    Poll::Ready(Some(Err(error))) => {
                        self.ended = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    Poll::Ready(Some(Ok(entry))) => {
                        let mut job = self.jobs.job(entry);
                        if self.passes_over(&job) {
                            continue;
                        }
                        if job.entry.url.is_err() || self.has_room(&job.host) {
                            if job.entry.url.is_ok() {
                                self.start(&mut job);
                            }
                            return Poll::Ready(Some(Ok(job)));
                        }
                        self.wait(job, false);
                    }
                }
            }
            if self.ended && self.waiting == 0 {
                return Poll::Ready(None);
            }
            if !self.poll_later(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Whether the list is read further.
    fn may_read(&self) -> bool {
        self.waiting < LOOK_AHEAD || self.waiting < 2 * LOOK_AHEAD && (1..PASSED).contains(&self.passed)
    }

    /// Passes a job over whose host has enough waiting.
    fn passes_over(&mut self, job: &Job) -> bool {
        let Some(host) = self.hosts.get_mut(&job.host) else { return false };
        let enough = if self.waiting < LOOK_AHEAD { KEPT } else { 1 };
        let has_enough = host.waiting.len() >= enough || !host.passed.is_empty();
        if job.entry.url.is_err() || !has_enough || self.passed >= PASSED {
            return false;
        }
        let Some(stretch) = self.source.stretch(&job.entry) else { return false };
        if !host.passed.back_mut().is_some_and(|last| last.takes(&job.entry)) {
            host.passed.push_back(stretch);
            self.passed += 1;
        }
        true
    }

    /// Reads what was passed over of a host that has little waiting.
    fn refill(&mut self, key: &str) -> io::Result<()> {
        let Some(host) = self.hosts.get_mut(key) else { return Ok(()) };
        let (least, count) = if self.waiting < LOOK_AHEAD { (KEPT / 2, KEPT as u64) } else { (1, 4) };
        while host.waiting.len() < least
            && let Some(mut stretch) = host.passed.pop_front()
        {
            self.passed -= 1;
            let entries = self.source.again(&mut stretch, count)?;
            if !stretch.is_empty() {
                host.passed.push_front(stretch);
                self.passed += 1;
            }
            self.waiting += entries.len();
            host.waiting.extend(entries.into_iter().map(|entry| self.jobs.job(entry)));
        }
        Ok(())
    }

    /// Whether a job of this host that has just been read may start before all others.
    fn has_room(&self, key: &str) -> bool {
        let Some(host) = self.hosts.get(key) else { return true };
        host.waiting.is_empty()
            && host.has_room(self.limits)
            && host.opens.is_none_or(|opens| opens <= Instant::now())
    }

    /// A job of this host starts.
    fn start(&mut self, job: &mut Job) {
        let limits = self.limits;
        let host = match self.hosts.get_mut(&job.host) {
            Some(host) => host,
            None => self.hosts.entry(Rc::clone(&job.host)).or_default(),
        };
        host.active += 1;
        if limits.adapts {
            let pace = host.pace.get_or_insert_with(|| Pace::new(limits.jobs));
            job.epoch = pace.epoch();
        }
        if let Some(interval) = limits.interval {
            host.opens = Some(Instant::now() + interval);
        }
    }

    /// Lets a job wait for its host.
    fn wait(&mut self, job: Box<Job>, first: bool) {
        let key = Rc::clone(&job.host);
        let host = self.hosts.entry(Rc::clone(&key)).or_default();
        match first {
            true => host.waiting.push_front(job),
            false => host.waiting.push_back(job),
        }
        if let Some(pace) = &mut host.pace {
            pace.is_felt();
        }
        self.waiting += 1;
        self.queue(&key);
    }

    /// Puts the host where it belongs: into the turn, off to later, or out of mind.
    fn queue(&mut self, key: &Rc<str>) {
        let Some(host) = self.hosts.get_mut(key) else { return };
        let opens = host.opens.filter(|opens| *opens > Instant::now());
        if opens.is_none() {
            host.opens = None;
        }
        if host.queued {
            return;
        }
        if host.waiting.is_empty() {
            if host.active == 0 && opens.is_none() {
                self.hosts.remove(key);
            } else if let (0, Some(opens)) = (host.active, opens) {
                host.queued = true;
                self.put_off_until(opens, What::Host(Rc::clone(key)));
            }
        } else if host.has_room(self.limits) {
            host.queued = true;
            match opens {
                None => self.turn.push_back(Rc::clone(key)),
                Some(opens) => self.put_off_until(opens, What::Host(Rc::clone(key))),
            }
        }
    }

    fn put_off_until(&mut self, at: Instant, what: What) {
        self.put_off += 1;
        self.later.push(Later { at, number: self.put_off, what });
    }

    /// Lets what is due go on; says whether anything did. If not, `cx` is woken when something is.
    fn poll_later(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(next) = self.later.peek().map(|later| later.at) else { return false };
        let now = Instant::now();
        if next > now {
            if self.sleep.as_ref().is_none_or(|(at, _)| *at != next) {
                self.sleep = Some((next, Box::pin(sleep_until(next))));
            }
            let Some((_, sleep)) = &mut self.sleep else { return false };
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
        self.sleep = None;
        while self.later.peek().is_some_and(|later| later.at <= now.max(next)) {
            match self.later.pop().map(|later| later.what) {
                Some(What::Host(key)) => {
                    if let Some(host) = self.hosts.get_mut(&key) {
                        host.queued = false;
                    }
                    self.queue(&key);
                }
                Some(What::Job(job)) => {
                    self.waiting -= 1;
                    self.wait(job, true);
                }
                None => {}
            }
        }
        true
    }

    /// A job of this host has ended, or ends an attempt, which started in that epoch of its pace: there is room for another.
    pub(crate) fn release(&mut self, key: &Rc<str>, epoch: u32, seen: Seen) {
        if let Some(host) = self.hosts.get_mut(key) {
            host.active = host.active.saturating_sub(1);
            if let Some(pace) = &mut host.pace {
                if !host.waiting.is_empty() {
                    pace.is_felt();
                }
                pace.seen(epoch, seen, self.begin.elapsed());
            }
            self.queue(key);
        }
    }

    /// Takes a place at an address for a job that has started; `false`: there is none, and it is to be
    /// [put aside](Self::put_aside).
    pub(crate) fn claim(&mut self, job: &mut Job, address: IpAddr, limit: u32) -> bool {
        self.addresses.claim(job, address, limit)
    }

    /// Takes a job back until there is a place at its address.
    pub(crate) fn put_aside(&mut self, job: Box<Job>, address: IpAddr) {
        self.waiting += 1;
        self.addresses.put_aside(job, address);
    }

    /// A job has no place at that address any more.
    pub(crate) fn leave(&mut self, address: IpAddr) {
        if let Some(next) = self.addresses.release(address) {
            self.waiting -= 1;
            self.wait(next, true);
        }
    }

    /// Takes a job back that is to be tried again after `pause`.
    pub(crate) fn put_off(&mut self, job: Box<Job>, pause: Duration) {
        self.waiting += 1;
        self.put_off_until(Instant::now() + pause, What::Job(job));
    }

    /// Leaves a host alone for a while.
    pub(crate) fn leave_alone(&mut self, key: &Rc<str>, pause: Duration) {
        let opens = Instant::now() + pause;
        let host = self.hosts.entry(Rc::clone(key)).or_default();
        if host.opens.is_none_or(|known| known < opens) {
            host.opens = Some(opens);
        }
    }

    /// Takes what never started or was put off, at the end of a run that was stopped; `since`: see
    /// [`Source::next_left_over`].
    pub(crate) fn next_left_over(&mut self, since: Stopwatch) -> Option<io::Result<Box<Job>>> {
        if self.waiting > 0 {
            let put_off = self.later.drain().filter_map(|later| match later.what {
                What::Job(job) => Some(job),
                What::Host(_) => None,
            });
            let mut jobs: Vec<Box<Job>> = put_off.collect();
            self.left = self.hosts.values_mut().flat_map(|host| host.passed.drain(..)).collect();
            jobs.extend(self.addresses.drain());
            jobs.extend(self.hosts.values_mut().flat_map(|host| host.waiting.drain(..)));
            jobs.sort_by_key(|job| job.entry.number);
            self.waiting = jobs.len();
            self.hosts.clear();
            self.turn.clear();
            let host = Host { waiting: jobs.into(), ..Host::default() };
            self.hosts.insert(Rc::from(""), host);
        }
        if let Some(job) = self.read_again.pop_front() {
            return Some(Ok(job));
        }
        let left = self.hosts.get_mut("").and_then(|host| host.waiting.pop_front());
        if let Some(job) = left {
            self.waiting = 0;
            return Some(Ok(job));
        }
        while let Some(mut stretch) = self.left.pop_front() {
            let again = self.source.again(&mut stretch, READ_AT_ONCE as u64);
            if again.is_ok() && !stretch.is_empty() {
                self.left.push_front(stretch);
            }
            match again {
                Ok(entries) => {
                    self.read_again = entries.into_iter().map(|entry| self.jobs.job(entry)).collect();
                }
                Err(error) => return Some(Err(error)),
            }
            if let Some(job) = self.read_again.pop_front() {
                return Some(Ok(job));
            }
        }
        if self.ended {
            return None;
        }
        self.source.next_left_over(since).map(|entry| entry.map(|entry| self.jobs.job(entry)))
    }

    /// Whether the list may go on after what was left over.
    pub(crate) fn is_open(&self) -> bool {
        !self.ended && self.source.is_open()
    }
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest, as the heap has it.
impl Ord for Later {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

#[cfg(test)]
mod tests;

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

use super::addresses::Addresses;
use super::pace::{Pace, Seen};
use crate::clock::Stopwatch;
use crate::fetch::input::Source;
use crate::fetch::job::Job;

/// Hands out jobs in the order of the list, passing over those whose host is busy or has to be left alone for a while. Hosts
/// that have something waiting take turns.
///
/// A URL waits here for its host and not in the session's pool, so that the wait does not count against its time, and a
/// row of URLs of one host does not hold up the others. What is to be tried again waits here, too, and holds nothing up. At
/// most [`LOOK_AHEAD`] jobs wait before the list is read no further.
#[derive(Debug)]
pub(crate) struct Schedule {
    source: Source,
    /// The source has ended.
    ended: bool,
    /// Those that have something under way or waiting, or that are left alone.
    hosts: HashMap<Rc<str>, Host>,
    /// Hosts that have a job waiting and room for it, each once.
    turn: VecDeque<Rc<str>>,
    later: BinaryHeap<Later>,
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
    addresses: Addresses,
    /// How many jobs wait, in hosts, at addresses and for their time.
    waiting: usize,
    /// Numbers what is put off, so that what is due at the same time comes in order.
    put_off: u64,
    limits: PerHost,
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
    waiting: VecDeque<Job>,
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

impl Schedule {
    /// Nothing has started.
    pub(crate) fn new(source: Source, limits: PerHost) -> Self {
        Schedule {
            source,
            ended: false,
            hosts: HashMap::new(),
            turn: VecDeque::new(),
            later: BinaryHeap::new(),
            sleep: None,
            addresses: Addresses::default(),
            waiting: 0,
            put_off: 0,
            limits,
        }
    }

    /// The next job that may start; `None` when all have. Pending while the list is silent or all hosts are busy.
    ///
    /// Each job handed out is accounted for by [`Schedule::release`] at its end, or before it is [put off](Self::put_off).
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Job>>> {
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
                self.queue(&key);
                return Poll::Ready(Some(Ok(job)));
            }
            while !self.ended && self.waiting < LOOK_AHEAD {
                match self.source.poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => self.ended = true,
                    Poll::Ready(Some(Err(error))) => {
                        self.ended = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    Poll::Ready(Some(Ok(entry))) => {
                        let mut job = Job::new(entry);
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
    fn wait(&mut self, job: Job, first: bool) {
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
                    self.wait(*job, true);
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
                pace.seen(epoch, seen);
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
    pub(crate) fn put_aside(&mut self, job: Job, address: IpAddr) {
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
    pub(crate) fn put_off(&mut self, job: Job, pause: Duration) {
        self.waiting += 1;
        self.put_off_until(Instant::now() + pause, What::Job(Box::new(job)));
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
    pub(crate) fn next_left_over(&mut self, since: Stopwatch) -> Option<io::Result<Job>> {
        if self.waiting > 0 {
            let put_off = self.later.drain().filter_map(|later| match later.what {
                What::Job(job) => Some(*job),
                What::Host(_) => None,
            });
            let mut jobs: Vec<Job> = put_off.collect();
            jobs.extend(self.addresses.drain());
            jobs.extend(self.hosts.values_mut().flat_map(|host| host.waiting.drain(..)));
            jobs.sort_by_key(|job| job.entry.number);
            self.waiting = jobs.len();
            self.hosts.clear();
            self.turn.clear();
            let host = Host { waiting: jobs.into(), ..Host::default() };
            self.hosts.insert(Rc::from(""), host);
        }
        let left = self.hosts.get_mut("").and_then(|host| host.waiting.pop_front());
        if let Some(job) = left {
            self.waiting = 0;
            return Some(Ok(job));
        }
        if self.ended {
            return None;
        }
        self.source.next_left_over(since).map(|entry| entry.map(Job::new))
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
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn schedule(urls: &[&str], jobs: Option<u32>, interval: Option<u64>) -> Schedule {
        let urls = urls.iter().map(|url| format!("http://{url}")).collect();
        let limits = PerHost { jobs, adapts: false, interval: interval.map(Duration::from_secs) };
        Schedule::new(Source::open(urls, None).unwrap(), limits)
    }

    /// Runs on a loop whose clock jumps to the next timer.
    fn on_a_loop<T: 'static>(test: impl AsyncFnOnce() -> T + 'static) -> T {
        let runtime = aioxide::Runtime::builder().virtual_clock(true).build().unwrap();
        runtime.block_on(async move { test().await }).unwrap()
    }

    /// What may start now, without waiting.
    async fn now(schedule: &mut Schedule) -> Option<Job> {
        poll_fn(|cx| {
            Poll::Ready(match schedule.poll_next(cx) {
                Poll::Ready(Some(job)) => Some(job.unwrap()),
                _ => None,
            })
        })
        .await
    }

    async fn next(schedule: &mut Schedule) -> Option<Job> {
        poll_fn(|cx| schedule.poll_next(cx)).await.map(|job| job.unwrap())
    }

    fn url(job: &Job) -> &str {
        job.entry.text.strip_prefix("http://").unwrap()
    }

    #[test]
    fn order_of_the_list_without_limits() {
        on_a_loop(async || {
            let mut schedule = schedule(&["a/1", "a/2", "b/1", "a:b:c"], None, None);
            for expected in ["a/1", "a/2", "b/1"] {
                assert_eq!(url(&next(&mut schedule).await.unwrap()), expected);
            }
            assert!(next(&mut schedule).await.unwrap().entry.url.is_err());
            assert!(next(&mut schedule).await.is_none());
        });
    }

    #[test]
    fn busy_host_is_passed_over_and_hosts_take_turns() {
        on_a_loop(async || {
            let urls = ["a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "b/3", "a:81/"];
            let mut schedule = schedule(&urls, Some(1), None);
            let first = next(&mut schedule).await.unwrap();
            let second = next(&mut schedule).await.unwrap();
            assert_eq!((url(&first), url(&second)), ("a/1", "b/1"));
            assert_eq!(url(&next(&mut schedule).await.unwrap()), "a:81/");
            assert!(now(&mut schedule).await.is_none());
            schedule.release(&second.host, 0, Seen::Nothing);
            schedule.release(&first.host, 0, Seen::Nothing);
            assert_eq!(url(&next(&mut schedule).await.unwrap()), "b/2");
            assert_eq!(url(&next(&mut schedule).await.unwrap()), "a/2");
            schedule.release(&first.host, 0, Seen::Nothing);
            schedule.release(&second.host, 0, Seen::Nothing);
            assert_eq!(url(&next(&mut schedule).await.unwrap()), "a/3");
            assert_eq!(url(&next(&mut schedule).await.unwrap()), "b/3");
        });
    }

    #[test]
    fn look_ahead_is_bounded_and_idle_hosts_are_forgotten() {
        on_a_loop(async || {
            let urls: Vec<String> = (0..5000).map(|number| format!("a/{number}")).collect();
            let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
            let mut busy = schedule(&urls, Some(1), None);
            let first = next(&mut busy).await.unwrap();
            assert!(now(&mut busy).await.is_none());
            assert_eq!(busy.waiting, LOOK_AHEAD);
            busy.release(&first.host, 0, Seen::Nothing);
            assert_eq!(url(&next(&mut busy).await.unwrap()), "a/1");

            let mut idle = schedule(&["a/", "b/", "c/"], None, None);
            while let Some(job) = next(&mut idle).await {
                idle.release(&job.host, 0, Seen::Nothing);
            }
            assert!(idle.hosts.is_empty());
        });
    }

    #[test]
    fn starts_of_one_host_keep_their_distance() {
        on_a_loop(async || {
            let mut schedule = schedule(&["a/1", "a/2", "a/3", "b/1"], None, Some(10));
            let begin = Instant::now();
            let mut seen = Vec::new();
            while let Some(job) = next(&mut schedule).await {
                seen.push(format!("{} {}", url(&job), begin.elapsed().as_secs()));
                schedule.release(&job.host, 0, Seen::Nothing);
            }
            assert_eq!(seen, ["a/1 0", "b/1 0", "a/2 10", "a/3 20"]);
            assert!(schedule.hosts.is_empty() || schedule.hosts.values().all(|host| host.queued));
        });
    }

    #[test]
    fn host_that_asks_for_a_pause_is_left_alone_while_others_go_on() {
        on_a_loop(async || {
            let mut schedule = schedule(&["a/1", "a/2", "b/1"], Some(1), None);
            let begin = Instant::now();
            let job = next(&mut schedule).await.unwrap();
            schedule.leave_alone(&job.host, Duration::from_secs(30));
            schedule.release(&Rc::clone(&job.host), 0, Seen::Nothing);
            schedule.put_off(job, Duration::from_secs(30));
            assert_eq!(url(&next(&mut schedule).await.unwrap()), "b/1");
            assert_eq!(begin.elapsed(), Duration::ZERO);
            let mut seen = Vec::new();
            while let Some(job) = next(&mut schedule).await {
                seen.push(url(&job).to_owned());
                schedule.release(&job.host, 0, Seen::Nothing);
            }
            seen.sort_unstable();
            assert_eq!((seen, begin.elapsed()), (vec!["a/1".into(), "a/2".into()], Duration::from_secs(30)));
        });
    }

    #[test]
    fn what_is_left_over_comes_once_and_in_order() {
        on_a_loop(async || {
            let mut schedule = schedule(&["a/1", "a/2", "a/3", "b/1", "b/2", "b/3", "c/"], Some(1), None);
            let first = next(&mut schedule).await.unwrap();
            assert_eq!(url(&next(&mut schedule).await.unwrap()), "b/1");
            schedule.release(&Rc::clone(&first.host), 0, Seen::Nothing);
            schedule.put_off(first, Duration::from_secs(1));
            let mut left = Vec::new();
            while let Some(job) = schedule.next_left_over(Stopwatch::start()) {
                left.push(url(&job.unwrap()).to_owned());
            }
            assert_eq!(left, ["a/1", "a/2", "a/3", "b/2", "b/3", "c/"]);
        });
    }
}

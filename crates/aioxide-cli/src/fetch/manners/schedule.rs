//! Which entry starts next: the first of the list whose host has room.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::task::{Context, Poll};

use crate::clock::Stopwatch;
use crate::fetch::input::{Entry, Source};

/// Hands out entries in the order of the list, passing over those whose host is busy.
///
/// A URL waits here for its host and not in the session's pool, so that the wait does not count against its time, and a
/// row of URLs of one host does not hold up the others. The waiting line has at most [`LOOK_AHEAD`] entries.
#[derive(Debug)]
pub(crate) struct Schedule {
    source: Source,
    /// The source has ended.
    ended: bool,
    /// Read, but their host was busy; in the order of the list.
    waiting: VecDeque<Entry>,
    /// Downloads under way by host; empty without a limit per host.
    active: HashMap<String, u32>,
    per_host: Option<u32>,
}

/// How far past a busy host the list is read in search of another.
const LOOK_AHEAD: usize = 1000;

impl Schedule {
    /// `per_host`: how many entries of one host may be out at a time.
    pub(crate) fn new(source: Source, per_host: Option<u32>) -> Self {
        Schedule { source, ended: false, waiting: VecDeque::new(), active: HashMap::new(), per_host }
    }

    /// The next entry that may start; `None` when all have. Pending while the list is silent or all hosts are busy.
    ///
    /// Each entry handed out is given back by [`Schedule::release`] at its end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Entry>>> {
        let room = |entry: &Entry, active: &HashMap<String, u32>| match self.per_host {
            Some(limit) => active.get(&entry.host()).copied().unwrap_or(0) < limit,
            None => true,
        };
        if let Some(place) = self.waiting.iter().position(|entry| room(entry, &self.active)) {
            let entry = self.waiting.remove(place);
            return Poll::Ready(entry.map(|entry| Ok(self.start(entry))));
        }
        while !self.ended && self.waiting.len() < LOOK_AHEAD {
            match self.source.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Err(error))) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(entry))) if room(&entry, &self.active) => {
                    return Poll::Ready(Some(Ok(self.start(entry))));
                }
                Poll::Ready(Some(Ok(entry))) => self.waiting.push_back(entry),
            }
        }
        if self.ended && self.waiting.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }

    fn start(&mut self, entry: Entry) -> Entry {
        if self.per_host.is_some() && entry.url.is_ok() {
            *self.active.entry(entry.host()).or_default() += 1;
        }
        entry
    }

    /// Makes room on the entry's host.
    pub(crate) fn release(&mut self, entry: &Entry) {
        if self.per_host.is_none() || entry.url.is_err() {
            return;
        }
        let host = entry.host();
        if let Some(count) = self.active.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.active.remove(&host);
            }
        }
    }

    /// Takes what never started, at the end of a run that was stopped; `since`: see [`Source::next_left_over`].
    pub(crate) fn next_left_over(&mut self, since: Stopwatch) -> Option<io::Result<Entry>> {
        if let Some(entry) = self.waiting.pop_front() {
            return Some(Ok(entry));
        }
        if self.ended {
            return None;
        }
        self.source.next_left_over(since)
    }

    /// Whether the list may go on after what was left over.
    pub(crate) fn is_open(&self) -> bool {
        !self.ended && self.source.is_open()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn schedule(urls: &[&str], per_host: Option<u32>) -> Schedule {
        let urls = urls.iter().map(|url| format!("http://{url}")).collect();
        Schedule::new(Source::open(urls, None).unwrap(), per_host)
    }

    fn next(schedule: &mut Schedule) -> Poll<Option<String>> {
        let mut cx = Context::from_waker(Waker::noop());
        schedule.poll_next(&mut cx).map(|entry| entry.map(|entry| entry.unwrap().text))
    }

    fn is(url: &str) -> Poll<Option<String>> {
        Poll::Ready(Some(format!("http://{url}")))
    }

    #[test]
    fn without_a_limit_the_order_is_that_of_the_list() {
        let mut schedule = schedule(&["a/1", "a/2", "b/1"], None);
        assert_eq!(next(&mut schedule), is("a/1"));
        assert_eq!(next(&mut schedule), is("a/2"));
        assert_eq!(next(&mut schedule), is("b/1"));
        assert_eq!(next(&mut schedule), Poll::Ready(None));
    }

    #[test]
    fn busy_host_is_passed_over_and_comes_back_in_order() {
        let mut schedule = schedule(&["a/1", "a/2", "a/3", "b/1"], Some(1));
        assert_eq!(next(&mut schedule), is("a/1"));
        assert_eq!(next(&mut schedule), is("b/1"));
        assert_eq!(next(&mut schedule), Poll::Pending);
        schedule.release(&Entry::new(1, "http://a/1".to_owned()));
        assert_eq!(next(&mut schedule), is("a/2"));
        assert_eq!(next(&mut schedule), Poll::Pending);
        schedule.release(&Entry::new(2, "http://a/2".to_owned()));
        assert_eq!(next(&mut schedule), is("a/3"));
        assert_eq!(next(&mut schedule), Poll::Ready(None));
    }

    #[test]
    fn ports_are_hosts_of_their_own() {
        let mut schedule = schedule(&["a:1/", "a:2/", "a:1/x"], Some(1));
        assert_eq!(next(&mut schedule), is("a:1/"));
        assert_eq!(next(&mut schedule), is("a:2/"));
        assert_eq!(next(&mut schedule), Poll::Pending);
    }

    #[test]
    fn look_ahead_is_bounded() {
        let urls: Vec<String> = (0..5000).map(|number| format!("a/{number}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut schedule = schedule(&urls, Some(1));
        assert_eq!(next(&mut schedule), is("a/0"));
        assert_eq!(next(&mut schedule), Poll::Pending);
        assert_eq!(schedule.waiting.len(), LOOK_AHEAD);
    }

    #[test]
    fn what_is_left_over_comes_once_and_in_order() {
        let mut schedule = schedule(&["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"], Some(1));
        assert_eq!(next(&mut schedule), is("a/1"));
        assert_eq!(next(&mut schedule), is("b/1"));
        let mut left = Vec::new();
        while let Some(entry) = schedule.next_left_over(Stopwatch::start()) {
            left.push(entry.unwrap().text);
        }
        assert_eq!(left, ["http://a/2", "http://a/3", "http://b/2", "http://b/3"]);
    }
}

//! A list that comes through a pipe: a thread of its own reads it, a little ahead.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::entry::Entry;

/// How many entries the pipe's thread reads ahead.
pub(super) const READ_AHEAD: usize = 256;

/// What the loop and the thread that reads share.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    state: Mutex<PipeState>,
    /// Told when an entry was added, for `next_within`.
    added: Condvar,
    /// Told when an entry was taken.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct PipeState {
    entries: VecDeque<io::Result<Entry>>,
    ended: bool,
    waker: Option<Waker>,
}

impl Pipe {
    /// Starts the thread. It ends with its input, or with the process: nobody waits for it.
    pub(super) fn start<I, F>(open: F) -> io::Result<Arc<Self>>
    where
        I: Iterator<Item = io::Result<Entry>>,
        F: FnOnce() -> io::Result<I> + Send + 'static,
    {
        let pipe = Arc::new(Pipe::default());
        let shared = Arc::clone(&pipe);
        thread::Builder::new().name("aioxide-list".to_owned()).spawn(move || {
            match open() {
                Ok(entries) => entries.for_each(|entry| shared.add(entry)),
                Err(error) => shared.add(Err(error)),
            }
            let mut state = shared.lock();
            state.ended = true;
            shared.tell(state);
        })?;
        Ok(pipe)
    }

    /// Whether it may have more to say.
    pub(super) fn is_open(&self) -> bool {
        !self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, PipeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry as soon as there is room.
    fn add(&self, entry: io::Result<Entry>) {
        let mut state = self
            .taken
            .wait_while(self.lock(), |state| state.entries.len() >= READ_AHEAD)
            .unwrap_or_else(PoisonError::into_inner);
        state.entries.push_back(entry);
        self.tell(state);
    }

    fn tell(&self, mut state: MutexGuard<'_, PipeState>) {
        let waker = state.waker.take();
        drop(state);
        self.added.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Entry>>> {
        let mut state = self.lock();
        if let Some(entry) = state.entries.pop_front() {
            self.taken.notify_one();
            return Poll::Ready(Some(entry));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn next_within(&self, patience: Duration) -> Option<io::Result<Entry>> {
        let (mut state, _) = self
            .added
            .wait_timeout_while(self.lock(), patience, |state| state.entries.is_empty() && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let entry = state.entries.pop_front();
        self.taken.notify_one();
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn entry(line: u64) -> Entry {
        Entry::new(line, format!("http://host/{line}"))
    }

    #[test]
    fn slow_pipe_is_pending_and_wakes() {
        struct Signal(mpsc::Sender<()>);
        impl std::task::Wake for Signal {
            fn wake(self: Arc<Self>) {
                self.0.send(()).unwrap();
            }
        }
        let (feed, input) = mpsc::channel::<Entry>();
        let (woken, wakes) = mpsc::channel();
        let pipe = Pipe::start(move || Ok(input.into_iter().map(Ok))).unwrap();
        let waker = Waker::from(Arc::new(Signal(woken)));
        let mut cx = Context::from_waker(&waker);

        assert!(pipe.poll_next(&mut cx).is_pending());
        feed.send(entry(1)).unwrap();
        wakes.recv().unwrap();
        assert!(matches!(pipe.poll_next(&mut cx), Poll::Ready(Some(Ok(first))) if first == entry(1)));
        assert!(pipe.poll_next(&mut cx).is_pending());
        drop(feed);
        wakes.recv().unwrap();
        assert!(matches!(pipe.poll_next(&mut cx), Poll::Ready(None)));
    }

    #[test]
    fn pipe_reads_ahead_only_so_far() {
        let (count, counted) = mpsc::channel();
        let endless = move || {
            Ok((1..).map(move |line| {
                let _ = count.send(line);
                Ok(entry(line))
            }))
        };
        let pipe = Pipe::start(endless).unwrap();
        // One more than there is room for is produced; it waits in `add`.
        let last = READ_AHEAD as u64 + 1;
        assert!((1..=last).all(|line| counted.recv() == Ok(line)));
        assert!(counted.try_recv().is_err());
        assert_eq!(pipe.next_within(Duration::ZERO).unwrap().unwrap(), entry(1));
        assert_eq!(counted.recv(), Ok(last + 1));
        // The thread is left waiting; it ends with the process.
    }

    #[test]
    fn silent_pipe_is_given_up() {
        let (_feed, input) = mpsc::channel::<Entry>();
        let pipe = Pipe::start(move || Ok(input.into_iter().map(Ok))).unwrap();
        assert!(pipe.next_within(Duration::from_millis(1)).is_none());
    }
}

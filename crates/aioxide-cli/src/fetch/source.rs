//! Where entries come from: the command line, a file read as it goes, or a pipe read by a thread of its own.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::input::{Entry, Lines};
use super::streams::{Identity, Patient};
use crate::clock::Stopwatch;

/// The entries still to come.
#[derive(Debug)]
pub(crate) struct Source {
    /// URLs of the command line, which come first.
    arguments: std::iter::Enumerate<std::vec::IntoIter<String>>,
    list: List,
    /// Which file the list is.
    identity: Option<Identity>,
}

/// The list behind `--input`.
#[derive(Debug)]
enum List {
    None,
    /// A regular file: a read returns at once, so the loop's thread does it.
    File(Lines<BufReader<File>>),
    /// A pipe, a terminal, a device: a read may take for ever.
    Pipe(Arc<Pipe>),
}

impl Source {
    /// Opens the list; `-` is the standard input.
    pub(crate) fn open(arguments: Vec<String>, input: Option<&Path>) -> io::Result<Self> {
        let mut identity = None;
        let list = match input {
            None => List::None,
            Some(path) if path == Path::new("-") => {
                identity = Some(Identity::of(io::stdin())?);
                List::Pipe(Pipe::start(|| Ok(Lines::new(BufReader::new(Patient(io::stdin().lock())))))?)
            }
            Some(path) => {
                let file = File::open(path)?;
                identity = Some(Identity::of(&file)?);
                let kind = file.metadata()?;
                if kind.is_dir() {
                    return Err(io::Error::from(io::ErrorKind::IsADirectory));
                }
                if kind.is_file() {
                    List::File(Lines::new(BufReader::new(file)))
                } else {
                    List::Pipe(Pipe::start(move || Ok(Lines::new(BufReader::new(Patient(file)))))?)
                }
            }
        };
        Ok(Source { arguments: arguments.into_iter().enumerate(), list, identity })
    }

    /// Which file the list is, if there is one.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// How many entries there will be, where that can be told without waiting: a pass over the file.
    pub(crate) fn total(&self, input: Option<&Path>) -> Option<u64> {
        let listed = match (&self.list, input) {
            (List::None, _) => 0,
            (List::File(_), Some(path)) => {
                Lines::new(BufReader::new(File::open(path).ok()?)).count_entries().ok()?
            }
            _ => return None,
        };
        Some(self.arguments.len() as u64 + listed)
    }

    /// The next entry, `None` at the end of all input.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Entry>>> {
        if let Some(entry) = self.next_argument() {
            return Poll::Ready(Some(Ok(entry)));
        }
        match &mut self.list {
            List::None => Poll::Ready(None),
            List::File(lines) => Poll::Ready(lines.next()),
            List::Pipe(pipe) => pipe.poll_next(cx),
        }
    }

    /// The next entry for somebody who is about to end the run, and began to ask `since` then. A pipe is listened to only for
    /// so long: it may be silent, or never end.
    pub(crate) fn next_left_over(&mut self, since: Stopwatch) -> Option<io::Result<Entry>> {
        if let Some(entry) = self.next_argument() {
            return Some(Ok(entry));
        }
        match &mut self.list {
            List::None => None,
            List::File(lines) => lines.next(),
            List::Pipe(pipe) => {
                let rest = LISTENING.checked_sub(since.elapsed())?;
                pipe.next_within(rest.min(SILENCE))
            }
        }
    }

    /// Whether a pipe may have more to say.
    pub(crate) fn is_open(&self) -> bool {
        matches!(&self.list, List::Pipe(pipe) if !pipe.lock().ended)
    }

    fn next_argument(&mut self) -> Option<Entry> {
        let (place, text) = self.arguments.next()?;
        let mut entry = Entry::new(place as u64 + 1, text);
        if entry.url.is_err() && Path::new(&entry.text).is_file() {
            entry.url = Err("a file, not a URL; -i FILE reads URLs from a file".to_owned());
        }
        Some(entry)
    }
}

/// After a stop, how long a pipe may be silent before its list counts as ended.
const SILENCE: Duration = Duration::from_millis(200);
/// After a stop, how long a pipe is listened to in all.
const LISTENING: Duration = Duration::from_secs(1);

/// How many entries the pipe's thread reads ahead.
const READ_AHEAD: usize = 256;

/// What the loop and the thread that reads share.
#[derive(Debug, Default)]
struct Pipe {
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
    fn start<I, F>(open: F) -> io::Result<Arc<Self>>
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

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Entry>>> {
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

    fn next_within(&self, patience: Duration) -> Option<io::Result<Entry>> {
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
    fn arguments_come_before_the_list_and_are_numbered() {
        let mut list = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut list, b"\nhttp://c/\n").unwrap();
        let arguments = vec!["http://a/".to_owned(), "http://b/".to_owned()];
        let mut source = Source::open(arguments, Some(list.path())).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        while let Poll::Ready(Some(entry)) = source.poll_next(&mut cx) {
            let entry = entry.unwrap();
            seen.push((entry.line, entry.text));
        }
        let expected = [(1, "http://a/"), (2, "http://b/"), (2, "http://c/")];
        assert_eq!(seen, expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn directory_is_no_list() {
        assert!(Source::open(Vec::new(), Some(Path::new("/"))).is_err());
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
    fn pipe_that_never_ends_is_given_up() {
        let pipe = Pipe::start(|| Ok((1..).map(|line| Ok(entry(line))))).unwrap();
        let list = List::Pipe(pipe);
        let mut source = Source { arguments: Vec::new().into_iter().enumerate(), list, identity: None };
        let since = Stopwatch::start();
        let taken = std::iter::from_fn(|| source.next_left_over(since)).count();
        assert!(taken > READ_AHEAD && source.is_open());
    }

    #[test]
    fn silent_pipe_is_given_up() {
        let (_feed, input) = mpsc::channel::<Entry>();
        let pipe = Pipe::start(move || Ok(input.into_iter().map(Ok))).unwrap();
        assert!(pipe.next_within(Duration::from_millis(1)).is_none());
    }
}

//! Where entries come from: the command line, a file read as it goes, or a pipe read by a thread of its own.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use url::Position;

use super::again::{Far, From, Stretch};
use super::arguments::Arguments;
use super::compressed;
use super::entry::Entry;
use super::failed::Failed;
use super::format::Format;
use super::lines::Lines;
use super::pipe::Pipe;
use crate::clock::Stopwatch;
use crate::fetch::naming::{self, Wanted};
use crate::fetch::output::streams::{Identity, Patient};
use crate::fetch::resume::Ranges;

/// The entries still to come.
#[derive(Debug)]
pub(crate) struct Source {
    /// URLs of the command line, which come first.
    arguments: Arguments,
    list: List,
    /// The list's file, if it can be read from any place.
    again: Option<Arc<File>>,
    /// Which file the list is.
    identity: Option<Identity>,
    /// How far it has come: shared with whoever notes it.
    far: Rc<Cell<Far>>,
    /// How far it had come in an earlier run.
    before: Far,
    /// Entries that are passed over, by number.
    done: Ranges,
    /// Only these are taken.
    failed: Option<Failed>,
    /// Told of all entries in the order of the list, so that names are given in it.
    wanted: Option<Rc<Wanted>>,
    /// Hashes of the URLs that have come, if each is to come once.
    seen: Option<HashSet<u64>>,
    /// There was no time for all URLs of the command line.
    is_cut: bool,
}

/// The list behind `--input`.
enum List {
    None,
    /// A regular file: a read returns at once, so the loop's thread does it.
    File(Lines<Box<dyn BufRead + Send>>),
    /// A pipe, a terminal, a device: a read may take for ever.
    Pipe(Arc<Pipe>),
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            List::None => "None",
            List::File(_) => "File",
            List::Pipe(_) => "Pipe",
        })
    }
}

impl Source {
    /// Opens the list; `-` is the standard input.
    pub(crate) fn open(arguments: Vec<String>, input: Option<(&Path, Format)>) -> io::Result<Self> {
        let (mut identity, mut again) = (None, None);
        let list = match input {
            None => List::None,
            Some((path, format)) if path == Path::new("-") => {
                identity = Some(Identity::of(io::stdin())?);
                List::Pipe(Pipe::start(move || {
                    Ok(Lines::of(compressed::plain(Patient(io::stdin()))?, format))
                })?)
            }
            Some((path, format)) => {
                let file = File::open(path)?;
                identity = Some(Identity::of(&file)?);
                let kind = file.metadata()?;
                if kind.is_dir() {
                    return Err(io::Error::from(io::ErrorKind::IsADirectory));
                }
                if kind.is_file() {
                    again =
                        Some(file.try_clone()?).filter(|file| !compressed::is_compressed(file)).map(Arc::new);
                    List::File(Lines::of(compressed::plain(file)?, format))
                } else {
                    List::Pipe(Pipe::start(move || Ok(Lines::of(compressed::plain(Patient(file))?, format)))?)
                }
            }
        };
        let (arguments, done, seen) = (Arguments::new(arguments), Ranges::default(), None);
        Ok(Source {
            arguments,
            list,
            again,
            identity,
            far: Rc::default(),
            before: Far::default(),
            done,
            failed: None,
            wanted: None,
            seen,
            is_cut: false,
        })
    }

    /// Which file the list is, if there is one.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// How many entries there will be, where that can be told without waiting: a pass over the file.
    pub(crate) fn total(&self, input: Option<(&Path, Format)>) -> Option<u64> {
        if let Some(failed) = &self.failed {
            return Some(failed.count());
        }
        let listed = match (&self.list, input) {
            (List::None, _) => 0,
            (List::File(_), Some((path, format))) => {
                let reader = compressed::plain(File::open(path).ok()?).ok()?;
                Lines::of(reader, format).count_entries().ok()?
            }
            _ => return None,
        };
        Some(self.arguments.total().saturating_add(listed))
    }

    /// The next entry, `None` at the end of all input.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Entry>>> {
        loop {
            let entry = match self.arguments.next() {
                Some(entry) => Poll::Ready(Some(Ok(entry))),
                None => match &mut self.list {
                    List::None => Poll::Ready(None),
                    List::File(lines) => Poll::Ready(lines.next()),
                    List::Pipe(pipe) => pipe.poll_next(cx),
                },
            };
            let entry = entry.map(|entry| self.number(entry));
            if self.has_changed() {
                self.before = Far::default();
                return Poll::Ready(Some(Err(io::Error::other(CHANGED))));
            }
            match entry {
                Poll::Ready(Some(Ok(entry))) if self.done.contains(entry.number) || !self.takes(&entry) => {}
                entry => return entry,
            }
        }
    }

    /// The next entry for somebody who is about to end the run, and began to ask `since` then. A pipe is listened to only for
    /// so long, since it may be silent or never end; so is the command line, since a range may have more URLs than a disk
    /// has room for.
    pub(crate) fn next_left_over(&mut self, since: Stopwatch) -> Option<io::Result<Entry>> {
        loop {
            match self.next_left(since) {
                Some(Ok(entry)) if !self.takes(&entry) => {}
                entry => return entry,
            }
        }
    }

    fn takes(&self, entry: &Entry) -> bool {
        self.failed.as_ref().is_none_or(|failed| failed.has(entry))
    }

    fn next_left(&mut self, since: Stopwatch) -> Option<io::Result<Entry>> {
        let entry = match self.arguments.next() {
            Some(_) if since.elapsed() > RANGES => {
                self.is_cut = true;
                None
            }
            Some(entry) => Some(Ok(entry)),
            None => match &mut self.list {
                List::None => None,
                List::File(lines) => lines.next(),
                List::Pipe(pipe) => {
                    let rest = LISTENING.checked_sub(since.elapsed())?;
                    pipe.next_within(rest.min(SILENCE))
                }
            },
        };
        self.number(entry)
    }

    /// Where an entry can be read again later, so that it need not be kept.
    pub(crate) fn stretch(&self, entry: &Entry) -> Option<Stretch> {
        self.again.as_ref().filter(|_| !entry.is_again).and_then(|_| Stretch::of(entry))
    }

    /// Reads up to `count` entries of a stretch, which then begins behind them.
    ///
    /// # Errors
    /// The file cannot be read, or has another length by now.
    pub(crate) fn again(&self, stretch: &mut Stretch, count: u64) -> io::Result<Vec<Entry>> {
        let (Some(file), List::File(lines)) = (&self.again, &self.list) else { return Ok(Vec::new()) };
        let reader = BufReader::with_capacity(8 << 10, From { file: Arc::clone(file), at: stretch.at });
        let mut lines = lines.again(reader, stretch.at, stretch.line);
        let mut entries = Vec::new();
        while !stretch.is_empty() && (entries.len() as u64) < count {
            let entry =
                lines.next().unwrap_or_else(|| Err(io::Error::other("it has become shorter meanwhile")));
            let mut entry = entry?;
            entry.number = stretch.number;
            entries.push(entry);
            (stretch.number, stretch.count) = (stretch.number + 1, stretch.count - 1);
            (stretch.at, stretch.line) = (lines.offset(), lines.line() + 1);
        }
        Ok(entries)
    }

    /// Marks URLs that have come before. Sixteen bytes per URL are kept, its hash.
    pub(crate) fn mark_repeated(&mut self) {
        self.seen = Some(HashSet::new());
    }

    /// Takes only what failed in an earlier run.
    pub(crate) fn take_only(&mut self, failed: Failed) {
        self.failed = Some(failed);
    }

    /// Has names told apart in the order of the list.
    pub(crate) fn claim_names(&mut self, wanted: Rc<Wanted>) {
        self.wanted = Some(wanted);
    }

    /// Passes over these entries, by number; up to `before` the list is to be the same as in an earlier run.
    ///
    /// # Errors
    /// It is not. A pipe tells only when it is read.
    pub(crate) fn pass_over(
        &mut self,
        done: Ranges,
        before: Far,
        input: Option<(&Path, Format)>,
    ) -> io::Result<()> {
        (self.done, self.before) = (done, before);
        let (List::File(_), Some((path, format))) = (&self.list, input) else { return Ok(()) };
        let mut again =
            Source { arguments: self.arguments.clone(), ..Source::open(Vec::new(), Some((path, format)))? };
        again.before = before;
        let mut cx = Context::from_waker(Waker::noop());
        while again.far.get().entries < before.entries {
            match again.poll_next(&mut cx) {
                Poll::Ready(Some(entry)) => drop(entry?),
                _ => return Err(io::Error::other(CHANGED)),
            }
        }
        Ok(())
    }

    /// Tells all the time how far it has come.
    pub(crate) fn far(&self) -> Rc<Cell<Far>> {
        Rc::clone(&self.far)
    }

    fn has_changed(&self) -> bool {
        let far = self.far.get();
        far.entries == self.before.entries && far != self.before
    }

    /// What tells the list from others: its first line that is an entry, and what stands before it on the command line. A
    /// pipe is as good as any other.
    pub(crate) fn mark(&self, input: Option<(&Path, Format)>) -> String {
        let mut text: String = self.arguments.texts().map(|url| url + "\n").collect();
        match (&self.list, input) {
            (List::File(_), Some((path, format))) => {
                let reader = File::open(path).and_then(compressed::plain);
                let first = reader.ok().and_then(|reader| Lines::of(reader, format).next());
                text.extend(first.and_then(Result::ok).map(|entry| entry.text));
            }
            (List::Pipe(_), _) => text.push('|'),
            _ => {}
        }
        if self.failed.is_some() {
            text.push_str("\nwhat failed");
        }
        format!("{:016x}", naming::fnv1a(text.as_bytes()))
    }

    /// Numbers an entry that has come.
    fn number(&mut self, entry: Option<io::Result<Entry>>) -> Option<io::Result<Entry>> {
        entry.map(|entry| {
            entry.map(|mut entry| {
                let mut far = self.far.get();
                entry.number = far.entries;
                far.add(&entry);
                self.far.set(far);
                if let (Some(seen), Ok(url)) = (&mut self.seen, &entry.url)
                    && !seen.insert(naming::fnv1a(url[..Position::AfterQuery].as_bytes()))
                {
                    entry.is_again = true;
                }
                if let (Some(wanted), Ok(url), false) = (&self.wanted, &entry.url, entry.is_again) {
                    wanted.claim(url, entry.number, entry.line, entry.listed_name());
                }
                entry
            })
        })
    }

    /// Whether a pipe may have more to say, or a range has more URLs than there was time for.
    pub(crate) fn is_open(&self) -> bool {
        self.is_cut || matches!(&self.list, List::Pipe(pipe) if pipe.is_open())
    }
}

const CHANGED: &str = "the list is not the one that it was up to where the job has come: what is new belongs at its end; \
                       or remove the state to begin anew";
/// After a stop, how long a pipe may be silent before its list counts as ended.
const SILENCE: Duration = Duration::from_millis(200);
/// After a stop, how long a pipe is listened to in all.
const LISTENING: Duration = Duration::from_secs(1);
/// After a stop, how long the URLs of the command line are accounted for: millions of them.
const RANGES: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::input::pipe::READ_AHEAD;

    #[test]
    fn arguments_come_before_the_list_and_are_numbered() {
        let mut list = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut list, b"\nhttp://c/\n").unwrap();
        let arguments = vec!["http://a/".to_owned(), "http://b/".to_owned()];
        let mut source = Source::open(arguments, Some((list.path(), Format::Lines))).unwrap();
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
        assert!(Source::open(Vec::new(), Some((Path::new("/"), Format::Lines))).is_err());
    }

    #[test]
    fn range_that_is_larger_than_a_disk_is_given_up() {
        let arguments = vec!["http://host/[0-999999999999999999]".to_owned()];
        let mut source = Source::open(arguments, None).unwrap();
        let since = Stopwatch::start();
        let taken = std::iter::from_fn(|| source.next_left_over(since)).count();
        assert!(taken > 0 && source.is_open());
    }

    #[test]
    fn pipe_that_never_ends_is_given_up() {
        let pipe =
            Pipe::start(|| Ok((1..).map(|line| Ok(Entry::new(line, "http://host/".to_owned()))))).unwrap();
        let list = List::Pipe(pipe);
        let mut source = Source { list, ..Source::open(Vec::new(), None).unwrap() };
        let since = Stopwatch::start();
        let taken = std::iter::from_fn(|| source.next_left_over(since)).count();
        assert!(taken > READ_AHEAD && source.is_open());
    }
}

//! One large file in several ranges at once: `--split`.
//!
//! ```text
//! answer to the first request, which asks for the whole:   ████████──────▶ goes on as far as nobody else works
//! answers to requests for ranges (If-Range):                               ███────┃         ██─────┃
//! ```
//!
//! The file is divided into segments, and workers take one after the other. Each piece is written to its place in the file, by another
//! thread. A worker that is refused (the server ignores ranges, or wants no more connections) puts its segment back and leaves; the
//! last one has to stay. In a job that can be started again the state is told of each batch once it is written.
//!
//! **Invariant**: all answers are of one version: each has the same validator and the same length, and repeats the last
//! bytes before its segment, which have to be the same. On any doubt the whole is asked for once more, in one stream.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use aioxide::Blocking;
use aioxide::time::{Instant, sleep, timeout_at};
use aioxide_http::{RequestBuilder, Response, TimeoutPhase};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, StatusCode, header};

use super::download::Good;
use super::input::Entry;
use super::manners::{Redirects, Retry, Speed};
use super::naming::{Directory, PartFile};
use super::output::Sink;
use super::report::{Failed, Outcome, Progress};
use super::resume::{Hasher, OVERLAP, Segment, Segments, Version};
use super::run::Fetch;

/// A file that comes in several ranges.
#[derive(Debug)]
pub(super) struct Split {
    part: PartFile,
    version: Version,
    length: u64,
    segments: RefCell<Segments>,
    /// What is to stand before segments, of which it is not there yet.
    seams: RefCell<Vec<(u64, Vec<u8>)>>,
    workers: Cell<usize>,
    /// Where segments begin that were asked for, and not answered yet.
    asked: RefCell<BTreeSet<u64>>,
    /// Of the answer without an end, while it waits for one of those.
    waker: RefCell<Option<Waker>>,
}

/// The answer that is there before the workers begin.
#[derive(Debug)]
pub(super) struct First {
    pub(super) response: Response,
    /// What it is to fill.
    pub(super) segment: Segment,
    /// It is the answer to a request for the whole, and goes on to the end of the file.
    pub(super) is_open: bool,
}

/// What all workers on a file know.
#[derive(Clone, Copy)]
struct Work<'a> {
    fetch: &'a Fetch,
    split: &'a Split,
    entry: &'a Entry,
    progress: &'a Progress,
    redirects: &'a Redirects,
}

/// Why a worker did not come to the end of its segment.
enum Trouble {
    /// Another attempt may go well, or another worker.
    Here(Failed),
    /// The server gives no more ranges for now.
    Refused(Failed),
    /// The server gives no ranges.
    Ignored(Failed),
    /// The file cannot be put together.
    Everywhere(Failed),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Everywhere(error.into())
    }
}

/// A file that is smaller comes in one stream.
pub(super) const LEAST: u64 = 16 << 20;

/// How long the answer without an end waits for what becomes of a request for the next segment.
const PATIENCE: Duration = Duration::from_secs(2);

/// A worker hands so much to another thread to write.
const BATCH_BYTES: usize = 512 * 1024;

/// An attempt that brought so much does not count against the number of retries.
const WELL_BYTES: u64 = 1 << 20;

impl Split {
    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be made, or the disk has no room for it.
    pub(super) async fn begin(
        directory: &Rc<Directory>,
        version: Version,
        length: u64,
        parts: usize,
    ) -> io::Result<Self> {
        let part = directory.shortage.outlast(None, async || directory.start()).await?;
        let file = Arc::clone(part.file());
        let made = aioxide::spawn_blocking(move || make_room(&file, length)).await;
        made.map_err(|error| io::Error::other(error.to_string()))??;
        Ok(Self::with(part, version, length, Segments::new(length, Default::default(), parts)))
    }

    /// Goes on with what an earlier run has left.
    pub(super) fn with(part: PartFile, version: Version, length: u64, segments: Segments) -> Self {
        let (segments, seams, workers) = (RefCell::new(segments), RefCell::default(), Cell::new(0));
        let (asked, waker) = (RefCell::default(), RefCell::default());
        Split { part, version, length, segments, seams, workers, asked, waker }
    }

    /// The segment that begins there, for the answer without an end; `None`: another worker has it.
    ///
    /// One that was asked for may be refused, and nobody else would be left to bring it: so that is waited for. But not for
    /// long, for a server may answer the next one only when it is done with this one.
    async fn go_on_at(&self, at: u64) -> Option<Segment> {
        let decided = poll_fn(|cx| {
            let free = self.segments.borrow_mut().take_at(at);
            if free.is_some() || !self.asked.borrow().contains(&at) {
                return Poll::Ready(free);
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        });
        timeout_at(Some(Instant::now() + PATIENCE), decided).await.ok().flatten()
    }

    /// Whoever asked for the segment that begins there has an answer, or has put it back.
    fn is_answered(&self, from: u64) {
        if self.asked.borrow_mut().remove(&from)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// How long it is.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// How much of it is there.
    pub(super) fn count(&self) -> u64 {
        self.segments.borrow().have().count()
    }

    /// Takes the first segment.
    pub(super) fn take(&self) -> Option<Segment> {
        self.segments.borrow_mut().take()
    }

    /// Has a request ask for a segment, and for what is before it.
    pub(super) fn ask(&self, request: RequestBuilder, segment: Segment) -> RequestBuilder {
        let from = segment.from - overlap(segment);
        let request = request.header(header::RANGE, format!("bytes={from}-{}", segment.to - 1));
        match &self.version.validator {
            Some(validator) => request.header(header::IF_RANGE, validator.condition()),
            None => request,
        }
    }

    /// Judges an answer to that.
    fn judge(&self, segment: Segment, status: StatusCode, headers: &HeaderMap) -> Result<(), Trouble> {
        let lie = |why| Trouble::Everywhere(Failed::lie(why));
        if status == StatusCode::PARTIAL_CONTENT {
            self.version.is_range(segment.from - overlap(segment), segment.to, headers).map_err(lie)
        } else if status == StatusCode::OK && self.version.is_same(headers) {
            Err(Trouble::Ignored(Failed::lie("the server ignores ranges")))
        } else if status == StatusCode::OK || status == StatusCode::RANGE_NOT_SATISFIABLE {
            Err(lie("the file has changed while its ranges came"))
        } else {
            let judged = super::report::answer::Asked::default().judge(status, headers, false);
            Err(Trouble::Refused(
                judged.err().unwrap_or_else(|| Failed::lie("no range, where one was asked for")),
            ))
        }
    }

    /// Compares what came of the bytes before a segment, as soon as they are there.
    fn compare(&self, before: u64, again: Vec<u8>) -> Result<(), Trouble> {
        let from = before - again.len() as u64;
        let is_there = again.is_empty() || self.segments.borrow().have().contains_range(from, before - 1);
        if !is_there {
            self.seams.borrow_mut().push((from, again));
            return Ok(());
        }
        let mut there = vec![0; again.len()];
        self.part.file().read_exact_at(&mut there, from)?;
        match there == again {
            true => Ok(()),
            false => {
                Err(Trouble::Everywhere(Failed::lie("the file has changed, and the server does not say so")))
            }
        }
    }
}

/// So many bytes before a segment are asked for, too.
fn overlap(segment: Segment) -> u64 {
    segment.from.min(OVERLAP)
}

/// Takes the room on the disk that the file needs, where the file system can say that it is there.
fn make_room(file: &File, length: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length) {
        Ok(()) => return Ok(()),
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => return Err(error.into()),
        Err(_) => {}
    }
    file.set_len(length)
}

impl Fetch {
    /// Whether a file comes in several ranges, by the head of the answer to the request for the whole.
    pub(super) fn splits(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        version: &Version,
        progress: &Progress,
    ) -> Option<u64> {
        let length = version.length.filter(|length| *length >= LEAST)?;
        let ranges = headers
            .get(header::ACCEPT_RANGES)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"bytes"));
        let wanted = self.demands.split > 1 && self.archive.is_none() && self.directory.is_some();
        let fits = status == StatusCode::OK && ranges && version.validator.is_some();
        (wanted && fits && !progress.whole_only.get()).then_some(length)
    }

    /// Receives a file in several ranges, to its end. `first` is an answer that has come, and the segment at whose beginning it begins.
    pub(super) async fn receive_split(
        &self,
        split: &Split,
        first: First,
        redirects: &Redirects,
        entry: &Entry,
        progress: &Progress,
    ) -> Result<(), Failed> {
        progress.in_ranges.set(true);
        let work = Work { fetch: self, split, entry, progress, redirects };
        let more = split.segments.borrow().free().min(self.demands.split.saturating_sub(1));
        split.workers.set(1 + more);
        let mut workers: FuturesUnordered<_> = (0..more).map(|_| work.run(None)).collect();
        workers.push(work.run(Some(first)));
        let mut result = Ok(());
        while let Some(ended) = workers.next().await {
            split.workers.set(split.workers.get() - 1);
            if ended.is_err() {
                result = ended;
                break;
            }
        }
        drop(workers);
        if result.is_ok() {
            result = work.check_seams();
        }
        result.map_err(|trouble| match trouble {
            Trouble::Everywhere(failed) => {
                progress.whole_only.set(true);
                self.start_over(progress);
                failed
            }
            // Each range has been tried often enough.
            Trouble::Here(failed) | Trouble::Refused(failed) | Trouble::Ignored(failed) => {
                failed.worth(Retry::Never)
            }
        })
    }

    /// The file is whole: proves it and gives it its name.
    pub(super) async fn keep_split(
        &self,
        split: Split,
        name: &str,
        headers: &HeaderMap,
        entry: &Entry,
        progress: &Progress,
    ) -> Result<Good, Failed> {
        let Some(directory) = &self.directory else { return Ok((Outcome::Ok, None)) };
        let mut digests = super::resume::Digest::of_answer(headers, false);
        digests.extend(self.digests(entry));
        let mut hasher = Hasher::new(digests);
        if let Some(running) = hasher.take() {
            let (file, length) = (Arc::clone(split.part.file()), split.length);
            let read = aioxide::spawn_blocking(move || running.read(&file, length)).await;
            hasher = Some(read.map_err(|error| io::Error::other(error.to_string()))??);
        }
        let sink = Sink::resumed(Rc::clone(directory), split.part, split.length, hasher);
        self.keep(sink, name, headers, Vec::new(), entry, progress).await
    }

    /// Has the state of the job, if there is one, know of a file that comes in ranges.
    pub(super) fn let_split_stay(&self, split: &mut Split, number: u64) -> io::Result<()> {
        let mut account = self.account.borrow_mut();
        let Some(journal) = &mut account.journal else { return Ok(()) };
        let name = journal.part_name(number);
        journal.has_ranges(number, &name, &split.version, split.segments.borrow().have())?;
        split.part.stay(&name)
    }
}

impl Work<'_> {
    /// Works on segments until none is left, or until others do better.
    async fn run(self, mut first: Option<First>) -> Result<(), Trouble> {
        let retries = &self.fetch.retries;
        let mut in_a_row = 0;
        loop {
            let first = first.take();
            let taken = first.as_ref().map(|first| first.segment).or_else(|| self.split.take());
            let Some(mut segment) = taken else { return Ok(()) };
            let began = segment.from;
            if first.is_none() {
                self.split.asked.borrow_mut().insert(began);
            }
            let result = self.fill(&mut segment, first).await;
            let Err(trouble) = result else {
                in_a_row = 0;
                continue;
            };
            self.split.segments.borrow_mut().put_back(segment);
            self.split.is_answered(began);
            in_a_row = if segment.from >= began + WELL_BYTES { 1 } else { in_a_row + 1 };
            let is_last = self.split.workers.get() == 1;
            let failed = match trouble {
                Trouble::Everywhere(_) => return Err(trouble),
                // The others come to it when they are done with theirs.
                Trouble::Refused(_) | Trouble::Ignored(_) if !is_last => return Ok(()),
                Trouble::Ignored(failed) => return Err(Trouble::Everywhere(failed)),
                Trouble::Refused(failed) | Trouble::Here(failed) => failed,
            };
            let in_time =
                |pause| self.fetch.demands.time.is_none_or(|time| self.progress.elapsed() + pause < time);
            match retries.pause(in_a_row, failed.retry).filter(|pause| in_time(*pause)) {
                Some(pause) => sleep(pause).await,
                None if is_last => return Err(Trouble::Here(failed)),
                None => return Ok(()),
            }
        }
    }

    /// Fills a segment; what is left of it afterwards is not written.
    async fn fill(&self, segment: &mut Segment, first: Option<First>) -> Result<(), Trouble> {
        let (mut response, is_open) = match first {
            Some(First { response, is_open, .. }) => (response, is_open),
            None => (self.ask(*segment).await?, false),
        };
        if !is_open {
            self.split.judge(*segment, response.status(), response.headers())?;
            self.split.is_answered(segment.from);
        }
        let before = segment.from;
        let mut batch = Batch { at: before, pieces: Vec::new(), bytes: 0, writing: None };
        let mut again = Again { left: if is_open { 0 } else { overlap(*segment) }, bytes: Vec::new() };
        let received = self.receive(segment, &mut response, is_open, &mut batch, &mut again).await;
        // What came is written, whatever ended it.
        let settled = match self.written(segment, &mut batch).await {
            Ok(()) => {
                self.write(&mut batch);
                self.written(segment, &mut batch).await
            }
            failed => failed,
        };
        received.and(settled)
    }

    async fn receive(
        &self,
        segment: &mut Segment,
        response: &mut Response,
        is_open: bool,
        batch: &mut Batch,
        again: &mut Again,
    ) -> Result<(), Trouble> {
        let Work { fetch, split, progress, .. } = *self;
        let before = segment.from;
        let least =
            fetch.demands.min_speed.map(|(least, over)| ((least / split.workers.get() as u64).max(1), over));
        let mut speed = least.map(|(least, over)| Speed::new(least, over));
        let mut at = before;
        let mut first = before == 0 && !fetch.demands.any_content;
        let mut piece = Bytes::new();
        loop {
            if at == segment.to {
                // An answer without an end goes on as long as nobody else works there.
                match if is_open { split.go_on_at(at).await } else { None } {
                    Some(next) => segment.to = next.to,
                    None => return Ok(()),
                }
            }
            if piece.is_empty() {
                piece = self.piece(response, &mut speed).await?;
            }
            if again.left > 0 {
                let repeated =
                    piece.split_to(piece.len().min(usize::try_from(again.left).unwrap_or(usize::MAX)));
                again.left -= repeated.len() as u64;
                again.bytes.extend_from_slice(&repeated);
                if again.left == 0 {
                    split.compare(before, std::mem::take(&mut again.bytes))?;
                }
            }
            if piece.is_empty() {
                continue;
            }
            let room = usize::try_from(segment.to - at).unwrap_or(usize::MAX);
            let own = piece.split_to(piece.len().min(room));
            let share = progress.add(own.len());
            fetch.account.borrow_mut().display.received(own.len(), share);
            if std::mem::take(&mut first) {
                fetch.check_content(self.entry, response, &own).map_err(Trouble::Everywhere)?;
            }
            at += own.len() as u64;
            batch.bytes += own.len();
            batch.pieces.push(own);
            if batch.bytes >= BATCH_BYTES {
                self.written(segment, batch).await?;
                self.write(batch);
            }
        }
    }

    /// The next piece of an answer.
    async fn piece(&self, response: &mut Response, speed: &mut Option<Speed>) -> Result<Bytes, Trouble> {
        let Work { fetch, progress, .. } = *self;
        let stalled = |failed| {
            progress.stalls.set(progress.stalls.get() + 1);
            Err(Trouble::Here(failed))
        };
        let next = loop {
            let Some(watched) = speed else { break response.chunk().await };
            if let Some(next) = watched.watch(response.chunk()).await {
                break next;
            }
            if let Some(told) = watched.too_slow(0) {
                return stalled(told);
            }
        };
        let piece = match next {
            Ok(Some(piece)) => piece,
            Ok(None) => {
                return Err(Trouble::Everywhere(Failed::lie(
                    "a range does not end where its Content-Range does",
                )));
            }
            Err(error) => {
                let failed = Failed::from_http(&error, response.url());
                return match error.timeout_phase() {
                    Some(TimeoutPhase::Read) => stalled(failed),
                    _ => Err(Trouble::Here(failed)),
                };
            }
        };
        if let Some(bandwidth) = &fetch.bandwidth
            && timeout_at(fetch.until(progress), bandwidth.received(piece.len())).await.is_err()
        {
            let failed = Failed::new(Outcome::Timeout, "no time is left at --limit-rate");
            return Err(Trouble::Everywhere(failed));
        }
        match speed.as_mut().and_then(|speed| speed.too_slow(piece.len())) {
            Some(told) => stalled(told),
            None => Ok(piece),
        }
    }

    /// Asks for a segment.
    async fn ask(&self, segment: Segment) -> Result<Response, Trouble> {
        let Work { fetch, split, entry, progress, redirects } = *self;
        let send = async || {
            let mut request = split.ask(fetch.request(entry, progress), segment);
            if let Some(robots) = &fetch.robots {
                request = request.redirect_policy(redirects.policy(robots));
            }
            request.send().await
        };
        let answer = fetch.no_connections.outlast(fetch.until(progress), &send).await;
        let response = answer.map_err(|error| {
            let asked = error.url().cloned().or(entry.url.as_ref().ok().cloned());
            let failed = asked.map(|url| Failed::from_http(&error, &url));
            Trouble::Here(failed.unwrap_or_else(|| Failed::new(Outcome::ProtocolError, error.to_string())))
        })?;
        Ok(response)
    }

    /// Hands what has come to a thread.
    fn write(&self, batch: &mut Batch) {
        if batch.pieces.is_empty() {
            return;
        }
        let (file, at, sync) = (Arc::clone(self.split.part.file()), batch.at, self.fetch.demands.fsync);
        let pieces = std::mem::take(&mut batch.pieces);
        batch.at += std::mem::take(&mut batch.bytes) as u64;
        let writing = aioxide::spawn_blocking(move || {
            let mut at = at;
            for piece in &pieces {
                file.write_all_at(piece, at)?;
                at += piece.len() as u64;
            }
            if sync { file.sync_data() } else { Ok(()) }
        });
        batch.writing = Some((writing, batch.at));
    }

    /// Waits until what was handed over is written, and has the state know of it.
    async fn written(&self, segment: &mut Segment, batch: &mut Batch) -> Result<(), Trouble> {
        let Some((writing, to)) = batch.writing.take() else { return Ok(()) };
        writing.await.map_err(|error| io::Error::other(error.to_string()))??;
        let mut segments = self.split.segments.borrow_mut();
        segments.written(Segment { from: segment.from, to });
        segment.from = to;
        let mut account = self.fetch.account.borrow_mut();
        if let Some(journal) = &mut account.journal {
            let (number, version) = (self.entry.number, &self.split.version);
            let name = journal.part_name(number);
            journal.has_ranges(number, &name, version, segments.have())?;
        }
        Ok(())
    }

    /// Compares what stands before segments with what came of it a second time.
    fn check_seams(&self) -> Result<(), Trouble> {
        if !self.split.segments.borrow().is_whole() {
            return Err(Trouble::Everywhere(Failed::lie("ranges of the file are missing")));
        }
        let seams = self.split.seams.take();
        seams.into_iter().try_for_each(|(from, again)| self.split.compare(from + again.len() as u64, again))
    }
}

/// What has come for a segment and is not written yet.
struct Batch {
    /// Where it goes.
    at: u64,
    pieces: Vec<Bytes>,
    bytes: usize,
    /// The thread that writes what came before, and where that ends.
    writing: Option<(Blocking<io::Result<()>>, u64)>,
}

/// What comes a second time.
struct Again {
    left: u64,
    bytes: Vec<u8>,
}

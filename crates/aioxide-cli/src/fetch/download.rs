//! One attempt to download one URL.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use aioxide::time::{Instant, timeout_at};
use aioxide_http::{RequestBuilder, Response, TimeoutPhase, Timeouts, Transcripts};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::input::Entry;
use super::job::Job;
use super::manners::{Named, Redirects, Speed};
use super::naming::{self, Wanted};
use super::output::{Archive, Sink};
use super::report::answer::Answer;
use super::report::content;
use super::report::{Failed, Outcome, Progress, Told};
use super::resume::{Digest, Hasher, Part, Partial, Ranges, Segments, Validator, Version};
use super::run::Fetch;
use super::split::{First, Split};

/// What became of a download that went well, and the name of its file.
pub(super) type Good = (Outcome, Option<String>);

/// What a download may take, and what of it is kept.
#[derive(Debug, Default)]
pub(super) struct Demands {
    /// Of every request, but for the time in all.
    pub(super) timeouts: Timeouts,
    /// The time for a URL, all attempts and pauses together.
    pub(super) time: Option<Duration>,
    pub(super) max_size: Option<u64>,
    /// Bytes per second, over so long a time.
    pub(super) min_speed: Option<(u64, Duration)>,
    /// How files are named.
    pub(super) wanted: Rc<Wanted>,
    /// A checksum for the only URL.
    pub(super) digest: Option<Digest>,
    /// Files and their names are on the disk before they count.
    pub(super) fsync: bool,
    /// In so many ranges a large file comes at a time.
    pub(super) split: usize,
    /// Only what is newer than the file that is there is asked for, and files get the server's time.
    pub(super) newer: bool,
    pub(super) skip_existing: bool,
    /// Servers name their files.
    pub(super) server_names: bool,
    /// Bodies are decoded.
    pub(super) decodes: bool,
    /// A page in place of a picture is taken for what it is.
    pub(super) any_content: bool,
}

impl Fetch {
    /// Tries to download one URL; returns what became of it, and the name of its file. What an attempt leaves that the next
    /// one can go on from is in the job.
    pub(super) async fn download(&self, job: &mut Job) -> Result<Good, Failed> {
        let Job { entry, progress, partial, .. } = job;
        let url = entry.url.as_ref().map_err(|reason| Failed::invalid_url(reason))?;
        if entry.is_again {
            return Ok((Outcome::Skipped, None));
        }
        let name = self.name(entry, url, naming::from_url(url));
        let there = Cell::new(None);
        if self.demands.skip_existing || self.demands.newer {
            there.set(self.directory.as_ref().and_then(|directory| directory.stood_before(&name)));
            if self.demands.skip_existing && there.get().is_some() {
                return Ok((Outcome::Skipped, Some(name)));
            }
        }
        let redirects = Redirects::default();
        let warc = match &self.archive {
            Some(Archive::Warc(warc)) => Some(warc),
            _ => None,
        };
        let transcripts = warc.map(|_| Transcripts::default());
        let exchanges = || transcripts.as_ref().map(Transcripts::take).unwrap_or_default();
        if let Some(robots) = &self.robots {
            let timeouts = self.robots_timeouts(progress);
            Box::pin(robots.permit(&self.session, url, Named::ByUser, timeouts)).await?;
        }
        let mut held = partial.take();
        // What came in ranges is in the state alone.
        let mut split = match held.is_none() && !progress.whole_only.get() {
            true => self.ranges_left(entry),
            false => None,
        };
        if held.is_none()
            && split.is_none()
            && progress.attempts.get() == 1
            && let Some(left) = self.left_by_earlier_run(entry)
        {
            held = Box::pin(self.reopen(left, entry)).await?;
        }
        let segment = split.as_deref().and_then(Split::take);
        let from = match &mut held {
            Some(held) => held.sink.continue_from()?,
            None => 0,
        };
        let send = async || {
            let mut request = self.request(entry, progress);
            if let Some(transcripts) = &transcripts {
                // Of an earlier try, which robots.txt had yet to permit.
                drop(transcripts.take());
                request = request.transcripts(transcripts);
            }
            if let Some(robots) = &self.robots {
                request = request.redirect_policy(redirects.policy(robots));
            }
            if let (Some(split), Some(segment)) = (&split, segment) {
                request = split.ask(request, segment);
            } else if let Some(held) = &held {
                request = request.header(header::RANGE, format!("bytes={from}-"));
                if let Some(validator) = &held.version.validator {
                    request = request.header(header::IF_RANGE, validator.condition());
                }
            } else if let Some((time, _)) = there.get() {
                request = request.header(header::IF_MODIFIED_SINCE, httpdate::fmt_http_date(time));
            }
            request.send().await
        };
        let failed = |error: aioxide_http::Error| Failed::from_http(&error, url);
        let mut response = loop {
            match self.no_connections.outlast(self.until(progress), &send).await {
                Ok(response)
                    if response.status() == StatusCode::NOT_MODIFIED
                        && held.is_none()
                        && Box::pin(
                            self.has_another_length(entry, progress, &there, &response, &redirects),
                        )
                        .await =>
                {
                    there.set(None);
                }
                Ok(response) => {
                    // Once its rules are known, the redirect is followed.
                    let (Some(robots), Some(to)) = (&self.robots, redirects.stopped_at()) else {
                        break response;
                    };
                    drop(response);
                    let named_by = if to.origin() == url.origin() { Named::ByUser } else { Named::ByServer };
                    let timeouts = self.robots_timeouts(progress);
                    let permitted = robots.permit(&self.session, &to, named_by, timeouts);
                    if let Err(failed) = Box::pin(permitted).await {
                        *partial = held;
                        return Err(failed.at(&to));
                    }
                    redirects.permit(to);
                }
                Err(error) => {
                    *partial = held;
                    return Err(failed(error));
                }
            }
        };
        let status = response.status();
        progress.status.set(Some(status.as_u16()));
        progress.first_byte.set(Some(response.timings().first_byte));
        progress.answer.replace(told(&response, url));
        let url_of = |own: String| self.name(entry, url, own);
        let named = |headers: &HeaderMap| {
            let value = headers.get(header::CONTENT_DISPOSITION).filter(|_| self.demands.server_names);
            value.and_then(|value| naming::from_disposition(value, url)).map(url_of)
        };
        if let (Some(split), Some(segment)) = (split.take(), segment) {
            let headers = response.headers().clone();
            progress.length.set(Some(split.length()));
            self.account.borrow_mut().display.announced(split.length());
            progress.resumed.set(progress.resumed.get() + split.count());
            progress.go_back_to(split.count());
            let first = First { response, segment, is_open: false };
            let name = named(&headers).unwrap_or(name);
            return Box::pin(async {
                self.receive_split(&split, first, &redirects, entry, progress).await?;
                self.keep_split(*split, &name, &headers, entry, progress).await
            })
            .await;
        }
        let continues = held.is_some() && status == StatusCode::PARTIAL_CONTENT;
        let doubt = match status {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                Some("the part that was there is not one of the file any more")
            }
            // What was there was newer, or it would not have come; If-Range is no question to which this is an answer.
            StatusCode::NOT_MODIFIED => Some("304 to a request for the rest of a file"),
            _ => None,
        };
        if let (Some(doubt), Some(_)) = (doubt, &held) {
            progress.whole_only.set(true);
            self.start_over(progress);
            return Err(Failed::lie(doubt));
        }
        let listed = entry.more.iter().flat_map(|more| &more.headers);
        let asked = self.asked.with(listed.map(|(name, value)| (name, value)));
        if !continues {
            match asked.judge(status, response.headers(), there.get().is_some()) {
                Ok(Answer::Whole) => {}
                Ok(Answer::NotModified) => return Ok((Outcome::NotModified, there.get().map(|_| name))),
                Err(failed) => {
                    if let Some(warc) = warc {
                        // To an archive it is an answer like any other.
                        let (mut sink, _) = self.start(entry, progress, &response);
                        sink.hasher = None;
                        let whole = self.receive(&mut response, &mut sink, None, None, progress).await;
                        if whole.is_ok() {
                            Box::pin(self.archive(warc, sink, exchanges())).await?;
                        }
                        self.start_over(progress);
                        return Err(failed);
                    }
                    // The page is of no use and not waited for; dropped, the answer gives its connection back if it can.
                    progress.add(at_hand(&mut response).await);
                    progress.go_back_to(0);
                    *partial = held;
                    return Err(failed);
                }
            }
        }
        let (mut sink, version) = match held {
            Some(held) if continues => {
                let Partial { sink, version } = *held;
                match version.continues(from, response.headers()) {
                    Ok(length) => {
                        progress.resumed.set(progress.resumed.get() + sink.written());
                        self.account.borrow_mut().display.forget(progress.go_back_to(from));
                        (sink, Version { length, ..version })
                    }
                    Err(why) => {
                        progress.whole_only.set(true);
                        self.start_over(progress);
                        return Err(Failed::lie(why));
                    }
                }
            }
            // It has changed meanwhile, or comes whole or not at all.
            _ => {
                self.start_over(progress);
                self.start(entry, progress, &response)
            }
        };
        if let (Some(limit), Some(length)) = (self.demands.max_size, version.length)
            && length > limit
        {
            return Err(too_large(limit));
        }
        if let Some(length) = version.length {
            progress.length.set(Some(length));
            self.account.borrow_mut().display.announced(length);
        }
        let ranges = self.splits(status, response.headers(), &version, progress).filter(|_| !asked.is_part());
        if let (Some(length), Some(directory)) = (ranges, &self.directory) {
            let headers = response.headers().clone();
            let name = named(&headers).unwrap_or(name);
            return Box::pin(async {
                let mut split = Split::begin(directory, version, length, self.demands.split).await?;
                self.let_split_stay(&mut split, entry.number)?;
                if let Some(segment) = split.take() {
                    let first = First { response, segment, is_open: true };
                    self.receive_split(&split, first, &redirects, entry, progress).await?;
                }
                self.keep_split(split, &name, &headers, entry, progress).await
            })
            .await;
        }
        // Where the coding is undone, the length is not the one of what comes.
        let is_plain = !(self.demands.decodes && is_coded(response.headers()));
        let part = match status {
            StatusCode::PARTIAL_CONTENT if !continues => {
                asked.part(response.headers()).map_err(Failed::lie)?
            }
            _ => None,
        };
        // A record is of one answer, not of parts of several.
        let stays = version.validator.is_some() && !asked.is_part() && warc.is_none();
        let mut result =
            self.receive(&mut response, &mut sink, stays.then_some(&version), Some(entry), progress).await;
        if result.is_ok() && is_plain && part.is_some_and(|length| progress.bytes() != length) {
            result = Err(Failed::lie("the part does not end where its Content-Range does"));
        }
        if result.is_ok() && continues && version.length.is_some_and(|length| progress.bytes() != length) {
            result = Err(Failed::lie("the part does not end where the file does"));
        }
        if let Err(failed) = result {
            let kept = failed.is_worthwhile()
                && !progress.whole_only.get()
                && !asked.is_part()
                && warc.is_none()
                && (version.validator.is_some() || sink.hasher.is_some() && !self.demands.decodes);
            if kept && sink.settle().await? {
                *partial = Some(Box::new(Partial { sink, version }));
            } else {
                self.start_over(progress);
            }
            return Err(failed);
        }
        let name = named(response.headers()).unwrap_or(name);
        self.keep(sink, &name, response.headers(), exchanges(), entry, progress).await
    }

    /// Refuses a web page where something else is promised, by the name that the user has chosen, or by the URL and where it led.
    pub(super) fn check_content(
        &self,
        entry: &Entry,
        response: &Response,
        beginning: &[u8],
    ) -> Result<(), Failed> {
        let Ok(url) = &entry.url else { return Ok(()) };
        let chosen = self.demands.wanted.is_chosen(entry.listed_name()).then(|| {
            // What stands in a query is seldom what comes.
            let mut bare = url.clone();
            bare.set_query(None);
            self.name(entry, &bare, naming::from_url(&bare))
        });
        let promised = match chosen.as_deref().filter(|chosen| content::extension(chosen).is_some()) {
            Some(chosen) => content::promised([chosen]),
            None => content::promised([url.path(), response.url().path()]),
        };
        let Some(extension) = promised else { return Ok(()) };
        let coded = is_coded(response.headers()) && !self.demands.decodes;
        content::check_content(extension, response.headers(), (!coded).then_some(beginning))
    }

    /// The name that the file of an entry is to have; `own` is the one that it has by itself.
    fn name(&self, entry: &Entry, url: &Url, own: String) -> String {
        self.demands.wanted.name(url, entry.number, entry.line, entry.listed_name(), own)
    }

    /// Whether the file that is there has another length than the server's, which says that it is no newer: it was cut, or changed
    /// by somebody.
    async fn has_another_length(
        &self,
        entry: &Entry,
        progress: &Progress,
        there: &Cell<Option<(SystemTime, u64)>>,
        response: &Response,
        redirects: &Redirects,
    ) -> bool {
        let length = |headers: &HeaderMap| {
            let length = headers.get(header::CONTENT_LENGTH).filter(|_| !is_coded(headers));
            length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        };
        let Some((_, bytes)) = there.get().filter(|_| !self.demands.decodes) else { return false };
        // Few servers tell it in such an answer, and some tell 0, the length of the answer.
        let mut told = length(response.headers()).filter(|length| *length > 0);
        if told.is_none() {
            let mut request = self.request_by(Method::HEAD, entry, progress);
            if let Some(robots) = &self.robots {
                request = request.redirect_policy(redirects.policy(robots));
            }
            let head = request.send().await.ok().filter(|head| head.status() == StatusCode::OK);
            told = head.and_then(|head| length(head.headers()));
        }
        told.map_or(bytes == 0, |told| told != bytes)
    }

    /// The request for an entry, with the time that is left.
    pub(super) fn request(&self, entry: &Entry, progress: &Progress) -> RequestBuilder {
        self.request_by(Method::GET, entry, progress)
    }

    fn request_by(&self, method: Method, entry: &Entry, progress: &Progress) -> RequestBuilder {
        // Checked by the caller, who has the reason if it is none.
        let mut request = match &entry.url {
            Ok(url) => self.session.request(method, url),
            Err(_) => self.session.request(method, entry.text.as_str()),
        };
        if let Some(more) = &entry.more {
            for (name, value) in &more.headers {
                request = request.header(name.clone(), value.clone());
            }
        }
        if let Some(digest) = &self.access.digest {
            request = request.digest_auth(digest);
        }
        let total = self.time_left(progress);
        if total.is_some() {
            request = request.timeouts(Timeouts { total, ..self.demands.timeouts });
        }
        request
    }

    /// How long this download may take yet.
    fn time_left(&self, progress: &Progress) -> Option<Duration> {
        self.demands.time.map(|time| time.saturating_sub(progress.elapsed()))
    }

    /// When its time is up.
    pub(super) fn until(&self, progress: &Progress) -> Option<Instant> {
        self.time_left(progress).map(|left| Instant::now() + left)
    }

    /// For a robots.txt, which others wait for, too.
    fn robots_timeouts(&self, progress: &Progress) -> Timeouts {
        let left = self.time_left(progress);
        Timeouts { total: Some(left.unwrap_or(ROBOTS_TIME).min(ROBOTS_TIME)), ..self.demands.timeouts }
    }

    /// What came so far is of no use.
    pub(super) fn start_over(&self, progress: &Progress) {
        progress.resumed.set(0);
        self.account.borrow_mut().display.forget(progress.go_back_to(0));
    }

    /// A sink for a body that comes from its beginning, and what version of the file it is.
    fn start(&self, entry: &Entry, progress: &Progress, response: &Response) -> (Sink, Version) {
        let headers = response.headers();
        progress.length.set(None);
        if self.demands.decodes && is_coded(headers) {
            // Length, validator and checksums are those of what is coded: of no use for a part of what is decoded.
            return (Sink::new(self.directory.clone(), Hasher::new(self.digests(entry))), Version::default());
        }
        let length = response.content_length();
        let version =
            Version { validator: Validator::of(headers), length, encoding: Version::coding(headers) };
        let mut digests = Digest::of_answer(headers, response.status() == StatusCode::PARTIAL_CONTENT);
        digests.extend(self.digests(entry));
        (Sink::new(self.directory.clone(), Hasher::new(digests)), version)
    }

    /// Receives a body, to its end. `stays`: a long part of this version may be gone on from in a later run. `entry`: what promises
    /// the content; without one, any will do.
    async fn receive(
        &self,
        response: &mut Response,
        sink: &mut Sink,
        stays: Option<&Version>,
        entry: Option<&Entry>,
        progress: &Progress,
    ) -> Result<(), Failed> {
        let mut speed = self.demands.min_speed.map(|(least, over)| Speed::new(least, over));
        let mut first = !self.demands.any_content && progress.bytes() == 0;
        loop {
            let next = match &mut speed {
                None => response.chunk().await,
                Some(watched) => match watched.watch(response.chunk()).await {
                    Some(next) => next,
                    None => match watched.too_slow(0) {
                        None => continue,
                        Some(told) => {
                            progress.stalls.set(progress.stalls.get() + 1);
                            return Err(told);
                        }
                    },
                },
            };
            let piece = match next {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(()),
                Err(error) => {
                    if error.timeout_phase() == Some(TimeoutPhase::Read) {
                        progress.stalls.set(progress.stalls.get() + 1);
                    }
                    let asked = entry.and_then(|entry| entry.url.as_ref().ok());
                    return Err(Failed::from_http(&error, asked.unwrap_or(response.url())));
                }
            };
            let share = progress.add(piece.len());
            self.account.borrow_mut().display.received(piece.len(), share);
            if let Some(limit) = self.demands.max_size.filter(|limit| progress.bytes() > *limit) {
                return Err(too_large(limit));
            }
            if let Some(entry) = entry.filter(|_| std::mem::take(&mut first)) {
                self.check_content(entry, response, &piece)?;
            }
            if let Some(bandwidth) = &self.bandwidth {
                let within = timeout_at(self.until(progress), bandwidth.received(piece.len()));
                if within.await.is_err() {
                    return Err(Failed::new(Outcome::Timeout, "no time is left at --limit-rate"));
                }
            }
            if let Some(speed) = &mut speed
                && let Some(told) = speed.too_slow(piece.len())
            {
                progress.stalls.set(progress.stalls.get() + 1);
                return Err(told);
            }
            sink.push(piece).await?;
            if let (Some(version), Some(entry)) = (stays, entry) {
                self.let_stay(sink, version, entry.number)?;
            }
        }
    }

    /// Lets a long part outlive this run, in a job that can be started again.
    fn let_stay(&self, sink: &mut Sink, version: &Version, number: u64) -> io::Result<()> {
        let mut account = self.account.borrow_mut();
        let (Some(journal), Some(part)) = (&mut account.journal, sink.worth_keeping()) else { return Ok(()) };
        let name = journal.part_name(number);
        journal.has_part(number, &name, version)?;
        part.stay(&name)
    }

    /// What is left of an entry that came in ranges, in this run or an earlier one.
    fn ranges_left(&self, entry: &Entry) -> Option<Box<Split>> {
        let part = self.account.borrow().journal.as_ref()?.part(entry.number).cloned()?;
        let (have, length, directory) = (part.have?, part.version.length?, self.directory.as_ref()?);
        let (file, bytes) = directory.reopen(&part.name).ok()?;
        let mut ranges = Ranges::default();
        // One byte is always missing: the server is asked whether it still is the same file.
        let most = length.checked_sub(2)?;
        have.iter().for_each(|(first, last)| ranges.insert_range(*first, most.min(*last)));
        let is_sound = bytes == length && have.iter().all(|(_, last)| *last < length);
        let segments = Segments::new(length, ranges, self.demands.split);
        is_sound.then(|| Box::new(Split::with(file, part.version, length, segments)))
    }

    /// What an earlier run of the job has left of an entry, unless it came in ranges.
    fn left_by_earlier_run(&self, entry: &Entry) -> Option<Part> {
        let part = self.account.borrow().journal.as_ref()?.part(entry.number).cloned()?;
        part.have.is_none().then_some(part)
    }

    /// Opens what an earlier run has left, and reads what its checksum is to be made of.
    async fn reopen(&self, part: Part, entry: &Entry) -> Result<Option<Box<Partial>>, Failed> {
        let Some(directory) = &self.directory else { return Ok(None) };
        // One that is gone, or was never made, is not missed.
        let Ok((file, written)) = directory.reopen(&part.name) else { return Ok(None) };
        let mut hasher = Hasher::new(self.digests(entry));
        if let Some(running) = hasher.take() {
            let bytes = Arc::clone(file.file());
            let read = aioxide::spawn_blocking(move || running.read(&bytes, written)).await;
            hasher = Some(read.map_err(|error| io::Error::other(error.to_string()))??);
        }
        let sink = Sink::resumed(Rc::clone(directory), file, written, hasher);
        Ok(Some(Box::new(Partial { sink, version: part.version })))
    }

    /// The checksums that an entry is to have.
    pub(super) fn digests(&self, entry: &Entry) -> Vec<Digest> {
        let listed = entry.more.iter().flat_map(|more| &more.digests);
        self.demands.digest.iter().chain(listed).cloned().collect()
    }
}

/// No host's robots.txt is waited for longer.
const ROBOTS_TIME: Duration = Duration::from_secs(60);

fn is_coded(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_ENCODING)
}

fn too_large(limit: u64) -> Failed {
    Failed::new(Outcome::TooLarge, format!("larger than {limit} bytes"))
}

/// What the report tells of an answer.
fn told(response: &Response, url: &Url) -> Told {
    let text = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let elsewhere = !response.history().is_empty() && response.url() != url;
    Told {
        final_url: elsewhere.then(|| response.url().to_string()),
        content_type: text(header::CONTENT_TYPE).map(str::to_owned),
        encoding: text(header::CONTENT_ENCODING).map(str::to_owned),
    }
}

/// How many bytes of the body have come already.
async fn at_hand(response: &mut Response) -> usize {
    let mut bytes = 0;
    poll_fn(|cx| {
        while let Poll::Ready(Ok(Some(piece))) = response.poll_chunk(cx) {
            bytes += piece.len();
        }
        Poll::Ready(bytes)
    })
    .await
}

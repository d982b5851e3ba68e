//! `aioxide fetch`: downloads many URLs concurrently through one session.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::Poll;

use aioxide_http::{Response, Session, Timeouts};

use crate::Failure;
use crate::args::{FetchArgs, Header};

mod answer;
mod descriptors;
mod directory;
mod display;
mod failure;
pub(crate) mod input;
mod meter;
mod names;
mod progress;
mod report;
mod schedule;
mod secret;
mod sink;
mod slots;
mod source;
mod state;
mod stop;
mod streams;

use answer::{Answer, Asked};
use directory::Directory;
use display::Display;
use failure::Failed;
use input::Entry;
use progress::Progress;
use report::{Outcome, Report};
use schedule::Schedule;
use sink::Sink;
use source::Source;
use state::{Next, State};
use stop::{Signals, Stop};

use crate::clock::Stopwatch;

/// Runs the command.
///
/// # Errors
/// What keeps it from starting: a list, a report or a directory that cannot be opened, or that are one.
pub(crate) fn run(mut args: FetchArgs) -> Result<ExitCode, Failure> {
    let headers = args.headers()?;
    let urls = std::mem::take(&mut args.urls);
    let input = args.input.as_deref();
    let source = named(input.unwrap_or("-".as_ref()), Source::open(urls, input))?;
    let mut directory = match args.discard {
        true => None,
        false => Some(named(&args.output, Directory::open(&args.output, args.overwrite))?),
    };
    // After the directory, in which it may stand.
    let report = args.report.as_deref().map(|path| named(path, Report::open(path))).transpose()?;
    let (list, report_file) = (source.identity(), report.as_ref().map(Report::identity).transpose()?);
    streams::check(&args, list, report_file)?;
    if let (Some(report), Some(path)) = (&report, &args.report) {
        named(path, report.begin())?;
    }
    if let Some(directory) = &mut directory {
        directory.spare(list.into_iter().chain(report_file).chain(streams::outputs(&args)));
    }
    let typed = input == Some("-".as_ref()) && io::stdin().is_terminal();
    let plain = typed || report.as_ref().is_some_and(Report::is_terminal);
    let display = Display::new(args.quiet, args.marks, plain, || source.total(input));
    if typed {
        display.say("Type URLs, one per line; Ctrl-D ends the list.");
    }
    // A download has a connection and, past its first bytes, a file.
    let jobs = descriptors::make_room(args.jobs as usize, if args.discard { 1 } else { 2 });
    let per_host = args.per_host.filter(|limit| (*limit as usize) < jobs);
    let state = State::new(Schedule::new(source, per_host), display, report);
    let timeouts = Timeouts {
        total: args.timeout,
        connect: Some(args.connect_timeout),
        read: Some(args.read_timeout),
        ..Timeouts::NONE
    };
    aioxide::run(async move {
        // What is fetched is kept as it is, so no coding is asked for: an archive stays an archive.
        let mut session = Session::builder().limit(jobs).timeouts(timeouts).decompress(false);
        // The schedule counts the hosts of the list, the session those that redirects lead to.
        session = session.limit_per_host(per_host.map_or(0, |limit| limit as usize));
        let asked = Asked::new(headers.iter().map(|header| &header.name), directory.is_none());
        for Header { name, mut value, is_secret } in headers {
            value.set_sensitive(is_secret);
            session = session.header(name, value);
        }
        let (fail_fast, state) = (args.fail_fast, RefCell::new(state));
        let fetch = Rc::new(Fetch { session: session.build()?, directory, asked, jobs, fail_fast, state });
        // They are heard until all is told.
        let _signals = fetch.run_all().await;
        Ok(fetch.finish())
    })?
}

/// Names the file in an error about it.
fn named<T>(path: &Path, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", path.display()))
}

/// What became of a download that went well, and the name of its file.
type Good = (Outcome, Option<String>);

/// One run of the command.
#[derive(Debug)]
struct Fetch {
    session: Session,
    directory: Option<Directory>,
    asked: Asked,
    jobs: usize,
    fail_fast: bool,
    /// Never borrowed across an await.
    state: RefCell<State>,
}

impl Fetch {
    /// Downloads everything, until the end of the list or a stop.
    async fn run_all(self: &Rc<Self>) -> Signals {
        let mut signals = Signals::listen();
        let drawing = self.state.borrow().display.has_bar().then(|| {
            let fetch = Rc::clone(self);
            aioxide::spawn(async move {
                loop {
                    fetch.state.borrow_mut().display.draw();
                    aioxide::time::sleep(display::REDRAW).await;
                }
            })
        });
        loop {
            let next = poll_fn(|cx| {
                let mut state = self.state.borrow_mut();
                if let Poll::Ready(kind) = signals.poll(cx) {
                    state.stop(Stop::Signal(kind));
                }
                state.poll_next(self.jobs, cx)
            });
            match next.await {
                Next::Start(entry) => self.start(entry),
                Next::Cancel(tasks) => tasks.iter().for_each(|task| {
                    task.cancel();
                }),
                Next::ListFailed(error) => {
                    let mut state = self.state.borrow_mut();
                    state.display.say(&format!("aioxide: the list cannot be read: {error}"));
                    state.list_failed = true;
                }
                Next::Done => break,
            }
        }
        if let Some(drawing) = drawing {
            drawing.cancel();
        }
        // What follows does not look at signals.
        signals.let_interrupt_kill();
        self.report_left_over();
        signals
    }

    /// Starts the download of one entry.
    fn start(self: &Rc<Self>, entry: Entry) {
        if let Err(reason) = &entry.url {
            let failed = Failed::invalid_url(reason);
            return self.ended(entry, &Progress::default(), Err(failed));
        }
        let slot = self.state.borrow_mut().slots.reserve();
        let flight =
            Flight { fetch: Rc::clone(self), entry: Some(entry), progress: Progress::default(), slot };
        let task = aioxide::spawn(async move {
            flight.progress.begin();
            if let Some(entry) = &flight.entry {
                // Boxed here: the task is made small and moved small, and the 3 KB are written once, where they stay.
                let result = Box::pin(flight.fetch.download(entry, &flight.progress)).await;
                flight.end(result);
            }
        });
        self.state.borrow_mut().slots.put(slot, task);
    }

    /// Downloads one URL; returns what became of it, and the name of its file.
    async fn download(&self, entry: &Entry, progress: &Progress) -> Result<Good, Failed> {
        let url = entry.url.as_ref().map_err(|reason| Failed::invalid_url(reason))?;
        let failed = |error: aioxide_http::Error| Failed::from_http(&error, url);
        let send = async || self.session.get(url).send().await;
        let mut response = descriptors::when_free(send).await.map_err(failed)?;
        let status = response.status();
        progress.status.set(Some(status.as_u16()));
        match self.asked.judge(status, response.headers()) {
            Ok(Answer::Whole) => {}
            Ok(Answer::NotModified) => return Ok((Outcome::NotModified, None)),
            Err(failed) => {
                // The page is of no use and not waited for; dropped, the answer gives its connection back if it can.
                progress.add(at_hand(&mut response).await);
                return Err(failed);
            }
        }
        if let Some(length) = response.content_length() {
            progress.length.set(Some(length));
            self.state.borrow_mut().display.announced(length);
        }
        let mut sink = Sink::new(self.directory.as_ref());
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            let share = progress.add(piece.len());
            self.state.borrow_mut().display.received(piece.len(), share);
            sink.push(piece).await?;
        }
        Ok((Outcome::Ok, sink.finish(&names::from_url(url)).await?))
    }

    /// Accounts for an entry that has come to its end.
    fn ended(&self, entry: Entry, progress: &Progress, result: Result<Good, Failed>) {
        let mut state = self.state.borrow_mut();
        state.schedule.release(&entry);
        let record = progress.record(entry, result);
        state.account(progress, &record);
        if self.fail_fast && !record.outcome.is_good() {
            state.stop(Stop::FailFast);
        }
    }

    /// Accounts for the entries that a stopped run never started.
    fn report_left_over(&self) {
        let mut state = self.state.borrow_mut();
        let Some(stop) = state.stop else { return };
        let (since, progress) = (Stopwatch::start(), Progress::default());
        while let Some(Ok(entry)) = state.schedule.next_left_over(since) {
            let failed = match &entry.url {
                Ok(_) => Failed { outcome: Outcome::Cancelled, error: stop.reason().to_owned() },
                Err(reason) => Failed::invalid_url(reason),
            };
            let record = progress.record(entry, Err(failed));
            state.account(&progress, &record);
        }
        if state.schedule.is_open() {
            state.display.say("aioxide: the list had not ended; what else comes is not accounted for");
        }
    }

    /// Ends the display and the report; gives the exit status.
    fn finish(&self) -> ExitCode {
        let mut state = self.state.borrow_mut();
        let report = state.report.take().map_or(Ok(()), Report::finish);
        if let Err(error) = &report {
            state.display.say(&format!("aioxide: the report is not whole: {error}"));
        }
        state.display.finish();
        let all_ok = state.display.count() == state.display.good();
        match state.stop {
            Some(stop) => stop.status(),
            _ if all_ok && report.is_ok() && !state.list_failed => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
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

/// A download that was given a task. It is accounted for exactly once, however the task ends: one that is cancelled
/// before its first poll is dropped without having run.
#[derive(Debug)]
struct Flight {
    fetch: Rc<Fetch>,
    /// `None` once it is accounted for.
    entry: Option<Entry>,
    progress: Progress,
    slot: usize,
}

impl Flight {
    fn end(mut self, result: Result<Good, Failed>) {
        self.account(result);
    }

    fn account(&mut self, result: Result<Good, Failed>) {
        let Some(entry) = self.entry.take() else { return };
        self.fetch.ended(entry, &self.progress, result);
        let mut state = self.fetch.state.borrow_mut();
        state.slots.vacate(self.slot);
        state.wake();
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.account(Err(Failed { outcome: Outcome::Cancelled, error: "stopped under way".to_owned() }));
    }
}

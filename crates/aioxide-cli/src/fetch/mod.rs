//! `aioxide fetch`: downloads many URLs concurrently through one session.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use aioxide_http::{Session, Timeouts};

use crate::Failure;
use crate::args::FetchArgs;

mod directory;
mod display;
mod failure;
pub(crate) mod input;
mod names;
mod report;
mod schedule;
mod sink;
mod source;
mod state;

use directory::Directory;
use display::Display;
use failure::Failed;
use input::Entry;
use report::{Outcome, Report};
use schedule::Schedule;
use sink::Sink;
use source::Source;
use state::{Next, Progress, State, Stop};

/// Runs the command.
///
/// # Errors
/// What keeps it from starting: a list, a report or a directory that cannot be opened.
pub(crate) fn run(args: FetchArgs) -> Result<ExitCode, Failure> {
    let input = args.input.as_deref();
    let source = named(input.unwrap_or("-".as_ref()), Source::open(args.urls, input))?;
    let directory = match args.discard {
        true => None,
        false => Some(named(&args.output, Directory::open(&args.output, args.overwrite))?),
    };
    let report = args.report.as_deref().map(|path| named(path, Report::open(path))).transpose()?;
    let display = Display::new(args.quiet, args.marks, || source.total(input));
    let per_host = args.per_host.filter(|limit| *limit < args.jobs);
    let state = State::new(Schedule::new(source, per_host), display, report);
    let jobs = args.jobs as usize;
    let timeouts = Timeouts {
        total: args.timeout,
        connect: Some(args.connect_timeout),
        read: Some(args.read_timeout),
        ..Timeouts::NONE
    };
    aioxide::run(async move {
        // What is fetched is kept as it is, so no coding is asked for: an archive stays an archive.
        let mut session = Session::builder().limit(jobs).timeouts(timeouts).decompress(false);
        session = session.user_agent(concat!("aioxide/", env!("CARGO_PKG_VERSION")));
        for (name, value) in args.headers {
            session = session.header(name, value);
        }
        let (fail_fast, state) = (args.fail_fast, RefCell::new(state));
        let fetch = Rc::new(Fetch { session: session.build()?, directory, jobs, fail_fast, state });
        fetch.run_all().await;
        Ok(fetch.finish())
    })?
}

/// Names the file in an error about it.
fn named<T>(path: &Path, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", path.display()))
}

/// One run of the command.
#[derive(Debug)]
struct Fetch {
    session: Session,
    directory: Option<Directory>,
    jobs: usize,
    fail_fast: bool,
    /// Never borrowed across an await.
    state: RefCell<State>,
}

/// After a stop, how long a pipe may be silent before its list counts as ended.
const PATIENCE: Duration = Duration::from_millis(200);
/// How much of an error page is read so that its connection can be used again.
const ERROR_PAGE_BYTES: u64 = 64 * 1024;
/// The exit status after Ctrl-C: 128 and the signal's number, as shells have it.
const INTERRUPTED: u8 = 130;

impl Fetch {
    /// Downloads everything, until the end of the list or a stop.
    async fn run_all(self: &Rc<Self>) {
        // The second Ctrl-C meets the system's own handling, which kills: nobody listens after the first.
        let (fetch, interrupt) = (Rc::clone(self), aioxide::signal::ctrl_c());
        let interrupts = aioxide::spawn(async move {
            if interrupt.await.is_ok() {
                fetch.state.borrow_mut().stop(Stop::Interrupted);
            }
        });
        loop {
            match poll_fn(|cx| self.state.borrow_mut().poll_next(self.jobs, cx)).await {
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
        interrupts.cancel();
        self.report_left_over();
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

    /// Downloads one URL; returns the name of its file.
    async fn download(&self, entry: &Entry, progress: &Progress) -> Result<Option<String>, Failed> {
        let url = entry.url.as_ref().map_err(|reason| Failed::invalid_url(reason))?;
        let failed = |error: aioxide_http::Error| Failed::from_http(&error, url);
        let mut response = self.session.get(url).send().await.map_err(failed)?;
        let status = response.status();
        progress.status.set(Some(status.as_u16()));
        if status.as_u16() >= 400 {
            // The page itself is of no use.
            while progress.bytes.get() < ERROR_PAGE_BYTES
                && let Ok(Some(piece)) = response.chunk().await
            {
                progress.add(piece.len());
            }
            return Err(Failed { outcome: Outcome::HttpError, error: status.to_string() });
        }
        let mut sink = Sink::new(self.directory.as_ref());
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            progress.add(piece.len());
            self.state.borrow_mut().display.received(piece.len());
            sink.push(piece).await?;
        }
        Ok(sink.finish(&names::from_url(url)).await?)
    }

    /// Accounts for an entry that has come to its end.
    fn ended(&self, entry: Entry, progress: &Progress, result: Result<Option<String>, Failed>) {
        let mut state = self.state.borrow_mut();
        state.schedule.release(&entry);
        let record = progress.record(entry, result);
        state.account(&record);
        if self.fail_fast && record.outcome != Outcome::Ok {
            state.stop(Stop::FailFast);
        }
    }

    /// Accounts for the entries that a stopped run never started.
    fn report_left_over(&self) {
        let mut state = self.state.borrow_mut();
        let error = match state.stop {
            None => return,
            Some(Stop::Interrupted) => "interrupted before it started",
            Some(Stop::FailFast) => "another one failed before it started",
        };
        while let Some(Ok(entry)) = state.schedule.next_left_over(PATIENCE) {
            let failed = match &entry.url {
                Ok(_) => Failed { outcome: Outcome::Cancelled, error: error.to_owned() },
                Err(reason) => Failed::invalid_url(reason),
            };
            let record = Progress::default().record(entry, Err(failed));
            state.account(&record);
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
        let all_ok = state.display.count() == state.display.tally(Outcome::Ok);
        match state.stop {
            Some(Stop::Interrupted) => ExitCode::from(INTERRUPTED),
            _ if all_ok && report.is_ok() && !state.list_failed => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
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
    fn end(mut self, result: Result<Option<String>, Failed>) {
        self.account(result);
    }

    fn account(&mut self, result: Result<Option<String>, Failed>) {
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

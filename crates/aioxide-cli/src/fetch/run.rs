//! One run of the command: starts the downloads, and accounts for each.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aioxide_http::Session;

use super::access::Access;
use super::download::{Demands, Good};
use super::input::Entry;
use super::job::Job;
use super::manners::descriptors::Shortage;
use super::manners::stop;
use super::manners::{Bandwidth, Finder, Next, Retries, Retry, Robots, Seen, Signals, Starter, Stop};
use super::naming::Directory;
use super::output::Archive;
use super::report::answer::Asked;
use super::report::{Account, Failed, Outcome, Progress, Record, Report, display};
use super::resume::Journal;
use crate::clock::Stopwatch;
use crate::queue::{self, Hold};

/// One run of the command.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) session: Session,
    pub(super) directory: Option<Rc<Directory>>,
    pub(super) asked: Asked,
    /// In place of a file for each download.
    pub(super) archive: Option<Archive>,
    pub(super) robots: Option<Rc<Robots>>,
    /// With `--per-address`.
    pub(super) finder: Option<Finder>,
    pub(super) access: Access,
    pub(super) no_connections: Shortage,
    pub(super) demands: Demands,
    pub(super) retries: Retries,
    pub(super) bandwidth: Option<Bandwidth>,
    pub(super) jobs: usize,
    /// The shard of a queue that the list is.
    pub(super) hold: Option<Arc<Hold>>,
    pub(super) fail_fast: bool,
    /// Never borrowed across an await, as the account.
    pub(super) starter: RefCell<Starter>,
    pub(super) account: RefCell<Account>,
}

impl Fetch {
    /// Downloads everything, until the end of the list or a stop.
    pub(super) async fn run_all(self: &Rc<Self>) -> Signals {
        let mut signals = Signals::listen();
        let drawing = self.account.borrow().display.has_bar().then(|| {
            let fetch = Rc::clone(self);
            aioxide::spawn(async move {
                loop {
                    fetch.account.borrow_mut().display.draw();
                    aioxide::time::sleep(display::REDRAW).await;
                }
            })
        });
        let watching = self.hold.clone().map(|hold| {
            let fetch = Rc::clone(self);
            aioxide::spawn(async move { fetch.watch(&hold).await })
        });
        // How many times in a row something was there to be done.
        let mut in_a_row = 0_u32;
        loop {
            let next = poll_fn(|cx| {
                let mut starter = self.starter.borrow_mut();
                if in_a_row.is_multiple_of(LISTENED)
                    && let Poll::Ready(kind) = signals.poll(cx)
                {
                    starter.stop(Stop::Signal(kind));
                }
                in_a_row = in_a_row.wrapping_add(1);
                let next = starter.poll_next(self.jobs, cx);
                if next.is_pending() {
                    in_a_row = 0;
                    self.account.borrow_mut().flush();
                }
                next
            });
            match next.await {
                Next::Start(job) => self.start_job(job),
                Next::Cancel(tasks) => tasks.iter().for_each(|task| {
                    task.cancel();
                }),
                Next::ListFailed(error) => {
                    let mut account = self.account.borrow_mut();
                    account.display.say(&format!("aioxide: the list cannot be read: {error}"));
                    account.list_failed = Some(error.to_string());
                }
                Next::Done => break,
            }
        }
        drawing.into_iter().chain(watching).for_each(|task| {
            task.cancel();
        });
        // What follows does not look at signals.
        signals.let_interrupt_kill();
        self.report_left_over();
        signals
    }

    /// Tells the queue how far the shard is, and ends the run when the shard is another worker's.
    async fn watch(&self, hold: &Hold) {
        loop {
            hold.tell(self.progress());
            if hold.is_lost() {
                self.starter.borrow_mut().stop(Stop::ShardLost);
            }
            aioxide::time::sleep(WATCHED).await;
        }
    }

    fn progress(&self) -> queue::Progress {
        let account = self.account.borrow();
        let ended = account.display.before.0 + account.display.count();
        let failed = account.journal.as_ref().map_or(0, Journal::failed);
        queue::Progress { ended, good: ended.saturating_sub(failed), bytes: account.display.bytes() }
    }

    /// Starts an attempt at one job.
    fn start_job(self: &Rc<Self>, job: Box<Job>) {
        if let Err(reason) = &job.entry.url {
            let failed = Failed::invalid_url(reason);
            return self.ended(job, Err(failed));
        }
        let slot = self.starter.borrow_mut().slots.reserve();
        let mut flight = Flight { fetch: Rc::clone(self), job: Some(job), slot };
        let task = aioxide::spawn(async move {
            let fetch = Rc::clone(&flight.fetch);
            if let Some(job) = &mut flight.job {
                if let Some(address) = fetch.has_no_place(job).await {
                    return flight.put_aside(address);
                }
                job.progress.begin();
                // Boxed here: the task is made small and moved small, and the 3 KB are written once, where they stay.
                let result = Box::pin(fetch.download(job)).await;
                flight.end(result);
            }
        });
        self.starter.borrow_mut().slots.put(slot, task);
    }

    /// The address of a job, if too many are there.
    async fn has_no_place(&self, job: &mut Job) -> Option<IpAddr> {
        let (finder, Ok(url)) = (self.finder.as_ref()?, &job.entry.url) else { return None };
        let address = finder.find(url).await?;
        let has_place = self.starter.borrow_mut().schedule.claim(job, address, finder.limit);
        (!has_place).then_some(address)
    }

    /// The pause before a job is tried again; `None` when it is not.
    fn pause(&self, job: &Job, failed: &Failed) -> Option<Duration> {
        let progress = &job.progress;
        if job.partial.is_some() && progress.bytes() >= progress.best.get() + WELL_BYTES {
            // It gets on: what is counted is how often nothing came of it.
            progress.best.set(progress.bytes());
            progress.in_a_row.set(1);
        }
        if progress.attempts.get() == 1 && progress.whole_only.get() {
            // It went on from what an earlier run has left, which was of no use: the whole has not been tried yet.
            progress.in_a_row.set(0);
        }
        let pause = self.retries.pause(progress.in_a_row.get(), failed.retry)?;
        let in_time = self.demands.time.is_none_or(|time| progress.elapsed() + pause < time);
        (in_time && self.starter.borrow().stop.is_none()).then_some(pause)
    }

    /// Accounts for a job that has come to its end.
    fn ended(&self, job: Box<Job>, result: Result<Good, Failed>) {
        let disk_full = matches!(&result, Err(failed) if failed.disk_full);
        let Job { entry, progress, partial, .. } = *job;
        drop(partial);
        let mut account = self.account.borrow_mut();
        let result = match result {
            // It has not failed: it comes when the job is started again, where there is room.
            Err(failed) if disk_full && account.journal.is_some() => {
                Err(Failed { outcome: Outcome::Cancelled, ..failed })
            }
            result => result,
        };
        let number = entry.number;
        let record = self.last_record(&progress, entry, result);
        if let (Some(journal), Some(directory)) = (&account.journal, &self.directory)
            && record.outcome != Outcome::Cancelled
            && let Some(part) = journal.part(number)
        {
            directory.remove(&part.name);
        }
        account.ended(number, &progress, &record);
        drop(account);
        if disk_full {
            let mut starter = self.starter.borrow_mut();
            // Others that meet it have nothing new to tell.
            if starter.stop.is_none() {
                self.account.borrow().display.say("aioxide: the disk is full; the run ends");
            }
            starter.stop(Stop::DiskFull);
        } else if self.fail_fast && !record.outcome.is_good() {
            self.starter.borrow_mut().stop(Stop::FailFast);
        }
    }

    /// The record of what has come to its end, with the checksum of the command line.
    fn last_record(&self, progress: &Progress, entry: Entry, result: Result<Good, Failed>) -> Record {
        let mut record = progress.last_record(entry, result);
        if let (Some(digest), false) = (&self.demands.digest, record.outcome.is_good()) {
            record.list.get_or_insert_default().checksums.push(digest.text());
        }
        record
    }

    /// Accounts for the entries that a stopped run never started, or never started again.
    fn report_left_over(&self) {
        let (mut starter, mut account) = (self.starter.borrow_mut(), self.account.borrow_mut());
        let Some(stop) = starter.stop else { return };
        if account.journal.is_some() {
            if self.hold.is_none() {
                account.display.say("aioxide: what is left comes when the job is started again");
            }
            return;
        }
        let since = Stopwatch::start();
        while let Some(Ok(job)) = starter.schedule.next_left_over(since) {
            let Job { entry, progress, .. } = *job;
            let failed = match &entry.url {
                Ok(_) => Failed::new(Outcome::Cancelled, stop.reason()),
                Err(reason) => Failed::invalid_url(reason),
            };
            let number = entry.number;
            let record = self.last_record(&progress, entry, Err(failed));
            account.ended(number, &progress, &record);
        }
        if starter.schedule.is_open() {
            account.display.say("aioxide: the list had not ended; what else comes is not accounted for");
        }
    }

    /// Ends the display and the report.
    pub(super) fn finish(&self) -> Ended {
        let mut account = self.account.borrow_mut();
        // A job that goes on later goes on in the same shard.
        account.flush();
        // Nor does a shard get its name that the state has not been told of.
        let goes_on = account.journal.is_some()
            && (self.starter.borrow().stop.is_some() || account.journal_failed.is_some());
        let ended = match &self.archive {
            Some(archive) if !goes_on => archive.volumes().finish(),
            _ => Ok(()),
        };
        if let Err(error) = &ended {
            let what = match &self.archive {
                Some(Archive::Warc(_)) => "WARC file",
                _ => "shard",
            };
            account.display.say(&format!("aioxide: a {what} is not whole: {error}"));
        }
        account.flush();
        let journal_failed = account.journal_failed.take();
        if let Some(error) = &journal_failed {
            account.display.say(&format!("aioxide: the state of the job is not whole: {error}"));
        }
        let saved = self.access.finish();
        if let Err(error) = &saved {
            account.display.say(&format!("aioxide: the cookies are not saved: {error}"));
        }
        let failed_before = account.journal.as_ref().is_some_and(|journal| journal.failed() > 0);
        let report = account.report.take().map_or(Ok(()), Report::finish);
        if let Err(error) = &report {
            account.display.say(&format!("aioxide: the report is not whole: {error}"));
        }
        account.display.finish();
        let all_ok = account.display.count() == account.display.good()
            && account.display.is_whole()
            && !failed_before
            && journal_failed.is_none()
            && saved.is_ok()
            && ended.is_ok();
        let list_failed = account.list_failed.take();
        let is_empty = account.display.count() == 0 && account.display.before.0 == 0;
        if is_empty && list_failed.is_none() && self.hold.is_none() && self.starter.borrow().stop.is_none() {
            account.display.say("aioxide: there was no URL in the list");
        }
        // A signal may have ended the last flush, when the list had come to its end.
        let stop = self.starter.borrow().stop.or_else(|| stop::gave_up_after().map(Stop::Signal));
        let status = match stop {
            Some(stop) => stop.status(),
            _ if all_ok && report.is_ok() && list_failed.is_none() => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        };
        let trouble = [ended.err(), journal_failed, report.err()].into_iter().flatten().next();
        let trouble = trouble.map(|error| error.to_string());
        Ended { status, stop, trouble, list_failed, before: account.display.before.0 }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitCode,
    pub(super) stop: Option<Stop>,
    /// Shards of tar, report or state are not whole.
    pub(super) trouble: Option<String>,
    /// Why the list could not be read to its end.
    pub(super) list_failed: Option<String>,
    /// How many URLs had ended before the run.
    pub(super) before: u64,
}

/// Signals are listened to once for so many things that are done without a pause.
const LISTENED: u32 = 16;

/// How often the queue's thread and the run tell each other what they know.
const WATCHED: Duration = Duration::from_millis(200);

/// An attempt that brought so many bytes does not count against the number of retries.
const WELL_BYTES: u64 = 1024 * 1024;

/// An attempt that was given a task. It is accounted for exactly once, however the task ends: one that is cancelled
/// before its first poll is dropped without having run.
#[derive(Debug)]
struct Flight {
    fetch: Rc<Fetch>,
    /// `None` once it is accounted for.
    job: Option<Box<Job>>,
    slot: usize,
}

impl Flight {
    fn end(mut self, result: Result<Good, Failed>) {
        self.account(result);
    }

    /// There is no place at its address: nothing has been tried.
    fn put_aside(mut self, address: IpAddr) {
        let Some(job) = self.job.take() else { return };
        let (host, epoch) = (Rc::clone(&job.host), job.epoch);
        let mut starter = self.fetch.starter.borrow_mut();
        starter.schedule.put_aside(job, address);
        starter.schedule.release(&host, epoch, Seen::Nothing);
        starter.slots.vacate(self.slot);
        starter.wake();
    }

    fn account(&mut self, result: Result<Good, Failed>) {
        let Some(mut job) = self.job.take() else { return };
        let address = job.address.take();
        let again = result.as_ref().err().and_then(|failed| self.fetch.pause(&job, failed));
        let longest = self.fetch.retries.longest;
        let result = result.map_err(|failed| match failed.retry {
            Retry::After(asked) if asked > longest => {
                let told = match asked.as_secs() {
                    u64::MAX => "longer than anybody can wait".to_owned(),
                    seconds => format!("{seconds} s, more than --retry-max-wait"),
                };
                let told = format!("{}; Retry-After is {told}", failed.error);
                Failed { error: told, ..failed }
            }
            _ => failed,
        });
        let (host, epoch) = (Rc::clone(&job.host), job.epoch);
        let seen = match &result {
            Err(failed) if failed.is_worthwhile() => Seen::Refusal,
            _ => job.progress.first_byte.take().map_or(Seen::Nothing, Seen::Answer),
        };
        // Also when this URL is given up: the others of its host keep away as well.
        if let Err(Failed { retry: Retry::After(asked), .. }) = &result {
            let pause = (*asked).min(self.fetch.retries.longest);
            self.fetch.starter.borrow_mut().schedule.leave_alone(&host, pause);
        }
        if let Some(pause) = again {
            self.fetch.starter.borrow_mut().schedule.put_off(job, pause);
        } else {
            self.fetch.ended(job, result);
        }
        let mut starter = self.fetch.starter.borrow_mut();
        if let Some(address) = address {
            starter.schedule.leave(address);
        }
        starter.schedule.release(&host, epoch, seen);
        starter.slots.vacate(self.slot);
        starter.wake();
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.account(Err(Failed::new(Outcome::Cancelled, "stopped under way")));
    }
}

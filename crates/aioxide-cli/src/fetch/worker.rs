//! `aioxide fetch --queue`: a worker, which takes shard after shard from a queue that others share.
//!
//! ```text
//! DIR/.000012.QUEUE.part/     while the shard is worked on: list, state, report, files
//! DIR/000012/                 once it is whole: report.jsonl, result.json, files/
//! ```
//!
//! A shard is a job with a state: a worker that takes it over from a dead one goes on where that one was, if both have the same DIR.
//! One that only seemed to be dead still has its lock on what it works on; the shard is then begun anew beside it. **Invariant**: the
//! shard's directory gets its name in one step, once, and only then the queue is told. A worker that comes second finds the
//! name taken, and throws away what it has.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Deserialize;

use super::input::Format;
use super::manners::Stop;
use super::report::Outcome;
use super::report::display::print_line;
use super::run::Ended;
use crate::Failure;
use crate::args::FetchArgs;
use crate::clock::Stopwatch;
use crate::queue::{self, Address, Hold, Keeper, Lease, Taken};

/// How often a worker asks whether another one has lost its shard, when nothing else is left.
const ASKED: Duration = Duration::from_secs(1);

/// So many workers may work on one shard, all but one of which have lost it.
const BESIDE: u32 = 8;

/// Works until nothing is left in the queue.
///
/// # Errors
/// The queue cannot be reached, or DIR cannot be written to.
pub(super) fn run(args: FetchArgs, address: &Address) -> Result<ExitCode, Failure> {
    let in_queue = |error: io::Error| format!("{address}: {error}");
    if args.warc.as_ref().is_some_and(|name| name.is_absolute()) {
        return Err(
            "--warc: each shard of a queue has a file of its own, so name it without a directory".into()
        );
    }
    let name = queue::worker_name();
    let queue = queue::open(address, &name).map_err(in_queue)?;
    fs::create_dir_all(&args.output).map_err(|error| format!("{}: {error}", args.output.display()))?;
    let keeper = Keeper::start(queue)?;
    let worker = Worker { args, name, keeper: &keeper };
    let ended = worker.work(in_queue);
    keeper.leave();
    ended
}

struct Worker<'a> {
    args: FetchArgs,
    name: String,
    keeper: &'a Keeper,
}

/// How the work on a shard ended.
enum End {
    Whole(queue::Summary),
    /// Another worker has it.
    Lost,
    /// The shard itself is at fault.
    Failed(String),
    /// The run was told to end.
    Stopped(ExitCode),
}

impl Worker<'_> {
    fn work(&self, in_queue: impl Fn(io::Error) -> String + Copy) -> Result<ExitCode, Failure> {
        let mut status = ExitCode::SUCCESS;
        loop {
            let (lease, hold) = match self.keeper.take().map_err(in_queue)? {
                (Taken::Shard(lease), hold) => (lease, hold),
                (Taken::AllWithOthers, _) => {
                    let pause = ASKED.min(self.keeper.settings().lease() / 4);
                    aioxide::run(async move { aioxide::time::sleep(pause).await })?;
                    continue;
                }
                (Taken::Nothing, _) => return Ok(status),
            };
            let shard = &lease.shard;
            match self.shard(&lease, &hold) {
                Ok(End::Whole(result)) => {
                    if !self.keeper.done(&lease, &result).map_err(in_queue)? {
                        self.say(&format!("shard {shard} was done by another worker, too"));
                    }
                }
                Ok(End::Lost) => {
                    self.keeper.forget();
                    self.say(&format!(
                        "shard {shard} went to another worker: the queue had not heard of this one"
                    ));
                }
                Ok(End::Failed(why)) => {
                    let is_aside = self.keeper.give_back(&lease, Some(&why)).map_err(in_queue)?;
                    let to = if is_aside { "is set aside" } else { "goes back to the queue" };
                    self.say(&format!("shard {shard} {to}: {why}"));
                    status = if is_aside { ExitCode::FAILURE } else { status };
                }
                Ok(End::Stopped(status)) => {
                    self.keeper.give_back(&lease, None).map_err(in_queue)?;
                    return Ok(status);
                }
                Err(trouble) => {
                    self.keeper.give_back(&lease, None).map_err(in_queue)?;
                    return Err(trouble);
                }
            }
        }
    }

    fn say(&self, text: &str) {
        if !self.args.quiet {
            print_line(&format!("aioxide: {text}"));
        }
    }

    /// The shard's directory once it is whole.
    fn whole(&self, shard: &str) -> PathBuf {
        self.args.output.join(shard)
    }

    /// Where it is worked on; `beside`: that many others do.
    fn part(&self, shard: &str, beside: u32) -> PathBuf {
        let name = format!(".{shard}.{}.part", self.keeper.settings().id);
        self.args.output.join(if beside == 0 { name } else { format!("{name}-{beside}") })
    }

    /// Works on a shard, to its end.
    fn shard(&self, lease: &Lease, hold: &Arc<Hold>) -> Result<End, Failure> {
        if let Some(result) = self.told(&self.whole(&lease.shard))? {
            self.clear(&lease.shard);
            return Ok(End::Whole(result));
        }
        let (part, lock) = self.place(&lease.shard)?;
        if let Some(result) = self.told(&self.whole(&lease.shard))? {
            // Whole in this moment.
            drop(lock);
            self.clear(&lease.shard);
            return Ok(End::Whole(result));
        }
        let in_part = |error: io::Error| format!("{}: {error}", part.display());
        if let Some(result) = self.told_in(&part)? {
            // Its worker came to the end of it, but not to its name.
            return Ok(End::Whole(self.keep(&part, lock, result)?));
        }
        let list = part.join("list.jsonl.zst");
        let copied = self.keeper.copy_list(lease, &part.join("list.new"));
        match copied.and_then(|()| fs::rename(part.join("list.new"), &list)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(match hold.is_lost() {
                    true => End::Lost,
                    false => End::Failed(format!("its list cannot be had: {error}")),
                });
            }
            Err(error) => return Err(in_part(error).into()),
        }
        let mut args = self.args.clone();
        args.input = Some(list);
        args.format = Some(Format::Shard);
        args.output = part.join("files");
        args.report = Some(part.join("report.jsonl"));
        args.state = Some(part.join("state"));
        let label = match lease.tries {
            1 => format!("shard {}", lease.shard),
            tries => format!("shard {}, try {tries}", lease.shard),
        };
        let since = Stopwatch::start();
        let Ended { status, stop, trouble, list_failed, before } =
            super::run_once(args, Some((label, Arc::clone(hold))))?;
        match stop {
            Some(Stop::ShardLost) => {
                if self.whole(&lease.shard).exists() {
                    drop(lock);
                    self.clear(&lease.shard);
                }
                return Ok(End::Lost);
            }
            Some(_) => return Ok(End::Stopped(status)),
            None => {}
        }
        if let Some(error) = list_failed {
            // Mended, it is another list.
            drop(lock);
            self.clear(&lease.shard);
            return Ok(End::Failed(format!("its list cannot be read: {error}")));
        }
        if let Some(trouble) = trouble {
            return Err(in_part(io::Error::other(trouble)).into());
        }
        let mut result = self.result(&part.join("report.jsonl")).map_err(in_part)?;
        result.shard.clone_from(&lease.shard);
        result.tries = lease.tries;
        result.before = before;
        result.seconds = since.elapsed().as_secs_f64();
        Ok(End::Whole(self.keep(&part, lock, result)?))
    }

    /// A directory to work on a shard in, locked: the one that a dead worker has left, or a new one.
    fn place(&self, shard: &str) -> Result<(PathBuf, File), Failure> {
        for part in (0..BESIDE).map(|beside| self.part(shard, beside)) {
            let lock = fs::create_dir_all(&part).and_then(|()| locked(&part));
            match lock {
                Ok(Some(lock)) => return Ok((part, lock)),
                // Another one works there, or was done in this moment.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", part.display()).into()),
            }
        }
        Err(format!("shard {shard}: {BESIDE} workers that lost it still work on it").into())
    }

    /// Gives a shard that is whole its name; returns the result of the worker that came first.
    fn keep(&self, part: &Path, lock: File, mut result: queue::Summary) -> Result<queue::Summary, Failure> {
        let in_part = |error: io::Error| format!("{}: {error}", part.display());
        let whole = self.whole(&result.shard);
        let there = fs::canonicalize(&self.args.output).map_err(in_part)?.join(&result.shard);
        result.path = Some(there.to_string_lossy().into_owned());
        let (new, told) = (part.join("result.new"), part.join("result.json"));
        fs::write(&new, serde_json::to_vec(&result)?).map_err(in_part)?;
        if self.args.fsync {
            File::open(&new).and_then(|file| file.sync_all()).map_err(in_part)?;
        }
        fs::rename(&new, &told).map_err(in_part)?;
        let named = fs::rename(part, &whole);
        drop(lock);
        if let Err(error) = named {
            let first = self.told(&whole)?;
            return match first {
                Some(first) => {
                    self.clear(&result.shard);
                    Ok(first)
                }
                None => Err(in_part(error).into()),
            };
        }
        if self.args.fsync {
            File::open(&self.args.output).and_then(|output| output.sync_all()).map_err(in_part)?;
        }
        // What is left of the work does no harm if it stays.
        for name in ["list.jsonl.zst", "state", "lock"] {
            let _ = fs::remove_file(whole.join(name));
        }
        self.clear(&result.shard);
        Ok(result)
    }

    /// Removes what workers have left of a shard, but for those that live.
    fn clear(&self, shard: &str) {
        for part in (0..BESIDE).map(|beside| self.part(shard, beside)).filter(|part| part.exists()) {
            if let Ok(Some(_lock)) = locked(&part) {
                let _ = fs::remove_dir_all(&part);
            }
        }
    }

    /// What the directory of a shard that is whole tells of it.
    fn told(&self, whole: &Path) -> Result<Option<queue::Summary>, Failure> {
        let told = self.told_in(whole)?;
        if told.is_none() && whole.exists() {
            return Err(format!(
                "{}: there is something that is not a shard of this queue: name another directory with -o",
                whole.display()
            )
            .into());
        }
        Ok(told)
    }

    fn told_in(&self, directory: &Path) -> Result<Option<queue::Summary>, Failure> {
        match fs::read(directory.join("result.json")) {
            Ok(text) => {
                let told: Option<queue::Summary> = serde_json::from_slice(&text).ok();
                Ok(told.filter(|result| result.queue == self.keeper.settings().id))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(format!("{}: {error}", directory.display()).into()),
        }
    }

    /// Sums up a report.
    fn result(&self, report: &Path) -> io::Result<queue::Summary> {
        /// What is summed up.
        #[derive(Deserialize)]
        struct Line {
            outcome: Outcome,
            bytes: u64,
        }
        let mut result = queue::Summary {
            queue: self.keeper.settings().id.clone(),
            worker: self.name.clone(),
            ..queue::Summary::default()
        };
        for line in BufReader::new(File::open(report)?).lines() {
            let line: Line = serde_json::from_str(&line?)?;
            result.urls += 1;
            result.good += u64::from(line.outcome.is_good());
            result.bytes += line.bytes;
            *result.outcomes.entry(line.outcome.name().to_owned()).or_default() += 1;
        }
        Ok(result)
    }
}

/// Locks a directory that a shard is worked on in; `None` when its worker lives, or when nobody can tell.
fn locked(part: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(part.join("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Between the two it may have got its name.
            let is_there = part.join("lock").exists();
            Ok(is_there.then_some(file))
        }
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => {
            Err(io::Error::other(format!("files cannot be locked there, which a worker needs: {error}")))
        }
    }
}

//! A queue in a directory that machines share: what a shard's list is called says where the shard is.
//!
//! ```text
//! queue.json                    the settings
//! waiting/000012.1              the list; it was taken once, and lost
//! taken/000012.2.WORKER         WORKER has it, the second time
//! done/000012
//! aside/000012.3                beside 000012.json, which tells why
//! workers/WORKER.json           rewritten all the time while WORKER lives
//! results/WORKER.jsonl          what became of the shards that WORKER had
//! ```
//!
//! A shard goes from one place to another by one rename, which only one of several workers can do: the name it had is gone for the
//! others. Clocks are not compared, since those of machines and of the file server differ: a worker is silent for as
//! long as the one who watches it has seen no change in its file.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Aside, Filling, Held, Lease, Progress, Queue, Settings, Status, Summary, Taken, lost, other};
use crate::clock::Stopwatch;

/// The queue, as one worker sees it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    worker: String,
    settings: Settings,
    /// Names of lists that were waiting when they were looked at last, in an order of this worker's own. Looking at a hundred
    /// thousand for each one taken would be the most work of all.
    seen: Vec<String>,
    /// What other workers' files said last, and since when.
    watched: HashMap<String, (Vec<u8>, Stopwatch)>,
    beats: u64,
}

/// What a worker's file says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Beat {
    beats: u64,
    shard: String,
    #[serde(flatten)]
    progress: Progress,
}

const DIRECTORIES: [&str; 6] = ["waiting", "taken", "done", "aside", "workers", "results"];

impl Directory {
    /// Opens a queue that has been filled.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn open(path: &Path, worker: &str) -> io::Result<Self> {
        let text = fs::read(path.join("queue.json")).map_err(|error| match error.kind() {
            ErrorKind::NotFound if path.join("filling.json").exists() => {
                other("it is being filled, or filling it was broken off; then remove it and fill it anew")
            }
            ErrorKind::NotFound => other("no queue is there; `aioxide queue fill` makes one"),
            _ => error,
        })?;
        let settings =
            serde_json::from_slice(&text).map_err(|error| other(format!("queue.json: {error}")))?;
        Ok(Directory {
            path: path.to_owned(),
            worker: worker.to_owned(),
            settings,
            seen: Vec::new(),
            watched: HashMap::new(),
            beats: 0,
        })
    }

    fn place(&self, directory: &str, name: &str) -> PathBuf {
        self.path.join(directory).join(name)
    }

    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.path.join(directory))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Whether the shard went from one place to another by this worker.
    fn moved(&self, from: (&str, &str), to: (&str, &str)) -> io::Result<bool> {
        match fs::rename(self.place(from.0, from.1), self.place(to.0, to.1)) {
            Ok(()) => Ok(true),
            // A file server that was asked twice, because its first answer was lost, says that it is gone. What this worker
            // takes gets a name that no other gives.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(to.0 == "taken" && self.place(to.0, to.1).exists())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the shard this worker's.
    fn lease(&mut self, from: (&str, &str), shard: &str, tries: u32) -> io::Result<Option<Lease>> {
        let key = format!("{shard}.{tries}.{}", self.worker);
        // Heard before it has the shard, lest somebody takes it over at once.
        self.beat(shard, Progress::default())?;
        let lease = Lease { shard: shard.to_owned(), tries, key };
        Ok(self.moved(from, ("taken", &lease.key))?.then_some(lease))
    }

    fn beat(&mut self, shard: &str, progress: Progress) -> io::Result<()> {
        self.beats += 1;
        let beat = Beat { beats: self.beats, shard: shard.to_owned(), progress };
        replace(&self.place("workers", &format!("{}.json", self.worker)), &serde_json::to_vec(&beat)?)
    }

    /// Whether a worker has been silent for longer than it may.
    fn is_silent(&mut self, worker: &str) -> bool {
        let said = fs::read(self.place("workers", &format!("{worker}.json"))).unwrap_or_default();
        let lease = self.settings.lease();
        match self.watched.get_mut(worker) {
            Some((before, since)) if *before == said => since.elapsed() >= lease,
            _ => {
                self.watched.insert(worker.to_owned(), (said, Stopwatch::start()));
                false
            }
        }
    }

    /// Takes over a shard whose worker is silent; tells whether any is with others.
    fn take_over(&mut self) -> io::Result<(Option<Lease>, bool)> {
        let taken = self.names("taken")?;
        let mut is_any_with_others = false;
        let workers: HashSet<&str> = taken.iter().filter_map(|name| Some(parts(name)?.2)).collect();
        self.watched.retain(|worker, _| workers.contains(worker.as_str()));
        for name in &taken {
            let Some((shard, tries, worker)) = parts(name) else { continue };
            if worker == self.worker || !self.is_silent(worker) {
                is_any_with_others |= worker != self.worker;
                continue;
            }
            let lease = match tries >= self.settings.tries {
                true => {
                    self.set_aside(name, shard, tries, &lost(worker))?;
                    None
                }
                false => self.lease(("taken", name), shard, tries + 1)?,
            };
            // If it lives after all, it writes it anew.
            let _ = fs::remove_file(self.place("workers", &format!("{worker}.json")));
            if lease.is_some() {
                return Ok((lease, true));
            }
        }
        Ok((None, is_any_with_others))
    }

    /// Whether this worker did.
    fn set_aside(&self, taken: &str, shard: &str, tries: u32, why: &str) -> io::Result<bool> {
        let aside = Aside { shard: shard.to_owned(), tries, why: why.to_owned() };
        replace(&self.place("aside", &format!("{shard}.json")), &serde_json::to_vec(&aside)?)?;
        self.moved(("taken", taken), ("aside", &format!("{shard}.{tries}")))
    }
}

/// What is in a name: the shard, how often it was taken, who has it.
fn parts(name: &str) -> Option<(&str, u32, &str)> {
    let (shard, rest) = name.split_once('.')?;
    let (tries, worker) = rest.split_once('.').unwrap_or((rest, ""));
    Some((shard, tries.parse().ok()?, worker))
}

/// Writes a file in one step: a reader finds the old text or the new one.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(format!(".{:08x}.new", fastrand::u32(..)));
    fs::write(&beside, text)?;
    fs::rename(&beside, path).inspect_err(|_| drop(fs::remove_file(&beside)))
}

impl Queue for Directory {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn take(&mut self) -> io::Result<Taken> {
        let (lease, is_any_with_others) = self.take_over()?;
        if let Some(lease) = lease {
            return Ok(Taken::Shard(lease));
        }
        let mut is_looked_at = false;
        loop {
            while let Some(name) = self.seen.pop() {
                let Some((shard, tries, _)) = parts(&name) else { continue };
                if let Some(lease) = self.lease(("waiting", &name), shard, tries + 1)? {
                    return Ok(Taken::Shard(lease));
                }
            }
            if std::mem::replace(&mut is_looked_at, true) {
                break;
            }
            self.seen = self.names("waiting")?;
            // All workers begin somewhere else.
            fastrand::shuffle(&mut self.seen);
        }
        // Looked at before and after what is waiting: one that goes to and fro is seen in one place.
        let is_any_taken = is_any_with_others || !self.names("taken")?.is_empty();
        Ok(if is_any_taken { Taken::AllWithOthers } else { Taken::Nothing })
    }

    fn copy_list(&mut self, lease: &Lease, to: &Path) -> io::Result<()> {
        fs::copy(self.place("taken", &lease.key), to).map(drop)
    }

    fn renew(&mut self, lease: &Lease, progress: Progress) -> io::Result<bool> {
        self.beat(&lease.shard, progress)?;
        self.place("taken", &lease.key).try_exists()
    }

    fn done(&mut self, lease: &Lease, result: &Summary) -> io::Result<bool> {
        // Told before the shard is done: none is done of which nothing is told. A line that the next step does not follow is
        // known by that.
        let mut line = serde_json::to_vec(result)?;
        line.push(b'\n');
        let path = self.place("results", &format!("{}.jsonl", self.worker));
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(&line)?;
        file.sync_data()?;
        self.moved(("taken", &lease.key), ("done", &lease.shard))
    }

    fn give_back(&mut self, lease: &Lease, why: Option<&str>) -> io::Result<bool> {
        let Lease { shard, tries, key } = lease;
        let tries = match why {
            Some(why) if *tries >= self.settings.tries => return self.set_aside(key, shard, *tries, why),
            Some(_) => *tries,
            None => tries.saturating_sub(1),
        };
        self.moved(("taken", key), ("waiting", &format!("{shard}.{tries}")))?;
        Ok(false)
    }

    fn leave(&mut self) -> io::Result<()> {
        match fs::remove_file(self.place("workers", &format!("{}.json", self.worker))) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn status(&mut self) -> io::Result<Status> {
        let done: HashSet<String> = self.names("done")?.into_iter().collect();
        let mut status = Status {
            waiting: self.names("waiting")?.iter().filter_map(|name| parts(name)).count() as u64,
            done: done.len() as u64,
            ..Status::default()
        };
        let mut results: HashMap<String, Summary> = HashMap::new();
        for name in self.names("results")? {
            for line in fs::read(self.place("results", &name))?.split(|byte| *byte == b'\n') {
                // The last line of a worker that was killed may be cut.
                if let Ok(result) = serde_json::from_slice::<Summary>(line)
                    && done.contains(&result.shard)
                {
                    results.insert(result.shard.clone(), result);
                }
            }
        }
        results.values().for_each(|result| status.add(result));
        for name in self.names("taken")? {
            let Some((shard, tries, worker)) = parts(&name) else { continue };
            let path = self.place("workers", &format!("{worker}.json"));
            let beat: Option<Beat> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            // As well as two clocks agree.
            let changed = fs::metadata(&path).and_then(|file| file.modified()).ok();
            let silent = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
            status.with_workers.push(Held {
                shard: shard.to_owned(),
                worker: worker.to_owned(),
                tries,
                silent: silent.map(|silent| silent.as_secs_f64()),
                progress: beat.filter(|beat| beat.shard == shard).unwrap_or_default().progress,
            });
        }
        for name in self.names("aside")? {
            let Some((shard, tries, "")) = parts(&name) else { continue };
            let told = fs::read(self.place("aside", &format!("{shard}.json")));
            let told = told.ok().and_then(|text| serde_json::from_slice(&text).ok());
            let unknown = || Aside { shard: shard.to_owned(), tries, why: "nothing is told".to_owned() };
            status.set_aside.push(told.unwrap_or_else(unknown));
        }
        let (held, aside) = (status.with_workers.len() as u64, status.set_aside.len() as u64);
        status.shards = status.waiting + status.done + held + aside;
        Ok(status)
    }

    fn retry(&mut self) -> io::Result<u64> {
        let mut count = 0;
        for name in self.names("aside")? {
            let Some((shard, _, "")) = parts(&name) else { continue };
            if self.moved(("aside", &name), ("waiting", &format!("{shard}.0")))? {
                // What it tells is over; if it stays, it does no harm.
                let _ = fs::remove_file(self.place("aside", &format!("{shard}.json")));
                count += 1;
            }
        }
        Ok(count)
    }
}

/// A queue that is being filled.
#[derive(Debug)]
pub(crate) struct New {
    path: PathBuf,
}

impl New {
    /// Makes the directory.
    ///
    /// # Errors
    /// Something is in it.
    pub(crate) fn begin(path: &Path, settings: Settings) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        if fs::read_dir(path)?.next().is_some() {
            return Err(other("something is in it: a queue is made in a new or empty directory"));
        }
        fs::write(path.join("filling.json"), serde_json::to_vec(&settings)?)?;
        DIRECTORIES.iter().try_for_each(|name| fs::create_dir(path.join(name)))?;
        Ok(New { path: path.to_owned() })
    }
}

impl Filling for New {
    fn add(&mut self, shard: &str, list: &[u8]) -> io::Result<()> {
        // A list may have passwords and tokens.
        let path = self.path.join("waiting").join(format!("{shard}.0"));
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(list)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        File::open(self.path.join("waiting"))?.sync_all()?;
        fs::rename(self.path.join("filling.json"), self.path.join("queue.json"))
    }
}

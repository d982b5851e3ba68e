//! The state of a job in a file, so that a run that was killed at any moment can be started again where it stopped.
//!
//! The file has one JSON object per line, and is only ever added to:
//!
//! ```text
//! {"list":…,"job":…,"output":…} which list it is for, what tells it from other jobs, where its files go: the first line
//! {"keeps":N,"inode":I,…}       entry N is whole; its file is about to get this name, and then has this record
//! {"part":N,"name":…,…}         entry N has a part under this name, of this version of the file; `have`: with these ranges
//! {"done":[[A,B],…],"report":R,"failed":F,"far":…}
//!                               entries A to B have ended, the report has R bytes, F entries in all have failed, the list
//!                               has been read so far, and this stood there
//! ```
//!
//! A file gets its name in one step, between two lines. So after a kill either the name leads to the very file (by its inode)
//! and the entry is done, or it does not and the entry is not. The report is handed to the system before the line that
//! counts on it, and is cut back to what the last such line says: no record is missing, none is there twice.
//!
//! **Invariant**: a line is written in one call, and a last line that is not whole is no line. When the file has grown large
//! it is written anew, short, beside itself, and put in its place in one step.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::partial::Version;
use super::ranges::Ranges;
use crate::fetch::input::Far;
use crate::fetch::output::streams::Identity;
use crate::fetch::output::{Position, followed};
use crate::fetch::report::Record;

/// The state of a job.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    list: String,
    /// Where the files go, and how they are named.
    output: String,
    /// Part of the names of this job's parts: another job with the same list may have the same directory.
    job: String,
    done: Ranges,
    /// How many entries had ended before this run.
    before: u64,
    /// Ended since the last line that tells so.
    ended: Ranges,
    /// Files that were about to get their names when their run was killed.
    keeps: BTreeMap<u64, Keeps>,
    parts: BTreeMap<u64, Part>,
    report_bytes: u64,
    failed: u64,
    volumes: Option<Position>,
    far: Far,
    bytes: u64,
    /// What the file had when it was written anew.
    bytes_anew: u64,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Done {
        done: Vec<(u64, u64)>,
        report: u64,
        failed: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        volumes: Option<Position>,
        #[serde(default)]
        far: Far,
    },
    Keeps(Keeps),
    Part(Part),
    List {
        list: String,
        #[serde(default)]
        job: Option<String>,
        #[serde(default)]
        output: Option<String>,
    },
}

/// A whole file that is about to get its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Keeps {
    keeps: u64,
    pub(crate) inode: u64,
    pub(crate) record: Record,
}

/// The beginning of a file, under a name of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    part: u64,
    pub(crate) name: String,
    pub(crate) version: Version,
    /// What of it is there, first and last bytes of each range; `None`: all that is in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) have: Option<Vec<(u64, u64)>>,
}

/// How a state begins; one that a kill has left beside its place may be cut.
const LIST: &[u8] = b"{\"list\":";

/// URLs may have passwords: it is for its owner alone.
const STATE_MODE: u32 = 0o600;

/// The file is written anew when it has grown by so much.
const ANEW_BYTES: u64 = 16 << 20;

impl Journal {
    /// Opens or makes the file. `list` tells lists apart, `output` where the files go.
    ///
    /// # Errors
    /// It cannot be read or written, is in use, is no such file, or is for another list or another output.
    pub(crate) fn open(path: &Path, list: String, output: String) -> io::Result<Self> {
        // Written anew, it is put in the place of the file itself.
        let kept = |error| io::Error::other(format!("a state is kept in a file: {error}"));
        let path = &followed(path).map_err(kept)?;
        let open = || OpenOptions::new().read(true).append(true).create(true).mode(STATE_MODE).open(path);
        let mut file = open()?;
        if !Identity::of(&file)?.is_regular() {
            return Err(io::Error::other("a state is kept in a file, not in a pipe or a device"));
        }
        loop {
            lock(&file)?;
            // Written anew by a run that has just ended: what is locked is no longer what is there.
            let now = open()?;
            if Identity::of(&now)? == Identity::of(&file)? {
                break;
            }
            file = now;
        }
        let mut journal = Journal {
            file,
            path: path.clone(),
            list,
            output,
            job: format!("{:016x}", fastrand::u64(..)),
            done: Ranges::default(),
            before: 0,
            ended: Ranges::default(),
            keeps: BTreeMap::new(),
            parts: BTreeMap::new(),
            report_bytes: 0,
            failed: 0,
            volumes: None,
            far: Far::default(),
            bytes: 0,
            bytes_anew: 0,
        };
        journal.read()?;
        journal.before = journal.done.count();
        journal.write_anew()?;
        Ok(journal)
    }

    fn read(&mut self) -> io::Result<()> {
        let other = |text: &str| io::Error::other(text.to_owned());
        let mut reader = BufReader::new(self.file.try_clone()?);
        let (mut text, mut first) = (Vec::new(), true);
        loop {
            text.clear();
            reader.read_until(b'\n', &mut text)?;
            if text.last() != Some(&b'\n') {
                // Nothing, or a line that a kill cut.
                return match first && !text.starts_with(LIST) && !LIST.starts_with(&text) {
                    true => Err(other("not a state of aioxide's")),
                    false => Ok(()),
                };
            }
            match serde_json::from_slice(&text) {
                Ok(Line::List { list, job, output }) if first && list == self.list => {
                    self.job = job.unwrap_or(list);
                    if let Some(output) = output.filter(|output| *output != self.output) {
                        return Err(other(&format!(
                            "the state of a job that writes {output}, where this run would write {}: give the same options, \
                             or another state",
                            self.output
                        )));
                    }
                }
                Ok(Line::List { .. }) if first => {
                    return Err(other("the state of a job with another list; remove it to begin anew"));
                }
                Ok(_) if first => return Err(other("not a state of aioxide's")),
                Ok(Line::Done { done, report, failed, volumes, far }) => {
                    for (begin, end) in done {
                        self.done.insert_range(begin, end);
                    }
                    (self.report_bytes, self.failed, self.volumes, self.far) = (report, failed, volumes, far);
                }
                Ok(Line::Keeps(keeps)) => drop(self.keeps.insert(keeps.keeps, keeps)),
                Ok(Line::Part(part)) => drop(self.parts.insert(part.part, part)),
                Ok(Line::List { .. }) => {}
                Err(error) => return Err(other(&format!("not a state of aioxide's: {error}"))),
            }
            first = false;
            if self.keeps.len() + self.parts.len() > 10_000 {
                self.forget_done();
            }
        }
    }

    fn forget_done(&mut self) {
        let done = &self.done;
        self.keeps.retain(|number, _| !done.contains(*number));
        self.parts.retain(|number, _| !done.contains(*number));
    }

    /// Writes the file anew, short, and puts it in its place in one step.
    fn write_anew(&mut self) -> io::Result<()> {
        self.forget_done();
        let mut text = Vec::new();
        add(
            &mut text,
            &Line::List {
                list: self.list.clone(),
                job: Some(self.job.clone()),
                output: Some(self.output.clone()),
            },
        )?;
        add(&mut text, &self.told(self.done.iter().collect()))?;
        for keeps in self.keeps.values() {
            add(&mut text, &Line::Keeps(keeps.clone()))?;
        }
        for part in self.parts.values() {
            add(&mut text, &Line::Part(part.clone()))?;
        }
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(STATE_MODE).open(&beside)?;
        // Locked before it has the name: nobody comes in between.
        lock(&file)?;
        let mut begin = Vec::new();
        (&file).take(LIST.len() as u64).read_to_end(&mut begin)?;
        if !LIST.starts_with(&begin) {
            let told = format!("{} is in the way, where a state is written anew", beside.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, told));
        }
        file.set_len(0)?;
        file.set_permissions(self.file.metadata()?.permissions())?;
        file.write_all(&text)?;
        file.sync_data()?;
        std::fs::rename(&beside, &self.path)?;
        self.file = file;
        self.bytes = text.len() as u64;
        self.bytes_anew = self.bytes;
        Ok(())
    }

    fn told(&self, done: Vec<(u64, u64)>) -> Line {
        Line::Done {
            done,
            report: self.report_bytes,
            failed: self.failed,
            volumes: self.volumes,
            far: self.far,
        }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = Vec::new();
        add(&mut text, line)?;
        self.file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// What has ended before this run.
    pub(crate) fn done(&self) -> &Ranges {
        &self.done
    }

    /// How far the list had been read.
    pub(crate) fn far(&self) -> Far {
        self.far
    }

    /// How far the shards or archives had come.
    pub(crate) fn volumes(&self) -> Option<Position> {
        self.volumes
    }

    /// What tells the job from others.
    pub(crate) fn job(&self) -> &str {
        &self.job
    }

    /// Which file it is now.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        Identity::of(&self.file)
    }

    /// How many entries had ended before this run.
    pub(crate) fn before(&self) -> u64 {
        self.before
    }

    /// How long the report was when what it tells was noted last.
    pub(crate) fn report_bytes(&self) -> u64 {
        self.report_bytes
    }

    /// Takes the files that were about to get their names when their run was killed, with the numbers of their entries.
    pub(crate) fn take_keeps(&mut self) -> Vec<(u64, Keeps)> {
        std::mem::take(&mut self.keeps).into_iter().collect()
    }

    /// The file of an entry is whole, and is about to get its name.
    ///
    /// # Errors
    /// It could not be noted, so the file must not get it.
    pub(crate) fn keeps(&mut self, number: u64, inode: u64, record: Record) -> io::Result<()> {
        self.write(&Line::Keeps(Keeps { keeps: number, inode, record }))
    }

    /// The name of the part of an entry.
    pub(crate) fn part_name(&self, number: u64) -> String {
        format!(".aioxide-{}-{number}.part", self.job)
    }

    /// The part that an earlier run has left of an entry.
    pub(crate) fn part(&self, number: u64) -> Option<&Part> {
        self.parts.get(&number)
    }

    /// An entry has a part under this name.
    ///
    /// # Errors
    /// It could not be noted, so the part must not get it.
    pub(crate) fn has_part(&mut self, number: u64, name: &str, version: &Version) -> io::Result<()> {
        self.add_part(Part { part: number, name: name.to_owned(), version: version.clone(), have: None })
    }

    /// An entry has a part under this name, of which these bytes are written.
    ///
    /// # Errors
    /// It could not be noted, so it may be written again.
    pub(crate) fn has_ranges(
        &mut self,
        number: u64,
        name: &str,
        version: &Version,
        have: &Ranges,
    ) -> io::Result<()> {
        let have = Some(have.iter().collect());
        self.add_part(Part { part: number, name: name.to_owned(), version: version.clone(), have })?;
        if self.bytes > self.bytes_anew + ANEW_BYTES {
            return self.write_anew();
        }
        Ok(())
    }

    fn add_part(&mut self, part: Part) -> io::Result<()> {
        self.write(&Line::Part(part.clone()))?;
        self.parts.insert(part.part, part);
        Ok(())
    }

    /// How many entries of the job have failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// An entry has come to its end.
    pub(crate) fn ended(&mut self, number: u64, good: bool) {
        self.failed += u64::from(!good);
        self.ended.insert(number);
        self.done.insert(number);
        self.parts.remove(&number);
    }

    /// Notes what has ended, all of which the report, of so many bytes, tells of. `sync`: waits until the disk has it.
    ///
    /// # Errors
    /// It could not be noted.
    pub(crate) fn flush(
        &mut self,
        report_bytes: u64,
        volumes: Option<Position>,
        far: Far,
        sync: bool,
    ) -> io::Result<()> {
        if self.ended.count() == 0 && self.volumes == volumes {
            return Ok(());
        }
        (self.report_bytes, self.volumes, self.far) = (report_bytes, volumes, far);
        let done = std::mem::take(&mut self.ended).iter().collect();
        self.write(&self.told(done))?;
        if self.bytes > self.bytes_anew + ANEW_BYTES {
            // Files between their note and their name have their notes in it; their entries are not done.
            return self.write_anew();
        }
        if sync { self.file.sync_data() } else { Ok(()) }
    }
}

/// Keeps other runs from the file. Not every file system has locks.
fn lock(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(io::Error::other("another run works on this job")),
        _ => Ok(()),
    }
}

fn add(text: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}

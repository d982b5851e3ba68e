//! Tar shards in WebDataset's layout: what is downloaded goes into few large files in place of many small ones.
//!
//! A sample is two members in a row, `000000012.jpg` and `000000012.json`: the body, and the report's record of it. An index beside
//! each shard has one JSON line per sample: its key, where the body begins in the shard, and how long it is.
//!
//! A sample is appended in one step of the loop. **Invariant**: a shard has its name only when it is whole. Until then its file has
//! no name, or, in a job that can be started again, one of its own: then the state tells how far it was good, and it is cut
//! back to there. It gets its name only after the state has told of its last sample, so that there is one shard at most that
//! the state knows less of. So no sample is torn, and none is there twice. Behind the last sample there is always the end of an
//! archive: what makes a shard whole can fail no more than its name.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::rc::Rc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tar::{EntryType, Header};

use crate::fetch::naming::{Directory, PartFile};
use crate::fetch::report::Record;

/// Where samples go.
#[derive(Debug)]
pub(crate) struct Shards {
    directory: Rc<Directory>,
    /// How many samples a shard has.
    samples: u64,
    /// Part of the name of a shard that is not whole yet, in a job that can be started again.
    job: Option<String>,
    open: RefCell<Open>,
}

/// The shard that is being written.
#[derive(Debug, Default)]
struct Open {
    at: Position,
    /// Made with the first sample.
    files: Option<(PartFile, PartFile)>,
}

/// How far the shards have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    shard: u64,
    samples: u64,
    tar_bytes: u64,
    index_bytes: u64,
}

/// A whole body.
#[derive(Debug)]
pub(crate) enum Whole {
    Small(Vec<Bytes>),
    File(PartFile, u64),
}

/// A line of an index.
#[derive(Debug, Serialize)]
struct Line<'a> {
    key: &'a str,
    member: &'a str,
    offset: u64,
    bytes: u64,
    line: u64,
    url: &'a str,
}

/// Tar's unit.
const BLOCK: u64 = 512;
/// Two empty blocks are the end.
const END: u64 = 2 * BLOCK;

impl Shards {
    /// Goes on at `position`, or after the shards that are there.
    ///
    /// # Errors
    /// The shard that was being written is gone, or cannot be read.
    pub(crate) fn open(
        directory: Rc<Directory>,
        samples: u64,
        job: Option<String>,
        position: Option<Position>,
    ) -> io::Result<Self> {
        directory.lock()?;
        let shards = Shards { directory, samples, job, open: RefCell::default() };
        match position {
            Some(at) if at.tar_bytes > 0 => {
                let tar = shards.reopen(at.shard, "tar", at.tar_bytes)?;
                let index = shards.reopen(at.shard, "jsonl", at.index_bytes)?;
                shards.open.replace(Open { at, files: Some((tar, index)) });
            }
            Some(at) => shards.open.borrow_mut().at = at,
            None => {
                let mut open = shards.open.borrow_mut();
                let is_taken = |shard, extension| shards.directory.has(&name(shard, extension));
                while is_taken(open.at.shard, "tar") || is_taken(open.at.shard, "jsonl") {
                    open.at.shard += 1;
                }
            }
        }
        Ok(shards)
    }

    /// Opens a part that an earlier run has left, and cuts it back.
    fn reopen(&self, shard: u64, extension: &str, bytes: u64) -> io::Result<PartFile> {
        let (part, whole) = (self.part_name(shard, extension), name(shard, extension));
        if !self.directory.has(&part) {
            // It got its name just before the run was killed, and the state does not know.
            self.directory.rename(&whole, &part)?;
        }
        let (part, length) = self.directory.reopen(&part)?;
        if length < bytes {
            return Err(io::Error::other(format!("{whole}: shorter than the state of the job says")));
        }
        cut_back(&part, bytes, if extension == "tar" { END } else { 0 })?;
        Ok(part)
    }

    fn part_name(&self, shard: u64, extension: &str) -> String {
        format!(".aioxide-{}-{}.part", self.job.as_deref().unwrap_or_default(), name(shard, extension))
    }

    /// How far they have come.
    pub(crate) fn position(&self) -> Position {
        self.open.borrow().at
    }

    /// Adds a sample; returns the name of its member. `number` is the entry's.
    ///
    /// # Errors
    /// It could not be written, and is not there.
    pub(crate) fn add(
        &self,
        number: u64,
        extension: &str,
        body: Whole,
        mut record: Record,
    ) -> io::Result<String> {
        let mut open = self.open.borrow_mut();
        if self.is_full_at(open.at) {
            Self::end(&mut open)?;
        }
        let key = format!("{number:09}");
        let (member, about) = (format!("{key}.{extension}"), format!("{key}.json"));
        let path = format!("{}/{member}", name(open.at.shard, "tar"));
        record.path = Some(path.clone());
        if open.files.is_none() {
            open.files = Some((self.start(open.at.shard, "tar")?, self.start(open.at.shard, "jsonl")?));
        }
        let at = open.at;
        let Some((tar, index)) = &open.files else { return Err(io::Error::other("no shard is open")) };
        let text = serde_json::to_vec(&record)?;
        let offset = at.tar_bytes + BLOCK;
        let about_bytes = BLOCK + (text.len() as u64).next_multiple_of(BLOCK);
        let written = append(tar.file(), &member, body, 0).and_then(|bytes| {
            append(tar.file(), &about, Whole::Small(vec![text.into()]), END)?;
            let tar_bytes = offset + bytes.next_multiple_of(BLOCK) + about_bytes;
            tar.file().as_ref().seek(SeekFrom::Start(tar_bytes))?;
            let (line, url) = (record.line, record.url.as_str());
            let line = Line { key: &key, member: &member, offset, bytes, line, url };
            let mut line = serde_json::to_vec(&line)?;
            line.push(b'\n');
            index.file().as_ref().write_all(&line)?;
            Ok(Position {
                samples: at.samples + 1,
                tar_bytes,
                index_bytes: at.index_bytes + line.len() as u64,
                ..at
            })
        });
        match written {
            Ok(position) => open.at = position,
            Err(error) => {
                // What is half there goes away again.
                cut_back(tar, at.tar_bytes, END)?;
                cut_back(index, at.index_bytes, 0)?;
                return Err(error);
            }
        }
        if self.job.is_none() && self.is_full_at(open.at) {
            Self::end(&mut open)?;
        }
        Ok(path)
    }

    fn start(&self, shard: u64, extension: &str) -> io::Result<PartFile> {
        let mut part = self.directory.start()?;
        if self.job.is_some() {
            part.stay(&self.part_name(shard, extension))?;
        }
        Ok(part)
    }

    /// Whether the shard that is being written has all its samples: in a job that can be started again, the state is to tell so
    /// before the next one is added.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full_at(self.position())
    }

    fn is_full_at(&self, at: Position) -> bool {
        at.samples >= self.samples
    }

    /// Gives the shard that is being written its name if it is full; the state has told so.
    ///
    /// # Errors
    /// It could not get it.
    pub(crate) fn end_full(&self) -> io::Result<()> {
        match self.is_full() {
            true => self.finish(),
            false => Ok(()),
        }
    }

    /// Gives the shard that is being written its name, if it has a sample.
    ///
    /// # Errors
    /// It could not get it.
    pub(crate) fn finish(&self) -> io::Result<()> {
        Self::end(&mut self.open.borrow_mut())
    }

    fn end(open: &mut Open) -> io::Result<()> {
        if open.at.samples == 0 {
            return Ok(());
        }
        let Some((tar, index)) = open.files.take() else { return Ok(()) };
        // No shard is there without its index.
        index.keep(&name(open.at.shard, "jsonl"), &mut |_| Ok(()))?;
        tar.keep(&name(open.at.shard, "tar"), &mut |_| Ok(()))?;
        open.at = Position { shard: open.at.shard + 1, ..Position::default() };
        Ok(())
    }

    /// Waits until the disk has the samples.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if let Some((tar, index)) = &self.open.borrow().files {
            tar.file().sync_data()?;
            index.file().sync_data()?;
        }
        self.directory.sync()
    }
}

fn name(shard: u64, extension: &str) -> String {
    format!("shard-{shard:06}.{extension}")
}

/// Takes away what is behind the first `bytes`, but for `zeros` so many.
fn cut_back(part: &PartFile, bytes: u64, zeros: u64) -> io::Result<()> {
    part.file().set_len(bytes)?;
    part.file().set_len(bytes + zeros)?;
    part.file().as_ref().seek(SeekFrom::Start(bytes))?;
    Ok(())
}

/// Appends a member and `zeros` so many; returns the length of its body.
fn append(mut tar: &File, name: &str, body: Whole, zeros: u64) -> io::Result<u64> {
    let bytes = match &body {
        Whole::Small(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
        Whole::File(_, bytes) => *bytes,
    };
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let padding = usize::try_from(bytes.next_multiple_of(BLOCK) - bytes + zeros).unwrap_or(0);
    match body {
        Whole::Small(pieces) => {
            let mut text = header.as_bytes().to_vec();
            pieces.iter().for_each(|piece| text.extend_from_slice(piece));
            text.resize(text.len() + padding, 0);
            tar.write_all(&text)?;
        }
        Whole::File(part, _) => {
            tar.write_all(header.as_bytes())?;
            let mut file = part.file().as_ref();
            file.seek(SeekFrom::Start(0))?;
            let copied = io::copy(&mut file, &mut tar)?;
            if copied != bytes {
                return Err(io::Error::other("the body has another length than was written"));
            }
            tar.write_all(&vec![0; padding])?;
        }
    }
    Ok(bytes)
}

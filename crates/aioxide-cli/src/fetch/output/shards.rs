//! Tar shards in WebDataset's layout: what is downloaded goes into few large files in place of many small ones.
//!
//! A sample is two members in a row, `000000012.jpg` and `000000012.json`: the body, and the report's record of it. An index beside
//! each shard has one JSON line per sample: its key, where the body begins in the shard, and how long it is.
//!
//! A sample is appended in one step of the loop. **Invariant**: a shard has its name only when it is whole. Until then its file has
//! no name, or, in a job that can be started again, one of its own: then the state tells how far it was good, and it is cut
//! back to there. So no sample is torn, and none is there twice.

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
                while shards.directory.has(&name(open.at.shard, "tar")) {
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
        part.file().set_len(bytes)?;
        part.file().as_ref().seek(SeekFrom::Start(bytes))?;
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
        let written = append(tar.file(), &member, body).and_then(|bytes| {
            append(tar.file(), &about, Whole::Small(vec![text.into()]))?;
            let (line, url) = (record.line, record.url.as_str());
            let line = Line { key: &key, member: &member, offset, bytes, line, url };
            let mut line = serde_json::to_vec(&line)?;
            line.push(b'\n');
            index.file().as_ref().write_all(&line)?;
            Ok(Position {
                samples: at.samples + 1,
                tar_bytes: tar.file().as_ref().stream_position()?,
                index_bytes: at.index_bytes + line.len() as u64,
                ..at
            })
        });
        match written {
            Ok(position) => open.at = position,
            Err(error) => {
                // What is half there goes away again.
                for (part, bytes) in [(tar, at.tar_bytes), (index, at.index_bytes)] {
                    part.file().set_len(bytes)?;
                    part.file().as_ref().seek(SeekFrom::Start(bytes))?;
                }
                return Err(error);
            }
        }
        if open.at.samples == self.samples {
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

    /// Gives the shard that is being written its name, if it has a sample.
    ///
    /// # Errors
    /// It could not get it.
    pub(crate) fn finish(&self) -> io::Result<()> {
        Self::end(&mut self.open.borrow_mut())
    }

    fn end(open: &mut Open) -> io::Result<()> {
        let Some((tar, index)) = open.files.take() else { return Ok(()) };
        // Two empty blocks are the end.
        tar.file().as_ref().write_all(&[0; 2 * BLOCK as usize])?;
        tar.keep(&name(open.at.shard, "tar"), &mut |_| Ok(()))?;
        index.keep(&name(open.at.shard, "jsonl"), &mut |_| Ok(()))?;
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

/// Appends a member; returns the length of its body.
fn append(mut tar: &File, name: &str, body: Whole) -> io::Result<u64> {
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
    let padding = usize::try_from(bytes.next_multiple_of(BLOCK) - bytes).unwrap_or(0);
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

//! Large files that many downloads go into, one after the other, each with an index beside it.
//!
//! Downloads are appended in one step of the loop. **Invariant**: a volume has its name only when it is whole. Until then its file
//! has no name, or, in a job that can be started again, one of its own: then the state tells how far it was good, and it is cut
//! back to there. It gets its name only after the state has told of its last download, so that there is one volume at most that
//! the state knows less of. So no download is torn, and none is there twice.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::rc::Rc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::sort;
use crate::fetch::naming::{Directory, PartFile};

/// Where downloads go.
#[derive(Debug)]
pub(crate) struct Volumes {
    directory: Rc<Directory>,
    layout: Layout,
    /// Part of the name of a volume that is not whole yet, in a job that can be started again.
    job: Option<String>,
    open: RefCell<Open>,
}

/// What volumes are called, and when one is full.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) stem: String,
    pub(crate) extension: &'static str,
    /// The extension of the index.
    pub(crate) index: &'static str,
    pub(crate) limit: Limit,
    /// Behind the last download there are always so many zeros: what makes a volume whole can fail no more than its name.
    pub(crate) zeros: u64,
    /// The lines of a whole index are in order.
    pub(crate) is_sorted: bool,
}

/// When a volume is full.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    Downloads(u64),
    Bytes(u64),
    /// One volume takes all, and has no number unless its name is taken.
    None,
}

/// The volume that is being written.
#[derive(Debug, Default)]
struct Open {
    at: Position,
    /// Made with the first download.
    files: Option<(PartFile, PartFile)>,
    /// What a volume lacks that has its name all the same.
    lack: Option<io::Error>,
}

/// How far the volumes have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    volume: u64,
    downloads: u64,
    bytes: u64,
    index_bytes: u64,
}

/// A whole body.
#[derive(Debug)]
pub(crate) enum Whole {
    Small(Vec<Bytes>),
    File(PartFile, u64),
}

/// The place that a download gets.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a File,
    /// The name that the volume is going to have.
    pub(crate) name: &'a str,
    pub(crate) offset: u64,
}

/// What was written there.
#[derive(Debug)]
pub(crate) struct Added {
    /// Where the next one goes.
    pub(crate) end: u64,
    /// Lines for the index.
    pub(crate) index: Vec<u8>,
}

impl Volumes {
    /// Goes on at `position`, or after the volumes that are there.
    ///
    /// # Errors
    /// The volume that was being written is gone, or cannot be read.
    pub(crate) fn open(
        directory: Rc<Directory>,
        layout: Layout,
        job: Option<String>,
        position: Option<Position>,
    ) -> io::Result<Self> {
        directory.lock()?;
        let volumes = Volumes { directory, layout, job, open: RefCell::default() };
        let Layout { extension, index, zeros, .. } = volumes.layout;
        match position {
            Some(at) if at.bytes > 0 => {
                let data = volumes.reopen(at.volume, extension, at.bytes, zeros)?;
                let lines = volumes.reopen(at.volume, index, at.index_bytes, 0)?;
                volumes.open.replace(Open { at, files: Some((data, lines)), lack: None });
            }
            Some(at) => volumes.open.borrow_mut().at = at,
            None => {
                let mut open = volumes.open.borrow_mut();
                let is_taken = |volume, extension| volumes.directory.has(&volumes.name(volume, extension));
                while is_taken(open.at.volume, extension) || is_taken(open.at.volume, index) {
                    open.at.volume += 1;
                }
            }
        }
        Ok(volumes)
    }

    /// Opens a part that an earlier run has left, and cuts it back.
    fn reopen(&self, volume: u64, extension: &str, bytes: u64, zeros: u64) -> io::Result<PartFile> {
        let (part, whole) = (self.part_name(volume, extension), self.name(volume, extension));
        if !self.directory.has(&part) {
            // It got its name just before the run was killed, and the state does not know.
            self.directory.rename(&whole, &part)?;
        } else if self.layout.is_sorted && extension == self.layout.index {
            // Put in order just before the run was killed.
            self.directory.remove(&whole);
        }
        let (part, length) = self.directory.reopen(&part)?;
        if length < bytes {
            return Err(io::Error::other(format!("{whole}: shorter than the state of the job says")));
        }
        cut_back(&part, bytes, zeros)?;
        Ok(part)
    }

    fn name(&self, volume: u64, extension: &str) -> String {
        let stem = &self.layout.stem;
        match (self.layout.limit, volume) {
            (Limit::None, 0) => format!("{stem}.{extension}"),
            (Limit::None, _) => format!("{stem}-{volume}.{extension}"),
            _ => format!("{stem}-{volume:06}.{extension}"),
        }
    }

    fn part_name(&self, volume: u64, extension: &str) -> String {
        format!(".aioxide-{}-{}.part", self.job.as_deref().unwrap_or_default(), self.name(volume, extension))
    }

    /// Where they stand.
    pub(crate) fn directory(&self) -> &Rc<Directory> {
        &self.directory
    }

    /// How far they have come.
    pub(crate) fn position(&self) -> Position {
        self.open.borrow().at
    }

    /// Adds a download, which `write` writes.
    ///
    /// # Errors
    /// It could not be written, and is not there.
    pub(crate) fn append<T>(
        &self,
        write: impl FnOnce(&Place<'_>) -> io::Result<(Added, T)>,
    ) -> io::Result<T> {
        let mut open = self.open.borrow_mut();
        if self.is_full_at(open.at) {
            self.end(&mut open)?;
        }
        let at = open.at;
        let Layout { extension, index, zeros, .. } = self.layout;
        if open.files.is_none() {
            open.files = Some((self.start(at.volume, extension)?, self.start(at.volume, index)?));
        }
        let Some((data, lines)) = &open.files else { return Err(io::Error::other("no volume is open")) };
        let name = self.name(at.volume, extension);
        let place = Place { file: data.file(), name: &name, offset: at.bytes };
        let written = write(&place).and_then(|(added, result)| {
            data.file().as_ref().seek(SeekFrom::Start(added.end))?;
            lines.file().as_ref().write_all(&added.index)?;
            Ok((added, result))
        });
        let result = match written {
            Ok((added, result)) => {
                let index_bytes = at.index_bytes + added.index.len() as u64;
                let downloads = at.downloads + 1;
                open.at = Position { downloads, bytes: added.end, index_bytes, ..at };
                result
            }
            Err(error) => {
                // What is half there goes away again.
                cut_back(data, at.bytes, zeros)?;
                cut_back(lines, at.index_bytes, 0)?;
                return Err(error);
            }
        };
        if self.job.is_none() && self.is_full_at(open.at) {
            // The download is there; who adds the next one, or ends the run, tries again and is told.
            let _ = self.end(&mut open);
        }
        Ok(result)
    }

    fn start(&self, volume: u64, extension: &str) -> io::Result<PartFile> {
        let mut part = self.directory.start()?;
        if self.job.is_some() {
            part.stay(&self.part_name(volume, extension))?;
        }
        Ok(part)
    }

    /// Whether the volume that is being written has all that goes into it: in a job that can be started again, the state is to
    /// tell so before the next download is added.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full_at(self.position())
    }

    fn is_full_at(&self, at: Position) -> bool {
        match self.layout.limit {
            Limit::Downloads(most) => at.downloads >= most,
            Limit::Bytes(most) => at.bytes >= most,
            Limit::None => false,
        }
    }

    /// Gives the volume that is being written its name if it is full; the state has told so.
    ///
    /// # Errors
    /// It could not get it.
    pub(crate) fn end_full(&self) -> io::Result<()> {
        match self.is_full() {
            true => self.finish(),
            false => Ok(()),
        }
    }

    /// Gives the volume that is being written its name, if something is in it.
    ///
    /// # Errors
    /// It could not get it, or one that has its name lacks something.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut open = self.open.borrow_mut();
        self.end(&mut open)?;
        open.lack.take().map_or(Ok(()), Err)
    }

    fn end(&self, open: &mut Open) -> io::Result<()> {
        if open.at.downloads == 0 {
            return Ok(());
        }
        let Some((data, lines)) = open.files.take() else { return Ok(()) };
        let (extension, whole) = (self.layout.extension, self.name(open.at.volume, self.layout.index));
        let (lines, left) = match self.in_order(&lines) {
            Ok(Some(sorted)) => (sorted, Some(lines)),
            Ok(None) => (lines, None),
            Err(error) => {
                let error = io::Error::new(error.kind(), format!("{whole} is not in order: {error}"));
                if self.job.is_some() {
                    open.files = Some((data, lines));
                    return Err(error);
                }
                open.lack.get_or_insert(error);
                (lines, None)
            }
        };
        // No volume is there without its index.
        lines.keep(&whole, &mut |_| Ok(()))?;
        if left.is_some() {
            self.directory.remove(&self.part_name(open.at.volume, self.layout.index));
        }
        data.keep(&self.name(open.at.volume, extension), &mut |_| Ok(()))?;
        open.at = Position { volume: open.at.volume + 1, ..Position::default() };
        Ok(())
    }

    /// Puts the lines of an index in order: in a job, which may go on with them, in a file of its own, and else in their place,
    /// for which a full disk has room.
    fn in_order(&self, lines: &PartFile) -> io::Result<Option<PartFile>> {
        if !self.layout.is_sorted {
            return Ok(None);
        }
        let sorted = if self.job.is_some() { Some(self.directory.start()?) } else { None };
        sort::lines(lines.file(), sorted.as_ref().unwrap_or(lines).file())?;
        Ok(sorted)
    }

    /// Waits until the disk has the downloads.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if let Some((data, lines)) = &self.open.borrow().files {
            data.file().sync_data()?;
            lines.file().sync_data()?;
        }
        self.directory.sync()
    }
}

/// Takes away what is behind the first `bytes`, but for `zeros` so many.
fn cut_back(part: &PartFile, bytes: u64, zeros: u64) -> io::Result<()> {
    part.file().set_len(bytes)?;
    part.file().set_len(bytes + zeros)?;
    part.file().as_ref().seek(SeekFrom::Start(bytes))?;
    Ok(())
}

//! The output directory: files get their names only when they are whole, and never somebody else's.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, flock, statat};
use rustix::io::Errno;

use super::claims::Claims;
use super::names;
use crate::fetch::manners::descriptors::Shortage;
use crate::fetch::output::streams::Identity;

/// An open directory that downloads go into. Every operation is relative to it, so that a renamed directory stays the
/// one that was meant, and the system has one component to look up in place of a path.
///
/// A file on its way has no name at all where the system can link one to it later (Linux, most file systems): a killed
/// run leaves nothing behind, and a file costs 15 us of CPU in place of 20 (tmpfs; ext4: 33 and 53). A link cannot
/// replace, so that with `overwrite` a file whose name is taken is linked to a temporary one and renamed at once. On other
/// systems it has a temporary name from the start.
#[derive(Debug)]
pub(crate) struct Directory {
    at: OwnedFd,
    overwrite: bool,
    /// Files on their way have no name.
    nameless: bool,
    /// How temporary names begin; the process's number is in it, so that two runs do not meet.
    prefix: String,
    /// Numbers the temporary names.
    temporary: Cell<u64>,
    /// The next number to try for a name that was taken; see [`HINTS`].
    hints: RefCell<HashMap<String, u64>>,
    /// With `overwrite`: hashes of the names this run has given, which it must not give twice. Eight bytes per file.
    /// (Two names with one hash: the second is numbered though it need not be.)
    given: RefCell<HashSet<u64>>,
    /// Which entry of the list has which name, where that is to be the same in each run.
    claims: RefCell<Claims>,
    /// Such hashes are noted without `overwrite`, too.
    remembers: bool,
    /// With `overwrite`: the file system takes names for the same that are not (`a` and `A`), so they are compared folded.
    folds: bool,
    /// Of descriptors for files.
    pub(crate) shortage: Shortage,
    /// With `overwrite`: what the run itself reads and writes, which is not replaced either.
    own: Vec<Identity>,
    /// Files of the run's own that it writes anew, so that they are told by their paths.
    own_paths: Vec<PathBuf>,
}

/// How many names have a hint; forgetting them costs time, never a file. Without hints the thousandth `index.html`
/// would be tried under 999 names first.
const HINTS: usize = 4096;
/// The last second of the year 9999, after which HTTP has no dates.
const LAST_DATE: u64 = 253_402_300_799;
/// The permissions of a new file, before the user's mask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

impl Directory {
    /// Makes and opens the directory.
    pub(crate) fn open(path: &Path, overwrite: bool) -> io::Result<Self> {
        fs::create_dir_all(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::from(io::ErrorKind::NotADirectory),
            _ => error,
        })?;
        let at = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut directory = Directory {
            at,
            overwrite,
            nameless: false,
            prefix: format!(".aioxide-{}-", std::process::id()),
            temporary: Cell::new(0),
            hints: RefCell::default(),
            given: RefCell::default(),
            claims: RefCell::default(),
            remembers: false,
            folds: false,
            shortage: Shortage::default(),
            own: Vec::new(),
            own_paths: Vec::new(),
        };
        directory.nameless = directory.links_nameless();
        if !directory.nameless {
            directory.try_to_write()?;
        }
        directory.folds = overwrite && directory.takes_names_for_the_same();
        Ok(directory)
    }

    /// When the file of this name was changed last, and its length; `None` when there was none before this run.
    pub(crate) fn stood_before(&self, name: &str) -> Option<(SystemTime, u64)> {
        if self.given.borrow().contains(&self.hash(name)) {
            return None;
        }
        let stat = statat(&self.at, name, AtFlags::empty()).ok().filter(|stat| !self.is_own(stat))?;
        // A file may be older or newer than a date of HTTP can tell.
        let changed = u64::try_from(stat.st_mtime).unwrap_or(0).min(LAST_DATE);
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        is_file.then(|| (SystemTime::UNIX_EPOCH + Duration::from_secs(changed), bytes))
    }

    /// Whether the name is taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        statat(&self.at, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Gives a file another name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.replace(from, to)
    }

    /// Whether this name leads to that very file.
    pub(crate) fn leads_to(&self, name: &str, inode: u64, bytes: u64) -> bool {
        let stat = statat(&self.at, name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| stat.st_ino == inode && u64::try_from(stat.st_size) == Ok(bytes))
    }

    /// Opens the part of a file that an earlier run has left; returns it and its length.
    pub(crate) fn reopen(self: &Rc<Self>, name: &str) -> io::Result<(PartFile, u64)> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.at, name, flags, Mode::empty())?);
        let length = file.seek(io::SeekFrom::End(0))?;
        let mut part = PartFile::new(self, Some(name.to_owned()), file);
        part.stays = true;
        Ok((part, length))
    }

    /// Keeps other runs that want it so from the directory, as long as this one lasts.
    ///
    /// # Errors
    /// Another run has it.
    pub(crate) fn lock(&self) -> io::Result<()> {
        match flock(&self.at, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(io::Error::other(
                "another run writes shards or archives into it; name a directory for each",
            )),
            // Some file systems of networks have no locks.
            _ => Ok(()),
        }
    }

    /// An entry of the list wants a name, which it has from then on unless an earlier one does.
    pub(crate) fn claim(&self, wanted: &str, entry: u64) {
        self.claims.borrow_mut().add(wanted, entry, |name| self.hash(name));
    }

    /// The name that an entry has where it wants this one.
    pub(crate) fn claimed(&self, wanted: String, entry: u64) -> String {
        self.claims.borrow().of(wanted, entry)
    }

    /// Takes note of the names that this run gives, as with `overwrite`.
    pub(crate) fn remember_names(&mut self) {
        self.remembers = true;
    }

    /// Hands the names that were given to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.at)?)
    }

    /// Keeps `own` and what is at `paths` from being replaced.
    pub(crate) fn spare(
        &mut self,
        own: impl IntoIterator<Item = Identity>,
        paths: impl IntoIterator<Item = PathBuf>,
    ) {
        self.own.extend(own);
        self.own_paths.extend(paths);
    }

    /// Makes a file and takes it away again: better told now than of each download.
    fn try_to_write(&self) -> io::Result<()> {
        let name = self.temporary_name();
        match self.create(&name) {
            Ok(_) => self.remove(&name),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::ReadOnlyFilesystem
                        | io::ErrorKind::NotFound
                ) =>
            {
                return Err(io::Error::new(error.kind(), format!("no file can be made in it: {error}")));
            }
            // That may pass.
            Err(_) => {}
        }
        Ok(())
    }

    /// Tries whether a file can be found by a name in another case, or with its accents in another form.
    fn takes_names_for_the_same(&self) -> bool {
        [("a", "A"), ("\u{e9}", "e\u{301}")].into_iter().any(|(one, other)| {
            let name = self.temporary_name();
            let made = format!("{name}{one}");
            if self.create(&made).is_err() {
                return false;
            }
            let found = statat(&self.at, format!("{name}{other}"), AtFlags::SYMLINK_NOFOLLOW).is_ok();
            self.remove(&made);
            found
        })
    }

    /// Tries whether a file without a name can get one: a matter of the kernel, the file system and one's rights.
    #[cfg(target_os = "linux")]
    fn links_nameless(&self) -> bool {
        let Ok(file) = self.create_nameless() else { return false };
        let name = self.temporary_name();
        let linked = self.link(&file, &name).is_ok();
        if linked {
            self.remove(&name);
        }
        linked
    }

    #[cfg(not(target_os = "linux"))]
    fn links_nameless(&self) -> bool {
        false
    }

    /// Starts a file; it disappears unless it is [kept](PartFile::keep).
    pub(crate) fn start(self: &Rc<Self>) -> io::Result<PartFile> {
        #[cfg(target_os = "linux")]
        if self.nameless {
            return Ok(PartFile::new(self, None, self.create_nameless()?));
        }
        loop {
            let name = self.temporary_name();
            match self.create(&name) {
                Ok(file) => return Ok(PartFile::new(self, Some(name), file)),
                // Left by a killed run whose process number came round again.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn temporary_name(&self) -> String {
        let number = self.temporary.get();
        self.temporary.set(number + 1);
        format!("{}{number}.part", self.prefix)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.at, name, flags, FILE_MODE)?))
    }

    #[cfg(target_os = "linux")]
    fn create_nameless(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.at, ".", flags, FILE_MODE)?))
    }

    /// Gives a file without a name one, or fails with `AlreadyExists`, in one step.
    #[cfg(target_os = "linux")]
    fn link(&self, file: &File, name: &str) -> io::Result<()> {
        Ok(rustix::fs::linkat(file, "", &self.at, name, AtFlags::EMPTY_PATH)?)
    }

    /// Gives a file the permissions of the one that it is about to replace.
    fn take_mode(&self, file: &File, name: &str) -> io::Result<()> {
        let Ok(there) = statat(&self.at, name, AtFlags::empty()) else { return Ok(()) };
        match FileType::from_raw_mode(there.st_mode) {
            // What came from elsewhere runs in nobody else's name.
            FileType::RegularFile => {
                Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(there.st_mode) & Mode::from_raw_mode(0o777))?)
            }
            _ => Ok(()),
        }
    }

    /// Renames, over whatever file has the name.
    fn replace(&self, temporary: &str, name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.at, temporary, &self.at, name)?)
    }

    /// Gives the file its name, numbered if `wanted` is taken, and returns the name it got.
    fn name(&self, part: &mut PartFile, wanted: &str, before: &mut Before<'_>) -> io::Result<String> {
        let wanted = &*self.make_room(wanted)?;
        let mut number = self.hints.borrow().get(wanted).copied().unwrap_or(0);
        loop {
            let name = if number == 0 { wanted.to_owned() } else { names::numbered(wanted, number) };
            if self.try_name(part, &name, before)? {
                if number > 0 {
                    self.remember(wanted, number + 1);
                }
                return Ok(name);
            }
            number += 1;
        }
    }

    /// Makes the directories in which a name with parts stands; returns it, with a number for each whose name a file has.
    fn make_room<'a>(&self, name: &'a str) -> io::Result<Cow<'a, str>> {
        let Some((directories, last)) = name.rsplit_once('/') else { return Ok(name.into()) };
        let mut made = String::new();
        for part in directories.split('/') {
            let before = made.len();
            let mut number = 0;
            loop {
                match number {
                    0 => made.push_str(part),
                    _ => made.push_str(&names::numbered(part, number)),
                }
                match rustix::fs::mkdirat(&self.at, &made, DIRECTORY_MODE) {
                    Ok(()) => break,
                    Err(Errno::EXIST) if self.is_directory(&made) => break,
                    Err(Errno::EXIST) => {
                        made.truncate(before);
                        number += 1;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            made.push('/');
        }
        Ok((made + last).into())
    }

    fn is_directory(&self, name: &str) -> bool {
        let stat = statat(&self.at, name, AtFlags::empty());
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    fn remember(&self, wanted: &str, next: u64) {
        let mut hints = self.hints.borrow_mut();
        if hints.len() >= HINTS && !hints.contains_key(wanted) {
            hints.clear();
        }
        hints.insert(wanted.to_owned(), next);
    }

    /// Gives the file this very name unless it is taken; says whether it did.
    fn try_name(&self, part: &mut PartFile, name: &str, before: &mut Before<'_>) -> io::Result<bool> {
        if self.overwrite && !self.may_replace(name) {
            return Ok(false);
        }
        before(name)?;
        #[cfg(target_os = "linux")]
        if part.name.is_none() {
            match self.link(&part.file, name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.overwrite => {
                    let temporary = self.temporary_name();
                    self.link(&part.file, &temporary)?;
                    // It keeps this name until it gets its own: a file whose last link is gone cannot be linked again.
                    part.name = Some(temporary);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                result => return result.map(|()| true),
            }
        }
        let named = match &part.name {
            None => Err(io::Error::from(io::ErrorKind::Unsupported)),
            Some(temporary) if self.overwrite => {
                self.take_mode(&part.file, name).and_then(|()| self.replace(temporary, name))
            }
            Some(temporary) => self.rename_if_free(temporary, name),
        };
        match named {
            Ok(()) => Ok(true),
            // A directory is not replaced.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the name is neither one that this run has given nor leads to a file that it reads or writes, a pipe or a device;
    /// notes it down.
    fn may_replace(&self, name: &str) -> bool {
        // Links are followed: what they lead to would no longer be found by this name.
        let there = statat(&self.at, name, AtFlags::empty());
        if there.is_ok_and(|stat| !Identity::told(stat).is_regular() || self.is_own(&stat)) {
            return false;
        }
        self.given.borrow_mut().insert(self.hash(name))
    }

    /// Whether it is a file that the run itself reads or writes.
    fn is_own(&self, stat: &Stat) -> bool {
        let there = Identity::told(*stat);
        let is_at = |path: &PathBuf| Identity::at(path).is_ok_and(|own| own == there);
        self.own.contains(&there) || self.own_paths.iter().any(is_at)
    }

    /// What stands for a name among those that were given.
    fn hash(&self, name: &str) -> u64 {
        match self.folds {
            true => names::fnv1a(names::folded(name).as_bytes()),
            false => names::fnv1a(name.as_bytes()),
        }
    }

    /// Renames, or fails with `AlreadyExists`, in one step.
    fn rename_if_free(&self, temporary: &str, name: &str) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        match rustix::fs::renameat_with(
            &self.at,
            temporary,
            &self.at,
            name,
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            // The file system cannot (NFS and some others).
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {}
            result => return Ok(result?),
        }
        self.rename_over_placeholder(temporary, name)
    }

    /// Takes the name with an empty file, which fails if it is taken, and puts the whole one over it.
    fn rename_over_placeholder(&self, temporary: &str, name: &str) -> io::Result<()> {
        drop(self.create(name)?);
        self.replace(temporary, name)
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) {
        // Nothing can be done about a failure, and nothing depends on it.
        let _ = rustix::fs::unlinkat(&self.at, name, AtFlags::empty());
    }
}

/// Told each name that a file is about to get.
pub(crate) type Before<'a> = dyn FnMut(&str) -> io::Result<()> + 'a;

/// A file on its way; gone when dropped, unless it is one that a later run may go on with.
#[derive(Debug)]
pub(crate) struct PartFile {
    directory: Rc<Directory>,
    /// Its temporary name, if it has one.
    name: Option<String>,
    /// Shared with the thread that writes.
    file: Arc<File>,
    /// It outlives this run.
    stays: bool,
}

impl PartFile {
    fn new(directory: &Rc<Directory>, name: Option<String>, file: File) -> Self {
        PartFile { directory: Rc::clone(directory), name, file: Arc::new(file), stays: false }
    }

    /// The file itself, to write to.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Whether it outlives this run.
    pub(crate) fn is_staying(&self) -> bool {
        self.stays
    }

    /// Which file it is, in its file system.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.file)?.st_ino)
    }

    /// Lets the file outlive this run, unless it gets another name: it stands under this one from now on.
    pub(crate) fn stay(&mut self, name: &str) -> io::Result<()> {
        self.directory.remove(name);
        match &self.name {
            Some(temporary) => self.directory.replace(temporary, name)?,
            #[cfg(target_os = "linux")]
            None => self.directory.link(&self.file, name)?,
            #[cfg(not(target_os = "linux"))]
            None => return Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
        self.name = Some(name.to_owned());
        self.stays = true;
        Ok(())
    }

    /// Gives the file its name, numbered if `wanted` is taken, and closes it; returns the name it got.
    ///
    /// `before` is told each name that is about to be tried; an error of its own ends the attempt.
    pub(crate) fn keep(mut self, wanted: &str, before: &mut Before<'_>) -> io::Result<String> {
        let directory = Rc::clone(&self.directory);
        let name = directory.name(&mut self, wanted, before)?;
        if directory.remembers {
            directory.given.borrow_mut().insert(directory.hash(&name));
        }
        self.name = None;
        Ok(name)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && !self.stays
        {
            self.directory.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;

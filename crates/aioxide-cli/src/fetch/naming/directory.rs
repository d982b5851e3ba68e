//! The output directory: files get their names only when they are whole, and never somebody else's.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, statat};
use rustix::io::Errno;

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
    /// Such hashes are noted without `overwrite`, too.
    remembers: bool,
    /// With `overwrite`: the file system takes names for the same that are not (`a` and `A`), so they are compared folded.
    folds: bool,
    /// Of descriptors for files.
    pub(crate) shortage: Shortage,
    /// With `overwrite`: what the run itself reads and writes, which is not replaced either.
    own: Vec<Identity>,
}

/// How many names have a hint; forgetting them costs time, never a file. Without hints the thousandth `index.html`
/// would be tried under 999 names first.
const HINTS: usize = 4096;
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
            remembers: false,
            folds: false,
            shortage: Shortage::default(),
            own: Vec::new(),
        };
        directory.nameless = directory.links_nameless();
        directory.folds = overwrite && directory.takes_names_for_the_same();
        Ok(directory)
    }

    /// When the file of this name was changed last; `None` when there was none before this run.
    pub(crate) fn stood_before(&self, name: &str) -> Option<SystemTime> {
        if self.given.borrow().contains(&self.hash(name)) {
            return None;
        }
        let stat = statat(&self.at, name, AtFlags::empty()).ok()?;
        let changed = u64::try_from(stat.st_mtime).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(changed))
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

    /// Takes note of the names that this run gives, as with `overwrite`.
    pub(crate) fn remember_names(&mut self) {
        self.remembers = true;
    }

    /// Hands the names that were given to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.at)?)
    }

    /// Keeps `own` from being replaced.
    pub(crate) fn spare(&mut self, own: impl IntoIterator<Item = Identity>) {
        self.own.extend(own);
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

    /// Renames, over whatever file has the name.
    fn replace(&self, temporary: &str, name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.at, temporary, &self.at, name)?)
    }

    /// Gives the file its name, numbered if `wanted` is taken, and returns the name it got.
    fn name(&self, part: &mut PartFile, wanted: &str, before: &mut Before<'_>) -> io::Result<String> {
        self.make_room(wanted)?;
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

    /// Makes the directories in which a name with parts stands.
    fn make_room(&self, name: &str) -> io::Result<()> {
        for (slash, _) in name.match_indices('/') {
            match rustix::fs::mkdirat(&self.at, &name[..slash], DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
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
            Some(temporary) if self.overwrite => self.replace(temporary, name),
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

    /// Whether the name is neither one that this run has given nor leads to a file that it reads or writes; notes it down.
    fn may_replace(&self, name: &str) -> bool {
        // Links are followed: what they lead to would no longer be found by this name.
        let is_own = |stat| self.own.contains(&Identity::told(stat));
        if !self.own.is_empty() && statat(&self.at, name, AtFlags::empty()).is_ok_and(is_own) {
            return false;
        }
        self.given.borrow_mut().insert(self.hash(name))
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
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn save(directory: &Rc<Directory>, wanted: &str, bytes: &str) -> String {
        let part = directory.start().unwrap();
        part.file().as_ref().write_all(bytes.as_bytes()).unwrap();
        keep(part, wanted)
    }

    fn keep(part: PartFile, wanted: &str) -> String {
        part.keep(wanted, &mut |_| Ok(())).unwrap()
    }

    /// Calls `test` with an empty directory, once for each way of naming files that the system has.
    fn both_ways(test: impl Fn(&Path, &dyn Fn(bool) -> Rc<Directory>)) {
        for nameless in [true, false] {
            let path = tempfile::tempdir().unwrap();
            test(path.path(), &|overwrite| {
                let mut directory = Directory::open(path.path(), overwrite).unwrap();
                directory.nameless &= nameless;
                Rc::new(directory)
            });
        }
    }

    fn contents(path: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        files
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect()
    }

    #[track_caller]
    fn check(path: &Path, expected: &[(&str, &str)]) {
        let expected =
            expected.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).to_owned())).collect();
        assert_eq!(contents(path), expected);
    }

    #[test]
    fn taken_names_are_numbered_and_nothing_is_overwritten() {
        both_ways(|path, open| {
            fs::write(path.join("a.txt"), "old").unwrap();
            fs::create_dir(path.join("a-2.txt")).unwrap();
            let directory = open(false);
            assert_eq!(save(&directory, "a.txt", "1"), "a-1.txt");
            assert_eq!(save(&directory, "a.txt", "2"), "a-3.txt");
            assert_eq!(save(&directory, "b.txt", "3"), "b.txt");
            check(path, &[("a.txt", "old"), ("a-1.txt", "1"), ("a-3.txt", "2"), ("b.txt", "3")]);
        });
    }

    #[test]
    fn overwriting_replaces_old_files_but_none_of_this_run() {
        both_ways(|path, open| {
            fs::write(path.join("a.txt"), "old").unwrap();
            fs::write(path.join("a-1.txt"), "old").unwrap();
            fs::create_dir(path.join("b.txt")).unwrap();
            let directory = open(true);
            assert_eq!(save(&directory, "a.txt", "1"), "a.txt");
            assert_eq!(save(&directory, "a.txt", "2"), "a-1.txt");
            assert_eq!(save(&directory, "b.txt", "3"), "b-1.txt");
            check(path, &[("a.txt", "1"), ("a-1.txt", "2"), ("b-1.txt", "3")]);
        });
    }

    #[test]
    fn overwriting_where_case_and_form_are_ignored_keeps_both_files() {
        both_ways(|_, open| {
            let mut directory = open(true);
            Rc::get_mut(&mut directory).unwrap().folds = true;
            assert_eq!(save(&directory, "A.txt", "1"), "A.txt");
            assert_eq!(save(&directory, "a.txt", "2"), "a-1.txt");
            assert_eq!(save(&directory, "A-1.TXT", "3"), "A-1-1.TXT");
            assert_eq!(save(&directory, "\u{e9}", "4"), "\u{e9}");
            assert_eq!(save(&directory, "E\u{301}", "5"), "E\u{301}-1");
        });
    }

    #[test]
    fn overwriting_where_case_counts_gives_each_name_as_it_is() {
        both_ways(|path, open| {
            let directory = open(true);
            // A file system that ignores case, on which this test may run, is right to number.
            if !directory.folds {
                assert_eq!(save(&directory, "A", "1"), "A");
                assert_eq!(save(&directory, "a", "2"), "a");
                check(path, &[("A", "1"), ("a", "2")]);
            }
        });
    }

    #[test]
    fn overwriting_spares_what_the_run_reads_and_writes() {
        both_ways(|path, open| {
            let elsewhere = tempfile::NamedTempFile::new().unwrap();
            fs::write(&elsewhere, "list").unwrap();
            fs::write(path.join("report"), "report").unwrap();
            fs::hard_link(path.join("report"), path.join("hard")).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), path.join("soft")).unwrap();
            let mut directory = open(true);
            let identity = |path: &Path| Identity::of(File::open(path).unwrap()).unwrap();
            Rc::get_mut(&mut directory)
                .unwrap()
                .spare([identity(&path.join("report")), identity(elsewhere.path())]);
            for name in ["report", "hard", "soft"] {
                assert_eq!(save(&directory, name, "new"), format!("{name}-1"));
            }
            assert_eq!(fs::read(path.join("report")).unwrap(), b"report");
            assert_eq!(fs::read(path.join("soft")).unwrap(), b"list");
        });
    }

    #[test]
    fn file_in_the_place_of_the_directory_is_named_as_such() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Directory::open(file.path(), false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn downloads_in_flight_do_not_meet() {
        both_ways(|path, open| {
            let directory = open(false);
            let (first, second) = (directory.start().unwrap(), directory.start().unwrap());
            first.file().as_ref().write_all(b"1").unwrap();
            second.file().as_ref().write_all(b"2").unwrap();
            assert_eq!(keep(second, "a"), "a");
            assert_eq!(keep(first, "a"), "a-1");
            check(path, &[("a", "2"), ("a-1", "1")]);
        });
    }

    #[test]
    fn file_that_is_not_kept_leaves_nothing() {
        both_ways(|path, open| {
            let directory = open(false);
            let part = directory.start().unwrap();
            part.file().as_ref().write_all(b"half").unwrap();
            assert_eq!(contents(path).len(), usize::from(!directory.nameless));
            drop(part);
            check(path, &[]);
        });
    }

    #[test]
    fn left_over_temporary_file_is_stepped_over() {
        let path = tempfile::tempdir().unwrap();
        let left_over = format!(".aioxide-{}-0.part", std::process::id());
        fs::write(path.path().join(&left_over), "not ours").unwrap();
        let mut directory = Directory::open(path.path(), false).unwrap();
        (directory.nameless, directory.temporary) = (false, Cell::new(0));
        let directory = Rc::new(directory);
        assert_eq!(save(&directory, "a", "1"), "a");
        check(path.path(), &[(&left_over, "not ours"), ("a", "1")]);
    }

    #[test]
    fn symbolic_link_is_not_followed() {
        both_ways(|path, open| {
            let outside = tempfile::NamedTempFile::new().unwrap();
            for overwrite in [false, true] {
                let name = format!("link{overwrite}");
                std::os::unix::fs::symlink(outside.path(), path.join(&name)).unwrap();
                save(&open(overwrite), &name, "1");
            }
            assert_eq!(fs::read(outside.path()).unwrap(), b"");
        });
    }

    #[test]
    fn placeholder_way_never_overwrites_either() {
        let path = tempfile::tempdir().unwrap();
        fs::write(path.path().join("a"), "old").unwrap();
        let mut directory = Directory::open(path.path(), true).unwrap();
        directory.nameless = false;
        let directory = Rc::new(directory);
        let mut part = directory.start().unwrap();
        part.file().as_ref().write_all(b"new").unwrap();
        let temporary = part.name.take().unwrap();
        let error = directory.rename_over_placeholder(&temporary, "a").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        directory.rename_over_placeholder(&temporary, "b").unwrap();
        check(path.path(), &[("a", "old"), ("b", "new")]);
    }

    #[test]
    fn many_equal_names_do_not_search_from_the_start() {
        both_ways(|path, open| {
            let directory = open(false);
            for _ in 0..500 {
                save(&directory, "index.html", "");
            }
            assert_eq!(directory.hints.borrow()["index.html"], 500);
            assert_eq!(contents(path).len(), 500);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_file_is_kept_whole_under_its_own_name(
            old in prop::collection::btree_set("[ab](-[12])?(\\.x)?", 0..5),
            wanted in prop::collection::vec("[ab](-[12])?(\\.x)?", 1..25),
            (overwrite, nameless) in any::<(bool, bool)>(),
        ) {
            let path = tempfile::tempdir().unwrap();
            let mut expected: BTreeMap<String, String> = BTreeMap::new();
            for name in &old {
                fs::write(path.path().join(name), "old").unwrap();
                expected.insert(name.clone(), "old".to_owned());
            }
            let mut directory = Directory::open(path.path(), overwrite).unwrap();
            directory.nameless &= nameless;
            let directory = Rc::new(directory);
            for (number, name) in wanted.iter().enumerate() {
                let got = save(&directory, name, &number.to_string());
                let before = expected.insert(got, number.to_string());
                prop_assert!(before.is_none() || overwrite && before.as_deref() == Some("old"));
            }
            prop_assert_eq!(contents(path.path()), expected);
        }
    }
}

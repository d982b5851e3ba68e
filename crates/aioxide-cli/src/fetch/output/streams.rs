//! The files and streams that a run reads and writes: with patience, and never two of them one.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Stat, fstat, stat};
use rustix::io::Errno;

use crate::args::FetchArgs;
use crate::fetch::access;
use crate::fetch::manners::stop;

/// A stream whose reads wait. The standard streams may be non-blocking because another program, which shares them, has
/// made them so; std passes on what the system then says ("resource temporarily unavailable").
#[derive(Debug)]
pub(crate) struct Patient<T>(pub(crate) T);

impl<T: AsFd + Read> Read for Patient<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                result => return result,
            }
        }
    }
}

/// Writes all of `bytes`, however long the reader of a pipe takes; but not when the run has been told to end.
///
/// # Errors
/// `TimedOut` when nobody reads; else as `write`.
pub(crate) fn write_all(stream: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let wait = if stop::has_given_up() { Timespec::default() } else { LOOK_AROUND };
        match poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&wait)) {
            Ok(0) if stop::is_overdue() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
            }
            Ok(0) | Err(Errno::INTR) => continue,
            // One that is closed or broken says so when it is written to.
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::io::write(&stream, &bytes[..bytes.len().min(ATOMIC)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How often a writer that waits looks whether the run has been told to end.
const LOOK_AROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// So many bytes a pipe that has room takes without a wait.
const ATOMIC: usize = 4096;

/// Which file something is, whatever name it was opened by: two hard links are one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity(Stat);

impl Identity {
    /// Of something open.
    pub(crate) fn of(stream: impl AsFd) -> io::Result<Self> {
        Ok(Identity(fstat(stream)?))
    }

    /// Of the file that a path leads to.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Identity(stat(path)?))
    }

    /// Of something that the system has told about.
    pub(crate) fn told(stat: Stat) -> Self {
        Identity(stat)
    }

    /// A file that keeps what is written to it.
    pub(crate) fn is_regular(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    /// A terminal, `/dev/null` and the like: what is written there does not come back, nor spoil what else is.
    fn is_device(&self) -> bool {
        self.kind() == FileType::CharacterDevice
    }

    /// A socket has two directions: what is written to it is not what is read from it.
    fn gives_back(&self) -> bool {
        !self.is_device() && self.kind() != FileType::Socket
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.0.st_mode)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (self.0.st_dev, self.0.st_ino) == (other.0.st_dev, other.0.st_ino)
    }
}

/// The files that the marks and the messages go to, which no download may replace.
pub(crate) fn outputs(args: &FetchArgs) -> impl Iterator<Item = Identity> {
    let marks = args.marks.then(|| Identity::of(io::stdout()));
    let messages = (!args.quiet).then(|| Identity::of(io::stderr()));
    [marks, messages].into_iter().flatten().flatten()
}

/// Whether the standard error ends in that file or pipe, and comes back from there.
pub(crate) fn is_stderr(file: Option<Identity>) -> bool {
    matches!((file, Identity::of(io::stderr())), (Some(file), Ok(err)) if file == err && err.gives_back())
}

/// Whether the standard output and the standard error end in one file or pipe.
pub(crate) fn outputs_are_one() -> bool {
    let identities = (Identity::of(io::stdout()), Identity::of(io::stderr()));
    matches!(identities, (Ok(out), Ok(err)) if out == err && !out.is_device())
}

/// Refuses a run that would write into its own list, or two kinds of output into one stream.
///
/// # Errors
/// What meets what, and what to do about it.
pub(crate) fn check(
    args: &FetchArgs,
    list: Option<Identity>,
    report: Option<Identity>,
    state: Option<Identity>,
) -> Result<(), String> {
    let cookies = args.access.save_cookies.as_deref().and_then(|path| Identity::at(path).ok());
    for (one, this, other, that) in [
        ("state of the job", state, "report", report),
        ("state of the job", state, "list of URLs", list),
        ("cookies", cookies, "report", report),
        ("cookies", cookies, "list of URLs", list),
        ("cookies", cookies, "state of the job", state),
    ] {
        if this.is_some_and(|this| this.is_regular() && Some(this) == that) {
            return Err(format!("the {one} and the {other} would be in one file"));
        }
    }
    let identity = |stream: io::Result<Identity>| stream.map_err(|error| error.to_string());
    let marks = args.marks.then(|| identity(Identity::of(io::stdout()))).transpose()?;
    let messages = (!args.quiet).then(|| identity(Identity::of(io::stderr()))).transpose()?;
    let written = [("the report", report), ("the marks", marks), ("the messages", messages)];
    let kept = [("the state of the job", state), ("the cookies", cookies)];
    check_settings(args, written.into_iter().chain(kept))?;
    for (name, written) in written {
        if let (Some(list), Some(written)) = (list, written)
            && list == written
            && list.gives_back()
        {
            return Err(format!("{name} would be written into the list of URLs, which is the same file"));
        }
    }
    let Some(report) = report else { return Ok(()) };
    if marks.is_some_and(|marks| marks == report) {
        return Err("the report and the marks would be mixed in one stream: \
                    leave out --marks, or write the report to a file of its own"
            .to_owned());
    }
    // On a terminal both are for a person, who can tell them apart.
    if messages.is_some_and(|messages| messages == report && !report.is_device()) {
        return Err("the report and the messages would be mixed in one stream: \
                    add --quiet, or write the report to a file of its own"
            .to_owned());
    }
    Ok(())
}

/// Refuses a run that would write into a file with a setting, before that has been read: a key, a password, cookies.
fn check_settings(
    args: &FetchArgs,
    written: impl Iterator<Item = (&'static str, Option<Identity>)> + Clone,
) -> Result<(), String> {
    for (option, path) in access::files(&args.access) {
        let Ok(read) = Identity::at(&path) else { continue };
        for (what, written) in written.clone() {
            // Cookies are read from a file and saved to it again.
            let is_meant = option == "--cookies" && what == "the cookies";
            if read.is_regular() && written == Some(read) && !is_meant {
                return Err(format!("{what} would be written over {}, the file of {option}", path.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn patient_stream_waits_where_the_system_would_not() {
        let (mut near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            Patient(far).read_to_string(&mut text).unwrap();
            text
        });
        near.write_all(b"late").unwrap();
        drop(near);
        assert_eq!(reader.join().unwrap(), "late");
    }

    #[test]
    fn write_goes_on_with_more_than_there_is_room_for() {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let writer = std::thread::spawn(move || write_all(near, &vec![b'x'; 4_000_000]).unwrap());
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).unwrap();
        writer.join().unwrap();
        assert_eq!(bytes.len(), 4_000_000);
    }

    #[test]
    fn links_are_the_file_they_lead_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        std::fs::write(path("a"), "").unwrap();
        std::fs::write(path("b"), "").unwrap();
        std::fs::hard_link(path("a"), path("hard")).unwrap();
        std::os::unix::fs::symlink(path("a"), path("soft")).unwrap();
        let identity = |name| Identity::of(std::fs::File::open(path(name)).unwrap()).unwrap();
        assert!(identity("a") == identity("hard") && identity("a") == identity("soft"));
        assert!(identity("a") != identity("b"));
    }
}

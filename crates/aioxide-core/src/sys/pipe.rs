//! Reads and writes on pipes that never wait, whatever the descriptor is set to: its flag is the open file's, and whoever shares
//! that (a child process, most often) may have cleared it.

use std::io;
use std::os::fd::RawFd;

use super::check_size;
use super::socket::may_block;

/// Reads what there is into `buffer`; 0 is the end.
///
/// # Errors
/// Those of `read`: `WouldBlock` when nothing is there; `Unsupported` where only a call that may wait can tell.
#[inline]
pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    if let Some(result) = at_once(|flags| {
        let slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: a live slice; -1 is the file's own place.
        unsafe { libc::preadv2(fd, &raw const slice, 1, -1, flags) }
    }) {
        return result;
    }
    refuse_to_wait(fd)?;
    // SAFETY: a live slice.
    check_size(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Writes from the start of `data`; returns how much was taken.
///
/// # Errors
/// Those of `write`: `WouldBlock` when the pipe is full; `Unsupported` where only a call that may wait can tell.
#[inline]
pub fn write(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    if let Some(result) = at_once(|flags| {
        let slice = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        // SAFETY: a live slice, which is only read; -1 is the file's own place.
        unsafe { libc::pwritev2(fd, &raw const slice, 1, -1, flags) }
    }) {
        return result;
    }
    refuse_to_wait(fd)?;
    // SAFETY: a live slice.
    check_size(unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) })
}

fn refuse_to_wait(fd: RawFd) -> io::Result<()> {
    if may_block(fd) { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
}

/// Makes a call with the flag of its own that keeps it from waiting; `None` where the kernel does not know that flag for what is read
/// or written: it knows it for pipes, but not for those with a name, and for sockets, but not for terminals.
#[cfg(target_os = "linux")]
fn at_once(call: impl FnOnce(libc::c_int) -> libc::ssize_t) -> Option<io::Result<usize>> {
    if !flag::is_known() {
        return None;
    }
    let result = check_size(call(libc::RWF_NOWAIT));
    match result.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::EOPNOTSUPP) => None,
        // A filter of system calls.
        Some(libc::ENOSYS | libc::EPERM) => {
            flag::give_up();
            None
        }
        _ => Some(result),
    }
}

/// Whether the kernel knows the flag for pipes, which it does since 6.4.
#[cfg(target_os = "linux")]
mod flag {
    use std::ffi::CStr;
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

    static KNOWN: AtomicU8 = AtomicU8::new(UNASKED);
    const UNASKED: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    #[inline]
    pub(super) fn is_known() -> bool {
        match KNOWN.load(Relaxed) {
            UNASKED => ask(),
            known => known == YES,
        }
    }

    pub(super) fn give_up() {
        KNOWN.store(NO, Relaxed);
    }

    #[cold]
    fn ask() -> bool {
        // SAFETY: all-zero are empty texts.
        let mut names: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: the struct, which the call fills with texts that end.
        let told = unsafe { libc::uname(&raw mut names) } == 0;
        // SAFETY: a text that ends, as it was all zero before.
        let release = unsafe { CStr::from_ptr(names.release.as_ptr()) };
        let is_known = told && is_new(&release.to_string_lossy());
        KNOWN.store(if is_known { YES } else { NO }, Relaxed);
        is_known
    }

    /// Of `6.18.44-amd64` the first two numbers count.
    pub(super) fn is_new(release: &str) -> bool {
        let mut numbers = release.split(|character: char| !character.is_ascii_digit());
        let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
        next().zip(next()).is_some_and(|version| version >= (6, 4))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    /// A pipe whose ends wait, as std makes them.
    fn blocking() -> (PipeReader, PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        assert!(may_block(reader.as_raw_fd()) && may_block(writer.as_raw_fd()));
        (reader, writer)
    }

    #[test]
    fn pipe_that_is_set_to_wait_is_never_waited_for() {
        let (mut reader, mut writer) = blocking();
        let mut buffer = [0; 16];
        let error = read(reader.as_raw_fd(), &mut buffer).unwrap_err().kind();
        assert!(matches!(error, ErrorKind::WouldBlock | ErrorKind::Unsupported), "{error:?}");
        let piece = [7; 4096];
        let mut taken = 0;
        let error = loop {
            match write(writer.as_raw_fd(), &piece) {
                Ok(count) => taken += count,
                Err(error) => break error.kind(),
            }
        };
        match error {
            ErrorKind::WouldBlock => assert!(taken >= piece.len()),
            // A kernel before 6.4.
            ErrorKind::Unsupported => {
                assert_eq!(taken, 0);
                writer.write_all(&piece).unwrap();
            }
            other => panic!("{other:?}"),
        }
        reader.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, [7; 16]);
    }

    #[test]
    fn what_there_is_comes_and_then_the_end() {
        let (reader, writer) = io::pipe().unwrap();
        for fd in [reader.as_raw_fd(), writer.as_raw_fd()] {
            // SAFETY: plain numbers.
            assert_ne!(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) }, -1);
        }
        let mut buffer = [0; 16];
        assert_eq!(read(reader.as_raw_fd(), &mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(write(writer.as_raw_fd(), b"some").unwrap(), 4);
        assert_eq!(write(writer.as_raw_fd(), b"thing").unwrap(), 5);
        assert_eq!(read(reader.as_raw_fd(), &mut buffer).unwrap(), 9);
        assert_eq!(&buffer[..9], b"something");
        drop(writer);
        assert_eq!(read(reader.as_raw_fd(), &mut buffer).unwrap(), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn kernel_is_told_by_its_numbers() {
        for (release, known) in [
            ("6.18.44-fc-v669", true),
            ("6.4.0", true),
            ("7.0-rc1", true),
            ("6.1.0-13-amd64", false),
            ("5.15.167.4-microsoft", false),
            ("6", false),
            ("", false),
        ] {
            assert_eq!(flag::is_new(release), known, "{release}");
        }
    }

    #[test]
    fn file_that_is_none_or_is_for_the_other_way_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(write(reader.as_raw_fd(), b"x").is_err());
        assert!(read(writer.as_raw_fd(), &mut [0]).is_err());
        assert!(read(-1, &mut [0]).is_err() && write(-1, b"x").is_err());
    }
}

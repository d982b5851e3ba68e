//! What ends a wait from another thread or a signal handler: an eventfd on Linux, a pipe elsewhere.
//!
//! The reactor watches it edge-triggered, so an eventfd is never read while the loop runs: each write is an edge of its own,
//! and it overflows after 2^64 - 2 of them. A full pipe refuses the write, which then is no edge; so the reactor empties
//! it at each event ([`seen`]).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// Ends the wait of the selector that watches it.
#[derive(Debug)]
pub struct Wakeup {
    reader: OwnedFd,
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    writer: OwnedFd,
}

impl Wakeup {
    /// A new one, closed on exec and never blocking.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: `fd` was opened just now and is ours alone.
        Ok(Self { reader: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// A new one, closed on exec and never blocking.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn new() -> io::Result<Self> {
        let mut fds = [0; 2];
        // SAFETY: `fds` has room for the two descriptors.
        check(unsafe { libc::pipe(fds.as_mut_ptr()) })?;
        // SAFETY: both were opened just now and are ours alone.
        let (reader, writer) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
        for fd in fds {
            // SAFETY: plain flags on descriptors that are open.
            check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
            // SAFETY: as above.
            check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) })?;
        }
        Ok(Self { reader, writer })
    }

    /// Ends the wait. Any thread may call it, and a signal handler too.
    pub fn wake(&self) {
        wake_fd(self.write_fd());
    }

    /// Takes what was written, so that a level-triggered watcher is not told again.
    pub fn clear(&self) {
        clear_fd(self.reader.as_raw_fd());
    }

    /// How often [`wake`](Self::wake) was called since this was last asked.
    #[cfg(all(test, loom))]
    pub(crate) fn take_count(&self) -> u64 {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes; an eventfd that nobody wrote to fails with EAGAIN and leaves them alone.
        unsafe { libc::read(self.reader.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        u64::from_ne_bytes(count)
    }

    /// The descriptor to write to: for a signal handler, which must not touch `self`.
    pub(crate) fn write_fd(&self) -> RawFd {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.reader.as_raw_fd();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        return self.writer.as_raw_fd();
    }
}

/// Writes one wake-up to `fd`; async-signal-safe. Full means that a wake-up is under way already.
pub(crate) fn wake_fd(fd: RawFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight readable bytes; `write` on a closed or full descriptor only fails.
    unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
}

/// An edge-triggered watcher of `fd` was told of a wake-up.
#[inline]
pub(crate) fn seen(fd: RawFd) {
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        clear_fd(fd);
    }
}

fn clear_fd(fd: RawFd) {
    let mut buffer = [0u8; 64];
    // SAFETY: the buffer is valid for its length; the descriptor never blocks.
    while unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } == buffer.len() as isize {}
}

impl AsRawFd for Wakeup {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

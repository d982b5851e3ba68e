//! The operating system: every libc call of the crate stands in this folder.
//!
//! A platform provides:
//! * `Selector` and `Events` (`epoll` on Linux, `kqueue` on macOS and the BSDs): level- or edge-triggered readiness
//!   with a 64-bit key per descriptor, and a wait with nanosecond resolution;
//! * `Wakeup` (eventfd, or a pipe): ends a wait from another thread or a signal handler;
//! * `ExitWatch` (pidfd, or kqueue's process filter): a descriptor that becomes readable when a child has ended;
//! * `connect`: how a connection to an address begins;
//! * `socket`: what a transport does with a descriptor that it does not own;
//! * `pipe`: the same for pipes, where no call waits either;
//! * `sample` (feature `sample`): what another thread is doing, on Linux;
//! * `stack`: how much of the running thread's is left;
//! * `signal` (portable): counts signals in a handler that does nothing else than add and wake;
//! * `fork` (portable): a lock and a count that the child of a fork finds free and empty;
//! * `thread`: what happens before a thread is ended by force, where that unwinds the stack (glibc);
//! * `monotonic_ns`, `coarse_monotonic_ns`.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use epoll::{Events, Selector};

#[cfg(any(
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod kqueue;
#[cfg(any(
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
pub use kqueue::{Events, Selector};

pub mod connect;
mod fork;
pub mod pipe;
mod process;
#[cfg(feature = "sample")]
pub mod sample;
pub(crate) mod signal;
pub mod socket;
pub mod stack;
pub mod thread;
mod time;
mod wakeup;

pub use process::{ExitWatch, send_signal};
pub(crate) use time::{coarse_monotonic_ns, monotonic_ns};
pub use wakeup::Wakeup;
pub(crate) use wakeup::seen as wakeup_seen;

use std::io;
use std::os::fd::RawFd;

/// As [`check`], for calls that return a size.
fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Turns libc's -1 into the error that `errno` holds.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether a number is that of an open descriptor.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Which kinds of readiness are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// Neither.
    pub const NONE: Self = Self(0);
    /// Reading would not block.
    pub const READABLE: Self = Self(1);
    /// Writing would not block.
    pub const WRITABLE: Self = Self(2);
    /// Both.
    pub const BOTH: Self = Self(3);

    /// Whether reading is included.
    pub fn is_readable(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether writing is included.
    pub fn is_writable(self) -> bool {
        self.0 & 2 != 0
    }

    /// What either includes.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What this includes and `other` does not.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether everything in `other` is included.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is included.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// How long readiness is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// At each wait while it lasts.
    Level,
    /// Once for each change.
    Edge,
}

/// One event of a wait.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What the descriptor was registered with.
    pub key: u64,
    /// What it is ready for; an error or a hang-up counts as both, since only the call tells which.
    pub ready: Interest,
    /// The peer will send no more, or the connection is broken: reading never has to wait again.
    pub read_closed: bool,
}

/// Whether a non-blocking `connect` goes on by itself (EINPROGRESS, or a signal came in between).
pub fn is_in_progress(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR))
}

/// Whether the system has run out of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM): later it may work again.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

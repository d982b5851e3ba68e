//! A descriptor that becomes readable when a child process has ended: pidfd on Linux, kqueue elsewhere.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// Watches one child for its end; it does not reap it.
#[derive(Debug)]
pub struct ExitWatch {
    fd: OwnedFd,
}

impl ExitWatch {
    /// Watches the child `pid`, which must not have been reaped yet.
    ///
    /// # Errors
    /// ESRCH when there is no such process, ENOSYS before Linux 5.3, EMFILE.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn new(pid: u32) -> io::Result<Self> {
        // SAFETY: plain numbers.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) } as libc::c_int)?;
        // SAFETY: opened just now, ours alone (the kernel sets close-on-exec itself).
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Watches the child `pid`, which must not have been reaped yet.
    ///
    /// # Errors
    /// ESRCH when there is no such process, EMFILE.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn new(pid: u32) -> io::Result<Self> {
        // SAFETY: no arguments.
        let fd = check(unsafe { libc::kqueue() })?;
        // SAFETY: opened just now, ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all-zero is a valid kevent.
        let mut change: libc::kevent = unsafe { std::mem::zeroed() };
        change.ident = pid as usize;
        change.filter = libc::EVFILT_PROC;
        change.flags = libc::EV_ADD;
        change.fflags = libc::NOTE_EXIT;
        // SAFETY: one change is read, no event is written.
        check(unsafe {
            libc::kevent(fd.as_raw_fd(), &raw const change, 1, std::ptr::null_mut(), 0, std::ptr::null())
        })?;
        Ok(Self { fd })
    }
}

impl AsRawFd for ExitWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Sends `signal` to the process `pid`, which must be a child not reaped yet: else the number may be another's by now.
///
/// # Errors
/// EINVAL for a number that is no signal, EPERM, ESRCH; also for 0, which the system takes for the whole group.
pub fn send_signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: plain numbers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

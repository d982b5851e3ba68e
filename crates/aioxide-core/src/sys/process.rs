//! A descriptor that becomes readable when a child process has ended: pidfd on Linux, kqueue elsewhere.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::{FromRawFd, OwnedFd};

use super::check;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::kqueue::Kqueue;

/// Watches one child for its end; it does not reap it.
#[derive(Debug)]
pub struct ExitWatch {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fd: OwnedFd,
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fd: Kqueue,
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
        let fd = Kqueue::new()?;
        let watched = fd.change(|change| {
            change.ident = pid as _;
            change.filter = libc::EVFILT_PROC;
            change.flags = libc::EV_ADD;
            change.fflags = libc::NOTE_EXIT;
        });
        match watched {
            // To most of these systems a child that has ended is no process any more, though it can be reaped.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) && is_unreaped(pid) => {
                fd.change(|change| {
                    change.filter = libc::EVFILT_TIMER;
                    change.flags = libc::EV_ADD | libc::EV_ONESHOT;
                    change.data = 1;
                })?;
            }
            other => other?,
        }
        Ok(Self { fd })
    }
}

/// Whether `pid` is a child of ours that has ended and can be reaped.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_unreaped(pid: u32) -> bool {
    // SAFETY: all-zero is a valid siginfo.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is valid for writing.
    check(unsafe { libc::waitid(libc::P_PID, pid as _, &raw mut info, options) }).is_ok()
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

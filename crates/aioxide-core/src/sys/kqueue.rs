//! The selector on macOS and the BSDs: kqueue behind the same interface as epoll.
//!
//! A descriptor has up to two filters here (read, write); `modify` deletes what is no longer wanted. `udata` carries the key.
//! The kernel forgets the filters of a descriptor when that is closed.
//!
//! The code follows the manual pages; it is compiled for these systems, and has not run on them yet.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{Event, Interest, Trigger, check};

/// How many events one wait may bring.
const CAPACITY: usize = 512;

const _: () = assert!(size_of::<*mut libc::c_void>() == 8, "a key of 64 bits must fit `udata`");

/// A kqueue instance, closed on exec.
///
/// It does not pass a fork: in the child its number is free, or another descriptor's, and is left alone.
#[derive(Debug)]
pub(super) struct Kqueue {
    fd: ManuallyDrop<OwnedFd>,
    process: u32,
}

/// A set of watched descriptors.
#[derive(Debug)]
pub struct Selector {
    kqueue: Kqueue,
}

/// The buffer that a wait fills.
pub struct Events {
    buffer: Vec<libc::kevent>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").field("len", &self.buffer.len()).finish()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// An empty buffer.
    pub fn new() -> Self {
        Self { buffer: Vec::with_capacity(CAPACITY) }
    }

    /// The number of events of the last wait.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the last wait brought nothing.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether the last wait filled the buffer, so that there may be more.
    pub fn is_full(&self) -> bool {
        self.buffer.len() == CAPACITY
    }

    /// The events of the last wait, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.buffer.iter().map(|event| {
            let (is_read, has_ended) = (event.filter == libc::EVFILT_READ, event.flags & libc::EV_EOF != 0);
            // An edge of an end counts for both ways: one of the filters may have been refused (see `add`).
            let ready = match has_ended && (!is_read || event.flags & libc::EV_CLEAR != 0) {
                true => Interest::BOTH,
                false if is_read => Interest::READABLE,
                false => Interest::WRITABLE,
            };
            Event { key: event.udata as u64, ready, read_closed: is_read && has_ended }
        })
    }
}

impl Kqueue {
    /// A new one.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no arguments.
        let fd = check(unsafe { libc::kqueue() })?;
        // SAFETY: opened just now, ours alone.
        let kqueue = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: a plain flag on an open descriptor.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        Ok(Self { fd: kqueue, process: std::process::id() })
    }

    /// Makes the one change that `fill` describes.
    ///
    /// # Errors
    /// What the filter refuses; ENOENT for one that is not there.
    pub(super) fn change(&self, fill: impl FnOnce(&mut libc::kevent)) -> io::Result<()> {
        // SAFETY: all-zero is a valid kevent.
        let mut change: libc::kevent = unsafe { std::mem::zeroed() };
        fill(&mut change);
        // SAFETY: one change is read, no event is written.
        let made = check(unsafe {
            libc::kevent(self.as_raw_fd(), &raw const change, 1, std::ptr::null_mut(), 0, std::ptr::null())
        });
        match made {
            // The changes have been made when a signal interrupts the call.
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsRawFd for Kqueue {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Kqueue {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

impl Selector {
    /// A new instance, closed on exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Self> {
        Ok(Self { kqueue: Kqueue::new()? })
    }

    /// Starts watching `fd`.
    ///
    /// # Errors
    /// EBADF, EINVAL for what cannot be watched, EPIPE for writing to a pipe that nobody reads, ENOMEM.
    pub fn add(&self, fd: RawFd, key: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        let (mut accepted, mut refused) = (false, None);
        for way in [Interest::READABLE, Interest::WRITABLE] {
            if interest.contains(way) {
                match self.watch(fd, key, way, trigger) {
                    Ok(()) => accepted = true,
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
        }
        let Some(error) = refused else { return Ok(()) };
        // Rust I/O asks for both ways whichever the descriptor has: a pipe whose other end is gone and another kqueue
        // have one, and its events tell enough.
        let is_one_way = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPIPE));
        if accepted && trigger == Trigger::Edge && is_one_way {
            return Ok(());
        }
        if accepted {
            let _undone = self.delete(fd);
        }
        Err(error)
    }

    /// Changes what is watched.
    ///
    /// # Errors
    /// As `add`.
    pub fn modify(&self, fd: RawFd, key: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        if trigger == Trigger::Edge {
            // A filter that is there keeps its trigger: it is made anew.
            self.delete(fd)?;
            return self.add(fd, key, interest, trigger);
        }
        for way in [Interest::READABLE, Interest::WRITABLE] {
            if interest.contains(way) {
                self.watch(fd, key, way, trigger)?;
            } else {
                self.unwatch(fd, way)?;
            }
        }
        Ok(())
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    /// EBADF.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.unwatch(fd, Interest::READABLE)?;
        self.unwatch(fd, Interest::WRITABLE)
    }

    fn watch(&self, fd: RawFd, key: u64, way: Interest, trigger: Trigger) -> io::Result<()> {
        self.kqueue.change(|change| {
            describe(change, fd, way);
            change.flags = libc::EV_ADD | if trigger == Trigger::Edge { libc::EV_CLEAR } else { 0 };
            change.udata = key as _;
        })
    }

    /// Whether or not it was watched.
    fn unwatch(&self, fd: RawFd, way: Interest) -> io::Result<()> {
        let deleted = self.kqueue.change(|change| {
            describe(change, fd, way);
            change.flags = libc::EV_DELETE;
        });
        match deleted {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Waits until something is ready or `timeout` is over (`None`: for ever) and fills `events`.
    ///
    /// # Errors
    /// EINTR when a signal handler ran; `events` is empty then.
    pub fn select(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.buffer.clear();
        let spec = timeout.map(|timeout| {
            let timeout = timeout.min(Duration::from_secs(86_400));
            libc::timespec {
                tv_sec: timeout.as_secs() as libc::time_t,
                tv_nsec: timeout.subsec_nanos() as libc::c_long,
            }
        });
        let spec = spec.as_ref().map_or(std::ptr::null(), |spec| spec as *const _);
        // SAFETY: room for CAPACITY events; `spec` is null or lives for the call.
        let count = check(unsafe {
            libc::kevent(
                self.kqueue.as_raw_fd(),
                std::ptr::null(),
                0,
                events.buffer.as_mut_ptr(),
                CAPACITY as _,
                spec,
            )
        })?;
        // SAFETY: the kernel filled that many elements.
        unsafe { events.buffer.set_len(count as usize) };
        Ok(())
    }
}

impl AsRawFd for Selector {
    fn as_raw_fd(&self) -> RawFd {
        self.kqueue.as_raw_fd()
    }
}

/// Which filter of which descriptor.
fn describe(change: &mut libc::kevent, fd: RawFd, way: Interest) {
    change.ident = fd as _;
    change.filter = if way.is_readable() { libc::EVFILT_READ } else { libc::EVFILT_WRITE };
}

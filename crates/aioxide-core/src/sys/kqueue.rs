//! The selector on macOS and the BSDs: kqueue behind the same interface as epoll.
//!
//! A descriptor has up to two filters here (read, write); `modify` deletes what is no longer wanted. `udata` carries the key.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{Event, Interest, Trigger, check};

/// How many events one wait may bring.
const CAPACITY: usize = 512;

/// A kqueue instance.
#[derive(Debug)]
pub struct Selector {
    kqueue: OwnedFd,
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
            let ready = match event.filter {
                libc::EVFILT_WRITE if event.flags & libc::EV_EOF != 0 => Interest::BOTH,
                libc::EVFILT_WRITE => Interest::WRITABLE,
                _ => Interest::READABLE,
            };
            let read_closed = event.filter == libc::EVFILT_READ && event.flags & libc::EV_EOF != 0;
            Event { key: event.udata as u64, ready, read_closed }
        })
    }
}

impl Selector {
    /// A new instance, closed on exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no arguments.
        let fd = check(unsafe { libc::kqueue() })?;
        // SAFETY: opened just now, ours alone.
        let kqueue = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: a plain flag on an open descriptor.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        Ok(Self { kqueue })
    }

    /// Starts watching `fd`.
    ///
    /// # Errors
    /// EBADF, EINVAL for what cannot be watched, ENOMEM.
    pub fn add(&self, fd: RawFd, key: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        if interest.is_readable() {
            self.change(fd, libc::EVFILT_READ, key, libc::EV_ADD, trigger)?;
        }
        if interest.is_writable() {
            self.change(fd, libc::EVFILT_WRITE, key, libc::EV_ADD, trigger)?;
        }
        Ok(())
    }

    /// Changes what is watched.
    ///
    /// # Errors
    /// As `add`.
    pub fn modify(&self, fd: RawFd, key: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        for (filter, wanted) in
            [(libc::EVFILT_READ, interest.is_readable()), (libc::EVFILT_WRITE, interest.is_writable())]
        {
            if wanted {
                self.change(fd, filter, key, libc::EV_ADD, trigger)?;
            } else {
                self.ignore_missing(self.change(fd, filter, key, libc::EV_DELETE, trigger))?;
            }
        }
        Ok(())
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    /// EBADF.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        for filter in [libc::EVFILT_READ, libc::EVFILT_WRITE] {
            self.ignore_missing(self.change(fd, filter, 0, libc::EV_DELETE, Trigger::Level))?;
        }
        Ok(())
    }

    fn ignore_missing(&self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn change(&self, fd: RawFd, filter: i16, key: u64, action: u16, trigger: Trigger) -> io::Result<()> {
        // SAFETY: all-zero is a valid kevent.
        let mut change: libc::kevent = unsafe { std::mem::zeroed() };
        change.ident = fd as usize;
        change.filter = filter;
        change.flags = action | if trigger == Trigger::Edge { libc::EV_CLEAR } else { 0 };
        change.udata = key as *mut libc::c_void;
        // SAFETY: one change is read, no event is written.
        check(unsafe {
            libc::kevent(
                self.kqueue.as_raw_fd(),
                &raw const change,
                1,
                std::ptr::null_mut(),
                0,
                std::ptr::null(),
            )
        })?;
        Ok(())
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
                CAPACITY as libc::c_int,
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

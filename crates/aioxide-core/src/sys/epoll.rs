//! The selector on Linux: epoll, with nanosecond waits where the kernel has `epoll_pwait2` (5.11).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Event, Interest, Trigger, check};

/// The kernel refused `epoll_pwait2` once: waits are rounded up to milliseconds from then on.
static MILLISECONDS_ONLY: AtomicBool = AtomicBool::new(false);

/// How many events one wait may bring.
const CAPACITY: usize = 512;

/// An epoll instance.
#[derive(Debug)]
pub struct Selector {
    epoll: OwnedFd,
}

/// The buffer that a wait fills.
pub struct Events {
    buffer: Vec<libc::epoll_event>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").field("len", &self.buffer.len()).finish()
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
            let bits = event.events;
            let mut ready = Interest::NONE;
            if bits & !(libc::EPOLLOUT as u32) != 0 {
                ready = ready.union(Interest::READABLE);
            }
            if bits & !((libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32) != 0 {
                ready = ready.union(Interest::WRITABLE);
            }
            let read_closed = bits & (libc::EPOLLRDHUP | libc::EPOLLHUP) as u32 != 0;
            Event { key: event.u64, ready, read_closed }
        })
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Selector {
    /// A new instance, closed on exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; a descriptor that succeeds is ours alone.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `epoll` was opened just now and nobody else closes it.
        Ok(Self { epoll: unsafe { OwnedFd::from_raw_fd(epoll) } })
    }

    /// Starts watching `fd`.
    ///
    /// # Errors
    /// EPERM for what cannot be watched (a regular file), EEXIST, EBADF, ENOSPC.
    pub fn add(&self, fd: RawFd, key: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, key, interest, trigger)
    }

    /// Changes what is watched.
    ///
    /// # Errors
    /// ENOENT when `fd` is not (or, closed and opened anew, no longer) watched; EBADF.
    pub fn modify(&self, fd: RawFd, key: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, key, interest, trigger)
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    /// ENOENT, EBADF.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::NONE, Trigger::Level)
    }

    fn control(
        &self,
        operation: i32,
        fd: RawFd,
        key: u64,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let mut bits = 0;
        if interest.is_readable() {
            bits |= libc::EPOLLIN;
        }
        if interest.is_writable() {
            bits |= libc::EPOLLOUT;
        }
        if trigger == Trigger::Edge {
            bits |= libc::EPOLLET | libc::EPOLLRDHUP;
        }
        let mut event = libc::epoll_event { events: bits as u32, u64: key };
        // SAFETY: `event` lives for the call; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits until something is ready or `timeout` is over (`None`: for ever) and fills `events`.
    ///
    /// # Errors
    /// EINTR when a signal handler ran; `events` is empty then.
    pub fn select(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.buffer.clear();
        let count = match timeout {
            Some(timeout) if !timeout.is_zero() => self.wait_timeout(events, timeout)?,
            Some(_) => self.wait_ms(events, 0)?,
            None => self.wait_ms(events, -1)?,
        };
        // SAFETY: the kernel filled that many elements, which fit the capacity given to it.
        unsafe { events.buffer.set_len(count as usize) };
        Ok(())
    }

    fn wait_timeout(&self, events: &mut Events, timeout: Duration) -> io::Result<libc::c_int> {
        // With 32 bits libc's structure is not the kernel's.
        if cfg!(target_pointer_width = "64") && !MILLISECONDS_ONLY.load(Ordering::Relaxed) {
            // A day is enough for one wait: the loop asks again, and no kernel overflows.
            let timeout = timeout.min(Duration::from_secs(86_400));
            let spec = libc::timespec {
                tv_sec: timeout.as_secs() as libc::time_t,
                tv_nsec: timeout.subsec_nanos() as libc::c_long,
            };
            // SAFETY: the buffer has room for CAPACITY events, `spec` lives for the call, no signal mask is given.
            let count = check(unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.epoll.as_raw_fd(),
                    events.buffer.as_mut_ptr(),
                    CAPACITY as libc::c_int,
                    &raw const spec,
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            } as libc::c_int);
            match count {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    MILLISECONDS_ONLY.store(true, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        let timeout_ms = timeout.as_nanos().div_ceil(1_000_000).min(86_400_000);
        self.wait_ms(events, timeout_ms as libc::c_int)
    }

    fn wait_ms(&self, events: &mut Events, timeout_ms: libc::c_int) -> io::Result<libc::c_int> {
        // SAFETY: the buffer has room for CAPACITY events.
        check(unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.buffer.as_mut_ptr(),
                CAPACITY as libc::c_int,
                timeout_ms,
            )
        })
    }
}

impl AsRawFd for Selector {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

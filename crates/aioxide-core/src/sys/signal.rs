//! Signals: a handler that counts and wakes, and nothing else.
//!
//! `COUNTS[n]` only grows; each listener remembers the number it saw last. `WAKE_FDS` holds the wake-up descriptors of
//! the listening loops, -1 where free. The handler reads both tables with atomic loads, so it may run at any time.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::check;
use super::fork::{Lock, Presence};
use super::wakeup::wake_fd;

/// Signal numbers are below this on every supported system.
pub(crate) const SIGNALS: usize = 65;

/// How many loops of one process may listen to signals at a time.
const LISTENERS: usize = 64;

static COUNTS: [AtomicU64; SIGNALS] = [const { AtomicU64::new(0) }; SIGNALS];
static WAKE_FDS: [AtomicI32; LISTENERS] = [const { AtomicI32::new(-1) }; LISTENERS];

/// Handlers under way, on any thread: a descriptor may be closed only when none can still hold its number.
static IN_HANDLER: Presence = Presence::new();

struct Installed {
    users: usize,
    before: libc::sigaction,
}

static INSTALLED: Lock<[Option<Installed>; SIGNALS]> = Lock::new([const { None }; SIGNALS]);

extern "C" fn handler(signal: libc::c_int) {
    // SAFETY: `errno` of this thread; a handler must leave it as it was.
    let errno = unsafe { *errno_location() };
    let process = IN_HANDLER.enter();
    if let Some(count) = COUNTS.get(signal as usize) {
        count.fetch_add(1, Ordering::SeqCst);
    }
    for fd in &WAKE_FDS {
        let fd = fd.load(Ordering::SeqCst);
        if fd >= 0 {
            wake_fd(fd);
        }
    }
    IN_HANDLER.leave(process);
    // SAFETY: as above.
    unsafe { *errno_location() = errno };
}

/// # Safety
/// None is needed but for what is done with it: it is the calling thread's.
pub(super) unsafe fn errno_location() -> *mut libc::c_int {
    #[cfg(target_os = "linux")]
    // SAFETY: always valid for the calling thread.
    return unsafe { libc::__errno_location() };
    #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
    // SAFETY: always valid for the calling thread.
    return unsafe { libc::__errno() };
    #[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
    // SAFETY: always valid for the calling thread.
    return unsafe { libc::__error() };
}

/// How often `signal` has arrived since the process first listened to it.
pub(crate) fn count(signal: i32) -> u64 {
    COUNTS[signal as usize].load(Ordering::SeqCst)
}

/// Adds a wake-up descriptor; the place it took, for [`remove_wakeup`].
pub(crate) fn add_wakeup(fd: RawFd) -> io::Result<usize> {
    WAKE_FDS
        .iter()
        .position(|place| place.compare_exchange(-1, fd, Ordering::SeqCst, Ordering::Relaxed).is_ok())
        .ok_or_else(|| io::Error::other("more than 64 event loops listen to signals"))
}

/// Takes the descriptor out; afterwards no handler writes to it any more, so it may be closed.
pub(crate) fn remove_wakeup(place: usize) {
    WAKE_FDS[place].store(-1, Ordering::SeqCst);
    while !IN_HANDLER.is_empty() {
        std::thread::yield_now();
    }
}

/// Installs the handler for `signal`, or counts one more user of it; gives back the count of arrivals before.
///
/// EINVAL for numbers that are no signals, or cannot be caught (SIGKILL, SIGSTOP), or must not be (SIGSEGV and the like).
pub(crate) fn install(signal: i32) -> io::Result<u64> {
    let forbidden = [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
    if !(1..SIGNALS as i32).contains(&signal) || forbidden.contains(&signal) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {signal} cannot be caught")));
    }
    let mut installed = INSTALLED.hold();
    let place = &mut installed[signal as usize];
    // Before the handler is in place: an arrival that it swallows from now on is new to the listener.
    let before_count = count(signal);
    if let Some(place) = place {
        place.users += 1;
        return Ok(before_count);
    }
    // SAFETY: all-zero is a valid sigaction; its fields are set below.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
    // On a thread's stack for signals where it has one, as runtimes with small stacks want it.
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the mask is ours and valid for writing.
    unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
    // SAFETY: both structures live for the call; the handler is async-signal-safe.
    check(unsafe { libc::sigaction(signal, &raw const action, &raw mut before) })?;
    *place = Some(Installed { users: 1, before });
    Ok(before_count)
}

/// Takes one user away; the last one's going puts the former disposition back.
pub(crate) fn uninstall(signal: i32) {
    let mut installed = INSTALLED.hold();
    let place = &mut installed[signal as usize];
    let Some(held) = place else { return };
    held.users -= 1;
    if held.users == 0 {
        // SAFETY: `before` is what `sigaction` gave us for this very signal.
        unsafe { libc::sigaction(signal, &raw const held.before, std::ptr::null_mut()) };
        *place = None;
    }
}

//! The stack of another thread of this process, taken while that thread runs (Linux).
//!
//! ```text
//! who asks                                  the thread
//!   IDLE ─> ASKED, tgkill(SIGURG)  ───────>   handler: ASKED ─> TAKING, walks its own stack into FRAMES, ─> DONE
//!   waits for DONE, copies, ─> IDLE  <──────
//!   gives up: ASKED ─> IDLE; if that is too late, the handler is under way and soon done
//! ```
//!
//! One question at a time. The handler touches nothing but the atomics here, its thread's `errno`, and what [`prepare`]'s `look` reads.
//! The unwinder finds its tables without a lock and without a cache on glibc from 2.35 on; elsewhere it may be in the middle of changing
//! what the handler would read, so nothing is sampled there. A stack that is all but used up is not walked.
//!
//! The signal is SIGURG, as in Go's runtime: nothing happens where nobody handles it, and hardly anybody does. A program that
//! handles it itself keeps it, and gets no stacks. A blocking call that the signal interrupts is begun again (`SA_RESTART`) but for
//! those that never are (`signal(7)`: `poll`, `nanosleep`, a `recv` with a timeout), which return EINTR. Who repeats such a call with
//! its whole timeout waits for longer, so nobody may ask for the same wait at regular intervals: [`Pace`] doubles them.

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
use std::io;
use std::panic::Location;
use std::time::Duration;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod linux;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use linux::{prepare, sample};

/// Nothing to get ready for.
///
/// # Errors
/// Always: a thread's stack cannot be taken here.
///
/// # Safety
/// As on Linux.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub unsafe fn prepare(_look: fn() -> Polled) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing is known of another thread here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn sample(_thread: i32, _lowest: usize) -> Option<Sample> {
    None
}

/// The task that a thread polls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polled {
    /// Its number; 0: none.
    pub id: u64,
    /// Where it was spawned.
    pub place: Option<&'static Location<'static>>,
}

/// What a thread was doing.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The addresses of its frames, the innermost first. All but the first are return addresses.
    pub frames: Vec<usize>,
    /// The task that it was polling.
    pub polled: Polled,
}

/// When to ask what blocks a thread, while it does: each time only when the wait is twice as long as it was the last time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    next: Duration,
}

impl Pace {
    /// Whether a thread that has been waited for so long may be asked now; `false` is no question.
    pub fn admit(&mut self, waited: Duration) -> bool {
        let is_due = waited >= self.next;
        if is_due {
            self.next = waited * 2;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_wait_is_asked_about_ever_more_seldom() {
        let mut pace = Pace::default();
        let asked: Vec<u64> =
            (1..=20).filter(|tenths| pace.admit(Duration::from_millis(100 * tenths))).collect();
        assert_eq!(asked, [1, 2, 4, 8, 16]);
    }
}

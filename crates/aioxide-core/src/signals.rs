//! Signals as futures: the handler counts and wakes the loop, the loop's reactor wakes the tasks.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

pub use libc::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1,
    SIGUSR2, SIGWINCH,
};

use crate::reactor::{Reactor, Registration};
use crate::sys::{Wakeup, signal};

/// Listens to one signal. Several listeners, on one loop or on many, each see every arrival.
///
/// Arrivals between two polls count as one, as the kernel's own pending signals do. When the last listener of a signal
/// is dropped, the disposition from before the first one is put back.
#[derive(Debug)]
pub struct SignalListener {
    signal: i32,
    seen: Cell<u64>,
    place: usize,
    // Before the descriptor: it must be dropped first.
    registration: Registration,
    wakeup: Wakeup,
}

impl SignalListener {
    /// Listens to `signal` from now on.
    ///
    /// # Errors
    /// `InvalidInput` for numbers that are no signals or cannot be caught; EMFILE; more than 64 listeners in the process.
    pub fn new(reactor: &Rc<Reactor>, signal: i32) -> io::Result<Self> {
        let wakeup = Wakeup::new()?;
        let registration = reactor.register(wakeup.as_raw_fd())?;
        let seen = signal::install(signal)?;
        let place = signal::add_wakeup(wakeup.write_fd()).inspect_err(|_| signal::uninstall(signal))?;
        Ok(Self { signal, seen: Cell::new(seen), place, registration, wakeup })
    }

    /// Whether the running loop is another one than that which listens.
    pub fn is_of_another_loop(&self) -> bool {
        self.registration.is_of_another_loop()
    }

    /// Ready when the signal has arrived since it was last ready.
    pub fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let count = signal::count(self.signal);
            if count != self.seen.replace(count) {
                return Poll::Ready(());
            }
            if self.registration.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            self.registration.clear_readable();
            self.wakeup.clear();
        }
    }
}

impl Drop for SignalListener {
    fn drop(&mut self) {
        signal::remove_wakeup(self.place);
        signal::uninstall(self.signal);
    }
}

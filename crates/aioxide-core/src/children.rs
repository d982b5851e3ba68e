//! The end of child processes, through the reactor: no SIGCHLD handler, no thread.

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::reactor::{Reactor, Registration};
use crate::sys::ExitWatch;

/// Tells when one child has ended. It does not reap: `waitpid` (or `Child::try_wait`) afterwards returns at once.
#[derive(Debug)]
pub struct ChildExit {
    // Before the descriptor: it must be dropped first.
    registration: Registration,
    _watch: ExitWatch,
}

impl ChildExit {
    /// Watches the child `pid`, which must not have been reaped yet.
    ///
    /// # Errors
    /// ESRCH when there is no such process, ENOSYS before Linux 5.3, EMFILE.
    pub fn new(reactor: &Rc<Reactor>, pid: u32) -> io::Result<Self> {
        let watch = ExitWatch::new(pid)?;
        Ok(Self { registration: reactor.register(watch.as_raw_fd())?, _watch: watch })
    }

    /// Whether the running loop is another one than that which watches the child.
    pub fn is_of_another_loop(&self) -> bool {
        self.registration.is_of_another_loop()
    }

    /// Ready once the child has ended.
    pub fn poll_exited(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.registration.poll_readable(cx)
    }
}

//! Signals of the operating system, as futures and streams.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aioxide_core::signals::{self, SignalListener};
use futures_core::Stream;

use crate::net::source::not_here;
use crate::net::source::running_loop;

/// Names a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalKind(i32);

impl SignalKind {
    /// SIGALRM: a timer set with `alarm` is over.
    pub const ALARM: Self = Self(signals::SIGALRM);
    /// SIGCHLD: a child has ended or stopped.
    pub const CHILD: Self = Self(signals::SIGCHLD);
    /// SIGHUP: the terminal is gone; services read their configuration anew.
    pub const HANGUP: Self = Self(signals::SIGHUP);
    /// SIGINT: Ctrl-C.
    pub const INTERRUPT: Self = Self(signals::SIGINT);
    /// SIGPIPE: nobody reads the pipe that was written to.
    pub const PIPE: Self = Self(signals::SIGPIPE);
    /// SIGQUIT: Ctrl-\.
    pub const QUIT: Self = Self(signals::SIGQUIT);
    /// SIGTERM: please end.
    pub const TERMINATE: Self = Self(signals::SIGTERM);
    /// SIGUSR1: the program's own.
    pub const USER_DEFINED1: Self = Self(signals::SIGUSR1);
    /// SIGUSR2: the program's own.
    pub const USER_DEFINED2: Self = Self(signals::SIGUSR2);
    /// SIGWINCH: the terminal has another size.
    pub const WINDOW_CHANGE: Self = Self(signals::SIGWINCH);

    /// The signal with the system's number `number`.
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// The system's number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

/// Listens to a signal from now on; its usual effect does not take place as long as anybody listens.
///
/// asyncio: `loop.add_signal_handler`; here several may listen, on any thread's loop.
///
/// # Errors
/// `InvalidInput` for numbers that are no signals, or cannot be caught; EMFILE; no loop runs on this thread.
///
/// # Examples
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use aioxide::signal::{SignalKind, signal};
/// let mut hangups = signal(SignalKind::HANGUP)?;
/// hangups.recv().await;
/// # Ok(()) }
/// ```
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    let event_loop = running_loop()?;
    Ok(Signal { listener: SignalListener::new(event_loop.reactor(), kind.0)? })
}

/// The arrivals of one signal; those that come while nobody looks count as one.
#[derive(Debug)]
pub struct Signal {
    listener: SignalListener,
}

impl Signal {
    /// Waits until the signal arrives, or has arrived since it was last waited for.
    ///
    /// # Cancel safety
    /// Dropping the future loses no signal.
    pub async fn recv(&mut self) {
        poll_fn(|cx| self.poll_recv(cx)).await;
    }

    /// [`recv`](Self::recv) for futures written by hand.
    ///
    /// # Panics
    /// On another loop than that on which it listens, or on none.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.listener.poll_arrived(cx);
        if polled.is_pending()
            && let Some(why) = not_here(self.listener.is_of_another_loop())
        {
            panic!("{why}");
        }
        polled
    }
}

impl Stream for Signal {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        ready!(self.poll_recv(cx));
        Poll::Ready(Some(()))
    }
}

/// Waits for Ctrl-C (SIGINT). It listens from the call on, not from the first poll; afterwards Ctrl-C kills again.
///
/// # Errors
/// EMFILE; no loop runs on this thread.
///
/// # Cancel safety
/// Dropping the future ends the listening.
pub fn ctrl_c() -> impl Future<Output = io::Result<()>> {
    let listening = signal(SignalKind::INTERRUPT);
    async move {
        listening?.recv().await;
        Ok(())
    }
}

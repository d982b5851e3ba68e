//! Accepting connections, whatever the listener: what is passed over, and what is waited out.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use aioxide_core::sys::is_exhausted;
use socket2::{SockAddr, SockRef, Socket};

use super::pause::Pause;
use super::source::{Source, Way};
use crate::report::{Report, ReportKind, report};

/// How many connections the system may hold back for us; it cuts the number to its own limit (`somaxconn`).
pub(crate) const BACKLOG: i32 = 1024;

/// How long accepting rests when the system has run out of something (asyncio's `ACCEPT_RETRY_DELAY`).
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Until when a listener rests: on the loop's clock, 0 when it does not.
///
/// It belongs to the listener, not to one call of `accept`: a call dropped and made anew must not shorten the rest.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    until_ns: Cell<u64>,
}

/// Waits for the next connection of a stream listener.
pub(crate) async fn accept<S: AsFd>(source: &Source<S>, backoff: &Backoff) -> io::Result<(Socket, SockAddr)> {
    loop {
        if backoff.until_ns.get() != 0 {
            Pause::until(backoff.until_ns.get())?.await;
            backoff.until_ns.set(0);
        }
        let listener = source.sock_ref();
        match source.wait(Way::Read, |cx| source.poll_read_with(cx, || accept_now(&listener))).await {
            Err(error) if is_aborted(&error) => {}
            Err(error) if is_exhausted(&error) => {
                report(&Report {
                    kind: ReportKind::AcceptPaused(RETRY_DELAY),
                    task: None,
                    detail: Some(error.to_string()),
                });
                backoff.until_ns.set(Pause::new(RETRY_DELAY)?.deadline_ns());
            }
            other => return other,
        }
    }
}

/// One call where the system has `accept4`: the socket is non-blocking and closed on exec from its birth.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
fn accept_now(listener: &SockRef<'_>) -> io::Result<(Socket, SockAddr)> {
    use socket2::Type;
    let flags = i32::from(Type::STREAM.nonblocking().cloexec()) & !i32::from(Type::STREAM);
    listener.accept4(flags)
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
fn accept_now(listener: &SockRef<'_>) -> io::Result<(Socket, SockAddr)> {
    let (socket, addr) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, addr))
}

/// The client went away before its turn came. Linux also hands the new connection's own network errors to `accept`.
fn is_aborted(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable
    )
}

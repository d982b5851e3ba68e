//! Sockets that connect to an address without waiting.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::check;
use super::socket::Address;

/// A TCP socket for addresses of `family`: non-blocking, and not inherited by children.
///
/// # Errors
/// Those of `socket`: EMFILE, EAFNOSUPPORT and the like.
pub fn tcp_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: plain numbers.
        let fd = check(unsafe { libc::socket(family, kind, libc::IPPROTO_TCP) })?;
        // SAFETY: made just now, ours alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    {
        // SAFETY: plain numbers.
        let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM, libc::IPPROTO_TCP) })?;
        // SAFETY: made just now, ours alone.
        let made = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: plain numbers.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        // SAFETY: plain numbers.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) })?;
        Ok(made)
    }
}

/// Begins to connect; returns whether that is done already. If not, the socket becomes writable when it is. Waits for it if
/// the descriptor is a blocking one.
///
/// # Errors
/// Those of `connect`, but for EINPROGRESS, and for EINTR, after which it goes on as well.
pub fn connect(fd: RawFd, address: &Address) -> io::Result<bool> {
    let (start, len) = address.raw();
    // SAFETY: an address and its length.
    match check(unsafe { libc::connect(fd, start, len) }) {
        Ok(_) => Ok(true),
        Err(error) if is_under_way(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the error says that connecting goes on: what Python shows as `BlockingIOError` or `InterruptedError`.
pub fn is_under_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR | libc::EALREADY | libc::EAGAIN))
}

/// Takes the error that a socket has come to, if there is one.
///
/// # Errors
/// Those of `getsockopt`.
pub fn take_error(fd: RawFd) -> io::Result<Option<io::Error>> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: an int, and its size.
    check(unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut value).cast(), &raw mut len)
    })?;
    Ok((value != 0).then(|| io::Error::from_raw_os_error(value)))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::os::fd::AsRawFd;

    use super::*;

    fn ready(fd: &OwnedFd) {
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one structure.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, -1) }, 1);
    }

    fn outcome(address: SocketAddr) -> (OwnedFd, Option<io::Error>) {
        let address = Address::from_ip(address);
        let made = tcp_socket(address.family()).unwrap();
        if !connect(made.as_raw_fd(), &address).unwrap() {
            ready(&made);
        }
        let error = take_error(made.as_raw_fd()).unwrap();
        (made, error)
    }

    #[test]
    fn socket_connects_and_is_neither_blocking_nor_inherited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (made, error) = outcome(listener.local_addr().unwrap());
        assert!(error.is_none());
        assert!(!super::super::socket::may_block(made.as_raw_fd()));
        // SAFETY: plain numbers.
        assert_eq!(unsafe { libc::fcntl(made.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
        let own = Address::of_socket(made.as_raw_fd()).unwrap().parts();
        let peer = listener.accept().unwrap().1;
        assert_eq!(own, Address::from_ip(peer).parts());
    }

    #[test]
    fn error_of_a_refused_connection_is_taken_once() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (made, error) = outcome(unused);
        assert_eq!(error.and_then(|error| error.raw_os_error()), Some(libc::ECONNREFUSED));
        assert!(take_error(made.as_raw_fd()).unwrap().is_none());
    }
}

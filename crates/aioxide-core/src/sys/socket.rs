//! Non-blocking reads and writes on raw descriptors, for transports whose descriptor belongs to somebody else.

use std::io::{self, IoSlice};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::{check, check_size};

/// Never wait, whatever the descriptor's own flag says: it is the open file's, and whoever shares that may clear it.
const RECEIVE_FLAGS: libc::c_int = libc::MSG_DONTWAIT;

/// The same, and no SIGPIPE where a flag of the call says so.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT;

/// The most slices that one vectored write takes.
pub const MAX_SLICES: usize = 1024;

/// A place for received bytes: memory that need not be initialised.
#[derive(Clone, Copy, Debug)]
pub struct RawBuffer {
    /// Its start.
    pub start: *mut u8,
    /// How many bytes may be written.
    pub len: usize,
}

/// Receives into `buffer`; 0 is the end of the stream.
///
/// # Errors
/// Those of `recv`, `WouldBlock` among them.
#[inline]
pub fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: a live slice.
    unsafe { recv_raw(fd, RawBuffer { start: buffer.as_mut_ptr(), len: buffer.len() }) }
}

/// Receives at most `buffer.len` bytes; 0 is the end of the stream.
///
/// # Errors
/// Those of `recv`, `WouldBlock` among them.
///
/// # Safety
/// `buffer` is writable for its length.
#[inline]
pub unsafe fn recv_raw(fd: RawFd, buffer: RawBuffer) -> io::Result<usize> {
    // SAFETY: the caller's promise.
    check_size(unsafe { direct::recv(fd, buffer.start, buffer.len) })
}

/// The calls that are made per message. glibc's own are cancellation points, which in a process with threads costs four
/// atomic operations a call; nobody cancels a loop's thread.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod direct {
    use std::os::fd::RawFd;

    /// # Safety
    /// `start` is writable for `len` bytes.
    #[inline]
    pub(super) unsafe fn recv(fd: RawFd, start: *mut u8, len: usize) -> libc::ssize_t {
        // SAFETY: the caller's promise; no address is asked for.
        unsafe {
            libc::syscall(libc::SYS_recvfrom, fd, start, len, super::RECEIVE_FLAGS, 0usize, 0usize)
                as libc::ssize_t
        }
    }

    /// # Safety
    /// `start` is readable for `len` bytes.
    #[inline]
    pub(super) unsafe fn send(fd: RawFd, start: *const u8, len: usize) -> libc::ssize_t {
        // SAFETY: the caller's promise; no address is given.
        unsafe {
            libc::syscall(libc::SYS_sendto, fd, start, len, super::SEND_FLAGS, 0usize, 0usize)
                as libc::ssize_t
        }
    }

    /// # Safety
    /// `start` is writable for `len` bytes; `from` has room for what `from_len` says.
    #[inline]
    pub(super) unsafe fn recv_from(
        fd: RawFd,
        start: *mut u8,
        len: usize,
        from: *mut libc::sockaddr_storage,
        from_len: *mut libc::socklen_t,
    ) -> libc::ssize_t {
        // SAFETY: the caller's promise.
        unsafe {
            libc::syscall(libc::SYS_recvfrom, fd, start, len, super::RECEIVE_FLAGS, from, from_len)
                as libc::ssize_t
        }
    }

    /// # Safety
    /// `start` is readable for `len` bytes, `to` for `to_len`.
    #[inline]
    pub(super) unsafe fn send_to(
        fd: RawFd,
        start: *const u8,
        len: usize,
        to: *const libc::sockaddr_storage,
        to_len: libc::socklen_t,
    ) -> libc::ssize_t {
        // SAFETY: the caller's promise.
        unsafe {
            libc::syscall(libc::SYS_sendto, fd, start, len, super::SEND_FLAGS, to, to_len) as libc::ssize_t
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod direct {
    use std::os::fd::RawFd;

    /// # Safety
    /// `start` is writable for `len` bytes.
    pub(super) unsafe fn recv(fd: RawFd, start: *mut u8, len: usize) -> libc::ssize_t {
        // SAFETY: the caller's promise.
        unsafe { libc::recv(fd, start.cast(), len, super::RECEIVE_FLAGS) }
    }

    /// # Safety
    /// `start` is readable for `len` bytes.
    pub(super) unsafe fn send(fd: RawFd, start: *const u8, len: usize) -> libc::ssize_t {
        // SAFETY: the caller's promise.
        unsafe { libc::send(fd, start.cast(), len, super::SEND_FLAGS) }
    }

    /// # Safety
    /// `start` is writable for `len` bytes; `from` has room for what `from_len` says.
    pub(super) unsafe fn recv_from(
        fd: RawFd,
        start: *mut u8,
        len: usize,
        from: *mut libc::sockaddr_storage,
        from_len: *mut libc::socklen_t,
    ) -> libc::ssize_t {
        // SAFETY: the caller's promise.
        unsafe { libc::recvfrom(fd, start.cast(), len, super::RECEIVE_FLAGS, from.cast(), from_len) }
    }

    /// # Safety
    /// `start` is readable for `len` bytes, `to` for `to_len`.
    pub(super) unsafe fn send_to(
        fd: RawFd,
        start: *const u8,
        len: usize,
        to: *const libc::sockaddr_storage,
        to_len: libc::socklen_t,
    ) -> libc::ssize_t {
        // SAFETY: the caller's promise.
        unsafe { libc::sendto(fd, start.cast(), len, super::SEND_FLAGS, to.cast(), to_len) }
    }
}

/// How many bytes can be received at once; 0 when it cannot be told.
#[inline]
pub fn available(fd: RawFd) -> usize {
    let mut size: libc::c_int = 0;
    // SAFETY: FIONREAD writes an int.
    let result = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut size) };
    if result == -1 { 0 } else { usize::try_from(size).unwrap_or(0) }
}

/// Sends from the start of `data`; returns how much was taken.
///
/// # Errors
/// Those of `send`, `WouldBlock` among them.
#[inline]
pub fn send(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    // SAFETY: a live slice.
    check_size(unsafe { direct::send(fd, data.as_ptr(), data.len()) })
}

/// Sends from the start of `slices` (at most [`MAX_SLICES`] of them); returns how much was taken.
///
/// # Errors
/// Those of `sendmsg`, `WouldBlock` among them.
pub fn send_vectored(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: all-zero is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // `IoSlice` is guaranteed to have iovec's layout; the call does not write through it.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len().min(MAX_SLICES) as _;
    // SAFETY: the message and its slices are alive.
    check_size(unsafe { libc::sendmsg(fd, &raw const message, SEND_FLAGS) })
}

/// Whether a call without a flag of its own (`read`, `write`, `accept`) may wait on this descriptor now.
pub fn may_block(fd: RawFd) -> bool {
    // SAFETY: plain numbers; -1 for what is closed, where nothing waits.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags != -1 && flags & libc::O_NONBLOCK == 0
}

/// Ends the sending half.
///
/// # Errors
/// ENOTCONN.
pub fn shutdown_write(fd: RawFd) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) }).map(drop)
}

/// Closes a descriptor.
///
/// # Safety
/// It is the caller's alone: whoever else has the number would use another file by it.
pub unsafe fn close(fd: RawFd) {
    // SAFETY: plain numbers, and the caller's promise; an error leaves nothing to do.
    let _closed = unsafe { libc::close(fd) };
}

/// Turns Nagle's algorithm off.
///
/// # Errors
/// ENOPROTOOPT and the like for what is no TCP socket.
pub fn set_nodelay(fd: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: an int, and its size.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// A socket address as the kernel gave it.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Address").field(&self.parts()).finish()
    }
}

/// An address taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressParts {
    /// IPv4: address and port.
    V4(std::net::Ipv4Addr, u16),
    /// IPv6: address, port, flow information, scope.
    V6(std::net::Ipv6Addr, u16, u32, u32),
    /// UNIX: the path's bytes; an abstract name starts with 0; empty for a socket without a name.
    Unix(Vec<u8>),
    /// Another family.
    Other,
}

impl Default for Address {
    fn default() -> Self {
        // SAFETY: all-zero is an address of no family.
        Self { storage: unsafe { std::mem::zeroed() }, len: 0 }
    }
}

impl Address {
    /// The address family, `AF_INET` and so on.
    pub fn family(&self) -> libc::c_int {
        if self.len == 0 { libc::AF_UNSPEC } else { self.storage.ss_family.into() }
    }

    /// The address as system calls take it.
    pub(super) fn raw(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    /// The address as Python would show it.
    pub fn parts(&self) -> AddressParts {
        let storage = &raw const self.storage;
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the family says which of the union's types it is.
                let v4 = unsafe { *storage.cast::<libc::sockaddr_in>() };
                AddressParts::V4(u32::from_be(v4.sin_addr.s_addr).into(), u16::from_be(v4.sin_port))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { *storage.cast::<libc::sockaddr_in6>() };
                AddressParts::V6(
                    v6.sin6_addr.s6_addr.into(),
                    u16::from_be(v6.sin6_port),
                    u32::from_be(v6.sin6_flowinfo),
                    v6.sin6_scope_id,
                )
            }
            libc::AF_UNIX => {
                let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
                let len = (self.len as usize).saturating_sub(start);
                // SAFETY: `cut` keeps the length within the storage, all of which is initialised.
                let path = unsafe { std::slice::from_raw_parts(storage.cast::<u8>().add(start), len) };
                let end = match path.first() {
                    // An abstract name: all of it counts.
                    Some(0) => path.len(),
                    _ => path.iter().position(|&byte| byte == 0).unwrap_or(path.len()),
                };
                AddressParts::Unix(path[..end].to_vec())
            }
            _ => AddressParts::Other,
        }
    }

    /// Room for the kernel's answer.
    fn fill(get: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int) -> io::Result<Self> {
        let mut address = Self { len: size_of::<libc::sockaddr_storage>() as _, ..Self::default() };
        check(get((&raw mut address.storage).cast(), &raw mut address.len))?;
        address.cut();
        Ok(address)
    }

    /// The kernel tells how long an address is, also when there was less room for it: only what is in the storage counts.
    fn cut(&mut self) {
        self.len = self.len.min(size_of::<libc::sockaddr_storage>() as _);
    }

    /// The address of this end.
    ///
    /// # Errors
    /// EBADF, ENOTSOCK.
    pub fn of_socket(fd: RawFd) -> io::Result<Self> {
        // SAFETY: room and its size.
        Self::fill(|address, len| unsafe { libc::getsockname(fd, address, len) })
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn of_peer(fd: RawFd) -> io::Result<Self> {
        // SAFETY: room and its size.
        Self::fill(|address, len| unsafe { libc::getpeername(fd, address, len) })
    }
}

/// The address that every connection accepted from a listening socket has; `None` if they may differ.
///
/// They do where the socket listens on any address of the host, and where it is transparent (TPROXY).
pub fn address_of_accepted(listener: RawFd) -> Option<Address> {
    let address = Address::of_socket(listener).ok()?;
    let is_one = match address.parts() {
        AddressParts::V4(ip, _) => !ip.is_unspecified() && !is_transparent(listener, libc::IPPROTO_IP),
        AddressParts::V6(ip, ..) => {
            !ip.is_unspecified()
                && !ip.is_unicast_link_local()
                && !is_transparent(listener, libc::IPPROTO_IPV6)
        }
        AddressParts::Unix(_) => cfg!(target_os = "linux"),
        AddressParts::Other => false,
    };
    is_one.then_some(address)
}

/// Whether it is a TCP socket whose accepted connections inherit TCP_NODELAY; `false` where that is not known.
pub fn is_tcp(fd: RawFd) -> bool {
    #[cfg(target_os = "linux")]
    {
        option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Some(libc::IPPROTO_TCP)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = fd;
        false
    }
}

/// An option that is a number.
#[cfg(target_os = "linux")]
fn option(fd: RawFd, level: libc::c_int, name: libc::c_int) -> Option<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: an int, and its size.
    let got = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    (got == 0).then_some(value)
}

/// Whether a socket may have connections to addresses that are not its own; where that is not known, it may.
fn is_transparent(fd: RawFd, level: libc::c_int) -> bool {
    #[cfg(target_os = "linux")]
    {
        let name = if level == libc::IPPROTO_IP { libc::IP_TRANSPARENT } else { libc::IPV6_TRANSPARENT };
        option(fd, level, name) != Some(0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (fd, level);
        true
    }
}

/// Takes a waiting connection, non-blocking and not inherited by children.
///
/// # Errors
/// Those of `accept`, `WouldBlock` among them.
pub fn accept(fd: RawFd) -> io::Result<(OwnedFd, Address)> {
    let mut accepted = -1;
    let address = Address::fill(|address, len| {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        {
            // SAFETY: room and its size.
            accepted = unsafe { libc::accept4(fd, address, len, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) };
        }
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        {
            // SAFETY: room and its size; then plain numbers.
            unsafe {
                accepted = libc::accept(fd, address, len);
                if accepted != -1 {
                    libc::fcntl(accepted, libc::F_SETFD, libc::FD_CLOEXEC);
                    libc::fcntl(accepted, libc::F_SETFL, libc::O_NONBLOCK);
                }
            }
        }
        accepted
    })?;
    // SAFETY: made just now, ours alone.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, address))
}

/// Receives one datagram and its sender.
///
/// # Errors
/// Those of `recvfrom`, `WouldBlock` among them.
pub fn recv_from(fd: RawFd, buffer: &mut [u8], from: &mut Address) -> io::Result<usize> {
    // SAFETY: a live slice.
    unsafe { recv_from_raw(fd, RawBuffer { start: buffer.as_mut_ptr(), len: buffer.len() }, from) }
}

/// Receives a datagram, cut off at `buffer.len`, and where it is from.
///
/// # Errors
/// Those of `recvfrom`, `WouldBlock` among them.
///
/// # Safety
/// `buffer` is writable for its length.
pub unsafe fn recv_from_raw(fd: RawFd, buffer: RawBuffer, from: &mut Address) -> io::Result<usize> {
    from.len = size_of::<libc::sockaddr_storage>() as _;
    // SAFETY: the caller's promise; room for an address, and its size.
    let received = check_size(unsafe {
        direct::recv_from(fd, buffer.start, buffer.len, &raw mut from.storage, &raw mut from.len)
    });
    match received {
        Ok(_) => from.cut(),
        Err(_) => from.len = 0,
    }
    received
}

/// Sends one datagram to `address`.
///
/// # Errors
/// Those of `sendto`, `WouldBlock` among them.
pub fn send_to(fd: RawFd, data: &[u8], address: &Address) -> io::Result<usize> {
    // SAFETY: a live slice and a live address.
    check_size(unsafe {
        direct::send_to(fd, data.as_ptr(), data.len(), &raw const address.storage, address.len)
    })
}

impl Address {
    /// An IPv4 or IPv6 address.
    pub fn from_ip(address: std::net::SocketAddr) -> Self {
        let mut made = Self::default();
        match address {
            std::net::SocketAddr::V4(v4) => {
                // SAFETY: all-zero is a valid value.
                let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
                raw.sin_family = libc::AF_INET as _;
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                // SAFETY: the storage is larger and suitably aligned.
                unsafe { (&raw mut made.storage).cast::<libc::sockaddr_in>().write(raw) };
                made.len = size_of::<libc::sockaddr_in>() as _;
            }
            std::net::SocketAddr::V6(v6) => {
                // SAFETY: all-zero is a valid value.
                let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
                raw.sin6_family = libc::AF_INET6 as _;
                raw.sin6_port = v6.port().to_be();
                raw.sin6_flowinfo = v6.flowinfo().to_be();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_scope_id = v6.scope_id();
                // SAFETY: the storage is larger and suitably aligned.
                unsafe { (&raw mut made.storage).cast::<libc::sockaddr_in6>().write(raw) };
                made.len = size_of::<libc::sockaddr_in6>() as _;
            }
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_is_longer_than_the_room_for_it_is_cut() {
        let address = Address::fill(|address, len| {
            // SAFETY: the room that `fill` has made.
            unsafe {
                address.cast::<u8>().write_bytes(b'x', size_of::<libc::sockaddr_storage>());
                (*address).sa_family = libc::AF_UNIX as _;
                *len = 4096;
            }
            0
        });
        let AddressParts::Unix(path) = address.unwrap().parts() else {
            panic!("an address of a UNIX socket")
        };
        let room = size_of::<libc::sockaddr_storage>() - std::mem::offset_of!(libc::sockaddr_un, sun_path);
        assert_eq!(path, vec![b'x'; room]);
    }
}

//! UDP sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use super::face::socket;
use super::source::{Source, Way};

/// A UDP socket. Several tasks may send and receive through one reference.
///
/// # Cancel safety
/// A datagram is sent whole or not at all; dropping a `recv` that waits loses nothing.
pub struct UdpSocket {
    source: Source<std::net::UdpSocket>,
}

impl UdpSocket {
    /// Receives at `addr` (port 0: one that is free).
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL, EACCES; no loop runs on this thread.
    pub fn bind(addr: impl Into<SocketAddr>) -> io::Result<Self> {
        Self::from_std(std::net::UdpSocket::bind(addr.into())?)
    }

    fn watch(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self { source: Source::connected(socket)? })
    }

    /// Sends to, and receives from, `addr` only. Nothing goes over the network yet.
    ///
    /// # Errors
    /// ENETUNREACH, EACCES for broadcasts.
    pub fn connect(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        self.source.get().connect(addr.into())
    }

    /// Our own address.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The address connected to.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Sends one datagram to the connected address.
    ///
    /// # Errors
    /// ECONNREFUSED (told by an earlier datagram's answer), EMSGSIZE, ENOBUFS.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.source
            .wait(Way::Write, |cx| self.source.poll_write_with(cx, || self.source.get().send(bytes)))
            .await
    }

    /// Sends one datagram to `addr`.
    ///
    /// # Errors
    /// ENETUNREACH, EMSGSIZE, ENOBUFS, EACCES for broadcasts.
    pub async fn send_to(&self, bytes: &[u8], addr: impl Into<SocketAddr>) -> io::Result<usize> {
        let addr = addr.into();
        self.source
            .wait(Way::Write, |cx| self.source.poll_write_with(cx, || self.source.get().send_to(bytes, addr)))
            .await
    }

    /// Receives one datagram from the connected address; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// ECONNREFUSED when the peer does not listen.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.wait(Way::Read, |cx| self.source.poll_read_with(cx, || self.source.get().recv(buf))).await
    }

    /// Receives one datagram and its sender's address; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.wait(Way::Read, |cx| self.poll_recv_from(cx, buf)).await
    }

    /// [`recv_from`](Self::recv_from) for futures written by hand.
    ///
    /// # Errors
    /// Those of the system.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.source.poll_read_with(cx, || self.source.get().recv_from(buf))
    }

    /// [`send_to`](Self::send_to) for futures written by hand.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        addr: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.source.poll_write_with(cx, || self.source.get().send_to(bytes, addr))
    }

    /// Waits for a datagram and copies it without taking it.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source
            .wait(Way::Read, |cx| self.source.poll_read_with(cx, || self.source.get().peek_from(buf)))
            .await
    }

    /// Receives without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing to receive.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.try_read_with(|| self.source.get().recv_from(buf))
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the system's buffer is full.
    pub fn try_send_to(&self, bytes: &[u8], addr: SocketAddr) -> io::Result<usize> {
        self.source.try_write_with(|| self.source.get().send_to(bytes, addr))
    }

    /// Allows datagrams to broadcast addresses.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_broadcast(&self, allowed: bool) -> io::Result<()> {
        self.source.get().set_broadcast(allowed)
    }

    /// Joins a group of receivers, at the interface with the address given (0.0.0.0: the system's choice).
    ///
    /// # Errors
    /// Those of the system.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.source.get().join_multicast_v4(&group, &interface)
    }

    /// Joins a group of receivers, at the interface with the index given (0: the system's choice).
    ///
    /// # Errors
    /// Those of the system.
    pub fn join_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get().join_multicast_v6(&group, interface)
    }

    /// The error that the socket has met since it was last asked, if any.
    ///
    /// # Errors
    /// Those of the question itself.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

socket!(UdpSocket, socket: std::net::UdpSocket, "a socket");

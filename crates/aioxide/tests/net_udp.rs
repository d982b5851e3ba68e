//! UDP over loopback.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use aioxide::net::UdpSocket;
use support::{run, spawn};

fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

#[test]
fn datagrams_come_whole_one_by_one_with_their_sender() {
    run(async {
        let (one, other) = (bind(), bind());
        let addr = other.local_addr().unwrap();
        for datagram in [&b"first"[..], b"", b"third"] {
            assert_eq!(one.send_to(datagram, addr).await.unwrap(), datagram.len());
        }
        let mut buffer = [0; 64];
        assert_eq!(other.peek_from(&mut buffer).await.unwrap(), (5, one.local_addr().unwrap()));
        for datagram in [&b"first"[..], b"", b"third"] {
            let (count, from) = other.recv_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..count], from), (datagram, one.local_addr().unwrap()));
        }
        assert_eq!(other.try_recv_from(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn receiver_waits_for_a_later_datagram() {
    run(async {
        let (one, other) = (bind(), bind());
        let addr = other.local_addr().unwrap();
        let receiver = spawn(async move {
            let mut buffer = [0; 8];
            let (count, _) = other.recv_from(&mut buffer).await.unwrap();
            buffer[..count].to_vec()
        });
        spawn(async {}).await.unwrap();
        assert!(!receiver.task().is_complete());
        one.try_send_to(b"late", addr).unwrap();
        assert_eq!(receiver.await.unwrap(), b"late");
    });
}

#[test]
fn connected_socket_hears_its_peer_only() {
    run(async {
        let (one, other, stranger) = (bind(), bind(), bind());
        one.connect(other.local_addr().unwrap()).unwrap();
        assert_eq!(one.peer_addr().unwrap(), other.local_addr().unwrap());
        stranger.send_to(b"strange", one.local_addr().unwrap()).await.unwrap();
        other.send_to(b"known", one.local_addr().unwrap()).await.unwrap();
        let mut buffer = [0; 8];
        let count = one.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"known");
    });
}

#[test]
fn nobody_at_the_other_end_is_an_error_not_the_end() {
    run(async {
        let (one, other) = (bind(), bind());
        let addr = other.local_addr().unwrap();
        one.connect(addr).unwrap();
        drop(other);
        one.send(b"anybody?").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(one.recv(&mut buffer).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let other = UdpSocket::bind(addr).unwrap();
        other.send_to(b"here", one.local_addr().unwrap()).await.unwrap();
        assert_eq!(one.recv(&mut buffer).await.unwrap(), 4);
    });
}

#[test]
fn datagram_too_large_is_an_error() {
    run(async {
        let (one, other) = (bind(), bind());
        let addr = other.local_addr().unwrap();
        let error = one.send_to(&vec![0; 70_000], addr).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(90), "EMSGSIZE on Linux");
        let std_socket = one.into_std();
        std_socket.send_to(b"still fine", addr).unwrap();
        assert_eq!(other.recv(&mut [0; 16]).await.unwrap(), 10);
    });
}

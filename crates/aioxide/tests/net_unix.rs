//! UNIX sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use aioxide::Runtime;
use aioxide::io::{AsyncReadExt, AsyncWriteExt};
use aioxide::net::{UnixDatagram, UnixListener, UnixStream};
use aioxide::time::timeout;
use support::{run, run_virtual, spawn};

#[test]
fn stream_by_path_carries_data_both_ways() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname().unwrap(), path);
        let mut client = UnixStream::connect(&path).await.unwrap();
        let (mut server, peer) = listener.accept().await.unwrap();
        assert!(peer.is_unnamed());
        client.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        server.read_exact(&mut buffer).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((&buffer, &answer[..]), (b"ping", &b"pong"[..]));
        let error = UnixListener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(listener);
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn abstract_name_needs_no_file() {
    run(async {
        let name = format!("aioxide-test-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let listener = UnixListener::bind_addr(&addr).unwrap();
        let mut client = UnixStream::connect_addr(&addr).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(server);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(UnixStream::connect_addr(&client.local_addr().unwrap()).await.is_err());
    });
}

#[test]
fn full_backlog_is_waited_out() {
    run_virtual(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let listener = UnixListener::from_std(listener.into()).unwrap();
        let first = UnixStream::connect(&path).await.unwrap();
        let second = spawn(async move { UnixStream::connect(&path).await.unwrap() });
        spawn(async {}).await.unwrap();
        assert!(!second.task().is_complete(), "there is room for one only");
        drop(listener.accept().await.unwrap());
        let second = second.await.unwrap();
        drop((first, second, listener.accept().await.unwrap()));
    });
}

#[test]
fn halves_of_a_pair_work_in_two_tasks() {
    run(async {
        const SIZE: usize = 1 << 20;
        let (one, other) = UnixStream::pair().unwrap();
        let (mut read, mut write) = one.into_split();
        let echo = spawn(async move {
            let (mut read, mut write) = other.into_split();
            aioxide::io::copy(&mut read, &mut write).await.unwrap()
        });
        let sender = spawn(async move { write.write_all(&vec![3; SIZE]).await.unwrap() });
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.unwrap();
        assert!(received.len() == SIZE && received.iter().all(|byte| *byte == 3));
        sender.await.unwrap();
        assert_eq!(echo.await.unwrap(), SIZE as u64);
    });
}

#[test]
fn writing_to_a_closed_pair_is_a_broken_pipe() {
    run(async {
        let (mut one, other) = UnixStream::pair().unwrap();
        drop(other);
        assert_eq!(one.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn datagrams_by_path_and_in_pairs() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"by path", &path).await.unwrap();
        sender.connect(&path).unwrap();
        sender.send(b"connected").await.unwrap();
        let mut buffer = [0; 16];
        let (count, from) = receiver.recv_from(&mut buffer).await.unwrap();
        assert!(from.is_unnamed());
        assert_eq!(&buffer[..count], b"by path");
        assert_eq!(receiver.recv(&mut buffer).await.unwrap(), 9);
        let (one, other) = UnixDatagram::pair().unwrap();
        one.send(b"pair").await.unwrap();
        assert_eq!(other.recv(&mut buffer).await.unwrap(), 4);
    });
}

/// Linux does not tell when a receiver has room again: the sender must find out by itself.
#[test]
fn full_receiver_is_waited_out() {
    run_virtual(async {
        const COUNT: usize = 2000;
        let (one, other) = UnixDatagram::pair().unwrap();
        let sender = spawn(async move {
            for _ in 0..COUNT {
                one.send(&[1; 512]).await.unwrap();
            }
        });
        spawn(async {}).await.unwrap();
        assert!(!sender.task().is_complete(), "the queue holds less than {COUNT} datagrams");
        for _ in 0..COUNT {
            assert_eq!(other.recv(&mut [0; 1024]).await.unwrap(), 512);
        }
        sender.await.unwrap();
    });
}

#[test]
fn rest_that_began_on_one_loop_ends_on_another() {
    let [one, two] = [(); 2].map(|()| Runtime::builder().virtual_clock(true).build().unwrap());
    let (sender, receiver) = one.block_on(async { UnixDatagram::pair().unwrap() }).unwrap();
    let mut sending = Box::pin(async move {
        loop {
            if let Err(error) = sender.send(&[0; 1000]).await {
                return error;
            }
        }
    });
    let sending = one
        .block_on(async move {
            // Until the queue is full, and it rests between two tries.
            let full = timeout(Duration::from_secs(1), &mut sending).await;
            assert!(full.is_err());
            Some(sending)
        })
        .unwrap()
        .unwrap();
    // The next try fails at once.
    drop(receiver);
    let end = two.block_on(async move { timeout(Duration::from_secs(60), sending).await });
    let error: io::Error = end.unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn path_with_a_zero_byte_is_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("short\0and more");
    aioxide::run(async move {
        for error in [UnixListener::bind(&path).unwrap_err(), UnixStream::connect(&path).await.unwrap_err()] {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        }
    })
    .unwrap();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

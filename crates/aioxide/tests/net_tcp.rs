//! TCP streams and listeners over loopback.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::Duration;

use aioxide::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use aioxide::net::{TcpListener, TcpStream};
use support::{run, spawn};

const LOCALHOST: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(LOCALHOST).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

#[test]
fn bytes_go_both_ways_and_the_end_is_seen() {
    run(async {
        let (mut client, mut server) = pair().await;
        client.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ping");
        server.write_all(b"pong").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"pong");
    });
}

#[test]
fn half_closed_peer_can_still_be_written_to() {
    run(async {
        let (mut client, mut server) = pair().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    });
}

/// The end arrives with the data, in one edge: a short read must not wait for another.
#[test]
fn data_and_end_in_one_event_are_both_read() {
    run(async {
        let (mut client, server) = pair().await;
        let mut server = server.into_std();
        server.write_all(b"all").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        client.readable().await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(client.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
    });
}

#[test]
fn reset_by_the_peer_is_an_error() {
    run(async {
        let (mut client, server) = pair().await;
        server.set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        let error = client.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn reset_after_data_gives_the_data_or_the_error_but_ends() {
    run(async {
        let (mut client, mut server) = pair().await;
        server.write_all(b"some").await.unwrap();
        server.set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        let mut received = Vec::new();
        let error = client.read_to_end(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(b"some".starts_with(&received));
    });
}

#[test]
fn large_transfer_is_whole_in_both_directions_at_once() {
    run(async {
        const SIZE: usize = 8 << 20;
        let (client, server) = pair().await;
        let (mut read, mut write) = client.into_split();
        let echo = spawn(async move {
            let (mut read, mut write) = (&server, &server);
            aioxide::io::copy(&mut read, &mut write).await.unwrap();
        });
        let sender = spawn(async move {
            let bytes: Vec<u8> = (0..SIZE).map(|index| (index % 251) as u8).collect();
            write.write_all(&bytes).await.unwrap();
        });
        let mut received = vec![0; SIZE];
        read.read_exact(&mut received).await.unwrap();
        assert!(received.iter().enumerate().all(|(index, byte)| *byte == (index % 251) as u8));
        sender.await.unwrap();
        // The writing half was dropped: the echo has come to its end.
        echo.await.unwrap();
        assert_eq!(read.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

#[test]
fn vectored_write_arrives_in_order() {
    run(async {
        let (mut client, mut server) = pair().await;
        let slices = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
        assert!(client.is_write_vectored());
        assert_eq!(client.write_vectored(&slices).await.unwrap(), 7);
        let mut buffer = [0; 7];
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"one two");
    });
}

#[test]
fn peek_takes_nothing() {
    run(async {
        let (mut client, mut server) = pair().await;
        client.write_all(b"abc").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(server.peek(&mut buffer).await.unwrap(), 3);
        assert_eq!(server.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer[..3], b"abc");
    });
}

#[test]
fn try_read_without_data_would_block_and_waits_again() {
    run(async {
        let (mut client, mut server) = pair().await;
        assert_eq!(server.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.write_all(b"x").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 1);
    });
}

#[test]
fn refused_connection_is_an_error() {
    run(async {
        let listener = TcpListener::bind(LOCALHOST).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let error = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn options_are_kept() {
    run(async {
        let (client, server) = pair().await;
        assert!(client.nodelay().unwrap() && server.nodelay().unwrap());
        client.set_nodelay(false).unwrap();
        assert!(!client.nodelay().unwrap());
        client.set_keepalive(Some((Duration::from_secs(60), Duration::from_secs(5)))).unwrap();
        assert!(client.keepalive().unwrap());
        client.set_keepalive(None).unwrap();
        assert!(!client.keepalive().unwrap());
        client.set_linger(Some(Duration::from_secs(3))).unwrap();
        assert_eq!(client.linger().unwrap(), Some(Duration::from_secs(3)));
        assert!(client.take_error().unwrap().is_none());
    });
}

#[test]
fn streams_come_from_and_go_to_the_standard_library() {
    run(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut client = TcpStream::from_std(client).unwrap();
        client.write_all(b"over").await.unwrap();
        let mut buffer = [0; 4];
        server.read_exact(&mut buffer).await.unwrap();
        let (mut client, mut server) = (client.into_std(), server.into_std());
        client.set_nonblocking(false).unwrap();
        server.set_nonblocking(false).unwrap();
        client.write_all(b"back").unwrap();
        server.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"back");
    });
}

#[test]
fn dropped_accept_loses_no_connection() {
    run(async {
        let listener = TcpListener::bind(LOCALHOST).unwrap();
        {
            let mut accept = std::pin::pin!(listener.accept());
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(accept.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
        }
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_server, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    });
}

#[test]
fn many_connections_at_once_are_all_accepted() {
    run(async {
        let listener = TcpListener::bind(LOCALHOST).unwrap();
        let addr: SocketAddr = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..100u8)
            .map(|number| {
                spawn(async move {
                    let mut stream = TcpStream::connect(addr).await.unwrap();
                    stream.write_all(&[number]).await.unwrap();
                    let mut answer = [0];
                    stream.read_exact(&mut answer).await.unwrap();
                    assert_eq!(answer[0], number);
                })
            })
            .collect();
        for _ in 0..100 {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(spawn(async move {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                stream.write_all(&byte).await.unwrap();
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
    });
}

/// A peer that always has more to give must not keep the loop to one task.
#[test]
fn busy_reader_lets_other_tasks_run() {
    run(async {
        let (client, mut server) = pair().await;
        let mut client = client.into_std();
        client.set_nonblocking(false).unwrap();
        client.write_all(&[7; 4096]).unwrap();
        server.readable().await.unwrap();
        let other = spawn(async {});
        let mut reads = 0;
        while !other.task().is_complete() {
            server.read_exact(&mut [0; 1]).await.unwrap();
            reads += 1;
            assert!(reads < 1000, "1000 reads went by and no other task has run");
        }
    });
}

#[test]
fn outside_a_loop_binding_is_an_error() {
    let error = TcpListener::bind(LOCALHOST).unwrap_err();
    assert!(error.to_string().contains("no event loop is running"), "{error}");
}

#[test]
fn wait_that_is_given_up_behind_a_combinator_leaves_no_waker() {
    use std::future::Future;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    struct Between;
    impl Wake for Between {
        fn wake(self: Arc<Self>) {}
    }

    run(async {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let between = Arc::new(Between);
        for _ in 0..100 {
            let waker = Waker::from(Arc::clone(&between));
            let mut cx = Context::from_waker(&waker);
            let (mut readable, mut accept) = (Box::pin(server.readable()), Box::pin(listener.accept()));
            assert!(readable.as_mut().poll(&mut cx).is_pending());
            assert!(accept.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(Arc::strong_count(&between), 1);
    });
}

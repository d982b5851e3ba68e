//! Websockets: agreed on or not, messages both ways, goodbyes, proxies, and servers that break the rules.

mod support;

use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use aioxide_http::{Message, Proxies, Proxy as Via, Session, Timeouts, WebSocket};
use support::proxy::Proxy;
use support::server::{Server, ok};
use support::ws::{self, BINARY, CLOSE, PING, PONG, TEXT};
use support::{pause, run};

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

async fn connect(server: &Server) -> WebSocket {
    let url = format!("ws://127.0.0.1:{}/a?b", server.port);
    Session::new().websocket(url).connect().await.expect("a websocket")
}

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

#[test]
fn messages_of_every_kind_and_size_come_back() {
    for more in ["", DEFLATE] {
        let server = ws::start(more, |mut socket, _| socket.echo());
        run(async move {
            let socket = connect(&server).await;
            assert_eq!(socket.is_compressed(), !more.is_empty());
            for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
                let data: Vec<u8> = (0..size).map(|place| (place * 7919 % 251) as u8).collect();
                for message in [Message::Binary(data.clone().into()), text(&"\u{e9}".repeat(size / 2))] {
                    let (sent, received) =
                        futures_util::future::join(socket.send(message.clone()), socket.receive()).await;
                    sent.unwrap();
                    assert!(received.unwrap() == Some(message), "{size}");
                }
            }
            socket.close(1000, "done").await.unwrap();
            assert!(socket.is_closed());
            assert!(socket.send_text("late").await.unwrap_err().is_closed());
            assert_eq!(socket.receive().await.unwrap(), None);
        });
    }
}

#[test]
fn the_request_carries_what_was_said_and_the_answer_is_checked() {
    let (tell, head) = mpsc::channel();
    let server = ws::start("Sec-WebSocket-Protocol: two\r\nX-More: yes\r\n", move |_, request| {
        tell.send(request.head.clone()).unwrap();
    });
    run(async move {
        let url = format!("ws://me:pw@127.0.0.1:{}/a?b", server.port);
        let socket = Session::new()
            .websocket(&url)
            .protocols(&["one", "two"])
            .header("X-Own", "1")
            .map_request(|request| request.query(&[("c", "d")]))
            .connect()
            .await
            .unwrap();
        assert_eq!((socket.protocol(), socket.headers()["x-more"].as_bytes()), (Some("two"), &b"yes"[..]));
        let head = head.recv().unwrap().to_lowercase();
        for line in [
            "get /a?b&c=d http/1.1\r\n",
            "\r\nupgrade: websocket\r\n",
            "\r\nconnection: upgrade\r\n",
            "\r\nsec-websocket-version: 13\r\n",
            "\r\nsec-websocket-protocol: one, two\r\n",
            "\r\nsec-websocket-extensions: permessage-deflate\r\n",
            "\r\nauthorization: basic bwu6chc=\r\n",
            "\r\nx-own: 1\r\n",
        ] {
            assert_eq!(head.matches(line).count(), 1, "{line:?} in {head}");
        }
        let error = Session::new().websocket(&url).connect().await.unwrap_err();
        assert!(error.is_upgrade() && error.status().unwrap() == 101, "not offered: {error:?}");
        assert!(Session::new().websocket("ftp://x/").connect().await.unwrap_err().is_invalid_url());
    });
}

#[test]
fn a_server_that_does_not_agree_is_an_error_with_its_status() {
    let server = Server::answering(|request| match request.path() {
        "/ok" => ok("a page"),
        "/wrong" => {
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
                .to_vec()
        }
        "/away" => b"HTTP/1.1 302 x\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
    });
    run(async move {
        let session = Session::new();
        for (path, status) in [("/ok", 200), ("/wrong", 101), ("/away", 200), ("/", 403)] {
            let url = format!("ws://127.0.0.1:{}{path}", server.port);
            let error = session.websocket(url).connect().await.unwrap_err();
            assert!(error.is_upgrade() && error.status().unwrap().as_u16() == status, "{path}: {error:?}");
        }
        // A program that did not ask for an upgrade gets the answer as it is.
        assert_eq!(session.get(server.url("/wrong")).send().await.unwrap().status(), 101);
    });
}

#[test]
fn pings_are_answered_and_goodbyes_returned_unless_the_program_does_it() {
    let (tell, told) = mpsc::channel();
    let server = ws::start("", move |mut socket, _| {
        socket.send(PING, b"are you there");
        socket.send(TEXT, b"hello");
        let pong = socket.read();
        socket.send(CLOSE, &[&1001_u16.to_be_bytes()[..], b"going"].concat());
        tell.send((pong, socket.read(), socket.read())).unwrap();
    });
    run(async move {
        let socket = connect(&server).await;
        assert_eq!(socket.receive().await.unwrap(), Some(text("hello")));
        let goodbye = Message::Close { code: 1001, reason: "going".into() };
        assert_eq!(socket.receive().await.unwrap(), Some(goodbye));
        assert_eq!(socket.receive().await.unwrap(), None);
        drop(socket);
        let (pong, close, end) = told.recv().unwrap();
        assert_eq!(pong, Some((PONG, b"are you there".to_vec())));
        assert_eq!(close, Some((CLOSE, [&1001_u16.to_be_bytes()[..], b"going"].concat())));
        assert_eq!(end, None);

        let url = format!("ws://127.0.0.1:{}/", server.port);
        let socket = Session::new().websocket(url).answer_pings(false).connect().await.unwrap();
        assert_eq!(socket.receive().await.unwrap(), Some(Message::Ping("are you there".into())));
        socket.send(Message::Pong("by hand".into())).await.unwrap();
        drop(socket);
        assert_eq!(told.recv().unwrap().0, Some((PONG, b"by hand".to_vec())));
    });
}

#[test]
fn servers_that_break_the_rules_are_told_and_left() {
    for (bytes, code, is_too_large) in [
        (&[TEXT, 1, 0xff][..], 1007, false),
        (&[0x83, 0], 1002, false),
        (&[0xc1, 1, 0], 1002, false),
        (&[BINARY, 126, 0xff, 0xff], 1009, true),
    ] {
        let (tell, told) = mpsc::channel();
        let server = ws::start("", move |mut socket, _| {
            std::io::Write::write_all(&mut socket.stream, bytes).unwrap();
            tell.send(socket.read()).unwrap();
        });
        run(async move {
            let url = format!("ws://127.0.0.1:{}/", server.port);
            let socket = Session::new().websocket(url).max_message_size(1000).connect().await.unwrap();
            let error = socket.receive().await.unwrap_err();
            assert!(error.is_protocol() != is_too_large && error.is_too_large() == is_too_large, "{error:?}");
            assert_eq!(told.recv().unwrap(), Some((CLOSE, u16::to_be_bytes(code).to_vec())));
            assert_eq!(socket.receive().await.unwrap(), None);
        });
    }
}

#[test]
fn a_connection_that_ends_without_a_goodbye_is_an_error() {
    let server = ws::start("", |mut socket, _| {
        socket.send(TEXT, b"one");
        let _ = std::io::Write::write_all(&mut socket.stream, &[TEXT, 100, b'x']);
    });
    run(async move {
        let socket = connect(&server).await;
        assert_eq!(socket.receive().await.unwrap(), Some(text("one")));
        assert!(socket.receive().await.unwrap_err().is_closed());
        socket.close(1000, "").await.unwrap();
    });
}

#[test]
fn a_dead_server_is_found_by_heartbeats_and_a_living_one_is_kept() {
    for is_alive in [true, false] {
        let server = ws::start("", move |mut socket, _| {
            let mut pings = 0;
            while let Some((head, data)) = socket.read() {
                assert_eq!(head, PING);
                pings += 1;
                if is_alive {
                    socket.send(PONG, &data);
                }
                if pings == 3 {
                    socket.send(TEXT, b"three");
                }
            }
        });
        run(async move {
            let url = format!("ws://127.0.0.1:{}/", server.port);
            let builder = Session::new().websocket(url).heartbeat(Duration::from_millis(40));
            let socket = builder.connect().await.unwrap();
            match socket.receive().await {
                Ok(message) => assert_eq!((is_alive, message), (true, Some(text("three")))),
                Err(error) => assert!(!is_alive && error.is_timeout(), "{error:?}"),
            }
        });
    }
}

#[test]
fn many_send_while_one_receives_and_nothing_is_torn() {
    let server = ws::start(DEFLATE, |mut socket, _| socket.echo());
    run(async move {
        let socket = Rc::new(connect(&server).await);
        let senders: Vec<_> = (0..20)
            .map(|number: usize| {
                let socket = socket.clone();
                aioxide::spawn(async move {
                    for _ in 0..20 {
                        socket.send_text(number.to_string().repeat(3000)).await.unwrap();
                    }
                })
            })
            .collect();
        // Some are cancelled at whatever point they are; their messages come whole or not at all.
        pause(Duration::from_millis(1)).await;
        senders.iter().step_by(3).for_each(|sender| assert!(sender.cancel() || sender.done()));
        let kept = (0..20).filter(|number| number % 3 != 0).count() * 20;
        let (mut whole, mut of_kept) = (0, 0);
        while of_kept < kept {
            let Some(Message::Text(text)) = socket.receive().await.unwrap() else { panic!("no text") };
            let number =
                (0..20).find(|number| text == number.to_string().repeat(3000)).expect("a whole message");
            whole += 1;
            of_kept += usize::from(number % 3 != 0);
        }
        assert!(whole <= 400);
        socket.close(1000, "").await.unwrap();
    });
}

#[test]
fn a_websocket_goes_through_proxies_by_a_tunnel_and_holds_its_place_in_the_pool() {
    let server = ws::start("", |mut socket, _| socket.echo());
    let http = Proxy::http(None);
    let socks = Proxy::socks(None);
    run(async move {
        for via in [format!("http://127.0.0.1:{}", http.port), format!("socks5h://127.0.0.1:{}", socks.port)]
        {
            let proxies = Proxies::all(Via::new(&via).unwrap());
            let session = Session::builder().proxies(proxies).build().unwrap();
            let socket =
                session.websocket(format!("ws://some.test:{}/", server.port)).connect().await.unwrap();
            socket.send_text("hello").await.unwrap();
            assert_eq!(socket.receive().await.unwrap(), Some(text("hello")));
            assert_eq!((session.stats().open, session.stats().idle), (1, 0));
            drop(socket);
            assert_eq!(session.stats().open, 0);
        }
        assert!(http.seen()[0].starts_with(&format!("CONNECT some.test:{} ", server.port)));
        assert_eq!(socks.seen(), [format!("some.test {}", server.port)]);
    });
}

/// A waker, and how many there are of it, itself included.
fn counted() -> (Waker, impl Fn() -> usize) {
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let nothing = Arc::new(Nothing);
    let count = nothing.clone();
    (Waker::from(nothing), move || Arc::strong_count(&count) - 1)
}

/// Runs in virtual time, in which a goodbye and a heartbeat are waited for no longer than nothing else happens.
fn run_virtual<F: Future<Output = ()> + 'static>(
    serve: impl Fn(ws::Socket) + Send + Sync + 'static,
    heartbeat: Option<Duration>,
    test: impl FnOnce(Rc<WebSocket>, Session) -> F + 'static,
) {
    let server = ws::start("", move |socket, _| serve(socket));
    aioxide::testing::run(async move {
        // Without limits, so that the clock cannot jump to one of them while the server works.
        let session = Session::builder().timeouts(Timeouts::NONE).build().expect("a session");
        let mut builder = session.websocket(format!("ws://127.0.0.1:{}/", server.port));
        if let Some(interval) = heartbeat {
            builder = builder.heartbeat(interval);
        }
        let socket = Rc::new(builder.connect().await.expect("a websocket"));
        test(socket, session).await;
    });
}

/// Reads, and says nothing.
fn silent(mut socket: ws::Socket) {
    while socket.read().is_some() {}
}

/// What a server does that reads nothing, and closes nothing until the other value is dropped.
fn deaf() -> (mpsc::Sender<()>, impl Fn(ws::Socket) + Send + Sync + 'static) {
    let (tell, told) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let serve = move |socket| {
        let _ = told.lock().map(|told| told.recv());
        drop(socket);
    };
    (tell, serve)
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_close_without_an_answer_ends_those_who_receive_and_send() {
    let (tell, serve) = deaf();
    run_virtual(serve, None, |socket, _| async move {
        let receiver = {
            let socket = socket.clone();
            aioxide::spawn(async move { socket.receive().await })
        };
        socket.close(1000, "bye").await.unwrap();
        let received = aioxide::timeout(HOUR, receiver).await.expect("the receiver still waits");
        assert_eq!(received.unwrap(), None);
        drop(tell);
    });
    // The sender waits for room.
    let (tell, serve) = deaf();
    run_virtual(serve, None, |socket, _| async move {
        let sender = {
            let socket = socket.clone();
            aioxide::spawn(async move { socket.send_binary(vec![0; 16 << 20]).await })
        };
        aioxide::time::sleep(Duration::ZERO).await;
        socket.close(1000, "bye").await.unwrap();
        let sent = aioxide::timeout(HOUR, sender).await.expect("the sender still waits");
        assert!(sent.unwrap_err().is_closed());
        assert!(socket.send_text("late").await.unwrap_err().is_closed());
        assert_eq!(socket.receive().await.unwrap(), None);
        drop(tell);
    });
}

#[test]
fn an_abort_ends_who_waits_for_room() {
    let (tell, serve) = deaf();
    run_virtual(serve, None, |socket, session| async move {
        let sender = {
            let socket = socket.clone();
            aioxide::spawn(async move { socket.send_binary(vec![0; 16 << 20]).await })
        };
        aioxide::time::sleep(Duration::ZERO).await;
        session.abort();
        let sent = aioxide::timeout(HOUR, sender).await.expect("the sender still waits");
        assert!(sent.unwrap_err().is_closed());
        drop(tell);
    });
}

#[test]
fn a_heartbeat_ends_a_receiver_though_one_that_came_later_was_cancelled() {
    run_virtual(silent, Some(Duration::from_secs(30)), |socket, _| async move {
        let receiver = {
            let socket = socket.clone();
            aioxide::spawn(async move { socket.receive().await })
        };
        aioxide::time::sleep(Duration::ZERO).await;
        let (waker, _) = counted();
        let mut later = Box::pin(socket.receive());
        assert!(later.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(later);
        let received = aioxide::timeout(HOUR, receiver).await.expect("the receiver still waits");
        assert!(received.unwrap_err().is_timeout());
    });
}

#[test]
fn a_wait_that_is_cancelled_leaves_no_waker() {
    let (tell, serve) = deaf();
    run_virtual(serve, None, |socket, _| async move {
        let (waker, count) = counted();
        let mut cx = Context::from_waker(&waker);
        let mut kept = Box::pin(socket.receive());
        assert!(kept.as_mut().poll(&mut cx).is_pending());
        let one = count();
        assert!(one > 1, "it waits");
        for _ in 0..10 {
            assert!(Box::pin(socket.receive()).as_mut().poll(&mut cx).is_pending());
            assert!(Box::pin(socket.send_binary(vec![0; 16 << 20])).as_mut().poll(&mut cx).is_pending());
            assert_eq!(count(), one, "those of the wait that is left");
        }
        drop(kept);
        assert_eq!(count(), 1);
        drop(tell);
    });
}

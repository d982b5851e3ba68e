//! How connections are made: addresses, names, UNIX sockets, local addresses; and what is told of that.

mod support;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use aioxide_http::{AddressFilter, Event, Observer, RequestId, Resolver, Session, Timeouts};
use support::server::{Server, ok};
use support::{pause, run};

#[test]
fn a_filter_is_asked_about_what_a_name_is_and_not_about_the_name() {
    let server = Server::answering(|request| match request.path() {
        "/away" => {
            let host = request.header("host").unwrap().replace("localhost", "127.0.0.1");
            format!("HTTP/1.1 302 x\r\nLocation: http://{host}/\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
        _ => ok("inside"),
    });
    let port = server.port;
    run(async move {
        let session = Session::builder().address_filter(AddressFilter::deny_private()).build().unwrap();
        for host in
            ["localhost", "127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"]
        {
            let error = session.get(format!("http://{host}:{port}/")).send().await.unwrap_err();
            assert!(error.is_denied() && error.is_connect(), "{host}: {error:?}");
        }
        assert_eq!(session.connections(), 0);
        // What is let in is let in by its address; a redirect is asked about anew.
        let filter = AddressFilter::deny_private().allow("127.0.0.1").unwrap();
        let session = Session::builder()
            .address_filter(filter)
            .resolve_to("elsewhere.test", 0, [([127, 0, 0, 2], 0).into()])
            .build()
            .unwrap();
        assert!(session.get(format!("http://127.0.0.1:{port}/")).send().await.is_ok());
        assert!(session.get(format!("http://elsewhere.test:{port}/")).send().await.unwrap_err().is_denied());
        let denied = AddressFilter::allow_all().deny("127.0.0.1").unwrap();
        let session = Session::builder()
            .address_filter(denied)
            .resolve_to("localhost", 0, [([127, 0, 0, 2], 0).into(), ([127, 0, 0, 1], 0).into()])
            .build()
            .unwrap();
        // 127.0.0.2 is this machine, too, but nothing listens there: it is tried, 127.0.0.1 is not.
        let error = session.get(format!("http://localhost:{port}/away")).send().await.unwrap_err();
        assert!(error.is_connect() && !error.is_denied(), "{error:?}");
    });
}

#[test]
fn a_name_that_resolves_differently_the_second_time_wins_nothing() {
    /// Public at first, this machine from then on.
    #[derive(Default)]
    struct Rebinding(Cell<u32>);
    impl Resolver for Rebinding {
        fn resolve(&self, _: &str, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>> {
            self.0.set(self.0.get() + 1);
            let address = if self.0.get() == 1 { [192, 0, 2, 1] } else { [127, 0, 0, 1] };
            Box::pin(async move { Ok(vec![(address, port).into()]) })
        }
    }
    let server = Server::always(ok("inside"));
    let port = server.port;
    run(async move {
        let filter = AddressFilter::deny_private().allow("192.0.2.0/24").unwrap();
        let session = Session::builder()
            .resolver(Rebinding::default())
            .dns_ttl(Duration::ZERO)
            .address_filter(filter)
            .timeouts(Timeouts { sock_connect: Some(Duration::from_millis(50)), ..Timeouts::default() })
            .build()
            .unwrap();
        let url = format!("http://rebinding.test:{port}/");
        let first = session.get(&url).send().await.unwrap_err();
        assert!(first.is_connect() && !first.is_denied(), "{first:?}");
        assert!(session.get(&url).send().await.unwrap_err().is_denied());
    });
}

#[test]
fn a_resolver_is_asked_once_for_many_who_want_the_same_name() {
    #[derive(Default)]
    struct Slow(Rc<Cell<u32>>);
    impl Resolver for Slow {
        fn resolve(
            &self,
            host: &str,
            port: u16,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>> {
            self.0.set(self.0.get() + 1);
            let known = host == "known.test";
            Box::pin(async move {
                pause(Duration::from_millis(5)).await;
                Ok(if known { vec![([127, 0, 0, 1], port).into()] } else { Vec::new() })
            })
        }
    }
    let server = Server::always(ok("hello"));
    let port = server.port;
    run(async move {
        let asked = Rc::new(Cell::new(0));
        let session = Session::builder().resolver(Slow(asked.clone())).build().unwrap();
        let url = format!("http://known.test:{port}/");
        let all = futures_util::future::join_all((0..10).map(|_| session.get(&url).send())).await;
        assert!(all.into_iter().all(|answer| answer.is_ok()));
        assert_eq!(asked.get(), 1);
        let error = session.get("http://unknown.test/").send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
    });
}

#[test]
fn a_unix_socket_takes_all_connections() {
    use std::io::{BufRead, BufReader, Write};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for _ in 0..2 {
            let head: Vec<String> =
                lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            stream.write_all(&ok(&head[0])).unwrap();
        }
    });
    run(async move {
        let session = Session::builder().unix_socket(&path).build().unwrap();
        for number in 0..2 {
            let response = session.get(format!("http://docker/containers/{number}")).send().await.unwrap();
            assert_eq!(response.remote_addr(), None);
            assert_eq!(response.text().await.unwrap(), format!("GET /containers/{number} HTTP/1.1"));
        }
        drop(directory);
        let error =
            Session::builder().unix_socket("/nowhere/socket").build().unwrap().get("http://x/").send().await;
        let error = error.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.is_connect() && source.contains("/nowhere/socket"), "{source}");
    });
}

#[test]
fn connections_come_from_the_address_that_was_chosen() {
    let server = Server::start(|mut connection, _| {
        connection.read_request();
        let from = connection.stream.peer_addr().unwrap().ip().to_string();
        connection.send(&ok(&from));
    });
    run(async move {
        let session = Session::builder().local_address([127, 0, 0, 9].into()).build().unwrap();
        let response = session.get(server.url("/")).send().await.unwrap();
        assert_eq!(response.remote_addr().unwrap(), SocketAddr::from(([127, 0, 0, 1], server.port)));
        assert_eq!(response.text().await.unwrap(), "127.0.0.9");
        let session = Session::builder().local_address(std::net::Ipv6Addr::LOCALHOST.into()).build().unwrap();
        assert!(session.get(server.url("/")).send().await.unwrap_err().is_connect());
    });
}

#[test]
fn headers_behind_the_body_are_there_at_its_end() {
    let answer = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n";
    let server = Server::always(answer);
    run(async move {
        let session = Session::new();
        for _ in 0..2 {
            let mut response = session.get(server.url("/")).send().await.unwrap();
            assert!(response.trailers().is_none());
            while response.chunk().await.unwrap().is_some() {}
            assert_eq!(response.trailers().unwrap()["x-sum"], "42");
        }
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn an_observer_is_told_each_phase_in_order_and_timings_add_up() {
    #[derive(Default)]
    struct Log(RefCell<Vec<String>>);
    impl Observer for Log {
        fn event(&self, _: RequestId, event: &Event<'_>) {
            let name = format!("{event:?}");
            let name = name.split([' ', '{']).next().unwrap().to_owned();
            self.0.borrow_mut().push(name);
        }
    }
    let server = Server::answering(|request| match request.path() {
        "/away" => b"HTTP/1.1 302 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/cut" => b"HTTP/1.1 200 x\r\nContent-Length: 9\r\nConnection: close\r\n\r\nab".to_vec(),
        _ => ok("hello"),
    });
    run(async move {
        let log = Rc::new(Log::default());
        let session = Session::builder().observer(log.clone()).build().unwrap();
        let response = session.get(format!("http://localhost:{}/away", server.port)).send().await.unwrap();
        let timings = response.timings();
        assert_eq!(
            (timings.dns, timings.connect, timings.tls),
            (None, None, None),
            "the connection was reused"
        );
        assert_eq!(timings.queue, Duration::ZERO);
        assert_eq!(response.text().await.unwrap(), "hello");
        let expected = "RequestStart ConnectStart DnsStart DnsEnd ConnectEnd RequestHeaders ResponseHead Redirect \
                        ConnectionReused RequestHeaders ResponseHead Chunk RequestEnd";
        assert_eq!(log.0.take().join(" "), expected);

        let mut response = session.get(server.url("/")).send().await.unwrap();
        let timings = response.timings();
        assert!(timings.connect.is_some() && timings.dns.is_none() && timings.first_byte > Duration::ZERO);
        while response.chunk().await.unwrap().is_some() {}
        assert!(response.timings().body.is_some());
        log.0.take();

        assert!(session.get("http://127.0.0.1:1/").send().await.is_err());
        assert_eq!(log.0.take().join(" "), "RequestStart ConnectStart DnsEnd RequestFailed");
    });
}

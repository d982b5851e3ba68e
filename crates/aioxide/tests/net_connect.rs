//! Names, their cache, and connecting to several addresses.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::cell::Cell;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aioxide::net::dns::{DnsCache, lookup};
use aioxide::net::{TcpListener, connect, connect_any};
use aioxide::yield_now;
use aioxide_core::current::current;
use socket2::{Domain, Socket, Type};
use support::{run, run_virtual};

const LOCALHOST: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A label of 64 letters is too long for a name: it fails without a question to any name server.
fn impossible_name() -> String {
    "x".repeat(64)
}

/// An address where nobody listens.
fn dead_addr() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A listener whose queue is full, so that the kernel drops what else comes; and the connection that fills it.
fn silent_listener() -> (Socket, std::net::TcpStream, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(LOCALHOST).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let filler = std::net::TcpStream::connect(addr).unwrap();
    (listener, filler, addr)
}

fn now_ns() -> u64 {
    current().unwrap().now_ns()
}

#[test]
fn connects_by_name_and_by_number() {
    run(async {
        let listener = TcpListener::bind(LOCALHOST).unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1"] {
            let stream = connect(host, port).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap().port(), port);
        }
    });
}

#[test]
fn refused_first_address_gives_way_at_once() {
    run_virtual(async {
        let listener = TcpListener::bind(LOCALHOST).unwrap();
        let alive = listener.local_addr().unwrap();
        let ipv6_without_listener = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], dead_addr().port()));
        let before = now_ns();
        let addrs = [ipv6_without_listener, dead_addr(), alive];
        let stream = connect_any("example", &addrs).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert_eq!(now_ns() - before, 0, "a refusal is not waited out");
    });
}

#[test]
fn silent_first_address_gets_a_head_start_of_250_ms_only() {
    run_virtual(async {
        let (_silent, _filler, silent_addr) = silent_listener();
        let listener = TcpListener::bind(LOCALHOST).unwrap();
        let alive = listener.local_addr().unwrap();
        let before = now_ns();
        let stream = connect_any("example", &[silent_addr, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert_eq!(Duration::from_nanos(now_ns() - before), Duration::from_millis(250));
    });
}

#[test]
fn every_attempt_stands_in_the_error() {
    run(async {
        let (first, second) = (dead_addr(), SocketAddr::from(([127, 0, 0, 2], dead_addr().port())));
        let error = connect_any("example.org", &[first, second]).await.unwrap_err();
        let attempted: Vec<_> = error.attempted().iter().map(|(addr, _)| *addr).collect();
        assert_eq!(attempted, [first, second]);
        assert!(error.is_refused() && !error.is_lookup());
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot connect to example.org:{}: ", first.port())), "{text}");
        assert!(text.contains(&first.to_string()) && text.contains(&second.to_string()), "{text}");
        assert_eq!(std::io::Error::from(error).kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn no_address_at_all_is_an_error() {
    run(async {
        let error = connect_any("example.org", &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot connect to example.org:0: no address to try");
    });
}

#[test]
fn refused_address_is_named_with_its_port() {
    run(async {
        let port = dead_addr().port();
        let error = connect("127.0.0.1", port).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to 127.0.0.1:{port}"));
        assert!(error.source().unwrap().to_string().contains("refused"));
        let error = connect("::1", port).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot connect to [::1]:{port}")), "{error}");
    });
}

#[test]
fn name_that_cannot_be_resolved_is_told() {
    run(async {
        let name = impossible_name();
        let error = connect(&name, 80).await.unwrap_err();
        assert!(error.is_lookup() && error.attempted().is_empty());
        assert_eq!(error.to_string(), format!("cannot connect to {name}:80"));
        assert!(error.source().unwrap().to_string().starts_with(&format!("cannot resolve {name}: ")));
    });
}

#[test]
fn lookup_takes_brackets_and_refuses_nonsense() {
    run(async {
        assert_eq!(lookup("[::1]", 7).await.unwrap(), [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7))]);
        assert_eq!(lookup("10.0.0.1", 7).await.unwrap(), [SocketAddr::from(([10, 0, 0, 1], 7))]);
        for nonsense in ["", "[]", "a\0b"] {
            assert_eq!(lookup(nonsense, 7).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn cache_asks_once_until_the_answer_is_outdated() {
    run_virtual(async {
        let cache = DnsCache::new(Duration::from_secs(10));
        let answer = cache.lookup("localhost", 1).await.unwrap();
        assert!(answer.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 1));
        assert_eq!(cache.lookup("LocalHost", 2).await.unwrap().len(), answer.len());
        assert_eq!(cache.questions(), 1);
        sleep(Duration::from_secs(10)).await;
        cache.lookup("localhost", 1).await.unwrap();
        assert_eq!(cache.questions(), 2);
        cache.clear();
        assert!(cache.is_empty());
    });
}

type Lookup = Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>>>>;

fn start_lookup(cache: &DnsCache, name: &str, port: u16) -> Lookup {
    let (cache, name) = (cache.clone(), name.to_owned());
    Box::pin(async move { cache.lookup(&name, port).await })
}

async fn poll_once(lookup: &mut Lookup) -> Poll<std::io::Result<Vec<SocketAddr>>> {
    poll_fn(|cx| Poll::Ready(lookup.as_mut().poll(cx))).await
}

/// A cache, and a question to it that is under way. (The resolver's thread may be quicker than the first poll: again, then.)
async fn asked(ttl: Duration, name: &str) -> (DnsCache, Lookup) {
    loop {
        let cache = DnsCache::new(ttl);
        let mut asker = start_lookup(&cache, name, 0);
        if poll_once(&mut asker).await.is_pending() {
            return (cache, asker);
        }
    }
}

#[test]
fn questions_asked_at_the_same_time_are_one() {
    run(async {
        let (cache, asker) = asked(Duration::ZERO, "localhost").await;
        let mut waiters: Vec<_> = (1..20).map(|port| start_lookup(&cache, "localhost", port)).collect();
        for waiter in &mut waiters {
            assert!(poll_once(waiter).await.is_pending());
        }
        assert_eq!(asker.await.unwrap()[0].port(), 0);
        for (port, waiter) in (1..20).zip(waiters) {
            assert_eq!(waiter.await.unwrap()[0].port(), port);
        }
        assert_eq!(cache.questions(), 1);
        assert!(cache.is_empty(), "a time to live of 0 keeps nothing");
    });
}

#[test]
fn failure_is_shared_and_not_kept() {
    run(async {
        let name = impossible_name();
        let (cache, asker) = asked(Duration::from_secs(10), &name).await;
        let mut waiter = start_lookup(&cache, &name, 1);
        assert!(poll_once(&mut waiter).await.is_pending());
        for lookup in [asker, waiter] {
            assert!(lookup.await.unwrap_err().to_string().starts_with("cannot resolve xxx"));
        }
        assert_eq!((cache.questions(), cache.len()), (1, 0));
    });
}

#[test]
fn asker_dropped_half_way_leaves_its_question_to_those_who_wait() {
    run(async {
        let (cache, asker) = asked(Duration::from_secs(10), "localhost").await;
        let mut waiter = start_lookup(&cache, "localhost", 9);
        assert!(poll_once(&mut waiter).await.is_pending());
        drop(asker);
        assert_eq!(waiter.await.unwrap()[0].port(), 9);
        assert_eq!(cache.questions(), 1);
    });
}

#[test]
fn question_goes_on_while_the_asker_is_not_polled() {
    run(async {
        let (cache, asker) = asked(Duration::from_secs(10), "localhost").await;
        assert_eq!(cache.lookup("localhost", 9).await.unwrap()[0].port(), 9);
        assert_eq!(asker.await.unwrap()[0].port(), 0);
        assert_eq!(cache.questions(), 1);
    });
}

#[test]
fn question_of_a_forgotten_asker_is_answered() {
    run(async {
        let (cache, asker) = asked(Duration::from_secs(10), "localhost").await;
        std::mem::forget(asker);
        assert_eq!(cache.lookup("localhost", 9).await.unwrap()[0].port(), 9);
    });
}

/// Tells when it is dropped.
struct Tells(Rc<Cell<u32>>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn question_ends_with_the_last_who_waits() {
    run(async {
        let (cache, dropped) = (DnsCache::new(Duration::from_secs(10)), Rc::<Cell<u32>>::default());
        let ask = {
            let dropped = Rc::clone(&dropped);
            move || {
                let tells = Tells(Rc::clone(&dropped));
                async move {
                    let _tells = tells;
                    std::future::pending().await
                }
            }
        };
        let mut waits: Vec<Lookup> = Vec::new();
        for _ in 0..3 {
            let (cache, ask) = (cache.clone(), ask.clone());
            let mut wait: Lookup = Box::pin(async move { cache.lookup_with("a.test", 1, ask).await });
            assert!(poll_once(&mut wait).await.is_pending());
            waits.push(wait);
        }
        drop(waits.remove(0));
        drop(waits.remove(0));
        yield_now().await;
        assert_eq!((cache.questions(), cache.len(), dropped.get()), (1, 1, 0));
        waits.clear();
        assert_eq!((cache.len(), dropped.get()), (0, 1));
    });
}

/// Shows how many of its wakers are alive.
struct NoWake;

impl std::task::Wake for NoWake {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn wait_that_is_dropped_leaves_no_waker() {
    run(async {
        let (cache, _asker) = asked(Duration::from_secs(10), "localhost").await;
        let held = Arc::new(NoWake);
        let waker = Waker::from(Arc::clone(&held));
        let mut waiter = start_lookup(&cache, "localhost", 9);
        assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop((waiter, waker));
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn resolver_that_panics_does_so_once_and_the_others_ask_again() {
    run(async {
        let (cache, asked) = (DnsCache::new(Duration::from_secs(10)), Rc::<Cell<u32>>::default());
        let ask = {
            let asked = Rc::clone(&asked);
            move || {
                asked.set(asked.get() + 1);
                let first = asked.get() == 1;
                async move {
                    yield_now().await;
                    assert!(!first, "the first has no luck");
                    Ok(vec![SocketAddr::from(LOCALHOST)])
                }
            }
        };
        let look_up = |port| {
            let (cache, ask) = (cache.clone(), ask.clone());
            aioxide::spawn(async move { cache.lookup_with("a.test", port, ask).await })
        };
        let (first, second) = (look_up(1), look_up(2));
        assert!(first.join().await.unwrap_err().to_string().contains("no luck"));
        assert_eq!(second.await.unwrap(), [SocketAddr::from(LOCALHOST)]);
        assert_eq!(asked.get(), 2);
    });
}

#[test]
fn question_of_another_loop_is_not_joined() {
    let (one, two) = (aioxide::Runtime::new().unwrap(), aioxide::Runtime::new().unwrap());
    let cache = DnsCache::new(Duration::from_secs(10));
    let ask = {
        let asked = Rc::<Cell<u32>>::default();
        move || {
            asked.set(asked.get() + 1);
            let is_first = asked.get() == 1;
            async move {
                if is_first {
                    std::future::pending::<()>().await;
                }
                Ok(vec![SocketAddr::from(LOCALHOST)])
            }
        }
    };
    let mut lookup: Lookup = {
        let (cache, ask) = (cache.clone(), ask.clone());
        Box::pin(async move { cache.lookup_with("a.test", 0, ask).await })
    };
    let lookup = one
        .block_on(async move {
            assert!(poll_once(&mut lookup).await.is_pending());
            Some(lookup)
        })
        .unwrap();
    let other = cache.clone();
    two.block_on(async move {
        assert_eq!(other.lookup_with("a.test", 7, ask).await.unwrap()[0].port(), 0);
        other.clear();
        // The one that has moved here asks here, too.
        lookup.unwrap().await.unwrap();
    })
    .unwrap();
    assert_eq!(cache.questions(), 3);
}

#[test]
fn cache_stays_within_its_limit() {
    run(async {
        let cache = DnsCache::new(Duration::from_secs(1000));
        for number in 0..1100u32 {
            cache.lookup(&Ipv4Addr::from_bits(number).to_string(), 1).await.unwrap();
        }
        assert_eq!(cache.len(), 1024);
    });
}

async fn sleep(duration: Duration) {
    support::sleep_until(now_ns() + duration.as_nanos() as u64).await;
}

//! Limits, waiting and its end: in order, without losing a place.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use aioxide_http::{Session, TimeoutPhase, Timeouts};
use futures_util::future::join_all;
use support::server::{Server, ok};
use support::{pause, run, turn_loop};

/// A server that counts how many requests it holds at once.
fn counting() -> (Server, Arc<AtomicUsize>) {
    let most = Arc::new(AtomicUsize::new(0));
    let now = AtomicUsize::new(0);
    let seen = most.clone();
    let server = Server::start(move |mut connection, _| {
        while connection.read_request().is_some() {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            connection.send(&ok("x"));
        }
    });
    (server, most)
}

/// A server that answers one request for each message sent to it.
fn gated() -> (Server, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let server = Server::start(move |mut connection, _| {
        while connection.read_request().is_some() {
            if gate.lock().unwrap().recv().is_err() {
                return;
            }
            connection.send(&ok("x"));
        }
    });
    (server, open)
}

async fn fetch(session: &Session, url: &str) {
    assert_eq!(session.get(url).send().await.unwrap().text().await.unwrap(), "x");
}

#[test]
fn total_limit_holds_over_hosts() {
    let (one, most_one) = counting();
    let (two, most_two) = counting();
    run(async move {
        let session = Session::builder().limit(3).build().unwrap();
        let urls = [one.url("/"), two.url("/")];
        join_all((0..60).map(|index| fetch(&session, &urls[index % 2]))).await;
        assert!(session.connections() <= 3);
        assert!(most_one.load(Ordering::SeqCst) <= 3 && most_two.load(Ordering::SeqCst) <= 3);
    });
}

#[test]
fn limit_per_host_holds_and_does_not_stop_others() {
    let (one, most_one) = counting();
    let (two, _) = counting();
    let (blocked, open) = gated();
    run(async move {
        let session = Session::builder().limit(10).limit_per_host(2).build().unwrap();
        let url = blocked.url("/");
        let mut stuck = Box::pin(join_all((0..8).map(|_| fetch(&session, &url))));
        assert!(futures_util::poll!(&mut stuck).is_pending());
        // Six wait for the stuck host, ahead of these; these have hosts of their own.
        let urls = [one.url("/"), two.url("/")];
        join_all((0..40).map(|index| fetch(&session, &urls[index % 2]))).await;
        assert!(most_one.load(Ordering::SeqCst) <= 2);
        for _ in 0..8 {
            open.send(()).unwrap();
        }
        stuck.await;
        assert_eq!(blocked.accepted(), 2);
    });
}

#[test]
fn waiters_are_served_in_their_order() {
    let (server, open) = gated();
    run(async move {
        let session = Session::builder().limit(1).build().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let url = server.url("/");
        for _ in 0..20 {
            open.send(()).unwrap();
        }
        join_all((0..20).map(|number| {
            let (session, url, order) = (&session, &url, order.clone());
            async move {
                fetch(session, url).await;
                order.borrow_mut().push(number);
            }
        }))
        .await;
        assert_eq!(*order.borrow(), (0..20).collect::<Vec<_>>());
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn waiters_that_give_up_lose_no_slot() {
    let (server, open) = gated();
    run(async move {
        let session = Session::builder().limit(2).build().unwrap();
        let url = server.url("/");
        let mut holding = Box::pin(join_all((0..2).map(|_| fetch(&session, &url))));
        while server.accepted() < 2 {
            assert!(futures_util::poll!(&mut holding).is_pending());
            turn_loop().await;
        }
        let timeouts = Timeouts { pool: Some(Duration::from_millis(10)), ..Timeouts::NONE };
        let failed = join_all((0..50).map(|_| session.get(&url).timeouts(timeouts).send())).await;
        for result in failed {
            let error = result.unwrap_err();
            assert_eq!(error.timeout_phase(), Some(TimeoutPhase::Pool));
            assert!(!error.is_connect());
        }
        // Some give up, by being dropped, at the very moment at which a connection becomes theirs.
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(fetch(&session, &url))).collect();
        for request in &mut waiting {
            assert!(futures_util::poll!(request).is_pending());
        }
        for _ in 0..2 {
            open.send(()).unwrap();
        }
        holding.await;
        waiting.truncate(9);
        drop(waiting.remove(0));
        for _ in 0..8 {
            open.send(()).unwrap();
        }
        join_all(waiting).await;
        drop(open);
        assert!(session.connections() <= 2);
    });
}

#[test]
fn pool_wait_counts_towards_the_total() {
    let (server, open) = gated();
    run(async move {
        let session = Session::builder().limit(1).build().unwrap();
        let url = server.url("/");
        let mut holding = Box::pin(fetch(&session, &url));
        while server.accepted() < 1 {
            assert!(futures_util::poll!(&mut holding).is_pending());
            turn_loop().await;
        }
        let error = session.get(&url).timeout(Duration::from_millis(10)).send().await.unwrap_err();
        assert_eq!(error.timeout_phase(), Some(TimeoutPhase::Total));
        open.send(()).unwrap();
        holding.await;
    });
}

#[test]
fn idle_connection_of_another_host_makes_room() {
    let servers: Vec<_> = (0..5).map(|_| Server::always(ok("x"))).collect();
    run(async move {
        let session = Session::builder().limit(2).build().unwrap();
        for server in &servers {
            fetch(&session, &server.url("/")).await;
            assert!(session.connections() <= 2);
        }
        // The last two are still there.
        fetch(&session, &servers[3].url("/")).await;
        fetch(&session, &servers[4].url("/")).await;
        assert_eq!((servers[3].accepted(), servers[4].accepted()), (1, 1));
    });
}

#[test]
fn idle_connections_are_closed_in_time() {
    let server = Server::always(ok("x"));
    run(async move {
        let session = Session::builder().idle_timeout(Duration::from_millis(20)).build().unwrap();
        join_all((0..3).map(|_| async { fetch(&session, &server.url("/")).await })).await;
        assert_eq!(session.idle_connections(), 3);
        while session.connections() > 0 {
            pause(Duration::from_millis(5)).await;
        }
        fetch(&session, &server.url("/")).await;
        assert_eq!(session.connections(), 1);
    });
}

#[test]
fn the_connection_used_last_is_used_first() {
    let server = Server::start(|mut connection, number| {
        while connection.read_request().is_some() {
            connection.send(&ok(&number.to_string()));
        }
    });
    run(async move {
        let session = Session::new();
        let url = server.url("/");
        let get = || async { session.get(&url).send().await.unwrap() };
        let (first, second) = futures_util::join!(get(), get());
        let (first, second) = (first.text().await.unwrap(), second.text().await.unwrap());
        assert_ne!(first, second);
        for _ in 0..5 {
            assert_eq!(get().await.text().await.unwrap(), second);
        }
    });
}

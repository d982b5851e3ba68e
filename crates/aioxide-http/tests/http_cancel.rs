//! Requests and websockets that are dropped at any point leave nothing behind.
#![cfg(feature = "websocket")]

mod support;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use aioxide_http::{Body, Proxies, Proxy as Via, Session};
use support::nginx::Nginx;
use support::proxy::Proxy;
use support::raw::Random;
use support::{run, turn_loop, ws};

/// Polls `future` at most so many times, then drops it; says whether it had ended.
async fn dropped_after<F: Future>(polls: usize, future: F) -> bool {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            // The last poll is followed at once by the drop, whatever else happens.
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Waits until the session has nothing open but what is idle.
async fn settle(session: &Session) {
    while session.stats().open > session.stats().idle || session.stats().waiting > 0 {
        turn_loop().await;
    }
}

#[test]
fn requests_dropped_after_any_poll_free_their_places() {
    let nginx = Nginx::start(&[("page", &[b'x'; 20_000])]);
    let proxy = Proxy::http(None);
    run(async move {
        let session = Session::builder()
            .add_root_pem(nginx.authority.pem.as_bytes())
            .limit(4)
            .build()
            .expect("a session");
        let via = Proxies::all(Via::new(&format!("http://127.0.0.1:{}", proxy.port)).expect("a proxy"));
        let urls = [nginx.url("/page"), nginx.tls_url("/page"), nginx.h2_url("/page"), nginx.url("/moved")];
        let mut random = Random::of(7, 1);
        let mut ended = 0;
        for round in 0..300 {
            let requests = (0..5).map(|_| {
                let url = random.pick(&[0, 1, 2, 3]);
                let mut request = session.get(&urls[url]);
                if random.chance(20) {
                    request = request.proxies(via.clone());
                }
                if random.chance(20) {
                    let stream = futures_util::stream::iter(["x", "y"].map(Ok::<_, std::io::Error>));
                    request = request.body(Body::stream(stream));
                }
                dropped_after(1 + random.below(12), async { request.send().await?.bytes().await })
            });
            let requests: Vec<_> = requests.collect();
            ended += futures_util::future::join_all(requests).await.iter().filter(|&&whole| whole).count();
            if round % 50 == 49 {
                settle(&session).await;
            }
        }
        assert!(ended > 50, "most were dropped too early to tell: {ended}");
        settle(&session).await;
        for url in &urls[..3] {
            assert_eq!(session.get(url).send().await.unwrap().bytes().await.unwrap().len(), 20_000);
        }
        session.close();
        while session.stats().open > 0 {
            turn_loop().await;
        }
    });
}

#[test]
fn websockets_dropped_after_any_poll_close_their_sockets() {
    let open = Arc::new(AtomicUsize::new(0));
    let count = open.clone();
    let server = ws::start("Sec-WebSocket-Extensions: permessage-deflate\r\n", move |mut socket, _| {
        count.fetch_add(1, Ordering::SeqCst);
        socket.echo();
        count.fetch_sub(1, Ordering::SeqCst);
    });
    run(async move {
        let session = Session::builder().limit(4).build().expect("a session");
        let url = format!("ws://127.0.0.1:{}/", server.port);
        let mut random = Random::of(7, 2);
        let mut ended = 0;
        for _ in 0..300 {
            let polls = 1 + random.below(30);
            let whole = dropped_after(polls, async {
                let socket = session.websocket(&url).connect().await?;
                for size in [10, 100_000] {
                    socket.send_binary(vec![7; size]).await?;
                    socket.receive().await?;
                }
                socket.close(1000, "").await
            });
            ended += usize::from(whole.await);
        }
        assert!(ended > 10, "most were dropped too early to tell: {ended}");
        settle(&session).await;
        assert_eq!(session.stats().open, session.stats().idle);
        // The server's threads close their ends a moment later.
        while open.load(Ordering::SeqCst) > 0 {
            turn_loop().await;
        }
    });
}

//! Requests under wakers of other kinds than the loop's: some poll at once, some look around when they are dropped.

mod support;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use aioxide_http::Session;
use support::server::{Server, ok};
use support::{run, turn_loop};

type Inner = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static INLINE: RefCell<Option<Inner>> = const { RefCell::new(None) };
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// Polls the future of its thread when it is woken.
struct Inline;

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        poll_inline();
    }
}

fn poll_inline() {
    let Some(mut inner) = INLINE.take() else { return };
    let waker = Waker::from(Arc::new(Inline));
    if inner.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        INLINE.set(Some(inner));
    }
}

#[test]
fn a_waker_that_polls_at_once_gets_its_answer() {
    let (answer, may_answer) = mpsc::channel();
    let may_answer = std::sync::Mutex::new(may_answer);
    let server = Server::answering(move |_| {
        may_answer.lock().unwrap().recv().unwrap();
        ok("late")
    });
    let (tell, ended) = mpsc::channel();
    // On a thread of its own: what is tested here once stopped the whole loop, and with it every limit of time.
    std::thread::spawn(move || {
        run(async move {
            let text = Rc::new(RefCell::new(None));
            let got = text.clone();
            let url = server.url("/");
            INLINE.set(Some(Box::pin(async move {
                let response = Session::new().get(url).send().await.unwrap();
                *got.borrow_mut() = Some(response.text().await.unwrap());
            })));
            poll_inline();
            answer.send(()).unwrap();
            while text.borrow().is_none() {
                turn_loop().await;
            }
            assert_eq!(text.take().as_deref(), Some("late"));
        });
        tell.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("the loop stands still");
}

/// Uses the session when it is dropped, and passes wakes on.
struct Curious(Waker);

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        SESSION.with_borrow(|session| session.as_ref().map(Session::stats));
    }
}

#[test]
fn a_waker_that_uses_the_session_when_it_is_dropped_finds_nothing_borrowed() {
    let (closed, is_closed) = mpsc::channel();
    let (close, may_close) = mpsc::channel();
    let may_close = std::sync::Mutex::new(may_close);
    let server = Server::start(move |mut connection, _| {
        connection.read_request();
        connection.send(&ok("once"));
        may_close.lock().unwrap().recv().unwrap();
        drop(connection);
        closed.send(()).unwrap();
    });
    run(async move {
        let session = Session::new();
        SESSION.set(Some(session.clone()));
        for _ in 0..3 {
            let mut text = pin!(async { session.get(server.url("/")).send().await?.text().await });
            let text = poll_fn(|cx| {
                let waker = Waker::from(Arc::new(Curious(cx.waker().clone())));
                text.as_mut().poll(&mut Context::from_waker(&waker))
            });
            assert_eq!(text.await.unwrap(), "once");
            // The idle connection, whose last waker it still has, is found to be closed by the next request.
            close.send(()).unwrap();
            is_closed.recv().unwrap();
            turn_loop().await;
            assert_eq!(session.stats().idle, 1);
        }
        SESSION.take();
    });
}

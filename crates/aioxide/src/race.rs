//! The first of several unlike futures.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use aioxide_core::task::with_current_meta;
use pin_project_lite::pin_project;

use crate::task::Meta;

/// Waits for the first of several futures, which may be of different types, and goes on with what belongs to it.
///
/// `race! { PATTERN = FUTURE => EXPRESSION, ... }`: the futures are polled in the order in which they stand, so of two that are
/// ready at once the first wins. Then all are dropped, and the winner's expression is evaluated with its output; it may
/// `.await`, `return`, `break` and use `?`. A pattern must always match.
///
/// A losing future is dropped where it waits, as by a cancellation: see its "Cancel safety". A [`Task`](crate::Task) that is
/// given by value runs on by itself; give `&task` to keep its handle. To wait for any number of futures of one type use
/// [`wait`](crate::wait), [`as_completed`](crate::as_completed) or [`gather`](crate::gather); for one future and a
/// deadline, [`timeout`](crate::timeout).
///
/// # Examples
/// ```
/// use aioxide::{race, spawn, sync::Queue, testing, time::sleep};
/// use std::{rc::Rc, time::Duration};
/// testing::run(async {
///     let queue = Rc::new(Queue::new(1));
///     let sending = Rc::clone(&queue);
///     let producer = spawn(async move {
///         sleep(Duration::from_secs(1)).await;
///         sending.put("message").await
///     });
///     let mut seen = Vec::new();
///     loop {
///         race! {
///             message = queue.get() => seen.push(message.unwrap()),
///             () = sleep(Duration::from_secs(3)) => break,
///         }
///     }
///     assert_eq!(seen, ["message"]);
///     producer.await.unwrap();
/// });
/// ```
/// asyncio: `wait(..., return_when=FIRST_COMPLETED)` and a cancel of the others.
#[doc(alias = "select")]
#[doc(alias = "FIRST_COMPLETED")]
#[macro_export]
macro_rules! race {
    ($($pattern:pat = $future:expr => $then:expr),+ $(,)?) => {{
        let first = $crate::race!(@race $($future),+).await;
        $crate::race!(@go_on first; $($pattern => $then),+)
    }};
    (@race $future:expr) => { ::core::future::IntoFuture::into_future($future) };
    (@race $future:expr, $($others:expr),+) => {
        $crate::__race(::core::future::IntoFuture::into_future($future), $crate::race!(@race $($others),+))
    };
    (@go_on $first:ident; $pattern:pat => $then:expr) => {{
        let $pattern = $first;
        $then
    }};
    (@go_on $first:ident; $pattern:pat => $then:expr, $($others:tt)+) => {
        match $first {
            $crate::__First::This($pattern) => $then,
            $crate::__First::Other(other) => $crate::race!(@go_on other; $($others)+),
        }
    };
}

/// Of [`race!`].
#[doc(hidden)]
#[derive(Debug)]
pub enum First<A, B> {
    This(A),
    Other(B),
}

pin_project! {
    /// Of [`race!`].
    #[doc(hidden)]
    #[derive(Debug)]
    pub struct Race<A, B> {
        #[pin]
        this: A,
        #[pin]
        other: B,
    }
}

/// Of [`race!`].
#[doc(hidden)]
pub fn race<A, B>(this: A, other: B) -> Race<A, B> {
    Race { this, other }
}

impl<A: Future, B: Future> Future for Race<A, B> {
    type Output = First<A::Output, B::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let race = self.project();
        let had_said = with_current_meta(Meta::has_said).unwrap_or(true);
        if let Poll::Ready(output) = race.this.poll(cx) {
            return Poll::Ready(First::This(output));
        }
        let polled = race.other.poll(cx);
        // What the first one waits for is not awaited any more.
        if polled.is_ready() {
            with_current_meta(|meta: &Meta| meta.note_race(!had_said));
        }
        polled.map(First::Other)
    }
}

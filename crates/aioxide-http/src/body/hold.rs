//! A body that waits until the server wants it (`Expect: 100-continue`, RFC 9110, 10.1.1).

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::rt::{self, Sleep, Traffic};

/// How long the server's word is waited for; many servers never give it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Until the server says 100, or its time is over; for good when it has answered without it.
pub(super) struct Hold {
    traffic: Rc<Traffic>,
    timer: Pin<Box<Sleep>>,
}

impl Hold {
    pub(super) fn new(traffic: Rc<Traffic>) -> Self {
        traffic.is_held.set(true);
        Self { traffic, timer: Box::pin(rt::sleep_until(rt::now() + PATIENCE)) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (is_wanted, is_answered) = {
            let head = self.traffic.head.borrow();
            (head.is_continued(), !head.is_passing())
        };
        if !is_wanted {
            if is_answered {
                // The body is not wanted, and the connection ends with the answer: nobody has to be woken.
                return Poll::Pending;
            }
            std::task::ready!(self.timer.as_mut().poll(cx));
        }
        self.traffic.is_held.set(false);
        Poll::Ready(())
    }
}

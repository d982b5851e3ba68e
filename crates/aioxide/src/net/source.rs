//! A descriptor and its registration with the loop: what every socket and pipe of this crate is made of.
//!
//! Calls are tried when the descriptor is thought to be ready; `WouldBlock` clears that thought, and the loop's next
//! edge brings it back. Two habits keep the calls few and the loop fair:
//! * a read of a TCP stream that brings less than there was room for counts as `WouldBlock` already (one call saved for
//!   each message, see [`Registration::drained`]); it is not done for UNIX sockets and pipes, where a read may end early
//!   although more is there (a message that carries descriptors, packet mode);
//! * after [`BUDGET`] calls that did not have to wait the task goes once round the ready queue, or a peer as fast as we
//!   are could starve all other tasks.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use aioxide_core::current::{LoopHandle, current, try_with};
use aioxide_core::reactor::Registration;
use aioxide_core::task::is_own_waker;
use socket2::SockRef;
use tokio::io::ReadBuf;

use crate::error::{NO_LOOP, OTHER_LOOP};

/// So many calls in a row may succeed without a wait. At 64 the detour costs less than 1 % of a small read.
const BUDGET: u32 = 64;

/// What `inner` is watched with, and `inner`.
pub(crate) struct Source<S> {
    // Before the descriptor: it must be dropped first.
    registration: Registration,
    inner: S,
    spent: Cell<u32>,
}

/// Why something that waits for events cannot do so here, if it cannot.
#[inline]
pub(crate) fn not_here(is_of_another_loop: bool) -> Option<&'static str> {
    match is_of_another_loop {
        true => Some(OTHER_LOOP),
        false => try_with(|_| ()).is_none().then_some(NO_LOOP),
    }
}

impl<S: fmt::Debug> fmt::Debug for Source<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

/// The loop that this thread runs.
pub(crate) fn running_loop() -> io::Result<Rc<dyn LoopHandle>> {
    current().ok_or_else(|| io::Error::other(NO_LOOP))
}

impl<S: AsFd> Source<S> {
    /// Watches `inner`, which must be in non-blocking mode, with the running loop.
    pub(crate) fn new(inner: S) -> io::Result<Self> {
        let event_loop = running_loop()?;
        let registration = event_loop.reactor().register(inner.as_fd().as_raw_fd())?;
        Ok(Self { registration, inner, spent: Cell::new(0) })
    }

    /// Watches a stream that is known to be connected: the first write need not wait for the loop.
    pub(crate) fn connected(inner: S) -> io::Result<Self> {
        let source = Self::new(inner)?;
        source.registration.assume_writable();
        Ok(source)
    }

    pub(crate) fn get(&self) -> &S {
        &self.inner
    }

    pub(crate) fn sock_ref(&self) -> SockRef<'_> {
        SockRef::from(&self.inner)
    }

    /// Ends the watching.
    pub(crate) fn into_inner(self) -> S {
        let Self { registration, inner, .. } = self;
        drop(registration);
        inner
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refuse_elsewhere(self.registration.poll_readable(cx).map(Ok))
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refuse_elsewhere(self.registration.poll_writable(cx).map(Ok))
    }

    /// Fails instead of waiting for events that the running loop does not get, or no loop.
    fn refuse_elsewhere<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending()
            && let Some(why) = not_here(self.registration.is_of_another_loop())
        {
            return Poll::Ready(Err(io::Error::other(why)));
        }
        polled
    }

    /// Runs `call` as soon as reading may succeed, again after each `WouldBlock`.
    pub(crate) fn poll_read_with<T>(
        &self,
        cx: &mut Context<'_>,
        call: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        std::task::ready!(self.poll_budget(cx));
        self.account(self.refuse_elsewhere(self.registration.poll_read(cx, call)))
    }

    /// Runs `call` as soon as writing may succeed, again after each `WouldBlock`.
    pub(crate) fn poll_write_with<T>(
        &self,
        cx: &mut Context<'_>,
        call: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        std::task::ready!(self.poll_budget(cx));
        self.account(self.refuse_elsewhere(self.registration.poll_write(cx, call)))
    }

    /// Runs `call` now; `WouldBlock` makes the next poll wait.
    pub(crate) fn try_read_with<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        call().inspect_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.registration.clear_readable();
            }
        })
    }

    /// Runs `call` now; `WouldBlock` makes the next poll wait.
    pub(crate) fn try_write_with<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        call().inspect_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.registration.clear_writable();
            }
        })
    }

    /// Reads from a socket into what `buf` has left, without clearing that memory first.
    ///
    /// `short_is_empty`: a short read means that the next one would wait.
    pub(crate) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        short_is_empty: bool,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let room = buf.remaining();
        let socket = SockRef::from(&self.inner);
        let count = std::task::ready!(self.poll_read_with(cx, || recv(&socket, buf)))?;
        if short_is_empty && count > 0 && count < room {
            self.registration.drained();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes to a stream; what it takes less than it was given fills its buffer, so the next write will wait.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>
    where
        for<'a> &'a S: Write,
    {
        let count = std::task::ready!(self.poll_write_with(cx, || (&self.inner).write(bytes)))?;
        if count > 0 && count < bytes.len() {
            self.registration.clear_writable();
        }
        Poll::Ready(Ok(count))
    }

    /// [`poll_send`](Self::poll_send) for several slices at a time.
    pub(crate) fn poll_send_vectored(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>
    where
        for<'a> &'a S: Write,
    {
        // No look at the length: more slices than the kernel takes at a time end a write early as well.
        self.poll_write_with(cx, || (&self.inner).write_vectored(slices))
    }

    /// Sends the task once round the ready queue when it has not waited for long.
    fn poll_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.spent.get() < BUDGET {
            return Poll::Ready(());
        }
        self.spent.set(0);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn account<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.spent.set(if polled.is_ready() { self.spent.get() + 1 } else { 0 });
        polled
    }
}

#[expect(
    unsafe_code,
    reason = "clearing a buffer before each read costs as much as the kernel's copy into it"
)]
fn recv(socket: &SockRef<'_>, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
    // SAFETY: the kernel only writes bytes into it: nothing initialised becomes uninitialised.
    let room = unsafe { buf.unfilled_mut() };
    let count = socket.recv(room)?;
    // SAFETY: the kernel has written the first `count` bytes.
    unsafe { buf.assume_init(count) };
    buf.advance(count);
    Ok(count)
}

impl<S: AsFd> AsFd for Source<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<S: AsFd> AsRawFd for Source<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_fd().as_raw_fd()
    }
}

/// Which way of a descriptor is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Read,
    Write,
}

impl<S> Source<S> {
    /// Awaits what `poll` says of the source. Given up, it leaves no waker behind but its task's own, of which there is one.
    pub(crate) fn wait<T, F>(&self, way: Way, poll: F) -> Waits<'_, F>
    where
        F: FnMut(&mut Context<'_>) -> Poll<T>,
    {
        Waits { registration: &self.registration, way, poll, foreign: None }
    }
}

/// The future of [`Source::wait`].
pub(crate) struct Waits<'a, F> {
    registration: &'a Registration,
    way: Way,
    poll: F,
    /// By which it waits, where that is one of a combinator's.
    foreign: Option<Waker>,
}

// Nothing in it is pinned.
impl<F> Unpin for Waits<'_, F> {}

impl<T, F: FnMut(&mut Context<'_>) -> Poll<T>> Future for Waits<'_, F> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let polled = (self.poll)(cx);
        if polled.is_pending() && !is_own_waker(cx.waker()) {
            let known = self.foreign.as_ref().is_some_and(|held| held.will_wake(cx.waker()));
            if !known {
                self.foreign = Some(cx.waker().clone());
            }
        }
        polled
    }
}

impl<F> Drop for Waits<'_, F> {
    #[inline]
    fn drop(&mut self) {
        let Some(waker) = self.foreign.take() else { return };
        match self.way {
            Way::Read => self.registration.forget_reader(&waker),
            Way::Write => self.registration.forget_writer(&waker),
        }
    }
}

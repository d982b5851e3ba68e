//! `AsyncFd`: readiness of a descriptor that the extension has opened itself.

use std::ffi::c_void;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::task::{Context, Poll};

use pyo3::Python;

use crate::{abi, api, waker};

/// A socket, pipe or other descriptor in non-blocking mode that the running loop watches.
///
/// It stays on its thread, and is waited for on the loop that it was made on. Dropping it stops the watching and drops `T`, which closes the descriptor.
///
/// # Examples
/// ```no_run,standalone_crate
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use aioxide_pyo3::AsyncFd;
///
/// async fn echo(stream: UnixStream) -> std::io::Result<()> {
///     stream.set_nonblocking(true)?;
///     let stream = AsyncFd::new(stream)?;
///     let mut buf = [0; 512];
///     let count = stream.read_with(|mut stream| stream.read(&mut buf)).await?;
///     stream.write_with(|mut stream| stream.write(&buf[..count])).await?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct AsyncFd<T> {
    // Before `inner`: the watching ends before the descriptor is closed.
    watch: Watch,
    inner: T,
}

#[derive(Debug)]
struct Watch(NonNull<c_void>);

impl Drop for Watch {
    fn drop(&mut self) {
        // Where the interpreter has ended, the loop has, too.
        Python::try_attach(|_| {
            // SAFETY: from `fd_watch`, and used up; attached, on its thread.
            unsafe { (api::loaded().fd_drop)(self.0.as_ptr()) };
        });
    }
}

const READING: bool = false;
const WRITING: bool = true;

impl<T: AsRawFd> AsyncFd<T> {
    /// Watches the descriptor of `inner`, which must be in non-blocking mode.
    ///
    /// # Errors
    /// EPERM for what cannot be watched, such as a regular file; `AlreadyExists` when the loop watches it already; other
    /// errors of the system; one without errno when this thread runs no loop of aioxide's.
    pub fn new(inner: T) -> io::Result<Self> {
        let api = api::load_anywhere().map_err(|error| io::Error::other(error.to_string()))?;
        let mut errno = 0;
        let fd = inner.as_raw_fd();
        // SAFETY: attached, as long as the call lasts; a place for the errno.
        match NonNull::new(Python::attach(|_| unsafe { (api.fd_watch)(fd, &mut errno) })) {
            Some(watch) => Ok(Self { watch: Watch(watch), inner }),
            None if errno == 0 => Err(io::Error::other("this thread runs no loop of aioxide's")),
            None => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Gives up the watching.
    pub fn into_inner(self) -> T {
        let Self { watch, inner } = self;
        drop(watch);
        inner
    }
}

impl<T> AsyncFd<T> {
    /// What is watched.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Ready when reading may succeed; else the task is woken when it may.
    ///
    /// # Panics
    /// When it would wait on another loop than it was made on; Python gets that as a `RuntimeError`.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_ready(READING, cx)
    }

    /// Ready when writing may succeed; else the task is woken when it may.
    ///
    /// # Panics
    /// As [`poll_readable`](Self::poll_readable).
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_ready(WRITING, cx)
    }

    /// Reading gave `WouldBlock`: the next wait waits. `read_with` calls it itself.
    pub fn clear_readable(&self) {
        self.clear(READING);
    }

    /// Writing gave `WouldBlock`: the next wait waits. `write_with` calls it itself.
    pub fn clear_writable(&self) {
        self.clear(WRITING);
    }

    /// Waits until reading may succeed.
    ///
    /// # Panics
    /// As [`poll_readable`](Self::poll_readable).
    pub async fn readable(&self) {
        poll_fn(|cx| self.poll_ready(READING, cx)).await;
    }

    /// Waits until writing may succeed.
    ///
    /// # Panics
    /// As [`poll_readable`](Self::poll_readable).
    pub async fn writable(&self) {
        poll_fn(|cx| self.poll_ready(WRITING, cx)).await;
    }

    /// Calls `read` as soon as it may succeed, again after each `WouldBlock`.
    ///
    /// # Errors
    /// What `read` returns; `Interrupted` is tried again. One without errno when it would wait on another loop than it was
    /// made on.
    ///
    /// # Cancel safety
    /// Nothing is lost: what `read` took, it gave.
    pub async fn read_with<R>(&self, read: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.call(READING, read).await
    }

    /// Calls `write` as soon as it may succeed, again after each `WouldBlock`.
    ///
    /// # Errors
    /// As [`read_with`](Self::read_with).
    ///
    /// # Cancel safety
    /// Nothing is lost: `write` is called once for each success.
    pub async fn write_with<R>(&self, write: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.call(WRITING, write).await
    }

    async fn call<R>(&self, writing: bool, mut call: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        loop {
            poll_fn(|cx| self.poll(writing, cx)).await.map_err(io::Error::other)?;
            match call(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear(writing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn poll_ready(&self, writing: bool, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(writing, cx).map(|ready| ready.unwrap_or_else(|refused| panic!("{refused}")))
    }

    fn poll(&self, writing: bool, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        let (watch, waker) = (self.watch.0.as_ptr(), waker::lend(cx.waker()));
        // SAFETY: from `fd_watch`, on its thread: it is not `Send`; attached.
        let status = Python::attach(|_| unsafe { (api::loaded().fd_poll)(watch, writing, waker) });
        match status {
            abi::PENDING => Poll::Pending,
            abi::ELSEWHERE => Poll::Ready(Err("an AsyncFd is attached to a different loop")),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn clear(&self, writing: bool) {
        // SAFETY: as above.
        Python::attach(|_| unsafe { (api::loaded().fd_clear)(self.watch.0.as_ptr(), writing) });
    }
}

impl<T: AsRawFd> AsRawFd for AsyncFd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

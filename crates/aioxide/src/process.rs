//! Child processes: started as the standard library does, awaited and talked to on the loop.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::{Pin, pin};
use std::process::{self, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aioxide_core::children::ChildExit;
use aioxide_core::signals::SIGTERM;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::net::source::not_here;
use crate::net::source::{Source, running_loop};

/// Starts processes: [`std::process::Command`], with a [`Child`] that is awaited.
///
/// # Examples
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let output = aioxide::process::Command::new("uname").arg("-s").output().await?;
/// println!("{}", String::from_utf8_lossy(&output.stdout));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Command {
    inner: process::Command,
    kill_on_drop: bool,
}

impl From<process::Command> for Command {
    fn from(inner: process::Command) -> Self {
        Self { inner, kill_on_drop: false }
    }
}

impl Command {
    /// The program to start, without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        process::Command::new(program).into()
    }

    /// The standard library's command, for what is not repeated here.
    pub fn as_std_mut(&mut self) -> &mut process::Command {
        &mut self.inner
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.inner.env(key, value);
        self
    }

    /// Removes a variable of the environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.inner.env_remove(key);
        self
    }

    /// Empties the environment.
    pub fn env_clear(&mut self) -> &mut Self {
        self.inner.env_clear();
        self
    }

    /// Sets the working directory.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.inner.current_dir(directory);
        self
    }

    /// Where the process reads from; by default what we read from.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.inner.stdin(stdin);
        self
    }

    /// Where the process writes to; by default what we write to.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.inner.stdout(stdout);
        self
    }

    /// Where the process complains to; by default where we do.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.inner.stderr(stderr);
        self
    }

    /// Whether dropping the [`Child`] kills the process; by default it runs on.
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Self {
        self.kill_on_drop = kill_on_drop;
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    /// ENOENT, EACCES, E2BIG, EAGAIN, EMFILE; no loop runs on this thread.
    pub fn spawn(&mut self) -> io::Result<Child> {
        let event_loop = running_loop()?;
        reap_orphans(None);
        let mut inner = self.inner.spawn()?;
        let (stdin, stdout, stderr) = (inner.stdin.take(), inner.stdout.take(), inner.stderr.take());
        // From here on an error must not leave the process behind: the child's destructor sees to that.
        let id = inner.id();
        let mut child = Child {
            inner: Some(inner),
            status: None,
            exit: None,
            stdin: None,
            stdout: None,
            stderr: None,
            kill_on_drop: true,
        };
        child.exit = Some(ChildExit::new(event_loop.reactor(), id)?);
        child.stdin = stdin.map(|pipe| ChildStdin::new(pipe.into())).transpose()?;
        child.stdout = stdout.map(|pipe| ChildStdout::new(pipe.into())).transpose()?;
        child.stderr = stderr.map(|pipe| ChildStdout::new(pipe.into())).transpose()?.map(ChildStderr);
        child.kill_on_drop = self.kill_on_drop;
        Ok(child)
    }

    /// Starts the process and waits for its end.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    /// Dropping the future drops the child.
    pub async fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait().await
    }

    /// Starts the process, with pipes where its output goes, and collects what it says until its end.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn); those of the pipes.
    ///
    /// # Cancel safety
    /// Dropping the future drops the child.
    pub async fn output(&mut self) -> io::Result<Output> {
        self.inner.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn()?.communicate(&[]).await
    }
}

/// A process that was started. Dropping it lets the process run on, unless the command said otherwise.
///
/// A process whose child was dropped is reaped later: when the next one is started, or dropped.
pub struct Child {
    /// `None` only while the destructor runs.
    inner: Option<process::Child>,
    status: Option<ExitStatus>,
    exit: Option<ChildExit>,
    /// The pipe to the process, if one was asked for.
    pub stdin: Option<ChildStdin>,
    /// The pipe from the process, if one was asked for.
    pub stdout: Option<ChildStdout>,
    /// The pipe of the process's complaints, if one was asked for.
    pub stderr: Option<ChildStderr>,
    kill_on_drop: bool,
}

impl fmt::Debug for Child {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Child {
    /// The process's number, until it has been waited for.
    pub fn id(&self) -> Option<u32> {
        match (&self.inner, self.status) {
            (Some(inner), None) => Some(inner.id()),
            _ => None,
        }
    }

    /// How the process ended, if it has.
    ///
    /// # Errors
    /// Those of the system.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none()
            && let Some(inner) = &mut self.inner
        {
            self.status = inner.try_wait()?;
            if self.status.is_some() {
                self.exit = None;
            }
        }
        Ok(self.status)
    }

    /// Waits for the process's end, after closing the pipe that it reads from. May be called again.
    ///
    /// A process that writes more than its pipes hold waits for a reader: see [`communicate`](Self::communicate).
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing, except that the pipe is closed.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        poll_fn(|cx| self.poll_wait(cx)).await
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        if let Some(status) = self.status {
            return Poll::Ready(Ok(status));
        }
        if let Some(exit) = &self.exit
            && exit.poll_exited(cx).is_pending()
        {
            let why = not_here(exit.is_of_another_loop());
            return why.map_or(Poll::Pending, |why| Poll::Ready(Err(io::Error::other(why))));
        }
        match self.try_wait() {
            Ok(Some(status)) => Poll::Ready(Ok(status)),
            Ok(None) => {
                Poll::Ready(Err(io::Error::other("the process was told to have ended, but it has not")))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Sends `input` to the process, collects all that it says, and waits for its end: all at once, so that no pipe
    /// fills up while nobody reads it. A process that does not read its input to the end is no error.
    ///
    /// asyncio: `Process.communicate`; here with the status. Pipes that were not asked for, or were taken out, are left
    /// out.
    ///
    /// # Errors
    /// Those of the pipes.
    ///
    /// # Cancel safety
    /// Dropping the future drops the child, and what was collected.
    pub async fn communicate(mut self, input: &[u8]) -> io::Result<Output> {
        let (stdin, stdout, stderr) = (self.stdin.take(), self.stdout.take(), self.stderr.take());
        let mut feed = pin!(feed(stdin, input));
        let mut stdout = pin!(collect(stdout));
        let mut stderr = pin!(collect(stderr));
        let (mut fed, mut out, mut err) = (None, None, None);
        poll_fn(|cx| {
            poll_part(feed.as_mut(), &mut fed, cx)?;
            poll_part(stdout.as_mut(), &mut out, cx)?;
            poll_part(stderr.as_mut(), &mut err, cx)?;
            if fed.is_some() && out.is_some() && err.is_some() {
                Poll::Ready(Ok::<_, io::Error>(()))
            } else {
                Poll::Pending
            }
        })
        .await?;
        let status = self.wait().await?;
        Ok(Output { status, stdout: out.unwrap_or_default(), stderr: err.unwrap_or_default() })
    }

    /// Sends a signal; see `signal::SignalKind` for the numbers.
    ///
    /// # Errors
    /// `InvalidInput` when the process has been waited for; EPERM.
    pub fn send_signal(&mut self, signal: i32) -> io::Result<()> {
        match self.id() {
            Some(id) => aioxide_core::sys::send_signal(id, signal),
            None => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "the process has ended and was waited for"))
            }
        }
    }

    /// Asks the process to end (SIGTERM).
    ///
    /// # Errors
    /// As [`send_signal`](Self::send_signal).
    pub fn terminate(&mut self) -> io::Result<()> {
        self.send_signal(SIGTERM)
    }

    /// Kills the process (SIGKILL); [`wait`](Self::wait) for it afterwards. One that was waited for is no error.
    ///
    /// # Errors
    /// EPERM.
    pub fn kill(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Some(inner) if self.status.is_none() => inner.kill(),
            _ => Ok(()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.exit = None;
        let Some(mut inner) = self.inner.take() else { return };
        if self.status.is_some() {
            return;
        }
        if self.kill_on_drop {
            let _ended_already = inner.kill();
        }
        reap_orphans(Some(inner));
    }
}

/// Children that were dropped before their end: bounded by the number of processes that run.
static ORPHANS: Mutex<Vec<process::Child>> = Mutex::new(Vec::new());

/// Reaps those that have ended, and remembers one more. (Python's `subprocess` keeps such a list as well.)
fn reap_orphans(one_more: Option<process::Child>) {
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    orphans.extend(one_more);
    orphans.retain_mut(|orphan| matches!(orphan.try_wait(), Ok(None)));
}

fn poll_part<T>(
    part: Pin<&mut impl Future<Output = io::Result<T>>>,
    done: &mut Option<T>,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    if done.is_none()
        && let Poll::Ready(result) = part.poll(cx)
    {
        *done = Some(result?);
    }
    Ok(())
}

async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(input).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

async fn collect(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Our end of a pipe, in non-blocking mode; the other end is not touched by that.
fn pipe(fd: OwnedFd) -> io::Result<Source<File>> {
    SockRef::from(&fd).set_nonblocking(true)?;
    Source::new(File::from(fd))
}

/// The pipe that a process reads from. Dropping it, or shutting it down, ends the process's input.
#[derive(Debug)]
pub struct ChildStdin {
    /// `None` after the shutdown.
    source: Option<Source<File>>,
}

impl ChildStdin {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { source: Some(pipe(fd)?) })
    }
}

impl AsyncWrite for ChildStdin {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &self.source {
            Some(source) => source.poll_send(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.source = None;
        Poll::Ready(Ok(()))
    }
}

/// The pipe that a process writes to.
#[derive(Debug)]
pub struct ChildStdout {
    source: Source<File>,
}

impl ChildStdout {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { source: pipe(fd)? })
    }
}

impl AsyncRead for ChildStdout {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.initialize_unfilled();
        let count = ready!(self.source.poll_read_with(cx, || self.source.get().read(room)))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// A pipe becomes another process's, in blocking mode, as the standard library's do.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use aioxide::process::Command;
/// use std::process::Stdio;
/// let mut list = Command::new("ls").stdout(Stdio::piped()).spawn()?;
/// let count = Command::new("wc").arg("-l").stdin(list.stdout.take().unwrap()).output().await?;
/// # list.wait().await?; Ok(()) }
/// ```
impl From<ChildStdout> for Stdio {
    fn from(pipe: ChildStdout) -> Self {
        give_away(pipe.source)
    }
}

impl From<ChildStderr> for Stdio {
    fn from(pipe: ChildStderr) -> Self {
        pipe.0.into()
    }
}

impl From<ChildStdin> for Stdio {
    fn from(pipe: ChildStdin) -> Self {
        pipe.source.map_or_else(Self::null, give_away)
    }
}

/// Ends the watching of our end of a pipe and makes it block, as a program expects its standard streams to.
fn give_away(source: Source<File>) -> Stdio {
    let file = source.into_inner();
    // It fails only for a descriptor that is not open.
    let _open = SockRef::from(&file).set_nonblocking(false);
    file.into()
}

impl AsFd for ChildStdout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

/// The pipe that a process complains to.
#[derive(Debug)]
pub struct ChildStderr(ChildStdout);

impl AsyncRead for ChildStderr {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

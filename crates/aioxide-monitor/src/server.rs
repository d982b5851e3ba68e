//! The threads that answer on the socket, also while the loops are blocked.
//!
//! ```text
//! door      waits for connections; looks at the user's id; ends with the server
//! one per   reads a line, writes a line (at most CONNECTIONS of them)
//! looker    made at the first question; the only one that calls the slow part of the Source, one question at a time
//! ```
//!
//! Nobody looking costs one sleeping thread. **Limits** on what a peer can make grow: connections, the length of a request,
//! questions that wait for the looker, and how long a peer may take to read its answer. The answers' size is the
//! program's own (`limit` of a snapshot).

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::Shutdown;

use crate::protocol::{
    Answer, Ask, DEFAULT_LIMIT, HISTORY_LIMIT, Hello, PROTOCOL, REQUEST_LIMIT, Refusal, RefusalKind, Request,
    Response, STACKS_LIMIT, SnapshotOptions,
};
use crate::schema::{Deadlock, Id, Stacks, VERSION};
use crate::source::Source;
use crate::timeline::{LENGTH_LIMIT_MS, Timeline};
use crate::{clock, deadlock, ends, place};

/// Connections at a time; another one is told so and ended.
pub const CONNECTIONS: usize = 8;

/// A peer that does not take its answer for so long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection without a question for so long is ended.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// When the interpreter lets nobody in for so long, a question is answered with that.
pub const HELD_LIMIT: Duration = Duration::from_secs(2);

/// How often the end looks, a millisecond apart, whether the connections are gone.
const END_LOOKS: u32 = 1_000;

/// How often a waiting connection looks whether that is so.
const LOOK: Duration = Duration::from_millis(50);

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Which file the socket is: another one may stand in its place by now.
    inode: u64,
    pid: u32,
    shared: Arc<Shared>,
    door: Option<JoinHandle<()>>,
}

struct Shared {
    source: Arc<dyn Source>,
    listener: UnixListener,
    stopping: AtomicBool,
    connections: AtomicUsize,
    /// The streams of the connections, so that they can be ended.
    streams: Mutex<Vec<Arc<UnixStream>>>,
    looker: Mutex<Option<SyncSender<Question>>>,
}

struct Question {
    ask: Ask,
    reply: SyncSender<Answer>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the socket and answers on it: at `path`, or where [`crate::client::find`] looks.
    ///
    /// The folder of `path` must exist, be this user's, and let nobody else in; the default one is made. A socket there
    /// that nobody answers on is replaced.
    ///
    /// # Errors
    /// `PermissionDenied` for a folder that others may enter; `AddrInUse` when somebody answers at `path`, or it is another
    /// kind of file.
    pub fn start(path: Option<&Path>, source: Arc<dyn Source>) -> io::Result<Self> {
        let path = match path {
            Some(path) => {
                place::check_private(
                    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")),
                )?;
                path.to_owned()
            }
            None => {
                place::make_private(&place::folder())?;
                place::socket_of(std::process::id())
            }
        };
        remove_dead(&path)?;
        // Nobody else can come in meanwhile: the folder is closed to them.
        let listener = UnixListener::bind(&path)?;
        let ready = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::symlink_metadata(&path));
        let inode = match ready {
            Ok(found) => found.ino(),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
        };
        let shared = Arc::new(Shared {
            source,
            listener,
            stopping: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            streams: Mutex::default(),
            looker: Mutex::default(),
        });
        let mut server =
            Self { path, inode, pid: std::process::id(), shared: Arc::clone(&shared), door: None };
        server.door = Some(spawn(move || shared.open())?);
        Ok(server)
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The numbers of its descriptors: in the child of a fork they stay open, as its threads are not there to close them.
    #[must_use]
    pub fn descriptors(&self) -> Vec<RawFd> {
        // Another thread may have held the lock when the process was forked.
        let streams = self.shared.streams.try_lock().map_or_else(|_| Vec::new(), |streams| streams.clone());
        let streams = streams.iter().map(|stream| stream.as_raw_fd());
        std::iter::once(self.shared.listener.as_raw_fd()).chain(streams).collect()
    }

    /// Ends the connections and removes the socket. What is being answered is given up.
    pub fn stop(&mut self) {
        let Some(door) = self.door.take() else { return };
        // In the child of a fork there is no thread, and the socket is the parent's.
        if std::process::id() != self.pid {
            std::mem::forget(door);
            ends::stop();
            return;
        }
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = rustix::net::shutdown(&self.shared.listener, Shutdown::Both);
        // The thread does not touch the program, so that it ends at once.
        let _ = door.join();
        for stream in locked(&self.shared.streams).drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        locked(&self.shared.looker).take();
        // Their threads notice at once, or at their next look.
        for _ in 0..END_LOOKS {
            if self.shared.connections.load(Ordering::SeqCst) == 0 {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        ends::stop();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn open(self: &Arc<Self>) {
        while !self.stopping.load(Ordering::SeqCst) {
            match self.listener.accept() {
                Ok((stream, _)) if is_allowed(&stream) => self.admit(stream),
                Ok(_) => {}
                Err(_) if self.stopping.load(Ordering::SeqCst) => return,
                // A peer that is gone already, or no descriptor left: the next one may come through.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => std::thread::park_timeout(Duration::from_millis(100)),
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) {
        let prepared = stream.set_write_timeout(Some(WRITE_TIMEOUT)).is_ok()
            && stream.set_read_timeout(Some(IDLE_TIMEOUT)).is_ok();
        if !prepared {
            return;
        }
        if self.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            self.connections.fetch_sub(1, Ordering::SeqCst);
            let text = format!("{CONNECTIONS} connections are open already");
            let _ = write_line(&stream, &Response { id: 0, answer: refuse(RefusalKind::Busy, text) });
            return;
        }
        let stream = Arc::new(stream);
        locked(&self.streams).push(Arc::clone(&stream));
        let shared = Arc::clone(self);
        let spawned = spawn(move || {
            shared.converse(&stream);
            shared.leave(stream);
        });
        if spawned.is_err() {
            // The door alone adds to the list, so that the last one is this.
            locked(&self.streams).pop();
            self.connections.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn leave(&self, stream: Arc<UnixStream>) {
        locked(&self.streams).retain(|known| !Arc::ptr_eq(known, &stream));
        // Closed before it is counted as gone.
        drop(stream);
        self.connections.fetch_sub(1, Ordering::SeqCst);
    }

    fn converse(self: &Arc<Self>, stream: &UnixStream) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = REQUEST_LIMIT as u64 + 1;
            let read = reader.by_ref().take(limit).read_until(b'\n', &mut line);
            if read.is_err() || line.is_empty() || self.stopping.load(Ordering::SeqCst) {
                return;
            }
            if line.len() > REQUEST_LIMIT {
                let text = format!("the request is longer than {REQUEST_LIMIT} bytes");
                let _ =
                    write_line(stream, &Response { id: 0, answer: refuse(RefusalKind::BadRequest, text) });
                return;
            }
            let response = match serde_json::from_slice::<Request>(&line) {
                Ok(request) => Response { id: request.id, answer: self.answer(request.ask) },
                Err(error) => {
                    Response { id: id_of(&line), answer: refuse(RefusalKind::BadRequest, error.to_string()) }
                }
            };
            if write_line(stream, &response).is_err() {
                return;
            }
        }
    }

    fn answer(self: &Arc<Self>, ask: Ask) -> Answer {
        match ask {
            Ask::Hello => Answer::Hello {
                hello: Hello { protocol: PROTOCOL, schema: VERSION, program: self.source.program() },
            },
            Ask::Lag => Answer::Lag { lag: self.source.lag() },
            // Where that can be told beside a question that waits for the loop: what blocks it is what is asked for.
            Ask::Stacks { tasks } if tasks.is_empty() => match self.source.threads() {
                Some(threads) => Answer::Stacks { stacks: Stacks { tasks: Vec::new(), threads } },
                None => self.look(Ask::Stacks { tasks }),
            },
            Ask::Stacks { tasks } if tasks.len() > STACKS_LIMIT => {
                refuse(RefusalKind::BadRequest, format!("more than {STACKS_LIMIT} tasks"))
            }
            Ask::Record { ms } if ms > LENGTH_LIMIT_MS => {
                refuse(RefusalKind::BadRequest, format!("more than {LENGTH_LIMIT_MS} ms"))
            }
            ask => self.look(ask),
        }
    }

    /// Has the looker answer.
    fn look(self: &Arc<Self>, ask: Ask) -> Answer {
        let (reply, answers) = sync_channel(1);
        match self.send(Question { ask, reply }) {
            Ok(()) => {}
            Err(Some(refusal)) => return Answer::Error(refusal),
            Err(None) => return refuse(RefusalKind::Failed, "the monitor is ending".to_owned()),
        }
        loop {
            match answers.recv_timeout(LOOK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => {
                    return refuse(RefusalKind::Failed, "the question could not be answered".to_owned());
                }
                Err(RecvTimeoutError::Timeout) if self.stopping.load(Ordering::SeqCst) => {
                    return refuse(RefusalKind::Failed, "the monitor is ending".to_owned());
                }
                Err(RecvTimeoutError::Timeout) => {
                    let held = self.source.held_for();
                    if held > HELD_LIMIT {
                        let text = format!("the program has let nobody in for {:.1} s", held.as_secs_f64());
                        return refuse(RefusalKind::Held, text);
                    }
                }
            }
        }
    }

    fn send(self: &Arc<Self>, question: Question) -> Result<(), Option<Refusal>> {
        let mut looker = locked(&self.looker);
        if self.stopping.load(Ordering::SeqCst) {
            return Err(None);
        }
        let sender = match looker.as_ref() {
            Some(sender) => sender.clone(),
            None => {
                let (sender, questions) = sync_channel(CONNECTIONS);
                let source = Arc::clone(&self.source);
                spawn(move || answer_all(&*source, &questions))
                    .map_err(|error| Some(Refusal::new(RefusalKind::Failed, error.to_string())))?;
                looker.insert(sender).clone()
            }
        };
        drop(looker);
        sender.try_send(question).map_err(|error| match error {
            TrySendError::Full(_) => Some(Refusal::new(RefusalKind::Busy, "too many questions wait")),
            TrySendError::Disconnected(_) => None,
        })
    }
}

/// The looker's thread.
fn answer_all(source: &dyn Source, questions: &Receiver<Question>) {
    while let Ok(Question { ask, reply }) = questions.recv() {
        // A source that panics loses its answer, not the monitor.
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer_one(source, ask)));
        let answer =
            answer.unwrap_or_else(|_| refuse(RefusalKind::Failed, "the monitor panicked".to_owned()));
        // Nobody waits any more when the peer was told that the interpreter is held.
        let _ = reply.send(answer);
    }
}

fn answer_one(source: &dyn Source, ask: Ask) -> Answer {
    let answered = match ask {
        Ask::Snapshot(options) => {
            ends::begin();
            snapshot(source, &options).map(|snapshot| Answer::Snapshot { snapshot })
        }
        Ask::Stacks { tasks } => source.stacks(&tasks).map(|stacks| Answer::Stacks { stacks }),
        Ask::Cancel { task, name } => cancel(source, task, &name),
        Ask::History { limit } => {
            let limit = limit.map_or(HISTORY_LIMIT, |limit| (limit as usize).min(HISTORY_LIMIT));
            source.history(limit).map(|history| Answer::History { history })
        }
        Ask::Deadlocks => deadlocks(source).map(|deadlocks| Answer::Deadlocks { deadlocks }),
        Ask::Record { ms } => source.record(Duration::from_millis(ms)).map(|()| Answer::Recording),
        Ask::Recorded => timeline(source).map(|timeline| Answer::Timeline { timeline }),
        Ask::Hello | Ask::Lag => Err(Refusal::new(RefusalKind::Failed, "is answered elsewhere")),
    };
    answered.unwrap_or_else(Answer::Error)
}

/// A linked snapshot with the limit that the request has, or the default.
///
/// # Errors
/// The source's.
pub fn snapshot(
    source: &dyn Source,
    options: &SnapshotOptions,
) -> Result<Box<crate::schema::Snapshot>, Refusal> {
    let options = SnapshotOptions { limit: Some(options.limit.unwrap_or(DEFAULT_LIMIT)), ..options.clone() };
    let (began, at_unix_ms) = (clock::now(), clock::unix_ms());
    let mut snapshot = Box::new(source.snapshot(&options)?);
    snapshot.version = VERSION;
    snapshot.program = source.program();
    snapshot.taken.at_unix_ms = at_unix_ms;
    snapshot.taken.took_us = began.elapsed().as_micros() as u64;
    snapshot.link();
    Ok(snapshot)
}

/// What was recorded since [`Source::record`].
///
/// # Errors
/// The source's.
pub fn timeline(source: &dyn Source) -> Result<Box<Timeline>, Refusal> {
    let loops = source.recorded()?;
    let length_ns = loops.iter().map(|one| one.length_ns).max().unwrap_or(0);
    let began_unix_ms = clock::unix_ms().saturating_sub(length_ns / 1_000_000);
    Ok(Box::new(Timeline { program: source.program(), began_unix_ms, loops }))
}

/// The deadlocks that are in two snapshots, one after the other: what a snapshot of several chunks shows may not fit together.
///
/// # Errors
/// The source's.
pub fn deadlocks(source: &dyn Source) -> Result<Vec<Deadlock>, Refusal> {
    in_both(|| snapshot(source, &SnapshotOptions::default()))
}

/// The same of two snapshots that `take` takes.
///
/// # Errors
/// Those of `take`.
pub fn in_both(
    mut take: impl FnMut() -> Result<Box<crate::schema::Snapshot>, Refusal>,
) -> Result<Vec<Deadlock>, Refusal> {
    let mut look = || take().map(|snapshot| deadlock::find(&snapshot));
    let first = look()?;
    if first.is_empty() {
        return Ok(first);
    }
    let again = look()?;
    Ok(first
        .into_iter()
        .filter(|one| again.iter().any(|two| one.cycle == two.cycle && one.ends == two.ends))
        .collect())
}

fn cancel(source: &dyn Source, task: Id, name: &str) -> Result<Answer, Refusal> {
    source.cancel(task, name).map(|cancelled| Answer::Cancelled { cancelled })
}

fn refuse(kind: RefusalKind, text: String) -> Answer {
    Answer::Error(Refusal { kind, text })
}

/// The number of a request that is otherwise none.
fn id_of(line: &[u8]) -> u64 {
    #[derive(serde::Deserialize)]
    struct Numbered {
        id: u64,
    }
    serde_json::from_slice(line).map_or(0, |numbered: Numbered| numbered.id)
}

fn write_line(stream: &UnixStream, response: &Response) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(64 * 1024, stream);
    serde_json::to_writer(&mut writer, response)?;
    writer.write_all(b"\n")?;
    writer.flush()
}

/// Whether a peer is this user, or root, who may look into any process anyway.
fn is_allowed(stream: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid() || peer.uid.is_root());
    // Elsewhere the folder alone keeps others out.
    #[cfg(not(target_os = "linux"))]
    return stream.peer_addr().is_ok();
}

/// Removes a socket that nobody answers on.
fn remove_dead(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let in_use =
        |text: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{}: {text}", path.display())));
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => in_use("there is a file already"),
        Ok(_) if UnixStream::connect(path).is_ok() => in_use("somebody answers there"),
        Ok(_) => std::fs::remove_file(path),
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("aioxide-monitor".to_owned()).spawn(work)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

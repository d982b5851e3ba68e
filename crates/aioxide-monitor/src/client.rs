//! Finding the programs of this user, and asking them.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::place;
use crate::protocol::{ANSWER_LIMIT, Answer, Ask, Hello, Refusal, Request, Response, SnapshotOptions};
use crate::schema::{Deadlock, Ended, Id, Lag, Snapshot, Stacks};
use crate::timeline::Timeline;

/// A program answers within this time, or not at all: it answers at once that it is held.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A program that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its process.
    pub pid: u32,
    /// Its socket.
    pub path: PathBuf,
}

/// The programs of this user that have a monitor, by process id. Sockets that dead processes left are removed.
///
/// # Errors
/// `PermissionDenied` for a folder that others may enter. A folder that is not there is one without programs.
pub fn find() -> io::Result<Vec<Found>> {
    find_in(&place::folder())
}

/// The same in another folder.
///
/// # Errors
/// As [`find`].
pub fn find_in(folder: &Path) -> io::Result<Vec<Found>> {
    match place::check_private(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        checked => checked?,
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".sock"));
        let Some(pid) = number.and_then(|number| number.parse().ok()) else { continue };
        match UnixStream::connect(&path) {
            Ok(_) => found.push(Found { pid, path }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = std::fs::remove_file(&path);
            }
            Err(_) => {}
        }
    }
    found.sort_by_key(|program| program.pid);
    Ok(found)
}

/// A connection to a program.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    asked: u64,
}

impl Client {
    /// Connects to a socket.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream: BufReader::with_capacity(64 * 1024, stream), asked: 0 })
    }

    /// Connects to a process of this user.
    ///
    /// # Errors
    /// The system's; `NotFound` when the process has no monitor.
    pub fn connect_to(pid: u32) -> Result<Self, Error> {
        Self::connect(&place::socket_of(pid))
    }

    /// Asks, and waits for the answer; an [`Answer::Error`] comes as an error.
    ///
    /// # Errors
    /// A refusal, the system's, or an answer that is none.
    pub fn ask(&mut self, ask: Ask) -> Result<Answer, Error> {
        self.asked += 1;
        let mut line =
            serde_json::to_vec(&Request { id: self.asked, ask }).map_err(|error| not_understood(&error))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        line.clear();
        self.stream.by_ref().take(ANSWER_LIMIT).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(
                io::Error::new(io::ErrorKind::UnexpectedEof, "the program ended the connection").into()
            );
        }
        let response: Response = serde_json::from_slice(&line).map_err(|error| not_understood(&error))?;
        match response.answer {
            Answer::Error(refusal) => Err(Error { kind: Box::new(ErrorKind::Refused(refusal)) }),
            _ if response.id != self.asked => Err(not_understood(&"it answers another question")),
            answer => Ok(answer),
        }
    }

    /// Who answers.
    ///
    /// # Errors
    /// As [`Client::ask`], like all that follow.
    pub fn hello(&mut self) -> Result<Hello, Error> {
        match self.ask(Ask::Hello)? {
            Answer::Hello { hello } => Ok(hello),
            other => Err(another(&other)),
        }
    }

    /// Everything at one time.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn snapshot(&mut self, options: SnapshotOptions) -> Result<Box<Snapshot>, Error> {
        match self.ask(Ask::Snapshot(options))? {
            Answer::Snapshot { snapshot } => Ok(snapshot),
            other => Err(another(&other)),
        }
    }

    /// Stacks of tasks and threads.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn stacks(&mut self, tasks: Vec<Id>) -> Result<Stacks, Error> {
        match self.ask(Ask::Stacks { tasks })? {
            Answer::Stacks { stacks } => Ok(stacks),
            other => Err(another(&other)),
        }
    }

    /// Cancels a task that still has this name; returns whether it was not done.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn cancel(&mut self, task: Id, name: &str) -> Result<bool, Error> {
        match self.ask(Ask::Cancel { task, name: name.to_owned() })? {
            Answer::Cancelled { cancelled } => Ok(cancelled),
            other => Err(another(&other)),
        }
    }

    /// Tasks that have ended, the newest first.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn history(&mut self, limit: Option<u32>) -> Result<Vec<Ended>, Error> {
        match self.ask(Ask::History { limit })? {
            Answer::History { history } => Ok(history),
            other => Err(another(&other)),
        }
    }

    /// How late the loops answer.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn lag(&mut self) -> Result<Vec<Lag>, Error> {
        match self.ask(Ask::Lag)? {
            Answer::Lag { lag } => Ok(lag),
            other => Err(another(&other)),
        }
    }

    /// Records what the loops run, from now on, for at most `length`; [`Client::recorded`] tells it.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn record(&mut self, length: Duration) -> Result<(), Error> {
        let ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        match self.ask(Ask::Record { ms })? {
            Answer::Recording => Ok(()),
            other => Err(another(&other)),
        }
    }

    /// Ends the recording, and tells what the loops have run.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn recorded(&mut self) -> Result<Box<Timeline>, Error> {
        match self.ask(Ask::Recorded)? {
            Answer::Timeline { timeline } => Ok(timeline),
            other => Err(another(&other)),
        }
    }

    /// Tasks that nobody can wake any more.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn deadlocks(&mut self) -> Result<Vec<Deadlock>, Error> {
        match self.ask(Ask::Deadlocks)? {
            Answer::Deadlocks { deadlocks } => Ok(deadlocks),
            other => Err(another(&other)),
        }
    }
}

/// Why a question has no answer.
pub struct Error {
    kind: Box<ErrorKind>,
}

#[derive(Debug)]
enum ErrorKind {
    Io(io::Error),
    Refused(Refusal),
    NotUnderstood(String),
}

impl Error {
    /// The program's refusal, when it answered with one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &*self.kind {
            ErrorKind::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The system's error, when it is one: the connection is of no use any more.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match &*self.kind {
            ErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(formatter)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            ErrorKind::Io(error) => error.fmt(formatter),
            ErrorKind::Refused(refusal) => refusal.fmt(formatter),
            ErrorKind::NotUnderstood(text) => write!(formatter, "the answer was not understood: {text}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            ErrorKind::Io(error) => Some(error),
            ErrorKind::Refused(refusal) => Some(refusal),
            ErrorKind::NotUnderstood(_) => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self { kind: Box::new(ErrorKind::Io(error)) }
    }
}

fn not_understood(text: &dyn fmt::Display) -> Error {
    Error { kind: Box::new(ErrorKind::NotUnderstood(text.to_string())) }
}

fn another(answer: &Answer) -> Error {
    let text = serde_json::to_string(answer).unwrap_or_default();
    not_understood(&crate::schema::cut(&text, 80))
}

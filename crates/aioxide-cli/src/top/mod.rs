//! `aioxide top`: sees inside of a program that runs, through the socket of its monitor.
//!
//! ```text
//! attach   opens the monitor of a program that has none
//! once     one look, printed as text or JSON
//! trace    what the loops run in a stretch of time, for Perfetto
//! screen   the terminal: draws what a poller tells
//! web      a page: shows what a poller tells
//!   └─ poller   a thread that asks the program: never the one that draws
//!        └─ sample   one look, with its groups and an index
//! ```

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aioxide_monitor::client::{self, Client};
use aioxide_monitor::place;

use crate::Failure;
use crate::args::TopArgs;

mod attach;
mod once;
mod poller;
mod sample;
mod screen;
mod signals;
mod text;
mod trace;
mod web;
mod words;

/// How often a program is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// There is no such program, or no terminal.
pub(crate) fn run(args: &TopArgs) -> Result<ExitCode, Failure> {
    if args.json || args.once {
        return once::run(args);
    }
    if let Some(file) = &args.trace {
        return trace::run(args, file);
    }
    if args.web { web::run(args) } else { screen::run(args) }
}

/// The socket that the command line names; `None` when it names no program.
fn named(args: &TopArgs) -> Option<PathBuf> {
    args.socket.clone().or_else(|| args.pid.map(place::socket_of))
}

/// Connects to a program; one without a monitor is asked to open it.
///
/// # Errors
/// A message that says what to do about it.
fn connect(args: &TopArgs, path: &Path) -> Result<Client, Failure> {
    Client::connect(path).or_else(|error| {
        let kind = error.io().map(io::Error::kind);
        match (kind, args.pid) {
            (Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused), Some(pid))
                if is_there(pid) =>
            {
                attach::attach(pid, path)
            }
            (Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused), Some(pid)) => {
                Err(format!("there is no process {pid}").into())
            }
            _ => Err(format!("{}: {error}", path.display()).into()),
        }
    })
}

/// Whether a process exists.
fn is_there(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    }
}

/// A program of this user.
#[derive(Debug, Clone)]
struct Listed {
    path: PathBuf,
    hello: aioxide_monitor::protocol::Hello,
}

/// The programs of this user that answer.
///
/// # Errors
/// The folder of sockets is not only this user's.
fn list() -> io::Result<Vec<Listed>> {
    let ask = |found: client::Found| {
        let hello = Client::connect(&found.path).and_then(|mut client| client.hello()).ok()?;
        Some(Listed { path: found.path, hello })
    };
    Ok(client::find()?.into_iter().filter_map(ask).collect())
}

/// The time of day, in milliseconds since 1970.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Prints to the standard output; a reader that has gone away is no error.
///
/// # Errors
/// The system's.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The columns of [`program_row`].
const PROGRAM_HEAD: [&str; 5] = [">pid", "program", "runtime", "aioxide", ">watched"];

/// A program in a list.
fn program_row(program: &aioxide_monitor::schema::Program) -> Vec<String> {
    vec![
        program.pid.to_string(),
        words::clean(&program.name).into_owned(),
        words::clean(&program.runtime).into_owned(),
        words::clean(&program.aioxide).into_owned(),
        words::millis(unix_ms().saturating_sub(program.monitored_since_unix_ms)),
    ]
}

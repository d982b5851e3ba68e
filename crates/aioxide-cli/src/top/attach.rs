//! Opens the monitor of a program that was not prepared for it: from Python 3.14 on, by `sys.remote_exec`.
//!
//! The interpreter of the program, started once more, has it run a script as soon as its main thread is between two instructions of
//! Python. So a loop with nothing to do is reached when something next happens on it.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aioxide_monitor::client::Client;
use aioxide_monitor::place;
use rustix::process::geteuid;

use super::{is_there, once};
use crate::Failure;
use crate::clock::Stopwatch;

/// The first Python that can be asked to run something: 3.14.
const FIRST_MINOR: u32 = 14;

/// How often it is looked whether the script has run.
const LOOK: Duration = Duration::from_millis(20);

/// After so long, what is waited for is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the interpreter is started with: it needs nothing of its environment.
const ASK: &str = "import sys; sys.remote_exec(int(sys.argv[1]), sys.argv[2])";

/// Connects to process `pid`, which has no socket, once it has opened one at `socket`.
///
/// # Errors
/// A message that says why it cannot be asked, or what it answered.
pub(super) fn attach(pid: u32, socket: &Path) -> Result<Client, Failure> {
    let interpreter = interpreter(pid)?;
    place::make_private(&place::folder())?;
    let folder = tempfile::Builder::new().prefix("aioxide-top-").tempdir()?;
    let (script, failed) = (folder.path().join("start.py"), folder.path().join("failed"));
    fs::write(&script, start_script(socket, &failed))?;
    let asked = Command::new(&interpreter)
        .args(["-I", "-S", "-c", ASK, &pid.to_string()])
        .arg(&script)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", interpreter.display()))?;
    if !asked.status.success() {
        let said = String::from_utf8_lossy(&asked.stderr);
        let why = said.lines().last().unwrap_or("it does not say why");
        return Err(format!("process {pid} cannot be asked to open its monitor: {why}").into());
    }
    let since = Stopwatch::start();
    let mut told = false;
    loop {
        if let Ok(client) = Client::connect(socket) {
            return Ok(client);
        }
        match fs::read_to_string(&failed) {
            // Written in one go, but looked at in between.
            Ok(why) if why.ends_with('\n') => {
                return Err(format!("process {pid} cannot open its monitor: {}", why.trim_end()).into());
            }
            _ if !is_there(pid) => return Err(format!("process {pid} has ended").into()),
            _ => once::pause(LOOK),
        }
        if !told && since.elapsed() > PATIENCE {
            told = true;
            eprintln!(
                "aioxide: process {pid} opens its monitor when its main thread next runs Python code; waiting (Ctrl-C ends this)"
            );
        }
    }
}

/// The interpreter that a process runs.
fn interpreter(pid: u32) -> Result<PathBuf, Failure> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let owner = fs::metadata(&process).map(|found| found.uid());
    if owner.is_ok_and(|owner| owner != geteuid().as_raw()) {
        return Err(format!("process {pid} is another user's: run this as that user").into());
    }
    let program = match fs::read_link(process.join("exe")) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(format!("process {pid} cannot be looked at: {error}").into());
        }
        program => program.unwrap_or_default(),
    };
    let minor = program.file_name().and_then(minor_of);
    if minor.is_some_and(|minor| minor >= FIRST_MINOR) {
        return Ok(program);
    }
    let why = match minor {
        Some(minor) => format!("and Python 3.{minor} cannot be asked to open one (3.{FIRST_MINOR} can)"),
        None => "and is no `python3` that could be asked to open one".to_owned(),
    };
    Err(format!(
        "process {pid} has no monitor, {why}: start it with AIOXIDE_MONITOR=1, or call aioxide.monitor.start() in it"
    )
    .into())
}

/// The 14 of `python3.14`, `python3.14t` and the like.
fn minor_of(name: &OsStr) -> Option<u32> {
    let rest = name.to_str()?.strip_prefix("python3.")?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// A script that opens the socket, or says in a file why not.
fn start_script(socket: &Path, failed: &Path) -> String {
    let (socket, failed) = (literal(socket), literal(failed));
    format!(
        "try:\n    import aioxide.monitor\n    aioxide.monitor.start({socket})\n\
         except BaseException as error:\n    with open({failed}, 'w') as file:\n        \
         file.write(f'{{type(error).__name__}}: {{error}}'.replace('\\n', ' ') + '\\n')\n"
    )
}

/// A path as a text of Python.
fn literal(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let bytes: String = path.as_os_str().as_bytes().iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("__import__('os').fsdecode(b'{bytes}')")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names_of_interpreters() {
        let minors = ["python3.14", "python3.14t", "python3.9", "python3", "python", "uwsgi", "python3.x"]
            .map(|name| minor_of(OsStr::new(name)));
        assert_eq!(minors, [Some(14), Some(14), Some(9), None, None, None, None]);
    }
}

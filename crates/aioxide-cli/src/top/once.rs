//! `--once` and `--json`: looks and prints, for people and for programs.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use aioxide_monitor::client::{Client, Error};
use aioxide_monitor::schema::{Deadlock, Ended, Id, Lag, Snapshot, ThreadStack, is_unsafe_to_show};
use serde::Serialize;

use super::sample::Sample;
use super::{connect, list, named, poller, print, text, unix_ms, words};
use crate::args::{TopArgs, View};
use crate::{Failure, clock};

/// One object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    snapshot: &'a Snapshot,
    lag: &'a [Lag],
    deadlocks: &'a [Deadlock],
    blocked: Vec<BlockedReport<'a>>,
    groups: Vec<GroupReport<'a>>,
    /// Absent where the program does not remember.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Vec<Ended>>,
}

#[derive(Serialize)]
struct GroupReport<'a> {
    count: usize,
    coroutine: &'a str,
    waits: &'a str,
    longest_waiting_ms: Option<u64>,
    tasks: &'a [Id],
}

#[derive(Serialize)]
struct BlockedReport<'a> {
    loop_id: Id,
    for_us: u64,
    thread: Option<&'a ThreadStack>,
    why_not: Option<&'a str>,
}

/// Runs the command.
///
/// # Errors
/// There is no such program.
pub(crate) fn run(args: &TopArgs) -> Result<ExitCode, Failure> {
    let Some(path) = named(args) else { return programs(args) };
    let mut client = connect(args, &path)?;
    loop {
        let began = clock::now();
        let sample = match poller::take(&mut client) {
            Ok(sample) => sample,
            Err(error) if args.interval.is_some() && error.io().is_some() => return Ok(ExitCode::SUCCESS),
            Err(error) => return refused(&mut client, &error),
        };
        let history = client.history(None).ok();
        if !args.json {
            return as_text(args, &mut client, &sample, history.as_deref());
        }
        if !write_line(&json_line(&report(&sample, history))?)? {
            return Ok(ExitCode::SUCCESS);
        }
        let Some(interval) = args.interval else { return Ok(ExitCode::SUCCESS) };
        // A look that takes long is followed by a rest that is as long.
        let rest = interval.max(began.elapsed() * 2).saturating_sub(began.elapsed());
        pause(rest);
    }
}

/// A line of JSON that is safe to show: what it has of such characters stands in its texts, where an escape says the same.
fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        // None of them is beyond 16 bits.
        match is_unsafe_to_show(character) {
            true => _ = write!(line, "\\u{:04x}", u32::from(character)),
            false => line.push(character),
        }
    }
    line.push('\n');
    Ok(line)
}

/// Waits. There is no loop here, and nothing else to do.
pub(super) fn pause(rest: Duration) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(rest);
}

/// Whether somebody still reads.
fn write_line(line: &str) -> Result<bool, Failure> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    match output.write_all(line.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Says why there is no snapshot, and what is known without one.
fn refused(client: &mut Client, error: &Error) -> Result<ExitCode, Failure> {
    crate::say(&error.to_string().into());
    if error.io().is_none()
        && let Ok(lag) = client.lag()
    {
        for lag in lag.iter().filter(|lag| lag.waiting_us > 0) {
            crate::say(&format!("a loop has not answered for {}", words::micros(lag.waiting_us)).into());
        }
    }
    Ok(ExitCode::from(1))
}

fn as_text(
    args: &TopArgs,
    client: &mut Client,
    sample: &Sample,
    history: Option<&[Ended]>,
) -> Result<ExitCode, Failure> {
    if let Some(name) = &args.task {
        return one_task(name, client, sample);
    }
    let body = match args.view {
        View::Groups => text::groups(sample, args),
        View::Tasks => text::tasks(sample, args),
        View::Loops => text::loops(sample),
        View::Ended => match history {
            Some(history) => text::ended(history, unix_ms(), args),
            None => "this program does not remember ended tasks\n".to_owned(),
        },
    };
    print(&format!("{}\n{body}", text::head(sample)))?;
    Ok(ExitCode::SUCCESS)
}

fn one_task(name: &str, client: &mut Client, sample: &Sample) -> Result<ExitCode, Failure> {
    let found = sample.named(name);
    let [id] = found[..] else {
        let numbers: Vec<String> = found.iter().take(10).map(Id::to_string).collect();
        return Err(match found.len() {
            0 => format!("there is no task {name:?}").into(),
            many => {
                format!("{many} tasks are named {name:?}; choose by number: {}", numbers.join(", ")).into()
            }
        });
    };
    let stack = client.stacks(vec![id]).ok().and_then(|stacks| stacks.tasks.into_iter().next());
    let detail = sample.detail(id, stack.map_or_else(Vec::new, |stack| stack.frames));
    print(&detail.map_or_else(String::new, |detail| text::detail(&detail, sample)))?;
    Ok(ExitCode::SUCCESS)
}

fn report(sample: &Sample, ended: Option<Vec<Ended>>) -> Report<'_> {
    let groups = sample.groups.iter().zip(&sample.longest).map(|(group, longest)| GroupReport {
        count: group.tasks.len(),
        coroutine: &group.coroutine,
        waits: &group.waits,
        longest_waiting_ms: *longest,
        tasks: &group.tasks,
    });
    let blocked = sample.blocked.iter().map(|one| BlockedReport {
        loop_id: one.lag.loop_id,
        for_us: one.lag.waiting_us,
        thread: one.thread.as_ref(),
        why_not: one.why_not.as_deref(),
    });
    Report {
        snapshot: &sample.snapshot,
        lag: &sample.lag,
        deadlocks: &sample.deadlocks,
        blocked: blocked.collect(),
        groups: groups.collect(),
        ended,
    }
}

/// The programs of this user.
fn programs(args: &TopArgs) -> Result<ExitCode, Failure> {
    let listed = list()?;
    if args.json {
        let programs: Vec<_> = listed.iter().map(|one| &one.hello.program).collect();
        print(&json_line(&programs)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if listed.is_empty() {
        print(NONE)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = listed.iter().map(|one| super::program_row(&one.hello.program)).collect();
    let whole = rows.len();
    print(&text::table(&super::PROGRAM_HEAD, rows, whole))?;
    Ok(ExitCode::SUCCESS)
}

/// What is shown when nobody can be looked into.
pub(crate) const NONE: &str = "No program of yours has opened its monitor.\n\
    In Python: import aioxide.monitor; aioxide.monitor.start()\n";

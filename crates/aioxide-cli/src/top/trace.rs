//! `--trace`: what the loops of a program run in a stretch of time, written for Chrome's tracer and Perfetto.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use aioxide_monitor::chrome;
use aioxide_monitor::client::{Client, Error};
use aioxide_monitor::timeline::{LENGTH_LIMIT_MS, LoopTimeline, Timeline, Totals};

use super::{connect, named, once, print, text, words};
use crate::Failure;
use crate::args::TopArgs;

/// How long is recorded unless it is said.
const LENGTH: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// There is no such program, it cannot be recorded, or the file cannot be written.
pub(super) fn run(args: &TopArgs, file: &Path) -> Result<ExitCode, Failure> {
    let Some(path) = named(args) else {
        return Err("--trace needs to know which program: aioxide top --once lists them".into());
    };
    let length = args.length.unwrap_or(LENGTH);
    if length > Duration::from_millis(LENGTH_LIMIT_MS) {
        return Err(format!("--for {}: at most {} s", length.as_secs_f64(), LENGTH_LIMIT_MS / 1_000).into());
    }
    let mut client = connect(args, &path)?;
    let to_output = file == Path::new("-");
    let failed = |error: io::Error| format!("--trace {}: {error}", file.display());
    // Before it is recorded: what cannot be written need not be.
    let mut out = if to_output { None } else { Some(Out::open(file).map_err(failed)?) };
    let timeline = match record(&mut client, length) {
        Ok(timeline) => timeline,
        Err(error) => {
            crate::say(&error.to_string().into());
            return Ok(ExitCode::from(1));
        }
    };
    let written = match &mut out {
        None => chrome::write(&timeline, BufWriter::new(io::stdout().lock())),
        Some(out) => out.emptied().and_then(|file| chrome::write(&timeline, BufWriter::new(file))),
    };
    match written {
        Err(error) if to_output && error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(failed)?,
    }
    if !to_output {
        print(&summary(&timeline, file, args.rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file that can be written. What it holds stays until there is something in its place; a new one that nothing came of is
/// taken away again.
struct Out<'a> {
    file: File,
    new: Option<&'a Path>,
}

impl<'a> Out<'a> {
    fn open(path: &'a Path) -> io::Result<Self> {
        match File::create_new(path) {
            Ok(file) => Ok(Out { file, new: Some(path) }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = File::options().write(true).create(true).truncate(false).open(path)?;
                Ok(Out { file, new: None })
            }
            Err(error) => Err(error),
        }
    }

    fn emptied(&mut self) -> io::Result<&mut File> {
        self.new = None;
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        Ok(&mut self.file)
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.new {
            // If it stays, it is empty.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Has a program record what it runs.
///
/// # Errors
/// As [`Client::ask`].
pub(super) fn record(client: &mut Client, length: Duration) -> Result<Box<Timeline>, Error> {
    client.record(length)?;
    once::pause(length);
    client.recorded()
}

fn summary(timeline: &Timeline, file: &Path, rows: usize) -> String {
    let program = &timeline.program;
    let mut text = format!(
        "{}  {}, written to {}: open it at https://ui.perfetto.dev\n",
        words::clean(&program.name),
        words::clean(&program.runtime),
        file.display()
    );
    for one in &timeline.loops {
        let _ = writeln!(text, "\n{}", line(one));
        let totals = one.totals();
        let shown = if rows == 0 { totals.len() } else { rows.min(totals.len()) };
        let row = |one: &Totals| {
            vec![
                words::count(one.count),
                words::micros(one.total_ns / 1_000),
                words::micros(one.longest_ns / 1_000),
                words::micros(one.queued_ns / one.count.max(1) / 1_000),
                one.kind.clone(),
                words::clean(&one.what).into_owned(),
            ]
        };
        text.push_str(&text::table(&HEAD, totals[..shown].iter().map(row).collect(), totals.len()));
    }
    text
}

const HEAD: [&str; 6] = [">runs", ">in all", ">longest", ">queued", "kind", "what"];

/// A loop in a line.
pub(super) fn line(one: &LoopTimeline) -> String {
    let busy = 100 * one.busy_ns() / one.length_ns.max(1);
    let out = match one.left_out {
        0 => String::new(),
        left_out => format!(", {} more were left out", words::count(left_out)),
    };
    format!(
        "{} in {}, busy for {busy} % of it{out}",
        words::counted(one.spans.len() as u64, "run"),
        words::micros(one.length_ns / 1_000)
    )
}

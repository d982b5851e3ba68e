//! `aioxide queue`: fills a queue, shows it, and has tried again what was set aside.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use indicatif::{DecimalBytes, HumanCount};

use super::distribute::{Plan, Sums, distribute};
use super::{Address, Settings, Status, begin, open, worker_name};
use crate::Failure;
use crate::args::{FillArgs, QueueArgs, QueueCommand};
use crate::fetch::{Format, input};

/// Runs the command.
///
/// # Errors
/// The queue cannot be made, found or reached, or the list cannot be read.
pub(crate) fn run(args: &QueueArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        QueueCommand::Fill(args) => fill(args),
        QueueCommand::Status(args) => {
            let status = open(&args.queue, &worker_name()).and_then(|mut queue| queue.status());
            let status = status.map_err(|error| format!("{}: {error}", args.queue))?;
            let text = match args.json {
                true => serde_json::to_string(&status)? + "\n",
                false => shown(&args.queue, &status),
            };
            io::stdout().write_all(text.as_bytes())?;
            io::stdout().flush()?;
            Ok(ExitCode::SUCCESS)
        }
        QueueCommand::Retry(args) => {
            let count = open(&args.queue, &worker_name()).and_then(|mut queue| queue.retry());
            let count = count.map_err(|error| format!("{}: {error}", args.queue))?;
            writeln!(io::stdout(), "{} waiting again", shards(count))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Lines that are no URLs are named up to so many.
const NAMED: u64 = 20;

fn fill(args: &FillArgs) -> Result<ExitCode, Failure> {
    let format = args.format.unwrap_or_else(|| Format::of(&args.input));
    let list = match args.input == Path::new("-") {
        true => "the standard input".to_owned(),
        false => args.input.display().to_string(),
    };
    let entries = input::read(&args.input, format).map_err(|error| format!("{list}: {error}"))?;
    let settings = Settings {
        id: format!("{:016x}", fastrand::u64(..)),
        lease: args.lease.as_secs_f64(),
        tries: args.tries,
    };
    let mut filling = begin(&args.queue, settings).map_err(|error| format!("{}: {error}", args.queue))?;
    let mut refused = 0;
    let plan = Plan { size: args.shard_size, by: args.by };
    let sums = distribute(entries, plan, filling.as_mut(), |entry, reason| {
        refused += 1;
        if refused <= NAMED {
            tell(&format!("line {}: invalid_url: {reason}", entry.line));
        }
    });
    let sums = sums.and_then(|sums| filling.finish().map(|()| sums));
    let sums = sums
        .map_err(|error| format!("{}: it is not filled, and to be removed: {list}: {error}", args.queue))?;
    tell(&filled(&sums));
    Ok(if sums.invalid == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says something on the standard error.
fn tell(line: &str) {
    // There is nobody to tell if that fails.
    let _ = writeln!(io::stderr(), "{line}");
}

fn shards(count: u64) -> String {
    if count == 1 { "1 shard".to_owned() } else { format!("{} shards", HumanCount(count)) }
}

fn counted(urls: u64) -> String {
    if urls == 1 { "1 URL".to_owned() } else { format!("{} URLs", HumanCount(urls)) }
}

fn filled(sums: &Sums) -> String {
    let Sums { shards: count, urls, invalid, longest, bytes } = sums;
    let mut text = format!(
        "{} with {}, at most {} in one; the lists take {}",
        shards(*count),
        counted(*urls),
        HumanCount(*longest),
        DecimalBytes(*bytes)
    );
    if *invalid > 0 {
        let _ = match invalid {
            1 => write!(text, "; 1 line is no URL, and is left out"),
            _ => write!(text, "; {} lines are no URLs, and are left out", HumanCount(*invalid)),
        };
    }
    text
}

fn shown(address: &Address, status: &Status) -> String {
    let mut text = format!("{address}: {}\n", shards(status.shards));
    let _ = writeln!(
        text,
        "  {} done, {} with workers, {} waiting, {} set aside",
        HumanCount(status.done),
        HumanCount(status.with_workers.len() as u64),
        HumanCount(status.waiting),
        HumanCount(status.set_aside.len() as u64)
    );
    let _ = write!(
        text,
        "  {} of {} URLs good, {}",
        HumanCount(status.good),
        HumanCount(status.urls),
        DecimalBytes(status.bytes)
    );
    for (outcome, count) in &status.outcomes {
        let _ = write!(text, ", {} {outcome}", HumanCount(*count));
    }
    text.push('\n');
    for held in &status.with_workers {
        let _ = write!(
            text,
            "with {}: shard {}, try {}: {} URLs, {}",
            held.worker,
            held.shard,
            held.tries,
            HumanCount(held.progress.ended),
            DecimalBytes(held.progress.bytes)
        );
        let _ = match held.silent {
            Some(silent) => writeln!(text, "; heard {silent:.0} s ago"),
            None => writeln!(text, "; never heard"),
        };
    }
    for aside in &status.set_aside {
        let times = if aside.tries == 1 { "1 try".to_owned() } else { format!("{} tries", aside.tries) };
        let _ = writeln!(text, "set aside: shard {} after {times}: {}", aside.shard, aside.why);
    }
    text
}

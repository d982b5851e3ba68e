//! `aioxide demo`: the lesson's job, two sites downloaded 80 times each, in three varieties side by side.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use url::Url;

use crate::Failure;
use crate::args::{DemoArgs, Variety};
use crate::clock::Stopwatch;
use crate::fetch::input::{Entry, Lines};

mod asyncio;
mod blocking;
mod chart;
mod marks;
mod pages;
mod server;

use marks::Marks;
pub(crate) use server::Io;

/// One download to be made.
#[derive(Debug, Clone)]
pub(crate) struct Download {
    pub(crate) url: Url,
    /// What is printed when it is done.
    pub(crate) mark: char,
}

/// What came of one variety; its fields are those of `--json`.
#[derive(Debug, Serialize)]
struct Run {
    name: &'static str,
    downloads: usize,
    failed: usize,
    seconds: f64,
    marks: String,
    /// What went wrong first.
    error: Option<String>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Comparison<'a> {
    sites: Vec<&'a str>,
    varieties: &'a [Run],
}

/// Runs the command.
///
/// # Errors
/// Sites that are none, or that cannot be served.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let delay = Duration::from_millis(args.delay);
    if args.serve {
        server::serve(delay, args.port, |urls| {
            let lines: String = urls.iter().map(|url| format!("{url}\n")).collect();
            print(&lines);
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let sites = if args.sites.is_empty() { server::start(delay)? } else { sites_of(&args.sites)? };
    // The lesson's list: the sites in turn, over and over.
    let once = sites.iter().map(|url| Download { url: url.clone(), mark: marks::of_site(url) });
    let once: Vec<Download> = once.collect();
    let downloads: Vec<Download> = (0..args.repeat).flat_map(|_| once.iter().cloned()).collect();

    let chosen = |variety: &Variety| args.only.is_empty() || args.only.contains(variety);
    let varieties: Vec<Variety> = Variety::ALL.into_iter().filter(chosen).collect();
    let mut runs = Vec::new();
    for variety in varieties {
        if !args.json {
            print(&format!("{}\n", heading(variety, args.threads)));
        }
        let run = run_one(variety, &downloads, args)?;
        if !args.json {
            print(&account(&run));
        }
        runs.push(run);
    }
    if args.json {
        let comparison = Comparison { sites: sites.iter().map(Url::as_str).collect(), varieties: &runs };
        print(&format!("{}\n", serde_json::to_string(&comparison)?));
    } else if runs.len() > 1 {
        let rows: Vec<_> = runs.iter().map(|run| (run.name, run.seconds)).collect();
        print(&chart::render(&rows));
    }
    let all_ok = runs.iter().all(|run| run.failed == 0);
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_one(variety: Variety, downloads: &[Download], args: &DemoArgs) -> Result<Run, Failure> {
    let marks = Rc::new(Marks::new(!args.json));
    let stopwatch = Stopwatch::start();
    match variety {
        Variety::Sync => blocking::one_by_one(downloads, &marks),
        Variety::Threaded => blocking::threaded(downloads, args.threads.into(), &marks),
        Variety::Asyncio => asyncio::all_at_once(downloads, &marks)?,
    }
    let seconds = stopwatch.elapsed().as_secs_f64();
    let seen = marks.take_seen();
    Ok(Run {
        name: variety.name(),
        downloads: downloads.len(),
        failed: seen.failed,
        seconds,
        marks: seen.marks,
        error: seen.error,
    })
}

fn heading(variety: Variety, threads: u16) -> String {
    match variety {
        Variety::Sync => "sync: one after the other".to_owned(),
        Variety::Threaded => format!("threaded: {threads} threads"),
        Variety::Asyncio => "asyncio: tasks on one event loop, in one thread".to_owned(),
    }
}

fn account(run: &Run) -> String {
    let mut text =
        format!("\nDownloaded {} sites in {:.2} seconds\n", run.downloads - run.failed, run.seconds);
    if let Some(error) = &run.error {
        text.push_str(&format!("{} failed; the first: {error}\n", run.failed));
    }
    text.push('\n');
    text
}

/// The sites of `--sites`: URLs, and files of them.
fn sites_of(words: &[String]) -> Result<Vec<Url>, Failure> {
    let mut sites = Vec::new();
    for word in words {
        if word.contains("://") {
            sites.push(Entry::new(1, word.clone()).url.map_err(|error| format!("{word}: {error}"))?);
            continue;
        }
        let file = File::open(word).map_err(|error| format!("{word}: {error}"))?;
        let before = sites.len();
        for entry in Lines::new(BufReader::new(file)) {
            let entry = entry.map_err(|error| format!("{word}: {error}"))?;
            sites.push(entry.url.map_err(|error| format!("{word}: line {}: {error}", entry.line))?);
        }
        if sites.len() == before {
            return Err(format!("{word}: no URL in it").into());
        }
    }
    Ok(sites)
}

/// Prints at once. That nobody reads any more is no reason to stop: the exit status still tells.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

//! What the command line may say, and the help that explains it.

mod access;
mod fetch;
mod help;
mod queue;
mod top;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use access::AccessArgs;
pub(crate) use fetch::{FetchArgs, Header};
pub(crate) use queue::{FillArgs, QueueArgs, QueueCommand};
pub(crate) use top::{Sort, TopArgs, View};
pub(crate) use values::Jobs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "aioxide",
    version,
    about = "asyncio, rebuilt in Rust: a concurrent downloader and the lesson's demo",
    after_help = "Examples:\n  \
        aioxide demo                          the lesson's job in three varieties, side by side\n  \
        aioxide fetch -i urls.txt -o files    download a list into a directory\n  \
        aioxide fetch --help                  every option of the downloader\n  \
        aioxide report r.jsonl -o r.html      a page with charts of a report\n  \
        aioxide top                           see inside of programs that run",
    arg_required_else_help = true,
    propagate_version = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs of the program.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Download two sites 80 times each: one by one, with threads, and on the event loop
    Demo(DemoArgs),
    /// Download many URLs concurrently
    Fetch(Box<FetchArgs>),
    /// Divide a list among the workers of many machines (fetch --queue), and watch them
    Queue(QueueArgs),
    /// See inside of a program that runs: its tasks, what they wait on, deadlocks, blocked loops
    Top(Box<TopArgs>),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Make a page with charts of a report of fetch
    Report(ReportArgs),
    /// Print the manual page of the program, or of one of its commands
    Man(ManArgs),
}

/// `aioxide demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        aioxide demo                                   local sites, three varieties\n  \
        aioxide demo --delay 5 --repeat 20             a quick one\n  \
        aioxide demo --sites https://www.jython.org https://realpython.com\n  \
        aioxide demo --only asyncio --json             one variety, for a machine to read\n  \
        aioxide demo --serve --port 8080               only serve the two sites, until Ctrl-C")]
pub(crate) struct DemoArgs {
    /// Download these instead of the local sites; a word that is not an http(s) URL names a file of URLs
    #[arg(long, value_name = "FILE|URL", num_args = 1.., conflicts_with = "serve")]
    pub(crate) sites: Vec<String>,

    /// How often each site is downloaded
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,

    /// The local sites' mean time to answer, in milliseconds; each answer takes from half to one and a half of it
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub(crate) delay: u64,

    /// How many threads the threaded variety has
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) threads: u16,

    /// Run only these varieties
    #[arg(long, value_name = "VARIETY", value_delimiter = ',', conflicts_with = "serve")]
    pub(crate) only: Vec<Variety>,

    /// Print one JSON object in place of the marks and the chart
    #[arg(long, conflicts_with = "serve")]
    pub(crate) json: bool,

    /// Serve the two local sites until Ctrl-C and print their URLs, one per line
    #[arg(long)]
    pub(crate) serve: bool,

    /// With --serve, the first site's port; the second has the next one (0: any free ones)
    #[arg(long, value_name = "PORT", default_value_t = 0, requires = "serve")]
    pub(crate) port: u16,
}

/// The three ways of doing the lesson's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Variety {
    /// One download after the other
    Sync,
    /// A pool of threads, each with its own agent
    Threaded,
    /// Tasks on one event loop, through one session
    Asyncio,
}

impl Variety {
    /// All of them, slowest first.
    pub(crate) const ALL: [Variety; 3] = [Variety::Sync, Variety::Threaded, Variety::Asyncio];

    /// The word that names it on the command line and in the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Variety::Sync => "sync",
            Variety::Threaded => "threaded",
            Variety::Asyncio => "asyncio",
        }
    }
}

/// `aioxide report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        aioxide report report.jsonl -o report.html\n  \
        zcat report.jsonl.gz | aioxide report - > report.html")]
pub(crate) struct ReportArgs {
    /// What `fetch --report` has written, `-` for the standard input
    pub(crate) report: PathBuf,

    /// Write the page to FILE in place of the standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `aioxide man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        aioxide man fetch > ~/.local/share/man/man1/aioxide-fetch.1\n  \
        aioxide man fetch | man -l -")]
pub(crate) struct ManArgs {
    /// The command, such as `fetch` or `queue fill`
    pub(crate) command: Vec<String>,
}

/// `aioxide completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        aioxide completions bash > ~/.local/share/bash-completion/completions/aioxide\n  \
        aioxide completions zsh > ~/.zfunc/_aioxide\n  \
        aioxide completions fish > ~/.config/fish/completions/aioxide.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

//! The options of `aioxide top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::values::seconds;

/// `aioxide top`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        aioxide top                   your programs that can be looked into\n  \
        aioxide top 4711              one of them, in the terminal; ? shows the keys\n  \
        aioxide top 4711 --once       its tasks in groups, as text\n  \
        aioxide top 4711 --once --view tasks -f 'handle_request semaphore' -n 50\n  \
        aioxide top 4711 --once --task Task-7\n                                \
        what it waits on, who waits for it, its stack\n  \
        aioxide top 4711 --json | jq .deadlocks\n  \
        aioxide top 4711 --json --interval 5\n                                \
        everything in JSON, a line every 5 seconds\n  \
        aioxide top 4711 --web        a page on this machine\n  \
        aioxide top 4711 --trace trace.json --for 5\n                                \
        what its loops run in 5 seconds, for ui.perfetto.dev\n\n\
    A program can be looked into when it has opened its monitor, in Python by\n\
    aioxide.monitor.start() or AIOXIDE_MONITOR=1. One of Python 3.14 or newer\n\
    opens it when asked by its PID. Only its own user (and root) can connect.\n\n\
    Exit status: 0; 1 when the program could not be asked; 2 for wrong usage, or\n\
    when there is no such program or no terminal.")]
pub(crate) struct TopArgs {
    /// The program; without it, those of this user are listed
    pub(crate) pid: Option<u32>,

    /// Ask at this socket: a program that opened its monitor elsewhere
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "pid")]
    pub(crate) socket: Option<PathBuf>,

    /// Print what there is now as text, and end
    #[arg(long)]
    pub(crate) once: bool,

    /// Print one JSON object and end; with --interval, one a line until the program ends
    #[arg(long)]
    pub(crate) json: bool,

    /// Serve a page about the program on 127.0.0.1, and print its address with the secret that opens it
    #[arg(long, conflicts_with_all = ["once", "json", "task"])]
    pub(crate) web: bool,

    /// With --web, the port (0: any free one)
    #[arg(long, value_name = "PORT", default_value_t = 0, requires = "web")]
    pub(crate) port: u16,

    /// Record what the loops run, each step and callback and who woke whom, and write it to FILE (- for standard output) in the
    /// format of Chrome's tracer, which ui.perfetto.dev opens
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["once", "json", "web", "task"])]
    pub(crate) trace: Option<PathBuf>,

    /// With --trace, for so long (1 unless given, 60 at most)
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds, requires = "trace")]
    pub(crate) length: Option<Duration>,

    /// Look every SECONDS (1 unless given), but never so often that looking takes half of the time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) interval: Option<Duration>,

    /// What is shown at first
    #[arg(long, value_enum, default_value_t = View::Groups)]
    pub(crate) view: View,

    /// Show only what has all these words in its names, its state or what it waits on
    #[arg(short, long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub(crate) filter: String,

    /// Sort tasks by this, the largest first where it is a number
    #[arg(long, value_enum, default_value_t = Sort::Waiting)]
    pub(crate) sort: Sort,

    /// With --once and --trace, print at most N rows (0: all of them)
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) rows: usize,

    /// Show one task, by its name or its number in --json
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
}

/// What is shown of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    /// Tasks by coroutine and by what they wait on
    Groups,
    /// Every task
    Tasks,
    /// The event loops
    Loops,
    /// Tasks that have ended
    Ended,
}

impl View {
    /// In the order of their keys.
    pub(crate) const ALL: [View; 4] = [View::Groups, View::Tasks, View::Loops, View::Ended];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            View::Groups => "groups",
            View::Tasks => "tasks",
            View::Loops => "loops",
            View::Ended => "ended",
        }
    }
}

/// What tasks are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// How long it has been waiting where it is
    Waiting,
    /// Its age
    Age,
    /// The time for which it has run
    Ran,
    /// The steps that it has run
    Steps,
    /// Its name
    Name,
    /// Its coroutine
    Coroutine,
    /// Running, ready, waiting, done
    State,
    /// What it waits on
    Waits,
}

impl Sort {
    /// In the order in which the key goes through them.
    pub(crate) const ALL: [Sort; 8] = [
        Sort::Waiting,
        Sort::Age,
        Sort::Ran,
        Sort::Steps,
        Sort::Name,
        Sort::Coroutine,
        Sort::State,
        Sort::Waits,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Sort::Waiting => "waiting",
            Sort::Age => "age",
            Sort::Ran => "ran",
            Sort::Steps => "steps",
            Sort::Name => "name",
            Sort::Coroutine => "coroutine",
            Sort::State => "state",
            Sort::Waits => "waits",
        }
    }
}

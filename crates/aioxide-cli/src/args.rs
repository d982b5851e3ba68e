//! What the command line may say, and the help that explains it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "aioxide",
    version,
    about = "asyncio, rebuilt in Rust: the concurrent downloader and the lesson's demo",
    after_help = "Examples:\n  \
        aioxide demo                          the lesson's job in three varieties, side by side\n  \
        aioxide fetch -i urls.txt -o files    download a list into a directory\n  \
        aioxide fetch --help                  every option of the downloader",
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
    Fetch(FetchArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
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

macro_rules! examples {
    () => {
        "Examples:
  aioxide fetch https://example.org/a.pdf           one file
  aioxide fetch -i urls.txt -o files -j 100         a list, 100 at a time
  aioxide fetch -i urls.txt -o files --per-host 4   gently
  zcat urls.gz | aioxide fetch -i - --discard --report report.jsonl
  aioxide fetch -i urls.txt --report - -q | jq 'select(.outcome != \"ok\")'"
    };
}

/// `aioxide fetch`.
#[derive(Debug, Args)]
#[command(
    override_usage = "aioxide fetch [OPTIONS] URL...\n       aioxide fetch [OPTIONS] -i FILE [URL]...",
    group = ArgGroup::new("urls or a list").args(["urls", "input"]).required(true).multiple(true),
    after_help = examples!(),
    after_long_help = FETCH_LONG
)]
pub(crate) struct FetchArgs {
    /// URLs to download
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) urls: Vec<String>,

    /// Read URLs from FILE, one per line, `-` for the standard input; blank lines and lines starting with # are skipped
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,

    /// Write the files into DIR, which is made if need be
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Write no files: read every answer to its end and forget it
    #[arg(long, conflicts_with_all = ["output", "overwrite"])]
    pub(crate) discard: bool,

    /// Replace files that stood in DIR before this run; without it a taken name gets a number
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// How many downloads run at a time
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) jobs: u32,

    /// How many of them may be on one host (default: as many as --jobs)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_host: Option<u32>,

    /// Give up a URL after SECONDS in all (default: as long as bytes keep coming)
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    /// Give up when no connection is made within SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) connect_timeout: Duration,

    /// Give up when no byte comes for SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) read_timeout: Duration,

    /// Send this header with every request; may be given several times. Authorization, Cookie, Proxy-Authorization and Host
    /// stay with the origins of the URLs given: where these redirect to another scheme, host or port, they are not sent
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Send this header as --header does, but never to where a URL redirects: for keys in headers of other names
    #[arg(long = "secret-header", value_name = "NAME: VALUE")]
    secret_headers: Vec<String>,

    /// Write one JSON line per URL to FILE, `-` for the standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,

    /// Stop at the first URL that fails
    #[arg(long)]
    pub(crate) fail_fast: bool,

    /// Print one mark per URL as it ends, on the standard output
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) marks: bool,

    /// Print nothing: the exit status and the report tell
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl FetchArgs {
    /// The headers to send. They are not parsed by clap, which repeats what it refuses: a token would stand in a log.
    ///
    /// # Errors
    /// Which one is wrong, and in what.
    pub(crate) fn headers(&self) -> Result<Vec<Header>, String> {
        let mut headers = Vec::new();
        for (option, texts, is_secret) in
            [("--header", &self.headers, false), ("--secret-header", &self.secret_headers, true)]
        {
            for (place, text) in texts.iter().enumerate() {
                let (name, value) =
                    header(text).map_err(|error| format!("{option} number {}: {error}", place + 1))?;
                headers.push(Header { name, value, is_secret });
            }
        }
        Ok(headers)
    }
}

/// A header of the user's own.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) name: http::HeaderName,
    pub(crate) value: http::HeaderValue,
    /// A redirect to another origin leaves it behind.
    pub(crate) is_secret: bool,
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

/// No line is longer than 80 columns: a terminal that wide shows them as they are.
const FETCH_LONG: &str = concat!(
    examples!(),
    r#"

A list has one URL per line, in UTF-8, and nothing else: a tab, a control
character or a second URL in a line makes it an invalid_url. It is read as it
comes, so it may be a pipe that another program still writes to.

The report has one JSON object per URL, in the order in which they ended. It is
written as they end:
  line      the URL's line in FILE; for a URL of the command line, its place
  url       as it was given, password and all; messages hide passwords
  outcome   one of those below
  status    the HTTP status, or null
  bytes     how many bytes of the body came
  path      the file's name in DIR, or null
  seconds   from its start to its end
  attempts  how many times it was tried; 0 when it never started
  error     what went wrong, or null

Outcomes, and their marks:
  .  ok              the whole thing came
  =  not_modified    304 to a condition of yours (-H 'If-None-Match: ...');
                     nothing is written
  H  http_error      not the whole thing asked for: status 400 and up, 206
                     without a Range header, 304 without a condition, 204
                     unless --discard, 202, 207, 208, 226, a redirect to nowhere
  C  connect_error   no connection could be made
  L  tls_error       the certificate or the handshake failed
  T  timeout         see --timeout and --read-timeout
  P  protocol_error  the answer broke the rules, ended early, was reset, or
                     redirected without end
  I  io_error        a file could not be written
  U  invalid_url
  X  cancelled

File names come from the URL's last part and query. What could leave DIR, hide a
file or upset a shell becomes _. A taken name gets a number: a.pdf, a-1.pdf,
a-2.pdf. A file has its name only once it is whole.

Ctrl-C once stops, removes what is half done and completes the report; twice
kills. SIGTERM and SIGHUP do as Ctrl-C once. A list in a file is accounted for
to its end, one from a pipe as far as it comes within a second.

Exit status:
  0    all URLs are ok or not_modified
  1    some are not, or the list or the report failed
  2    nothing was done: wrong usage, or a file that cannot be opened
  129, 130, 143
       stopped by SIGHUP, Ctrl-C, SIGTERM: 128 and the signal's number"#
);

/// Parses a positive number of seconds, fractions allowed.
fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds, such as 30 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than 0 seconds".to_owned()),
    }
}

/// Parses `Name: value`.
fn header(text: &str) -> Result<(http::HeaderName, http::HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("must read `Name: value`")?;
    let name = http::HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    let value = http::HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_a_terminal_of_80_columns() {
        for line in FETCH_LONG.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn seconds_are_positive_numbers() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["0", "-1", "nan", "inf", "soon", "1e30"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn header_is_split_at_the_first_colon() {
        let (name, value) = header("Referer: http://example.org/").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("referer", "http://example.org/"));
        assert!(header("no colon").is_err());
        assert!(header("bad name: x").is_err());
        assert!(header("a: b\nc: d").is_err());
    }
}

//! The options of `aioxide fetch`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, ValueHint};

use super::access::AccessArgs;
use super::help::{FETCH_LONG, FETCH_SHORT};
use super::values::{Jobs, header, jobs, rate, seconds, size, warc};
use crate::fetch::{Digest, Format, Template, frames_a_body};
use crate::queue::Address;

/// `aioxide fetch`.
#[derive(Debug, Clone, Args)]
#[command(
    override_usage = "aioxide fetch [OPTIONS] URL...\n       aioxide fetch [OPTIONS] -i FILE [URL]...\n       aioxide fetch [OPTIONS] --queue QUEUE",
    group = ArgGroup::new("urls or a list").args(["urls", "input", "retry_failed", "queue"]).required(true).multiple(true),
    after_help = FETCH_SHORT,
    after_long_help = FETCH_LONG
)]
pub(crate) struct FetchArgs {
    /// URLs to download; [1-100], [001-100], [0-100:10] and [a-f] in one stand for all of a range
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) urls: Vec<String>,

    /// Read URLs from FILE, one per line, `-` for the standard input; blank lines and lines starting with # are skipped
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,

    /// How FILE is read; by its extension unless given (.csv, .tsv, .jsonl; else one URL per line). Lists compressed with gzip or
    /// zstd are read as they are
    #[arg(long, value_name = "FORMAT", requires = "input")]
    pub(crate) format: Option<Format>,

    /// Read the report of an earlier run, and download what failed there, with the names and checksums that its list had. With -i LIST
    /// it is taken from the list, with headers, which a report does not keep, and the places that {n} and {line} tell
    #[arg(long, value_name = "REPORT", value_hint = ValueHint::FilePath, conflicts_with = "urls")]
    pub(crate) retry_failed: Option<PathBuf>,

    /// Take shards of a list from QUEUE, which `aioxide queue fill` made, until none is left: a directory, or
    /// redis://HOST:PORT/0?name=NAME. Other workers, on other machines, do the same. DIR gets a directory for each shard, with
    /// files/, report.jsonl and result.json
    #[arg(long, value_name = "QUEUE", value_parser = Address::parse, conflicts_with_all = ["urls", "input", "retry_failed", "state", "report", "output_file", "checksum", "overwrite", "newer", "skip_existing", "save_cookies", "fail_fast"])]
    pub(crate) queue: Option<Address>,

    /// Download a URL that comes again only once; each takes 16 bytes of memory
    #[arg(long)]
    pub(crate) unique: bool,

    /// Name files by TEMPLATE, such as {host}/{path} or {n:05}-{name}; also {stem} {ext} {dir} {hash} {line}. A name that the list
    /// has for a URL comes first
    #[arg(long, value_name = "TEMPLATE", value_parser = Template::parse, conflicts_with = "discard")]
    pub(crate) name: Option<Template>,

    /// Take the name that a server gives a file (Content-Disposition) in place of the one in its URL, also for {name} in TEMPLATE
    #[arg(long, conflicts_with_all = ["discard", "output_file", "skip_existing", "newer"])]
    pub(crate) content_disposition: bool,

    /// Write the files into DIR, which is made if need be
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Write the only URL's file to FILE, in place of what is there
    #[arg(short = 'O', long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["output", "discard", "name", "skip_existing", "state"])]
    pub(crate) output_file: Option<PathBuf>,

    /// Write tar shards of N downloads each into DIR, in WebDataset's layout, with an index beside each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["discard", "overwrite", "newer", "skip_existing", "name", "output_file"])]
    pub(crate) tar_shards: Option<u64>,

    /// Write what servers answer, with the heads of requests and answers, into FILE in DIR: FILE.warc.gz (WARC/1.1, each record
    /// compressed) or FILE.warc, with an index FILE.cdxj beside it
    #[arg(long, value_name = "FILE", value_parser = warc, value_hint = ValueHint::FilePath, conflicts_with_all = ["discard", "overwrite", "newer", "skip_existing", "name", "output_file", "tar_shards", "content_disposition"])]
    pub(crate) warc: Option<PathBuf>,

    /// Begin another WARC file when one has SIZE bytes: FILE-000000.warc.gz, FILE-000001.warc.gz and so on
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "warc")]
    pub(crate) warc_max_size: Option<u64>,

    /// Write no files: read every answer to its end and forget it
    #[arg(long, conflicts_with_all = ["output", "overwrite"])]
    pub(crate) discard: bool,

    /// Replace files that stood in DIR before this run; without it a taken name gets a number
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// How many downloads run at a time, 10 000 at most; `auto`: for each host as many as more come of, up to 256, and fewer when it slows down or
    /// refuses; up to 1000 in all
    #[arg(short, long, value_name = "N|auto", default_value = "50", value_parser = jobs)]
    pub(crate) jobs: Jobs,

    /// How many of them may be on one host (default: as many as --jobs)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_host: Option<u32>,

    /// How many of them may be on one address, whatever names it has; of a name's addresses the lowest counts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "proxy")]
    pub(crate) per_address: Option<u32>,

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

    /// Keep the state of the job in FILE: started again with it after any end, kill -9 included, the run goes on where it
    /// was. What has ended is not asked for again, long parts are gone on from, and the report goes on, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["overwrite", "newer"], help_heading = "Certainty")]
    pub(crate) state: Option<PathBuf>,

    /// Try a URL again so many times when it fails by what may be an accident: no connection, one that ends early, a stall,
    /// status 408, 425, 429, 500, 502, 503, 504. What came stays, and is gone on from where the server lets it be told that the
    /// file is the same; an attempt that brought a megabyte does not count
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Certainty")]
    pub(crate) retries: u32,

    /// Pause SECONDS before the first retry, and twice as long before each one after; half of a pause is left to chance
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds, help_heading = "Certainty")]
    pub(crate) retry_wait: Duration,

    /// Never pause longer; a server that asks for more by Retry-After is not waited for
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds, help_heading = "Certainty")]
    pub(crate) retry_max_wait: Duration,

    /// Refuse what is larger than SIZE bytes (10k, 1.5M, 2GiB)
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Certainty")]
    pub(crate) max_size: Option<u64>,

    /// Take it for a stall when fewer than SIZE bytes per second of the body come
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Certainty")]
    pub(crate) min_speed: Option<u64>,

    /// The time over which --min-speed is measured
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds, requires = "min_speed", help_heading = "Certainty")]
    pub(crate) speed_time: Duration,

    /// Follow at most N redirects
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Certainty")]
    pub(crate) max_redirects: usize,

    /// Keep the file only if it has this checksum (sha256, sha512, sha1, md5); for one URL. A list can tell one for each, and
    /// those that servers tell by Repr-Digest and Content-Digest are checked, too
    #[arg(long, value_name = "ALGORITHM:HEX", value_parser = Digest::parse, conflicts_with = "input", help_heading = "Certainty")]
    pub(crate) checksum: Option<Digest>,

    /// Leave alone what has a file of its name in DIR from an earlier run. Of URLs with one name the first of the list has it, the
    /// next ones have numbers: use it in the first run, too, where there are such
    #[arg(long, conflicts_with_all = ["discard", "overwrite", "newer"], help_heading = "Certainty")]
    pub(crate) skip_existing: bool,

    /// Replace a file in DIR only if the server's is newer, or has another length; files get the server's time. Names are given as
    /// with --skip-existing
    #[arg(short = 'N', long, conflicts_with = "discard", help_heading = "Certainty")]
    pub(crate) newer: bool,

    /// Keep web pages also where the URL's name is that of a picture, an archive, a film, and the like
    #[arg(long, help_heading = "Certainty")]
    pub(crate) any_content: bool,

    /// Have each file on the disk before it counts as downloaded
    #[arg(long, conflicts_with = "discard", help_heading = "Certainty")]
    pub(crate) fsync: bool,

    /// Download a file of 16 MiB and more in N ranges at once, each over a connection of its own, from a server that says that it
    /// takes ranges and which version of the file they are of; never more connections to a host than --per-host
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = clap::value_parser!(u32).range(1..=32), conflicts_with_all = ["discard", "tar_shards", "warc", "per_address"])]
    pub(crate) split: u32,

    /// Start at most N downloads per second on one host; 0.1 is one in ten seconds
    #[arg(long, value_name = "N", value_parser = rate, help_heading = "Manners")]
    pub(crate) rate: Option<f64>,

    /// Obey each host's robots.txt (RFC 9309), also where a URL redirects to, as the program that --user-agent names; Crawl-delay, too, up to 30 seconds
    #[arg(long, help_heading = "Manners")]
    pub(crate) robots: bool,

    /// Receive at most SIZE bytes per second in all
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Manners")]
    pub(crate) limit_rate: Option<u64>,

    #[command(flatten)]
    pub(crate) access: AccessArgs,

    /// Write one JSON line per URL to FILE, `-` for the standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,

    /// Stop at the first URL that fails
    #[arg(long, help_heading = "Certainty")]
    pub(crate) fail_fast: bool,

    /// Print one mark per URL as it ends, on the standard output
    #[arg(long, conflicts_with = "quiet", help_heading = "Output")]
    pub(crate) marks: bool,

    /// Print nothing: the exit status and the report tell
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

impl FetchArgs {
    /// The file that names URLs.
    pub(crate) fn list(&self) -> Option<&Path> {
        self.input.as_deref().or(self.retry_failed.as_deref())
    }

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
                if frames_a_body(&name) {
                    return Err(format!(
                        "{option} number {}: {name} is for a body, and none is sent",
                        place + 1
                    ));
                }
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

//! `aioxide fetch`: downloads many URLs concurrently through one session.

use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aioxide::net::dns::DnsCache;
use aioxide_http::{Session, Timeouts, header};

use crate::Failure;
use crate::args::{FetchArgs, Header, Jobs};
use crate::queue::Hold;

mod access;
mod download;
pub(crate) mod input;
mod job;
mod keep;
mod manners;
mod naming;
mod output;
mod report;
mod resolver;
mod resume;
mod run;
mod split;
mod worker;

use access::Access;
use download::Demands;
use input::Source;
use manners::descriptors::{self, Shortage};
use manners::{Bandwidth, Finder, PerHost, Retries, Robots, Schedule, Starter};
use naming::{Directory, Wanted};
use output::streams::Identity;
use output::{Archive, Shards, Warc, streams};
use report::answer::Asked;
use report::{Account, Display, Report};
use resolver::Resolver;
use resume::Journal;
use run::{Ended, Fetch};

pub(crate) use input::{Format, frames_a_body};
pub(crate) use manners::descriptors::make_room;
pub(crate) use naming::{Template, fnv1a};
pub(crate) use output::is_warc;
pub(crate) use report::{Outcome, Record};
pub(crate) use resolver::Choice;
pub(crate) use resume::Digest;

/// Runs the command.
///
/// # Errors
/// What keeps it from starting: a list, a report or a directory that cannot be opened, or that are one.
pub(crate) fn run(mut args: FetchArgs) -> Result<ExitCode, Failure> {
    match args.queue.take() {
        Some(queue) => worker::run(args, &queue),
        None => Ok(run_once(args, None)?.status),
    }
}

/// What a run is called, and the shard that it is about, if it is one of a worker's.
type Shard = (String, Arc<Hold>);

fn run_once(mut args: FetchArgs, shard: Option<Shard>) -> Result<Ended, Failure> {
    let headers = args.headers()?;
    let urls = std::mem::take(&mut args.urls);
    if args.checksum.is_some() && urls.len() != 1 {
        return Err("--checksum is for one URL; a list can tell a checksum for each".into());
    }
    if let Some(list) = args.list().filter(|list| !list.exists()) {
        let text = list.display().to_string();
        if text.starts_with("http://") || text.starts_with("https://") {
            let shown = report::secret::hidden(&text);
            return Err(format!("{shown}: that is a URL, not a list; leave out the option before it").into());
        }
    }
    let mut source = named(args.list().unwrap_or("-".as_ref()), Source::open(urls, input_of(&args)))?;
    match (&args.retry_failed, input_of(&args)) {
        (Some(report), Some((list, format))) if args.input.is_some() => {
            source.take_only(input::Failed::read(report, list, format)?);
        }
        (Some(report), _) => input::check_report(report)?,
        (None, _) => {}
    }
    if args.unique {
        source.mark_repeated();
    }
    let is_list_stderr = streams::is_stderr(source.identity());
    let result = run_list(args, headers, source, shard);
    if is_list_stderr { result.map_err(|error| Unsayable(error.to_string()).into()) } else { result }
}

/// A failure that the standard error is not for, since it is the list.
#[derive(Debug)]
pub(crate) struct Unsayable(String);

impl std::fmt::Display for Unsayable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unsayable {}

/// The directory of the only file, and its name.
fn only_file(path: &Path, args: &FetchArgs, source: &Source) -> Result<(PathBuf, Option<String>), Failure> {
    if source.total(input_of(args)) != Some(1) {
        return Err("-O is for one URL; -o DIR and --name are for more".into());
    }
    // What ends in a slash is a directory, also when it is not there yet.
    let is_directory =
        path.is_dir() || [&b"/"[..], b"/."].iter().any(|end| path.as_os_str().as_bytes().ends_with(end));
    if is_directory {
        return Err(format!(
            "-O {0}: a directory, not the name of a file; -o {0} writes into it",
            path.display()
        )
        .into());
    }
    let at =
        output::followed(path).map_err(|error| format!("-O {}: {error}; see --discard", path.display()))?;
    let name = at.file_name().and_then(|name| name.to_str()).filter(|name| *name != "-");
    let name = name.ok_or_else(|| format!("-O {}: not the name of a file", path.display()))?;
    let directory = at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((directory.to_owned(), Some(name.to_owned())))
}

/// What a job writes, and where: `place`, which is there. Below the state's own directory both may move.
fn output_of(args: &FetchArgs, place: Option<&Path>) -> io::Result<String> {
    let state = args.state.as_deref().and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    let at = match place {
        Some(place) if !args.discard => {
            let (place, state) = (place.canonicalize()?, state.unwrap_or(Path::new(".")).canonicalize()?);
            let shown = place.strip_prefix(&state).unwrap_or(&place).display().to_string();
            format!(" into {}", if shown.is_empty() { "." } else { &shown })
        }
        _ => String::new(),
    };
    let named = match &args.name {
        Some(template) => format!(" named {}", template.text()),
        None if args.content_disposition => " with the names of their servers".to_owned(),
        None => String::new(),
    };
    Ok(match (&args.warc, args.tar_shards) {
        _ if args.discard => "no files".to_owned(),
        (Some(name), _) => format!("{}{at}", name.file_name().unwrap_or_default().display()),
        (None, Some(downloads)) => format!("shards of {downloads}{at}"),
        (None, None) => format!("files{named}{at}"),
    })
}

/// What downloads go into, if it is not a file for each.
fn archive(
    args: &FetchArgs,
    directory: &Rc<Directory>,
    journal: Option<&Journal>,
) -> io::Result<Option<Archive>> {
    let job = journal.map(|journal| journal.job().to_owned());
    let position = journal.and_then(Journal::volumes);
    let directory = Rc::clone(directory);
    if let Some(samples) = args.tar_shards {
        return Ok(Some(Archive::Tar(Shards::open(directory, samples, job, position)?)));
    }
    let Some(name) = args.warc.as_deref().and_then(Warc::split) else { return Ok(None) };
    let agent = args.access.user_agent.as_deref().unwrap_or(AGENT);
    let most = args.warc_max_size;
    Warc::open(directory, name, most, agent, args.robots, job, position).map(|warc| Some(Archive::Warc(warc)))
}

/// The list, and how it is read.
fn input_of(args: &FetchArgs) -> Option<(&Path, Format)> {
    let list = args.input.as_deref().map(|path| (path, args.format.unwrap_or_else(|| Format::of(path))));
    list.or(args.retry_failed.as_deref().map(|path| (path, Format::Report)))
}

fn run_list(
    args: FetchArgs,
    headers: Vec<Header>,
    mut source: Source,
    shard: Option<Shard>,
) -> Result<Ended, Failure> {
    let input = input_of(&args);
    let (place, only) = match (&args.output_file, &args.warc) {
        (Some(path), _) => {
            let (place, only) = only_file(path, &args, &source)?;
            (place, only)
        }
        (None, Some(path)) => {
            let path = args.output.join(path);
            (path.parent().unwrap_or(Path::new(".")).to_owned(), None)
        }
        (None, None) => (args.output.clone(), None),
    };
    let place = place.as_path();
    let overwrite = args.overwrite || args.newer || only.is_some();
    let stood = place.exists();
    let mut directory = match args.discard {
        true => None,
        false => Some(named(place, Directory::open(place, overwrite))?),
    };
    let state = args.state.as_deref();
    let journal = match state {
        Some(path) => {
            // A shard's directory has another path on another machine.
            let place = shard.is_none().then_some(place);
            let opened = Journal::open(path, source.mark(input), output_of(&args, place)?);
            let opened = named(path, opened).and_then(|journal| match journal.before() {
                before if before > 0 && !stood && !args.discard => Err(format!(
                    "{} is gone, where {} put what it had done: remove the state to begin anew",
                    args.output.display(),
                    path.display()
                )),
                _ => Ok(journal),
            });
            if opened.is_err() && !stood {
                // It has been made for nothing.
                let _ = std::fs::remove_dir(&args.output);
            }
            Some(opened?)
        }
        None => None,
    };
    // After the directory, in which it may stand.
    let mut report = args.report.as_deref().map(|path| named(path, Report::open(path))).transpose()?;
    if let Some(path) = &args.access.save_cookies {
        access::reserve(path)?;
    }
    let (list, report_file) = (source.identity(), report.as_ref().map(Report::identity).transpose()?);
    let state_file = journal.as_ref().map(Journal::identity).transpose()?;
    streams::check(&args, list, report_file, state_file)?;
    let read = args.retry_failed.as_deref().and_then(|path| Identity::at(path).ok());
    if read.is_some_and(|read| read.is_regular() && Some(read) == report_file) {
        return Err("the report would be written over the one that is read: name another file".into());
    }
    if let (Some(report), Some(path)) = (&mut report, &args.report) {
        named(path, report.begin(journal.as_ref().map_or(0, Journal::report_bytes)))?;
    }
    if let Some(directory) = &mut directory {
        if args.skip_existing {
            directory.remember_names();
        }
        let own = [args.retry_failed.as_deref(), state, args.access.save_cookies.as_deref()];
        directory.spare(
            list.into_iter().chain(report_file).chain(streams::outputs(&args)),
            own.into_iter()
                .flatten()
                .map(Path::to_owned)
                .chain(access::files(&args.access).map(|(_, path)| path)),
        );
    }
    let typed = args.list() == Some("-".as_ref()) && io::stdin().is_terminal();
    let plain = typed || report.as_ref().is_some_and(Report::is_terminal);
    let before = journal.as_ref().map_or(0, Journal::before);
    let total = || source.total(input).map(|total| total.saturating_sub(before));
    let mut display = Display::new(args.quiet, args.marks, plain, total);
    display.before = (before, journal.as_ref().map_or(0, Journal::failed));
    let (label, hold) = shard.unzip();
    display.label = label;
    if typed {
        display.say("Type URLs, one per line; Ctrl-D ends the list.");
    }
    let resolver = Resolver::open(&args.access.resolver)?;
    // A download has a connection, or several, and, past its first bytes, a file; before, it asks servers for both families.
    let each = u64::from(args.split) + u64::from(!args.discard || resolver.is_some());
    let jobs = descriptors::make_room(args.jobs.most(), each)?;
    let per_host = args.per_host.filter(|limit| (*limit as usize) < jobs);
    let interval = args.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let limits = PerHost { jobs: per_host, adapts: args.jobs == Jobs::Auto, interval };
    let directory = directory.map(Rc::new);
    let archive = match &directory {
        Some(directory) => named(place, archive(&args, directory, journal.as_ref()))?,
        None => None,
    };
    let mut account = Account::new(display, report, journal, args.fsync);
    account.volumes = archive.as_ref().map(|archive| Rc::clone(archive.volumes()));
    account.take_up(directory.as_deref());
    if let Some(journal) = &account.journal {
        let list = args.list().unwrap_or("-".as_ref());
        named(list, source.pass_over(journal.done().clone(), journal.far(), input))?;
        account.far = Some(source.far());
    }
    let wanted = Rc::new(Wanted {
        only,
        template: args.name,
        directory: directory.clone().filter(|_| args.skip_existing || args.newer),
    });
    if wanted.directory.is_some() {
        source.claim_names(Rc::clone(&wanted));
    }
    let starter = Starter::new(Schedule::new(source, limits));
    let timeouts =
        Timeouts { connect: Some(args.connect_timeout), read: Some(args.read_timeout), ..Timeouts::NONE };
    aioxide::run(async move {
        // What is fetched is kept as it is, so no coding is asked for: an archive stays an archive.
        let mut session = Session::builder()
            .limit(jobs * args.split as usize)
            .timeouts(timeouts)
            .decompress(args.access.compressed);
        if args.access.compressed && args.warc.is_some() {
            // Asked for, and kept as it comes.
            session = session.decompress(false).header(header::ACCEPT_ENCODING, "gzip, deflate, br, zstd");
        }
        // The schedule counts the hosts of the list, the session those that redirects lead to.
        // One URL may come over several connections (--split).
        let connections = args.per_host.filter(|limit| (*limit as usize) < jobs * args.split as usize);
        session = session.limit_per_host(connections.map_or(0, |limit| limit as usize));
        let given = headers.iter().map(|header| (&header.name, &header.value));
        let asked = Asked::whole(directory.is_none()).with(given);
        for Header { name, mut value, is_secret } in headers {
            value.set_sensitive(is_secret);
            session = session.header(name, value);
        }
        let (access, mut session) = Access::prepare(&args.access, session)?;
        if args.access.insecure {
            account
                .display
                .say("aioxide: certificates are not verified (--insecure): nobody vouches for what comes");
        }
        let finder = args.per_address.map(|limit| {
            let given = args.access.resolve.iter().filter_map(|text| access::resolve(text));
            let plain = |(host, port, addresses): (String, u16, Vec<SocketAddr>)| {
                (host.to_ascii_lowercase(), port, addresses.iter().map(SocketAddr::ip).collect())
            };
            let cache = DnsCache::new(NAMES_KEPT);
            Finder { limit, cache, resolver: resolver.clone(), given: given.map(plain).collect() }
        });
        if let Some(resolver) = resolver {
            // It keeps answers for as long as they say.
            session = session.resolver(resolver).dns_ttl(Duration::ZERO);
        }
        if let Some(finder) = &finder {
            session = session.dns_cache(finder.cache.clone());
        }
        let agent = args.access.user_agent.as_deref().unwrap_or("aioxide");
        let robots = args.robots.then(|| Rc::new(Robots::new(agent)));
        let (starter, account) = (RefCell::new(starter), RefCell::new(account));
        let demands = Demands {
            timeouts,
            time: args.timeout,
            max_size: args.max_size,
            min_speed: args.min_speed.map(|speed| (speed, args.speed_time)),
            wanted,
            digest: args.checksum,
            fsync: args.fsync,
            split: args.split as usize,
            newer: args.newer,
            server_names: args.content_disposition,
            skip_existing: args.skip_existing,
            any_content: args.any_content,
            decodes: args.access.compressed && args.warc.is_none(),
        };
        let fetch = Rc::new(Fetch {
            session: session.redirects(args.max_redirects).build()?,
            directory,
            archive,
            asked,
            robots,
            finder,
            access,
            no_connections: Shortage::default(),
            demands,
            retries: Retries { times: args.retries, wait: args.retry_wait, longest: args.retry_max_wait },
            bandwidth: args.limit_rate.map(Bandwidth::new),
            jobs,
            hold,
            fail_fast: args.fail_fast,
            starter,
            account,
        });
        // They are heard until all is told.
        let _signals = fetch.run_all().await;
        Ok(fetch.finish())
    })?
}

/// What the session calls itself unless it is told otherwise.
const AGENT: &str = concat!("aioxide/", env!("CARGO_PKG_VERSION"));

/// With `--per-address`, how long what a name resolves to is used.
const NAMES_KEPT: Duration = Duration::from_secs(30);

/// Names the file in an error about it.
fn named<T>(path: &Path, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", path.display()))
}

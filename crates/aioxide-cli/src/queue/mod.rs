//! A queue of shards that several workers share: what one worker of many machines takes is a list of about ten thousand
//! URLs, not a URL.
//!
//! ```text
//!            fill                take                     done
//!   list ----------> waiting ----------> with a worker ----------> done
//!                       ^                  |    |  |
//!                       |   given back     |    |  | its worker is silent: taken over by another one
//!                       +------------------+    |  +--> with a worker
//!                       |                       | tried too often
//!                       |        retry          v
//!                       +------------------- set aside
//! ```
//!
//! There are two: a directory that the machines share, and a Redis or Valkey server. **Invariant**: a shard is with one worker at
//! most as far as the queue knows, and only that one can have it done. A worker that lost a shard may not know it yet, so
//! what is done is done at least once; that the files of a shard are there once is the worker's matter.

mod broker;
mod command;
mod directory;
mod distribute;
mod keeper;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use broker::Broker;
use directory::Directory;

pub(crate) use command::run;
pub(crate) use distribute::By;
pub(crate) use keeper::{Hold, Keeper};

/// What a queue is, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A directory that the machines share.
    Directory(PathBuf),
    /// A Redis or Valkey server: its URL, and what the queue is called there.
    Broker { url: String, name: String },
}

impl Address {
    /// Reads `DIR` or `redis://HOST:PORT/0?name=NAME`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, _)) = text.split_once("://") else {
            return match text {
                "" => Err("the name of the directory is empty".to_owned()),
                _ => Ok(Address::Directory(PathBuf::from(text))),
            };
        };
        if !SCHEMES.contains(&scheme) {
            return Err(format!(
                "a queue is a directory or one of {}://, not {scheme}://",
                SCHEMES.join("://, ")
            ));
        }
        let mut url = url::Url::parse(text).map_err(|error| error.to_string())?;
        let (names, others): (Vec<_>, Vec<_>) =
            url.query_pairs().into_owned().partition(|(key, _)| key == "name");
        let name = names.into_iter().next_back().map_or_else(|| "aioxide".to_owned(), |(_, name)| name);
        if name.is_empty()
            || name.contains(|character: char| character.is_whitespace() || character.is_control())
        {
            return Err(format!("{name:?} is no name for a queue: it is empty or has blanks in it"));
        }
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
        Ok(Address::Broker { url: url.into(), name })
    }
}

/// The schemes of servers.
const SCHEMES: [&str; 6] = ["redis", "rediss", "valkey", "valkeys", "redis+unix", "unix"];

/// Without the password of a server.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Directory(path) => path.display().fmt(formatter),
            Address::Broker { url, name } => {
                let host = url::Url::parse(url).ok().map_or_else(String::new, |mut url| {
                    // A URL that cannot have a password has none.
                    let _ = url.set_password(None);
                    url.to_string()
                });
                write!(formatter, "{host} ({name})")
            }
        }
    }
}

/// What holds for all workers of a queue; chosen when it is filled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Tells the queue from others.
    pub(crate) id: String,
    /// A worker that is silent for so many seconds has lost its shard.
    pub(crate) lease: f64,
    /// A shard that came to nothing so often is set aside.
    pub(crate) tries: u32,
}

impl Settings {
    /// See the field.
    pub(crate) fn lease(&self) -> Duration {
        Duration::try_from_secs_f64(self.lease).unwrap_or(DEFAULT_LEASE)
    }
}

const DEFAULT_LEASE: Duration = Duration::from_secs(60);

/// A shard that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The shard's number, with six digits.
    pub(crate) shard: String,
    /// How often it has been taken by workers that did not come to its end, this time included.
    pub(crate) tries: u32,
    /// The queue's own name of it.
    key: String,
}

/// What came of asking for a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    Shard(Lease),
    /// Nothing is waiting, but other workers have shards that they may lose.
    AllWithOthers,
    /// All shards are done or set aside.
    Nothing,
}

/// How far a worker has come with its shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// URLs that have ended.
    pub(crate) ended: u64,
    /// Those of them that ended well.
    pub(crate) good: u64,
    /// What came of them.
    pub(crate) bytes: u64,
}

/// What became of a shard that is done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) shard: String,
    /// The queue that it is of.
    pub(crate) queue: String,
    pub(crate) worker: String,
    pub(crate) tries: u32,
    /// Where its files are, on the worker's machine; `null` with `--discard`.
    pub(crate) path: Option<String>,
    pub(crate) urls: u64,
    pub(crate) good: u64,
    pub(crate) bytes: u64,
    /// How many of the URLs an earlier try had ended.
    pub(crate) before: u64,
    pub(crate) outcomes: BTreeMap<String, u64>,
    pub(crate) seconds: f64,
}

/// A queue as it is now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Status {
    pub(crate) shards: u64,
    pub(crate) waiting: u64,
    pub(crate) done: u64,
    pub(crate) with_workers: Vec<Held>,
    pub(crate) set_aside: Vec<Aside>,
    pub(crate) urls: u64,
    pub(crate) good: u64,
    pub(crate) bytes: u64,
    pub(crate) outcomes: BTreeMap<String, u64>,
}

impl Status {
    /// Counts a shard that is done.
    fn add(&mut self, result: &Summary) {
        self.urls += result.urls;
        self.good += result.good;
        self.bytes += result.bytes;
        for (outcome, count) in &result.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
    }
}

/// A shard that is with a worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Held {
    pub(crate) shard: String,
    pub(crate) worker: String,
    pub(crate) tries: u32,
    /// For how many seconds the worker has been silent; `None` if it has never been heard.
    pub(crate) silent: Option<f64>,
    pub(crate) progress: Progress,
}

/// A shard that was set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aside {
    pub(crate) shard: String,
    pub(crate) tries: u32,
    /// What became of the last try.
    pub(crate) why: String,
}

/// What both kinds of queue can do. Calls wait for a disk or a server, so the loop's thread is not theirs.
pub(crate) trait Queue: Send {
    /// What holds for all workers.
    fn settings(&self) -> &Settings;

    /// Takes a shard for this worker: one that a silent worker has lost, else one that is waiting. A shard whose tries are used up
    /// is set aside.
    fn take(&mut self) -> io::Result<Taken>;

    /// Writes the shard's list to a file.
    fn copy_list(&mut self, lease: &Lease, to: &Path) -> io::Result<()>;

    /// Tells that the worker still has the shard; `false` when it has lost it.
    fn renew(&mut self, lease: &Lease, progress: Progress) -> io::Result<bool>;

    /// The shard's files are whole; `false` when the worker has lost it meanwhile.
    fn done(&mut self, lease: &Lease, result: &Summary) -> io::Result<bool>;

    /// Gives the shard back. With a reason it came to nothing, which counts, and may have it set aside; without one it does not
    /// count. `true`: it was set aside.
    fn give_back(&mut self, lease: &Lease, why: Option<&str>) -> io::Result<bool>;

    /// This worker takes no more.
    fn leave(&mut self) -> io::Result<()>;

    /// The queue as it is now.
    fn status(&mut self) -> io::Result<Status>;

    /// Has the shards that were set aside waiting again, as if they had never been tried; returns how many they are.
    fn retry(&mut self) -> io::Result<u64>;
}

/// A queue that is being filled: no worker sees a shard of it before the last is there.
pub(crate) trait Filling {
    /// Adds a shard, whose list is compressed JSON lines.
    fn add(&mut self, shard: &str, list: &[u8]) -> io::Result<()>;

    /// All shards are there.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Opens a queue for a worker.
///
/// # Errors
/// There is none, or it cannot be reached.
pub(crate) fn open(address: &Address, worker: &str) -> io::Result<Box<dyn Queue>> {
    Ok(match address {
        Address::Directory(path) => Box::new(Directory::open(path, worker)?),
        Address::Broker { url, name } => Box::new(Broker::open(url, name, worker)?),
    })
}

/// Begins to fill a new queue.
///
/// # Errors
/// It is there already, or cannot be made.
fn begin(address: &Address, settings: Settings) -> io::Result<Box<dyn Filling>> {
    Ok(match address {
        Address::Directory(path) => Box::new(directory::New::begin(path, settings)?),
        Address::Broker { url, name } => Box::new(broker::New::begin(url, name, settings)?),
    })
}

/// What tells a worker from all others: its machine, its process, and chance, since containers have a number 1 each.
pub(crate) fn worker_name() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let machine: String = machine
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .take(40)
        .collect();
    format!("{machine}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}

fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

/// Why a shard was set aside whose workers went silent.
fn lost(worker: &str) -> String {
    format!("{worker}, which had it last, went silent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_directory_or_a_server() {
        let broker = |url: &str, name: &str| Address::Broker { url: url.to_owned(), name: name.to_owned() };
        for (text, expected) in [
            ("a/b", Address::Directory(PathBuf::from("a/b"))),
            ("redis://h:1/0", broker("redis://h:1/0", "aioxide")),
            ("redis://h:1/0?name=n", broker("redis://h:1/0", "n")),
            ("rediss://u:p@h/2?name=a%3Ab&protocol=resp3", broker("rediss://u:p@h/2?protocol=resp3", "a:b")),
        ] {
            assert_eq!(Address::parse(text).unwrap(), expected, "{text}");
        }
        for (text, reason) in [
            ("", "empty"),
            ("http://h/", "not http://"),
            ("redis://h/?name=", "empty"),
            ("redis://h/?name=a%20b", "blanks"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn password_of_a_server_is_not_shown() {
        let shown = Address::parse("redis://user:secret@h:1/0?name=n").unwrap().to_string();
        assert_eq!(shown, "redis://user@h:1/0 (n)");
    }
}

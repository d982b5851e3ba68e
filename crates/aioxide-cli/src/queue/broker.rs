//! A queue in Redis or Valkey: a stream whose entries are shards, and its consumer group.
//!
//! ```text
//! NAME            the stream: entries of a shard's number and its earlier tries; those that are pending are with workers
//! NAME:about      the settings; it is there once the queue is filled
//! NAME:lists      the lists, by shard
//! NAME:aside      what was set aside, and why, by shard
//! NAME:results    a stream: what became of each shard that is done
//! NAME:totals     sums of that
//! NAME:workers    how far the workers have come
//! ```
//!
//! What a worker does with a shard that it has is one script on the server, which first looks whether it still has it. The
//! server's clock alone says how long a worker has been silent.
//!
//! The connection is a blocking one, used by a worker's one thread for its queue: a worker asks for a shard once in minutes, and the
//! asynchronous half of the `redis` crate would bring another runtime.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;

use redis::{Client, Cmd, Connection, FromRedisValue, RedisError, cmd};

use super::{Aside, Filling, Held, Lease, Progress, Queue, Settings, Status, Summary, Taken, lost, other};

/// The queue, as one worker sees it.
pub(crate) struct Broker {
    server: Server,
    worker: String,
    settings: Settings,
}

/// The server, and how the queue is called there.
struct Server {
    client: Client,
    /// `None` after a failure: the next call connects anew.
    connection: Option<Connection>,
    name: String,
}

/// For a connection, and for each answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many silent workers' shards are looked at before one that waits is taken.
const MOST_SILENT: u32 = 100;
const GROUP: &str = "workers";

/// The beginning of scripts: nothing is done with a shard that the worker has no more. `KEYS[1]` is the stream, `ARGV[1]` the worker,
/// `ARGV[2]` the entry.
const STILL_HAS: &str = "local has = redis.call('XPENDING', KEYS[1], 'workers', ARGV[2], ARGV[2], 1)
if #has == 0 or has[1][2] ~= ARGV[1] then return 0 end
local function let_go()
  redis.call('XACK', KEYS[1], 'workers', ARGV[2])
  redis.call('XDEL', KEYS[1], ARGV[2])
end
";
/// `KEYS[2]`: workers; `ARGV[3]`: how far it has come.
const RENEW: &str = "redis.call('XCLAIM', KEYS[1], 'workers', ARGV[1], 0, ARGV[2], 'JUSTID')
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 1";
/// `KEYS[2]` to `[4]`: lists, results, totals; `ARGV[3]`: the shard, `ARGV[4]`: the result, then what to add to which total.
const DONE: &str = "let_go()
redis.call('HDEL', KEYS[2], ARGV[3])
redis.call('XADD', KEYS[3], '*', 'shard', ARGV[3], 'result', ARGV[4])
for at = 5, #ARGV, 2 do redis.call('HINCRBY', KEYS[4], ARGV[at], ARGV[at + 1]) end
return 1";
/// `ARGV[3]`: the shard, `ARGV[4]`: its tries.
const GIVE_BACK: &str = "let_go()
redis.call('XADD', KEYS[1], '*', 'shard', ARGV[3], 'tries', ARGV[4])
return 1";
/// `KEYS[2]`: aside; `ARGV[3]`: the shard, `ARGV[4]`: why.
const SET_ASIDE: &str = "let_go()
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return 1";
/// `KEYS`: the stream, aside.
const RETRY: &str = "local shards = redis.call('HKEYS', KEYS[2])
for _, shard in ipairs(shards) do redis.call('XADD', KEYS[1], '*', 'shard', shard, 'tries', 0) end
redis.call('DEL', KEYS[2])
return #shards";
/// A consumer that has entries takes them with it when it is deleted. `KEYS`: the stream, workers; `ARGV[1]`: the worker.
const LEAVE: &str = "redis.call('HDEL', KEYS[2], ARGV[1])
if #redis.call('XPENDING', KEYS[1], 'workers', '-', '+', 1, ARGV[1]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'workers', ARGV[1])
end
return 1";

impl Server {
    fn new(url: &str, name: &str) -> io::Result<Self> {
        Ok(Server { client: Client::open(url).map_err(told)?, connection: None, name: name.to_owned() })
    }

    fn key(&self, of: &str) -> String {
        format!("{}:{of}", self.name)
    }

    fn connected(&mut self) -> io::Result<&mut Connection> {
        if self.connection.is_none() {
            let connection = self.client.get_connection_with_timeout(PATIENCE).map_err(told)?;
            connection.set_read_timeout(Some(PATIENCE)).map_err(told)?;
            connection.set_write_timeout(Some(PATIENCE)).map_err(told)?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| other("there is no connection"))
    }

    fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> io::Result<T> {
        let answer = command.query(self.connected()?);
        if answer.is_err() {
            self.connection = None;
        }
        answer.map_err(told)
    }

    /// Runs a script: its keys, the stream first, and its arguments.
    fn run(&mut self, script: &str, keys: &[&str], arguments: &[&str]) -> io::Result<u64> {
        let mut command = cmd("EVAL");
        command.arg(script).arg(keys.len() + 1).arg(&self.name);
        for of in keys {
            command.arg(self.key(of));
        }
        command.arg(arguments);
        self.ask(&command)
    }
}

fn told(error: RedisError) -> io::Error {
    let text = error.to_string();
    other(match text.contains("XPENDING") && text.contains("syntax") {
        true => format!("the server is too old: Redis 6.2 or Valkey is needed ({text})"),
        false => text,
    })
}

/// An entry of the stream: its identifier and its fields.
type Entry = (String, HashMap<String, String>);

impl Broker {
    /// Opens a queue that has been filled.
    ///
    /// # Errors
    /// There is none, or the server cannot be reached.
    pub(crate) fn open(url: &str, name: &str, worker: &str) -> io::Result<Self> {
        let mut server = Server::new(url, name)?;
        let about: Option<String> = server.ask(cmd("GET").arg(server.key("about")))?;
        let Some(about) = about else {
            let is_begun: bool = server.ask(cmd("EXISTS").arg(server.key("lists")))?;
            return Err(other(match is_begun {
                true => {
                    "it is being filled, or filling it was broken off; then remove its keys and fill it anew"
                }
                false => "no queue of this name is there; `aioxide queue fill` makes one",
            }));
        };
        let settings =
            serde_json::from_str(&about).map_err(|error| other(format!("its settings: {error}")))?;
        Ok(Broker { server, worker: worker.to_owned(), settings })
    }

    /// Runs a script for a shard that the worker has.
    fn with(&mut self, lease: &Lease, script: &str, keys: &[&str], arguments: &[&str]) -> io::Result<bool> {
        let script = format!("{STILL_HAS}{script}");
        let (worker, entry) = (self.worker.clone(), lease.key.clone());
        let arguments: Vec<&str> = [&*worker, &entry].into_iter().chain(arguments.iter().copied()).collect();
        Ok(self.server.run(&script, keys, &arguments)? > 0)
    }

    /// The entries that workers have, the longest silent for at least `silent`: identifier, worker, milliseconds of silence, how
    /// often it was taken.
    fn pending(&mut self, silent: Duration, count: u64) -> io::Result<Vec<(String, String, u64, u32)>> {
        let mut command = cmd("XPENDING");
        command.arg(&self.server.name).arg(GROUP);
        command.arg("IDLE").arg(silent.as_millis() as u64).arg("-").arg("+").arg(count);
        self.server.ask(&command)
    }

    /// Takes over a shard whose worker is silent.
    fn take_over(&mut self) -> io::Result<Option<Lease>> {
        let lease = self.settings.lease();
        for _ in 0..MOST_SILENT {
            let Some((id, worker, _, taken)) = self.pending(lease, 1)?.pop() else { break };
            let mut command = cmd("XCLAIM");
            command.arg(&self.server.name).arg(GROUP).arg(&self.worker);
            command.arg(lease.as_millis() as u64).arg(&id);
            let claimed: Vec<Option<Entry>> = self.server.ask(&command)?;
            // Another worker was faster, or the silent one has spoken.
            let Some(entry) = claimed.into_iter().flatten().next() else { continue };
            let _: u64 = self.server.run(LEAVE, &["workers"], &[&worker])?;
            let lease = leased(entry, taken + 1)?;
            if lease.tries <= self.settings.tries {
                return Ok(Some(lease));
            }
            self.set_aside(&lease, lease.tries - 1, &lost(&worker))?;
        }
        Ok(None)
    }

    fn set_aside(&mut self, lease: &Lease, tries: u32, why: &str) -> io::Result<bool> {
        let aside = Aside { shard: lease.shard.clone(), tries, why: why.to_owned() };
        self.with(lease, SET_ASIDE, &["aside"], &[&lease.shard, &serde_json::to_string(&aside)?])
    }
}

/// The shard of an entry that was taken so often.
fn leased((key, mut fields): Entry, taken: u32) -> io::Result<Lease> {
    let shard =
        fields.remove("shard").ok_or_else(|| other(format!("entry {key} of the stream names no shard")))?;
    let before: u32 = fields.get("tries").and_then(|tries| tries.parse().ok()).unwrap_or(0);
    Ok(Lease { shard, tries: before + taken, key })
}

impl Queue for Broker {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn take(&mut self) -> io::Result<Taken> {
        if let Some(lease) = self.take_over()? {
            return Ok(Taken::Shard(lease));
        }
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.worker).arg("COUNT").arg(1);
        command.arg("STREAMS").arg(&self.server.name).arg(">");
        let streams: Option<Vec<(String, Vec<Entry>)>> = self.server.ask(&command)?;
        if let Some(entry) = streams.into_iter().flatten().flat_map(|(_, entries)| entries).next() {
            return Ok(Taken::Shard(leased(entry, 1)?));
        }
        let left: u64 = self.server.ask(cmd("XLEN").arg(&self.server.name))?;
        Ok(if left > 0 { Taken::AllWithOthers } else { Taken::Nothing })
    }

    fn copy_list(&mut self, lease: &Lease, to: &Path) -> io::Result<()> {
        let list: Option<Vec<u8>> =
            self.server.ask(cmd("HGET").arg(self.server.key("lists")).arg(&lease.shard))?;
        let list =
            list.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the server has no list for it"))?;
        std::fs::write(to, list)
    }

    fn renew(&mut self, lease: &Lease, progress: Progress) -> io::Result<bool> {
        let progress = serde_json::to_string(&(&lease.shard, progress))?;
        self.with(lease, RENEW, &["workers"], &[&progress])
    }

    fn done(&mut self, lease: &Lease, result: &Summary) -> io::Result<bool> {
        let mut arguments = vec![lease.shard.clone(), serde_json::to_string(result)?];
        let sums = [("shards", 1), ("urls", result.urls), ("good", result.good), ("bytes", result.bytes)];
        let sums = sums.map(|(name, sum)| (name.to_owned(), sum)).into_iter();
        let outcomes = result.outcomes.iter().map(|(name, count)| (format!("outcome:{name}"), *count));
        arguments.extend(sums.chain(outcomes).flat_map(|(name, sum)| [name, sum.to_string()]));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.with(lease, DONE, &["lists", "results", "totals"], &arguments)
    }

    fn give_back(&mut self, lease: &Lease, why: Option<&str>) -> io::Result<bool> {
        let tries = match why {
            Some(why) if lease.tries >= self.settings.tries => {
                return self.set_aside(lease, lease.tries, why);
            }
            Some(_) => lease.tries,
            None => lease.tries.saturating_sub(1),
        };
        self.with(lease, GIVE_BACK, &[], &[&lease.shard, &tries.to_string()])?;
        Ok(false)
    }

    fn leave(&mut self) -> io::Result<()> {
        let worker = self.worker.clone();
        self.server.run(LEAVE, &["workers"], &[&worker]).map(drop)
    }

    fn status(&mut self) -> io::Result<Status> {
        let key = |of: &str| self.server.key(of);
        let [totals, aside, workers] = ["totals", "aside", "workers"].map(key);
        let left: u64 = self.server.ask(cmd("XLEN").arg(&self.server.name))?;
        let pending = self.pending(Duration::ZERO, 100_000)?;
        let totals: BTreeMap<String, u64> = self.server.ask(cmd("HGETALL").arg(totals))?;
        let aside: BTreeMap<String, String> = self.server.ask(cmd("HGETALL").arg(aside))?;
        let workers: HashMap<String, String> = self.server.ask(cmd("HGETALL").arg(workers))?;
        let total = |name: &str| totals.get(name).copied().unwrap_or(0);
        let mut status = Status {
            waiting: left.saturating_sub(pending.len() as u64),
            done: total("shards"),
            urls: total("urls"),
            good: total("good"),
            bytes: total("bytes"),
            ..Status::default()
        };
        for (name, count) in &totals {
            if let Some(outcome) = name.strip_prefix("outcome:") {
                status.outcomes.insert(outcome.to_owned(), *count);
            }
        }
        for (id, worker, silent, taken) in pending {
            let mut command = cmd("XRANGE");
            command.arg(&self.server.name).arg(&id).arg(&id);
            let entry = self.server.ask::<Vec<Entry>>(&command)?.pop();
            // Done in the meantime.
            let Some(entry) = entry else { continue };
            let Lease { shard, tries, .. } = leased(entry, taken)?;
            let told = workers.get(&worker).and_then(|text| serde_json::from_str(text).ok());
            let progress = told.filter(|(of, _): &(String, Progress)| *of == shard);
            status.with_workers.push(Held {
                progress: progress.map(|(_, progress)| progress).unwrap_or_default(),
                shard,
                worker,
                tries,
                silent: Some(silent as f64 / 1000.0),
            });
        }
        for (shard, text) in aside {
            let unknown = || Aside { shard, tries: 0, why: "nothing is told".to_owned() };
            status.set_aside.push(serde_json::from_str(&text).unwrap_or_else(|_| unknown()));
        }
        let (held, aside) = (status.with_workers.len() as u64, status.set_aside.len() as u64);
        status.shards = status.waiting + status.done + held + aside;
        Ok(status)
    }

    fn retry(&mut self) -> io::Result<u64> {
        self.server.run(RETRY, &["aside"], &[])
    }
}

/// A queue that is being filled.
pub(crate) struct New {
    server: Server,
    settings: Settings,
}

impl New {
    /// Makes sure that no queue has the name.
    ///
    /// # Errors
    /// One has, or the server cannot be reached.
    pub(crate) fn begin(url: &str, name: &str, settings: Settings) -> io::Result<Self> {
        let mut server = Server::new(url, name)?;
        let mut command = cmd("EXISTS");
        command.arg(name);
        for of in ["about", "lists", "filling"] {
            command.arg(server.key(of));
        }
        match server.ask::<u64>(&command)? {
            0 => Ok(New { server, settings }),
            _ => Err(other(format!(
                "the server has a queue {name} already, or keys of one: give ?name=OTHER, or remove {name} and {name}:*"
            ))),
        }
    }
}

impl Filling for New {
    fn add(&mut self, shard: &str, list: &[u8]) -> io::Result<()> {
        let (lists, filling) = (self.server.key("lists"), self.server.key("filling"));
        let _: u64 = self.server.ask(cmd("HSET").arg(lists).arg(shard).arg(list))?;
        let mut command = cmd("XADD");
        command.arg(filling).arg("*").arg("shard").arg(shard).arg("tries").arg(0);
        self.server.ask::<String>(&command).map(drop)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let (filling, about) = (self.server.key("filling"), self.server.key("about"));
        let settings = serde_json::to_string(&self.settings)?;
        let name = self.server.name.clone();
        let mut all = redis::pipe();
        all.atomic();
        all.cmd("XGROUP").arg("CREATE").arg(&filling).arg(GROUP).arg(0).arg("MKSTREAM").ignore();
        all.cmd("RENAME").arg(&filling).arg(&name).ignore();
        all.cmd("SET").arg(about).arg(settings).ignore();
        all.query::<()>(self.server.connected()?).map_err(told)
    }
}

//! Workers that share a queue: each shard is done once, whatever becomes of the workers.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::nasty::Nasty;
use support::redis::Redis;
use support::{aioxide, body, files, records, text};
use tempfile::TempDir;

/// A queue in a directory or on a server, and a directory for all else.
struct Queue {
    directory: TempDir,
    redis: Option<Redis>,
}

impl Queue {
    fn in_directory() -> Self {
        Queue { directory: tempfile::tempdir().unwrap(), redis: None }
    }

    /// `None` where no server is installed.
    fn on_server() -> Option<Self> {
        Some(Queue { redis: Some(Redis::start()?), ..Self::in_directory() })
    }

    /// Both kinds.
    fn both() -> Vec<Self> {
        [Some(Self::in_directory()), Self::on_server()].into_iter().flatten().collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn address(&self) -> String {
        match &self.redis {
            Some(redis) => redis.url("test"),
            None => self.path("queue").to_str().unwrap().to_owned(),
        }
    }

    #[track_caller]
    fn fill(&self, urls: &[String], options: &[&str]) {
        fs::write(self.path("list"), urls.join("\n")).unwrap();
        let output = self.command("fill", options).arg("-i").arg(self.path("list")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }

    /// `aioxide queue` with one of its verbs.
    fn command(&self, verb: &str, options: &[&str]) -> Command {
        let mut command = aioxide();
        command.args(["queue", verb, &self.address()]).args(options);
        command
    }

    #[track_caller]
    fn status(&self) -> Value {
        let output = self.command("status", &["--json"]).output().unwrap();
        assert_eq!(text(&output.stderr), "");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn worker(&self, out: &str, options: &[&str]) -> Command {
        let mut command = aioxide();
        command.args(["fetch", "--queue", &self.address(), "-o"]).arg(self.path(out)).args(options);
        command
    }

    /// Runs a worker to its end.
    fn work(&self, options: &[&str]) -> Output {
        self.worker("out", options).output().unwrap()
    }

    /// Starts a worker whose messages go to a file.
    fn start(&self, out: &str, options: &[&str], log: &str) -> Child {
        let log = File::create(self.path(log)).unwrap();
        self.worker(out, options).stderr(log).stdout(Stdio::null()).spawn().unwrap()
    }

    /// The names in a directory of shards.
    fn shards(&self, out: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(out)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

fn wait(milliseconds: u64) {
    thread::park_timeout(Duration::from_millis(milliseconds));
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// URLs by how often their paths were asked for.
fn counted(paths: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for path in paths {
        *counts.entry(path.as_str()).or_default() += 1;
    }
    counts
}

/// Three workers, one of which is killed every now and then and replaced, and always the one that has a certain shard.
fn every_url_is_done(queue: &Queue, is_shared: bool) {
    const URLS: usize = 3000;
    const JOBS: usize = 4;
    const TRIES: usize = 4;
    let server = Nasty::start();
    let mut urls: Vec<String> =
        (0..URLS).map(|number| server.url(&format!("/ok/{}/file-{number}", 100 + number % 1000))).collect();
    urls[URLS / 2] = server.url("/hold/poison");
    let tries = TRIES.to_string();
    queue.fill(&urls, &["--shard-size", "8", "--by", "url", "--lease", "3", "--tries", &tries]);
    let shards = queue.status()["shards"].as_u64().unwrap();
    assert!((270..=330).contains(&shards), "{shards}");

    let mut random = 7_u64;
    let mut workers: Vec<(usize, Child)> = Vec::new();
    let (mut started, mut kills, mut poisoned) = (0, 0, 0);
    let mut next_kill = 10;
    let out = |number: usize| if is_shared { "out".to_owned() } else { format!("out-{number}") };
    let start = |number: usize| {
        let agent = format!("worker-{number}.");
        let options = ["-j", &JOBS.to_string(), "-A", &agent];
        (number, queue.start(&out(number), &options, &format!("log-{number}")))
    };
    while started < 3 {
        workers.push(start(started));
        started += 1;
    }
    for step in 0.. {
        assert!(step < 6000, "{}", queue.status());
        workers.retain_mut(|(number, child)| match child.try_wait().unwrap() {
            None => true,
            Some(status) => {
                let log = fs::read_to_string(queue.path(&format!("log-{number}"))).unwrap();
                assert_eq!(status.code(), Some(0), "{log}");
                false
            }
        });
        if workers.is_empty() {
            break;
        }
        let heads = server.heads();
        let holds: Vec<&String> = heads.iter().filter(|head| head.contains("/hold/poison")).collect();
        let mut victims = Vec::new();
        if holds.len() > poisoned {
            poisoned = holds.len();
            let head = holds[poisoned - 1];
            victims
                .extend(workers.iter().position(|(number, _)| head.contains(&format!("worker-{number}."))));
        } else if step >= next_kill {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            next_kill = step + 10 + (random >> 33) as usize % 20;
            victims.push((random >> 40) as usize % workers.len());
        }
        for victim in victims {
            kill(&mut workers[victim].1);
            kills += 1;
            workers[victim] = start(started);
            started += 1;
        }
        wait(50);
    }
    assert!(kills >= TRIES + 3, "{kills}");

    let status = queue.status();
    let aside = status["set_aside"].as_array().unwrap();
    assert_eq!(aside.len(), 1, "{status}");
    assert_eq!(aside[0]["tries"], TRIES, "{status}");
    // A worker may have been killed by chance before it came to the URL that kills.
    assert!((1..=TRIES).contains(&poisoned), "{poisoned}");
    assert!(aside[0]["why"].as_str().unwrap().contains("went silent"), "{status}");
    assert_eq!(status["done"], shards - 1, "{status}");
    assert_eq!(status["urls"], status["good"]);

    // Nobody dies of it any more.
    server.release();
    let output = queue.command("retry", &[]).output().unwrap();
    assert_eq!(text(&output.stdout), "1 shard waiting again\n");
    workers.push(start(started));
    assert!(workers[0].1.wait().unwrap().success());
    let status = queue.status();
    assert_eq!(
        (&status["done"], &status["urls"], &status["good"]),
        (&shards.into(), &URLS.into(), &URLS.into())
    );

    // Each URL is in one shard that is whole, with its file.
    let mut seen = BTreeSet::new();
    let outs: Vec<String> = if is_shared { vec!["out".to_owned()] } else { (0..=started).map(out).collect() };
    let mut directories = BTreeSet::new();
    for out in outs.iter().filter(|out| queue.path(out).exists()) {
        let whole: Vec<String> =
            queue.shards(out).into_iter().filter(|name| !name.starts_with('.')).collect();
        // Where workers share it nothing else is left; on a dead worker's own disk there is what it left.
        assert!(!is_shared || whole == queue.shards(out), "{:?}", queue.shards(out));
        for shard in whole {
            let path = queue.path(out).join(&shard);
            let there = fs::canonicalize(&path).unwrap().to_str().unwrap().to_owned();
            let result: Value = serde_json::from_slice(&fs::read(path.join("result.json")).unwrap()).unwrap();
            assert_eq!(result["path"], there);
            let files = files(&path.join("files"));
            let records = records(&path.join("report.jsonl"));
            assert_eq!((files.len(), &result["urls"]), (records.len(), &records.len().into()));
            if !told(queue, &shard, &there) {
                // Whole, but its worker was killed before it could tell, and another one has begun anew elsewhere.
                assert!(!is_shared);
                continue;
            }
            assert!(directories.insert(shard));
            for record in records {
                assert_eq!(record["outcome"], "ok", "{record}");
                let url = record["url"].as_str().unwrap().to_owned();
                let bytes = &files[record["path"].as_str().unwrap()];
                let length = record["bytes"].as_u64().unwrap();
                assert!(url.ends_with("/hold/poison") || *bytes == body(length, bytes.len()), "{record}");
                assert!(seen.insert(url), "twice: {record}");
            }
        }
    }
    assert_eq!(seen, urls.into_iter().collect());
    assert_eq!(directories.len() as u64, shards);

    // What was asked for twice was under way in a worker that was killed, or, where workers share no disk, in its shard.
    let requests = server.requests();
    let counts = counted(&requests);
    let again: usize = counts.values().map(|count| count - 1).sum();
    let lost: usize = (0..=started)
        .map(|number| fs::read_to_string(queue.path(&format!("log-{number}"))).unwrap())
        .map(|log| log.matches("another worker").count())
        .sum();
    let most = (kills + lost) * if is_shared { JOBS } else { 40 };
    assert!(again <= most, "{again} again, of {kills} kills and {lost} shards lost");
    eprintln!(
        "{shards} shards, {kills} kills, {lost} lost by living workers, {again} of {URLS} asked for again"
    );
}

/// Whether the queue was told that the shard is there.
fn told(queue: &Queue, shard: &str, path: &str) -> bool {
    let results: Vec<String> = match &queue.redis {
        None => files(&queue.path("queue/results"))
            .into_values()
            .flat_map(|file| String::from_utf8(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect(),
        Some(redis) => redis
            .ask::<Vec<(String, BTreeMap<String, String>)>>(&[b"XRANGE", b"test:results", b"-", b"+"])
            .into_iter()
            .map(|(_, mut fields)| fields.remove("result").unwrap())
            .collect(),
    };
    results.iter().any(|line| {
        let result: Value = serde_json::from_str(line).unwrap();
        result["shard"] == shard && result["path"] == path
    })
}

#[test]
fn workers_of_a_directory_are_killed_and_every_url_is_done() {
    every_url_is_done(&Queue::in_directory(), true);
}

#[test]
fn workers_of_a_server_are_killed_and_every_url_is_done() {
    if let Some(queue) = Queue::on_server() {
        every_url_is_done(&queue, true);
    }
}

#[test]
fn workers_that_share_no_disk_begin_shards_of_the_dead_anew() {
    if let Some(queue) = Queue::on_server() {
        every_url_is_done(&queue, false);
    }
}

#[test]
fn worker_that_is_only_stopped_loses_its_shard_and_spoils_nothing() {
    for queue in Queue::both() {
        let server = Nasty::start();
        let urls = [server.url("/ok/10"), server.url("/hold"), server.url("/ok/20")];
        queue.fill(&urls, &["--lease", "1"]);
        let mut first = queue.start("out", &[], "first");
        server.wait_for_requests(3);
        send(&first, Signal::STOP);
        let mut second = queue.start("out", &[], "second");
        // All of it anew: what the first one has is still locked.
        server.wait_for_requests(6);
        server.release();
        assert!(second.wait().unwrap().success());
        assert_eq!(queue.status()["good"], 3);
        send(&first, Signal::CONT);
        assert!(first.wait().unwrap().success());
        let log = fs::read_to_string(queue.path("first")).unwrap();
        assert!(log.contains("another worker"), "{log}");
        assert_eq!(queue.shards("out"), ["000000"]);
        assert_eq!(files(&queue.path("out/000000/files")).len(), 3);
        let status = queue.status();
        assert_eq!((&status["done"], &status["urls"]), (&1.into(), &3.into()), "{status}");
    }
}

#[test]
fn worker_that_is_told_to_end_gives_its_shard_back() {
    for queue in Queue::both() {
        let server = Nasty::start();
        let urls = [server.url("/ok/10"), server.url("/hold")];
        queue.fill(&urls, &["--tries", "1"]);
        for _ in 0..2 {
            let before = server.requests().iter().filter(|path| *path == "/hold").count();
            let mut worker = queue.start("out", &["-j1"], "log");
            while server.requests().iter().filter(|path| *path == "/hold").count() == before {
                wait(20);
            }
            let status = queue.status();
            assert_eq!(status["with_workers"][0]["tries"], 1, "{status}");
            send(&worker, Signal::TERM);
            assert_eq!(worker.wait().unwrap().code(), Some(143));
            assert_eq!(queue.status()["waiting"], 1, "at once, and without a try that counts");
        }
        server.release();
        let output = queue.work(&[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let result = fs::read(queue.path("out/000000/result.json")).unwrap();
        let result: Value = serde_json::from_slice(&result).unwrap();
        assert_eq!((&result["urls"], &result["before"], &result["tries"]), (&2.into(), &1.into(), &1.into()));
        assert_eq!(server.requests().iter().filter(|path| *path == "/ok/10").count(), 1);
    }
}

#[test]
fn shard_whose_list_cannot_be_read_is_set_aside() {
    for queue in Queue::both() {
        let server = Nasty::start();
        let urls: Vec<String> = (1..=500).map(|number| server.url(&format!("/ok/{number}"))).collect();
        queue.fill(&urls, &["--tries", "2"]);
        let spoilt = |list: &[u8]| list[..list.len() / 2].to_vec();
        let whole = match &queue.redis {
            None => {
                let path = queue.path("queue/waiting/000000.0");
                let list = fs::read(&path).unwrap();
                fs::write(path, spoilt(&list)).unwrap();
                list
            }
            Some(redis) => {
                let list: Vec<u8> = redis.ask(&[b"HGET", b"test:lists", b"000000"]);
                let _: u64 = redis.ask(&[b"HSET", b"test:lists", b"000000", &spoilt(&list)]);
                list
            }
        };
        let output = queue.work(&[]);
        assert_eq!(output.status.code(), Some(1));
        let printed = text(&output.stderr);
        assert_eq!(printed.matches("goes back to the queue").count(), 1, "{printed}");
        assert_eq!(printed.matches("is set aside: its list cannot be read").count(), 1, "{printed}");
        let shown = text(&queue.command("status", &[]).output().unwrap().stdout);
        assert!(shown.contains("set aside: shard 000000 after 2 tries: its list cannot be read"), "{shown}");
        match &queue.redis {
            None => fs::write(queue.path("queue/aside/000000.2"), whole).unwrap(),
            Some(redis) => {
                let _: u64 = redis.ask(&[b"HSET", b"test:lists", b"000000", &whole]);
            }
        }
        assert!(queue.command("retry", &[]).output().unwrap().status.success());
        assert_eq!(queue.work(&[]).status.code(), Some(0));
        assert_eq!(queue.status()["good"], 500);
    }
}

#[test]
fn list_keeps_names_headers_and_checksums() {
    for queue in Queue::both() {
        let server = Nasty::start();
        let (url, wrong) = (server.url("/ok/3"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let list = format!(
            "url,name,header:X-A,sha1\n{url},\"a, b.txt\",\"x, y\",\n{url}?2,,,{wrong}\nnothing,,,\n{url}?3,,,12\n"
        );
        fs::write(queue.path("list.csv"), list).unwrap();
        let output = queue.command("fill", &["-i"]).arg(queue.path("list.csv")).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let printed = text(&output.stderr);
        assert!(
            printed.contains("line 4: invalid_url") && printed.contains("line 5: invalid_url"),
            "{printed}"
        );
        assert!(
            printed.contains("1 shard with 2 URLs") && printed.contains("2 lines are no URLs"),
            "{printed}"
        );
        // What fails has failed: the report tells, and the shard is done.
        assert_eq!(queue.work(&["-j1"]).status.code(), Some(0));
        assert!(server.heads()[0].to_lowercase().contains("x-a: x, y"), "{}", server.heads()[0]);
        assert_eq!(files(&queue.path("out/000000/files")).keys().collect::<Vec<_>>(), ["a, b.txt"]);
        let status = queue.status();
        assert_eq!((&status["good"], &status["outcomes"]["checksum_error"]), (&1.into(), &1.into()));
        // Lines are those of the list.
        let records = support::records(&queue.path("out/000000/report.jsonl"));
        let mut lines: Vec<_> = records.iter().filter_map(|record| record["line"].as_u64()).collect();
        lines.sort_unstable();
        assert_eq!(lines, [2, 3]);
    }
}

#[test]
fn one_is_told_in_the_singular() {
    let queue = Queue::in_directory();
    fs::write(queue.path("list"), "http://127.0.0.1/\nnothing\n").unwrap();
    let output = queue.command("fill", &["-i"]).arg(queue.path("list")).output().unwrap();
    let printed = text(&output.stderr);
    assert!(
        printed.contains("1 shard with 1 URL, at most 1") && printed.contains("; 1 line is no URL"),
        "{printed}"
    );
}

#[test]
fn tar_shards_and_discarded_bodies_are_for_queues_too() {
    let server = Nasty::start();
    let urls: Vec<String> = (1..=90).map(|number| server.url(&format!("/ok/{number}"))).collect();
    let queue = Queue::in_directory();
    queue.fill(&urls, &["--shard-size", "20", "--by", "url"]);
    assert_eq!(queue.work(&["--tar-shards", "7"]).status.code(), Some(0));
    let mut members = 0;
    for shard in queue.shards("out") {
        for path in fs::read_dir(queue.path("out").join(shard).join("files")).unwrap() {
            let path = path.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "tar") {
                members += tar::Archive::new(File::open(path).unwrap()).entries().unwrap().count();
            }
        }
    }
    assert_eq!(members, 180);
    let queue = Queue::in_directory();
    queue.fill(&urls, &["--shard-size", "20", "--by", "url"]);
    assert_eq!(queue.work(&["--warc", "/tmp/site.warc.gz"]).status.code(), Some(2));
    assert_eq!(queue.work(&["--warc", "site.warc.gz"]).status.code(), Some(0));
    let mut answers = 0;
    for shard in queue.shards("out") {
        let files = support::files(&queue.path("out").join(shard).join("files"));
        assert!(files.keys().eq(["site.cdxj", "site.warc.gz"]), "{:?}", files.keys());
        answers += text(&files["site.cdxj"]).lines().count();
    }
    assert_eq!(answers, 90);
    let queue = Queue::in_directory();
    queue.fill(&urls, &["--shard-size", "20", "--by", "url"]);
    let mut worker = aioxide();
    worker.current_dir(queue.directory.path()).args([
        "fetch",
        "--queue",
        &queue.address(),
        "--discard",
        "-q",
    ]);
    assert_eq!(worker.output().unwrap().status.code(), Some(0));
    assert_eq!(queue.status()["good"], 90);
    assert!(!queue.path("000000/files").exists() && queue.path("000000/report.jsonl").exists());
}

#[test]
fn mistakes_are_told() {
    #[track_caller]
    fn check(mut command: Command, reason: &str) {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let printed = text(&output.stderr);
        assert!(printed.contains(reason), "{printed}");
    }
    let server = Nasty::start();
    let urls = [server.url("/ok/1")];
    for queue in Queue::both() {
        for verb in ["status", "retry"] {
            check(queue.command(verb, &[]), "`aioxide queue fill` makes one");
        }
        check(queue.worker("out", &[]), "`aioxide queue fill` makes one");
        queue.fill(&urls, &[]);
        let mut again = queue.command("fill", &["-i"]);
        again.arg(queue.path("list"));
        check(again, if queue.redis.is_some() { "has a queue test already" } else { "something is in it" });
        let mut missing = Queue::in_directory().command("fill", &["-i", "/does/not/exist"]);
        missing.stdout(Stdio::null());
        check(missing, "/does/not/exist");
        // The directory has shards of another queue.
        fs::create_dir_all(queue.path("out/000000")).unwrap();
        check(queue.worker("out", &[]), "not a shard of this queue");
        assert_eq!(queue.status()["waiting"], 1);
        fs::remove_dir_all(queue.path("out")).unwrap();
        fs::write(queue.path("out"), "").unwrap();
        check(queue.worker("out", &[]), "out: ");
        check(queue.worker("out-2", &["http://host/"]), "cannot be used with");
    }
    let mut nobody = aioxide();
    nobody.args(["queue", "status", "redis://user:secret@127.0.0.1:1/0"]);
    let printed = text(&nobody.output().unwrap().stderr);
    assert!(printed.contains("refused") && !printed.contains("secret"), "{printed}");
    let mut scheme = aioxide();
    scheme.args(["queue", "status", "amqp://host/"]);
    check(scheme, "not amqp://");
}

#[test]
fn connection_to_the_server_that_breaks_is_made_anew() {
    let Some(queue) = Queue::on_server() else { return };
    let server = Nasty::start();
    queue.fill(&[server.url("/hold")], &["--lease", "2"]);
    let mut worker = queue.start("out", &[], "log");
    server.wait_for_requests(1);
    for _ in 0..5 {
        let _: u64 = queue.redis.as_ref().unwrap().ask(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
        wait(600);
    }
    server.release();
    let ended = worker.wait().unwrap();
    let log = fs::read_to_string(queue.path("log")).unwrap();
    assert!(ended.success() && !log.contains("another worker"), "{log}");
    assert_eq!(queue.status()["good"], 1);
    assert_eq!(server.requests().len(), 1);
}

//! Tar shards: the layout, and that a killed job leaves no sample torn or there twice.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::killed::Killed;
use support::nasty::Nasty;
use support::{aioxide, body, fetch_into, records, text};

/// The samples of all shards in a directory, by key: extension and bytes of each member. Checks that indexes agree.
fn samples(directory: &Path) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let mut all: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    let mut names: Vec<String> = support::files(directory).into_keys().collect();
    names.retain(|name| name.ends_with(".tar"));
    for name in names {
        let path = directory.join(&name);
        let mut order = Vec::new();
        let mut file = File::open(&path).unwrap();
        for entry in tar::Archive::new(File::open(&path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let member = entry.path().unwrap().to_str().unwrap().to_owned();
            let (key, extension) = member.split_once('.').unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            order.push(key.to_owned());
            let sample = all.entry(key.to_owned()).or_default();
            assert_eq!(sample.insert(extension.to_owned(), bytes), None, "{member} twice");
        }
        // The members of a sample stand together.
        assert!(order.chunks(2).all(|pair| pair[0] == pair[1]), "{order:?}");
        let index = records(&path.with_extension("jsonl"));
        assert_eq!(index.len() * 2, order.len(), "{name}");
        for line in index {
            let (key, member) = (line["key"].as_str().unwrap(), line["member"].as_str().unwrap());
            let whole = &all[key][member.split_once('.').unwrap().1];
            let mut bytes = vec![0; usize::try_from(line["bytes"].as_u64().unwrap()).unwrap()];
            file.seek(SeekFrom::Start(line["offset"].as_u64().unwrap())).unwrap();
            file.read_exact(&mut bytes).unwrap();
            assert!(bytes == *whole, "{member}");
        }
        // The system's own tar reads it, too.
        let listed = Command::new("tar").arg("-tf").arg(&path).output().unwrap();
        assert!(listed.status.success() && listed.stderr.is_empty(), "{}", text(&listed.stderr));
    }
    all
}

#[test]
fn samples_are_pairs_of_a_body_and_its_record() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let urls = [
        "/ok/0/empty",
        "/ok/511/a.JPG",
        "/ok/512/b.tar.gz",
        "/status/404",
        "/ok/40000/c.json",
        "/ok/3000000/d",
    ]
    .map(|path| server.url(path));
    let arguments: Vec<&str> =
        urls.iter().map(String::as_str).chain(["-j1", "--tar-shards", "2", "--fsync"]).collect();
    let (status, records) = fetch_into(directory.path(), &arguments);
    assert_eq!((status, records.len()), (Some(1), 6));
    let names: Vec<String> = support::files(directory.path()).into_keys().collect();
    let numbers = ["000000", "000001", "000002"];
    let expected =
        numbers.map(|number| [format!("shard-{number}.jsonl"), format!("shard-{number}.tar")]).concat();
    assert_eq!(names, expected);
    let samples = samples(directory.path());
    let bodies: Vec<(&str, &str, usize)> = samples
        .iter()
        .map(|(key, sample)| {
            let (extension, bytes) = sample.iter().find(|(extension, _)| *extension != "json").unwrap();
            assert!(*bytes == body(bytes.len() as u64, bytes.len()), "{key}");
            let record: Value = serde_json::from_slice(&sample["json"]).unwrap();
            assert_eq!((&record["outcome"], &record["bytes"]), (&json!("ok"), &json!(bytes.len())));
            (key.as_str(), extension.as_str(), bytes.len())
        })
        .collect();
    let expected = [
        ("000000000", "bin", 0),
        ("000000001", "jpg", 511),
        ("000000002", "tar.gz", 512),
        ("000000004", "body.json", 40_000),
        ("000000005", "bin", 3_000_000),
    ];
    assert_eq!(bodies, expected);
    assert_eq!(records[1]["path"], "shard-000000.tar/000000001.jpg");
    // Another run goes on after the shards that are there.
    let (_, records) = fetch_into(directory.path(), &["--tar-shards", "2", &server.url("/ok/5")]);
    assert_eq!(records[0]["path"], "shard-000003.tar/000000000.bin");
}

#[test]
fn job_that_is_killed_again_and_again_has_each_sample_once() {
    check_killed_job("70");
    check_killed_job("1");
}

#[track_caller]
fn check_killed_job(samples_per_shard: &str) {
    let killed = Killed::job(600, &["--tar-shards", samples_per_shard]);
    let samples = samples(&killed.out());
    assert_eq!(samples.len(), 600);
    for (number, sample) in (0..).zip(samples.values()) {
        assert!(sample["jpg"] == Killed::body(number), "{number}");
    }
    let left: Vec<String> =
        support::files(&killed.out()).into_keys().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn two_runs_do_not_write_shards_into_one_directory() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let first = aioxide()
        .args(["fetch", "-q", "-o", out, "--tar-shards", "5", &server.url("/hold")])
        .spawn()
        .unwrap();
    server.wait_for_requests(1);
    let second = support::fetch(&["-o", out, "--tar-shards", "5", &server.url("/ok/1")]);
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).contains("another run"), "{}", text(&second.stderr));
    server.release();
    assert!(first.wait_with_output().unwrap().status.success());
    assert_eq!(samples(directory.path()).len(), 1);
}

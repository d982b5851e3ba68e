//! Large files in several ranges at once, from servers that keep the rules and from others.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::nginx::Nginx;
use support::ranges::{How, Ranges};
use support::{aioxide, body, fetch_into, records, text};

const LENGTH: usize = 17 << 20;

/// Downloads the file of such a server in four ranges; returns the record, and the file if there is one.
#[track_caller]
fn fetch(server: &Ranges, options: &[&str]) -> (Value, Option<Vec<u8>>) {
    let directory = tempfile::tempdir().unwrap();
    let url = server.url();
    let common = ["--split", "4", "--retry-wait", "0.01", url.as_str()];
    let (_, records) = fetch_into(directory.path(), &[&common, options].concat());
    let files = support::files(directory.path());
    assert!(files.keys().all(|name| name == "file.bin"), "{:?}", files.keys());
    (records[0].clone(), files.into_values().next())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn file_comes_in_ranges_and_is_the_one_that_was_asked_for() {
    let server = Ranges::start(How::Well, LENGTH);
    let checksum = format!("sha256:{}", hex(server.file()));
    let (record, file) = fetch(&server, &["--checksum", &checksum]);
    assert_eq!((&record["outcome"], &record["attempts"]), (&json!("ok"), &json!(1)), "{record}");
    assert_eq!(record["bytes"], LENGTH);
    assert!(file.unwrap() == server.file());
    let mut asked = server.asked();
    asked.sort_unstable();
    let part = LENGTH.div_ceil(4);
    let ranges = [1, 2, 3].map(|number| Some((number * part - 4096, ((number + 1) * part).min(LENGTH))));
    assert_eq!(asked[0], None);
    // The first answer may have gone on into a segment before a request for it.
    assert!(asked.len() > 1 && asked[1..].iter().all(|range| ranges.contains(range)), "{asked:?}");
    assert!(server.peak() > 1);
}

#[test]
fn small_files_and_runs_without_the_option_come_in_one_stream() {
    let server = Ranges::start(How::Well, 1 << 20);
    let (record, file) = fetch(&server, &[]);
    assert_eq!((&record["outcome"], server.asked()), (&json!("ok"), vec![None]));
    assert!(file.unwrap() == server.file());
    let server = Ranges::start(How::Well, LENGTH);
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(fetch_into(directory.path(), &[&server.url()]).1[0]["outcome"], "ok");
    assert_eq!(server.asked(), [None]);
}

#[test]
fn server_that_takes_no_ranges_though_it_says_so_serves_the_file_in_one_stream() {
    for how in [How::NotAtAll, How::OneAtATime, How::Never] {
        let server = Ranges::start(how, LENGTH);
        let (record, file) = fetch(&server, &["--retries", "0"]);
        assert_eq!((&record["outcome"], &record["attempts"]), (&json!("ok"), &json!(1)), "{how:?} {record}");
        assert!(file.unwrap() == server.file(), "{how:?}");
        // Nothing was asked for twice, but for the ranges that were not to be had.
        assert_eq!(server.asked().iter().filter(|range| range.is_none()).count(), 1, "{how:?}");
    }
}

#[test]
fn server_that_answers_one_after_the_other_serves_the_file_too() {
    // A request that waits for its turn holds up the answer before it, which is in one piece: that one gives way.
    let server = Ranges::start(How::InTurn, LENGTH);
    let (record, file) = fetch(&server, &["--retries", "0"]);
    assert_eq!((&record["outcome"], &record["attempts"]), (&json!("ok"), &json!(1)), "{record}");
    assert!(file.unwrap() == server.file());
}

#[test]
fn file_that_changes_between_two_ranges_is_begun_again_in_one_stream() {
    for (how, options) in [(How::Changed, &["--retries", "0"][..]), (How::Silently, &[])] {
        let server = Ranges::start(how, LENGTH);
        let (record, file) = fetch(&server, options);
        assert_eq!((&record["outcome"], &record["attempts"]), (&json!("ok"), &json!(2)), "{how:?} {record}");
        assert!(file.unwrap() == body(2, LENGTH), "{how:?}");
    }
}

#[test]
fn server_that_lies_about_ranges_is_asked_for_the_whole() {
    for how in [How::Elsewhere, How::Longer, How::Untagged] {
        let server = Ranges::start(how, LENGTH);
        let (record, file) = fetch(&server, &[]);
        assert_eq!((&record["outcome"], &record["attempts"]), (&json!("ok"), &json!(2)), "{how:?} {record}");
        assert!(file.unwrap() == server.file(), "{how:?}");
        assert_eq!(server.asked().iter().filter(|range| range.is_none()).count(), 2, "{how:?}");
    }
}

#[test]
fn range_that_breaks_off_or_stalls_is_gone_on_from() {
    for (how, stalls) in [(How::Cut, 0), (How::Stalls, 1)] {
        let server = Ranges::start(how, LENGTH);
        let (record, file) = fetch(&server, &["--read-timeout", "0.5"]);
        let told = (&record["outcome"], &record["attempts"], &record["stalls"]);
        assert_eq!(told, (&json!("ok"), &json!(1), &json!(stalls)), "{how:?} {record}");
        assert!(file.unwrap() == server.file(), "{how:?}");
        // What had come of it did not come again.
        let asked = server.asked();
        let (from, to) = asked[1].unwrap();
        assert!(asked.contains(&Some((from + 100_000 - 4096, to))), "{asked:?}");
    }
}

#[test]
fn wrong_checksum_is_told_after_the_whole_came_in_one_stream() {
    let server = Ranges::start(How::Well, LENGTH);
    let (record, file) = fetch(&server, &["--checksum", &format!("sha256:{}", "0".repeat(64))]);
    assert_eq!((&record["outcome"], &record["attempts"]), (&json!("checksum_error"), &json!(2)), "{record}");
    assert_eq!(file, None);
}

#[test]
fn host_gets_no_more_connections_than_it_may() {
    let server = Ranges::start(How::Well, LENGTH);
    let (record, file) = fetch(&server, &["-j", "1", "--per-host", "1"]);
    assert_eq!((&record["outcome"], &record["attempts"]), (&json!("ok"), &json!(1)), "{record}");
    assert!(file.unwrap() == server.file());
    // The server may not have noticed yet that a connection is closed when the next one comes.
    assert!(server.peak() <= 2, "{}", server.peak());
}

#[test]
fn bandwidth_is_that_of_all_ranges() {
    let server = Ranges::start(How::Well, LENGTH);
    let (record, file) = fetch(&server, &["--limit-rate", "10M"]);
    assert!(file.unwrap() == server.file());
    assert!(record["seconds"].as_f64().unwrap() > 1.0, "{record}");
}

/// What the state says is there of the only part, in bytes.
fn noted(state: &Path) -> usize {
    let text = fs::read_to_string(state).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let have = lines.filter_map(|line| line.get("have").cloned()).next_back().unwrap_or(json!([]));
    let ranges: Vec<(usize, usize)> = serde_json::from_value(have).unwrap();
    ranges.iter().map(|(first, last)| last - first + 1).sum()
}

#[test]
fn killed_job_goes_on_with_all_that_was_written() {
    let server = Ranges::start(How::Well, LENGTH);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("list"), server.url()).unwrap();
    let state = directory.path().join("state");
    let start = |options: &[&str]| {
        aioxide()
            .current_dir(directory.path())
            .args(["fetch", "-q", "-i", "list", "-o", "out", "--state", "state", "--report", "report"])
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut there = 0;
    for round in 0..3 {
        let mut child = start(&["--split", "4", "--limit-rate", "4M"]);
        while noted(&state) < there + 3_000_000 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if round == 2 {
            // One that is told to end leaves no less behind.
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        } else {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        assert!(noted(&state) > there);
        there = noted(&state);
        assert!(!directory.path().join("out/file.bin").exists());
    }
    let before = server.asked().len();
    // It goes on also without the option.
    assert!(start(&["--split", "1"]).wait().unwrap().success());
    assert!(fs::read(directory.path().join("out/file.bin")).unwrap() == server.file());
    let asked: Vec<(usize, usize)> = server.asked()[before..].iter().map(|range| range.unwrap()).collect();
    let came: usize = asked.iter().map(|(from, to)| to - from).sum();
    assert!(came <= LENGTH - there + 4096 * asked.len(), "{came} of {LENGTH}, {there} were there");
    let record = &records(&directory.path().join("report"))[0];
    assert_eq!((&record["outcome"], &record["resumed"]), (&json!("ok"), &json!(there)), "{record}");
    assert_eq!(record["bytes"], LENGTH);
    let left: Vec<String> = support::files(&directory.path().join("out")).into_keys().collect();
    assert_eq!(left, ["file.bin"]);
}

#[test]
fn disk_without_room_is_told_before_the_file_comes() {
    let server = Ranges::start(How::Well, LENGTH);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("list"), server.url()).unwrap();
    let run = format!(
        "{} fetch --split 4 -i list -o out --report report --state state",
        env!("CARGO_BIN_EXE_aioxide")
    );
    let command = format!(
        "mkdir out && mount -t tmpfs -o size=9m none out && {{ {run}; echo $?; mount -o remount,size=40m out; {run}; \
         echo $?; ls -A out; }}"
    );
    let mut unshared = Command::new("unshare");
    unshared.current_dir(directory.path()).args(["-rm", "sh", "-c", &command]);
    let output = unshared.output().unwrap();
    let errors = text(&output.stderr);
    if errors.contains("unshare") || errors.contains("mount") {
        eprintln!("skipped: a file system of a given size needs a user namespace: {errors}");
        return;
    }
    assert!(errors.contains("the disk is full"), "{errors}");
    let printed = text(&output.stdout);
    assert_eq!(printed.split_whitespace().collect::<Vec<_>>(), ["1", "0", "file.bin"], "{errors}");
    let records = records(&directory.path().join("report"));
    assert_eq!((records.len(), &records[0]["outcome"]), (1, &json!("ok")));
}

#[test]
fn killed_job_whose_file_has_changed_begins_again() {
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start();
    let (old, new) = (body(3, LENGTH), body(4, LENGTH + 1));
    fs::write(nginx.root().join("file.bin"), &old).unwrap();
    fs::write(directory.path().join("list"), nginx.url("/file.bin")).unwrap();
    let start = |options: &[&str]| {
        aioxide()
            .current_dir(directory.path())
            .args(["fetch", "-q", "-i", "list", "-o", "out", "--state", "state", "--split", "3"])
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut child = start(&["--limit-rate", "4M"]);
    while noted(&directory.path().join("state")) < 3_000_000 {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::write(nginx.root().join("file.bin"), &new).unwrap();
    assert!(start(&["--retries", "0"]).wait().unwrap().success());
    assert!(fs::read(directory.path().join("out/file.bin")).unwrap() == new);
}

#[test]
fn nginx_serves_a_file_in_ranges_over_both_versions_of_http() {
    let nginx = Nginx::start();
    let file = body(5, 3 * LENGTH + 7);
    fs::write(nginx.root().join("file.bin"), &file).unwrap();
    for url in [nginx.url("/file.bin"), nginx.secure_url("/file.bin")] {
        let directory = tempfile::tempdir().unwrap();
        let checksum = format!("sha256:{}", hex(&file));
        let output = aioxide()
            .args(["fetch", "-k", "-q", "--split", "8", "-j", "1", "--checksum", &checksum, "--fsync", "-o"])
            .arg(directory.path())
            .args(["--report", "-", &url])
            .output()
            .unwrap();
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&record["outcome"], &record["attempts"]), (&json!("ok"), &json!(1)), "{record}");
        assert!(fs::read(directory.path().join("file.bin")).unwrap() == file);
    }
}

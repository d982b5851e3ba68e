//! The downloader's acceptance run: 10 000 URLs, of which some fail in each of three ways.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};

use support::nasty::Nasty;
use support::nginx::Nginx;
use support::{aioxide, body, files, records};

const URLS: u64 = 10_000;
/// What the program may take of memory at its peak, without its code, which grows with what else it can do. 2 MiB are what a run of
/// one URL has on its heap.
const MEMORY_KIB: u64 = 9 * 1024;

/// What becomes of the URL on a line.
fn expected(line: u64) -> &'static str {
    match line % 100 {
        17 => "http_error",
        42 => "protocol_error",
        77 => "timeout",
        _ => "ok",
    }
}

/// From 100 bytes to 10 KiB.
fn length(line: u64) -> usize {
    100 + (line * 7919 % 10_141) as usize
}

#[test]
fn ten_thousand_urls_are_each_told_truly_in_bounded_memory() {
    let nginx = Nginx::start();
    let nasty = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let mut list = String::new();
    for line in 1..=URLS {
        let url = match expected(line) {
            "http_error" => nginx.url(&format!("/missing-{line}")),
            "protocol_error" => nasty.url(&format!("/reset/{}/{line}", length(line))),
            "timeout" => nasty.url(&format!("/never/{line}")),
            _ => {
                fs::write(nginx.root().join(format!("file-{line}")), body(line, length(line))).unwrap();
                nginx.url(&format!("/file-{line}"))
            }
        };
        list.push_str(&url);
        list.push('\n');
    }
    let list_path = directory.path().join("list");
    fs::write(&list_path, list).unwrap();

    let (out, report) = (directory.path().join("out"), directory.path().join("report"));
    let child = aioxide()
        .args(["fetch", "-j", "100", "--timeout", "4", "--retries", "0", "--quiet", "-i"])
        .arg(&list_path)
        .arg("-o")
        .arg(&out)
        .arg("--report")
        .arg(&report)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (status, peak_kib) = wait_with_peak(child);
    assert_eq!(status, Some(1));

    // Every URL exactly once, with its true outcome.
    let mut seen = BTreeMap::new();
    let mut kept = BTreeMap::new();
    for record in records(&report) {
        let line = record["line"].as_u64().unwrap();
        let outcome = record["outcome"].as_str().unwrap().to_owned();
        assert_eq!(outcome, expected(line), "{record}");
        if outcome == "ok" {
            kept.insert(record["path"].as_str().unwrap().to_owned(), line);
        }
        assert!(seen.insert(line, outcome).is_none(), "twice: {record}");
    }
    assert!(seen.keys().copied().eq(1..=URLS));

    // The contents are right, and there is nothing else.
    let files = files(&out);
    assert_eq!(files.len(), 9_700);
    for (name, bytes) in &files {
        let line = kept[name];
        assert!(*bytes == body(line, length(line)), "{name}");
    }
    assert!(peak_kib < MEMORY_KIB, "peak memory {peak_kib} KiB");
    eprintln!("peak memory {peak_kib} KiB");
}

/// Waits for the child; gives its exit status and the most memory that it was seen to have.
fn wait_with_peak(mut child: Child) -> (Option<i32>, u64) {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let sampled = std::thread::spawn(move || {
        while let Some(kib) = fs::read_to_string(&path).ok().and_then(|status| anonymous(&status)) {
            peak = kib.max(peak);
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        peak
    });
    // Nothing is printed; this waits for the end without collecting the child.
    child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    let peak = sampled.join().unwrap();
    (child.wait().unwrap().code(), peak)
}

/// The resident memory that is no file's; a process that has ended has none.
fn anonymous(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

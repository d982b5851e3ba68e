//! What the tests of the program share: running it, reading its report, and servers to run it against.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

pub mod archivists;
pub mod browser;
pub mod killed;
pub mod names;
pub mod nasty;
pub mod nginx;
pub mod program;
pub mod ranges;
pub mod redis;
pub mod screen;
pub mod scripted;
pub mod tls;
pub mod web;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// The program, ready for its arguments, and deaf to the environment's own settings.
pub fn aioxide() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aioxide"));
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// Runs `aioxide fetch` and gives what it printed.
pub fn fetch(arguments: &[&str]) -> Output {
    aioxide().arg("fetch").args(arguments).output().unwrap()
}

/// Runs `aioxide fetch` into a directory; gives its exit status and the records.
pub fn fetch_into(directory: &Path, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = aioxide()
        .args(["fetch", "--quiet", "--report", "-", "-o"])
        .arg(directory)
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "");
    (output.status.code(), parse_records(&text(&output.stdout)))
}

/// What was printed, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The lines of a report.
pub fn records(report: &Path) -> Vec<Value> {
    parse_records(&fs::read_to_string(report).unwrap())
}

/// The lines of a report that was printed.
pub fn parse_records(report: &str) -> Vec<Value> {
    report.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many records have each outcome.
pub fn outcomes(records: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record["outcome"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

/// The files of a directory by name, hidden ones among them.
pub fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// `length` bytes that depend on `seed` at every place.
pub fn body(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

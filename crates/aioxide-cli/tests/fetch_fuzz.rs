//! Answers made from a seed, good and bad, against `aioxide fetch`: no file but of a whole answer, and no URL without an account.
//!
//! They are those of the session's own fuzz test; `AIOXIDE_FUZZ_MINUTES` and `AIOXIDE_FUZZ_SEED` work here, too.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

#[path = "../../aioxide-http/tests/support/raw.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with another crate's tests")]
mod raw;
#[path = "../../aioxide-http/tests/support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with another crate's tests")]
mod server;

use std::fmt::Write as _;
use std::fs;

use raw::{Plan, Truth};
use serde_json::Value;
use support::{fetch, records};

/// Whether the record, and the file of it if there is one, tell the truth.
fn is_true(truth: &Truth, record: &Value, file: Option<&Vec<u8>>) -> bool {
    let is_ok = record["outcome"] == "ok";
    let is_named = is_ok == record["path"].is_string() && is_ok == file.is_some();
    is_named
        && record["outcome"] != "timeout"
        && match truth {
            Truth::Whole(200 | 203 | 299, body) => file == Some(body),
            Truth::Whole(..) => record["outcome"] == "http_error",
            Truth::Perhaps(200 | 203 | 299, body) => !is_ok || file == Some(body),
            Truth::Perhaps(..) | Truth::Broken => !is_ok,
            Truth::Any => true,
        }
}

#[test]
fn only_whole_answers_become_files() {
    const CASES: u64 = 300;
    raw::run_rounds(CASES, |seed| {
        let server = raw::serve(seed, false);
        let directory = tempfile::tempdir().unwrap();
        let [list, out, report] = ["list", "out", "report"].map(|name| directory.path().join(name));
        let urls = (0..CASES).fold(String::new(), |mut urls, id| {
            writeln!(urls, "{}", server.url(&format!("/{id}"))).unwrap();
            urls
        });
        fs::write(&list, urls).unwrap();
        let [list, out, report] = [&list, &out, &report].map(|path| path.to_str().unwrap());
        fetch(&["-i", list, "-o", out, "--report", report, "--quiet", "-j", "6", "--read-timeout", "30"]);
        let files = support::files(out.as_ref());
        let records = records(report.as_ref());
        assert_eq!(records.len() as u64, CASES);
        let wrong: Vec<_> = records
            .iter()
            .filter(|record| {
                let id = record["line"].as_u64().unwrap() - 1;
                let truth = Plan::new(seed, id, false, false).truth;
                !is_true(&truth, record, files.get(&id.to_string()))
            })
            .collect();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        CASES
    });
}

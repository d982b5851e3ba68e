//! The lesson's job through the real program.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::nasty::Nasty;
use support::{aioxide, text};

fn demo(arguments: &[&str]) -> String {
    let output = aioxide().arg("demo").args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn is_marks(line: &str) -> bool {
    line.len() > 10 && line.bytes().all(|byte| matches!(byte, b'J' | b'R'))
}

#[test]
fn three_varieties_run_and_are_compared() {
    let printed = demo(&["--delay", "30", "--repeat", "20"]);
    let marks: Vec<&str> = printed.lines().filter(|line| is_marks(line)).collect();
    let [one_by_one, threaded, asyncio] = marks[..] else { panic!("{printed}") };
    assert_eq!(one_by_one, "JR".repeat(20), "the synchronous variety strictly alternates");
    for marks in [threaded, asyncio] {
        assert_eq!((marks.matches('J').count(), marks.matches('R').count()), (20, 20));
        assert_ne!(marks, one_by_one, "downloads end in an order of their own");
    }
    let times: Vec<f64> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("Downloaded 40 sites in ")?.strip_suffix(" seconds"))
        .map(|seconds| seconds.parse().unwrap())
        .collect();
    assert_eq!(times.len(), 3, "{printed}");
    assert!(times[0] > times[1] && times[1] > times[2], "{times:?}");
    // Forty answers of 30 ms each, one after the other.
    assert!(times[0] >= 1.0, "{times:?}");
    for name in ["sync", "threaded", "asyncio"] {
        assert!(
            printed.lines().any(|line| line.starts_with(name) && line.contains(['█', '▏', '▎', '▍', '▌'])),
            "{name}"
        );
    }
}

#[test]
fn json_tells_the_same_to_a_machine() {
    let printed = demo(&["--delay", "2", "--repeat", "10", "--threads", "3", "--json"]);
    let result: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(result["sites"].as_array().unwrap().len(), 2);
    let varieties = result["varieties"].as_array().unwrap();
    let names: Vec<_> = varieties.iter().map(|variety| variety["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["sync", "threaded", "asyncio"]);
    for variety in varieties {
        assert_eq!((variety["downloads"].as_u64(), variety["failed"].as_u64()), (Some(20), Some(0)));
        assert_eq!(variety["marks"].as_str().unwrap().len(), 20);
        assert!(variety["seconds"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn one_variety_alone() {
    let printed = demo(&["--delay", "1", "--repeat", "6", "--only", "asyncio"]);
    assert_eq!(printed.lines().filter(|line| is_marks(line)).count(), 1, "{printed}");
    assert!(!printed.contains("sync  "), "{printed}");
}

#[test]
fn sites_of_the_user_are_downloaded_and_failures_do_not_stop_it() {
    let server = Nasty::start();
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), format!("# mine\n{}\n", server.url("/ok/10/jython"))).unwrap();
    let output = aioxide()
        .args(["demo", "--json", "--repeat", "8", "--sites", list.path().to_str().unwrap()])
        .args([server.url("/ok/20"), server.url("/status/500")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let result: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    for variety in result["varieties"].as_array().unwrap() {
        let marks = variety["marks"].as_str().unwrap();
        assert_eq!(
            (variety["downloads"].as_u64(), variety["failed"].as_u64()),
            (Some(24), Some(8)),
            "{variety}"
        );
        let count = |mark| marks.matches(mark).count();
        assert_eq!((count('J'), count('1'), count('!')), (8, 8, 8), "{marks}");
        assert!(variety["error"].as_str().unwrap().contains("500"), "{variety}");
    }
}

#[test]
fn mark_is_printed_while_others_are_under_way() {
    for variety in ["sync", "threaded", "asyncio"] {
        let server = Nasty::start();
        let mut child = aioxide()
            .args(["demo", "--only", variety, "--repeat", "1", "--sites"])
            .args([server.url("/ok/10/jython"), server.url("/hold/realpython")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut heading = String::new();
        out.read_line(&mut heading).unwrap();
        let mut mark = [0];
        out.read_exact(&mut mark).unwrap();
        assert_eq!(mark, *b"J", "{variety}: {heading}");
        server.release();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with("R\nDownloaded 2 sites in "), "{variety}: {rest:?}");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn sites_that_are_none_are_wrong_usage() {
    for sites in ["/does/not/exist", "ftp://example.org/", "/dev/null"] {
        let output = aioxide().args(["demo", "--sites", sites]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{sites}");
        assert!(text(&output.stderr).contains(sites), "{}", text(&output.stderr));
    }
}

#[test]
fn served_sites_answer_until_interrupted() {
    let mut child =
        aioxide().args(["demo", "--serve", "--delay", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let urls: Vec<String> = out.lines().take(2).map(|line| line.unwrap()).collect();
    assert!(urls[0].contains("jython") && urls[1].contains("realpython"), "{urls:?}");
    let directory = tempfile::tempdir().unwrap();
    let fetched = aioxide().arg("fetch").args(&urls).arg("-o").arg(directory.path()).output().unwrap();
    assert!(fetched.status.success(), "{}", text(&fetched.stderr));
    let files = support::files(directory.path());
    assert_eq!(files.keys().collect::<Vec<_>>(), ["realpython.com", "www.jython.org"]);
    assert!(text(&files["www.jython.org"]).contains("<h1>Jython</h1>"));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

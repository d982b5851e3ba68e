//! The list of URLs, the names of the files, and what is printed, through the real program.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use support::nasty::Nasty;
use support::{aioxide, fetch, files, outcomes, parse_records, records, text};

#[test]
fn list_is_read_with_its_line_numbers_and_bad_lines_go_to_the_report() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list");
    let lines = [
        "# my list".to_owned(),
        server.url("/ok/10"),
        String::new(),
        "not a url".to_owned(),
        format!("  {}\r", server.url("/ok/20")),
        "ftp://example.org/x".to_owned(),
        server.url("/status/404"),
    ];
    fs::write(&list, lines.join("\n")).unwrap();
    let out = directory.path().join("new/out");
    let output =
        fetch(&["-i", list.to_str().unwrap(), "-o", out.to_str().unwrap(), "-j", "1", "--report", "-"]);
    assert_eq!(output.status.code(), Some(1));
    let seen: Vec<_> = parse_records(&text(&output.stdout))
        .iter()
        .map(|record| (record["line"].as_u64().unwrap(), record["outcome"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [(2, "ok"), (4, "invalid_url"), (5, "ok"), (6, "invalid_url"), (7, "http_error")];
    assert_eq!(seen, expected.map(|(line, outcome)| (line, outcome.to_owned())));
    assert_eq!(files(&out).into_keys().collect::<Vec<_>>(), ["10", "20"]);

    let printed = text(&output.stderr);
    let printed: Vec<&str> = printed.lines().collect();
    assert_eq!(printed[0], "line 4: invalid_url: not a url: no http:// or https:// in front");
    assert_eq!(printed[1], "line 6: invalid_url: ftp://example.org/x: scheme \"ftp\" is not http or https");
    assert!(printed[2].starts_with("line 7: http_error: http://127.0.0.1"), "{}", printed[2]);
    assert!(printed[2].ends_with("404 Whatever") || printed[2].ends_with("404 Not Found"), "{}", printed[2]);
    assert!(printed[3].starts_with("2 of 5 ok, "), "{}", printed[3]);
    assert!(printed[3].ends_with("; 1 http_error, 2 invalid_url"), "{}", printed[3]);
    assert_eq!(printed.len(), 4);
}

#[test]
fn list_on_standard_input_is_downloaded_while_it_is_written() {
    let server = Nasty::start();
    let mut child = aioxide()
        .args(["fetch", "-i", "-", "--discard", "--marks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", server.url("/ok/1")).unwrap();
    // The input is still open: were the list read to its end first, this would never come.
    server.wait_for_requests(1);
    writeln!(stdin, "{}\n{}", server.url("/ok/2"), server.url("/status/500")).unwrap();
    server.wait_for_requests(3);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let mut marks: Vec<char> = text(&output.stdout).trim_end().chars().collect();
    marks.sort_unstable();
    assert_eq!(marks, ['.', '.', 'H']);
}

#[test]
fn mark_is_printed_at_once() {
    let server = Nasty::start();
    let mut child = aioxide()
        .args(["fetch", "--discard", "--marks", &server.url("/ok/1"), &server.url("/hold")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(out.fill_buf().unwrap(), b".");
    out.consume(1);
    server.release();
    let mut rest = String::new();
    out.read_line(&mut rest).unwrap();
    assert_eq!(rest, ".\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn equal_names_are_numbered_and_old_files_stay() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.txt"), "old").unwrap();
    let urls: Vec<String> = (1..=20).map(|length| server.url(&format!("/ok/{length}/a.txt"))).collect();
    let report = directory.path().join("report");
    let out = directory.path().to_str().unwrap();
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["-o", out, "--quiet", "--report", report.to_str().unwrap()]);
    assert!(fetch(&arguments).status.success());

    let records = records(&report);
    let mut files = files(directory.path());
    files.remove("report");
    assert_eq!(files.remove("a.txt").unwrap(), b"old");
    assert_eq!(files.len(), 20);
    for record in records {
        let length = record["line"].as_u64().unwrap();
        let path = record["path"].as_str().unwrap();
        assert_eq!(files[path], support::body(length, length as usize), "{path}");
    }
}

#[test]
fn overwrite_replaces_old_files() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.txt"), "old").unwrap();
    let (first, second) = (server.url("/ok/1/a.txt"), server.url("/ok/2/a.txt"));
    let out = directory.path().to_str().unwrap();
    assert!(fetch(&[&first, &second, "-o", out, "--overwrite", "--quiet"]).status.success());
    let mut lengths: Vec<_> =
        files(directory.path()).into_iter().map(|(name, body)| (name, body.len())).collect();
    lengths.sort_by_key(|(_, length)| *length);
    assert_eq!(lengths.iter().map(|(_, length)| *length).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(files(directory.path()).into_keys().collect::<Vec<_>>(), ["a-1.txt", "a.txt"]);
}

#[test]
fn hostile_urls_stay_in_the_directory() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let paths = ["/ok/1/..%2f..%2fescape", "/ok/2/%2e%2e%2fescape", "/ok/3/.hidden", "/ok/4/%2ftmp%2fescape"];
    let urls = paths.map(|path| server.url(path));
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["-o", out.to_str().unwrap(), "--quiet"]);
    assert!(fetch(&arguments).status.success());
    assert_eq!(
        files(&out).into_keys().collect::<Vec<_>>(),
        ["_._.._escape", "_._escape", "_hidden", "_tmp_escape"]
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn discard_writes_no_files() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let output = aioxide()
        .current_dir(directory.path())
        .args(["fetch", "--discard", "--report", "-", "--quiet", &server.url("/ok/100000")])
        .output()
        .unwrap();
    let records = parse_records(&text(&output.stdout));
    assert_eq!((records[0]["bytes"].as_u64(), records[0]["path"].as_str()), (Some(100_000), None));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn jobs_and_per_host_bound_what_runs_at_a_time() {
    for (options, most) in [(["-j", "3"], 3), (["--per-host", "2"], 2)] {
        let (server, other) = (Nasty::start(), Nasty::start());
        let mut urls: Vec<String> = (0..30).map(|_| server.url("/hold")).collect();
        urls.push(other.url("/ok/1"));
        let mut child = aioxide()
            .args(["fetch", "--discard", "--quiet", "--timeout", "120"])
            .args(options)
            .args(urls)
            .spawn()
            .unwrap();
        server.wait_for_requests(most);
        if options[0] == "--per-host" {
            // The busy host does not hold up the other one, which comes last in the list.
            other.wait_for_requests(1);
        }
        server.release();
        assert!(child.wait().unwrap().success());
        assert_eq!((server.requests().len(), other.requests().len()), (30, 1));
        assert!(server.peak() <= most, "{} at a time", server.peak());
    }
}

#[test]
fn wait_for_the_host_does_not_count_against_the_timeout() {
    // Ten answers held up one after the other take longer than a single one may.
    let server = Nasty::start();
    let urls: Vec<String> = (0..4).map(|_| server.url("/never")).collect();
    let output = aioxide()
        .args(["fetch", "--discard", "--quiet", "--timeout", "0.4", "--per-host", "1", "--report", "-"])
        .args(&urls)
        .output()
        .unwrap();
    let records = parse_records(&text(&output.stdout));
    assert_eq!(outcomes(&records)["timeout"], 4);
    // Each was really asked for, and had its own time.
    assert_eq!(server.requests().len(), 4);
    assert!(records.iter().all(|record| record["seconds"].as_f64().unwrap() >= 0.4));
}

#[test]
fn line_with_more_than_a_url_asks_for_nothing() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list");
    let good = server.url("/ok/1");
    let lines = [
        format!("\u{feff}{good}\ta caption"),
        format!("{good}\r{good}"),
        format!("{good}\0"),
        format!("{good} {good}"),
        format!("\t{good} \r"),
    ];
    fs::write(&list, lines.join("\n")).unwrap();
    let output = fetch(&["-i", list.to_str().unwrap(), "--discard", "-j1", "--report", "-", "-q"]);
    let records = parse_records(&text(&output.stdout));
    let seen: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(seen, ["invalid_url", "invalid_url", "invalid_url", "invalid_url", "ok"]);
    assert_eq!(server.requests(), ["/ok/1"]);
    assert!(records[0]["error"].as_str().unwrap().contains("tab"), "{}", records[0]);
}

#[test]
fn passwords_are_in_the_report_alone() {
    let server = Nasty::start();
    let base = server.url("");
    let host = base.trim_start_matches("http://");
    let urls = ["status/404", "redirect/status/500"].map(|path| format!("http://user:hunter2@{host}/{path}"));
    let bad = ["ftp://user:hunter2@host/", "user:hunter2@host", "http://user:hunt/er2@host/"];
    let output = fetch(&[&[urls[0].as_str(), &urls[1]], &bad[..], &["--discard", "--report", "-"]].concat());
    let printed = text(&output.stderr);
    assert_eq!(printed.lines().count(), 6, "{printed}");
    assert!(!printed.contains("hunt"), "{printed}");
    assert!(printed.contains(&format!("http_error: http://user:***@{host}/status/404: ")), "{printed}");
    assert!(text(&output.stdout).contains(&urls[0]));

    let output = fetch(&[&server.url("/ok/1"), "-H", "Authorization: hunter2\u{7f}"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!text(&output.stderr).contains("hunter2"), "{}", text(&output.stderr));
}

#[test]
fn names_in_latin_1_stay_apart() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let urls = [server.url("/ok/1/caf%E9.txt"), server.url("/ok/2/caf%E8.txt")];
    let out = directory.path().to_str().unwrap();
    assert!(fetch(&[&urls[0], &urls[1], "-o", out, "-q"]).status.success());
    assert_eq!(files(directory.path()).into_keys().collect::<Vec<_>>(), ["caf\u{e8}.txt", "caf\u{e9}.txt"]);
}

#[test]
fn single_file_is_named_in_the_summary() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.txt"), "old").unwrap();
    let output = fetch(&[&server.url("/ok/1/a.txt"), "-o", directory.path().to_str().unwrap()]);
    assert!(text(&output.stderr).trim_end().ends_with(": a-1.txt"), "{}", text(&output.stderr));
}

#[test]
fn file_in_the_place_of_a_url_is_pointed_out() {
    let list = tempfile::NamedTempFile::new().unwrap();
    let output = fetch(&[list.path().to_str().unwrap(), "--discard"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("-i FILE"), "{}", text(&output.stderr));
}

#[test]
fn headers_are_sent() {
    let server = Nasty::start();
    let url = server.url("/ok/1");
    assert!(
        fetch(&[&url, "--discard", "--quiet", "-H", "X-Token: secret", "-H", "Accept: text/plain"])
            .status
            .success()
    );
    let head = server.heads()[0].to_ascii_lowercase();
    assert!(head.contains("x-token: secret\r\n") && head.contains("accept: text/plain\r\n"), "{head}");
    assert!(head.contains("user-agent: aioxide/"), "{head}");
}

#[test]
fn connections_are_kept_and_shared() {
    let server = Nasty::start();
    let urls: Vec<String> = (0..50).map(|_| server.url("/ok/10")).collect();
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["--discard", "--quiet", "-j", "1"]);
    assert!(fetch(&arguments).status.success());
    assert_eq!(server.requests().len(), 50);
    assert_eq!(server.connections(), 1);
}

#[test]
fn missing_list_is_wrong_usage() {
    let output = fetch(&["-i", "/does/not/exist"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/does/not/exist"), "{}", text(&output.stderr));
    assert_eq!(fetch(&[]).status.code(), Some(2));
}

#[test]
fn empty_list_is_no_failure() {
    let output = fetch(&["-i", "/dev/null", "--discard"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("0 of 0 ok"), "{}", text(&output.stderr));
}

#[test]
fn file_in_the_place_of_a_directory_loses_nothing() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let urls = ["/ok/1", "/ok/1/a", "/ok/1/a/b", "/ok/2/a"].map(|path| server.url(path));
    let mut arguments = vec!["-j1", "-q", "--name", "{path}", "-o", directory.path().to_str().unwrap()];
    arguments.extend(urls.iter().map(String::as_str));
    assert!(fetch(&arguments).status.success());
    let read = |name: &str| fs::read(directory.path().join("ok").join(name)).unwrap().len();
    assert_eq!([read("1"), read("1-1/a"), read("1-1/a-1/b"), read("2/a")], [1, 1, 1, 2]);
}

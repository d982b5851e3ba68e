//! Each outcome of the report, brought about by a server that deserves it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};
use support::nasty::Nasty;
use support::{fetch, files, parse_records, records, text, tls};

/// Fetches one URL and gives its record, the exit status and the names of the files.
fn fetch_one(url: &str, options: &[&str]) -> (Value, Option<i32>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let report = directory.path().join("report");
    let mut arguments = vec![url, "-o", out.to_str().unwrap(), "--report", report.to_str().unwrap()];
    arguments.extend(["--retries", "0"]);
    arguments.extend(options);
    let output = fetch(&arguments);
    let mut records = records(&report);
    assert_eq!(records.len(), 1, "{}", text(&output.stderr));
    let files = if out.exists() { files(&out).into_keys().collect() } else { Vec::new() };
    (records.remove(0), output.status.code(), files)
}

#[track_caller]
fn check(url: &str, options: &[&str], outcome: &str, status: Option<u16>) {
    let (record, exit, files) = fetch_one(url, options);
    assert_eq!(record["outcome"], outcome, "{record}");
    assert_eq!(record["status"], json!(status), "{record}");
    assert_eq!(record["url"], url);
    assert_eq!(record["line"], 1);
    assert_eq!(record["path"], Value::Null, "{record}");
    assert!(!record["error"].as_str().unwrap().is_empty(), "{record}");
    assert_eq!(exit, Some(1));
    assert_eq!(files, [""; 0], "a failed download leaves no file");
}

#[test]
fn whole_answer_is_ok_and_stands_in_a_file() {
    let server = Nasty::start();
    let (record, exit, files) = fetch_one(&server.url("/ok/5000"), &[]);
    assert_eq!(
        (&record["outcome"], &record["status"], &record["bytes"]),
        (&json!("ok"), &json!(200), &json!(5000))
    );
    assert_eq!(
        (&record["path"], &record["error"], &record["attempts"]),
        (&json!("5000"), &Value::Null, &json!(1))
    );
    assert!(record["seconds"].as_f64().unwrap() > 0.0);
    let keys: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
    let mut fields = [
        "line",
        "url",
        "outcome",
        "status",
        "bytes",
        "path",
        "seconds",
        "attempts",
        "error",
        "resumed",
        "stalls",
        "final_url",
        "content_type",
        "encoding",
    ];
    fields.sort_unstable();
    assert_eq!(keys, fields);
    assert_eq!(exit, Some(0));
    assert_eq!(files, ["5000"]);
}

#[test]
fn bodies_of_every_length_are_whole() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    // Around the limits at which a body goes to the disk, and to a thread that writes.
    let lengths = [0, 1, 32_767, 32_768, 32_769, 1_048_575, 1_048_577, 5_000_000];
    let urls: Vec<String> = lengths.iter().map(|length| server.url(&format!("/ok/{length}"))).collect();
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["-o", directory.path().to_str().unwrap(), "--quiet"]);
    let output = fetch(&arguments);
    assert!(output.status.success());
    assert_eq!(output.stdout, b"");
    assert_eq!(output.stderr, b"");
    let files = files(directory.path());
    assert_eq!(files.len(), lengths.len());
    for length in lengths {
        assert!(files[&length.to_string()] == support::body(length as u64, length), "{length}");
    }
}

#[test]
fn answers_without_a_length_or_a_body_are_ok() {
    let server = Nasty::start();
    let (record, ..) = fetch_one(&server.url("/chunks"), &[]);
    assert_eq!((&record["outcome"], &record["bytes"]), (&json!("ok"), &json!(11)));
    let output = fetch(&["--discard", "--report", "-", "--quiet", &server.url("/no-content")]);
    let records = parse_records(&text(&output.stdout));
    assert_eq!((&records[0]["outcome"], &records[0]["status"]), (&json!("ok"), &json!(204)));
}

#[test]
fn answer_that_is_not_the_whole_thing_asked_for_is_an_http_error() {
    let server = Nasty::start();
    for status in [202, 205, 206, 300, 302, 304, 399] {
        check(&server.url(&format!("/status/{status}")), &[], "http_error", Some(status));
    }
    check(&server.url("/no-content"), &[], "http_error", Some(204));
}

#[test]
fn answer_to_a_condition_or_a_range_of_ones_own_is_no_failure() {
    let server = Nasty::start();
    let condition = ["-H", "If-None-Match: \"x\"", "--overwrite", "--fail-fast"];
    let (record, exit, files) = fetch_one(&server.url("/status/304"), &condition);
    assert_eq!((&record["outcome"], &record["error"]), (&json!("not_modified"), &Value::Null), "{record}");
    assert_eq!((exit, files), (Some(0), Vec::new()));
    let (record, exit, files) = fetch_one(&server.url("/status/206"), &["-H", "Range: bytes=0-5"]);
    assert_eq!((&record["outcome"], exit), (&json!("ok"), Some(0)), "{record}");
    assert_eq!(files, ["206"]);
}

#[test]
fn file_stays_as_it_is_when_the_answer_is_not_modified() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("304"), "precious").unwrap();
    for options in [&["-H", "If-Modified-Since: Sat, 1 Jan 2000 00:00:00 GMT"][..], &[]] {
        let url = server.url("/status/304");
        let mut arguments = vec!["--overwrite", "--quiet", "-o", directory.path().to_str().unwrap(), &url];
        arguments.extend(options);
        fetch(&arguments);
        assert_eq!(files(directory.path())["304"], b"precious");
    }
}

#[test]
fn password_of_a_url_is_not_shown() {
    for url in [
        "http://user:hunter2@127.0.0.1:1/",
        "http://user:hunter2@127.0.0.1:99999/",
        "ftp://user:hunter2@host/",
    ] {
        let output = fetch(&["--discard", "--report", "/dev/null", url]);
        let shown = text(&output.stderr);
        assert!(shown.contains("***@") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn headers_of_one_name_are_all_sent_and_secret_ones_do_not_leave_their_host() {
    let other = Nasty::start();
    let server = Nasty::start();
    let url = server.url(&format!("/redirect-to/{}/ok/5", other.address()));
    let mut arguments = vec!["--discard", "--quiet", &url];
    for header in
        ["X-Token: one", "X-Token: two", "Authorization: secret", "Cookie: secret", "Host: secret.test"]
    {
        arguments.extend(["-H", header]);
    }
    arguments.extend(["--secret-header", "X-Api-Key: secret"]);
    assert!(fetch(&arguments).status.success());
    let (first, second) = (server.heads()[0].to_lowercase(), other.heads()[0].to_lowercase());
    assert_eq!(first.matches("secret").count(), 4, "{first}");
    assert!(!second.contains("secret"), "{second}");
    for head in [first, second] {
        assert!(head.contains("x-token: one") && head.contains("x-token: two"), "{head}");
    }
}

#[test]
fn redirect_is_followed_and_the_file_keeps_the_name_asked_for() {
    let server = Nasty::start();
    let (record, _, files) = fetch_one(&server.url("/redirect/ok/77"), &[]);
    assert_eq!(
        (&record["outcome"], &record["status"], &record["bytes"]),
        (&json!("ok"), &json!(200), &json!(77))
    );
    assert_eq!(files, ["77"]);
}

#[test]
fn file_is_kept_as_the_server_has_it() {
    let server = Nasty::start();
    let (record, _, files) = fetch_one(&server.url("/gzip"), &[]);
    assert_eq!((&record["outcome"], &record["bytes"]), (&json!("ok"), &json!(4)), "{record}");
    assert_eq!(files, ["gzip"]);
    assert!(!server.heads()[0].to_ascii_lowercase().contains("accept-encoding: gzip"));
}

#[test]
fn status_of_400_and_up_is_an_http_error() {
    let server = Nasty::start();
    for status in [400, 404, 429, 500, 503] {
        check(&server.url(&format!("/status/{status}")), &[], "http_error", Some(status));
    }
}

#[test]
fn page_of_an_error_is_not_waited_for() {
    // Waited for, it would be a timeout of 50 s, longer than the test may last.
    let server = Nasty::start();
    let urls = [server.url("/stalled-error"), server.url("/ok/1")];
    let output = fetch(&[
        &urls[0],
        &urls[1],
        "-q",
        "-j1",
        "--discard",
        "--read-timeout",
        "50",
        "--report",
        "-",
        "--retries",
        "0",
    ]);
    let records = parse_records(&text(&output.stdout));
    assert_eq!((&records[0]["outcome"], &records[0]["status"]), (&json!("http_error"), &json!(500)));
    assert!(records[0]["seconds"].as_f64().unwrap() < 40.0);
    assert_eq!(records[1]["outcome"], "ok");
}

#[test]
fn port_without_a_server_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    check(&url, &[], "connect_error", None);
}

#[test]
fn unknown_host_is_a_connect_error() {
    check("http://does-not-exist.invalid/", &[], "connect_error", None);
}

#[test]
fn server_that_speaks_no_tls_is_a_tls_error() {
    let server = Nasty::start();
    check(&format!("https://{}/", server.address()), &["--timeout", "20"], "tls_error", None);
}

#[test]
fn server_that_hangs_up_on_a_handshake_is_a_tls_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    check(&url, &[], "tls_error", None);
}

#[test]
fn certificate_that_nobody_vouches_for_is_a_tls_error() {
    let url = format!("https://127.0.0.1:{}/", tls::start().0);
    check(&url, &[], "tls_error", None);
    let told = fetch_one(&url, &[]).0["error"].as_str().unwrap().to_owned();
    assert!(told.contains("the certificate's issuer is not trusted: 127.0.0.1"), "{told}");
}

#[test]
fn silence_is_a_timeout() {
    let server = Nasty::start();
    check(&server.url("/never"), &["--timeout", "0.3"], "timeout", None);
    check(&server.url("/stall"), &["--timeout", "0.3"], "timeout", Some(200));
    check(&server.url("/never"), &["--read-timeout", "0.3"], "timeout", None);
    check(&server.url("/stall"), &["--read-timeout", "0.3"], "timeout", Some(200));
}

#[test]
fn answer_that_breaks_the_rules_is_a_protocol_error() {
    let server = Nasty::start();
    check(&server.url("/garbage"), &[], "protocol_error", None);
    check(&server.url("/close"), &[], "protocol_error", None);
    check(&server.url("/half/3000"), &[], "protocol_error", Some(200));
    check(&server.url("/reset/3000"), &[], "protocol_error", Some(200));
    check(&server.url("/half/3000000"), &[], "protocol_error", Some(200));
    let (record, ..) = fetch_one(&server.url("/half/3000000"), &[]);
    assert_eq!((&record["bytes"], &record["resumed"]), (&json!(1_500_000), &json!(0)), "{record}");
    check(&server.url("/bad-chunk"), &[], "protocol_error", Some(200));
    check(&server.url("/cut-chunks"), &[], "protocol_error", Some(200));
    check(&server.url("/loop/0"), &[], "protocol_error", None);
}

#[test]
fn what_is_no_url_is_an_invalid_url() {
    for url in ["example.org", "ftp://example.org/a", "http://", "http://host:99999/", "mailto:x@example.org"]
    {
        check(url, &[], "invalid_url", None);
    }
}

#[test]
fn directory_that_takes_no_file_is_told_before_the_first_request() {
    // Nothing is written into /proc, whoever asks.
    let output = fetch(&["http://127.0.0.1:1/x", "-o", "/proc/self/net", "--report", "-", "--quiet"]);
    assert!(text(&output.stderr).contains("/proc/self/net: no file can be made in it"), "{output:?}");
    assert!(output.stdout.is_empty());
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn one_failure_does_not_stop_the_rest() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let urls = ["/reset/100", "/ok/1", "/status/500", "/ok/2", "nonsense", "/ok/3"].map(|path| match path {
        "nonsense" => path.to_owned(),
        path => server.url(path),
    });
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["-o", directory.path().to_str().unwrap(), "-j", "1", "--report", "-", "--quiet"]);
    arguments.extend(["--retries", "0"]);
    let output = fetch(&arguments);
    let records = parse_records(&text(&output.stdout));
    let seen: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(seen, ["protocol_error", "ok", "http_error", "ok", "invalid_url", "ok"]);
    assert_eq!(files(directory.path()).into_keys().collect::<Vec<_>>(), ["1", "2", "3"]);
}

#[test]
fn report_into_a_missing_directory_is_wrong_usage() {
    let output = fetch(&["http://127.0.0.1:9/", "--report", "/does/not/exist"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/does/not/exist"));
    assert!(!Path::new("/does").exists());
}

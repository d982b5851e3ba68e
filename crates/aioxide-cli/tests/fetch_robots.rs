//! robots.txt, obeyed on request.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Instant;

use support::nasty::Nasty;
use support::{fetch, parse_records, text};

fn outcomes(server: &Nasty, paths: &[&str], options: &[&str]) -> Vec<(String, String)> {
    let urls: Vec<String> = paths.iter().map(|path| server.url(path)).collect();
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["--discard", "-q", "--retries", "0", "--report", "-"]);
    arguments.extend(options);
    let output = fetch(&arguments);
    let mut records = parse_records(&text(&output.stdout));
    records.sort_by_key(|record| record["line"].as_u64());
    let told = |record: &serde_json::Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    records.iter().map(|record| (told(record, "outcome"), told(record, "error"))).collect()
}

fn seen(outcomes: &[(String, String)]) -> Vec<&str> {
    outcomes.iter().map(|(outcome, _)| outcome.as_str()).collect()
}

#[test]
fn rules_are_asked_for_once_per_host_and_obeyed() {
    let rules = "User-agent: *\nDisallow: /ok/2\nAllow: /ok/22\n\nUser-agent: other\nDisallow: /\n";
    let server = Nasty::with_robots("200 OK", rules);
    let paths = ["/ok/1", "/ok/2", "/ok/22", "/ok/3", "/ok/23?x"];
    let allowed = outcomes(&server, &paths, &["--robots"]);
    assert_eq!(seen(&allowed), ["ok", "disallowed", "ok", "ok", "disallowed"]);
    assert_eq!(allowed[1].1, "by robots.txt");
    assert_eq!(server.requests().iter().filter(|path| *path == "/robots.txt").count(), 1);
    assert!(!server.requests().contains(&"/ok/2".to_owned()));
    let other = outcomes(&server, &["/ok/1"], &["--robots", "-A", "Other/1.0 (me@example.org)"]);
    assert_eq!(seen(&other), ["disallowed"]);
    assert_eq!(seen(&outcomes(&server, &["/ok/2"], &[])), ["ok"], "not asked for");
}

#[test]
fn host_without_rules_forbids_nothing_and_one_that_cannot_tell_everything() {
    for (status, outcome) in [("404 Not Found", "ok"), ("403 Forbidden", "ok"), ("503 Busy", "disallowed")] {
        let server = Nasty::with_robots(status, "User-agent: *\nDisallow: /\n");
        let outcomes = outcomes(&server, &["/ok/1"], &["--robots"]);
        assert_eq!(seen(&outcomes), [outcome], "{status}");
    }
    let server =
        Nasty::with_robots("200 OK", &format!("User-agent: *\nDisallow: /\n{}", "#".repeat(2_000_000)));
    assert_eq!(seen(&outcomes(&server, &["/ok/1"], &["--robots"])), ["disallowed"], "however long it is");
    let server = Nasty::with_robots("200 OK", "\u{0}\u{1}<html>no rules</html>");
    assert_eq!(seen(&outcomes(&server, &["/ok/1"], &["--robots"])), ["ok"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long the program takes is what is looked at")]
fn delay_between_downloads_is_obeyed() {
    let server = Nasty::with_robots("200 OK", "User-agent: *\nCrawl-delay: 0.3\n");
    let begin = Instant::now();
    assert_eq!(seen(&outcomes(&server, &["/ok/1", "/ok/2", "/ok/3"], &["--robots"])), ["ok"; 3]);
    assert!(begin.elapsed().as_millis() >= 600);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long the program takes is what is looked at")]
fn host_that_is_down_is_not_asked_by_one_url_after_the_other() {
    // The system makes its connections, and nobody answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let urls: Vec<String> = (0..30).map(|number| format!("http://{address}/{number}")).collect();
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend([
        "--discard",
        "-q",
        "--robots",
        "--retries",
        "0",
        "--read-timeout",
        "0.5",
        "--report",
        "-",
    ]);
    let begin = Instant::now();
    let records = parse_records(&text(&fetch(&arguments).stdout));
    assert!(
        records.len() == 30 && records.iter().all(|record| record["outcome"] == "timeout"),
        "{records:?}"
    );
    assert!(begin.elapsed().as_secs() < 8, "{:?}", begin.elapsed());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long the program takes is what is looked at")]
fn rules_that_come_too_slowly_are_not_waited_for_longer_than_the_url() {
    let server = Nasty::with_robots("302 Found\r\nLocation: /trickle", "");
    let begin = Instant::now();
    let result = outcomes(&server, &["/ok/1"], &["--robots", "--timeout", "1"]);
    assert_eq!(seen(&result), ["timeout"], "{result:?}");
    assert!(begin.elapsed().as_secs() < 10);
}

#[test]
fn rule_that_cannot_be_read_does_not_make_the_others_void() {
    let rules = format!("\u{feff}User-agent: *\nDisallow: /ok/2\nDisallow: /{}$\n", "*a".repeat(5000));
    let server = Nasty::with_robots("200 OK", &rules);
    assert_eq!(seen(&outcomes(&server, &["/ok/1", "/ok/2"], &["--robots"])), ["disallowed"; 2]);
}

#[test]
fn rules_hold_where_a_url_redirects_to() {
    let elsewhere = Nasty::with_robots("200 OK", "User-agent: *\nDisallow: /ok/2\n");
    let server = Nasty::with_robots("200 OK", "User-agent: *\nDisallow: /ok/7\n");
    let to = |path: &str| format!("/redirect-to/{}{path}", elsewhere.address());
    let paths = [
        to("/ok/1"),
        to("/ok/2"),
        to("/redirect/ok/2"),
        "/redirect/ok/7".into(),
        "/redirect/ok/8".into(),
        "/loop/1".into(),
    ];
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let result = outcomes(&server, &paths, &["--robots", "-j1"]);
    assert_eq!(
        seen(&result),
        ["ok", "disallowed", "disallowed", "disallowed", "ok", "protocol_error"],
        "{result:?}"
    );
    assert_eq!(result[1].1, format!("by robots.txt ({})", elsewhere.url("/ok/2")));
    for (server, path) in [(&elsewhere, "/ok/2"), (&server, "/ok/7")] {
        assert!(!server.requests().contains(&path.to_owned()));
        assert_eq!(server.requests().iter().filter(|path| *path == "/robots.txt").count(), 1);
    }
    // Only the first one is asked for twice: its host was not known.
    assert_eq!(server.requests().iter().filter(|path| path.starts_with("/redirect-to")).count(), 2 + 1 + 1);
    assert_eq!(seen(&outcomes(&server, &[&to("/ok/2")], &[])), ["ok"], "not asked for");
}

#[test]
fn rules_of_a_host_that_a_server_has_named_are_asked_for_without_secrets() {
    let elsewhere = Nasty::with_robots("200 OK", "User-agent: *\nDisallow: /none\n");
    let server = Nasty::start();
    let to = format!("/redirect-to/{}/ok/1", elsewhere.address());
    for secret in [
        ["--user", "me:SECRET"],
        ["--bearer", "SECRET"],
        ["-H", "Cookie: a=SECRET"],
        ["--secret-header", "X-K: SECRET"],
    ] {
        let options = ["--robots", secret[0], secret[1]];
        assert_eq!(seen(&outcomes(&server, &[&to], &options)), ["ok"], "{secret:?}");
        // Asked for by the user itself it gets them.
        assert_eq!(seen(&outcomes(&server, &["/ok/2"], &options)), ["ok"], "{secret:?}");
    }
    let told = |server: &Nasty, part: &str| server.heads().iter().filter(|head| head.contains(part)).count();
    assert_eq!((told(&elsewhere, "GET /robots.txt"), told(&elsewhere, "GET /ok/1")), (4, 4));
    for head in elsewhere.heads() {
        let head = head.to_ascii_lowercase();
        assert!(!["authorization", "cookie", "x-k:"].iter().any(|name| head.contains(name)), "{head}");
    }
    let lower =
        |part: &str| server.heads().iter().filter(|head| head.to_ascii_lowercase().contains(part)).count();
    assert!(lower("authorization: ") >= 4 && lower("cookie: ") >= 2 && lower("x-k: ") >= 2);
}

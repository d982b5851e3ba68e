//! The page of a report, looked at in a browser where there is one.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::process::Command;

use support::nasty::Nasty;
use support::{aioxide, fetch, text};

/// A report with good and bad ends, and with text that would be markup.
fn report(directory: &std::path::Path) -> std::path::PathBuf {
    let server = Nasty::start();
    let path = directory.join("report.jsonl");
    let mut urls =
        ["/ok/5", "/ok/70000", "/status/404", "/busy/500/1/"].map(|path| server.url(path)).to_vec();
    urls.push("<script>document.title='broken'</script>".to_owned());
    urls.push("http://127.0.0.1:1/".to_owned());
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["-q", "--discard", "--retry-wait", "0.01", "--report", path.to_str().unwrap()]);
    fetch(&arguments);
    let mut lines = fs::read_to_string(&path).unwrap();
    lines.push_str("no record\n");
    lines.push_str(r#"{"line":9,"url":"http://x/","outcome":"timeout","status":null,"bytes":0,"path":null,"seconds":3,"attempts":1,"error":"<script>document.title='broken'</script>"}"#);
    fs::write(&path, lines).unwrap();
    path
}

#[test]
fn page_tells_everything_and_quotes_without_harm() {
    let directory = tempfile::tempdir().unwrap();
    let report = report(directory.path());
    let page = directory.path().join("page.html");
    let output = aioxide().arg("report").arg(&report).arg("-o").arg(&page).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let html = fs::read_to_string(&page).unwrap();
    for told in [
        "http_error",
        "connect_error",
        "timeout",
        "42.9 %",
        "127.0.0.1",
        "404 Not Found",
        "are no records: 1",
    ] {
        assert!(html.contains(told), "{told}: {html}");
    }
    assert!(!html.contains("<script"), "{html}");
    assert!(html.contains("&lt;script&gt;document"), "{html}");

    let Some(browser) = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or(false))
    else {
        eprintln!("the rest is skipped: there is no Chromium");
        return;
    };
    let address = format!("file://{}", page.display());
    let profile = format!("--user-data-dir={}", directory.path().join("profile").display());
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            &profile,
            "--dump-dom",
            &address,
        ])
        .output()
        .unwrap();
    let (seen, log) = (text(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(
        seen.contains("<title>aioxide fetch: report</title>") && seen.contains("class=\"bars\""),
        "{seen}"
    );
    assert!(!log.contains(":CONSOLE"), "{log}");
}

#[test]
fn what_is_no_report_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, "http://a/\n").unwrap();
    for (path, reason) in [(path.to_str().unwrap(), "no report"), ("/does/not/exist", "/does/not/exist")] {
        let output = aioxide().args(["report", path]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
}

#[test]
fn numbers_of_any_size_are_taken_and_the_report_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.jsonl");
    let line = r#"{"line":1,"url":"http://x/","outcome":"ok","status":200,"bytes":18446744073709551615,"path":null,"seconds":1e308,"attempts":1,"error":null,"resumed":18446744073709551615}"#;
    let lines = format!("{line}\n{line}\n");
    fs::write(&path, &lines).unwrap();
    let output = aioxide().arg("report").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = aioxide().arg("report").arg(&path).arg("-o").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("over the report"), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&path).unwrap(), lines);
}

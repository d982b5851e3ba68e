//! Answers that contradict the request, or themselves, and old and new files that stand where a download goes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::scripted::{Script, Scripted, Then, answer, asked_from};
use support::{body, fetch, fetch_into, files, text};

const ETAG: &str = "ETag: \"v1\"";
const LENGTH: usize = 200_000;

/// The beginning of the file, and then nothing more.
fn cut() -> Script {
    let whole = answer("200 OK", &[ETAG], &body(1, LENGTH));
    (whole[..whole.len() - LENGTH / 2].to_vec(), Then::Closes)
}

fn whole() -> Script {
    (answer("200 OK", &[ETAG], &body(1, LENGTH)), Then::GoesOn)
}

/// Fetches `/f.bin`; gives the record and the files.
#[track_caller]
fn fetched(server: &Scripted, directory: &Path, options: &[&str]) -> (Value, Vec<(String, Vec<u8>)>) {
    let url = server.url("/f.bin");
    let mut arguments = vec![url.as_str(), "--retry-wait", "0.01"];
    arguments.extend(options);
    let (_, mut records) = fetch_into(directory, &arguments);
    assert_eq!(records.len(), 1);
    (records.remove(0), files(directory).into_iter().collect())
}

/// A body is cut; the answer to the request for its rest is a doubt, after which the whole is asked for, and comes.
#[track_caller]
fn check_doubt(
    options: &[&str],
    before: Option<&[u8]>,
    rest: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
) {
    let server = Scripted::start(move |number, head| match (number, asked_from(head)) {
        (0, None) => cut(),
        (1, Some(from)) => (rest(from), Then::Closes),
        _ => whole(),
    });
    let directory = tempfile::tempdir().unwrap();
    if let Some(before) = before {
        fs::write(directory.path().join("f.bin"), before).unwrap();
    }
    let (record, files) = fetched(&server, directory.path(), options);
    assert_eq!((&record["outcome"], &record["attempts"]), (&json!("ok"), &json!(3)), "{record}");
    assert!(files == [("f.bin".to_owned(), body(1, LENGTH))], "another file");
    assert_eq!(asked_from(&server.heads()[2]), None);
}

#[test]
fn not_modified_is_no_answer_to_a_request_for_the_rest() {
    let unchanged = |_| b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n".to_vec();
    check_doubt(&[], None, unchanged);
    check_doubt(&["--newer"], Some(b"old"), unchanged);
}

#[test]
fn part_in_another_coding_or_of_another_length_than_it_says_is_no_rest() {
    let part = |from: usize, line: &str| {
        let range = format!("Content-Range: bytes {from}-{}/{LENGTH}", LENGTH - 1);
        answer("206 Partial Content", &[ETAG, &range, line], &body(1, LENGTH)[from..])
    };
    check_doubt(&[], None, move |from| part(from, "Content-Encoding: gzip"));
    check_doubt(&["--compressed"], None, move |from| part(from, "Content-Encoding: gzip"));
    check_doubt(&[], None, |from| {
        let range = format!("Content-Range: bytes {from}-{}/{LENGTH}", from + 10);
        answer("206 Partial Content", &[ETAG, &range], &body(1, LENGTH)[from..])
    });
}

#[test]
fn part_that_the_user_asks_for_is_that_part_and_whole() {
    let told = |range: &'static str, digest: &'static str, length: usize| {
        Scripted::start(move |_, _| {
            let lines = [range, digest, "Connection: close"];
            let mut head = answer("206 Partial Content", &[&lines[..], &["Content-Length: @"]].concat(), b"");
            // Ended by the connection's end.
            head = String::from_utf8(head).unwrap().replace("Content-Length: @\r\n", "").into_bytes();
            (([head, body(1, LENGTH)[..length].to_vec()]).concat(), Then::Closes)
        })
    };
    let fetched = |server: &Scripted| {
        let directory = tempfile::tempdir().unwrap();
        fetched(server, directory.path(), &["-H", "Range: bytes=0-9", "--retries", "0"])
    };
    // A digest of the whole file is none of the part.
    let of_whole = "Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    let (record, files) = fetched(&told("Content-Range: bytes 0-9/200000", of_whole, 10));
    assert_eq!((&record["outcome"], files[0].1.len()), (&json!("ok"), 10), "{record}");
    for (range, length) in [
        ("Content-Range: bytes 0-9/200000", 5),
        ("Content-Range: bytes 10-19/200000", 10),
        ("Content-Range: bytes 0-4/200000", 5),
        ("Content-Range: lines 0-9/200000", 10),
    ] {
        let (record, files) = fetched(&told(range, "A: b", length));
        assert_eq!((&record["outcome"], &files[..]), (&json!("protocol_error"), &[][..]), "{record}");
    }
}

#[test]
fn server_that_asks_for_longer_than_there_are_numbers_is_not_waited_for() {
    let server = Scripted::start(|_, _| {
        (answer("503 Busy", &["Retry-After: 99999999999999999999"], b""), Then::GoesOn)
    });
    let directory = tempfile::tempdir().unwrap();
    let (record, _) = fetched(&server, directory.path(), &[]);
    assert_eq!((&record["status"], &record["attempts"]), (&json!(503), &json!(1)), "{record}");
}

#[test]
fn host_is_left_alone_also_when_the_url_that_met_its_wish_is_given_up() {
    let server = Scripted::start(|number, _| match number {
        0 => (answer("503 Busy", &["Retry-After: 1"], b""), Then::GoesOn),
        _ => (answer("200 OK", &[], b"x"), Then::GoesOn),
    });
    let directory = tempfile::tempdir().unwrap();
    let since = SystemTime::now();
    let (_, records) = fetch_into(
        directory.path(),
        &[&server.url("/a"), &server.url("/b"), "--jobs", "1", "--retries", "0"],
    );
    assert_eq!((&records[0]["outcome"], &records[1]["outcome"]), (&json!("http_error"), &json!("ok")));
    let took = since.elapsed().unwrap();
    assert!(took >= Duration::from_secs(1), "asked again after {took:?}");
}

#[test]
fn body_that_stops_is_too_slow_before_it_is_silent_for_too_long() {
    let server = Scripted::start(|_, _| (cut().0, Then::Stalls));
    let directory = tempfile::tempdir().unwrap();
    let options = ["--min-speed", "1M", "--speed-time", "0.2", "--retries", "0", "--read-timeout", "3600"];
    let (record, _) = fetched(&server, directory.path(), &options);
    assert_eq!((&record["outcome"], &record["stalls"]), (&json!("timeout"), &json!(1)), "{record}");
    assert!(record["error"].as_str().unwrap().contains("fewer than 1000000"), "{record}");
}

#[test]
fn own_limit_of_the_rate_is_no_fault_of_the_server() {
    let server = Scripted::start(|_, _| whole());
    let directory = tempfile::tempdir().unwrap();
    let options = ["--limit-rate", "200k", "--min-speed", "300k", "--speed-time", "0.8", "--retries", "0"];
    let (record, _) = fetched(&server, directory.path(), &options);
    assert_eq!(record["outcome"], "ok", "{record}");
}

#[test]
fn files_from_before_and_after_all_dates_of_http_are_there() {
    let server = Scripted::start(|_, _| (answer("200 OK", &[], b"new"), Then::GoesOn));
    let year = Duration::from_secs(365 * 24 * 3600);
    // Not every file system keeps the later one.
    for changed in [SystemTime::UNIX_EPOCH - year, SystemTime::UNIX_EPOCH + 9000 * year] {
        let directory =
            tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
        let path = directory.path().join("f.bin");
        fs::write(&path, "old").unwrap();
        if File::options().write(true).open(&path).unwrap().set_modified(changed).is_err() {
            continue;
        }
        let (record, files) = fetched(&server, directory.path(), &["--skip-existing"]);
        assert_eq!((&record["outcome"], files.len()), (&json!("skipped"), 1), "{record}");
        let (record, files) = fetched(&server, directory.path(), &["--newer"]);
        assert_eq!(
            (&record["outcome"], &files[..]),
            (&json!("ok"), &[("f.bin".to_owned(), b"new".to_vec())][..])
        );
    }
    assert!(server.heads()[0].to_lowercase().contains("if-modified-since: thu, 01 jan 1970 00:00:00 gmt"));
}

#[test]
fn only_file_is_no_directory_that_is_still_to_be_made() {
    let directory = tempfile::tempdir().unwrap();
    for end in ["new/", "new/."] {
        let output = fetch(&["-O", directory.path().join(end).to_str().unwrap(), "http://127.0.0.1:1/"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("not the name of a file"), "{}", text(&output.stderr));
    }
    assert!(files(directory.path()).is_empty());
}

/// Answers each path with itself, but for those that fail the first time; knows that nothing is newer than a date.
fn paths(fails: &'static str) -> Scripted {
    Scripted::start(move |number, head| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let is_head = head.starts_with("HEAD ");
        let dated = ["Last-Modified: Wed, 21 Oct 2020 07:28:00 GMT"];
        let bytes = match () {
            () if path == fails && number < 2 => answer("404 Not Found", &[], b""),
            () if head.to_lowercase().contains("if-modified-since") => {
                answer("304 Not Modified", &dated, b"")
            }
            () if is_head => answer("200 OK", &[dated[0], &format!("Content-Length: {}", path.len())], b""),
            () => answer("200 OK", &dated, path.as_bytes()),
        };
        (bytes, Then::GoesOn)
    })
}

#[test]
fn file_of_another_url_is_not_taken_for_this_ones() {
    for option in ["--skip-existing", "--newer"] {
        for fails in ["/a/x", "/b/x"] {
            let server = paths(fails);
            let directory = tempfile::tempdir().unwrap();
            let urls = ["/a/x", "/b/x"].map(|path| server.url(path));
            let run = |expected: [&str; 2]| {
                let (_, records) =
                    support::fetch_into(directory.path(), &["-j1", option, &urls[0], &urls[1]]);
                let seen: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
                assert_eq!(seen, expected, "{option} {fails}");
            };
            let there = if option == "--newer" { "not_modified" } else { "skipped" };
            match fails {
                "/a/x" => {
                    run(["http_error", "ok"]);
                    run(["ok", there]);
                }
                _ => {
                    run(["ok", "http_error"]);
                    run([there, "ok"]);
                }
            }
            run([there, there]);
            let names = files(directory.path());
            assert_eq!((&names["x"][..], &names["x-1"][..], names.len()), (&b"/a/x"[..], &b"/b/x"[..], 2));
        }
    }
}

#[test]
fn file_of_another_length_is_not_up_to_date() {
    let server = paths("");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.bin");
    for (before, outcome) in
        [("", "ok"), ("/f.b", "ok"), ("/f.bin and more", "ok"), ("/f.bin", "not_modified")]
    {
        fs::write(&path, before).unwrap();
        let (record, files) = fetched(&server, directory.path(), &["-N"]);
        assert_eq!(record["outcome"], outcome, "{before:?}: {record}");
        assert!(files == [("f.bin".to_owned(), b"/f.bin".to_vec())], "{before:?}");
    }
}

#[test]
fn page_is_none_of_what_the_name_promises() {
    let server = Scripted::start(|_, head| {
        let html = ["Content-Type: text/html; charset=utf-8"];
        let bytes = match head.split(' ').nth(1).unwrap() {
            "/to" => answer("302 Found", &["Location: /page/x.zip"], b""),
            "/csv" => answer("200 OK", &["Content-Type: text/csv"], b"a,b\n"),
            _ => answer("200 OK", &html, b"<!-- x --><title>Just a moment...</title>"),
        };
        (bytes, Then::GoesOn)
    });
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (path, options, code) in [
        ("/page/x.iso", &[][..], 1),
        ("/page/x.csv", &[], 1),
        ("/page/x.json?a=b", &[], 1),
        ("/page/x.xml", &[], 1),
        ("/page/x.css", &[], 1),
        ("/page/x.js", &[], 1),
        ("/to", &[], 1),
        ("/page", &["-O", &at("my.zip")], 1),
        ("/page", &["-o", &at("o"), "--name", "n.zip"], 1),
        ("/page?to=x.zip", &[], 0),
        ("/page/x.zip", &["-O", &at("x.html")], 0),
        ("/page/x.php", &[], 0),
        ("/page/x.iso", &["--any-content"], 0),
        ("/csv", &["-O", &at("x.csv")], 0),
    ] {
        let mut command = support::aioxide();
        command.current_dir(&directory).args(["fetch", &server.url(path)]).args(options);
        let output = command.output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{path} {options:?}: {told}");
        assert_eq!(told.contains("unexpected_content"), code == 1, "{told}");
    }
}

//! Retries, resumption and proof, against servers that break off, stall, lie and change their files.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::nasty::Nasty;
use support::{body, fetch, fetch_into, files, text};

/// Fetches one path with short pauses; gives the record and the files.
#[track_caller]
fn fetched(server: &Nasty, path: &str, options: &[&str]) -> (Value, Vec<(String, Vec<u8>)>) {
    let directory = tempfile::tempdir().unwrap();
    let url = server.url(path);
    let mut arguments = vec![url.as_str(), "--retry-wait", "0.01"];
    arguments.extend(options);
    let (status, mut records) = fetch_into(directory.path(), &arguments);
    assert_eq!(records.len(), 1);
    let record = records.remove(0);
    let good = ["ok", "not_modified", "skipped"].contains(&record["outcome"].as_str().unwrap());
    assert_eq!(status, Some(i32::from(!good)), "{record}");
    (record, files(directory.path()).into_iter().collect())
}

#[track_caller]
fn check_whole(server: &Nasty, path: &str, options: &[&str], expected: &[u8]) -> Value {
    let (record, files) = fetched(server, path, options);
    assert_eq!(record["outcome"], "ok", "{record}");
    assert_eq!(record["bytes"], expected.len(), "{record}");
    assert_eq!(files.len(), 1);
    assert!(files[0].1 == expected, "{path}: another file");
    record
}

fn ranges(server: &Nasty) -> Vec<Option<String>> {
    let heads = server.heads();
    let range = |head: &String| {
        head.lines().find(|line| line.to_lowercase().starts_with("range:")).map(str::to_owned)
    };
    heads.iter().map(range).collect()
}

#[test]
fn body_that_is_cut_is_gone_on_from() {
    let server = Nasty::start();
    let record = check_whole(&server, "/cuts/300000/200000/1", &[], &body(300_000, 300_000));
    assert_eq!((&record["attempts"], &record["resumed"]), (&json!(2), &json!(200_000)), "{record}");
    // The last bytes that are there come again, to be compared.
    let asked = ranges(&server);
    assert_eq!(asked[0], None);
    assert_eq!(asked[1].as_ref().unwrap().to_lowercase(), "range: bytes=195904-");
    assert!(server.heads()[1].to_lowercase().contains("if-range: \"v1\""));
}

#[test]
fn long_body_that_gets_on_is_not_given_up() {
    // Ten cuts and two retries: an attempt that brings a megabyte does not count.
    let server = Nasty::start();
    let length = 15_000_000;
    let record = check_whole(&server, "/cuts/15000000/1400000/10", &[], &body(length as u64, length));
    assert_eq!(record["attempts"], 11, "{record}");
    // One that does not is.
    let (record, files) = fetched(&server, "/cuts/15000001/40000/10", &[]);
    assert_eq!((&record["outcome"], &record["attempts"]), (&json!("protocol_error"), &json!(3)), "{record}");
    assert_eq!(files, []);
}

#[test]
fn file_that_changes_between_two_attempts_is_never_mixed() {
    let server = Nasty::start();
    let new = body(2, 200_000);
    let record = check_whole(&server, "/changes/200000/honestly", &[], &new);
    assert_eq!((&record["attempts"], &record["resumed"]), (&json!(2), &json!(0)), "{record}");
    for how in ["silently", "elsewhere", "unsaid", "shorter"] {
        let record = check_whole(&server, &format!("/changes/200000/{how}"), &[], &new);
        assert_eq!(record["attempts"], 3, "{how}: {record}");
    }
    // Without another retry there is no file, and the reason is told.
    let (record, files) = fetched(&server, "/changes/200001/silently", &["--retries", "1"]);
    assert_eq!((&record["outcome"], &files[..]), (&json!("protocol_error"), &[][..]));
    assert!(record["error"].as_str().unwrap().contains("the file has changed"), "{record}");
}

#[test]
fn body_that_stalls_is_asked_for_again_from_where_it_stood() {
    let server = Nasty::start();
    let record = check_whole(&server, "/stalls/400000", &["--read-timeout", "0.3"], &body(400_000, 400_000));
    assert_eq!((&record["stalls"], &record["attempts"]), (&json!(1), &json!(2)), "{record}");
    assert_eq!(record["resumed"], 200_000, "{record}");
}

#[test]
fn body_that_comes_too_slowly_is_a_stall() {
    let server = Nasty::start();
    let options = ["--min-speed", "10k", "--speed-time", "0.2", "--retries", "1"];
    let (record, _) = fetched(&server, "/trickle", &options);
    assert_eq!((&record["outcome"], &record["stalls"]), (&json!("timeout"), &json!(2)), "{record}");
    assert!(record["error"].as_str().unwrap().contains("bytes per second"), "{record}");
}

#[test]
fn what_may_be_an_accident_is_tried_again_and_nothing_else_is() {
    let server = Nasty::start();
    for code in [408, 425, 429, 500, 502, 503, 504] {
        let record = check_whole(&server, &format!("/busy/{code}/2/"), &[], b"at last\n");
        assert_eq!(record["attempts"], 3, "{record}");
    }
    for path in ["/busy/404/9/", "/busy/403/9/", "/busy/501/9/", "/garbage", "/bad-chunk"] {
        let (record, _) = fetched(&server, path, &[]);
        assert_eq!(record["attempts"], 1, "{record}");
    }
    for (path, outcome) in
        [("/busy/500/9/", "http_error"), ("/close", "protocol_error"), ("/reset/9", "protocol_error")]
    {
        let (record, _) = fetched(&server, path, &["--retries", "3"]);
        assert_eq!((&record["outcome"], &record["attempts"]), (&json!(outcome), &json!(4)), "{record}");
    }
}

#[test]
fn server_that_says_when_to_come_back_is_obeyed() {
    let server = Nasty::start();
    let record = check_whole(&server, "/busy/429/1/1", &[], b"at last\n");
    assert!(record["seconds"].as_f64().unwrap() >= 1.0, "{record}");
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2)).replace(' ', "_");
    let record = check_whole(&server, &format!("/busy/503/1/{soon}"), &[], b"at last\n");
    assert!(record["seconds"].as_f64().unwrap() >= 0.5, "{record}");
    // Longer than there is patience: at once, and with its status.
    let (record, _) = fetched(&server, "/busy/503/9/3600", &["--retry-max-wait", "60"]);
    assert_eq!((&record["outcome"], &record["attempts"]), (&json!("http_error"), &json!(1)), "{record}");
    assert!(record["error"].as_str().unwrap().contains("Retry-After is 3600 s"), "{record}");
}

#[test]
fn host_that_asks_for_a_pause_is_left_alone_by_all_and_others_go_on() {
    let (busy, other) = (Nasty::start(), Nasty::start());
    let urls = [
        busy.url("/busy/429/1/2"),
        busy.url("/ok/1"),
        busy.url("/ok/2"),
        other.url("/ok/3"),
        other.url("/ok/4"),
    ];
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["-j", "1"]);
    let directory = tempfile::tempdir().unwrap();
    let (status, records) = fetch_into(directory.path(), &arguments);
    assert_eq!(status, Some(0));
    let order: Vec<u64> = records.iter().map(|record| record["line"].as_u64().unwrap()).collect();
    // The other host's come first, although they stand last.
    assert_eq!(order[..2], [4, 5], "{records:?}");
}

#[test]
fn time_for_a_url_is_for_all_its_attempts() {
    let server = Nasty::start();
    let options = ["--retries", "1000", "--timeout", "1"];
    let (record, _) = fetched(&server, "/busy/500/999/", &options);
    assert!(
        record["seconds"].as_f64().unwrap() < 10.0 && record["attempts"].as_u64().unwrap() > 1,
        "{record}"
    );
}

const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn checksums_of_the_user_and_of_the_server_decide() {
    let server = Nasty::start();
    let path = "/header/X~y";
    check_whole(&server, path, &["--checksum", ABC], b"abc");
    check_whole(&server, path, &["--checksum", "md5:900150983cd24fb0d6963f7d28e17f72"], b"abc");
    let (record, files) = fetched(&server, path, &["--checksum", "md5:000150983cd24fb0d6963f7d28e17f72"]);
    assert_eq!((&record["outcome"], &files[..]), (&json!("checksum_error"), &[][..]), "{record}");
    assert!(record["error"].as_str().unwrap().contains("900150983cd24fb0d6963f7d28e17f72"), "{record}");

    let right = "/header/Repr-Digest~sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD%2FYfIAFa0=:";
    let (record, _) = fetched(&server, right, &[]);
    assert_eq!(
        record["outcome"], "ok",
        "a percent sign is no base64, and what cannot be read is passed over"
    );
    let wrong = "/header/Content-Digest~sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    let (record, files) = fetched(&server, wrong, &[]);
    assert_eq!((&record["outcome"], &files[..]), (&json!("checksum_error"), &[][..]), "{record}");
}

#[test]
fn checksum_lets_a_part_be_gone_on_from_and_covers_the_whole() {
    use sha2::{Digest, Sha256};
    let server = Nasty::start();
    let file = body(300_000, 300_000);
    let hex: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    let record =
        check_whole(&server, "/cuts/300000/200000/1", &["--checksum", &format!("sha256:{hex}")], &file);
    assert_eq!(record["resumed"], 200_000, "{record}");
}

#[test]
fn parts_of_two_versions_are_found_by_their_checksum_and_asked_for_in_one() {
    use sha2::{Digest, Sha256};
    let server = Nasty::start();
    let mut file = body(1, 200_000);
    file[0] ^= 1;
    let hex: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    let checksum = format!("sha256:{hex}");
    let record = check_whole(&server, "/changes/200000/before", &["--checksum", &checksum], &file);
    assert_eq!(record["attempts"], 3, "{record}");
    let (record, files) = fetched(&server, "/changes/200001/before", &["--checksum", ABC]);
    assert_eq!((&record["outcome"], &record["attempts"]), (&json!("checksum_error"), &json!(3)), "{record}");
    assert_eq!(files, []);
}

#[test]
fn checksum_of_several_urls_is_wrong_usage() {
    let output = fetch(&["--checksum", ABC, "http://127.0.0.1:1/a", "http://127.0.0.1:1/b"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--checksum"), "{}", text(&output.stderr));
}

#[test]
fn what_is_too_large_is_refused_before_and_while_it_comes() {
    let server = Nasty::start();
    for path in ["/ok/2000", "/chunks"] {
        let limit = if path == "/chunks" { "10" } else { "1999" };
        let (record, files) = fetched(&server, path, &["--max-size", limit]);
        assert_eq!((&record["outcome"], &files[..]), (&json!("too_large"), &[][..]), "{record}");
    }
    check_whole(&server, "/ok/2000", &["--max-size", "2k"], &body(2000, 2000));
}

#[test]
fn page_in_place_of_a_picture_is_no_picture() {
    let server = Nasty::start();
    let (record, files) = fetched(&server, "/challenge/cat.jpg", &[]);
    assert_eq!(
        (&record["outcome"], &record["status"]),
        (&json!("unexpected_content"), &json!(200)),
        "{record}"
    );
    assert_eq!(files, []);
    assert_eq!(fetched(&server, "/challenge/cat.jpg", &["--any-content"]).0["outcome"], "ok");
    assert_eq!(fetched(&server, "/challenge/cat.html", &[]).0["outcome"], "ok");
}

#[test]
fn redirects_are_followed_so_far_as_is_allowed() {
    let server = Nasty::start();
    let path = "/redirect/redirect/ok/7";
    assert_eq!(fetched(&server, path, &["--max-redirects", "2"]).0["final_url"], server.url("/ok/7"));
    assert_eq!(fetched(&server, path, &["--max-redirects", "1"]).0["outcome"], "protocol_error");
}

#[test]
fn newer_asks_for_what_has_changed_and_keeps_the_servers_time() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let modified = |directory: &Path| fs::metadata(directory.join("dated")).unwrap().modified().unwrap();
    fs::write(directory.path().join("dated"), "old").unwrap();
    let url = server.url("/dated");
    let (_, records) = fetch_into(directory.path(), &["-N", &url]);
    assert_eq!(records[0]["outcome"], "ok");
    assert_eq!(files(directory.path())["dated"], b"new");
    assert_eq!(modified(directory.path()), SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800));
    let (status, records) = fetch_into(directory.path(), &["-N", &url]);
    assert_eq!((status, &records[0]["outcome"]), (Some(0), &json!("not_modified")));
    assert_eq!(files(directory.path()).len(), 1);
}

#[test]
fn what_is_there_from_an_earlier_run_is_skipped() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let urls = [server.url("/ok/1"), server.url("/ok/2"), server.url("/ok/2")];
    fs::write(directory.path().join("1"), "mine").unwrap();
    let arguments: Vec<&str> = urls.iter().map(String::as_str).chain(["-j1", "--skip-existing"]).collect();
    let (status, records) = fetch_into(directory.path(), &arguments);
    let seen: Vec<_> = records.iter().map(|record| (&record["outcome"], &record["path"])).collect();
    let (ok, skipped) = (json!("ok"), json!("skipped"));
    assert_eq!(seen, [(&skipped, &json!("1")), (&ok, &json!("2")), (&ok, &json!("2-1"))]);
    assert_eq!((status, server.requests().len()), (Some(0), 2));
    assert_eq!(files(directory.path())["1"], b"mine");
}

#[test]
fn synced_file_is_as_any_other() {
    let server = Nasty::start();
    check_whole(&server, "/ok/3000000", &["--fsync"], &body(3_000_000, 3_000_000));
}

#[test]
fn bandwidth_is_shared_and_starts_keep_their_distance() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let urls = ["/ok/100000", "/ok/100001"].map(|path| server.url(path));
    let (_, records) = fetch_into(directory.path(), &[&urls[0], &urls[1], "--limit-rate", "400k"]);
    let slowest = records.iter().map(|record| record["seconds"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!(slowest > 0.3, "{records:?}");
    let urls = ["/ok/1", "/ok/2", "/ok/3"].map(|path| server.url(path));
    let begin = SystemTime::now();
    let (status, _) = fetch_into(directory.path(), &[&urls[0], &urls[1], &urls[2], "--rate", "5"]);
    assert!(begin.elapsed().unwrap() > Duration::from_millis(390));
    assert_eq!(status, Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn full_disk_ends_the_run_and_leaves_no_half_file() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let command = format!(
        "mount -t tmpfs -o size=1m none {out} && {program} fetch -q -j1 --report - -o {out} {urls}; code=$?; ls -A {out}; exit $code",
        out = directory.path().display(),
        program = env!("CARGO_BIN_EXE_aioxide"),
        urls = ["/ok/1000", "/ok/3000000", "/ok/2000"].map(|path| server.url(path)).join(" "),
    );
    let output = std::process::Command::new("unshare").args(["-rm", "sh", "-c", &command]).output().unwrap();
    if text(&output.stderr).contains("unshare") || text(&output.stderr).contains("mount") {
        eprintln!("skipped: a file system of a given size needs a user namespace: {}", text(&output.stderr));
        return;
    }
    let printed = text(&output.stdout);
    let (report, names) = printed.split_at(printed.rfind('}').unwrap() + 1);
    let records = support::parse_records(report);
    let seen: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(seen, ["ok", "io_error", "cancelled"], "{printed}");
    assert_eq!((names.trim(), output.status.code()), ("1000", Some(1)));
}

#[test]
fn part_of_a_file_of_unknown_length_is_not_taken_for_the_rest() {
    let server = Nasty::start();
    let record = check_whole(&server, "/capped/200000", &[], &body(200_000, 200_000));
    assert_eq!((&record["attempts"], &record["resumed"]), (&json!(3), &json!(0)), "{record}");
}

#[test]
fn time_in_all_holds_at_a_limited_rate() {
    let server = Nasty::start();
    let begin = SystemTime::now();
    let (record, _) = fetched(&server, "/ok/3000000", &["--limit-rate", "1k", "--timeout", "1"]);
    assert_eq!(record["outcome"], "timeout", "{record}");
    assert!(begin.elapsed().unwrap() < Duration::from_secs(20));
}

//! Lists of every kind, and names of the user's making, through the real program.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::write::GzEncoder;
use serde_json::{Value, json};
use support::nasty::Nasty;
use support::{fetch, fetch_into, files, text};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Fetches a list, one after the other; gives the records and the files under the directory.
fn fetch_list(name: &str, list: &[u8], options: &[&str]) -> (Vec<Value>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, list).unwrap();
    let out = directory.path().join("out");
    let mut arguments = vec!["-i", path.to_str().unwrap(), "-j1", "--retries", "0"];
    arguments.extend(options);
    let (_, records) = fetch_into(&out, &arguments);
    (records, tree(&out, ""))
}

fn tree(directory: &Path, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => names.extend(tree(&entry.path(), &format!("{name}/"))),
            false => names.push(name),
        }
    }
    names.sort();
    names
}

fn outcomes(records: &[Value]) -> Vec<(u64, &str)> {
    records
        .iter()
        .map(|record| (record["line"].as_u64().unwrap(), record["outcome"].as_str().unwrap()))
        .collect()
}

#[test]
fn tables_and_objects_tell_names_headers_and_checksums() {
    let server = Nasty::start();
    let (ok, abc, end) = (server.url("/ok/5"), server.url("/header/X~y"), server.url("/ok/6"));
    let wrong = ABC.replace('b', "c");
    let csv = format!(
        "caption,url,name,sha256,header:X-Key\r\n\"a \"\"quoted\"\",\nlong one\",{ok},pets/cat.jpg,,one\r\n,{abc},,{ABC},\r\n,{abc},,{wrong},\r\n,{end},../../x,,\"t,wo\"\r\n"
    );
    let tsv = format!(
        "url\tname\tsha256\theader:X-Key\n{ok}\tpets/cat.jpg\t\tone\n{abc}\t\t{ABC}\n{abc}\t\t{wrong}\t\n{end}\t../../x\t\tt,wo\n"
    );
    let objects = [
        json!({"url": ok, "name": "pets/cat.jpg", "headers": {"X-Key": "one"}}),
        json!({"url": abc, "sha256": ABC}),
        json!({"url": abc, "checksum": format!("sha256:{wrong}")}),
        json!({"url": end, "name": "../../x", "headers": {"x-key": "t,wo"}, "other": [1]}),
    ];
    let jsonl = objects.map(|object| object.to_string()).join("\n");
    for (name, list, lines) in
        [("a.csv", csv, [2, 4, 5, 6]), ("a.tsv", tsv, [2, 3, 4, 5]), ("a.jsonl", jsonl, [1, 2, 3, 4])]
    {
        let before = server.heads().len();
        let (records, files) = fetch_list(name, list.as_bytes(), &[]);
        let expected: Vec<_> = lines.into_iter().zip(["ok", "ok", "checksum_error", "ok"]).collect();
        assert_eq!(outcomes(&records), expected, "{name}: {records:?}");
        assert_eq!(files, ["X~y", "pets/cat.jpg", "x"], "{name}");
        assert_eq!(records[0]["path"], "pets/cat.jpg");
        let heads = server.heads()[before..].join("").to_lowercase();
        assert!(heads.contains("x-key: one") && heads.contains("x-key: t,wo"), "{name}: {heads}");
    }
}

#[test]
fn lists_are_read_compressed_from_a_file_or_a_pipe() {
    let server = Nasty::start();
    let list = format!("{}\n# comment\n{}\n", server.url("/ok/1"), server.url("/ok/2"));
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(list.as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    // Two of them, one after the other, are one.
    let twice = [gz.clone(), gz].concat();
    let zst = zstd::encode_all(list.as_bytes(), 3).unwrap();
    assert_eq!(fetch_list("urls.gz", &twice, &[]).1, ["1", "1-1", "2", "2-1"]);
    assert_eq!(fetch_list("urls.zst", &zst, &[]).1, ["1", "2"]);
    let table = zstd::encode_all(format!("url\n{}\n", server.url("/ok/3")).as_bytes(), 3).unwrap();
    assert_eq!(fetch_list("urls.csv.zst", &table, &[]).1, ["3"]);

    let mut child = support::aioxide()
        .args(["fetch", "-q", "--discard", "--report", "-", "-i", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&zst).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(support::parse_records(&text(&output.stdout)).len(), 2);

    // One that is cut says so.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.gz");
    fs::write(&path, &twice[..twice.len() - 20]).unwrap();
    let output = fetch(&["--discard", "-i", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the list cannot be read"), "{}", text(&output.stderr));
}

#[test]
fn bad_records_are_told_and_the_rest_goes_on() {
    let server = Nasty::start();
    let ok = server.url("/ok/1");
    let csv = format!("url,md5\n{ok},12\n{ok},,\n,\n\"{ok}\",\n");
    let (records, _) = fetch_list("a.csv", csv.as_bytes(), &[]);
    assert_eq!(outcomes(&records), [(2, "invalid_url"), (3, "invalid_url"), (4, "invalid_url"), (5, "ok")]);
    assert!(records[0]["error"].as_str().unwrap().contains("md5 has 32"), "{records:?}");
    let jsonl = format!("nonsense\n{{\"url\": 1}}\n\n{{\"url\": \"{ok}\"}}\n");
    let (records, _) = fetch_list("a.txt", jsonl.as_bytes(), &["--format", "jsonl"]);
    assert_eq!(outcomes(&records), [(1, "invalid_url"), (2, "invalid_url"), (4, "ok")]);
    // A quote that is never closed does not swallow the list into memory.
    let endless = format!("url\n\"{}\n{ok}\n", "x\n".repeat(100_000));
    let (records, _) = fetch_list("a.csv", endless.as_bytes(), &[]);
    assert!(records[0]["error"].as_str().unwrap().contains("64 KiB"));
    assert!(records.iter().any(|record| record["outcome"] == "ok"));
}

#[test]
fn table_without_urls_is_no_list() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, "link,caption\nhttp://127.0.0.1:1/,x\n").unwrap();
    let output = fetch(&["--discard", "-i", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no column is named url; there are link, caption"));
}

#[test]
fn ranges_stand_for_all_of_their_urls() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let url = server.url("/ok/[08-11]/[a-b]");
    let (status, records) = fetch_into(directory.path(), &[&url]);
    assert_eq!((status, records.len()), (Some(0), 8));
    let mut asked = server.requests();
    asked.sort();
    assert_eq!(asked[..3], ["/ok/08/a", "/ok/08/b", "/ok/09/a"]);
    // In a list they are what they are.
    let (_, names) = fetch_list("list", server.url("/ok/1/[1-2]").as_bytes(), &[]);
    assert_eq!(names, ["[1-2]"]);
}

#[test]
fn names_follow_the_template() {
    let server = Nasty::start();
    let list =
        ["/ok/1/a/b.tar.gz", "/ok/2/a/b.tar.gz?x=y", "/ok/3/c"].map(|path| server.url(path)).join("\n");
    let (_, names) = fetch_list("list", list.as_bytes(), &["--name", "{n:03}/{stem}.{ext}"]);
    assert_eq!(names, ["001/b.tar.gz", "002/b_x=y.tar.gz", "003/c_"]);
    let (_, names) = fetch_list("list", list.as_bytes(), &["--name", "{host}/{path}"]);
    let host = server.address().to_string().replace(':', "_");
    assert_eq!(
        names,
        ["ok/1/a/b.tar.gz", "ok/2/a/b_x=y.tar.gz", "ok/3/c"].map(|name| format!("{host}/{name}"))
    );
    let (records, names) = fetch_list("list", list.as_bytes(), &["--name", "same"]);
    assert_eq!(names, ["same", "same-1", "same-2"]);
    assert_eq!(records[2]["path"], "same-2");
    let output = fetch(&["http://127.0.0.1:1/", "--name", "{what}"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("{what} is none of name, stem"), "{}", text(&output.stderr));
}

#[test]
fn only_url_goes_to_the_file_that_is_named() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/.hidden file");
    let path = path.to_str().unwrap();
    for length in ["5", "6"] {
        let output = fetch(&["-q", "-O", path, &server.url(&format!("/ok/{length}"))]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(fs::read(path).unwrap().len().to_string(), length);
    }
    // A failure leaves what was there.
    fetch(&["-q", "--retries", "0", "-O", path, &server.url("/half/100")]);
    assert_eq!(fs::read(path).unwrap().len(), 6);
    assert_eq!(files(&directory.path().join("new")).len(), 1);
    for (url, file) in [("http://a/[1-2]", path), ("http://a/", "-"), ("http://a/", "/tmp")] {
        let output = fetch(&["-O", file, url]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("-O"), "{}", text(&output.stderr));
    }
}

#[test]
fn url_that_comes_again_is_fetched_once_on_request() {
    let server = Nasty::start();
    let list = ["/ok/1", "/ok/2", "/ok/1", "/ok/1#part", "/ok/1?"].map(|path| server.url(path)).join("\n");
    let (records, names) = fetch_list("list", list.as_bytes(), &["--unique"]);
    let seen: Vec<_> = outcomes(&records).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(seen, ["ok", "ok", "skipped", "skipped", "ok"]);
    assert_eq!((names.len(), server.requests().len()), (3, 3));
}

#[test]
fn what_failed_in_an_earlier_run_is_tried_again() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let urls = ["/ok/1", "/busy/500/1/", "/busy/404/1/", "/ok/2"].map(|path| server.url(path));
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["-q", "--discard", "--retries", "0", "--report", report.to_str().unwrap()]);
    assert_eq!(fetch(&arguments).status.code(), Some(1));
    let before = server.requests().len();
    let (status, records) =
        fetch_into(&directory.path().join("out"), &["--retry-failed", report.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{records:?}");
    let mut seen = outcomes(&records);
    seen.sort_unstable();
    assert_eq!(seen, [(2, "ok"), (3, "ok")]);
    assert_eq!(server.requests().len(), before + 2);
}

#[test]
fn what_failed_is_tried_again_with_the_name_and_the_checksum_that_it_had() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let wrong = "0".repeat(64);
    let (ok, busy) = (server.url("/ok/1"), server.url("/busy/500/1/"));
    fs::write(path("l.csv"), format!("url,name,sha256\n{ok},mine.txt,{wrong}\n{busy},other.txt,\n")).unwrap();
    let output =
        fetch(&["-q", "--retries", "0", "-i", &path("l.csv"), "-o", &path("out"), "--report", &path("r")]);
    assert_eq!(output.status.code(), Some(1));
    let (_, records) = fetch_into(&directory.path().join("out"), &["--retry-failed", &path("r")]);
    let mut seen: Vec<_> = records.iter().map(|record| (&record["outcome"], &record["path"])).collect();
    seen.sort_by_key(|(outcome, _)| outcome.to_string());
    assert_eq!(seen, [(&json!("checksum_error"), &json!(null)), (&json!("ok"), &json!("other.txt"))]);

    // So is that of the command line.
    let checksum = format!("sha256:{wrong}");
    let arguments = ["-q", "--discard", "--checksum", &checksum, &ok, "--report", &path("r")];
    assert_eq!(fetch(&arguments).status.code(), Some(1));
    let (_, records) = fetch_into(&directory.path().join("out"), &["--retry-failed", &path("r")]);
    assert_eq!(records[0]["outcome"], "checksum_error");
}

#[test]
fn what_failed_with_headers_is_tried_again_with_its_list_only() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let urls = ["/ok/1", "/busy/500/1/", "/ok/2"].map(|path| server.url(path));
    let list: String = urls.iter().map(|url| format!("{url},hunter2\n")).collect();
    fs::write(path("l.csv"), format!("url,header:X-Key\n{list}")).unwrap();
    let run = ["-q", "--discard", "--retries", "0", "-i", &path("l.csv"), "--report", &path("r")];
    assert_eq!(fetch(&run).status.code(), Some(1));
    assert!(!fs::read_to_string(path("r")).unwrap().contains("hunter2"));
    let before = server.requests().len();
    let refused = fetch(&["--discard", "--retry-failed", &path("r")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("had headers for 1 URL"), "{}", text(&refused.stderr));
    fs::write(path("other.csv"), format!("url\n{}\n", urls[0])).unwrap();
    let refused = fetch(&["--discard", "--retry-failed", &path("r"), "-i", &path("other.csv")]);
    assert!(text(&refused.stderr).contains("not the list that"), "{}", text(&refused.stderr));
    let refused =
        fetch(&["--discard", "--retry-failed", &path("r"), "-i", &path("l.csv"), "--report", &path("r")]);
    assert!(text(&refused.stderr).contains("the one that is read"), "{}", text(&refused.stderr));
    assert_eq!(server.requests().len(), before);
    let (status, records) =
        fetch_into(&directory.path().join("out"), &["--retry-failed", &path("r"), "-i", &path("l.csv")]);
    assert_eq!((status, outcomes(&records)), (Some(0), vec![(3, "ok")]));
    assert!(server.heads().last().unwrap().to_lowercase().contains("x-key: hunter2"));
}

#[test]
fn url_without_a_scheme_is_answered_with_the_one_that_is_meant() {
    for (url, meant) in [
        ("localhost:8080/x", "http://localhost:8080/x"),
        ("example.org/a", "https://example.org/a"),
        ("127.0.0.1:9/", "http://127.0.0.1:9/"),
    ] {
        let output = fetch(&["--discard", url]);
        let printed = text(&output.stderr);
        assert!(printed.contains(&format!("is {meant} meant?")), "{printed}");
    }
}

#[test]
fn no_line_of_a_table_is_lost_in_another() {
    let server = Nasty::start();
    let [one, two, three] = [1, 2, 3].map(|number| server.url(&format!("/ok/{number}")));
    let check = |name: &str, table: String, expected: &[(u64, &str)]| {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join(name);
        std::fs::write(&list, table).unwrap();
        let (_, records) = fetch_into(directory.path(), &["-j1", "-i", list.to_str().unwrap()]);
        let seen: Vec<(u64, &str)> = records
            .iter()
            .map(|record| (record["line"].as_u64().unwrap(), record["outcome"].as_str().unwrap()))
            .collect();
        assert_eq!(seen, expected, "{name}: {records:?}");
    };
    // A quote that is never closed: what follows might be part of a name, and is not fetched as if it were not there.
    check("l.csv", format!("url,name\n{one},a\n{two},\"b\n{three},c\n"), &[(2, "ok"), (3, "invalid_url")]);
    // A quote within a field opens nothing.
    check(
        "l.csv",
        format!("url,name\n{one},5\"x\n{two},\"b\"\"\"\n{three},c\n"),
        &[(2, "ok"), (3, "ok"), (4, "ok")],
    );
    // One that is closed lets a record go on.
    check(
        "l.csv",
        format!("\u{feff}\"url\",\"name\"\n{one},\"a\nb\"\n \"{two}\",c\n"),
        &[(2, "ok"), (4, "ok")],
    );
    // A carriage return ends no record.
    check("l.tsv", format!("url\tname\n{one}\r{two}\tb\n{three}\r\n"), &[(2, "invalid_url"), (3, "ok")]);
    check("l.csv", format!("url,name\n{one}\r{two},b\n{three}\r\n"), &[(2, "invalid_url"), (3, "ok")]);
}

#[test]
fn headers_of_a_list_stay_with_their_origin() {
    let (server, elsewhere) = (Nasty::start(), Nasty::start());
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.jsonl");
    let url = server.url(&format!("/redirect-to/{}/ok/5", elsewhere.address()));
    std::fs::write(&list, format!("{{\"url\":\"{url}\",\"headers\":{{\"x-api-key\":\"k1\"}}}}\n")).unwrap();
    let (status, _) = fetch_into(directory.path(), &["-i", list.to_str().unwrap()]);
    assert_eq!(status, Some(0));
    assert!(server.heads()[0].contains("k1"));
    assert!(!elsewhere.heads()[0].contains("k1"), "{:?}", elsewhere.heads());
}

#[test]
fn servers_name_their_files_on_request() {
    let server = Nasty::start();
    let urls = ["plain", "extended", "outside", "nothing", "plain/again"]
        .map(|how| server.url(&format!("/named/{how}")));
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let names = |options: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let (status, records) = fetch_into(directory.path(), &[&["-j1"], options, &urls].concat());
        assert_eq!(status, Some(0));
        let paths: Vec<String> =
            records.iter().map(|record| record["path"].as_str().unwrap().to_owned()).collect();
        assert!(paths.iter().all(|path| directory.path().join(path).is_file()));
        paths
    };
    assert_eq!(names(&[]), ["plain", "extended", "outside", "nothing", "again"]);
    let given = names(&["--content-disposition"]);
    assert_eq!(given, ["report 1.pdf", "na\u{ef}ve.txt", "outside.txt", "nothing", "report 1-1.pdf"]);
    let given = names(&["--content-disposition", "--name", "{n:02}-{name}"]);
    assert_eq!(given[..2], ["01-report 1.pdf", "02-na\u{ef}ve.txt"]);
}

#[test]
fn url_in_place_of_a_list_and_a_list_without_one_are_told() {
    let output = fetch(&["--discard", "-i", "http://me:hunter2@127.0.0.1:1/x"]);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(printed.contains("that is a URL, not a list") && !printed.contains("hunter2"), "{printed}");
    let output = fetch(&["--discard", "-i", "/dev/null"]);
    assert!(text(&output.stderr).contains("there was no URL in the list"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn message_says_how_often_it_was_tried() {
    let server = Nasty::start();
    let output = fetch(&["--discard", "--retries", "2", "--retry-wait", "0.01", &server.url("/status/503")]);
    assert!(
        text(&output.stderr).contains("503 Service Unavailable (3 attempts)"),
        "{}",
        text(&output.stderr)
    );
}

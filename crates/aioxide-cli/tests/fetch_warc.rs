//! WARC files: records are what servers sent, the index finds them, and a killed job leaves none torn or twice.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::killed::Killed;
use support::nasty::Nasty;
use support::nginx::Nginx;
use support::{aioxide, archivists, body, fetch_into, text};

/// A record as it stands in a file.
#[derive(Debug)]
struct Record {
    offset: usize,
    bytes: usize,
    fields: BTreeMap<String, String>,
    block: Vec<u8>,
}

impl Record {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn head(&self) -> String {
        let end = self.block.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        text(&self.block[..end])
    }

    fn body(&self) -> &[u8] {
        &self.block[self.head().len()..]
    }
}

/// Reads a file by the letter of the standard, and the index beside it, which has to agree.
#[track_caller]
fn read(path: &Path) -> Vec<Record> {
    let file = fs::read(path).unwrap();
    let is_compressed = path.extension().unwrap() == "gz";
    let (mut all, mut offset) = (Vec::new(), 0);
    while offset < file.len() {
        let (plain, bytes) = match is_compressed {
            true => {
                let mut member = flate2::bufread::GzDecoder::new(&file[offset..]);
                let mut plain = Vec::new();
                member.read_to_end(&mut plain).unwrap();
                (plain, file.len() - offset - member.into_inner().len())
            }
            false => (file[offset..].to_vec(), 0),
        };
        let end = plain.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = text(&plain[..end]);
        let mut lines = head.split("\r\n");
        assert_eq!(lines.next(), Some("WARC/1.1"));
        let fields: BTreeMap<String, String> = lines
            .map(|line| {
                line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap()
            })
            .collect();
        let length: usize = fields["Content-Length"].parse().unwrap();
        let block = plain[end + 4..end + 4 + length].to_vec();
        assert_eq!(&plain[end + 4 + length..][..4], b"\r\n\r\n");
        let bytes = if is_compressed {
            assert_eq!(plain.len(), end + 8 + length);
            bytes
        } else {
            end + 8 + length
        };
        all.push(Record { offset, bytes, fields, block });
        offset += bytes;
    }
    let name = path.file_name().unwrap().to_str().unwrap();
    let index =
        fs::read_to_string(path.with_file_name(name.split(".warc").next().unwrap()).with_extension("cdxj"));
    let index = index.unwrap();
    let lines: Vec<&str> = index.lines().collect();
    assert!(lines.is_sorted(), "{index}");
    let mut indexed: Vec<(usize, usize, String)> = lines
        .iter()
        .map(|line| {
            let told: Value = serde_json::from_str(line.splitn(3, ' ').nth(2).unwrap()).unwrap();
            assert_eq!(told["filename"], name);
            let number = |name: &str| told[name].as_str().unwrap().parse().unwrap();
            (number("offset"), number("length"), told["digest"].as_str().unwrap().to_owned())
        })
        .collect();
    indexed.sort_unstable();
    let behind = if is_compressed { 0 } else { 4 };
    let responses = all.iter().filter(|record| record.field("WARC-Type") == "response");
    let responses: Vec<_> = responses
        .map(|record| (record.offset, record.bytes - behind, record.field("WARC-Payload-Digest").to_owned()))
        .collect();
    assert_eq!(indexed, responses);
    assert_eq!(all[0].field("WARC-Type"), "warcinfo");
    assert_eq!(all[0].field("WARC-Filename"), name);
    all
}

/// The records of one kind.
fn of<'a>(all: &'a [Record], kind: &str) -> Vec<&'a Record> {
    all.iter().filter(|record| record.field("WARC-Type") == kind).collect()
}

#[test]
fn records_are_what_was_asked_and_what_came() {
    let server = Nasty::start();
    for extension in ["warc.gz", "warc"] {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("site.{extension}");
        let urls = [
            "/ok/511/A?b=2&a=1#part",
            "/chunks",
            "/redirect/redirect/ok/5/x",
            "/status/404",
            "/half/100",
            "/cut-chunks",
            "/ok/3000000/d",
            "/coded",
            "/no-content",
            "/challenge/x.jpg",
        ]
        .map(|path| server.url(path));
        let options =
            ["-j1", "--retries", "0", "--warc", &name, "--compressed", "--secret-header", "X-Key: hunter2"];
        let arguments: Vec<&str> = urls.iter().map(String::as_str).chain(options).collect();
        let (status, told) = fetch_into(directory.path(), &arguments);
        assert_eq!((status, told.len()), (Some(1), 10));
        let names: Vec<String> = support::files(directory.path()).into_keys().collect();
        assert_eq!(names, ["site.cdxj".to_owned(), name.clone()]);
        let all = read(&directory.path().join(&name));
        let responses = of(&all, "response");
        let statuses: Vec<String> =
            responses.iter().map(|record| record.head().split(' ').nth(1).unwrap().to_owned()).collect();
        // What was cut, and a page in place of a picture, is not there.
        assert_eq!(statuses, ["200", "200", "301", "301", "200", "404", "200", "200", "204"]);
        let bodies: Vec<&[u8]> = responses.iter().map(|record| record.body()).collect();
        assert!(
            bodies[0] == body(511, 511) && bodies[4] == body(5, 5) && bodies[6] == body(3_000_000, 3_000_000)
        );
        assert_eq!((bodies[1], bodies[5]), (&b"hello world"[..], &b"sorry\n"[..]));
        assert!(bodies[7].starts_with(&[0x1f, 0x8b]));
        assert_eq!(responses[1].head(), "HTTP/1.1 200 OK\r\nX-Crawler-Transfer-Encoding: chunked\r\n\r\n");
        assert_eq!(responses[5].head(), "HTTP/1.1 404 Whatever\r\nContent-Length: 6\r\n\r\n");
        assert_eq!(
            responses[2].head(),
            "HTTP/1.1 301 Moved\r\nLocation: /redirect/ok/5/x\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(responses[0].field("WARC-Target-URI"), server.url("/ok/511/A?b=2&a=1"));
        assert_eq!(responses[0].field("WARC-IP-Address"), "127.0.0.1");
        assert_eq!(responses[0].field("Content-Type"), "application/http;msgtype=response");
        // Each is followed by what was asked for it.
        let requests = of(&all, "request");
        for (response, request) in responses.iter().zip(&requests) {
            assert_eq!(request.field("WARC-Concurrent-To"), response.field("WARC-Record-ID"));
            assert_eq!(request.field("WARC-Target-URI"), response.field("WARC-Target-URI"));
            assert_eq!(request.field("Content-Type"), "application/http;msgtype=request");
            assert!(request.block.ends_with(b"\r\n\r\n"));
        }
        assert_eq!(requests.len(), responses.len());
        let asked = requests[0].head();
        assert!(asked.starts_with("GET /ok/511/A?b=2&a=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\naccept-encoding: gzip, deflate, br, zstd\r\n"), "{asked}");
        assert!(asked.contains(&format!("\r\nhost: {}\r\n", server.address())), "{asked}");
        assert!(server.heads()[0].contains("hunter2") && !asked.contains("hunter2"), "{asked}");
        // The report says where an answer stands.
        assert_eq!(told[2]["path"], format!("{name}#{}", responses[4].offset));
        assert_eq!((&told[3]["path"], &told[4]["path"]), (&Value::Null, &Value::Null));
        let index = fs::read_to_string(directory.path().join("site.cdxj")).unwrap();
        let port = server.address().port();
        assert!(index.contains(&format!("\n1,0,0,127:{port})/ok/511/a?a=1&b=2 20")), "{index}");
        // Another run leaves it alone.
        let (_, told) = fetch_into(directory.path(), &["--warc", &name, &server.url("/ok/5")]);
        assert!(told[0]["path"].as_str().unwrap().starts_with(&format!("site-1.{extension}#")), "{told:?}");
        assert_eq!(read(&directory.path().join(format!("site-1.{extension}"))).len(), 3);
    }
}

#[test]
fn another_file_begins_when_one_is_full() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let urls: Vec<String> = (0..10).map(|number| server.url(&format!("/ok/4000/{number}"))).collect();
    let options = ["-j1", "--warc", "deep/site.warc.gz", "--warc-max-size", "10k", "--fsync"];
    let arguments: Vec<&str> = urls.iter().map(String::as_str).chain(options).collect();
    let (status, told) = fetch_into(directory.path(), &arguments);
    assert_eq!((status, told.len()), (Some(0), 10));
    let files: Vec<String> = support::files(&directory.path().join("deep")).into_keys().collect();
    let expected = (0..4).flat_map(|number| ["cdxj", "warc.gz"].map(|end| format!("site-{number:06}.{end}")));
    assert_eq!(files, expected.collect::<Vec<_>>());
    let counts =
        (0..4).map(|number| read(&directory.path().join(format!("deep/site-{number:06}.warc.gz"))).len());
    assert_eq!(counts.collect::<Vec<_>>(), [7, 7, 7, 3]);
}

#[test]
#[cfg(target_os = "linux")]
fn full_disk_leaves_the_answers_that_the_report_names() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let list: String = (0..2000).map(|number| server.url(&format!("/ok/600/{number}")) + "\n").collect();
    fs::write(directory.path().join("list"), list).unwrap();
    let run =
        format!("{} fetch -q -j4 -i list --warc site.warc.gz -o out --report", env!("CARGO_BIN_EXE_aioxide"));
    // Without a state, with one and a limit, and on from there when there is room.
    let command = format!(
        "mkdir out && mount -t tmpfs -o size=400k none out && {run} plain; echo $?; cp -r out kept; rm out/*; \
         {run} first --state state --warc-max-size 30k; echo $?; mount -o remount,size=8m out; \
         {run} first --state state --warc-max-size 30k; echo $?; cp -r out whole"
    );
    let mut unshared = std::process::Command::new("unshare");
    let output = unshared.current_dir(&directory).args(["-rm", "sh", "-c", &command]).output().unwrap();
    if text(&output.stderr).contains("unshare") || text(&output.stderr).contains("mount") {
        eprintln!("skipped: a file system of a given size needs a user namespace: {}", text(&output.stderr));
        return;
    }
    assert_eq!(text(&output.stdout).split_whitespace().collect::<Vec<_>>(), ["1", "1", "0"]);
    let place = |name: &str| directory.path().join(name);
    let answers = |name: &str| of(&read(&place(name)), "response").len();
    let told = support::parse_records(&fs::read_to_string(place("plain")).unwrap());
    let good = told.iter().filter(|record| record["outcome"] == "ok").count();
    assert!(good > 100, "{good}");
    assert_eq!(answers("kept/site.warc.gz"), good);
    let index = fs::read_to_string(place("kept/site.cdxj")).unwrap();
    assert!(index.lines().is_sorted() && index.lines().count() == good);
    let whole = support::files(&place("whole"));
    let files = whole.keys().filter(|name| name.ends_with(".warc.gz"));
    assert_eq!(files.map(|name| answers(&format!("whole/{name}"))).sum::<usize>(), 2000);
}

#[test]
fn answers_over_http2_are_written_as_http1() {
    let nginx = Nginx::start();
    fs::write(nginx.root().join("a.txt"), "over two\n").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let output = aioxide()
        .args(["fetch", "-k", "--quiet", "--warc", "site.warc.gz", "-o"])
        .arg(directory.path())
        .args(["-H", "Authorization: Basic bWU6aHVudGVyMg==", &nginx.secure_url("/a.txt")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all = read(&directory.path().join("site.warc.gz"));
    let (response, request) = (&all[1], &all[2]);
    assert!(response.head().starts_with("HTTP/1.1 200 OK\r\nserver: nginx"), "{}", response.head());
    assert_eq!((response.body(), response.field("WARC-Protocol")), (&b"over two\n"[..], "h2"));
    let port = nginx.secure_url("").rsplit(':').next().unwrap().to_owned();
    assert!(request.head().starts_with("GET /a.txt HTTP/1.1\r\n"), "{}", request.head());
    assert!(request.head().contains(&format!("host: 127.0.0.1:{port}\r\n")), "{}", request.head());
    assert!(!request.head().contains("bWU6"), "{}", request.head());
}

#[test]
fn job_that_is_killed_again_and_again_has_each_answer_once() {
    check_killed_job(&[]);
    check_killed_job(&["--warc-max-size", "20k"]);
}

#[track_caller]
fn check_killed_job(options: &[&str]) {
    let killed = Killed::job(400, &[&["--warc", "site.warc.gz"], options].concat());
    let mut answers = BTreeMap::new();
    for name in support::files(&killed.out()).into_keys() {
        assert!(!name.starts_with('.'), "{name}");
        if !name.ends_with(".warc.gz") {
            continue;
        }
        for record in of(&read(&killed.out().join(&name)), "response") {
            let url = record.field("WARC-Target-URI").to_owned();
            assert_eq!(answers.insert(url, record.body().to_vec()), None, "twice");
        }
    }
    assert_eq!(answers.len(), 400);
    for (number, url) in (0..).zip(&killed.urls) {
        assert!(answers[url] == Killed::body(number), "{number}");
    }
}

/// Reads a file with both libraries, checks all digests, and prints what each has found.
const LOOK: &str = r#"
import json, sys
from fastwarc.warc import ArchiveIterator as Fast, WarcRecordType
from warcio.archiveiterator import ArchiveIterator

def warcio(path):
    with open(path, "rb") as file:
        for record in ArchiveIterator(file, check_digests="raise"):
            if record.rec_type == "response":
                status = record.http_headers.get_statuscode()
                yield record.rec_headers["WARC-Target-URI"], status, len(record.raw_stream.read())
            else:
                record.raw_stream.read()

def fast(path):
    kinds = WarcRecordType.response | WarcRecordType.request | WarcRecordType.warcinfo
    for record in Fast(open(path, "rb"), record_types=kinds, parse_http=False):
        assert record.verify_block_digest(), record.headers
        if record.record_type == WarcRecordType.response:
            record.parse_http()
            assert record.verify_payload_digest(), record.headers
            yield record.headers["WARC-Target-URI"], str(record.http_headers.status_code), len(record.reader.read())

print(json.dumps({"warcio": list(warcio(sys.argv[1])), "fast": list(fast(sys.argv[1]))}))
"#;

#[test]
fn tools_of_archivists_read_the_files_and_make_the_same_index() {
    let Some(python) = archivists::python() else { return };
    let server = Nasty::start();
    for extension in ["warc.gz", "warc"] {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("site.{extension}");
        let paths = [
            ("/ok/511/A?b=2&a=1", "200", 511),
            ("/ok/200000/d%20e", "200", 200_000),
            ("/chunks", "200", 11),
            ("/redirect/ok/5", "301", 0),
            ("/ok/5", "200", 5),
            ("/status/404", "404", 6),
            ("/coded", "200", 31),
            ("/header/Content-Type~text/html;_charset=utf-8", "200", 3),
        ];
        let urls = paths.map(|(path, ..)| server.url(path));
        // The fifth comes by the redirect.
        let asked =
            urls.iter().map(String::as_str).enumerate().filter(|(place, _)| *place != 4).map(|(_, url)| url);
        let arguments: Vec<&str> = asked.chain(["-j1", "--warc", &name]).collect();
        fetch_into(directory.path(), &arguments);
        let output =
            Command::new(&python).arg("-c").arg(LOOK).arg(directory.path().join(&name)).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        let expected: Vec<Value> =
            paths.iter().zip(&urls).map(|((_, status, length), url)| json!([url, status, length])).collect();
        assert_eq!(seen["warcio"], json!(expected));
        assert_eq!(seen["fast"], json!(expected));
        let script = "from cdxj_indexer.main import main; main()";
        let output = Command::new(&python)
            .args(["-c", script, "-s"])
            .arg(directory.path().join(&name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = |index: &str| -> Vec<(String, Value)> {
            let mut lines: Vec<_> = index
                .lines()
                .map(|line| {
                    let (key, told) = line.split_at(line.find('{').unwrap());
                    (key.to_owned(), serde_json::from_str(told).unwrap())
                })
                .collect();
            lines.sort_by(|one: &(String, Value), other| one.0.cmp(&other.0));
            lines
        };
        let own = fs::read_to_string(directory.path().join("site.cdxj")).unwrap();
        assert_eq!(lines(&own), lines(&text(&output.stdout)));
    }
}

#[test]
fn names_that_are_none_and_what_does_not_go_together_are_refused() {
    for (arguments, expected) in [
        (&["--warc", "a.zip"][..], ".warc.gz"),
        (&["--warc", "a.warc", "--tar-shards", "5"], "--tar-shards"),
        (&["--warc", "a.warc", "--discard"], "--discard"),
        (&["--warc-max-size", "5M"], "--warc"),
    ] {
        let output = support::fetch(&[arguments, &["http://127.0.0.1:9/"]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
}

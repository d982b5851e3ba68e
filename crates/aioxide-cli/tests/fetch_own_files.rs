//! The files and streams of one run: none of them may be another, and none is lost.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::json;
use support::nasty::Nasty;
use support::{aioxide, fetch, files, parse_records, records, text};

/// A directory with a list of one good URL in it.
struct Place {
    server: Nasty,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Place { server: Nasty::start(), directory: tempfile::tempdir().unwrap() };
        fs::write(place.path("list"), place.list()).unwrap();
        place
    }

    fn list(&self) -> String {
        self.server.url("/ok/10/list") + "\n"
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs with the standard streams on files of these names, where they are named; checks that it was refused, because
    /// of `reason`, and that the list is as it was.
    #[track_caller]
    fn refused(&self, arguments: &[&str], [stdin, stdout, stderr]: [&str; 3], reason: &str) {
        let append = |name: &str| match name {
            "" => Stdio::piped(),
            name => File::options().append(true).create(true).open(self.path(name)).unwrap().into(),
        };
        let mut command = aioxide();
        command.current_dir(&self.directory).arg("fetch").args(arguments);
        if !stdin.is_empty() {
            command.stdin(File::open(self.path(stdin)).unwrap());
        }
        let output = command.stdout(append(stdout)).stderr(append(stderr)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        let list = fs::read_to_string(self.path("list")).unwrap();
        assert_eq!(list, self.list(), "{arguments:?}");
        if stderr.is_empty() {
            assert!(text(&output.stderr).contains(reason), "{arguments:?}: {}", text(&output.stderr));
        } else if stderr != "list" {
            let told = fs::read_to_string(self.path(stderr)).unwrap();
            assert!(told.contains(reason), "{arguments:?}: {told}");
        }
        assert_eq!(self.server.requests(), [""; 0]);
    }
}

#[test]
fn report_over_the_list_is_refused_under_whatever_name() {
    let place = Place::new();
    symlink(place.path("list"), place.path("soft")).unwrap();
    fs::hard_link(place.path("list"), place.path("hard")).unwrap();
    for report in ["list", "./list", "soft", "hard", &place.path("list")] {
        place.refused(&["-i", "list", "--discard", "--report", report], [""; 3], "the list of URLs");
        place.refused(&["-i", "-", "--discard", "--report", report], ["list", "", ""], "the list of URLs");
    }
}

#[test]
fn output_into_the_list_is_refused() {
    let place = Place::new();
    let written = ["", "list", ""];
    place.refused(&["-i", "list", "--discard", "--report", "-"], written, "the list of URLs");
    place.refused(&["-i", "list", "--discard", "--report", "/dev/stdout"], written, "the list of URLs");
    place.refused(&["-i", "list", "--discard", "--marks"], written, "the list of URLs");
    place.refused(&["-i", "list", "--discard"], ["", "", "list"], "");
    place.refused(&["-i", "list", "-q", "-o", "list"], ["", "", "list"], "");
    place.refused(&["-i", "list", "--discard", "--report", "list"], ["", "", "list"], "");
}

#[test]
fn two_kinds_of_output_in_one_stream_are_refused() {
    let place = Place::new();
    place.refused(&["-i", "list", "--marks", "--report", "-"], [""; 3], "leave out --marks");
    place.refused(&["-i", "list", "--marks", "--report", "/dev/stdout"], [""; 3], "leave out --marks");
    place.refused(&["-i", "list", "--marks", "--report", "log"], ["", "log", ""], "leave out --marks");
    place.refused(&["-i", "list", "--report", "/dev/stderr"], [""; 3], "add --quiet");
    place.refused(&["-i", "list", "--report", "log"], ["", "", "log"], "add --quiet");
    place.refused(&["-i", "list", "--report", "-"], ["", "log", "log"], "add --quiet");
}

#[test]
fn what_is_refused_leaves_an_earlier_report() {
    let place = Place::new();
    fs::write(place.path("log"), "earlier\n").unwrap();
    place.refused(&["-i", "list", "--marks", "--report", "log"], ["", "log", ""], "leave out --marks");
    assert_eq!(fs::read_to_string(place.path("log")).unwrap(), "earlier\n");
}

#[test]
fn report_on_the_standard_output_by_its_other_names_is_whole() {
    let place = Place::new();
    let url = place.server.url("/ok/1");
    for name in ["/dev/stdout", "log"] {
        let output = aioxide()
            .current_dir(&place.directory)
            .args(["fetch", "-q", "--discard", &url, &url, "--report", name])
            .stdout(File::create(place.path("log")).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(records(Path::new(&place.path("log"))).len(), 2);
    }
    let output = fetch(&["-q", "--discard", &url, "--report", "/dev/stderr"]);
    assert_eq!(parse_records(&text(&output.stderr)).len(), 1);
}

#[test]
fn overwriting_spares_the_report_and_the_list() {
    let place = Place::new();
    let out = place.path("");
    let urls = ["/ok/1/report", "/ok/2/list", "/ok/3/soft"].map(|path| place.server.url(path));
    symlink(place.path("report"), place.path("soft")).unwrap();
    let list = urls.join("\n");
    fs::write(place.path("list"), &list).unwrap();
    let (input, report) = (place.path("list"), place.path("report"));
    let output = fetch(&["-q", "--overwrite", "-j1", "-i", &input, "-o", &out, "--report", &report]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&input).unwrap(), list);
    let paths: Vec<String> = records(Path::new(&report))
        .iter()
        .map(|record| record["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(paths, ["report-1", "list-1", "soft-1"]);
}

#[test]
fn files_of_the_marks_and_the_messages_are_not_replaced() {
    let place = Place::new();
    let (marks, messages) = (place.path("marks"), place.path("messages"));
    let mut command = aioxide();
    command.args(["fetch", "--marks", "--overwrite", "-j1", "-o", &place.path("")]);
    command.args(["/ok/1/marks", "/ok/1/messages", "/status/404"].map(|path| place.server.url(path)));
    command.stdout(File::create(&marks).unwrap()).stderr(File::create(&messages).unwrap());
    assert_eq!(command.status().unwrap().code(), Some(1));
    assert_eq!(fs::read_to_string(&marks).unwrap(), "..H\n");
    assert!(fs::read_to_string(&messages).unwrap().contains("404"));
    assert!(Path::new(&place.path("marks-1")).is_file() && Path::new(&place.path("messages-1")).is_file());
}

#[test]
fn report_may_stand_in_the_directory_that_is_made() {
    let place = Place::new();
    let (out, report) = (place.path("new/out"), place.path("new/out/report"));
    let output = fetch(&["-q", &place.server.url("/ok/1/report"), "-o", &out, "--report", &report]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(records(Path::new(&report))[0]["path"], "report-1");
}

#[test]
fn directory_and_file_in_each_others_place_are_wrong_usage() {
    let place = Place::new();
    let url = place.server.url("/ok/1");
    let (list, out) = (place.path("list"), place.path(""));
    for (arguments, reason) in [
        (&[&url, "-o", &list][..], "not a directory"),
        (&[&url, "--report", &out][..], "directory"),
        (&["-i", &out][..], "directory"),
    ] {
        let output = fetch(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
}

#[test]
fn failures_stay_out_of_marks_that_share_their_stream() {
    let place = Place::new();
    let log = File::create(place.path("log")).unwrap();
    let status = aioxide()
        .args([
            "fetch",
            "--marks",
            "--discard",
            "-j1",
            &place.server.url("/ok/1"),
            &place.server.url("/status/404"),
        ])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.starts_with(".H\n1 of 2 ok"), "{log}");
}

#[test]
fn streams_that_another_program_made_non_blocking_are_waited_for() {
    let server = Nasty::start();
    let (input, mut feed) = std::io::pipe().unwrap();
    let (mut told, out) = std::io::pipe().unwrap();
    fcntl_setfl(&input, OFlags::NONBLOCK).unwrap();
    fcntl_setfl(&out, OFlags::NONBLOCK).unwrap();
    let mut child = aioxide()
        .args(["fetch", "-q", "--discard", "-i", "-", "--report", "-"])
        .stdin(input)
        .stdout(out)
        .spawn()
        .unwrap();
    // More than a pipe holds, in either direction.
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let line = format!("not a url {}\n", "x".repeat(100));
        writeln!(feed, "{}", server.url("/ok/1")).unwrap();
        server.wait_for_requests(1);
        feed.write_all(line.repeat(3000).as_bytes()).unwrap();
    });
    let mut report = String::new();
    std::io::Read::read_to_string(&mut told, &mut report).unwrap();
    writer.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let records = parse_records(&report);
    assert_eq!(records.len(), 3001);
    assert_eq!(records.iter().filter(|record| record["outcome"] == "ok").count(), 1);
}

#[test]
fn file_over_the_limit_of_file_sizes_is_an_io_error() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -f 8; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_aioxide"),
            "fetch",
            "-q",
            "--report",
            "-",
            "-o",
        ])
        .arg(directory.path())
        .args([server.url("/ok/3000000"), server.url("/ok/60000"), server.url("/ok/100")])
        .output()
        .unwrap();
    let records = parse_records(&text(&output.stdout));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let mut outcomes: Vec<_> = records.iter().map(|record| (&record["line"], &record["outcome"])).collect();
    outcomes.sort_by_key(|(line, _)| line.as_u64());
    let [first, second, third] =
        [(1, "io_error"), (2, "io_error"), (3, "ok")].map(|(line, outcome)| (json!(line), json!(outcome)));
    assert_eq!(outcomes, [(&first.0, &first.1), (&second.0, &second.1), (&third.0, &third.1)]);
    assert_eq!(files(directory.path()).keys().collect::<Vec<_>>(), ["100"]);
}

#[test]
fn shortage_of_descriptors_makes_downloads_wait() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let urls: Vec<String> = (0..60).map(|name| server.url(&format!("/ok/{}/f", 40_000 + name))).collect();
    // The shell sets the limit: this process has other tests to serve.
    for limits in ["ulimit -n 64", "ulimit -n 32", "ulimit -Sn 32"] {
        let out = directory.path().join(limits.replace(' ', ""));
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("{limits}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_aioxide")])
            .args(["fetch", "-q", "-j", "50", "--report", "-", "-o"])
            .arg(&out)
            .args(&urls)
            .output()
            .unwrap();
        let records = parse_records(&text(&output.stdout));
        let bad: Vec<_> = records.iter().filter(|record| record["outcome"] != "ok").collect();
        assert!(bad.is_empty() && records.len() == 60, "{limits}: {bad:?} {}", text(&output.stderr));
        assert_eq!(files(&out).len(), 60);
    }
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 12; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_aioxide")])
        .args(["fetch", "-q", "--discard", &urls[0]])
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert!(told.contains("only 12 files may be open") && told.contains("ulimit -n"), "{told}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn pipes_and_devices_are_not_replaced() {
    let place = Place::new();
    let (pipe, url) = (place.path("10"), place.server.url("/ok/10"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let output = fetch(&["-O", &pipe, &url]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("a device or a pipe"), "{}", text(&output.stderr));
    let directory = place.directory.path().to_str().unwrap();
    assert!(fetch(&["-q", "--overwrite", "-o", directory, &url]).status.success());
    assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());
    assert_eq!(fs::read(place.path("10-1")).unwrap().len(), 10);
}

#[test]
fn state_cookies_and_report_are_files_of_their_own() {
    let place = Place::new();
    place.refused(&["-i", "list", "--state", "new", "--report", "new"], [""; 3], "would be in one file");
    place.refused(&["-i", "list", "--save-cookies", "list"], [""; 3], "would be in one file");
    place.refused(&["-i", "list", "--save-cookies", "r", "--report", "r"], [""; 3], "would be in one file");
    // Nor does a download replace them.
    let url = place.server.url("/ok/10/cookies");
    fs::write(place.path("cookies"), "# Netscape HTTP Cookie File\n").unwrap();
    let output = aioxide()
        .current_dir(&place.directory)
        .args(["fetch", "-q", "--overwrite", "-b", "cookies", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(place.path("cookies")).unwrap(), "# Netscape HTTP Cookie File\n");
    assert_eq!(fs::read(place.path("cookies-1")).unwrap().len(), 10);
}

#[test]
#[cfg(target_os = "linux")]
fn what_cannot_be_written_to_is_told_before_the_first_download() {
    let place = Place::new();
    place.refused(&["-i", "list", "-o", "/proc"], [""; 3], "no file can be made in it");
    place.refused(&["-i", "list", "--state", "/dev/full"], [""; 3], "a state is kept in a file");
}

#[test]
#[cfg(target_os = "linux")]
fn link_that_leads_to_a_stream_is_refused_and_stays() {
    let place = Place::new();
    let (link, url) = (place.path("link"), place.server.url("/ok/10"));
    symlink("/proc/self/fd/1", &link).unwrap();
    for option in ["-O", "--save-cookies", "--state"] {
        let captured = File::create(place.path("captured")).unwrap();
        let output = aioxide().args(["fetch", option, &link, &url]).stdout(captured).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(text(&output.stderr).contains("fd/1 is a link to an open file"), "{}", text(&output.stderr));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{option}");
    }
    assert_eq!(place.server.requests(), [""; 0]);
}

#[test]
fn pipes_are_not_replaced_by_cookies_or_a_state() {
    let place = Place::new();
    let (pipe, url) = (place.path("pipe"), place.server.url("/ok/10"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    symlink(&pipe, place.path("link")).unwrap();
    for (option, path) in
        [("--save-cookies", "pipe"), ("--state", "pipe"), ("--save-cookies", "link"), ("-O", "link")]
    {
        let output = fetch(&[option, &place.path(path), &url]);
        assert_eq!(output.status.code(), Some(2), "{option} {path}");
        assert!(text(&output.stderr).contains("pipe"), "{}", text(&output.stderr));
    }
    assert!(!fs::metadata(&pipe).unwrap().is_file());
    assert!(fs::symlink_metadata(place.path("link")).unwrap().is_symlink());
}

#[test]
fn links_to_files_are_followed_and_modes_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    let url = place.server.url("/ok/10");
    for (option, name) in [("-O", "file"), ("--save-cookies", "cookies"), ("--state", "state")] {
        let (target, link) = (place.path(&format!("d/{name}")), place.path(&format!("{name}.link")));
        File::create(&target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(format!("d/{name}"), &link).unwrap();
        let output = aioxide()
            .current_dir(&place.directory)
            .args(["fetch", "-q", option, &link, &url])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{option}");
        let there = fs::metadata(&target).unwrap();
        assert!(there.len() > 0, "{option}");
        assert_eq!(there.permissions().mode() & 0o777, 0o600, "{option}");
    }
    // Also where a name in DIR is replaced.
    fs::set_permissions(place.path("10"), fs::Permissions::from_mode(0o640)).unwrap();
    let directory = place.path(".");
    assert!(fetch(&["-q", "--overwrite", "-o", &directory, &url]).status.success());
    assert_eq!(fs::metadata(place.path("10")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn new_report_with_a_password_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let secret = place.server.url("/ok/10").replace("://", "://me:hunter2@");
    for (name, url, others) in [("plain", &place.server.url("/ok/10"), true), ("secret", &secret, false)] {
        let report = place.path(name);
        assert!(fetch(&["-q", "--discard", "--report", &report, url]).status.success());
        let mode = fs::metadata(&report).unwrap().permissions().mode();
        assert_eq!(mode & 0o077 != 0, others, "{name}: {mode:o}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn marks_that_cannot_be_written_are_a_failure() {
    let place = Place::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = aioxide();
    command.args(["fetch", "--discard", "--marks", &place.server.url("/ok/10")]).stdout(full);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the marks are not whole"), "{}", text(&output.stderr));
}

#[test]
fn cookies_are_not_saved_over_a_download() {
    let place = Place::new();
    let url = place.server.url("/ok/10/f");
    for (options, kept) in [
        (vec!["-o", "o", "--save-cookies", "o/f"], "o/f-1"),
        (vec!["-o", "o", "--overwrite", "--save-cookies", "o/f"], "o/f-1"),
        (vec!["-O", "o/f", "--save-cookies", "o/f"], "o/f-1"),
        (vec!["-o", "o", "--tar-shards", "5", "--save-cookies", "o/shard-000000.tar"], "o/shard-000001.tar"),
        (vec!["-o", "o", "--warc", "a.warc", "--save-cookies", "o/a.cdxj"], "o/a-1.cdxj"),
    ] {
        let output =
            aioxide().current_dir(&place.directory).arg("fetch").arg(&url).args(&options).output().unwrap();
        assert!(output.status.success(), "{options:?}: {}", text(&output.stderr));
        let cookies = fs::read_to_string(place.path(options.last().unwrap())).unwrap();
        assert!(cookies.starts_with("# Netscape HTTP Cookie File"), "{options:?}: {cookies}");
        assert!(fs::metadata(place.path(kept)).unwrap().len() > 0, "{options:?}");
        fs::remove_dir_all(place.path("o")).unwrap();
    }
}

#[test]
fn files_of_the_run_are_no_earlier_downloads_and_are_not_replaced() {
    let place = Place::new();
    let url = place.server.url("/ok/10/f");
    fs::create_dir(place.path("o")).unwrap();
    fs::write(place.path("o/list"), &url).unwrap();
    let run = |arguments: &[&str]| {
        let output = aioxide().current_dir(&place.directory).arg("fetch").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    };
    run(&[&url, "-o", "o", "--skip-existing", "--report", "o/f"]);
    assert_eq!(fs::read(place.path("o/f-1")).unwrap().len(), 10);
    assert_eq!(records(Path::new(&place.path("o/f")))[0]["outcome"], "ok");
    fs::rename(place.path("o/list"), place.path("o/f")).unwrap();
    run(&["-i", "o/f", "-o", "o", "--skip-existing"]);
    assert_eq!(fs::read_to_string(place.path("o/f")).unwrap(), url);
    fs::write(place.path("o/f"), "machine 127.0.0.1 login me password it").unwrap();
    run(&[&url, "-o", "o", "--overwrite", "--netrc-file", "o/f"]);
    assert!(fs::read_to_string(place.path("o/f")).unwrap().starts_with("machine"));
    fs::write(place.path("o/f"), "me:it").unwrap();
    run(&[&url, "-o", "o", "--overwrite", "--user", "@o/f"]);
    assert_eq!(fs::read_to_string(place.path("o/f")).unwrap(), "me:it");
}

#[test]
fn headers_that_announce_a_body_are_refused() {
    let place = Place::new();
    for header in ["Content-Length: 5", "transfer-encoding: chunked"] {
        place.refused(&["-i", "list", "--discard", "-H", header], [""; 3], "is for a body, and none is sent");
    }
}

#[test]
fn file_of_a_setting_is_never_written_over() {
    let place = Place::new();
    let url = place.server.url("/ok/10/s");
    let options: [&[&str]; 8] = [
        &["--bearer", "@s"],
        &["--user", "@s"],
        &["--cookies", "s"],
        &["--netrc-file", "s"],
        &["--ca", "s"],
        &["--cert", "s"],
        &["--cert", "c", "--key", "s"],
        &["--resolver", "./s"],
    ];
    fs::write(place.path("c"), "").unwrap();
    std::os::unix::fs::symlink("s", place.path("link")).unwrap();
    for option in options {
        for written in ["s", "link"] {
            for way in ["--report", "--save-cookies", "--state"] {
                if way == "--save-cookies" && option[0] == "--cookies" {
                    continue;
                }
                fs::write(place.path("s"), "precious").unwrap();
                place.refused(&[option, &[way, written, &url]].concat(), [""; 3], "");
                assert_eq!(fs::read(place.path("s")).unwrap(), b"precious", "{option:?} {way}");
            }
        }
        fs::write(place.path("s"), "precious").unwrap();
        place.refused(&[option, &["--discard", &url]].concat(), ["", "", "s"], "would be written over");
    }
    // Nor by a download: the file that a variable names is one as well.
    fs::write(place.path("s"), "machine h login l password p\n").unwrap();
    let output = aioxide()
        .current_dir(&place.directory)
        .env("NETRC", "s")
        .args(["fetch", "-q", "--netrc", "--overwrite", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read(place.path("s")).unwrap(), b"machine h login l password p\n");
    assert_eq!(fs::read(place.path("s-1")).unwrap().len(), 10);
}

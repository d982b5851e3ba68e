//! Stopping: signals once and twice, `--fail-fast`, and what is left when the program is killed.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::nasty::Nasty;
use support::{aioxide, fetch, files, outcomes, parse_records, text};

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn interrupt(child: &Child) {
    send(child, Signal::INT);
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn check_every_line_once(records: &[Value], lines: u64) {
    let mut seen: Vec<u64> = records.iter().map(|record| record["line"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=lines).collect::<Vec<_>>());
}

#[test]
fn interrupt_ends_cleanly_with_every_url_in_the_report() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let list = directory.path().join("list");
    let paths = ["/ok/100", "/never", "/half-sent", "/status/404", "/ok/3000000"];
    let mut lines: Vec<String> = paths.iter().map(|path| server.url(path)).collect();
    lines[2] = server.url("/stall");
    // With six at a time, of which two never end, all that can end has ended once the fifth `/never` is asked for.
    lines.extend((0..4).map(|_| server.url("/never")));
    lines.extend((0..5000).map(|_| server.url("/ok/1")));
    std::fs::write(&list, lines.join("\n")).unwrap();
    let mut child = spawn(aioxide().arg("fetch").arg("-i").arg(&list).arg("-o").arg(&out).args([
        "-j",
        "6",
        "--report",
        "-",
        "--timeout",
        "100",
    ]));
    server.wait_for_requests(9);
    interrupt(&child);
    let mut report = String::new();
    child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(130), "{}: {}", output.status, text(&output.stderr));
    let records = parse_records(&report);
    check_every_line_once(&records, 5009);
    let counts = outcomes(&records);
    assert_eq!((counts["http_error"], counts["cancelled"]), (1, 5006));
    assert_eq!(counts["ok"], 2);
    let attempts = records.iter().filter(|record| record["attempts"] == 1).count();
    assert_eq!(attempts, 9, "those that never started were never tried");
    // No half file is left.
    let files = files(&out);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["100", "3000000"]);
    let printed = text(&output.stderr);
    assert!(printed.lines().last().unwrap().ends_with("; 1 http_error, 5,006 cancelled"), "{printed}");
}

#[test]
fn second_interrupt_kills() {
    // The report goes into a pipe that nobody empties: the clean end cannot come to its end.
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list");
    let lines: Vec<String> = (0..5000).map(|_| server.url("/never")).collect();
    std::fs::write(&list, lines.join("\n")).unwrap();
    let mut child =
        spawn(aioxide().args(["fetch", "--discard", "--report", "-", "-j", "2", "-i"]).arg(&list));
    server.wait_for_requests(2);
    interrupt(&child);
    // The report has begun, so the first one was noticed.
    let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
    assert!(!out.fill_buf().unwrap().is_empty());
    interrupt(&child);
    let status = child.wait().unwrap();
    assert!(!status.success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().count() < 5000);
}

#[test]
fn interrupt_with_a_silent_pipe_does_not_wait_for_it() {
    let server = Nasty::start();
    let mut child = spawn(aioxide().args(["fetch", "--discard", "--quiet", "--report", "-", "-i", "-"]));
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}\n{}", server.url("/never"), server.url("/never")).unwrap();
    server.wait_for_requests(2);
    interrupt(&child);
    // The pipe stays open, and silent.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(130));
    let records = parse_records(&text(&output.stdout));
    check_every_line_once(&records, 2);
    assert_eq!(outcomes(&records)["cancelled"], 2);
}

#[test]
fn fail_fast_stops_at_the_first_failure() {
    let server = Nasty::start();
    let urls = ["/ok/1", "/ok/2", "/status/404", "/ok/3", "/ok/4"].map(|path| server.url(path));
    let mut arguments: Vec<&str> = urls.iter().map(String::as_str).collect();
    arguments.extend(["--discard", "--quiet", "-j", "1", "--fail-fast", "--report", "-"]);
    let output = fetch(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let records = parse_records(&text(&output.stdout));
    let seen: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(seen, ["ok", "ok", "http_error", "cancelled", "cancelled"]);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn fail_fast_cancels_what_is_under_way() {
    let server = Nasty::start();
    let (never, bad) = (server.url("/never"), server.url("/status/500"));
    let output = fetch(&[&never, &bad, "--discard", "--quiet", "--fail-fast", "--report", "-"]);
    let records = parse_records(&text(&output.stdout));
    let seen: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(seen, ["http_error", "cancelled"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn fail_fast_before_a_download_had_its_turn_accounts_for_it() {
    // The line that is no URL fails at once, when the one before it has a task that has not run yet.
    let server = Nasty::start();
    let output =
        fetch(&[&server.url("/ok/1"), "nonsense", "--discard", "--quiet", "--fail-fast", "--report", "-"]);
    let records = parse_records(&text(&output.stdout));
    check_every_line_once(&records, 2);
    assert_eq!((outcomes(&records)["invalid_url"], outcomes(&records)["cancelled"]), (1, 1));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn each_signal_that_asks_for_an_end_is_followed_in_good_order() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let server = Nasty::start();
        let directory = tempfile::tempdir().unwrap();
        let (out, report) = (directory.path().join("out"), directory.path().join("report"));
        let urls = ["/ok/1", "/ok/2", "/stall", "/ok/3"].map(|path| server.url(path));
        let mut child = spawn(
            aioxide()
                .args(["fetch", "-q", "--overwrite", "-j1", "-o"])
                .arg(&out)
                .arg("--report")
                .arg(&report)
                .args(urls),
        );
        server.wait_for_requests(3);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(status));
        let records = support::records(&report);
        check_every_line_once(&records, 4);
        assert_eq!((outcomes(&records)["ok"], outcomes(&records)["cancelled"]), (2, 2));
        assert_eq!(files(&out).into_keys().collect::<Vec<_>>(), ["1", "2"]);
    }
}

#[test]
fn second_request_to_end_does_not_cut_the_first_one_short() {
    // `timeout` and a shell that hangs up send their signal twice.
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list");
    let lines: Vec<String> = (0..5000).map(|_| server.url("/never")).collect();
    std::fs::write(&list, lines.join("\n")).unwrap();
    let mut child =
        spawn(aioxide().args(["fetch", "--discard", "-q", "--report", "-", "-j2", "-i"]).arg(&list));
    server.wait_for_requests(2);
    send(&child, Signal::TERM);
    // The report has begun, so the first one was noticed; more of it than a pipe holds is still to come.
    let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
    assert!(!out.fill_buf().unwrap().is_empty());
    send(&child, Signal::TERM);
    send(&child, Signal::HUP);
    let mut report = String::new();
    out.read_to_string(&mut report).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    check_every_line_once(&parse_records(&report), 5000);
}

#[test]
#[cfg(target_os = "linux")]
fn signal_that_the_program_was_started_to_ignore_is_ignored() {
    let server = Nasty::start();
    let mut child = spawn(
        Command::new("sh")
            .args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_aioxide")])
            .args(["fetch", "-q", "--discard", &server.url("/hold")]),
    );
    server.wait_for_requests(1);
    send(&child, Signal::HUP);
    server.release();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn list_that_never_ends_is_not_waited_for() {
    for option in ["--fail-fast", "--report=/dev/null"] {
        let mut child = spawn(aioxide().args(["fetch", "-q", "--discard", "-j2", "-i", "-", option]));
        let mut stdin = child.stdin.take().unwrap();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let feeder = std::thread::spawn(move || {
            // Ends when nobody reads any more.
            for line in 0_u64.. {
                if writeln!(stdin, "http://127.0.0.1:1/{line}").is_err() {
                    break;
                }
                if line == 10_000 {
                    begun.send(()).unwrap();
                }
            }
        });
        if option != "--fail-fast" {
            has_begun.recv().unwrap();
            interrupt(&child);
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(if option == "--fail-fast" { 1 } else { 130 }));
        drop(has_begun);
        let _ = feeder.join();
    }
}

#[test]
fn list_in_which_nothing_is_a_url_is_stopped_too() {
    // Nothing in it is ever waited for.
    let directory = tempfile::tempdir().unwrap();
    let (list, report) = (directory.path().join("list"), directory.path().join("report"));
    std::fs::write(&list, "nonsense\n".repeat(1_000_000)).unwrap();
    let mut child =
        spawn(aioxide().args(["fetch", "-q", "--discard", "-i"]).arg(&list).arg("--report").arg(&report));
    while !std::fs::metadata(&report).is_ok_and(|report| report.len() > 0) {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
}

#[test]
fn report_tells_of_each_url_as_it_ends_even_to_a_program_that_is_killed() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let (out, report) = (directory.path().join("out"), directory.path().join("report"));
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("2"), "old").unwrap();
    let urls = ["/ok/1", "nonsense", "/ok/2", "/stall"];
    let urls = urls.map(|path| if path.starts_with('/') { server.url(path) } else { path.to_owned() });
    let mut child = spawn(
        aioxide()
            .args(["fetch", "-q", "--overwrite", "-j1", "-o"])
            .arg(&out)
            .arg("--report")
            .arg(&report)
            .args(urls),
    );
    server.wait_for_requests(3);
    send(&child, Signal::KILL);
    child.wait().unwrap();
    check_every_line_once(&support::records(&report), 3);
    assert_eq!(files(&out).into_keys().collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn report_in_a_pipe_is_not_behind() {
    let server = Nasty::start();
    let mut child = spawn(
        aioxide()
            .args(["fetch", "-q", "--discard", "-j1", "--report", "-"])
            .args([server.url("/ok/1"), server.url("/hold")]),
    );
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(parse_records(&line)[0]["outcome"], "ok");
    server.release();
    assert!(child.wait().unwrap().success());
}

#[test]
fn signals_end_a_run_whose_output_nobody_reads() {
    let server = Nasty::start();
    for (signal, status, output) in
        [(Signal::TERM, 143, "--report=-"), (Signal::HUP, 129, "--marks"), (Signal::INT, 130, "--report=-")]
    {
        let (_unread, full) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&full, true).unwrap();
        while rustix::io::write(&full, &[b'x'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&full, false).unwrap();
        let before = server.requests().len();
        let mut command = aioxide();
        command.args(["fetch", "--discard", output, &server.url("/ok/1")]);
        // Ctrl-C kills what only writes its last lines. The others end that in the same way as a run.
        if signal == Signal::INT {
            command.arg(server.url("/hold"));
        }
        let mut child = command.stdout(full).stderr(Stdio::null()).spawn().unwrap();
        server.wait_for_requests(before + 1);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(status), "{output}");
    }
}

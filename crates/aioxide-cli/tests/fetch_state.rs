//! A job whose runs are killed goes on where it was, and nothing is lost or done twice.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::nasty::Nasty;
use support::scripted::{Scripted, Then, answer, asked_from};
use support::{aioxide, body, files, records, text};

/// A job: a list, a directory, a report and a state.
struct Job {
    directory: tempfile::TempDir,
    options: Vec<&'static str>,
}

impl Job {
    fn new(urls: &[String], options: &[&'static str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("list"), urls.join("\n")).unwrap();
        Job { directory, options: options.to_vec() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = aioxide();
        command.current_dir(self.directory.path());
        command.args(["fetch", "-i", "list", "-o", "out", "--report", "report", "--state", "state"]);
        command.args(&self.options).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end; gives the exit status and what was printed.
    fn run(&self) -> (Option<i32>, String) {
        let output = self.command().output().unwrap();
        (output.status.code(), text(&output.stderr))
    }

    fn start(&self) -> Child {
        self.command().spawn().unwrap()
    }

    fn records(&self) -> Vec<Value> {
        records(&self.path("report"))
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[track_caller]
fn check_every_line_once(records: &[Value], lines: u64) {
    let mut seen: Vec<u64> = records.iter().map(|record| record["line"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=lines).collect::<Vec<_>>());
}

#[test]
fn job_that_is_killed_again_and_again_ends_with_each_file_once() {
    let server = Nasty::start();
    // Small, middling and long ones; every tenth is missing.
    let length = |number: usize| {
        [10, 40_000, 2_000_000][number % 3 % 2 + usize::from(number.is_multiple_of(50))] + number
    };
    let url = |number| match number % 10 {
        9 => server.url(&format!("/status/404/{number}")),
        _ => server.url(&format!("/ok/{}/file-{number}", length(number))),
    };
    let urls: Vec<String> = (0..600).map(url).collect();
    let job = Job::new(&urls, &["-j", "20", "--retries", "0"]);
    let mut kills = 0;
    loop {
        let whole: BTreeSet<String> =
            lengths_so_far(&job).into_keys().filter(|name| name.starts_with("file-")).collect();
        let before = server.requests().len();
        let mut child = job.start();
        // Some way on, wherever that is then.
        let target = before + 10 + kills * 31 % 70;
        while server.requests().len() < target && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // It may have ended meanwhile.
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        let ended = child.wait().unwrap();
        for path in &server.requests()[before..] {
            let name = path.rsplit('/').next().unwrap();
            assert!(!whole.contains(name), "{name} was whole, and was asked for again");
        }
        kills += 1;
        if ended.code() == Some(1) {
            break;
        }
        assert!(kills < 300);
    }
    assert!(kills > 5, "{kills}");
    let records = job.records();
    check_every_line_once(&records, 600);
    let files = files(&job.path("out"));
    assert_eq!(
        files.len(),
        540,
        "{:?}",
        files.keys().filter(|name| !name.starts_with("file-")).collect::<Vec<_>>()
    );
    for number in (0..600).filter(|number| number % 10 != 9) {
        let length = length(number);
        assert!(files[&format!("file-{number}")] == body(length as u64, length), "file-{number}");
    }
    // Everything has ended: nothing more is asked for, and what failed has failed.
    let before = server.requests().len();
    let (status, printed) = job.run();
    assert_eq!((status, server.requests().len()), (Some(1), before), "{printed}");
    assert!(printed.contains("0 of 0 ok") && printed.contains("600 done before"), "{printed}");
    assert_eq!(job.records().len(), 600);
}

/// The lengths of a job's files by name. The job may run: what it renames between the list and the look is
/// not told.
fn lengths_so_far(job: &Job) -> BTreeMap<String, u64> {
    let Ok(entries) = fs::read_dir(job.path("out")) else { return BTreeMap::new() };
    let entries = entries.map(|entry| entry.unwrap());
    entries
        .filter_map(|entry| {
            let length = entry.metadata().ok()?.len();
            Some((entry.file_name().into_string().unwrap(), length))
        })
        .collect()
}

/// Whether a part of at least `length` bytes lies there.
fn has_part_of(job: &Job, length: u64) -> bool {
    lengths_so_far(job).into_iter().any(|(name, bytes)| name.ends_with(".part") && bytes >= length)
}

#[test]
fn long_part_of_a_run_that_was_killed_is_gone_on_from() {
    for signal in [Signal::KILL, Signal::INT] {
        let server = Nasty::start();
        let job = Job::new(&[server.url("/stalls/8000000"), server.url("/ok/5")], &["-j", "1"]);
        let mut child = job.start();
        // The part has a name from its first megabyte on; the rest of the half that comes is on its way.
        server.wait_for_requests(1);
        while !has_part_of(&job, 3_000_000) {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        send(&child, signal);
        child.wait().unwrap();
        assert_eq!(job.records(), [] as [Value; 0], "what was cancelled has not come to its end");
        let (status, printed) = job.run();
        assert_eq!(status, Some(0), "{printed}");
        let record = job.records().remove(0);
        assert!(record["resumed"].as_u64().unwrap() >= 3_000_000, "{record}");
        let files = files(&job.path("out"));
        assert_eq!(files.keys().collect::<Vec<_>>(), ["5", "8000000"]);
        assert!(files["8000000"] == body(8_000_000, 8_000_000));
    }
}

#[test]
fn part_that_is_none_of_the_file_any_more_costs_no_retry() {
    // The file has become shorter between two runs.
    let server = Scripted::start(|_, head| match asked_from(head) {
        Some(_) => (answer("416 Range Not Satisfiable", &["Content-Range: bytes */9"], b""), Then::GoesOn),
        None if head.contains("x-run: 1") => {
            let begin = answer("200 OK", &["ETag: \"v1\"", "Content-Length: 4000000"], &body(1, 3_000_000));
            (begin, Then::Stalls)
        }
        None => (answer("200 OK", &["ETag: \"v2\""], b"new state"), Then::GoesOn),
    });
    let job = Job::new(&[server.url("/f")], &["--retries", "0"]);
    let mut child = job.command().args(["-H", "x-run: 1"]).spawn().unwrap();
    while !has_part_of(&job, 1_000_000) {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    send(&child, Signal::KILL);
    child.wait().unwrap();
    let (status, told) = job.run();
    assert_eq!(status, Some(0), "{told}");
    assert!(server.heads().iter().any(|head| asked_from(head).is_some()));
    assert_eq!(files(&job.path("out")), BTreeMap::from([("f".to_owned(), b"new state".to_vec())]));
}

#[test]
fn interrupted_job_goes_on_and_its_report_too() {
    let server = Nasty::start();
    let mut urls: Vec<String> = (1..=5).map(|length| server.url(&format!("/ok/{length}"))).collect();
    urls.push(server.url("/hold"));
    urls.extend((6..=9).map(|length| server.url(&format!("/ok/{length}"))));
    let job = Job::new(&urls, &["-j", "1"]);
    let mut child = job.start();
    server.wait_for_requests(6);
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(job.records().len(), 5);
    server.release();
    let (status, printed) = job.run();
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.starts_with("5 of 5 ok"), "{printed}");
    check_every_line_once(&job.records(), 10);
    // A list that has grown is the same list.
    urls.push(server.url("/ok/11"));
    fs::write(job.path("list"), urls.join("\n")).unwrap();
    assert_eq!(job.run().0, Some(0));
    check_every_line_once(&job.records(), 11);
}

#[test]
fn state_is_for_one_list_and_one_run_at_a_time() {
    let server = Nasty::start();
    let job = Job::new(&[server.url("/hold")], &[]);
    let mut child = job.start();
    server.wait_for_requests(1);
    let (status, printed) = job.run();
    assert_eq!(status, Some(2));
    assert!(printed.contains("another run works on this job"), "{printed}");
    server.release();
    assert!(child.wait().unwrap().success());

    fs::write(job.path("list"), server.url("/ok/1")).unwrap();
    let (status, printed) = job.run();
    assert_eq!(status, Some(2));
    assert!(printed.contains("another list"), "{printed}");

    for (text, reason) in [("http://a/\nhttp://b/\n", "not a state"), ("a longer line", "not a state")] {
        fs::write(job.path("state"), text).unwrap();
        let (status, printed) = job.run();
        assert_eq!(status, Some(2));
        assert!(printed.contains(reason), "{printed}");
        assert_eq!(fs::read_to_string(job.path("state")).unwrap(), text, "it is not ours to change");
    }
}

#[test]
fn state_is_for_one_output() {
    let server = Nasty::start();
    let job = Job::new(&[server.url("/ok/1")], &[]);
    assert_eq!(job.run().0, Some(0));
    let run = |options: &[&str], told: &str| {
        let mut command = aioxide();
        command.current_dir(&job.directory).args(["fetch", "-i", "list", "--state", "state"]).args(options);
        let output = command.output().unwrap();
        let printed = text(&output.stderr);
        assert!(printed.contains(told), "{options:?}: {printed}");
        output.status.code()
    };
    for (options, told) in [
        (&["-o", "elsewhere"][..], "writes files into out, where this run would write files into elsewhere"),
        (&["-o", "out", "--name", "{n}"], "would write files named {n} into out"),
        (&["--discard"], "would write no files"),
        (&["-o", "out", "--tar-shards", "5"], "would write shards of 5 into out"),
        (&["-o", "out", "--warc", "a.warc"], "would write a.warc into out"),
    ] {
        assert_eq!(run(options, told), Some(2), "{options:?}");
    }
    assert!(!job.path("elsewhere").exists());
    assert_eq!(run(&["-o", "./out/../out"], "1 done before"), Some(0));
    fs::remove_dir_all(job.path("out")).unwrap();
    assert_eq!(run(&["-o", "out"], "out is gone"), Some(2));
    assert!(!job.path("out").exists());
}

#[test]
fn what_failed_before_is_told_again() {
    let server = Nasty::start();
    let job = Job::new(&[server.url("/ok/1"), server.url("/status/404")], &[]);
    assert_eq!(job.run().0, Some(1));
    let (status, printed) = job.run();
    assert!(printed.contains("; 2 done before, 1 of them failed"), "{printed}");
    assert_eq!(status, Some(1));
}

#[test]
fn last_line_that_a_kill_has_cut_is_passed_over() {
    let server = Nasty::start();
    let urls: Vec<String> = (1..=3).map(|length| server.url(&format!("/ok/{length}"))).collect();
    let job = Job::new(&urls, &["-j", "1"]);
    assert_eq!(job.run().0, Some(0));
    let state = fs::read_to_string(job.path("state")).unwrap();
    // Every cut of the state is one that a kill may have left; its report is as long as can be.
    let report = fs::read_to_string(job.path("report")).unwrap();
    for cut in 0..state.len() {
        fs::write(job.path("state"), &state[..cut]).unwrap();
        fs::write(job.path("report"), &report).unwrap();
        if cut % 97 != 0 && !state[..cut].ends_with('\n') {
            continue;
        }
        // Without its notes the files would be taken for other people's, so begin with none.
        if !state[..cut].contains("keeps") {
            fs::remove_dir_all(job.path("out")).unwrap();
        }
        let (status, printed) = job.run();
        assert_eq!(status, Some(0), "{cut}: {printed}");
        check_every_line_once(&job.records(), 3);
    }
}

#[test]
fn file_that_stands_where_the_state_is_written_anew_is_spared() {
    let server = Nasty::start();
    let job = Job::new(&[server.url("/ok/1")], &[]);
    fs::rename(job.path("list"), job.path("state.new")).unwrap();
    let list = fs::read(job.path("state.new")).unwrap();
    let run = || {
        let arguments = ["fetch", "-i", "state.new", "-o", "out", "--state", "state"];
        aioxide().current_dir(job.directory.path()).args(arguments).output().unwrap()
    };
    let output = run();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("in the way"), "{}", text(&output.stderr));
    assert_eq!(fs::read(job.path("state.new")).unwrap(), list);
    // What a kill has left there, at any moment, is in nobody's way.
    fs::rename(job.path("state.new"), job.path("list")).unwrap();
    for left in ["", "{\"li", "{\"list\":\"x\",\"job\":\"y\"}\n"] {
        fs::write(job.path("state.new"), left).unwrap();
        let (status, told) = job.run();
        assert_eq!(status, Some(0), "{left}: {told}");
    }
}

#[test]
fn state_that_says_the_impossible_is_read_at_once() {
    let server = Nasty::start();
    let job = Job::new(&[server.url("/ok/1"), server.url("/ok/2")], &["-q"]);
    assert_eq!(job.run().0, Some(0));
    let mut state = fs::read_to_string(job.path("state")).unwrap();
    state.push_str("{\"done\":[[0,18446744073709551615],[5,2],[1,18446744073709551615]],\"report\":18446744073709551615,\"failed\":0}\n");
    fs::write(job.path("state"), state).unwrap();
    assert_eq!(job.run().0, Some(0));
}

#[test]
fn discarded_bodies_are_counted_once_too() {
    let server = Nasty::start();
    let urls: Vec<String> = (1..=50).map(|length| server.url(&format!("/ok/{length}"))).collect();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("list"), urls.join("\n")).unwrap();
    for expected in [50, 50] {
        let output = aioxide()
            .current_dir(directory.path())
            .args(["fetch", "-i", "list", "--discard", "-q", "--state", "state", "--fsync"])
            .output()
            .unwrap();
        // --fsync is about files.
        assert_eq!(output.status.code(), Some(2));
        let output = aioxide()
            .current_dir(directory.path())
            .args(["fetch", "-i", "list", "--discard", "-q", "--state", "state", "--report", "report"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(server.requests().len(), expected);
        assert_eq!(records(&directory.path().join("report")).len(), 50);
        assert_eq!(records(&directory.path().join("report"))[0]["path"], json!(null));
    }
}

#[test]
fn two_jobs_with_one_list_and_one_directory_keep_their_parts_apart() {
    // Both have a long part of the same entry; one is whole before the other.
    let server = Nasty::start();
    let job = Job::new(&[server.url("/slowly/6000000")], &["-q"]);
    let mut children: Vec<Child> = ["one", "two"]
        .map(|name| {
            let mut command = aioxide();
            command.current_dir(job.directory.path()).args(["fetch", "-q", "-i", "list", "-o", "out"]);
            command.args(["--state", name, "--report"]).arg(format!("{name}.jsonl"));
            let child = command.spawn().unwrap();
            server.wait_for_requests(if name == "one" { 1 } else { 2 });
            child
        })
        .into();
    server.release();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let expected = body(6_000_000, 6_000_000);
    let files = files(&job.path("out"));
    assert_eq!(files.keys().collect::<Vec<_>>(), ["6000000", "6000000-1"]);
    assert!(files.values().all(|bytes| *bytes == expected));
}

#[test]
#[cfg(target_os = "linux")]
fn job_that_met_a_full_disk_goes_on_when_there_is_room() {
    let server = Nasty::start();
    let urls = ["/ok/1000", "/ok/3000000", "/ok/2000"].map(|path| server.url(path));
    let job = Job::new(&urls, &[]);
    let run = format!(
        "{} fetch -q -j1 -i list -o out --report report --state state",
        env!("CARGO_BIN_EXE_aioxide")
    );
    let command = format!(
        "mkdir out && mount -t tmpfs -o size=1m none out && {{ {run}; echo $?; mount -o remount,size=8m out; {run}; \
         echo $?; ls -A out; }}"
    );
    let mut unshared = Command::new("unshare");
    unshared.current_dir(job.directory.path()).args(["-rm", "sh", "-c", &command]);
    let output = unshared.output().unwrap();
    if text(&output.stderr).contains("unshare") || text(&output.stderr).contains("mount") {
        eprintln!("skipped: a file system of a given size needs a user namespace: {}", text(&output.stderr));
        return;
    }
    assert_eq!(
        text(&output.stdout).split_whitespace().collect::<Vec<_>>(),
        ["1", "0", "1000", "2000", "3000000"]
    );
    check_every_line_once(&job.records(), 3);
    assert!(job.records().iter().all(|record| record["outcome"] == "ok"));
}

#[test]
fn list_that_was_changed_further_down_is_not_the_same() {
    let server = Nasty::start();
    let mut urls: Vec<String> = (1..=20).map(|length| server.url(&format!("/ok/{length}"))).collect();
    urls[15] = server.url("/hold");
    let job = Job::new(&urls, &["-j", "1"]);
    let mut child = job.start();
    server.wait_for_requests(16);
    send(&child, Signal::KILL);
    child.wait().unwrap();
    let whole = urls.clone();
    // A line more, a line less, another URL: each would make others of all that follow.
    for change in [
        |urls: &mut Vec<String>| urls.insert(7, "http://new/".to_owned()),
        |urls: &mut Vec<String>| drop(urls.remove(7)),
        |urls: &mut Vec<String>| {
            urls[7].push('0');
        },
    ] {
        let mut urls = whole.clone();
        change(&mut urls);
        fs::write(job.path("list"), urls.join("\n")).unwrap();
        let (status, printed) = job.run();
        assert_eq!(status, Some(2));
        assert!(printed.contains("list: the list is not the one that it was"), "{printed}");
    }
    assert_eq!(server.requests().len(), 16);
    // Behind where it has come it may be another, and comments are no entries.
    urls[18] = server.url("/ok/1000");
    urls.push(server.url("/ok/1001"));
    fs::write(job.path("list"), format!("# again\n{}", urls.join("\n"))).unwrap();
    server.release();
    let (status, printed) = job.run();
    assert_eq!(status, Some(0), "{printed}");
    assert!(job.path("out/1000").exists() && job.path("out/1001").exists() && !job.path("out/19").exists());
}

#[test]
fn changed_list_from_a_pipe_is_told_when_it_is_read() {
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    let run = |list: String| {
        let mut command = aioxide();
        command.current_dir(directory.path());
        command.args(["fetch", "-i", "-", "-o", "out", "--report", "report", "--state", "state"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), list.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let url = |number: usize| server.url(&format!("/ok/{number}\n"));
    assert_eq!(run((1..6).map(url).collect()).0, Some(0));
    assert_eq!(run((1..8).map(url).collect()).0, Some(0));
    assert_eq!(server.requests().len(), 7);
    let (status, printed) = run((2..9).map(url).collect());
    assert_eq!(status, Some(1));
    assert!(printed.contains("the list is not the one that it was"), "{printed}");
}

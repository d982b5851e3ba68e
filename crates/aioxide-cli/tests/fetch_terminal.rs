//! The progress bar, in a pseudo-terminal.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use support::aioxide;
use support::nasty::Nasty;

/// Runs the program with its standard error on a terminal; gives what it drew, and its exit status.
fn on_a_terminal(arguments: &[&str], meanwhile: impl FnOnce()) -> (String, Option<i32>) {
    on_a_terminal_of(Some("xterm-256color"), 100, arguments, meanwhile)
}

/// The same on a terminal of that kind and width.
fn on_a_terminal_of(
    kind: Option<&str>,
    columns: u16,
    arguments: &[&str],
    meanwhile: impl FnOnce(),
) -> (String, Option<i32>) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut command = aioxide();
    match kind {
        Some(kind) => command.env("TERM", kind),
        None => command.env_remove("TERM"),
    };
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(slave))
        .spawn()
        .unwrap();
    // It holds the terminal open, whose end the reader waits for.
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut drawn = Vec::new();
        // The terminal's end is an error (EIO) once the last holder of the other side has gone.
        let _ = File::from(master).read_to_end(&mut drawn);
        String::from_utf8(drawn).unwrap()
    });
    meanwhile();
    let status = child.wait().unwrap().code();
    (reader.join().unwrap(), status)
}

#[test]
fn bar_counts_up_and_is_gone_at_the_end() {
    let server = Nasty::start();
    let urls: Vec<String> = (1..=9).map(|length| server.url(&format!("/ok/{length}"))).collect();
    let (hold, bad) = (server.url("/hold"), server.url("/status/404"));
    let mut arguments = vec!["fetch", "--discard", "-j", "1"];
    arguments.extend(urls.iter().map(String::as_str));
    arguments.extend([bad.as_str(), hold.as_str()]);
    let (drawn, status) = on_a_terminal(&arguments, || {
        server.wait_for_requests(11);
        server.release();
    });
    assert_eq!(status, Some(1));
    assert!(drawn.contains("/11"), "the bar knows its length: {drawn:?}");
    assert!(drawn.contains('\r') || drawn.contains("\u{1b}["), "it is redrawn in place: {drawn:?}");
    assert!(drawn.contains("line 10: http_error: "), "failures stand above it: {drawn:?}");
    let last = drawn.trim_end().lines().last().unwrap();
    assert!(last.contains("10 of 11 ok"), "{last:?}");
    // The last thing drawn over the bar's line is the summary.
    let after_bar = &drawn[drawn.rfind("/11").unwrap()..];
    assert!(after_bar.contains("\u{1b}[2K"), "the bar is erased: {after_bar:?}");
}

#[test]
fn no_bar_with_quiet_or_marks() {
    let server = Nasty::start();
    let (good, bad) = (server.url("/ok/1"), server.url("/status/404"));
    let (drawn, _) = on_a_terminal(&["fetch", "--discard", "--quiet", &good, &bad], || {});
    assert_eq!(drawn, "");
    let (drawn, _) = on_a_terminal(&["fetch", "--discard", "--marks", &good, &bad], || {});
    assert!(drawn.starts_with("1 of 2 ok") && drawn.lines().count() == 1, "{drawn:?}");
}

#[test]
fn terminal_that_cannot_move_its_cursor_gets_lines() {
    let server = Nasty::start();
    let bad = server.url("/status/404");
    for kind in [Some("dumb"), Some(""), None] {
        let (drawn, status) = on_a_terminal_of(kind, 80, &["fetch", "--discard", &bad], || {});
        assert_eq!(status, Some(1));
        let lines: Vec<&str> = drawn.lines().collect();
        let [failure, summary] = lines[..] else { panic!("{drawn:?}") };
        assert!(failure.starts_with("line 1: http_error: http://"), "{failure}");
        assert!(summary.starts_with("0 of 1 ok"), "{summary}");
        assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
    }
}

/// What was drawn over a line of the terminal, one after the other, without the sequences that move the cursor.
fn frames(drawn: &str) -> Vec<String> {
    let mut frames = vec![String::new()];
    let mut rest = drawn.chars();
    while let Some(character) = rest.next() {
        match character {
            '\r' | '\n' => frames.push(String::new()),
            '\u{1b}' => {
                rest.by_ref().skip_while(|after| *after == '[').find(char::is_ascii_alphabetic);
            }
            other => frames.last_mut().unwrap().push(other),
        }
    }
    frames
}

#[test]
fn one_large_file_shows_how_much_of_it_has_come() {
    let server = Nasty::start();
    let url = server.url("/slow/4000000");
    let (drawn, status) = on_a_terminal(&["fetch", "--discard", &url], || {
        server.wait_for_requests(1);
        server.release();
    });
    assert_eq!(status, Some(0));
    let frames = frames(&drawn);
    let bars: Vec<&String> = frames.iter().filter(|frame| frame.contains("0/1")).collect();
    assert!(bars.iter().any(|bar| bar.contains("2.00 MB of 4.00 MB")), "{bars:#?}");
    assert!(bars.iter().all(|bar| !bar.contains("eta 0s")), "{bars:#?}");
}

#[test]
fn narrow_terminal_is_not_written_over_its_edge() {
    let server = Nasty::start();
    let (hold, good) = (server.url("/hold"), server.url("/ok/3"));
    for columns in [30, 60] {
        let arguments = ["fetch", "--discard", &good, &hold];
        let (drawn, _) = on_a_terminal_of(Some("xterm"), columns, &arguments, || {
            server.wait_for_requests(2);
            server.release();
        });
        let frames = frames(&drawn);
        let bars: Vec<&String> =
            frames.iter().filter(|frame| frame.contains("/2") && !frame.contains(" of ")).collect();
        assert!(!bars.is_empty(), "{drawn:?}");
        assert!(bars.iter().all(|bar| bar.chars().count() <= usize::from(columns)), "{bars:#?}");
    }
}

#[test]
fn long_list_ends_with_times_and_the_hosts_to_look_at() {
    let server = Nasty::start();
    let port = server.address().port();
    let mut arguments: Vec<String> = vec!["fetch".into(), "--discard".into()];
    let mut urls = Vec::new();
    for host in ["good.test", "bad.test", "slow.test", "fine.test"] {
        arguments.extend(["--resolve".to_owned(), format!("{host}:*:127.0.0.1")]);
        urls.extend((0..10).map(|number| match host {
            "bad.test" if number < 4 => format!("http://{host}:{port}/status/404/{number}"),
            "slow.test" => format!("http://{host}:{port}/takes/1500/{number}"),
            _ => format!("http://{host}:{port}/ok/1/{number}"),
        }));
    }
    arguments.extend(urls);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (drawn, status) = on_a_terminal(&arguments, || {});
    assert_eq!(status, Some(1));
    let lines: Vec<&str> = drawn.trim_end().lines().map(str::trim_end).collect();
    let [times, first, second, _, others, summary] = lines[lines.len() - 6..] else { panic!("{drawn:?}") };
    assert!(times.contains("time for each: half within ") && times.contains('\u{2588}'), "{times:?}");
    assert!(first.contains("  bad.test: 6 of 10 ok, half within "), "{first:?}");
    assert!(
        second.starts_with("  slow.test: 10 of 10 ok, half within ") && second.contains(" s"),
        "{second:?}"
    );
    assert_eq!(others, "  1 other host had fewer failures, or were faster");
    assert!(summary.starts_with("36 of 40 ok"), "{summary:?}");
}

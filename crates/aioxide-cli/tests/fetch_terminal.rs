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
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut child = aioxide()
        .env("TERM", "xterm-256color")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(slave))
        .spawn()
        .unwrap();
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

//! Child processes and signals.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::Stdio;
use std::task::Poll;

use aioxide::io::{AsyncReadExt, AsyncWriteExt};
use aioxide::process::Command;
use aioxide::signal::{SignalKind, ctrl_c, signal};
use aioxide_core::sys::send_signal;
use support::{run, spawn};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn status_tells_how_it_ended() {
    run(async {
        assert!(shell("exit 0").status().await.unwrap().success());
        assert_eq!(shell("exit 7").status().await.unwrap().code(), Some(7));
        assert_eq!(shell("kill -9 $$").status().await.unwrap().signal(), Some(9));
    });
}

#[test]
fn output_is_collected_from_both_pipes() {
    run(async {
        let mut command = shell("echo out $NAME; echo err >&2; pwd");
        let output = command.env("NAME", "value").current_dir("/").output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "out value\n/\n");
        assert_eq!(output.stderr, b"err\n");
        assert!(output.status.success());
    });
}

/// More than the pipes hold, both ways: whoever first writes all and then reads hangs here.
#[test]
fn communicate_with_much_data_does_not_block() {
    run(async {
        let input: Vec<u8> = (0..1_000_000).map(|index| (index % 249) as u8).collect();
        let mut command = Command::new("cat");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.communicate(&input).await.unwrap();
        assert!(output.stdout == input && output.status.success());
    });
}

#[test]
fn process_that_does_not_read_its_input_is_no_error() {
    run(async {
        let child = shell("exit 3").stdin(Stdio::piped()).spawn().unwrap();
        let output = child.communicate(&vec![0; 1_000_000]).await.unwrap();
        assert_eq!(output.status.code(), Some(3));
    });
}

#[test]
fn pipes_can_be_used_line_by_line() {
    run(async {
        let mut child = shell("read a; echo got $a; read b; echo got $b")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        for word in ["one", "two"] {
            stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
            let mut answer = vec![0; word.len() + 5];
            stdout.read_exact(&mut answer).await.unwrap();
            assert_eq!(String::from_utf8(answer).unwrap(), format!("got {word}\n"));
        }
        assert_eq!(stdout.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn wait_runs_beside_other_tasks_and_can_be_repeated() {
    run(async {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(child.id().is_some());
        assert!(child.try_wait().unwrap().is_none());
        {
            let stdin = child.stdin.take();
            let mut wait = pin!(child.wait());
            assert!(poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await.is_pending());
            spawn(async move { drop(stdin) }).await.unwrap();
            assert!(wait.await.unwrap().success());
        }
        assert!(child.wait().await.unwrap().success());
        assert!(child.try_wait().unwrap().unwrap().success());
        assert_eq!(child.id(), None);
        assert_eq!(child.terminate().unwrap_err().kind(), ErrorKind::InvalidInput);
        child.kill().unwrap();
    });
}

#[test]
fn kill_and_terminate_end_it() {
    run(async {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let keep_open = child.stdin.take();
        child.terminate().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(SignalKind::TERMINATE.as_raw()));
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let keep_open_too = child.stdin.take();
        child.kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
        drop((keep_open, keep_open_too));
    });
}

#[test]
fn dropped_child_is_killed_if_asked_for_and_reaped_either_way() {
    run(async {
        let mut command = Command::new("cat");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (stdin, mut stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let id = child.id().unwrap();
        drop(child);
        // The pipe ends because the process does: its input is still open.
        assert_eq!(stdout.read(&mut [0; 1]).await.unwrap(), 0);
        drop(stdin);
        // It is reaped when others are started.
        while std::path::Path::new(&format!("/proc/{id}")).exists() {
            assert!(shell("true").status().await.unwrap().success());
        }
    });
}

#[test]
fn missing_program_is_an_error() {
    run(async {
        let error = Command::new("/nonexistent/program").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn every_listener_sees_a_signal_once() {
    run(async {
        // Kept for ever: a signal still on its way to some thread would kill the process after the last listener.
        std::mem::forget(signal(SignalKind::USER_DEFINED1).unwrap());
        let mut one = signal(SignalKind::USER_DEFINED1).unwrap();
        let mut other = signal(SignalKind::USER_DEFINED1).unwrap();
        for _ in 0..3 {
            send_signal(std::process::id(), SignalKind::USER_DEFINED1.as_raw()).unwrap();
            one.recv().await;
            other.recv().await;
        }
        let mut again = pin!(one.recv());
        assert!(poll_fn(|cx| Poll::Ready(again.as_mut().poll(cx))).await.is_pending());
    });
}

#[test]
fn ctrl_c_listens_from_the_call_on() {
    run(async {
        // Kept for ever, as above.
        std::mem::forget(signal(SignalKind::INTERRUPT).unwrap());
        let interrupted = ctrl_c();
        send_signal(std::process::id(), SignalKind::INTERRUPT.as_raw()).unwrap();
        interrupted.await.unwrap();
    });
}

#[test]
fn signal_that_cannot_be_caught_is_refused() {
    run(async {
        for number in [9, 19, 0, -1, 1000] {
            let error = signal(SignalKind::from_raw(number)).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidInput), "{number}: {error}");
        }
    });
}

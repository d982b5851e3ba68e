//! Accepting when descriptors have run out: in a process of its own, which may have few.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use aioxide::net::TcpListener;
use aioxide_core::current::current;
use support::{run_virtual, spawn};

#[test]
fn accept_without_descriptors_rests_a_second_and_says_so() {
    let output = Command::new("sh")
        .arg("-c")
        .arg("ulimit -n 40 && exec \"$0\" --ignored --exact --nocapture exhausted_process")
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!(told.matches("accept() is out of system resources").count(), 2, "{told}");
    assert!(told.contains("os error 24"), "{told}");
}

/// Two attempts fail, a second apart; then there are descriptors, and the third brings the connection.
#[test]
#[ignore = "started by the test above, with few descriptors"]
fn exhausted_process() {
    run_virtual(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut hoard = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }
        assert!(hoard.len() < 40);
        let event_loop = current().unwrap();
        let started_ns = event_loop.now_ns();
        let freed_ns = started_ns + Duration::from_millis(1500).as_nanos() as u64;
        drop(spawn(async move {
            support::sleep_until(freed_ns).await;
            drop(hoard);
        }));
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(Duration::from_nanos(event_loop.now_ns() - started_ns), Duration::from_secs(2));
        drop(stream);
    });
}

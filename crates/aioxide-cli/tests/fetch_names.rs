//! Names whose server is silent, beside others.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::thread;

use support::nasty::Nasty;
use support::text;

/// Answers for `answered.test`, which is 127.0.0.1, and for nothing else.
fn serve_names(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let name = b"\x08answered\x04test\0";
        let Some(rest) = question[12..length].strip_prefix(name) else { continue };
        let is_ipv4 = rest.starts_with(&[0, 1]);
        let mut answer = question[..12 + name.len() + 4].to_vec();
        (answer[2], answer[3], answer[7], answer[11]) = (0x81, 0x80, u8::from(is_ipv4), 0);
        if is_ipv4 {
            // The name of the question, A, IN, a minute, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn wait_for_a_look_up_to_begin_is_not_connecting() {
    // The address is this test's own.
    let Ok(socket) = UdpSocket::bind("127.0.53.64:53") else {
        eprintln!("skipped: a name server needs port 53");
        return;
    };
    thread::spawn(move || serve_names(&socket));
    let server = Nasty::start();
    let directory = tempfile::tempdir().unwrap();
    // The system gives a name up after three seconds, the request after one; 64 look-ups go on at a time.
    fs::write(directory.path().join("resolv.conf"), "nameserver 127.0.53.64\noptions timeout:3 attempts:1\n")
        .unwrap();
    let silent = (0..64).map(|number| format!("http://silent-{number}.test/\n"));
    let url = server.url("/ok/10").replace("127.0.0.1", "answered.test");
    let list: String = silent.chain([url.clone()]).collect();
    fs::write(directory.path().join("list"), list).unwrap();
    let command = format!(
        "mount --bind {at}/resolv.conf /etc/resolv.conf && \
         exec {program} fetch -q -j65 --retries 0 --connect-timeout 1 --report - -o {at}/out -i {at}/list",
        at = directory.path().display(),
        program = env!("CARGO_BIN_EXE_aioxide"),
    );
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &command]).output().unwrap();
    if text(&output.stderr).contains("unshare") || text(&output.stderr).contains("mount") {
        eprintln!("skipped: a resolv.conf of its own needs a user namespace: {}", text(&output.stderr));
        return;
    }
    let records = support::parse_records(&text(&output.stdout));
    assert_eq!(records.len(), 65, "{}", text(&output.stderr));
    for record in records {
        let expected = if record["url"] == url.as_str() { "ok" } else { "connect_error" };
        assert_eq!(record["outcome"], expected, "{record}");
    }
}
